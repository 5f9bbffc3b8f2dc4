//! New secrets: shown once or saved, never lost, never where they should not be.

use super::{Shell, real};
use crate::harness::Upstream;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_new_secret_is_shown_once_or_saved_never_both() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    for (noun, begin) in [
        ("keys create ci2", "kg_live_"),
        ("tokens create ci2 --role auditor", "kg_admin_"),
        ("webhooks create ci2 http://127.0.0.1:1/", "whsec_"),
    ] {
        let ran = shell.run(noun).is(0);
        let shown: Vec<&str> = ran
            .out
            .lines()
            .filter(|line| line.starts_with("secret  "))
            .collect();
        assert_eq!(shown.len(), 1, "{ran:?}");
        let secret = shown[0].split_whitespace().nth(1).unwrap();
        assert!(secret.starts_with(begin), "{ran:?}");
        assert_eq!(ran.out.matches(secret).count(), 1);
        assert!(
            ran.err.contains("only time") && !ran.err.contains(secret),
            "{ran:?}"
        );
        let json = shell.run(&format!("{} -o json", noun.replacen("ci2", "ci3", 1)));
        assert!(
            json.is(0).json()["secret"]
                .as_str()
                .unwrap()
                .starts_with(begin)
        );
        for form in ["table", "json", "yaml", "name"] {
            let file = format!("{begin}{form}");
            let line = noun.replacen("ci2", &format!("ci-{form}"), 1);
            let ran = shell
                .run(&format!("{line} -o {form} --save-to {file}"))
                .is(0);
            let kept = fs::read_to_string(shell.file(&file)).unwrap();
            let kept = kept.strip_suffix('\n').unwrap();
            assert!(kept.starts_with(begin), "{file}");
            assert!(
                !ran.out.contains(kept) && !ran.err.contains(kept),
                "{ran:?}"
            );
            let mode = fs::metadata(shell.file(&file))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

#[test]
fn a_secret_that_would_be_lost_is_not_made() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let count = || {
        shell
            .run("keys list --all -o name")
            .is(0)
            .out
            .lines()
            .count()
    };
    let before = count();
    shell.run("keys create x -o name").is(2);
    fs::write(shell.file("taken"), "mine").unwrap();
    shell.run("keys create x --save-to taken").is(5);
    shell.run("keys create x --save-to missing/folder").is(1);
    assert_eq!(count(), before);
    shell.run("keys create nightly --save-to 1.key").is(0);
    shell.run("keys rotate nightly --save-to taken").is(5);
    let key = shell.run("keys get nightly -o json").is(0).json();
    assert_eq!(key["secrets"].as_array().unwrap().len(), 1);
    assert_eq!(fs::read_to_string(shell.file("taken")).unwrap(), "mine");
    shell.run("keys rotate nightly --save-to taken --yes").is(0);
    assert!(
        fs::read_to_string(shell.file("taken"))
            .unwrap()
            .starts_with("kg_live_")
    );
}

#[test]
fn a_refused_key_leaves_no_file() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell
        .run("keys create x --consumer nobody --save-to x.key")
        .is(2);
    assert_eq!(fs::read_dir(shell.file("")).unwrap().count(), 0);
}

/// With the key of the first try, which a lost answer names, the same secret comes again.
#[test]
fn the_same_command_with_the_same_key_gives_the_same_secret() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let line = "keys create nightly --expires 3000d --not-before 1h -o json --idempotency-key \
                019d2a3b4c5d0123456789abcdef0123456789abcdef";
    let [one, two] = [(); 2].map(|()| shell.run(line).is(0).json());
    assert_eq!(one["secret"], two["secret"]);
    assert_eq!(one["key"]["id"], two["key"]["id"]);
    shell.run(&line.replace("3000d", "3001d")).is(5);
}
