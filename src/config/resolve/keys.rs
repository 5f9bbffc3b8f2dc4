//! Declared keys: their secrets, their ids, and what they name of others.

use super::auth::scopes;
use super::key_fields::{locations, metadata, state, times, unkept};
use super::seen::Seen;
use super::{Known, limits, methods};
use crate::config::raw::{Fields, Item, table};
use crate::config::value;
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::{
    Algorithm, KeyFormat, KeyHash, KeySpec, MAX_PRESENTED_LEN, MIN_FOREIGN_LEN, Origin, PlainKey,
    Shape,
};
use crate::domain::workspace;
use std::collections::{HashMap, HashSet};

pub(super) fn keys(root: &Fields<'_>, known: &Known<'_>, consumers: &[Consumer]) -> Vec<KeySpec> {
    let mut reader = Reader {
        known,
        consumers: known.consumers.iter().copied().collect(),
        declared: consumers.iter().map(|one| (&*one.name, one)).collect(),
        routes: known.routes.iter().copied().collect(),
        hashes: Seen::default(),
        ids: Seen::default(),
    };
    root.list("keys", |item| reader.key(item))
        .unwrap_or_default()
}

struct Reader<'a> {
    known: &'a Known<'a>,
    /// Names as they were typed.
    consumers: HashSet<&'a str>,
    declared: HashMap<&'a str, &'a Consumer>,
    routes: HashSet<&'a str>,
    hashes: Seen<KeyHash>,
    ids: Seen<Id>,
}

/// The secret of a key, as far as the file tells.
struct Held {
    hash: KeyHash,
    hint: Option<String>,
    /// What a native key says about itself.
    environment: Option<String>,
}

impl Reader<'_> {
    fn key(&mut self, item: &Item<'_>) -> Option<KeySpec> {
        let fields = item.fields(&table::KEY);
        let name = fields
            .required("name")
            .and_then(|item| item.read(value::name));
        let held = self.held(&fields);
        let id = self.id(&fields, held.as_ref());
        let environment = self.environment(&fields, held.as_ref());
        unkept(&fields);
        let scopes = fields.get("scopes").map(|item| scopes(&item));
        let consumer = self.consumer(&fields);
        let routes = self.allowed_routes(&fields);
        let (not_before, expires_at) = times(&fields);
        let spec = KeySpec {
            id: id.unwrap_or(Id::from_bits(0)),
            name: name.unwrap_or_default(),
            origin: Origin::File,
            workspace: workspace::root(),
            hash: held.as_ref().map_or(KeyHash::of(&[]), |held| held.hash),
            algorithm: Algorithm::Blake3,
            retires_at: None,
            hint: held.as_ref().and_then(|held| held.hint.clone()),
            consumer,
            environment: environment.unwrap_or_default(),
            scopes: scopes.unwrap_or_default(),
            routes,
            methods: methods(&fields),
            ip_allow: fields
                .list("ip_allow", |item| item.read(value::cidr))
                .unwrap_or_default(),
            locations: locations(&fields),
            limits: limits(&fields),
            not_before,
            expires_at,
            state: state(&fields),
            metadata: metadata(&fields),
        };
        warn_if_closed(item, &spec);
        held.is_some().then_some(spec)
    }

    /// The hash of the key, from exactly one of `hash` and `secret`.
    fn held(&mut self, fields: &Fields<'_>) -> Option<Held> {
        let (hash, secret) = (fields.get("hash"), fields.get("secret"));
        if let (Some(_), Some(secret)) = (&hash, &secret) {
            secret.fault("`hash` and `secret` exclude each other");
        }
        let (at, held) = match (hash, secret) {
            (Some(at), _) => {
                let parse = |text: &str| KeyHash::parse(text).map_err(|fault| fault.to_string());
                let hash = at.read_scalar(parse)?;
                let held = Held {
                    hash,
                    hint: None,
                    environment: None,
                };
                (at, held)
            }
            (None, Some(at)) => {
                let held = plain(&at, self.known.key_format)?;
                (at, held)
            }
            (None, None) => {
                if !fields.is_hollow() {
                    fields
                        .item()
                        .fault("one of `hash` and `secret` is required");
                }
                return None;
            }
        };
        self.hashes.claim(held.hash, &at, "the same key as")?;
        Some(held)
    }

    fn id(&mut self, fields: &Fields<'_>, held: Option<&Held>) -> Option<Id> {
        let given = fields.get("id");
        let id = match &given {
            Some(item) => item.read(|text| {
                Id::parse(Kind::Key, text)
                    .ok_or_else(|| "expected `key_` and 26 characters, as keygate shows it".into())
            })?,
            None => held?.hash.declared_id(),
        };
        let item = given.as_ref().unwrap_or(fields.item());
        self.ids.claim(id, item, "the same id as")
    }

    fn environment(&self, fields: &Fields<'_>, held: Option<&Held>) -> Option<String> {
        let own = held.and_then(|held| held.environment.as_deref());
        let environments = self.known.key_format?.environments();
        let Some(item) = fields.get("environment") else {
            return own
                .or(environments.first().map(String::as_str))
                .map(str::to_owned);
        };
        let name = item.text()?;
        if !environments.iter().any(|known| known == name) {
            let known: Vec<_> = environments.iter().map(String::as_str).collect();
            item.fault(value::unknown("environment", name, &known));
        } else if let Some(own) = own.filter(|own| *own != name) {
            item.fault(format!("the key itself says `{own}`"));
        }
        Some(name.to_owned())
    }

    fn consumer(&self, fields: &Fields<'_>) -> Option<Consumer> {
        let item = fields.get("consumer")?;
        let name = item.text()?;
        if !self.consumers.contains(name) {
            item.fault(value::unknown("consumer", name, &self.known.consumers));
        }
        self.declared.get(name).map(|one| (*one).clone())
    }

    fn allowed_routes(&self, fields: &Fields<'_>) -> Option<Vec<String>> {
        let mut seen = Seen::default();
        fields.list("routes", |item| {
            let name = item.text()?;
            if !self.routes.contains(name) {
                item.fault(value::unknown("route", name, &self.known.routes));
            }
            seen.claim(name.to_owned(), item, "the same as")
        })
    }
}

/// A key in clear text: hashed here, and dropped.
fn plain(item: &Item<'_>, format: Option<&KeyFormat>) -> Option<Held> {
    let key = PlainKey::new(item.read_secret()?.expose().clone());
    let text = key.expose();
    if text.len() > MAX_PRESENTED_LEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        item.fault("a key is at most 512 bytes of printable ASCII without spaces");
        return None;
    }
    if text.len() < MIN_FOREIGN_LEN {
        item.fault(format!("a key has at least {MIN_FOREIGN_LEN} bytes"));
        return None;
    }
    let format = format?;
    let shape = format.shape(text.as_bytes());
    if shape == Shape::Malformed {
        item.fault("looks like a key of keygate, but its length or its checksum is wrong");
        return None;
    }
    let environment = match shape {
        Shape::Native => text.split('_').nth(1).map(str::to_owned),
        Shape::Foreign | Shape::Malformed => None,
    };
    Some(Held {
        hash: key.hash(),
        hint: Some(format.hint(&key)),
        environment,
    })
}

fn warn_if_closed(item: &Item<'_>, spec: &KeySpec) {
    match &spec.routes {
        Some(routes) if routes.is_empty() => {
            item.warn("opens nothing: its list of routes is empty");
        }
        None if spec.scopes.is_empty() => {
            item.warn("opens nothing: it has no scopes and no routes");
        }
        Some(_) | None => {}
    }
}
