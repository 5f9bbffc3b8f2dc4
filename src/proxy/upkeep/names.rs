//! Looks the name of an endpoint up, again and again, each time when the last answer has had its time.

use crate::config::DnsConfig;
use crate::proxy::upstream::dns;
use crate::snapshot::endpoints::EndpointState;
use std::sync::Arc;
use std::time::Duration;

/// A look-up that failed is repeated after this, later and later.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Never ends. An answer that cannot be renewed is used on: it is more likely that the resolver is gone than the service.
pub(super) async fn follow(endpoint: Arc<EndpointState>, config: Arc<DnsConfig>) {
    let name = &*endpoint.endpoint.host;
    let mut pause = FIRST_PAUSE;
    loop {
        let wait = match dns::look_up(name, &config).await {
            Ok(found) if !found.addresses.is_empty() => {
                let count = found.addresses.len();
                if endpoint.addresses.found(found.addresses) {
                    tracing::debug!(name, addresses = count, "the addresses of a name changed");
                }
                pause = FIRST_PAUSE;
                found.holds
            }
            answer => {
                let fault = answer.err().map(|fault| fault.to_string());
                tracing::warn!(name, fault, "a name could not be looked up");
                if endpoint.addresses.now().is_empty() {
                    endpoint.addresses.found(Vec::new());
                }
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}
