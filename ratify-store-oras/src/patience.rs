//! How long is waited: for a server that is silent or slow, for a time that is given, and before a
//! retry.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use ratify_core::config::RegistryTimeouts;

use crate::OrasError;

/// How a body comes in: how long it was waited for, and how much came. What is done with it between
/// two pieces is not the server's time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flow {
    waited: Duration,
    received: u64,
}

impl Flow {
    /// How long the next piece may take. A server that sends a byte now and then is not silent,
    /// and comes to no end: what has come buys it time.
    fn patience(&self, timeouts: &RegistryTimeouts) -> Duration {
        let rate = u64::from(timeouts.min_bytes_per_second);
        let bought = Duration::from_millis(self.received.saturating_mul(1000) / rate.max(1));
        timeouts.silence.saturating_add(bought).saturating_sub(self.waited).min(timeouts.silence)
    }

    /// Waits for the next piece, of so many bytes.
    ///
    /// # Errors
    /// When it does not come in time: the server is silent, or too slow.
    pub(crate) async fn wait<T>(
        &mut self,
        request: &str,
        timeouts: &RegistryTimeouts,
        piece: impl Future<Output = T>,
        length: impl FnOnce(&T) -> usize,
    ) -> Result<T, OrasError> {
        let (patience, begun) = (self.patience(timeouts), tokio::time::Instant::now());
        let piece = tokio::time::timeout(patience, piece).await;
        self.waited = self.waited.saturating_add(begun.elapsed());
        match piece {
            Ok(piece) => {
                self.received = self.received.saturating_add(length(&piece) as u64);
                Ok(piece)
            }
            Err(_) if patience == timeouts.silence => Err(silence(request.to_owned(), patience)),
            Err(_) => Err(OrasError::TooSlow {
                request: request.to_owned(),
                received: self.received,
                seconds: self.waited.as_secs(),
                least: timeouts.min_bytes_per_second,
            }),
        }
    }
}

/// Waits for an answer for as long as something is sent, or has just been.
pub(crate) async fn unless_silent<T>(
    answer: impl Future<Output = T>,
    sent: &AtomicU64,
    silence: Duration,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut seen = 0;
    loop {
        if let Ok(answer) = tokio::time::timeout(silence, &mut answer).await {
            return Some(answer);
        }
        let now = sent.load(Ordering::Relaxed);
        if now == seen {
            return None;
        }
        seen = now;
    }
}

/// A server that sends nothing, and takes nothing, for this long has hung.
pub(crate) fn silence(request: String, silence: Duration) -> OrasError {
    let reason = format!("the server was silent for {} seconds", silence.as_secs_f64());
    OrasError::Unreachable { request, reason, timed_out: true }
}

/// Between 0 and 1, different each time: the hasher's keys are random.
pub(crate) fn jitter() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

/// Runs some work, but not beyond the time given for it.
pub(crate) async fn within<T>(
    give_up_at: Option<Instant>,
    what: &str,
    work: impl Future<Output = Result<T, OrasError>>,
) -> Result<T, OrasError> {
    let gave_up = || OrasError::GaveUp { what: what.to_owned() };
    let Some(end) = give_up_at else { return work.await };
    if end.saturating_duration_since(Instant::now()) == Duration::ZERO {
        return Err(gave_up());
    }
    tokio::time::timeout_at(end.into(), work).await.unwrap_or_else(|_| Err(gave_up()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_a_fraction() {
        assert!((0..100).map(|_| jitter()).all(|jitter| (0.0..=1.0).contains(&jitter)));
    }

    #[test]
    fn a_byte_now_and_then_buys_no_time_and_a_good_pace_does() {
        let timeouts = RegistryTimeouts::default();
        let patience = |waited: u64, received| {
            let flow = Flow { waited: Duration::from_secs(waited), received };
            flow.patience(&timeouts).as_secs()
        };
        assert_eq!(patience(0, 0), 60);
        // A byte each 29 seconds.
        assert_eq!(patience(29, 1), 31);
        assert_eq!(patience(58, 2), 2);
        assert_eq!(patience(61, 3), 0);
        // 10 KiB a second for an hour: it may pause.
        assert_eq!(patience(3600, 36_000 * 1024), 60);
        // However large: no overflow.
        assert_eq!(patience(u64::MAX, u64::MAX), 0);
    }
}
