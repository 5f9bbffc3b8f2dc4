//! What goes on beside the requests while there is a store: time's work on keys, webhooks, e-mails, and the line that
//! tells where the audit log ends. All of it stops when the drain begins.

use crate::clock::Clock;
use crate::config::{AuditConfig, Config, EmailConfig, SmtpSecurity, UsageConfig, WebhookConfig};
use crate::domain::id::Id;
use crate::domain::key::record::Inactivity;
use crate::domain::workspace::{Lineage, root};
use crate::notify::{
    Deliverer, EmailSettings, Emailer, Recipient, Recipients, Security, SweepSettings, Sweeper,
    WebhookSettings,
};
use crate::store::people::{MemberRecord, MemberState};
use crate::store::{Store, StoreError};
use crate::vault::Keyring;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What was counted before is in the store after so long, or it is not for some other reason.
const WRITTEN: Duration = Duration::from_secs(30);

/// What of the configuration it goes by.
#[derive(Clone)]
pub(super) struct Background {
    vault: Option<Arc<Keyring>>,
    webhooks: WebhookConfig,
    email: Option<EmailConfig>,
    audit: AuditConfig,
    usage: UsageConfig,
    inactivity: Inactivity,
    node: Id,
    written: watch::Receiver<bool>,
}

/// What it works with.
#[derive(Clone)]
pub(super) struct Beside {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: CancellationToken,
}

impl Background {
    /// `written`: whether the store has all uses that this node counted.
    pub(super) fn of(
        config: &Config,
        vault: Option<Arc<Keyring>>,
        node: Id,
        written: watch::Receiver<bool>,
    ) -> Self {
        Self {
            node,
            written,
            usage: config.usage,
            vault,
            webhooks: config.webhooks,
            email: config.email.clone(),
            audit: config.audit,
            inactivity: config.inactivity,
        }
    }

    /// Runs until the drain, each part in a task of its own.
    pub(super) async fn run(self, beside: Beside) {
        let tasks = TaskTracker::new();
        let stop = || beside.stop.clone();
        tasks.spawn(sweep(self.sweeper(&beside), self.written.clone(), stop()));
        if let Some(deliverer) = self.deliverer(&beside) {
            tasks.spawn(deliverer.run(stop()));
        }
        if let Some(emailer) = self.emailer(&beside) {
            tasks.spawn(emailer.run(stop()));
        }
        tasks.spawn(tell_head(beside.clone(), self.audit.head_interval));
        tasks.close();
        tasks.wait().await;
    }

    fn sweeper(&self, beside: &Beside) -> Sweeper {
        let (inactivity, written) = (self.inactivity, self.written.clone());
        let settings = SweepSettings {
            inactivity: Arc::new(move || inactivity),
            uses_missing: Arc::new(move || !*written.borrow()),
            audit_retention: self.audit.retention,
            usage_retention: self.usage.retention,
        };
        let clock = Arc::clone(&beside.clock);
        Sweeper::new(beside.store.clone(), clock, self.node, settings)
    }

    /// Without a master key there are no signing secrets, and so no webhooks.
    fn deliverer(&self, beside: &Beside) -> Option<Deliverer> {
        let keyring = Arc::clone(self.vault.as_ref()?);
        let settings = WebhookSettings {
            allow_private: self.webhooks.allow_private,
            timeout: self.webhooks.timeout,
        };
        let clock = Arc::clone(&beside.clock);
        Deliverer::new(beside.store.clone(), keyring, clock, settings)
            .inspect_err(|fault| tracing::error!(error = %fault, "no webhook can be told"))
            .ok()
    }

    fn emailer(&self, beside: &Beside) -> Option<Emailer> {
        let email = self.email.clone()?;
        let settings = EmailSettings {
            host: email.smtp.host,
            port: email.smtp.port,
            security: match email.smtp.security {
                SmtpSecurity::StartTls => Security::StartTls,
                SmtpSecurity::Tls => Security::Tls,
                SmtpSecurity::Plain => Security::Plain,
            },
            login: email.login.map(|login| (login.username, login.password)),
            from: (email.from.name, email.from.address),
            to: email.to,
        };
        let recipients = recipients(beside.store.clone());
        let clock = Arc::clone(&beside.clock);
        Emailer::new(beside.store.clone(), clock, settings, recipients)
            .inspect_err(|fault| tracing::error!(error = %fault, "no notice goes out by e-mail"))
            .ok()
    }
}

/// Members who have a role in a workspace or above.
fn recipients(store: Store) -> Recipients {
    Arc::new(move |workspace| {
        let store = store.clone();
        Box::pin(async move {
            let place = match store.workspace(workspace).await {
                Ok(place) => place.lineage,
                // What is about a workspace that is gone is told at the root.
                Err(StoreError::NotFound) => Lineage::new(vec![root()]),
                Err(fault) => return Err(fault),
            };
            let members = store.members().await?;
            Ok(members
                .into_iter()
                .filter_map(|member| recipient(member, &place))
                .collect())
        })
    })
}

fn recipient(member: MemberRecord, place: &Lineage) -> Option<Recipient> {
    let reaches = member
        .roles
        .iter()
        .any(|binding| place.is_reached_from(binding.workspace));
    let active = member.state == MemberState::Active;
    let address = member.email.filter(|_| active && reaches)?;
    Some(Recipient {
        key: member.id.text(crate::domain::id::Kind::Member).to_string(),
        address,
    })
}

/// Sweeps from when the uses are written that were counted while there was no store: until then nothing ends anyway.
async fn sweep(sweeper: Sweeper, mut written: watch::Receiver<bool>, stop: CancellationToken) {
    let first = timeout(WRITTEN, written.wait_for(|written| *written));
    let _ = stop.run_until_cancelled(first).await;
    sweeper.run(stop).await;
}

/// Tells where the audit log ends, so that whoever keeps the logs can show later that nothing was cut off its end.
async fn tell_head(beside: Beside, every: Duration) {
    while pause(&beside.stop, every).await {
        match beside.store.audit_head().await {
            Ok(head) => tracing::info!(
                sequence = head.sequence,
                hash = %head.hash,
                at = head.at.map(tracing::field::display),
                "head of the audit log"
            ),
            Err(fault) => beside.store.outage().met("audit head", &fault),
        }
    }
}

/// Waits; whether to go on.
async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    let waited = stop.run_until_cancelled(tokio::time::sleep(time)).await;
    waited.is_some()
}
