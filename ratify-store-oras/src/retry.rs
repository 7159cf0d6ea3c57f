//! [`RetryPolicy`]: which answers are asked for again, and after how long. Pure; v1's figures.

use std::time::Duration;

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
    /// No wait is longer, whatever the registry asks for.
    pub max_wait: Duration,
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
        }
    }
}

impl RetryPolicy {
    /// The same figures scaled down to single milliseconds, for tests.
    pub fn fast(max_retries: u32) -> Self {
        let wait = Duration::from_millis(2);
        Self { max_retries, first_wait: wait, min_wait: wait, max_wait: wait * 4 }
    }

    /// How long to wait before attempt `retry` (the first repetition is 0), or `None` for "this
    /// outcome stands". `jitter` is between 0 and 1.
    pub(crate) fn wait(&self, retry: u32, outcome: Outcome, jitter: f64) -> Option<Duration> {
        if retry >= self.max_retries || !is_worth_repeating(outcome) {
            return None;
        }
        let wait = match outcome {
            // Only with 429, as v1.
            Outcome::Status(429, Some(seconds)) => Duration::from_secs(seconds),
            _ => {
                let factor = f64::from(1_u32 << retry.min(16)) * (0.9 + 0.2 * jitter);
                self.first_wait.mul_f64(factor)
            }
        };
        Some(wait.clamp(self.min_wait, self.max_wait))
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
    fn retry_after_counts_with_429_only_and_never_beyond_the_bound() {
        assert_eq!(waits(Outcome::Status(429, Some(1)), 0.5)[0], Some(1000));
        assert_eq!(waits(Outcome::Status(429, Some(0)), 0.5)[0], Some(200));
        assert_eq!(waits(Outcome::Status(429, Some(u64::MAX)), 0.5)[0], Some(1750));
        assert_eq!(waits(Outcome::Status(503, Some(1)), 0.5)[0], Some(250));
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
