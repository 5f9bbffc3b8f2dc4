//! Which events a webhook asks for.

use super::*;

#[test]
fn patterns() {
    let cases = [
        ("key.created", "key.created", true),
        ("key.*", "key.created", true),
        ("key.*", "key.usage.spike", true),
        ("key.*", "keys.created", false),
        ("*", "webhook.created", true),
        ("key.created", "key.created.x", false),
    ];
    for (pattern, event, want) in cases {
        assert_eq!(matches(pattern, event), want, "{pattern} {event}");
        assert!(is_pattern(pattern));
    }
    for bad in [
        "",
        "key.",
        ".",
        "key*",
        "Key.created",
        "key..x",
        "key.*.x",
        "k y",
    ] {
        assert!(!is_pattern(bad), "{bad}");
    }
}

#[test]
fn a_pattern_is_known_if_there_is_an_event_that_it_means() {
    assert!(
        types::TYPES.is_sorted(),
        "each can be found, and is there once"
    );
    for pattern in types::patterns() {
        assert!(types::is_known(&pattern), "{pattern}");
    }
    for unknown in [
        "key.revokd",
        "keyring.*",
        "key.created.*",
        "key",
        "webhook.test",
    ] {
        assert!(is_pattern(unknown), "{unknown}");
        assert!(!types::is_known(unknown), "{unknown}");
        assert!(types::near(unknown).len() <= 25, "{unknown}");
    }
    let near = types::near("key.revokd");
    assert!(near.contains(&"key.revoked".into()) && !near.contains(&"keys.imported".into()));
    assert!(types::near("keyring.*").contains(&"key.*".into()));
}
