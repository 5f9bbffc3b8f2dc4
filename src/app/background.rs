//! What goes on beside the requests while there is a store: time's work on keys, webhooks, e-mails, word of this node, and
//! the line that tells where the audit log ends. All of it stops when the drain begins.

use crate::clock::Clock;
use crate::config::{AuditConfig, Config, EmailConfig, SmtpSecurity, WebhookConfig};
use crate::domain::id::Id;
use crate::domain::key::record::Inactivity;
use crate::domain::time::Timestamp;
use crate::domain::workspace::{Lineage, root};
use crate::notify::{
    Deliverer, EmailSettings, Emailer, Recipient, Recipients, Security, SweepSettings, Sweeper,
    WebhookSettings,
};
use crate::snapshot::handle::Shared;
use crate::store::nodes::NodeRecord;
use crate::store::people::{MemberRecord, MemberState};
use crate::store::{Store, StoreError};
use crate::vault::Keyring;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often a node says how it is.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A node that says nothing for so long is forgotten.
const FORGOTTEN_MILLIS: i64 = 10 * 60 * 1000;

/// What of the configuration it goes by.
#[derive(Clone)]
pub(super) struct Background {
    vault: Option<Arc<Keyring>>,
    webhooks: WebhookConfig,
    email: Option<EmailConfig>,
    audit: AuditConfig,
    inactivity: Inactivity,
}

/// What it works with.
#[derive(Clone)]
pub(super) struct Beside {
    pub(super) store: Store,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: CancellationToken,
}

impl Background {
    pub(super) fn of(config: &Config, vault: Option<Arc<Keyring>>) -> Self {
        Self {
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
        tasks.spawn(self.sweeper(&beside).run(stop()));
        if let Some(deliverer) = self.deliverer(&beside) {
            tasks.spawn(deliverer.run(stop()));
        }
        if let Some(emailer) = self.emailer(&beside) {
            tasks.spawn(emailer.run(stop()));
        }
        tasks.spawn(heartbeat(beside.clone()));
        tasks.spawn(tell_head(beside.clone(), self.audit.head_interval));
        tasks.close();
        tasks.wait().await;
    }

    fn sweeper(&self, beside: &Beside) -> Sweeper {
        let inactivity = self.inactivity;
        let settings = SweepSettings {
            inactivity: Arc::new(move || inactivity),
            // Uses are not written to the store yet: no key ends for want of uses that nobody has noted.
            uses_missing: Arc::new(|| true),
            audit_retention: self.audit.retention,
        };
        Sweeper::new(beside.store.clone(), Arc::clone(&beside.clock), settings)
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

/// Says how this node is, again and again; and at the end, that it is no more.
async fn heartbeat(beside: Beside) {
    let started_at = beside.clock.now();
    let mut node = NodeRecord {
        id: Id::new(started_at),
        name: host_name(),
        version: env!("CARGO_PKG_VERSION").into(),
        started_at,
        seen_at: started_at,
        observed: 0,
        applied: 0,
    };
    loop {
        node.seen_at = beside.clock.now();
        node.observed = beside.shared.store().observed;
        node.applied = beside.shared.applied();
        let oldest = Timestamp::from_millis(node.seen_at.as_millis() - FORGOTTEN_MILLIS);
        let said = async {
            beside.store.note_node(&node).await?;
            beside.store.forget_nodes(oldest).await
        };
        if let Err(fault) = said.await {
            tracing::debug!(error = %fault, "this node cannot say how it is");
        }
        if !pause(&beside.stop, HEARTBEAT).await {
            break;
        }
    }
    // Should it not be heard, the others forget this node anyway.
    let _ = beside.store.forget_node(node.id).await;
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
            Err(fault) => {
                tracing::warn!(error = %fault, "the head of the audit log cannot be told");
            }
        }
    }
}

/// Waits; whether to go on.
async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    let waited = stop.run_until_cancelled(tokio::time::sleep(time)).await;
    waited.is_some()
}

/// The host's name, as the kernel has it.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unknown".into(),
        name => name.chars().take(253).collect(),
    }
}
