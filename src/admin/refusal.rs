//! What the audit log tells of calls that were refused: who had no good token, and who asked for more than their role
//! allows. Once a minute for a cause and a network, with the number of tries: whoever is refused in a flood fills no disk.

use super::error::AdminError;
use super::server::AdminParts;
use super::throttle::Network;
use crate::domain::actor::Actor;
use crate::store::Fact;

/// On an answer: why the call was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused(pub(super) &'static str);

/// Records a refusal, if it is time for another one of its cause.
pub(super) async fn record(parts: &AdminParts, actor: &Actor, cause: &str, mut fact: Fact) {
    let network = actor.address.map(Network::of);
    let Some(network) = network.filter(|_| parts.store.is_some()) else {
        return;
    };
    let Some(tries) = parts.throttle.note_refusal(network, cause) else {
        return;
    };
    fact.outcome = "denied";
    fact.changes.insert("tries".into(), tries.into());
    let recorded = async {
        let mut write = parts.store()?.begin(actor).await?;
        write.record(fact).await?;
        write.commit().await?;
        Ok::<_, AdminError>(())
    };
    if let Err(fault) = recorded.await {
        tracing::warn!(error = %fault, cause, "a refused call could not be recorded");
    }
}
