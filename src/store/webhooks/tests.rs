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
