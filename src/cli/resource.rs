//! What all nouns have in common: things with an id and a name, in a list, to be found by either.

use super::ask::Consent;
use super::client::{Api, Call, Listed};
use super::flags::{Care, Paging};
use super::output::{Column, Output, plain};
use super::{Exit, Failed};
use crate::domain::id::{Id, Kind};
use anyhow::anyhow;
use serde_json::{Map, Value, json};

/// A kind of thing.
pub(super) struct Resource {
    /// One of them, in a sentence.
    pub(super) one: &'static str,
    /// Below `/v1`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// The field that people know it by.
    pub(super) label: &'static str,
    pub(super) columns: &'static [Column],
}

/// A gateway, and where its answers go.
pub(super) struct Desk {
    pub(super) api: Api,
    pub(super) out: Output,
}

impl Desk {
    /// The id of a thing that is named by its id, its name or (a key) its hint.
    pub(super) fn find(&self, resource: &Resource, named: &str) -> Result<String, Failed> {
        self.find_among(resource, named, &[])
    }

    /// As [`Desk::find`], among those that a list with these parameters holds.
    pub(super) fn find_among(
        &self,
        resource: &Resource,
        named: &str,
        query: &[(&str, String)],
    ) -> Result<String, Failed> {
        if Id::parse(resource.kind, named).is_some() {
            return Ok(named.to_owned());
        }
        if is_secret(named) {
            let fault = anyhow!(
                "this looks like a key, which has no place on a command line: name it by id, name or hint \
                 (`keygate keys explain` reads a key from standard input)"
            );
            return Err(Failed::with(Exit::Usage, fault));
        }
        let mut query = query.to_vec();
        query.push(("q", named.to_owned()));
        let listed = self.api.pages(&[resource.path], &query, 1000)?;
        let is_it = |row: &&Value| {
            [resource.label, "hint"]
                .iter()
                .any(|field| row[field] == named)
        };
        let ids: Vec<&str> = listed
            .rows
            .iter()
            .filter(is_it)
            .filter_map(|row| row["id"].as_str())
            .collect();
        match ids.as_slice() {
            [id] => Ok(plain(id)),
            [] if listed.next.is_some() => {
                let fault = anyhow!("too many begin like `{}`: name it by its id", plain(named));
                Err(Failed::with(Exit::NotFound, fault))
            }
            [] => {
                let fault = anyhow!("no {} is called `{}`", resource.one, plain(named));
                Err(Failed::with(Exit::NotFound, fault))
            }
            several => {
                let fault = anyhow!(
                    "`{}` is not one {} but {}: {}",
                    plain(named),
                    resource.one,
                    several.len(),
                    several.join(", ")
                );
                Err(Failed::with(Exit::Conflict, fault))
            }
        }
    }

    pub(super) fn list(
        &self,
        resource: &Resource,
        query: &[(&str, String)],
        paging: &Paging,
    ) -> Result<Exit, Failed> {
        let listed = self.api.pages(&[resource.path], query, paging.most())?;
        self.out.list(resource.columns, &listed)?;
        Ok(Exit::Ok)
    }

    pub(super) fn show(&self, resource: &Resource, named: &str) -> Result<Exit, Failed> {
        let id = self.find(resource, named)?;
        self.out.one(&self.api.get(&[resource.path, &id]).send()?)?;
        Ok(Exit::Ok)
    }

    pub(super) fn create(
        &self,
        resource: &Resource,
        body: Map<String, Value>,
        once: &str,
    ) -> Result<Exit, Failed> {
        let made = self
            .api
            .post(&[resource.path])
            .json(&Value::Object(body))
            .once_by_flag(once)
            .send()?;
        self.out.one(&made)?;
        Ok(Exit::Ok)
    }

    pub(super) fn edit(
        &self,
        resource: &Resource,
        named: &str,
        body: Map<String, Value>,
        revision: Option<u64>,
    ) -> Result<Exit, Failed> {
        if body.is_empty() {
            let fault = anyhow!("nothing to change: say what, see --help");
            return Err(Failed::with(Exit::Usage, fault));
        }
        let id = self.find(resource, named)?;
        let call = self.api.patch(&[resource.path, &id]).if_match(revision);
        self.out.one(&call.json(&Value::Object(body)).send()?)?;
        Ok(Exit::Ok)
    }

    /// The end of a thing that has no more to say about it.
    pub(super) fn delete(
        &self,
        resource: &Resource,
        named: &str,
        care: &Care,
    ) -> Result<Exit, Failed> {
        let consent = if care.dry_run {
            Consent::Given
        } else {
            Consent::of(care.yes)?
        };
        let id = self.find(resource, named)?;
        if consent == Consent::Ask {
            let named = self.named(resource, &id)?;
            consent.to(&format!("Delete {} {named}?", resource.one))?;
        }
        self.deleted(resource, &id, Map::new(), care)
    }

    /// Sends the call, and says what is gone, or would be.
    pub(super) fn deleted(
        &self,
        resource: &Resource,
        id: &str,
        body: Map<String, Value>,
        care: &Care,
    ) -> Result<Exit, Failed> {
        let mut call = self.api.delete(&[resource.path, id]);
        if !body.is_empty() {
            call = call.json(&Value::Object(body));
        }
        if care.dry_run {
            return self.tried(resource, id, "delete", call);
        }
        let gone = call.send()?;
        if gone.is_null() {
            self.out
                .tell(&json!({"id": id}), &format!("{id} is deleted"))?;
        } else {
            self.out.one(&gone)?;
        }
        Ok(Exit::Ok)
    }

    /// Sends a call as a try, and says that nothing was done: the answer alone is that of the act.
    pub(super) fn tried(
        &self,
        resource: &Resource,
        id: &str,
        act: &str,
        call: Call<'_>,
    ) -> Result<Exit, Failed> {
        let mut shown = call.query("dry_run", "true").send()?;
        let label = shown[resource.label].as_str();
        let label = label.map(|label| format!(" ({label})")).unwrap_or_default();
        let words = format!("dry run: would {act} {id}{label}; nothing was done");
        if shown.is_null() {
            shown = json!({"id": id});
        }
        shown["dry_run"] = json!(true);
        self.out.tell(&shown, &words)?;
        Ok(Exit::Ok)
    }

    /// An act on one thing: `POST /v1/<path>/<id>/<act>`.
    pub(super) fn act(
        &self,
        resource: &Resource,
        id: &str,
        act: &str,
        body: Map<String, Value>,
    ) -> Result<Exit, Failed> {
        let call = self.api.post(&[resource.path, id, act]);
        let call = call
            .json(&Value::Object(body))
            .once(&super::client::fresh_key(self.out.now())?);
        self.out.one(&call.send()?)?;
        Ok(Exit::Ok)
    }

    /// Id and name in a question: `key_… (ci)`.
    pub(super) fn named(&self, resource: &Resource, id: &str) -> Result<String, Failed> {
        let object = self.api.get(&[resource.path, id]).send()?;
        let label = object[resource.label].as_str();
        Ok(label.map_or_else(|| id.to_owned(), |label| format!("{id} ({})", plain(label))))
    }

    /// A list that is no resource of its own.
    pub(super) fn report(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        columns: &[Column],
        most: usize,
    ) -> Result<Listed, Failed> {
        let listed = self.api.pages(path, query, most)?;
        self.out.list(columns, &listed)?;
        Ok(listed)
    }
}

/// Whether somebody typed a key where a name belongs: native keys of every brand end in 49 letters and digits.
fn is_secret(text: &str) -> bool {
    let mut parts = text.rsplitn(3, '_');
    let body = parts.next().unwrap_or_default();
    parts.next().is_some()
        && parts.next().is_some()
        && body.len() == crate::domain::key::BODY_LEN
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::KeyFormat;

    #[test]
    fn a_key_is_no_name() {
        let key = KeyFormat::default().generate("live").unwrap();
        assert!(is_secret(key.expose()));
        assert!(is_secret(&key.expose().replacen(
            "kg_live",
            "other_brand",
            1
        )));
        for name in [
            "ci",
            "kg_live_4Jf9…x2Qa",
            "key_01jyzx5rhdf3sbz3hv1yqn2tp9",
            "a_b_c",
            "",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
