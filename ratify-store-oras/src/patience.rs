//! How long is waited: for a server that is silent, for a time that is given, and before a retry.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::OrasError;

/// A server that sends nothing, and takes nothing, for this long has hung.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// Waits for an answer for as long as something is sent, or has just been.
pub(crate) async fn unless_silent<T>(
    answer: impl Future<Output = T>,
    sent: &AtomicU64,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut seen = 0;
    loop {
        if let Ok(answer) = tokio::time::timeout(SILENCE, &mut answer).await {
            return Some(answer);
        }
        let now = sent.load(Ordering::Relaxed);
        if now == seen {
            return None;
        }
        seen = now;
    }
}

pub(crate) fn silence(request: String) -> OrasError {
    let reason = format!("the server was silent for {} seconds", SILENCE.as_secs());
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
}
