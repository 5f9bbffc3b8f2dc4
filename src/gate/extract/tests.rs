//! The rules of extraction, a case each.

use super::*;
use crate::domain::fields::Fields;
use crate::domain::scope::ScopeDemand;
use proptest::prelude::*;

fn policy(locations: Vec<Location>) -> AuthPolicy {
    AuthPolicy {
        required: true,
        locations,
        scopes: ScopeDemand::None,
        preflight: false,
    }
}

fn all() -> AuthPolicy {
    policy(vec![
        Location::Header(HeaderName::from_static("x-api-key")),
        Location::Bearer,
        Location::Query("api_key".into()),
    ])
}

fn headers(fields: &[(&str, &str)]) -> Fields {
    let mut all = Fields::default();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        all.push(&name, value.as_bytes());
    }
    all
}

/// The key that is found, as text; `Err` for a refusal.
fn found(
    policy: &AuthPolicy,
    fields: &[(&str, &str)],
    query: Option<&str>,
) -> Result<Option<String>, Denied> {
    let headers = headers(fields);
    let presented = find(policy, &headers, query)?;
    Ok(presented.map(|key| String::from_utf8_lossy(key.expose()).into_owned()))
}

#[test]
fn one_key_in_any_place() {
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 18] = [
        (&[("x-api-key", "k")], None, Some("k")),
        (&[("X-API-KEY", "k")], None, Some("k")),
        (&[("authorization", "Bearer k")], None, Some("k")),
        (&[("authorization", "bEaReR   k")], None, Some("k")),
        (&[], Some("api_key=k"), Some("k")),
        (&[], Some("a=1&api_key=k&b"), Some("k")),
        (&[], Some("api%5Fkey=k"), Some("k")),
        (&[], Some("%61pi_key=%6b"), Some("k")),
        (&[], Some("api_key=a+b"), Some("a+b")),
        (&[], Some("API_KEY=k"), None),
        (&[], None, None),
        (&[("x-api-key", "")], None, None),
        (&[("authorization", "Bearer")], None, None),
        (&[("authorization", "Bearerk")], None, None),
        (&[("authorization", "Basic dTpw")], None, None),
        (
            &[("authorization", "Basic dTpw"), ("x-api-key", "k")],
            None,
            Some("k"),
        ),
        (
            &[("x-api-key", ""), ("authorization", "Bearer k")],
            None,
            Some("k"),
        ),
        (
            &[("authorization", "Basic a"), ("authorization", "Digest b")],
            None,
            None,
        ),
    ];
    for (fields, query, want) in cases {
        assert_eq!(
            found(&all(), fields, query),
            Ok(want.map(Into::into)),
            "{fields:?} {query:?}"
        );
    }
}

#[test]
fn ambiguity_is_refused() {
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
    let cases: [Case<'_>; 9] = [
        (&[("x-api-key", "a"), ("x-api-key", "a")], None),
        (&[("x-api-key", "a"), ("x-api-key", "b")], None),
        (&[("x-api-key", "a"), ("authorization", "Bearer b")], None),
        (&[("x-api-key", "a")], Some("api_key=b")),
        (&[("authorization", "Bearer a")], Some("api_key=b")),
        (&[], Some("api_key=a&api_key=a")),
        (&[], Some("api_key=a&api%5fkey=b")),
        (
            &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
            None,
        ),
        (
            &[("authorization", "Basic a"), ("authorization", "Bearer a")],
            None,
        ),
    ];
    for (fields, query) in cases {
        assert_eq!(
            found(&all(), fields, query),
            Err(Denied::Ambiguous),
            "{fields:?} {query:?}"
        );
    }
}

#[test]
fn the_same_key_in_two_places_is_one_key() {
    assert_eq!(
        found(
            &all(),
            &[("x-api-key", "a"), ("authorization", "Bearer a")],
            None
        ),
        Ok(Some("a".into()))
    );
}

#[test]
fn a_route_without_bearer_leaves_authorization_alone() {
    let header_only = policy(vec![Location::Header(HeaderName::from_static("x-api-key"))]);
    let fields = [("x-api-key", "a"), ("authorization", "Bearer b")];
    assert_eq!(found(&header_only, &fields, None), Ok(Some("a".into())));
    assert_eq!(left(&header_only, &fields), ["authorization"]);
}

#[test]
fn stripping_takes_every_place_and_no_other_scheme() {
    let fields = [
        ("x-api-key", "a"),
        ("x-api-key", "b"),
        ("authorization", "Basic c"),
        ("other", "d"),
    ];
    assert_eq!(left(&all(), &fields), ["authorization", "other"]);
    let hidden = [
        ("authorization", "BEARER d"),
        ("authorization", "Bearer\td"),
        ("x_api-key", "e"),
        ("x_api_key", "f"),
    ];
    assert!(left(&all(), &hidden).is_empty());
}

/// Names of the fields that are no places for keys.
fn left(policy: &AuthPolicy, fields: &[(&str, &str)]) -> Vec<String> {
    let map = headers(fields);
    let kept = map
        .iter()
        .filter(|(name, value)| !is_key_field(policy, name, value));
    kept.map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect()
}

#[test]
fn the_rest_of_the_query_keeps_its_bytes() {
    let cases = [
        ("api_key=k", Some("")),
        ("api_key", Some("")),
        ("a=%20+%2b&api_key=k&b=&&c", Some("a=%20+%2b&b=&&c")),
        ("api%5fkey=k&a", Some("a")),
        ("a&api_key=k", Some("a")),
        ("a=1&b=2", None),
        ("", None),
        ("xapi_key=k", None),
    ];
    for (query, want) in cases {
        assert_eq!(strip_query(&all(), query).as_deref(), want, "{query}");
    }
}

#[test]
fn an_overlong_key_is_unknown_before_it_is_hashed() {
    let long = "k".repeat(MAX_PRESENTED_LEN + 1);
    assert_eq!(
        found(&all(), &[("x-api-key", &long)], None),
        Err(Denied::Unknown)
    );
}

proptest! {
    #[test]
    fn no_query_keeps_a_key_parameter(query in "[a-z_=&%0-9]{0,60}") {
        let left = strip_query(&all(), &query).unwrap_or_else(|| query.clone());
        prop_assert!(in_query(&left, "api_key").is_ok_and(|found| found.is_none()));
    }

    #[test]
    fn a_query_without_the_parameter_is_untouched(query in "[b-z=&%0-9]{0,60}") {
        prop_assert_eq!(strip_query(&all(), &query), None);
    }

    #[test]
    fn what_is_cut_is_all_that_is_cut(before in "[b-z=0-9]{1,20}", after in "[b-z=0-9]{1,20}", key in "[a-z0-9]{0,9}") {
        let query = format!("{before}&api_key={key}&{after}");
        prop_assert_eq!(strip_query(&all(), &query), Some(format!("{before}&{after}")));
    }
}
