//! [`Pace`]: how soon the same thing may be written again. Somebody else may want it otherwise, and
//! two who write whatever the other one does would fill the API server. Pure.

use std::time::{Duration, Instant};

/// The wait after a second write; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After this long without a write, all is forgotten.
const QUIET: Duration = Duration::from_secs(300);

/// When something was written, and how long to wait from then on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace(Option<(Instant, Duration)>);

impl Pace {
    /// How long a write has to wait; nothing for a first one.
    pub(super) fn wait(self, now: Instant) -> Duration {
        let Some((last, wait)) = self.0 else { return Duration::ZERO };
        (last + wait).saturating_duration_since(now)
    }

    /// It was written, or tried to be.
    pub(super) fn wrote(&mut self, now: Instant) {
        let wait = match self.0 {
            Some((last, wait)) if now.duration_since(last) < QUIET => (wait * 2).min(LONGEST_WAIT),
            _ => FIRST_WAIT,
        };
        self.0 = Some((now, wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_in_a_row_wait_longer_each_time_and_quiet_forgets_them() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        assert_eq!(pace.wait(now), Duration::ZERO);
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.wrote(now);
            waits.push(pace.wait(now).as_secs());
            now += pace.wait(now);
            assert_eq!(pace.wait(now), Duration::ZERO);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        now += QUIET;
        pace.wrote(now);
        assert_eq!(pace.wait(now), FIRST_WAIT);
    }
}
