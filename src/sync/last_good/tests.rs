//! What is written is read again, and nothing else is.

use super::format::{Head, read, write};
use super::{USES_PAUSE, uses_wait};
use crate::domain::consumer::Consumer;
use crate::domain::id::Id;
use crate::domain::key::{Algorithm, KeyHash, KeySpec, KeyState, Origin};
use crate::domain::limit::{Limit, Rate};
use crate::domain::method::MethodSet;
use crate::domain::route::{LocationKind, LocationSet};
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use crate::domain::workspace::{Lineage, root};
use crate::snapshot::key::{KeyCompiler, Symbols};
use crate::snapshot::workspaces::Workspaces;
use crate::store::frame::FrameFault;
use crate::store::keys::LoadedKey;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn spec(number: u32) -> KeySpec {
    let hash = KeyHash::of(&number.to_be_bytes());
    KeySpec {
        id: Id::from_bits(u128::from(number) << 70),
        name: format!("key {number}"),
        origin: Origin::Store,
        workspace: root(),
        hash,
        algorithm: Algorithm::Blake3,
        retires_at: None,
        hint: None,
        consumer: None,
        environment: "live".into(),
        scopes: Vec::new(),
        routes: None,
        methods: MethodSet::ANY,
        ip_allow: Vec::new(),
        locations: LocationSet::ANY,
        limits: None,
        not_before: None,
        expires_at: None,
        state: KeyState::Active,
        metadata: BTreeMap::new(),
    }
}

/// A key with nothing left out.
fn full(number: u32) -> KeySpec {
    let text = |text: &str| Some(text.to_owned());
    KeySpec {
        name: "Zürich \"quoted\"".into(),
        workspace: Id::from_bits(5),
        algorithm: Algorithm::Sha256,
        hint: text("kg_live_…aB3x"),
        consumer: Some(Consumer {
            id: Id::from_bits(9),
            name: "acme".into(),
            limits: Some(Limit::new(Rate::parse("90/m").unwrap(), Some(7)).unwrap()),
        }),
        environment: "test".into(),
        scopes: ["app:read", "app:write"]
            .map(|name| Scope::parse(name).unwrap())
            .into(),
        routes: Some(vec!["one".into(), "two".into()]),
        methods: MethodSet::EMPTY.with(&http::Method::PUT).unwrap(),
        ip_allow: vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ],
        locations: LocationSet::EMPTY.with(LocationKind::Bearer),
        limits: Some(Limit::new(Rate::parse("1/d").unwrap(), None).unwrap()),
        not_before: Some(Timestamp::from_millis(-5)),
        expires_at: Some(Timestamp::from_millis(1 << 50)),
        state: KeyState::Disabled,
        metadata: [("größe".to_owned(), "ß\n".to_owned())].into(),
        ..spec(number)
    }
}

fn head() -> Head {
    Head {
        store: "0123".into(),
        revision: 77,
        at: Timestamp::from_millis(1_798_761_600_000),
    }
}

fn tree() -> Workspaces {
    let acme = Id::from_bits(5);
    Workspaces::new([
        (Lineage::new(vec![root()]), "root".into()),
        (Lineage::new(vec![root(), acme]), "acme".into()),
    ])
}

fn write_all(place: &Path, specs: &[KeySpec]) {
    let (mut compiler, symbols) = (KeyCompiler::default(), Symbols::default());
    let keys = specs.iter().map(|spec| compiler.compile(spec, &symbols));
    let keys: Vec<_> = keys.map(Arc::new).collect();
    if let Some(last) = keys.last() {
        last.usage
            .used(Timestamp::from_millis(1234), "203.0.113.7".parse().unwrap());
    }
    let routes = symbols.routes();
    let written = write(place, &head(), &tree(), keys, &routes).unwrap();
    assert_eq!(written, specs.len() as u64);
}

fn read_all(place: &Path) -> Result<(Head, Workspaces, Vec<LoadedKey>), FrameFault> {
    let mut all = Vec::new();
    let (head, tree) = read(place, |portion| all.extend(portion))?;
    Ok((head, tree, all))
}

#[test]
fn every_field_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join(super::FILE);
    let retiring = KeySpec {
        retires_at: Some(Timestamp::from_millis(99)),
        ..spec(3)
    };
    let specs = [spec(1), full(2), retiring, full(4)];
    write_all(&place, &specs);
    let (found, tree, keys) = read_all(&place).unwrap();
    assert_eq!(found, head());
    assert_eq!(tree.find("acme").map(Lineage::own), Some(Id::from_bits(5)));
    let read: Vec<&KeySpec> = keys.iter().filter_map(|key| key.spec.as_ref()).collect();
    assert_eq!(read, specs.iter().collect::<Vec<_>>());
    for (key, spec) in keys.iter().zip(&specs) {
        assert_eq!((key.hash, key.algorithm), (spec.hash, spec.algorithm));
    }
    let usage = keys[3].usage;
    assert_eq!(usage.last_used_at, Some(Timestamp::from_millis(1234)));
    assert_eq!(usage.first_used_at, usage.last_used_at);
    assert_eq!(usage.last_used_ip, "203.0.113.7".parse().ok());
    assert_eq!(keys[0].usage.last_used_at, None);
}

#[test]
fn many_keys_come_in_several_blocks_and_none_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join(super::FILE);
    let specs: Vec<KeySpec> = (0..10_000).map(spec).collect();
    write_all(&place, &specs);
    let mut portions = 0;
    let mut names = Vec::new();
    read(&place, |portion| {
        portions += 1;
        names.extend(portion.into_iter().filter_map(|key| Some(key.spec?.name)));
    })
    .unwrap();
    assert!(portions > 1, "{portions}");
    assert_eq!(names.len(), 10_000);
    assert_eq!(names[9_999], "key 9999");
}

#[test]
fn nothing_is_taken_from_a_file_that_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join(super::FILE);
    assert!(read_all(&place).unwrap_err().is_missing());
    write_all(&place, &[full(1), spec(2)]);
    let good = std::fs::read(&place).unwrap();
    for length in (0..good.len()).step_by(7) {
        std::fs::write(&place, &good[..length]).unwrap();
        let mut taken = 0;
        assert!(read(&place, |portion| taken += portion.len()).is_err());
        assert_eq!(taken, 0, "cut after {length} bytes");
    }
    write_all(&place, &[]);
    assert_eq!(read_all(&place).unwrap().2.len(), 0);
}

#[test]
fn uses_wait_for_the_next_writing_no_longer_than_they_may() {
    let second = 1_000_000_000;
    assert_eq!(uses_wait(5 * second, 5 * second), USES_PAUSE);
    assert_eq!(uses_wait(65 * second, 5 * second), Duration::from_mins(9));
    assert_eq!(uses_wait(606 * second, 5 * second), Duration::ZERO);
    assert_eq!(uses_wait(second, 5 * second), USES_PAUSE);
}
