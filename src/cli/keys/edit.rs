//! `keygate keys edit`: a merge patch of what was said.

use super::KEY;
use super::create::Lists;
use crate::cli::flags::{Limits, cleared_only, put, said};
use crate::cli::parse::{Idle, When};
use crate::cli::resource::Desk;
use crate::cli::{Exit, Failed};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

#[derive(Args)]
pub(super) struct Edit {
    /// Id, name or hint
    key: String,
    /// New name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it is for
    #[arg(long, value_name = "WORDS")]
    description: Option<String>,
    /// Not valid before: 2027-01-01, or 7d from now
    #[arg(long, value_name = "TIME")]
    not_before: Option<When>,
    /// Valid until: 90d from now, 2027-01-01, or never
    #[arg(long, value_name = "TIME")]
    expires: Option<When>,
    /// When nobody uses it: off, workspace, or notify, disable or delete with a time, such as delete:90d
    #[arg(long, value_name = "POLICY")]
    inactivity: Option<Idle>,
    #[command(flatten)]
    limits: Limits,
    /// These lists take the place of those that are there; metadata is added
    #[command(flatten)]
    lists: Lists,
    /// One more right
    #[arg(long = "add-scope", value_name = "SCOPE", conflicts_with = "scopes")]
    add_scopes: Vec<String>,
    /// One right less
    #[arg(long = "remove-scope", value_name = "SCOPE", conflicts_with = "scopes")]
    remove_scopes: Vec<String>,
    /// One more tag
    #[arg(long = "add-tag", value_name = "TAG", conflicts_with = "tags")]
    add_tags: Vec<String>,
    /// One tag less
    #[arg(long = "remove-tag", value_name = "TAG", conflicts_with = "tags")]
    remove_tags: Vec<String>,
    /// Metadata to take away
    #[arg(long = "remove-metadata", value_name = "NAME")]
    remove_metadata: Vec<String>,
    /// Field to empty
    #[arg(long, value_enum, value_name = "FIELD")]
    clear: Vec<Field>,
    /// Only if it is at this revision
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
}

/// What can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Field {
    Description,
    Scopes,
    Routes,
    Methods,
    Ips,
    Locations,
    Limits,
    Tags,
    Metadata,
    NotBefore,
    Expires,
    Inactivity,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Scopes => "scopes",
            Self::Routes => "routes",
            Self::Methods => "methods",
            Self::Ips => "ip_allow",
            Self::Locations => "locations",
            Self::Limits => "limits",
            Self::Tags => "tags",
            Self::Metadata => "metadata",
            Self::NotBefore => "not_before",
            Self::Expires => "expires_at",
            Self::Inactivity => "inactivity",
        }
    }
}

impl Edit {
    pub(super) fn run(self, desk: &Desk) -> Result<Exit, Failed> {
        for field in &self.clear {
            let name = field.to_possible_value();
            let name = name.as_ref().map_or("", |value| value.get_name());
            cleared_only(name, self.flag(*field))?;
        }
        let mut body = self.patch(desk);
        let id = desk.find(&KEY, &self.key)?;
        let mut revision = self.if_match;
        let changes = [
            ("scopes", &self.add_scopes, &self.remove_scopes),
            ("tags", &self.add_tags, &self.remove_tags),
        ];
        if changes
            .iter()
            .any(|(_, add, remove)| !add.is_empty() || !remove.is_empty())
        {
            let known = desk.api.get(&[KEY.path, &id]).send()?;
            // What is there now is a part of what will be: nobody may change it in between.
            revision = revision.or(known["revision"].as_u64());
            for (field, add, remove) in changes {
                if !add.is_empty() || !remove.is_empty() {
                    body.insert(field.into(), changed(&known[field], add, remove));
                }
            }
        }
        desk.edit(&KEY, &id, body, revision)
    }

    /// The flag that fills a field, if one was given.
    fn flag(&self, field: Field) -> Option<&'static str> {
        let lists = &self.lists;
        match field {
            Field::Description => said(&[("--description", self.description.is_some())]),
            Field::Scopes => said(&[
                ("--scope", !lists.scopes.is_empty()),
                ("--add-scope", !self.add_scopes.is_empty()),
                ("--remove-scope", !self.remove_scopes.is_empty()),
            ]),
            Field::Routes => said(&[("--route", !lists.routes.is_empty())]),
            Field::Methods => said(&[("--method", !lists.methods.is_empty())]),
            Field::Ips => said(&[("--ip", !lists.ip_allow.is_empty())]),
            Field::Locations => said(&[("--location", !lists.locations.is_empty())]),
            Field::Limits => self.limits.flag(),
            Field::Tags => said(&[
                ("--tag", !lists.tags.is_empty()),
                ("--add-tag", !self.add_tags.is_empty()),
                ("--remove-tag", !self.remove_tags.is_empty()),
            ]),
            Field::Metadata => said(&[
                ("--metadata", !lists.metadata.is_empty()),
                ("--remove-metadata", !self.remove_metadata.is_empty()),
            ]),
            Field::NotBefore => said(&[("--not-before", self.not_before.is_some())]),
            Field::Expires => said(&[("--expires", self.expires.is_some())]),
            Field::Inactivity => said(&[("--inactivity", self.inactivity.is_some())]),
        }
    }

    fn patch(&self, desk: &Desk) -> Map<String, Value> {
        let mut body = Map::new();
        let now = desk.out.now();
        put(&mut body, "name", self.name.as_deref());
        put(&mut body, "description", self.description.as_deref());
        put(
            &mut body,
            "not_before",
            self.not_before.as_ref().map(|when| when.ahead(now)),
        );
        put(
            &mut body,
            "expires_at",
            self.expires.as_ref().map(|when| when.ahead(now)),
        );
        put(
            &mut body,
            "inactivity",
            self.inactivity.as_ref().map(Idle::told),
        );
        self.limits.put_in(&mut body);
        self.lists.put_in(&mut body);
        for name in &self.remove_metadata {
            body.entry("metadata").or_insert_with(|| json!({}))[name.as_str()] = Value::Null;
        }
        for field in &self.clear {
            body.insert(field.name().into(), Value::Null);
        }
        body
    }
}

/// A list with some entries more and others less.
fn changed(known: &Value, add: &[String], remove: &[String]) -> Value {
    let known = known
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let mut entries: Vec<&str> = known
        .filter(|entry| !remove.iter().any(|gone| gone == entry))
        .collect();
    for entry in add {
        if !entries.contains(&entry.as_str()) {
            entries.push(entry);
        }
    }
    json!(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_changed_by_entry() {
        let known = json!(["a", "b", "c"]);
        let [add, remove] = [["d", "a"], ["b", "x"]].map(|words| words.map(String::from));
        assert_eq!(changed(&known, &add, &remove), json!(["a", "c", "d"]));
        assert_eq!(changed(&Value::Null, &add, &[]), json!(["d", "a"]));
    }
}
