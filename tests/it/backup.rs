//! `keygate backup` and `keygate restore`, as people and scripts run them.

use crate::harness::{GatewayBuilder, Place, Upstream, keygate};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

/// A config file for a store.
struct Setup {
    place: Place,
    folder: TempDir,
}

impl Setup {
    fn new(place: Place) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = GatewayBuilder::new(Upstream::ok().address)
            .top(&format!("store: {}", place.setting()))
            .yaml();
        fs::write(folder.path().join("keygate.yaml"), config).unwrap();
        Self { place, folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let config = self.folder.path().join("keygate.yaml");
        keygate(&[&["--config", config.to_str().unwrap()], arguments].concat())
    }
}

#[track_caller]
fn ends_with(output: &Output, code: i32, word: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(word), "{said}");
    assert!(output.stdout.is_empty());
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_store_moves_from_one_database_to_the_other_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let saved: PathBuf = folder.path().join("made/saved.kg");
    let (first, second, third) = (
        Setup::new(Place::sqlite()),
        Setup::new(Place::postgres()),
        Setup::new(Place::sqlite()),
    );
    first.place.manager().add("key", "key");
    ends_with(&first.run(&["backup", &text(&saved)]), 0, "revision 1");
    ends_with(&second.run(&["restore", &text(&saved)]), 0, "restored");
    ends_with(&second.run(&["backup", &text(&saved)]), 0, "revision 2");
    ends_with(&third.run(&["restore", &text(&saved)]), 0, "restored");
    let manager = third.place.manager();
    let mut names = Vec::new();
    let loaded = manager
        .store
        .load_keys(|key| names.extend(key.spec.map(|spec| spec.name)));
    assert_eq!(manager.run(loaded).unwrap(), 3);
    assert_eq!(names, ["key"]);
}

#[test]
fn what_cannot_be_done_has_its_exit_code() {
    let setup = Setup::new(Place::sqlite());
    let place = |name: &str| text(&setup.folder.path().join(name));
    let saved = place("saved.kg");
    ends_with(&setup.run(&["backup", &saved]), 3, "there is no store");
    assert!(!setup.place.file().exists());
    setup.place.manager().add("key", "key");
    ends_with(&setup.run(&["restore", &saved]), 3, "saved.kg");
    ends_with(&setup.run(&["backup", &saved]), 0, "saved");
    ends_with(&setup.run(&["restore", &saved]), 5, "--replace");
    ends_with(&setup.run(&["restore", "--replace", &saved]), 0, "restored");
    let mut bytes = fs::read(&saved).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&saved, bytes).unwrap();
    ends_with(&setup.run(&["restore", "--replace", &saved]), 7, "damaged");
    fs::write(&saved, "something").unwrap();
    ends_with(
        &setup.run(&["restore", "--replace", &saved]),
        7,
        "something else",
    );
    ends_with(
        &setup.run(&["backup", "/proc/none/saved.kg"]),
        1,
        "/proc/none/saved.kg",
    );
    ends_with(&setup.run(&["backup"]), 2, "Usage");
    fs::write(
        place("keygate.yaml"),
        "store: none\nlisteners: [{ address: 127.0.0.1:0 }]\n",
    )
    .unwrap();
    ends_with(&setup.run(&["backup", &saved]), 1, "store: none");
}
