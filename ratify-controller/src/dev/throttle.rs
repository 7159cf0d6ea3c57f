//! [`Throttle`]: so many requests a second are served and the others refused, as public registries
//! do. Pure: the time comes in.

use std::time::Instant;

use http::{StatusCode, header};

use super::answer::Refusal;

/// A bucket that holds a second's worth of tokens; a request costs one.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: f64,
    tokens: f64,
    filled_at: Instant,
    refused: u64,
}

impl Throttle {
    /// Full at first.
    pub(super) fn new(requests_per_second: u32, now: Instant) -> Self {
        let rate = f64::from(requests_per_second.max(1));
        Self { rate, tokens: rate, filled_at: now, refused: 0 }
    }

    /// Whether a request is served.
    ///
    /// # Errors
    /// 429 with `Retry-After`: whole seconds, so one.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Refusal> {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.rate);
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        self.refused += 1;
        let status = StatusCode::TOO_MANY_REQUESTS;
        Err(Refusal::new(status, "TOOMANYREQUESTS", "too many requests")
            .with_header(header::RETRY_AFTER, "1"))
    }

    /// How many were refused since the start.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_holds_so_many_requests_however_they_come() {
        let start = Instant::now();
        let mut throttle = Throttle::new(50, start);
        let mut served =
            |at: Instant, asked: u32| (0..asked).filter(|_| throttle.admit(at).is_ok()).count();
        assert_eq!(served(start, 60), 50);
        assert_eq!(served(start + Duration::from_millis(100), 60), 5);
        assert_eq!(served(start + Duration::from_secs(9), 60), 50);
        assert_eq!(throttle.refused(), 10 + 55 + 10);
    }
}
