//! [`answer_within`]: how long an answer may take. What is configured, or less where somebody in
//! front of this server waits for less: an answer that comes later is heard by nobody, and where
//! the webhook's `failurePolicy` is `Ignore` the image is admitted then. Pure.

use std::time::Duration;

/// What the way back takes, of the time that somebody waits: a twentieth, within bounds. v1 leaves
/// 50 ms of one second and 100 ms of three.
const MARGIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];

/// How long the answers to the two questions may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// To a verification.
    pub verify: Duration,
    /// To a mutation.
    pub mutate: Duration,
}

/// Somebody in front of this server who waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// What it is called where it can be changed: `timeoutSeconds of …`.
    pub name: String,
    /// For how long.
    pub waits: Duration,
    /// Whether the image is admitted when that is over.
    pub admits_then: bool,
}

/// How long an answer may take, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The time.
    pub within: Duration,
    /// Why it is less than configured; `None` where it is not.
    pub cut: Option<String>,
    /// What an administrator should know.
    pub warnings: Vec<String>,
}

impl Times {
    /// Both times.
    pub fn new(verify: Duration, mutate: Duration) -> Self {
        Self { verify, mutate }
    }
}

/// Decides by what is configured, which the `key` of the section `executor` says, and by those who
/// wait.
pub fn answer_within(configured: Duration, key: &str, waiters: &[Waiter]) -> Decision {
    let least = waiters.iter().min_by_key(|waiter| waiter.waits);
    let left = least.map(|waiter| waiter.waits.saturating_sub(margin(waiter.waits)));
    let within = left.map_or(configured, |left| left.min(configured));
    let cut = least.filter(|_| within < configured).map(|waiter| {
        let Waiter { name, waits, .. } = waiter;
        format!("answers are given within {within:?}, since {name} is {waits:?}; executor.{key} says {configured:?}")
    });
    let ignoring = waiters.iter().filter(|waiter| waiter.admits_then);
    let warnings = ignoring.map(|waiter| {
        let Waiter { name, waits, .. } = waiter;
        format!("failurePolicy is Ignore, and {name} is {waits:?}: what is not answered by then is admitted without being verified; with Fail it is refused")
    });
    Decision { within, cut, warnings: warnings.collect() }
}

fn margin(waits: Duration) -> Duration {
    let [least, most] = MARGIN;
    // Who waits for next to nothing gets half of it.
    (waits / 20).clamp(least, most).min(waits / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(milliseconds: u64, admits_then: bool) -> Waiter {
        let waits = Duration::from_millis(milliseconds);
        Waiter { name: format!("the timeout {milliseconds}"), waits, admits_then }
    }

    fn within(configured: u64, waiters: &[u64]) -> u128 {
        let waiters: Vec<_> = waiters.iter().map(|waits| waiter(*waits, false)).collect();
        let decided = answer_within(Duration::from_millis(configured), "x", &waiters);
        assert_eq!(decided.cut.is_some(), decided.within < Duration::from_millis(configured));
        decided.within.as_millis()
    }

    #[test]
    fn it_is_the_least_of_all_less_a_margin() {
        assert_eq!(within(2900, &[]), 2900);
        // v1's chart with its own Provider, and with Gatekeeper's own webhook.
        assert_eq!(within(4900, &[5000]), 4750);
        assert_eq!(within(4900, &[5000, 3000]), 2850);
        assert_eq!(within(1950, &[2000, 1000]), 950);
        assert_eq!(within(2900, &[30_000, 10_000]), 2900);
        assert_eq!(within(60_000, &[30_000]), 29_750);
        assert_eq!(within(2900, &[60]), 30);
        assert_eq!((within(0, &[3000]), within(2900, &[0])), (0, 0));
    }

    #[test]
    fn what_is_cut_and_what_would_be_admitted_is_said() {
        let waiters = [waiter(3000, true), waiter(5000, false)];
        let decided =
            answer_within(Duration::from_millis(4900), "verificationRequestTimeout", &waiters);
        insta::assert_snapshot!(decided.cut.unwrap(), @"answers are given within 2.85s, since the timeout 3000 is 3s; executor.verificationRequestTimeout says 4.9s");
        insta::assert_snapshot!(decided.warnings.join("\n"), @"failurePolicy is Ignore, and the timeout 3000 is 3s: what is not answered by then is admitted without being verified; with Fail it is refused");
    }
}
