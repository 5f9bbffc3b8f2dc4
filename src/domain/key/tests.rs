//! Form, checksum, hint, hash, status.

use super::*;
use crate::domain::time::Timestamp;
use proptest::prelude::*;

fn scanner() -> regex::Regex {
    regex::Regex::new(SCANNER_REGEX).unwrap()
}

proptest! {
    #[test]
    fn every_composed_key_is_native_and_found_by_the_regex(random: [u8; 32]) {
        let format = KeyFormat::default();
        for environment in format.environments() {
            let key = format.compose(environment, &random);
            prop_assert_eq!(format.shape(key.expose().as_bytes()), Shape::Native);
            prop_assert!(scanner().is_match(key.expose()));
            prop_assert!(key.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
            prop_assert_eq!(key.expose().len(), 3 + environment.len() + 1 + BODY_LEN);
        }
    }

    #[test]
    fn any_changed_character_is_noticed(random: [u8; 32], place in 0..57_usize, letter in "[0-9A-Za-z]") {
        let format = KeyFormat::default();
        let key = format.compose("live", &random);
        let mut text = key.expose().to_owned();
        text.replace_range(place..=place, &letter);
        if text != key.expose() {
            prop_assert_ne!(format.shape(text.as_bytes()), Shape::Native);
        }
    }

    #[test]
    fn shape_never_panics(bytes: Vec<u8>) {
        let _ = KeyFormat::default().shape(&bytes);
    }

    #[test]
    fn different_bits_make_different_keys(one: [u8; 32], other: [u8; 32]) {
        let format = KeyFormat::default();
        prop_assert_eq!(one == other,
            format.compose("live", &one).expose() == format.compose("live", &other).expose());
    }

    #[test]
    fn hash_text_round_trips(bytes: Vec<u8>) {
        let hash = KeyHash::of(&bytes);
        prop_assert_eq!(KeyHash::parse(&hash.at_rest()), Ok(hash));
    }
}

#[test]
fn all_bits_set_and_none_fill_43_digits() {
    let format = KeyFormat::default();
    assert!(
        format
            .compose("live", &[0; 32])
            .expose()
            .starts_with(&format!("kg_live_{}", "0".repeat(43)))
    );
    assert_eq!(format.compose("live", &[0xff; 32]).expose().len(), 57);
}

#[test]
fn shapes() {
    let format = KeyFormat::default();
    let admin = format.compose("admin", &[7; 32]);
    let native = format.compose("test", &[7; 32]);
    let longer = format!("{}x", native.expose());
    let cases: [(&str, Shape); 8] = [
        (native.expose(), Shape::Native),
        (&longer, Shape::Malformed),
        (
            &native.expose()[..native.expose().len() - 1],
            Shape::Malformed,
        ),
        (admin.expose(), Shape::Malformed),
        ("kg_live_", Shape::Malformed),
        ("kg_staging_abc", Shape::Foreign),
        ("sk-abc", Shape::Foreign),
        ("", Shape::Foreign),
    ];
    for (text, want) in cases {
        assert_eq!(format.shape(text.as_bytes()), want, "{text}");
    }
}

#[test]
fn the_hint_shows_eight_characters_of_a_native_key() {
    let format = KeyFormat::default();
    let key = format.compose("live", &[9; 32]);
    let body = &key.expose()[8..];
    assert_eq!(
        format.hint(&key),
        format!("kg_live_{}…{}", &body[..4], &body[45..])
    );
    assert_eq!(format.hint(&PlainKey::new("short".into())), "…");
    assert_eq!(
        format.hint(&PlainKey::new("0123456789abcdefghijklmnop".into())),
        "…mnop"
    );
}

#[test]
fn nothing_prints_a_key_or_its_hash() {
    let key = KeyFormat::default().compose("live", &[3; 32]);
    assert!(!format!("{key:?}").contains(&key.expose()[8..]));
    assert!(!format!("{:?}", key.hash()).contains(&key.hash().at_rest()[7..]));
}

#[test]
fn generated_keys_differ_and_need_a_known_environment() {
    let format = KeyFormat::default();
    assert_ne!(
        format.generate("live").unwrap().expose(),
        format.generate("live").unwrap().expose()
    );
    assert!(matches!(
        format.generate("admin"),
        Err(GenerateError::Environment(..))
    ));
}

#[test]
fn formats_refuse_what_would_not_scan() {
    let live = vec![String::from("live")];
    assert_eq!(KeyFormat::new("K", &live), Err(FormatFault::Brand));
    assert_eq!(KeyFormat::new("kg", &[]), Err(FormatFault::NoEnvironment));
    assert_eq!(
        KeyFormat::new("kg", &["admin".into()]),
        Err(FormatFault::AdminEnvironment)
    );
    assert_eq!(
        KeyFormat::new("kg", &["a_b".into()]),
        Err(FormatFault::Environment)
    );
    assert_eq!(KeyFormat::new("acme", &live).unwrap().brand(), "acme");
}

#[test]
fn status_is_the_first_that_applies() {
    let at = Timestamp::from_millis;
    let day = 24 * 60 * 60 * 1000;
    let now = at(100 * day);
    let cases = [
        (KeyState::Revoked, None, Some(at(0)), KeyStatus::Revoked),
        (KeyState::Disabled, None, Some(at(0)), KeyStatus::Disabled),
        (
            KeyState::Active,
            Some(at(101 * day)),
            None,
            KeyStatus::NotYetValid,
        ),
        (KeyState::Active, None, Some(now), KeyStatus::Expired),
        (
            KeyState::Active,
            None,
            Some(at(115 * day)),
            KeyStatus::Expiring,
        ),
        (
            KeyState::Active,
            None,
            Some(at(116 * day)),
            KeyStatus::Active,
        ),
        (KeyState::Active, Some(now), None, KeyStatus::Active),
    ];
    for (state, not_before, expires_at, want) in cases {
        assert_eq!(
            KeyStatus::of(state, (not_before, expires_at), (None, None), now),
            want
        );
    }
}
