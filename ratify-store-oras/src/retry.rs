//! [`RetryPolicy`]: which answers are asked for again, and after how long. Pure; v1's figures, save
//! that a registry that says when to come back is taken at its word.

use std::time::Duration;

use crate::pace::Seen;

/// When a request is repeated. The default is v1's: at most 5 times, after 250 ms × 2^n ± 10 %,
/// between 200 ms and 1.75 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How often a request is repeated.
    pub max_retries: u32,
    /// The first wait, doubled each time.
    pub first_wait: Duration,
    /// No wait is shorter.
    pub min_wait: Duration,
    /// No wait is longer unless the registry asks for it.
    pub max_wait: Duration,
    /// No wait is longer, whatever the registry asks for (`Retry-After`).
    pub max_asked_wait: Duration,
}

/// How an attempt ended, as far as repeating it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer, with `Retry-After` in seconds where it was sent.
    Status(u16, Option<u64>),
    /// No answer in time.
    TimedOut,
    /// The connection failed in another way.
    Failed,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 5,
            first_wait: Duration::from_millis(250),
            min_wait: Duration::from_millis(200),
            max_wait: Duration::from_millis(1750),
            max_asked_wait: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The same figures scaled down to single milliseconds, for tests.
    pub fn fast(max_retries: u32) -> Self {
        let wait = Duration::from_millis(2);
        let max_wait = wait * 4;
        Self { max_retries, first_wait: wait, min_wait: wait, max_wait, max_asked_wait: max_wait }
    }

    /// How long to wait before attempt `retry` (the first repetition is 0), or `None` for "this
    /// outcome stands". `jitter` is between 0 and 1.
    pub(crate) fn wait(&self, retry: u32, outcome: Outcome, jitter: f64) -> Option<Duration> {
        if retry >= self.max_retries || !is_worth_repeating(outcome) {
            return None;
        }
        let factor = f64::from(1_u32 << retry.min(16)) * (0.9 + 0.2 * jitter);
        let wait = self.first_wait.mul_f64(factor).clamp(self.min_wait, self.max_wait);
        Some(
            asked_wait(outcome)
                .map_or(wait, |asked| asked.clamp(wait, self.max_asked_wait.max(wait))),
        )
    }

    /// How an attempt ended, for the pace of its registry.
    pub(crate) fn seen(&self, outcome: Outcome) -> Seen {
        match outcome {
            Outcome::Status(429, None) => Seen::Busy(self.first_wait),
            _ => match asked_wait(outcome) {
                Some(asked) => Seen::Busy(asked.min(self.max_asked_wait)),
                None if is_worth_repeating(outcome) => Seen::Failed,
                None if outcome == Outcome::Failed => Seen::Unknown,
                None => Seen::Served,
            },
        }
    }
}

/// When the registry says it can be asked again: too many requests, or out of service.
fn asked_wait(outcome: Outcome) -> Option<Duration> {
    match outcome {
        Outcome::Status(429 | 503, seconds) => seconds.map(Duration::from_secs),
        _ => None,
    }
}

fn is_worth_repeating(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Status(status, _) => matches!(status, 408 | 429) || status >= 500,
        Outcome::TimedOut => true,
        Outcome::Failed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(outcome: Outcome, jitter: f64) -> Vec<Option<u128>> {
        let policy = RetryPolicy::default();
        (0..6).map(|n| policy.wait(n, outcome, jitter).map(|wait| wait.as_millis())).collect()
    }

    #[test]
    fn waits_double_are_clamped_and_end_after_five() {
        let expected = [Some(250), Some(500), Some(1000), Some(1750), Some(1750), None];
        assert_eq!(waits(Outcome::Status(503, None), 0.5), expected);
        assert_eq!(waits(Outcome::TimedOut, 0.0)[0], Some(225));
        assert_eq!(waits(Outcome::Status(408, None), 1.0)[0], Some(275));
    }

    #[test]
    fn retry_after_counts_up_to_a_minute_and_is_never_shorter_than_a_wait_of_ours() {
        assert_eq!(waits(Outcome::Status(429, Some(1)), 0.5)[0], Some(1000));
        assert_eq!(waits(Outcome::Status(429, Some(1)), 0.5)[3], Some(1750));
        assert_eq!(waits(Outcome::Status(429, Some(0)), 0.5)[0], Some(250));
        assert_eq!(waits(Outcome::Status(429, Some(u64::MAX)), 0.5)[0], Some(60_000));
        assert_eq!(waits(Outcome::Status(503, Some(10)), 0.5)[0], Some(10_000));
        assert_eq!(waits(Outcome::Status(500, Some(10)), 0.5)[0], Some(250));
    }

    #[test]
    fn the_pace_is_told_of_every_end() {
        let policy = RetryPolicy::default();
        let seen = |status, after| policy.seen(Outcome::Status(status, after));
        for status in [200, 206, 307, 401, 403, 404, 416] {
            assert_eq!(seen(status, Some(9)), Seen::Served, "{status}");
        }
        assert_eq!(seen(429, None), Seen::Busy(policy.first_wait));
        assert_eq!(seen(429, Some(3600)), Seen::Busy(policy.max_asked_wait));
        assert_eq!(seen(503, Some(2)), Seen::Busy(Duration::from_secs(2)));
        assert_eq!(seen(503, None), Seen::Failed);
        assert_eq!(policy.seen(Outcome::TimedOut), Seen::Failed);
        assert_eq!(policy.seen(Outcome::Failed), Seen::Unknown);
    }

    #[test]
    fn what_is_final_is_not_repeated() {
        for outcome in [
            Outcome::Status(200, None),
            Outcome::Status(401, None),
            Outcome::Status(404, None),
            Outcome::Failed,
        ] {
            assert_eq!(waits(outcome, 0.5)[0], None, "{outcome:?}");
        }
    }
}
