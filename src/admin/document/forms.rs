//! What parameters and fields hold, by their names: from the lists and limits by which the handlers read them.

use crate::domain::id::Kind;
use crate::domain::key::record::InactivityMode;
use crate::domain::key::{KeyStatus, MAX_PRESENTED_LEN, MIN_FOREIGN_LEN};
use crate::domain::method::STANDARD;
use crate::domain::role::Role;
use crate::domain::route::LocationKind;
use crate::store::deliveries::DeliveryState;
use crate::store::keys::{Reason, SortBy};
use crate::store::people::MemberState;
use crate::store::webhooks::types;
use crate::store::write::Class;
use serde_json::{Value, json};

/// Control characters, and those that [`crate::domain::name::deceives`] finds anywhere. Those beyond the first 65,536 stand
/// for themselves: how they are written otherwise differs.
const UNSEEN: &str = "\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\
    \\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2064\\u2066-\\u2069\\u2800\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\
    \\ufff9-\\ufffb\u{e0000}-\u{e0fff}";
const NO_CONTROL: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";
const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
const ADDRESS: &str = "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\
    @[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$";

/// Collections whose objects have a kind of id in their path.
pub(super) const COLLECTIONS: [(&str, Kind); 8] = [
    ("keys", Kind::Key),
    ("consumers", Kind::Consumer),
    ("workspaces", Kind::Workspace),
    ("members", Kind::Member),
    ("tokens", Kind::Token),
    ("sessions", Kind::Session),
    ("notices", Kind::Notice),
    ("webhooks", Kind::Webhook),
];

pub(super) fn id(kind: Kind) -> Value {
    let pattern = format!("^{}[0-7][0-9a-hjkmnp-tv-z]{{25}}$", kind.prefix());
    json!({"pattern": pattern})
}

fn time() -> Value {
    json!({"anyOf": [{"format": "date-time"}, {"format": "date"}]})
}

fn duration() -> Value {
    json!({"pattern": "^[0-9]+(ms|s|m|h|d)$", "maxLength": 64})
}

fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"enum": names.into_iter().collect::<Vec<_>>()})
}

fn words(least: usize, most: usize) -> Value {
    json!({"minLength": least, "maxLength": most, "pattern": NO_CONTROL})
}

/// What people go by: nothing unseen, none of `but`, and no space at either end.
fn label(but: &str, most: usize) -> Value {
    let end = format!("[^{but}\\s{UNSEEN}]");
    let pattern = format!("^{end}([^{but}{UNSEEN}]*{end})?$");
    json!({"minLength": 1, "maxLength": most, "pattern": pattern})
}

fn text_of(mut form: Value) -> Value {
    form["type"] = "string".into();
    form
}

fn list(most: usize, item: Value) -> Value {
    json!({"maxItems": most, "uniqueItems": true, "items": text_of(item)})
}

fn some(mut list: Value) -> Value {
    list["minItems"] = 1.into();
    list
}

/// What a parameter that is text holds, when nothing else is known of it.
pub(super) fn any_text() -> Value {
    json!({"pattern": NO_CONTROL})
}

/// What a parameter of an operation holds; `None`: nothing but its type is known.
pub(super) fn parameter(operation: &str, name: &str) -> Option<Value> {
    Some(match (operation, name) {
        (_, "workspace" | "parent") => id(Kind::Workspace),
        (_, "consumer") => id(Kind::Consumer),
        (_, "member") => id(Kind::Member),
        (_, "cursor") => json!({"pattern": "^[A-Za-z0-9_-]+$"}),
        (_, "expires_before" | "unused_since" | "from" | "to") => time(),
        (_, "Idempotency-Key") => json!({"pattern": "^[!-~]{1,255}$"}),
        ("list_keys" | "export_keys", "q") => words(0, 256),
        ("list_keys" | "export_keys", "status") => one_of(KeyStatus::ALL.map(KeyStatus::name)),
        ("list_keys", "sort") => {
            let names = SortBy::ALL.map(SortBy::name);
            let both = names
                .into_iter()
                .flat_map(|name| [name.into(), format!("-{name}")]);
            json!({"enum": both.collect::<Vec<_>>()})
        }
        ("review_keys", "reason" | "except") => one_of(Reason::ALL.map(Reason::name)),
        ("list_audit" | "export_audit", "class") => one_of(Class::ALL.map(Class::name)),
        ("list_audit" | "export_audit", "outcome") => one_of(["success", "denied", "error"]),
        ("export_audit", "format") => one_of(["jsonl", "csv"]),
        ("list_members", "state") => one_of(MemberState::ALL.map(MemberState::name)),
        ("list_tokens", "status") => one_of(["active", "expired", "revoked"]),
        ("show_usage" | "list_usage", "by") => one_of(["hour", "day"]),
        ("list_usage", "key") => id(Kind::Key),
        ("list_deliveries", "state") => one_of(DeliveryState::ALL.map(DeliveryState::name)),
        _ => return None,
    })
}

/// What a field of a request's body holds; `None`: what its annotation says.
pub(super) fn field(schema: &str, name: &str) -> Option<Value> {
    special(schema, name)
        .or_else(|| list_field(name))
        .or_else(|| text_field(name))
}

/// Fields that hold something else than fields of this name do elsewhere.
fn special(schema: &str, name: &str) -> Option<Value> {
    Some(match (schema, name) {
        ("NewWorkspace" | "WorkspacePatch", "name") => label("/", 128),
        ("SignIn", "email") => words(1, 254),
        ("SignIn", "password") | ("NewPassword", "current") => words(1, 256),
        ("Verification", "scopes") => list(64, words(1, 128)),
        ("Wonder", "key_id") | ("ImportedKey", "id") => id(Kind::Key),
        ("ImportedKey", "secret") => {
            json!({"minLength": MIN_FOREIGN_LEN, "maxLength": MAX_PRESENTED_LEN, "pattern": "^[!-~]+$"})
        }
        ("ImportedKey", "hash") => json!({"pattern": "^(blake3|sha256):[0-9a-f]{64}$"}),
        ("BulkAct", "action") => one_of([
            "disable", "enable", "revoke", "delete", "restore", "retire", "keep", "transfer",
        ]),
        ("Retirement", "number") => json!({"minimum": 1}),
        ("NewWebhook" | "SecretRotation", "secret") => {
            json!({"pattern": "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$"})
        }
        ("MemberPatch" | "WebhookPatch", "state") => one_of(["active", "disabled"]),
        _ => return None,
    })
}

/// Fields with many things in them.
fn list_field(name: &str) -> Option<Value> {
    let header = json!({"type": "string", "pattern": "^[ -~]*$"});
    Some(match name {
        "ids" => list(1000, id(Kind::Key)),
        "deliveries" => some(list(100, id(Kind::Delivery))),
        "scopes" => list(64, json!({"pattern": "^[A-Za-z0-9:._/-]{1,128}$"})),
        "routes" => list(64, words(1, 63)),
        "methods" => some(list(9, one_of(STANDARD.iter().map(http::Method::as_str)))),
        "ip_allow" => list(64, json!({"pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"})),
        "locations" => {
            let names = LocationKind::ALL.iter().map(|kind| kind.name());
            some(list(3, one_of(names)))
        }
        "tags" => list(32, label("", 64)),
        "events" => list(64, one_of(types::patterns().iter().map(String::as_str))),
        "metadata" => json!({
            "maxProperties": 32,
            "propertyNames": label("", 128),
            "additionalProperties": text_of(words(0, 1024)),
        }),
        "headers" => json!({
            "maxProperties": 256,
            "propertyNames": {"pattern": TOKEN},
            "additionalProperties": {"anyOf": [header, {"type": "array", "items": header}]},
        }),
        _ => return None,
    })
}

/// Fields with text of some form.
fn text_field(name: &str) -> Option<Value> {
    Some(match name {
        "name" => label("", 128),
        "description" => words(0, 1024),
        "workspace" | "parent" => id(Kind::Workspace),
        "consumer" => words(1, 128),
        "not_before" | "expires_at" | "before" | "since" | "created_at" | "last_used_at" => time(),
        "after" | "grace" | "overlap" => duration(),
        "mode" => one_of(InactivityMode::ALL.map(InactivityMode::name)),
        "role" => one_of(Role::ALL.map(Role::name)),
        "reason" | "kind" | "target" => words(1, 64),
        "route" => words(1, 63),
        "text" => words(1, 1024),
        "external_id" => label("", 256),
        "email" => json!({"minLength": 3, "maxLength": 254, "pattern": ADDRESS}),
        "password" | "new" => words(12, 256),
        "url" => {
            json!({"maxLength": 2048, "pattern": "^https?://[^\\s\\u0000-\\u001f\\u007f-\\u009f]+$"})
        }
        "method" => json!({"pattern": TOKEN}),
        "path" => json!({"maxLength": 4096, "pattern": "^/[^#]*$"}),
        "host" => json!({"pattern": "^[A-Za-z0-9._:\\[\\]-]+$"}),
        "ip" => json!({"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
        _ => return None,
    })
}

/// Fields that can be changed but not cleared, so that null is not among what they hold.
pub(super) fn is_never_null(schema: &str, name: &str) -> bool {
    schema.ends_with("Patch") && matches!(name, "name" | "url" | "email")
        || matches!(
            (schema, name),
            ("MemberPatch", "state") | ("LimitsPatch", "rate")
        )
}

/// What the tags of the operations mean.
pub(super) const TAGS: [(&str, &str); 12] = [
    (
        "keys",
        "Keys that consumers present, through their whole life.",
    ),
    ("consumers", "Who calls, and owns keys."),
    (
        "workspaces",
        "The tree of tenants: who has a role in one has it in all below.",
    ),
    (
        "members",
        "People who administer, their roles and their data.",
    ),
    ("sessions", "Where members are signed in."),
    ("tokens", "Keys of this API, for programs."),
    ("whoami", "Who asks, and what they may do."),
    (
        "audit",
        "Who did what, as a chain that nobody can change unseen.",
    ),
    ("notices", "What people should know."),
    ("webhooks", "Addresses that are told of events."),
    ("usage", "What was done with keys, by the hour."),
    ("system", "The gateways themselves."),
];
