//! Wall clocks of others: when a credential ends, as a service says it, in terms of the clock that
//! cannot be turned.

use std::time::{Duration, Instant, SystemTime};

/// No credential lives shorter, whatever the clocks say: a clock that is ahead must not make each
/// question a new request.
const MIN_LIFE: Duration = Duration::from_secs(60);
/// Nor longer.
const MAX_LIFE: Duration = Duration::from_secs(12 * 3600);

/// The end of what a service gave just now and that ends at a time of its clock.
pub(in crate::auth) fn good_until(ends: SystemTime, now: SystemTime, received: Instant) -> Instant {
    let life = ends.duration_since(now).unwrap_or(Duration::ZERO);
    received + life.clamp(MIN_LIFE, MAX_LIFE)
}

/// A time as services write it in JSON: seconds since 1970, with or without a fraction.
pub(in crate::auth) fn from_unix(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_between_a_minute_and_half_a_day_whatever_the_clocks_say() {
        let (now, received) = (SystemTime::now(), Instant::now());
        let life = |ends| good_until(ends, now, received).duration_since(received).as_secs();
        assert_eq!(life(now + Duration::from_secs(600)), 600);
        assert_eq!(life(now - Duration::from_secs(600)), 60);
        assert_eq!(life(now + Duration::from_secs(1)), 60);
        assert_eq!(life(now + Duration::from_secs(90_000)), 12 * 3600);
        assert_eq!(life(SystemTime::UNIX_EPOCH), 60);
    }

    #[test]
    fn a_number_that_is_no_time_is_none() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_500);
        assert_eq!(from_unix(1.900_000_000_5e9), Some(expected));
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(from_unix(seconds), None);
        }
    }
}
