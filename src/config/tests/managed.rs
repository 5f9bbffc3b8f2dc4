//! Settings of what is managed while the gateway runs: what they mean, and the exact lines that faults draw.

use super::faults::{Case, LISTENERS, check};
use super::{faults, good};
use crate::config::Config;
use crate::domain::key::record::{DAY_MILLIS, Inactivity, InactivityMode};
use std::time::Duration;

const BASE: &str = "listeners: [{address: 127.0.0.1:8080}]\n";

pub(super) fn minimal(more: &str) -> Config {
    good(&format!("{BASE}{more}\n"))
}

#[test]
fn how_long_things_last() {
    let days = |days: u64| Duration::from_hours(24 * days);
    let config = minimal("");
    assert_eq!(config.inactivity, Inactivity::DEFAULT);
    assert_eq!(config.audit.retention, None);
    assert_eq!(config.audit.head_interval, Duration::from_hours(1));
    assert_eq!(config.usage.retention, days(400));
    assert!(!config.webhooks.allow_private);
    assert_eq!(config.webhooks.timeout, Duration::from_secs(15));
    let config = minimal(
        "inactivity: {mode: disable, after: 3650d}
audit: {retention: 90d, head_interval: 30d}
usage: {retention: 24h}
webhooks: {allow_private: true, timeout: 100ms}",
    );
    let want = Inactivity {
        mode: InactivityMode::Disable,
        after: 3650 * DAY_MILLIS,
    };
    assert_eq!(config.inactivity, want);
    assert_eq!(config.audit.retention, Some(days(90)));
    assert_eq!(config.audit.head_interval, days(30));
    assert_eq!(config.usage.retention, days(1));
    assert!(config.webhooks.allow_private);
    assert_eq!(config.webhooks.timeout, Duration::from_millis(100));
    for mode in InactivityMode::ALL {
        let config = minimal(&format!("inactivity: {{mode: {}}}", mode.name()));
        assert_eq!(config.inactivity.mode, mode);
    }
}

#[test]
fn sessions_and_names_of_the_management_port() {
    let management = minimal("").management;
    assert_eq!(management.sessions.idle, Duration::from_mins(30));
    assert_eq!(management.sessions.absolute, Duration::from_hours(12));
    assert!(management.allowed_hosts.is_empty());
    let management = minimal(
        "management:
  sessions: {idle: 1m, absolute: 1m}
  allowed_hosts: [Keys.Example.com, '[::0:1]', 10.0.0.5]",
    )
    .management;
    assert_eq!(management.sessions.idle, Duration::from_mins(1));
    assert_eq!(management.sessions.absolute, Duration::from_mins(1));
    assert_eq!(
        management.allowed_hosts,
        ["keys.example.com", "[::1]", "10.0.0.5"]
    );
    let sessions = minimal("management: {sessions: {absolute: 30m}}")
        .management
        .sessions;
    assert_eq!(sessions.idle, sessions.absolute);
}

#[test]
fn faults_of_the_management_port() {
    check(MANAGEMENT_CASES, &[LISTENERS]);
}

#[test]
fn workspaces_of_routes() {
    const ROUTE: &str = "upstreams: {a: {endpoints: [http://a]}}\nroutes: ";
    let of = |workspace: &str| {
        let route = format!("[{{name: a, match: {{}}, upstream: a, workspace: {workspace}}}]");
        minimal(&format!("{ROUTE}{route}")).routes[0]
            .workspace
            .clone()
    };
    assert_eq!(of("null"), None);
    for text in [
        "acme",
        "Acme GmbH/Berlin",
        "ws_00000000000000000000000001",
        "a/b/c/d/e/f/g/h",
    ] {
        assert_eq!(of(text).as_deref(), Some(text));
    }
    let expected = "expected an id (`ws_…`), or names such as `acme/berlin`";
    for (bad, what) in [
        ("''", "for the root leave `workspace` out"),
        (
            "ws_1",
            "expected `ws_` and 26 characters, as keygate shows it",
        ),
        ("/acme", expected),
        ("acme/", expected),
        ("acme//berlin", expected),
        ("' acme'", expected),
        ("acme / berlin", expected),
        ("\"a\\nb\"", expected),
        ("a/b/c/d/e/f/g/h/i", "workspaces are at most 8 levels deep"),
        ("5", "expected text; put it in quotes"),
        ("[acme]", "expected text"),
    ] {
        let text =
            format!("{BASE}{ROUTE}[{{name: a, match: {{}}, upstream: a, workspace: {bad}}}]");
        let want = format!("3:55: routes[0].workspace: {what}");
        assert_eq!(faults(&text), [want], "{bad}");
    }
}

#[test]
fn a_workspace_needs_a_store() {
    let with = |store: &str| {
        faults(&format!(
            "store: {store}\n{BASE}upstreams: {{a: {{endpoints: [http://a]}}}}\nroutes: [{{name: a, match: {{}}, upstream: a, workspace: acme}}]"
        ))
    };
    let want = "4:55: routes[0].workspace: workspaces are kept in the store, and `store` is `none`";
    assert_eq!(with("none"), [want]);
    // What is at fault itself draws no fault elsewhere.
    assert_eq!(with("5"), ["1:8: store: expected text; put it in quotes"]);
    assert!(with("sqlite:k.db").is_empty());
}

#[test]
fn faults_of_times() {
    check(TIME_CASES, &[LISTENERS]);
}

const TIME_CASES: &[Case] = &[
    (
        "inactivity: {mode: remove, after: 23h, before: 1d}",
        &[
            "1:20: inactivity.mode: unknown mode `remove`; known: off, notify, disable, delete",
            "1:35: inactivity.after: must be from 1d to 3650d",
            "1:40: inactivity.before: unknown field `before`; known: mode, after",
        ],
    ),
    (
        "inactivity: {mode: [off], after: 90}",
        &[
            "1:20: inactivity.mode: expected text",
            "1:34: inactivity.after: a duration needs a unit (ms, s, m, h, d), such as `30s`",
        ],
    ),
    (
        "inactivity: {mode: delte, after: 3651d}",
        &[
            "1:20: inactivity.mode: unknown mode `delte`; did you mean `delete`?",
            "1:34: inactivity.after: longer than 3650d",
        ],
    ),
    (
        "audit: {retention: 89d, head_interval: 999ms, head: 1h}",
        &[
            "1:20: audit.retention: must be from 90d to 3650d (or `off` for no limit)",
            "1:40: audit.head_interval: must be from 1s to 30d",
            "1:47: audit.head: unknown field `head`; known: retention, head_interval",
        ],
    ),
    (
        "audit: {retention: false, head_interval: off}",
        &[
            "1:20: audit.retention: expected a duration such as `30s` (or `off` for no limit)",
            "1:42: audit.head_interval: expected a duration such as `30s`",
        ],
    ),
    (
        "usage: {retention: off}",
        &["1:20: usage.retention: expected a duration such as `30s`"],
    ),
    (
        "usage: {retention: 0s, per: key}",
        &[
            "1:20: usage.retention: must be from 1d to 3650d",
            "1:24: usage.per: unknown field `per`; known: retention",
        ],
    ),
    (
        "webhooks: {allow_private: yes, timeout: 301s, retries: 3}",
        &[
            "1:27: webhooks.allow_private: expected `true` or `false`",
            "1:41: webhooks.timeout: must be from 100ms to 5m",
            "1:47: webhooks.retries: unknown field `retries`; known: allow_private, timeout",
        ],
    ),
    (
        "inactivity: 90d\naudit: off\nusage: 1\nwebhooks: []",
        &[
            "1:13: inactivity: expected a mapping",
            "2:8: audit: expected a mapping",
            "3:8: usage: expected a mapping",
            "4:11: webhooks: expected a mapping",
        ],
    ),
];

const MANAGEMENT_CASES: &[Case] = &[
    (
        "management: {sessions: {idle: 59s, absolute: 91d, max: 1}, allowed_hosts: x, hosts: []}",
        &[
            "1:31: management.sessions.idle: must be from 1m to 90d",
            "1:46: management.sessions.absolute: must be from 1m to 90d",
            "1:51: management.sessions.max: unknown field `max`; known: idle, absolute",
            "1:75: management.allowed_hosts: expected a list",
            "1:78: management.hosts: unknown field `hosts`; known: address, token, sessions, allowed_hosts",
        ],
    ),
    (
        "management: {sessions: {idle: 13h, absolute: 1}}",
        &[
            "1:46: management.sessions.absolute: a duration needs a unit (ms, s, m, h, d), such as `30s`",
        ],
    ),
    (
        "management: {sessions: {idle: 13h}}",
        &[
            "1:31: management.sessions.idle: `idle` must not be longer than `absolute` (30m and 12h unless given)",
        ],
    ),
    (
        "management: {sessions: {absolute: 29m}}",
        &[
            "1:35: management.sessions.absolute: `idle` must not be longer than `absolute` (30m and 12h unless given)",
        ],
    ),
    (
        "management: {sessions: {idle: 2h, absolute: 1h}}",
        &[
            "1:31: management.sessions.idle: `idle` must not be longer than `absolute` (30m and 12h unless given)",
        ],
    ),
    (
        "management: {allowed_hosts: [keys.example.com, KEYS.example.com, 'a:80', '*.a', 'a b', 5, 'https://a']}",
        &[
            "1:48: management.allowed_hosts[1]: the same as management.allowed_hosts[0]",
            "1:66: management.allowed_hosts[2]: a host to match has no port",
            "1:74: management.allowed_hosts[3]: not a valid host name",
            "1:81: management.allowed_hosts[4]: not a valid host name",
            "1:88: management.allowed_hosts[5]: expected text; put it in quotes",
            "1:91: management.allowed_hosts[6]: a port is a number from 1 to 65535",
        ],
    ),
    (
        "management: {sessions: 30m}",
        &["1:24: management.sessions: expected a mapping"],
    ),
];
