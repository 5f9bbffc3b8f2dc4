//! Asks an endpoint how it is, on a connection of its own each time: `GET` in HTTP/1.1, of which only the status is read,
//! or the connection alone. No redirect is followed.

use super::verdict::Verdict;
use crate::clock::Clock;
use crate::config::upstream_tls::UpstreamTls;
use crate::domain::resilience::{HealthCheck, Probe};
use crate::snapshot::endpoints::{EndpointState, UpstreamState};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A status line is no longer than this.
const LONGEST_LINE: usize = 256;

/// Never ends. A change is told once.
pub(super) async fn follow(
    (upstream, endpoint): (Arc<UpstreamState>, Arc<EndpointState>),
    rules: HealthCheck,
    clock: Arc<dyn Clock>,
) {
    let mut verdict = Verdict::default();
    let mut ticks = interval(rules.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Endpoints are not all asked in the same moment.
        let late = rules.interval.mul_f64(fastrand::f64() / 10.0);
        tokio::time::sleep(late.min(Duration::from_secs(1))).await;
        let outcome = timeout(rules.timeout, ask(&upstream, &endpoint, &rules.probe)).await;
        let outcome = outcome.unwrap_or(Err("no answer in time".into()));
        let healthy = verdict.take(outcome.is_ok(), &rules);
        if !endpoint
            .health
            .checked(Some(healthy), clock.monotonic_nanos())
        {
            continue;
        }
        let (upstream, endpoint) = (&upstream.config.name, &endpoint.endpoint.authority);
        match outcome {
            Ok(()) => tracing::info!(%upstream, %endpoint, "an endpoint is healthy again"),
            Err(reason) => {
                tracing::warn!(%upstream, %endpoint, reason, "an endpoint is unhealthy");
            }
        }
    }
}

/// Why an endpoint is not well.
type Reason = String;

async fn ask(
    upstream: &UpstreamState,
    endpoint: &EndpointState,
    probe: &Probe,
) -> Result<(), Reason> {
    let stream = connect(endpoint).await?;
    match probe {
        Probe::Tcp => Ok(()),
        Probe::Http {
            path,
            host,
            statuses,
        } => {
            let host = host.as_ref().unwrap_or(&endpoint.endpoint.authority);
            match &upstream.tls {
                None => get(stream, (path, host), statuses).await,
                Some(tls) => {
                    let stream = shake(tls, &endpoint.endpoint.host, stream).await?;
                    get(stream, (path, host), statuses).await
                }
            }
        }
    }
}

/// TLS as requests have it, but for what is spoken.
async fn shake(
    tls: &UpstreamTls,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Reason> {
    let name = tls.name_of(host).ok_or("no name for a certificate")?;
    let connector = TlsConnector::from(tls.client(true));
    let shaken = connector.connect(name, stream).await;
    shaken.map_err(|fault| format!("no TLS: {fault}"))
}

/// A connection to the first address that takes one.
async fn connect(endpoint: &EndpointState) -> Result<TcpStream, Reason> {
    let place = &endpoint.endpoint;
    let addresses = match place.host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => endpoint
            .addresses
            .in_turn()
            .await
            .ok_or("its name has no address")?,
    };
    let mut reason = "no connection".to_owned();
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(address, place.port)).await {
            Ok(stream) => return Ok(stream),
            Err(fault) => reason = format!("no connection: {fault}"),
        }
    }
    Err(reason)
}

/// Asks for a path and looks at the status.
async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    (path, host): (&str, &str),
    statuses: &[RangeInclusive<u16>],
) -> Result<(), Reason> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: keygate-health\r\naccept: */*\r\nconnection: close\r\n\r\n"
    );
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(|fault| format!("the connection ended: {fault}"))?;
    let status = status(&mut stream).await?;
    if statuses.iter().any(|range| range.contains(&status)) {
        return Ok(());
    }
    Err(format!("status {status}"))
}

/// Reads the status line.
async fn status(stream: &mut (impl AsyncRead + Unpin)) -> Result<u16, Reason> {
    let mut line = Vec::with_capacity(LONGEST_LINE);
    while !line.contains(&b'\n') && line.len() < LONGEST_LINE {
        let read = stream.read_buf(&mut line).await;
        if read.map_err(|fault| format!("the connection ended: {fault}"))? == 0 {
            return Err("the connection ended without an answer".into());
        }
    }
    let text = line.strip_prefix(b"HTTP/1.").and_then(|rest| {
        let digits = rest.get(2..5)?;
        let ends = matches!(rest.get(5), Some(b' ' | b'\r' | b'\n'));
        std::str::from_utf8(digits)
            .ok()
            .filter(|_| ends && rest.get(1) == Some(&b' '))
    });
    text.and_then(|digits| digits.parse().ok())
        .ok_or_else(|| "the answer is not HTTP/1.1".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_status_line_is_read() {
        let good: &[&[u8]] = &[b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.0 204\r\n\r\nbody"];
        for answer in good {
            assert_eq!(status(&mut &**answer).await, Ok(204));
        }
        let bad: &[&[u8]] = &[
            b"",
            b"HTTP/1.1 20",
            b"HTTP/2 204\r\n",
            b"HTTP/1.1 2045\r\n",
            &[b'x'; 999],
        ];
        for answer in bad {
            assert!(status(&mut &**answer).await.is_err(), "{answer:?}");
        }
    }
}
