//! The types of event that webhooks are told of. Each that is recorded stands here: debug builds, and so all tests, refuse
//! to record another one.

/// All of them, in order.
pub const TYPES: [&str; 41] = [
    "consumer.created",
    "consumer.deleted",
    "consumer.updated",
    "key.created",
    "key.deleted",
    "key.disabled",
    "key.enabled",
    "key.expired",
    "key.expiring",
    "key.inactive",
    "key.inactive_withdrawn",
    "key.kept",
    "key.new_network",
    "key.purged",
    "key.refusal_spike",
    "key.restored",
    "key.retired",
    "key.revoked",
    "key.rotated",
    "key.secret_forgotten",
    "key.transferred",
    "key.updated",
    "key.used_after_quiet",
    "keys.imported",
    "member.created",
    "member.erased",
    "member.password_changed",
    "member.role_granted",
    "member.role_taken",
    "member.updated",
    "token.created",
    "token.revoked",
    "webhook.created",
    "webhook.deleted",
    "webhook.disabled",
    "webhook.enabled",
    "webhook.secret_rotated",
    "webhook.updated",
    "workspace.created",
    "workspace.deleted",
    "workspace.updated",
];

/// All patterns that mean one of them at least: `*`, `key.*`, `key.created`.
pub fn patterns() -> Vec<String> {
    let mut all = vec!["*".to_owned()];
    all.extend(families());
    all.extend(TYPES.map(str::to_owned));
    all
}

/// Whether a pattern means one of them at least.
pub fn is_known(pattern: &str) -> bool {
    super::is_pattern(pattern) && TYPES.iter().any(|kind| super::matches(pattern, kind))
}

/// What a pattern that means none of them may have been meant for: the types about the same, else what there is types of.
pub fn near(pattern: &str) -> Vec<String> {
    let noun = pattern.split('.').next().unwrap_or_default();
    let about: Vec<String> = TYPES
        .iter()
        .filter(|kind| noun_of(kind) == noun)
        .map(|kind| (*kind).to_owned())
        .collect();
    if about.is_empty() { families() } else { about }
}

/// `key.*` for each thing that there are types of.
fn families() -> Vec<String> {
    let mut all: Vec<String> = TYPES
        .iter()
        .map(|kind| format!("{}.*", noun_of(kind)))
        .collect();
    all.dedup();
    all
}

fn noun_of(kind: &str) -> &str {
    kind.split('.').next().unwrap_or(kind)
}
