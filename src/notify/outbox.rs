//! The loop that takes events out: spreads what was committed, and keeps a bounded number of webhooks busy. A webhook
//! that does not answer holds up nobody else.

use super::deliver::Deliverer;
use crate::domain::id::Id;
use crate::store::StoreError;
use crate::store::webhooks::WebhookRecord;
use std::collections::HashMap;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Webhooks that are called at a time.
const AT_A_TIME: usize = 8;
/// Looks for what other nodes committed, and for what is due again.
const LOOK: Duration = Duration::from_secs(2);

impl Deliverer {
    /// Delivers until it is told to stop; what is under way is finished.
    pub async fn run(self, stop: CancellationToken) {
        let mut committed = self.store.committed();
        // Tasks of their own: what waits for the store must go on while the next look waits for it too.
        let mut flying = JoinSet::new();
        let mut busy = HashMap::new();
        while !stop.is_cancelled() {
            for webhook in self.due(&busy).await {
                let id = webhook.id;
                let (this, stop) = (self.clone(), stop.clone());
                let task = flying.spawn(async move { this.deliver_to(webhook, &stop).await });
                busy.insert(task.id(), id);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = committed.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                Some(end) = flying.join_next_with_id() => {
                    let (task, failed) = match end {
                        Ok((task, Ok(_))) => (task, false),
                        Ok((task, Err(fault))) => {
                            self.store.outage().met("deliveries", &fault);
                            (task, true)
                        }
                        Err(fault) => {
                            tracing::error!(%fault, "deliveries to a webhook have broken off");
                            (fault.id(), true)
                        }
                    };
                    busy.remove(&task);
                    if failed {
                        // The store is away: no need to ask it at once again.
                        tokio::time::sleep(LOOK).await;
                    }
                }
            }
        }
        while flying.join_next().await.is_some() {}
    }

    /// Webhooks to be told now, as many as there is room for.
    async fn due(&self, busy: &HashMap<tokio::task::Id, Id>) -> Vec<WebhookRecord> {
        let due = async {
            self.spread().await?;
            self.store.due_webhooks().await
        };
        let (part, outage) = ("webhooks", self.store.outage());
        let due = due.await;
        match &due {
            Ok(_) => outage.worked(part),
            Err(fault) => outage.failed(part, fault),
        }
        let idle = |one: &WebhookRecord| !busy.values().any(|id| *id == one.id);
        let idle = due.unwrap_or_default().into_iter().filter(idle);
        idle.take(AT_A_TIME.saturating_sub(busy.len())).collect()
    }

    /// Spreads all that is committed, and delivers all that is due, once; how many deliveries were tried.
    pub async fn deliver_once(&self) -> Result<usize, StoreError> {
        self.spread().await?;
        let stop = CancellationToken::new();
        let mut tried = 0;
        for webhook in self.store.due_webhooks().await? {
            tried += self.deliver_to(webhook, &stop).await?;
        }
        Ok(tried)
    }

    async fn spread(&self) -> Result<(), StoreError> {
        while self.store.spread_outbox().await? > 0 {}
        Ok(())
    }
}
