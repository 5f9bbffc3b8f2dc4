//! The store's part of a start: open it, load the keys, follow it from then on; and what is served while it is away.

use super::StartError;
use super::background::{Background, Beside};
use crate::clock::Clock;
use crate::config::{Config, StoreLocation};
use crate::domain::actor::Actor;
use crate::domain::id::Id;
use crate::domain::key::record::DAY_MILLIS;
use crate::domain::key::{KeyFormat, PlainKey};
use crate::domain::role::Role;
use crate::domain::time::Timestamp;
use crate::domain::workspace;
use crate::store::tokens::{TokenKind, TokenRecord};
use crate::store::{Store, StoreError, StoreSlot};
use crate::sync::last_good::{self, Head, Keeper};
use crate::sync::publisher::{KeptHashes, Publisher};
use crate::sync::store::Follower;
use crate::telemetry::metrics::Metrics;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Wait before a store that is away is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// A start tells how far it is each time so many keys are loaded.
const TELL_EVERY: u64 = 100_000;

/// What the store is connected with.
pub(super) struct Parts {
    pub(super) slot: Arc<StoreSlot>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: CancellationToken,
    pub(super) background: Background,
    /// Where a setup token goes; `None`: one has gone there.
    pub(super) setup: Option<oneshot::Sender<PlainKey>>,
}

impl Parts {
    /// Hands a setup token to whoever reads the output of this process.
    fn hand_over(&mut self, token: Option<PlainKey>) {
        if let (Some(token), Some(way)) = (token, self.setup.take()) {
            // Nobody waits for it any more when the gateway is ending.
            let _ = way.send(token);
        }
    }
}

/// Opens the store and loads its keys before it returns. When it is away, the last good state is served, and the store is
/// tried again and again beside that. Without a last good state, a server that is away leaves the gateway waiting for it; a
/// file of our own that cannot be opened ends the start.
pub(super) fn start(
    control: &Runtime,
    location: &StoreLocation,
    config: &Config,
    mut parts: Parts,
) -> Result<(), StartError> {
    let opened = control.block_on(open(location, None, &parts));
    match opened {
        Ok((store, follower)) => {
            let token = control.block_on(setup_token(&store, &parts))?;
            parts.hand_over(token);
            control.spawn(keeper(&store, &config.data_dir, &parts).keep(parts.stop.clone()));
            control.spawn(background(&store, &parts));
            control.spawn(follower.follow(parts.stop.clone()));
            Ok(())
        }
        Err(StoreError::Unavailable(fault)) => {
            tracing::error!(
                error = fault,
                "the store is away; it is tried until it is back"
            );
            note_away(&parts, location, &fault);
            let last_good = {
                let _in_its_runtime = control.enter();
                last_good::serve(&config.data_dir, &parts.publisher, &parts.metrics)
            };
            if last_good.is_none() && matches!(location, StoreLocation::Sqlite(_)) {
                return Err(StoreError::Unavailable(fault).into());
            }
            let data_dir = config.data_dir.clone();
            control.spawn(connect(location.clone(), data_dir, last_good, parts));
            Ok(())
        }
        Err(fault) => Err(fault.into()),
    }
}

/// What goes on beside the requests while there is a store.
fn background(store: &Store, parts: &Parts) -> impl Future<Output = ()> + Send + use<> {
    let beside = Beside {
        store: store.clone(),
        clock: Arc::clone(&parts.clock),
        stop: parts.stop.clone(),
    };
    parts.background.clone().run(beside)
}

fn note_away(parts: &Parts, location: &StoreLocation, fault: &str) {
    let shared = parts.publisher.shared();
    let mut report = shared.store();
    report.kind = Some(match location {
        StoreLocation::Sqlite(_) => "sqlite",
        StoreLocation::Postgres(_) => "postgres",
    });
    report.reachable = false;
    report.fault = Some(fault.to_owned());
}

fn keeper(store: &Store, data_dir: &Path, parts: &Parts) -> Keeper {
    let (publisher, clock) = (Arc::clone(&parts.publisher), Arc::clone(&parts.clock));
    Keeper::new(data_dir, store.identity(), publisher, clock)
}

/// Tries until it works, then follows.
async fn connect(
    location: StoreLocation,
    data_dir: PathBuf,
    last_good: Option<Head>,
    mut parts: Parts,
) {
    loop {
        let stopped = parts
            .stop
            .run_until_cancelled(tokio::time::sleep(RETRY))
            .await;
        if stopped.is_none() {
            return;
        }
        match reach(&location, last_good.as_ref(), &parts).await {
            Ok((store, follower, token)) => {
                tracing::info!("the store is there; everything was compared with it");
                parts.hand_over(token);
                let keep = keeper(&store, &data_dir, &parts).keep(parts.stop.clone());
                // A task of its own: nothing of it holds up changes of keys.
                TaskTracker::new().spawn(background(&store, &parts));
                // A task of its own: while it writes, changes are followed.
                TaskTracker::new().spawn(keep);
                follower.follow(parts.stop.clone()).await;
                return;
            }
            Err(fault) => note_away(&parts, &location, &fault.to_string()),
        }
    }
}

/// Opens a store that was away; one that turns out to be new is set up as at a start that finds it.
async fn reach(
    location: &StoreLocation,
    last_good: Option<&Head>,
    parts: &Parts,
) -> Result<(Store, Follower, Option<PlainKey>), StartError> {
    let (store, follower) = open(location, last_good, parts).await?;
    let token = setup_token(&store, parts).await?;
    Ok((store, follower, token))
}

/// Opens the store and loads its keys. Those of another store, from the last good state, are not served
/// meanwhile.
async fn open(
    location: &StoreLocation,
    last_good: Option<&Head>,
    parts: &Parts,
) -> Result<(Store, Follower), StoreError> {
    let store = Store::open(location, Arc::clone(&parts.clock)).await?;
    if last_good.is_some_and(|head| head.store != store.identity()) {
        tracing::error!("the last good state is of another store and is dropped");
        parts.publisher.not_ready();
        parts.publisher.keep_keys(KeptHashes::default());
    }
    let follower = load(&store, parts).await?;
    Ok((store, follower))
}

async fn load(store: &Store, parts: &Parts) -> Result<Follower, StoreError> {
    let total = store.count_secrets().await?;
    let mut follower = Follower::new(
        store.clone(),
        Arc::clone(&parts.publisher),
        Arc::clone(&parts.metrics),
        Arc::clone(&parts.clock),
    );
    let progress = |taken: u64| {
        if taken.is_multiple_of(TELL_EVERY) {
            tracing::info!(loaded = taken, total, "loading keys");
        }
    };
    follower.load(progress).await?;
    // Whoever has heard that the gateway is ready finds the store there.
    parts.slot.fill(store.clone());
    parts.publisher.ready();
    Ok(follower)
}

/// A store in which nobody can do everything is new, or its owners are gone: whoever reads the output of this start may
/// set it up.
async fn setup_token(store: &Store, parts: &Parts) -> Result<Option<PlainKey>, StartError> {
    // Most starts find an owner, and then write nothing.
    if store.has_owner(parts.clock.now()).await? {
        return Ok(None);
    }
    let format = parts.publisher.shared().snapshot().key_format.clone();
    mint(store, &format).await
}

async fn mint(store: &Store, format: &KeyFormat) -> Result<Option<PlainKey>, StartError> {
    let mut write = store.begin(&Actor::system("setup")).await?;
    // Nodes that start at the same time take turns: the first one has made the owner.
    if write.has_owner().await? {
        return Ok(None);
    }
    let now = write.now;
    let secret = format.generate_admin()?;
    let token = TokenRecord {
        id: Id::new(now),
        kind: TokenKind::Setup,
        name: "setup".into(),
        workspace: workspace::root(),
        role: Role::Owner,
        hash: secret.hash().at_rest(),
        hint: format.hint(&secret),
        created_at: now,
        created_by: String::new(),
        expires_at: Some(Timestamp::from_millis(now.as_millis() + DAY_MILLIS)),
        last_used_at: None,
        revoked_at: None,
        revision: 0,
    };
    write.insert_token(token).await?;
    write.commit().await?;
    Ok(Some(secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::Home;

    #[tokio::test]
    async fn nodes_that_find_a_new_store_make_one_setup_token() {
        let home = Home::new().await;
        let (one, other) = (home.open().await, home.open().await);
        let format = KeyFormat::default();
        let (first, second) = tokio::join!(mint(&one, &format), mint(&other, &format));
        let made = [first.unwrap(), second.unwrap()];
        assert_eq!(made.iter().flatten().count(), 1);
        assert_eq!(one.tokens().await.unwrap().len(), 1);
        assert!(mint(&other, &format).await.unwrap().is_none());
    }
}
