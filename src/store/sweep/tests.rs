//! Lives of keys, by the clock.

use super::*;
use crate::domain::key::record::InactivityMode;
use crate::domain::key::{KeyHash, KeyState};
use crate::domain::workspace::root;
use crate::store::notices::{NoticeQuery, NoticeRecord};
use crate::store::testing::{Home, START, path, system};

const YEAR: i64 = 365 * DAY_MILLIS;

fn policy(mode: InactivityMode, days: i64) -> Inactivity {
    Inactivity {
        mode,
        after: days * DAY_MILLIS,
    }
}

fn input() -> SweepInput {
    SweepInput {
        node: "a".into(),
        default: Inactivity::DEFAULT,
        uses_missing: false,
        clock_jumped: false,
        audit_retention: None,
        usage_retention: None,
    }
}

async fn sweep(home: &Home) -> SweepReport {
    home.store.sweep(&input()).await.unwrap()
}

/// Sweeps until a day after the start, twice a day; what was done in all.
async fn until(home: &Home, day: i64) -> SweepReport {
    until_with(home, day, &input()).await
}

async fn until_with(home: &Home, day: i64, input: &SweepInput) -> SweepReport {
    let mut all = SweepReport::default();
    let end = START.as_millis() + day * DAY_MILLIS;
    while home.now().as_millis() < end {
        home.clock.advance_millis(12 * HOUR);
        all.add(&home.store.sweep(input).await.unwrap());
    }
    all
}

async fn use_key(home: &Home, id: Id) {
    let mut used = Sql::new("UPDATE keys SET uses = uses + 1, last_used_at = ");
    used.bind(home.now()).push(" WHERE id = ");
    used.bind(id.text(Kind::Key).to_string());
    used.query().execute(&home.store.pools.write).await.unwrap();
}

async fn notices(home: &Home, kind: &str, withdrawn: bool) -> Vec<NoticeRecord> {
    let query = NoticeQuery {
        reach: vec![path(root())],
        reader: "x".into(),
        unread: false,
        kind: Some(kind.into()),
        target: None,
        withdrawn,
        after: None,
        limit: 100,
    };
    home.store.list_notices(&query).await.unwrap().notices
}

fn day_of(at: Timestamp) -> i64 {
    (at.as_millis() - START.as_millis()) / DAY_MILLIS
}

async fn events(home: &Home, kind: &str) -> i64 {
    let mut select = Sql::new("SELECT COUNT(*) AS number FROM audit WHERE action = ");
    select.bind(kind);
    let row = select.query().fetch_one(&home.store.pools.read).await;
    row.unwrap().number("number").unwrap()
}

#[tokio::test]
async fn an_unused_key_goes_after_ninety_days_and_three_notices_and_comes_back_with_its_hash() {
    let home = Home::new().await;
    let key = home.key(root(), |_| {}).await;
    until(&home, 91).await;
    let told: Vec<_> = notices(&home, "key.inactive", true).await;
    let days: Vec<_> = told.iter().rev().map(|one| day_of(one.at)).collect();
    assert_eq!(days, [75, 83, 89]);
    let gone = home.store.key(key.id).await.unwrap();
    assert_eq!(gone.state, KeyState::Deleted);
    let note = gone.state_note.as_ref().unwrap();
    assert_eq!((day_of(note.at), note.by.as_str()), (90, "system:sweep"));
    assert_eq!(note.reason.as_deref(), Some("inactivity"));
    assert!(notices(&home, "key.inactive", false).await.is_empty());
    assert_eq!(notices(&home, "key.ended", false).await.len(), 1);
    assert_eq!(events(&home, "key.inactive").await, 3);
    assert_eq!(events(&home, "key.deleted").await, 1);

    until(&home, 115).await;
    let back = home
        .edit(key.id, |key, now| key.restore(now).unwrap())
        .await;
    assert_eq!(
        back.secrets[0].hash,
        KeyHash::of(&key.id.bits().to_be_bytes())
    );
    // It has all its time again, and then goes for good.
    let report = until(&home, 204).await;
    assert_eq!((report.announced, report.deleted), (3, 0));
    until(&home, 206).await;
    assert_eq!(
        home.store.key(key.id).await.unwrap().state,
        KeyState::Deleted
    );
    until(&home, 235).await;
    assert!(home.store.key(key.id).await.is_ok());
    let report = until(&home, 240).await;
    assert_eq!(report.purged, 1);
    assert!(matches!(
        home.store.key(key.id).await,
        Err(StoreError::NotFound)
    ));
}

#[tokio::test]
async fn a_use_or_a_keep_takes_the_notices_back() {
    let home = Home::new().await;
    let (used, kept) = (
        home.key(root(), |_| {}).await,
        home.key(root(), |_| {}).await,
    );
    until(&home, 84).await;
    assert!(
        home.store
            .key(used.id)
            .await
            .unwrap()
            .marks
            .inactive_at
            .is_some()
    );
    use_key(&home, used.id).await;
    home.edit(kept.id, |key, now| key.keep(now).unwrap()).await;
    let report = sweep(&home).await;
    assert_eq!(report.withdrawn, 2);
    assert!(notices(&home, "key.inactive", false).await.is_empty());
    for id in [used.id, kept.id] {
        assert_eq!(home.store.key(id).await.unwrap().marks.inactive_at, None);
    }
    let report = until(&home, 172).await;
    assert_eq!((report.announced, report.deleted), (4, 0));
    let report = until(&home, 175).await;
    assert_eq!((report.announced, report.deleted), (2, 2));
}

#[tokio::test]
async fn a_restart_between_notice_and_deletion_changes_nothing() {
    let home = Home::new().await;
    let key = home.key(root(), |_| {}).await;
    until(&home, 89).await;
    let again = home.open().await;
    home.clock.advance_millis(DAY_MILLIS + HOUR);
    let report = again
        .sweep(&SweepInput {
            node: "b".into(),
            ..input()
        })
        .await
        .unwrap();
    assert_eq!(report.deleted, 1);
    assert_eq!(again.key(key.id).await.unwrap().state, KeyState::Deleted);
}

#[tokio::test]
async fn after_four_months_off_everybody_is_told_first() {
    let home = Home::new().await;
    home.key(root(), |_| {}).await;
    until(&home, 10).await;
    home.clock.advance_millis(120 * DAY_MILLIS);
    let report = sweep(&home).await;
    assert_eq!((report.announced, report.deleted), (1, 0));
    let told = &notices(&home, "key.inactive", false).await[0];
    assert_eq!(day_of(told.due_at.unwrap()), 137);
    let report = until(&home, 135).await;
    assert_eq!(report.deleted, 0);
    let report = until(&home, 138).await;
    assert_eq!((report.announced, report.deleted), (1, 1));
}

#[tokio::test]
async fn a_clock_that_jumps_a_year_ends_nothing() {
    let home = Home::new().await;
    let key = home.key(root(), |_| {}).await;
    let tomb = home.key(root(), |_| {}).await;
    let act = crate::domain::key::acts::Act {
        by: "tok_a".into(),
        at: home.now(),
        reason: None,
        text: None,
    };
    home.edit(tomb.id, |key, _| key.delete(act).unwrap()).await;
    until(&home, 5).await;
    for jump in [YEAR, -YEAR, -YEAR, YEAR] {
        home.clock.advance_millis(jump);
        let report = sweep(&home).await;
        assert_eq!((report.deleted, report.purged), (0, 0), "{jump}");
    }
    assert!(notices(&home, "key.inactive", false).await.is_empty());
    assert_eq!(
        home.store.key(key.id).await.unwrap().marks.inactive_at,
        None
    );
    assert!(home.store.key(tomb.id).await.is_ok());
    // As if nothing had been.
    until(&home, 91).await;
    assert_eq!(
        home.store.key(key.id).await.unwrap().state,
        KeyState::Deleted
    );
    assert!(matches!(
        home.store.key(tomb.id).await,
        Err(StoreError::NotFound)
    ));
}

#[tokio::test]
async fn a_policy_that_is_switched_on_late_counts_from_then() {
    let home = Home::new().await;
    let shop = home.workspace("shop").await;
    let key = home.key(shop, |_| {}).await;
    let own = policy(InactivityMode::Disable, 30);
    let other = home.key(shop, |key| key.inactivity = Some(own)).await;
    let off = SweepInput {
        default: policy(InactivityMode::Off, 90),
        ..input()
    };
    let report = until_with(&home, 200, &off).await;
    assert_eq!((report.announced, report.disabled), (3, 1));
    assert_eq!(
        home.store.key(other.id).await.unwrap().state,
        KeyState::Disabled
    );
    // The default becomes stricter, then the workspace.
    let report = until(&home, 270).await;
    assert_eq!((report.announced, report.deleted), (0, 0));
    let mut write = home.store.begin(&system()).await.unwrap();
    let before = write.workspace(shop).await.unwrap();
    let mut after = before.clone();
    after.inactivity = Some(policy(InactivityMode::Disable, 40));
    write.save_workspace(&before, after).await.unwrap();
    write.commit().await.unwrap();
    let report = until(&home, 309).await;
    assert_eq!((report.announced, report.disabled), (2, 0));
    let report = until(&home, 311).await;
    assert_eq!((report.announced, report.disabled), (1, 1));
    let key = home.store.key(key.id).await.unwrap();
    assert_eq!(
        (key.state, key.marks.inactive_at),
        (KeyState::Disabled, None)
    );
}

#[tokio::test]
async fn a_milder_policy_takes_back_what_was_announced() {
    let home = Home::new().await;
    home.key(root(), |_| {}).await;
    until(&home, 76).await;
    let milder = SweepInput {
        default: policy(InactivityMode::Delete, 180),
        ..input()
    };
    assert_eq!(until_with(&home, 77, &milder).await.withdrawn, 1);
    let report = until_with(&home, 179, &milder).await;
    assert_eq!((report.announced, report.deleted), (3, 0));
    assert_eq!(until_with(&home, 181, &milder).await.deleted, 1);
}

#[tokio::test]
async fn while_uses_may_be_missing_nothing_goes_and_a_gap_counts_as_a_use() {
    let home = Home::new().await;
    home.key(root(), |_| {}).await;
    until(&home, 89).await;
    let missing = SweepInput {
        uses_missing: true,
        ..input()
    };
    assert_eq!(until_with(&home, 95, &missing).await.deleted, 0);
    home.store.note_usage_gap(home.now()).await.unwrap();
    let report = until(&home, 180).await;
    assert_eq!(
        (report.withdrawn, report.announced, report.deleted),
        (1, 2, 0)
    );
    assert_eq!(until(&home, 186).await.deleted, 1);
}

#[tokio::test]
async fn a_node_that_is_silent_may_have_uses_and_one_that_is_gone_took_them_along() {
    let home = Home::new().await;
    let key = home.key(root(), |_| {}).await;
    until(&home, 89).await;
    let node = |seen_at| crate::store::nodes::NodeRecord {
        id: Id::from_bits(7),
        name: "other".into(),
        version: "1".into(),
        started_at: seen_at,
        seen_at,
        observed: 1,
        applied: 1,
    };
    home.store.note_node(&node(home.now())).await.unwrap();
    assert_eq!(until(&home, 95).await.deleted, 0);
    // Its own silence is the sweep's own clock.
    let own = SweepInput {
        node: node(home.now()).id.text(Kind::Node).to_string(),
        ..input()
    };
    let forgotten = home.store.forget_nodes(home.now()).await.unwrap();
    assert_eq!(forgotten, ["other"]);
    assert_eq!(until(&home, 180).await.deleted, 0);
    home.store.note_node(&node(home.now())).await.unwrap();
    home.store.sweep(&input()).await.unwrap();
    home.clock.advance_millis(6 * DAY_MILLIS / 10);
    assert_eq!(until_with(&home, 186, &own).await.deleted, 1);
    let gone = home.store.key(key.id).await.unwrap();
    assert_eq!(gone.state, KeyState::Deleted);
}

#[tokio::test]
async fn figures_of_use_are_kept_as_long_as_is_said() {
    let home = Home::new().await;
    let insert = "INSERT INTO usage_hours (key_id, route, requests, refusals, status_2xx, status_3xx, status_4xx, \
        status_5xx, bytes_in, bytes_out, hour) VALUES ('k', 'r', 1, 0, 1, 0, 0, 0, 0, 0, ";
    for day in [0, 5] {
        let mut put = Sql::new(insert);
        put.bind(home.later(day * DAY_MILLIS)).push(")");
        put.query().execute(&home.store.pools.write).await.unwrap();
    }
    let kept = SweepInput {
        usage_retention: Some(10 * DAY_MILLIS),
        ..input()
    };
    let count = async || {
        let rows = sqlx::query("SELECT hour FROM usage_hours")
            .fetch_all(&home.store.pools.read)
            .await;
        rows.unwrap().len()
    };
    for (day, left) in [(9, 2), (11, 1), (16, 0)] {
        until_with(&home, day, &kept).await;
        assert_eq!(count().await, left, "on day {day}");
    }
}

#[tokio::test]
async fn an_end_is_told_in_steps_once_each_and_anew_when_it_moves() {
    let home = Home::new().await;
    let end = home.later(20 * DAY_MILLIS);
    let key = home.key(root(), |key| key.expires_at = Some(end)).await;
    let short = home.later(2 * DAY_MILLIS);
    home.key(root(), |key| key.expires_at = Some(short)).await;
    let report = until(&home, 6).await;
    // The short one: a day before, and its end.
    assert_eq!((report.expiring, report.expired), (2, 1));
    home.edit(key.id, |key, now| {
        key.expires_at = Some(later(now, 30 * DAY_MILLIS));
    })
    .await;
    sweep(&home).await;
    let open = notices(&home, "key.expiring", false).await;
    assert!(open.is_empty(), "{open:?}");
    let report = until(&home, 40).await;
    assert_eq!((report.expiring, report.expired), (3, 1));
    assert!(notices(&home, "key.expiring", false).await.is_empty());
    assert_eq!(notices(&home, "key.expired", false).await.len(), 2);
    assert_eq!(events(&home, "key.expired").await, 2);
    assert_eq!(events(&home, "key.expiring").await, 5);
}

#[tokio::test]
async fn the_grace_of_a_rotation_ends() {
    let home = Home::new().await;
    let end = home.later(DAY_MILLIS);
    let key = home.key(root(), |key| key.rotating_until = Some(end)).await;
    assert_eq!(sweep(&home).await.retired, 0);
    assert_eq!(until(&home, 2).await.retired, 1);
    assert_eq!(home.store.key(key.id).await.unwrap().rotating_until, None);
}

#[tokio::test]
async fn one_node_sweeps_at_a_time_and_quiet_keys_are_not_read() {
    let home = Home::new().await;
    for _ in 0..3 {
        home.key(root(), |_| {}).await;
    }
    let other = SweepInput {
        node: "b".into(),
        ..input()
    };
    assert_eq!(sweep(&home).await.looked, 3);
    assert!(!home.store.sweep(&other).await.unwrap().acted);
    home.clock.advance_millis(MINUTE);
    let report = sweep(&home).await;
    assert_eq!((report.acted, report.looked), (true, 0));
    // Only who has the turn can give it back.
    home.store.leave_sweep(&other.node).await.unwrap();
    assert!(!home.store.sweep(&other).await.unwrap().acted);
    home.store.leave_sweep(&input().node).await.unwrap();
    assert!(home.store.sweep(&other).await.unwrap().acted);
    home.store.leave_sweep(&other.node).await.unwrap();
    assert!(sweep(&home).await.acted);
    // The first has died.
    home.clock.advance_millis(LEASE);
    assert!(home.store.sweep(&other).await.unwrap().acted);
    // Its clock was a year ahead.
    home.clock.advance_millis(-YEAR);
    assert!(sweep(&home).await.acted);
}

#[tokio::test]
async fn the_preview_says_what_will_be() {
    let home = Home::new().await;
    let shop = home.workspace("shop").await;
    let soon = home.key(shop, |_| {}).await;
    let short = policy(InactivityMode::Disable, 80);
    let sooner = home.key(root(), |key| key.inactivity = Some(short)).await;
    let notify = policy(InactivityMode::Notify, 80);
    home.key(root(), |key| key.inactivity = Some(notify)).await;
    until(&home, 70).await;
    use_key(&home, home.key(root(), |_| {}).await.id).await;
    let preview = async |reach: Id, days| {
        let (found, more) = home
            .store
            .inactivity_preview(&[path(reach)], days, Inactivity::DEFAULT, 10)
            .await
            .unwrap();
        assert!(!more);
        found
            .into_iter()
            .map(|one| (one.key.id, day_of(one.goes_at)))
            .collect::<Vec<_>>()
    };
    assert_eq!(preview(root(), 30).await, [(sooner.id, 80), (soon.id, 90)]);
    assert_eq!(preview(root(), 12).await, [(sooner.id, 80)]);
    assert_eq!(preview(shop, 30).await, [(soon.id, 90)]);
    assert!(preview(root(), 5).await.is_empty());
}

#[tokio::test]
async fn what_is_kept_for_a_time_goes() {
    let home = Home::new().await;
    home.key(root(), |_| {}).await;
    let count = async |table: &str| {
        let mut select = Sql::new("SELECT COUNT(*) AS number FROM ");
        select.push(table);
        let row = select.query().fetch_one(&home.store.pools.read).await;
        row.unwrap().number("number").unwrap()
    };
    for statement in [
        "INSERT INTO idempotency (caller, key_hash, fingerprint, object, status, reply, created_at) \
         VALUES ('a', 'b', 'c', 'd', 200, '', 0)",
        "INSERT INTO sessions (id, member, hash, created_at, last_seen_at, expires_at) VALUES ('s', 'm', 'h', 0, 0, 0)",
    ] {
        sqlx::query(statement)
            .execute(&home.store.pools.write)
            .await
            .unwrap();
    }
    // Nobody tells webhooks here: what is on its way out goes all the same.
    assert_eq!(count("changes").await, 1);
    sweep(&home).await;
    let counts = (
        count("idempotency").await,
        count("sessions").await,
        count("changes").await,
    );
    assert_eq!(counts, (0, 0, 1));
    until(&home, 8).await;
    assert_eq!((count("changes").await, count("outbox").await), (0, 1));
    until(&home, 31).await;
    assert_eq!(count("outbox").await, 0);
}

#[tokio::test]
async fn the_audit_log_is_cut_once_a_day_where_it_is_older_than_it_is_kept() {
    let home = Home::new().await;
    home.workspace("shop").await;
    let kept = SweepInput {
        audit_retention: Some(10 * DAY_MILLIS),
        ..input()
    };
    until_with(&home, 9, &kept).await;
    assert!(home.store.audit_checkpoints().await.unwrap().is_empty());
    until_with(&home, 12, &kept).await;
    let cuts = home.store.audit_checkpoints().await.unwrap();
    assert_eq!((cuts.len(), &*cuts[0].by), (1, "system:retention"));
    // A clock that jumps cuts nothing.
    home.clock.advance_millis(YEAR);
    let jumped = SweepInput {
        clock_jumped: true,
        ..kept.clone()
    };
    home.store.sweep(&jumped).await.unwrap();
    assert_eq!(home.store.audit_checkpoints().await.unwrap().len(), 1);
    until_with(&home, 12 + 365 + 3, &kept).await;
    assert_eq!(home.store.audit_checkpoints().await.unwrap().len(), 2);
    let verdict = home.store.verify_audit(|_, _| {}).await.unwrap();
    assert!(matches!(verdict, crate::store::audit::Verdict::Intact(_)));
}

#[tokio::test]
async fn a_long_log_is_cut_in_portions_and_whole_behind_each() {
    let home = Home::new().await;
    let mut write = home.store.begin(&system()).await.unwrap();
    for _ in 0..11_000 {
        let fact = crate::store::Fact::new("thing.done", root(), "thing");
        write.record(fact).await.unwrap();
    }
    write.commit().await.unwrap();
    home.clock.advance_millis(11 * DAY_MILLIS);
    home.workspace("shop").await;
    let before = home.later(-DAY_MILLIS);
    let mut left = Vec::new();
    for _ in 0..2 {
        let mut write = home.store.begin(&system()).await.unwrap();
        let cut = write.checkpoint_audit(before).await.unwrap();
        left.push(cut.map(|(cut, more)| (cut.sequence, more)));
        write.commit().await.unwrap();
        let verdict = home.store.verify_audit(|_, _| {}).await.unwrap();
        assert!(matches!(verdict, crate::store::audit::Verdict::Intact(_)));
    }
    assert_eq!(left, [Some((5000, true)), Some((10_000, true))]);
    let kept = SweepInput {
        audit_retention: Some(DAY_MILLIS),
        ..input()
    };
    sweep(&home).await;
    home.store.sweep(&kept).await.unwrap();
    let cuts = home.store.audit_checkpoints().await.unwrap();
    let cuts: Vec<u64> = cuts.iter().map(|cut| cut.sequence).collect();
    assert_eq!(cuts, [11_000, 10_000, 5000], "the rest in one sweep");
}

/// Takes the policies as they are, and does what is due by them for a key.
#[tokio::test]
async fn a_policy_that_is_switched_off_while_a_sweep_runs_ends_nothing_more() {
    let home = Home::new().await;
    let shop = home.workspace("shop").await;
    let key = home.key(shop, |_| {}).await;
    until(&home, 89).await;
    home.clock.advance_millis(2 * DAY_MILLIS);
    let context = Context {
        policies: home
            .store
            .refresh_policies(Inactivity::DEFAULT)
            .await
            .unwrap(),
        hold: false,
        journal_gap: None,
    };
    let mut write = home.store.begin(&system()).await.unwrap();
    let before = write.workspace(shop).await.unwrap();
    let mut after = before.clone();
    after.inactivity = Some(policy(InactivityMode::Off, 90));
    write.save_workspace(&before, after).await.unwrap();
    write.commit().await.unwrap();
    let mut report = SweepReport::default();
    home.store
        .act_on(&[key.id], &context, &mut report)
        .await
        .unwrap();
    assert_eq!(report, SweepReport::default());
    assert!(!home.store.policies_hold(&context.policies).await.unwrap());
    let report = sweep(&home).await;
    assert_eq!((report.withdrawn, report.deleted), (1, 0));
}

#[tokio::test]
async fn a_secret_that_retired_is_forgotten_after_thirty_days() {
    let home = Home::new().await;
    let key = home.key(root(), |_| {}).await;
    let ended = home.key(root(), |_| {}).await;
    for id in [key.id, ended.id] {
        let newer = home.key(root(), |_| {}).await.secrets.remove(0);
        let newer = crate::domain::key::record::SecretVersion {
            id: Id::new(home.now()),
            hash: KeyHash::of(&newer.id.bits().to_be_bytes()),
            ..newer
        };
        home.edit(id, |key, now| key.rotate(newer, DAY_MILLIS, now).unwrap())
            .await;
    }
    let act = crate::domain::key::acts::Act {
        by: "tok_a".into(),
        at: home.now(),
        reason: None,
        text: None,
    };
    home.edit(ended.id, |key, _| key.revoke(act).unwrap()).await;
    let report = until(&home, 30).await;
    assert_eq!((report.retired, report.forgotten), (2, 0));
    assert_eq!(home.store.key(key.id).await.unwrap().secrets.len(), 2);
    // A clock that jumps forgets nothing.
    let jumped = SweepInput {
        clock_jumped: true,
        ..input()
    };
    assert_eq!(until_with(&home, 32, &jumped).await.forgotten, 0);
    assert_eq!(until(&home, 34).await.forgotten, 2);
    for id in [key.id, ended.id] {
        let secrets = home.store.key(id).await.unwrap().secrets;
        assert_eq!((secrets.len(), secrets[0].number), (1, 2));
    }
    assert_eq!(events(&home, "key.secret_forgotten").await, 2);
}
