//! Members, their roles, passwords and sessions, and signing in as one.

use super::{Shell, real};
use crate::harness::Upstream;
use serde_json::{Value, json};
use std::fs;

const FIRST: &str = "correct horse battery\n";
const SECOND: &str = "staple correct horse\n";

#[test]
fn members_come_change_and_go() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let north = shell.id("workspaces create north");
    let create =
        "members create ann@example.com --name Ann --role editor --workspace north -o name";
    let id = shell.run_with(create, FIRST).is(0).line().to_owned();
    assert_eq!(shell.id("members get ann@example.com"), id);
    let bob = shell.id("members invite bob@example.com --name Bob --role auditor --no-password");
    shell.run_with(create, FIRST).is(5);
    shell
        .run_with(
            "members create eve@example.com --name Eve --role owner",
            "short\n",
        )
        .is(2);
    shell
        .run("members create eve@example.com --name Eve --role owner")
        .is(2);
    let ran = shell
        .run_with("members create ann --name Ann --role owner", FIRST)
        .is(2);
    assert!(ran.err.contains("/email"), "{ran:?}");
    assert_eq!(
        shell.run("members list").is(0).table(),
        "ID | E-MAIL | NAME | STATE | ROLES | SIGNED IN\n\
         ID | bob@example.com | Bob | active | auditor in ID | never\n\
         ID | ann@example.com | Ann | active | editor in ID | never"
    );
    assert_eq!(shell.id("members list --workspace north"), id);
    shell
        .run("members edit bob@example.com --email rob@example.com --name Rob")
        .is(0);
    assert_eq!(shell.id("members get rob@example.com"), bob);

    let roles = |line: &str| shell.run(&format!("{line} -o json")).is(0).json()["roles"].clone();
    let set = roles("members role set rob@example.com admin --workspace north");
    assert!(
        set.as_array()
            .unwrap()
            .contains(&json!({"role": "admin", "workspace": north})),
        "{set}"
    );
    let left = roles("members role remove rob@example.com --workspace root");
    assert_eq!(left, json!([{"role": "admin", "workspace": north}]));

    let state = |line: &str| shell.run(&format!("{line} -o json")).is(0).json()["state"].clone();
    assert_eq!(state("members disable rob@example.com"), "disabled");
    assert_eq!(shell.id("members list --state disabled"), bob);
    assert_eq!(state("members enable rob@example.com"), "active");
    shell
        .run("members export ann@example.com --to ann.json")
        .is(0);
    let all: Value = serde_json::from_slice(&fs::read(shell.file("ann.json")).unwrap()).unwrap();
    assert_eq!(all["member"]["id"], json!(id));
    assert_eq!(state("members erase rob@example.com --dry-run"), "erased");
    assert_eq!(state("members get rob@example.com"), "active");
    assert_eq!(state("members erase rob@example.com --yes"), "erased");
    shell.run("members get rob@example.com").is(3);
}

#[test]
fn a_member_signs_in_works_and_signs_out() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let owner = Shell::of(&gateway);
    owner
        .run_with(
            "members create ann@example.com --name Ann --role editor",
            FIRST,
        )
        .is(0);
    let ann = Shell::nobody_of(&gateway);
    let ran = ann.run_with("login --email ann@example.com", SECOND).is(4);
    assert!(!ran.err.contains("KEYGATE_TOKEN"), "{ran:?}");
    ann.run("whoami").is(4);
    ann.run_with("login --email ann@example.com", FIRST).is(0);
    assert_eq!(
        ann.run("whoami").is(0).table(),
        "id | ID\nname | Ann\nemail | ann@example.com\nbindings | editor in root (ID)\n\
         expires_at | DATE (TIME)\nkind | member\nsession | ID"
    );
    ann.run("keys create nightly").is(0);
    ann.run("keys revoke nightly --yes").is(0);
    ann.run("members list").is(4);
    assert_eq!(
        ann.run("sessions list").is(0).table(),
        "ID | MEMBER | THIS ONE | BEGAN | LAST SEEN | ENDS | ADDRESS\nID | ID | yes | TIME | TIME | TIME | 127.0.0.1"
    );

    // A new password of one's own needs the old one, and leaves this session.
    let ran = ann.run_with("password", &format!("{SECOND}{SECOND}")).is(2);
    assert!(ran.err.contains("/current"), "{ran:?}");
    let ran = ann.run_with("password", &format!("{FIRST}{SECOND}")).is(0);
    assert_eq!(ran.out, "the password is set\n");
    assert!(!format!("{ran:?}").contains("horse"));
    ann.run("password").is(2);
    owner.run("password").is(2);
    ann.run("whoami").is(0);

    let other = Shell::nobody_of(&gateway);
    other
        .run_with("login --email ann@example.com", SECOND)
        .is(0);
    let sessions = owner
        .run("sessions list --member ann@example.com -o name")
        .is(0)
        .out;
    assert_eq!(sessions.lines().count(), 2);
    other.run("sessions end current").is(0);
    other.run("whoami").is(4);
    let left = owner.id("sessions list --member ann@example.com");
    owner.run(&format!("sessions end {left}")).is(0);
    ann.run("whoami").is(4);
    ann.run("logout").is(0);

    // Somebody else's password is set without the old one, and ends their sessions.
    ann.run_with("login --email ann@example.com", SECOND).is(0);
    owner
        .run_with("members password ann@example.com", FIRST)
        .is(0);
    ann.run("whoami").is(4);
    ann.run_with("login --email ann@example.com", FIRST).is(0);
    ann.run("logout").is(0);
    let ran = ann.run("whoami").is(4);
    assert!(ran.err.contains("keygate login"), "{ran:?}");
    owner.run("members disable ann@example.com").is(0);
    ann.run_with("login --email ann@example.com", FIRST).is(4);
}
