//! One client's handshake: bounded in time, and told in the log when it fails, though not so often
//! that a stranger could fill it.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Admission, Tls};

/// How often failures are told.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Which failures were told.
#[derive(Default)]
pub(super) struct Failures(Mutex<Told>);

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

impl Tls {
    /// Ready when there is something to serve.
    pub(in crate::gatekeeper) async fn ready(&self) {
        let mut served = self.served.clone();
        // The sender lives as long as the server does; without one nothing is ever served.
        if served.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Shakes hands with a client; `None` where it did not come to that.
pub(in crate::gatekeeper) async fn shake_hands(
    tls: &Tls,
    stream: TcpStream,
    peer: SocketAddr,
    patience: Duration,
) -> Option<(TlsStream<TcpStream>, Admission)> {
    let served = tls.served.borrow().clone()?;
    let Some(config) = served.config.clone() else {
        tls.failures.tell(peer, "the CA of clients cannot be used: nobody may come in");
        return None;
    };
    match timeout(patience, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates();
            let admission = Admission::new(tls.served.clone(), served, chain);
            return Some((stream, admission));
        }
        Ok(Err(error)) => tls.failures.tell(peer, &error.to_string()),
        Err(_) => tls.failures.tell(peer, "i/o timeout"),
    }
    None
}

impl Failures {
    fn tell(&self, peer: SocketAddr, why: &str) {
        let Some(untold) = self.is_due(Instant::now()) else { return };
        let more = if untold == 0 { String::new() } else { format!(" ({untold} more before)") };
        let why = ratify_core::capped_line(why, 200);
        tracing::warn!("http: TLS handshake error from {peer}: {why}{more}");
    }

    /// How many were not told since the last one that was; `None` when it is too early for another.
    fn is_due(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| now.duration_since(last) < TOLD_EVERY) {
            told.untold = told.untold.saturating_add(1);
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_once_a_second_and_counted_meanwhile() {
        let (failures, now) = (Failures::default(), Instant::now());
        assert_eq!(failures.is_due(now), Some(0));
        assert_eq!(failures.is_due(now), None);
        assert_eq!(failures.is_due(now + TOLD_EVERY / 2), None);
        assert_eq!(failures.is_due(now + TOLD_EVERY), Some(2));
    }
}
