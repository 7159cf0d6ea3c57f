//! [`RegistryStanding`]: how the queue before each registry stands, for whoever shows it. The hosts
//! are for labels, so only so many are told apart, and only those that have ever answered: the rest
//! is told together.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{Connections, counters::OTHERS, limiter::Standing};

/// At most this many hosts are told apart: those asked last.
const MAX_SHOWN: usize = 128;

/// The queue before one host.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RegistryStanding {
    /// The host, with its port where that is not the scheme's; `(others)` for all beyond the bound.
    pub host: String,
    /// How many requests wait for their turn.
    pub waiting: u64,
    /// How many wait for an answer.
    pub under_way: u64,
    /// What is known of one host alone; of the others it is not told.
    pub own: Option<OwnStanding>,
}

/// What is known of one host.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct OwnStanding {
    /// How many requests may wait for an answer at once.
    pub window: f64,
    /// How many may be sent in a second, once the host has asked for fewer.
    pub per_second: Option<f64>,
    /// For how much longer the host wants to be left alone.
    pub paused: Duration,
    /// How many requests had to wait for their turn so far.
    pub waited: u64,
    /// For how long together.
    pub wait: Duration,
    /// How many answers asked for a pause (429, or 503 with a time to come back).
    pub throttled: u64,
    /// How many requests were not sent, since such a pause lasts longer than there is time.
    pub refused: u64,
}

impl Connections {
    /// How the queues before all registries stand.
    pub fn standings(&self) -> Vec<RegistryStanding> {
        together(self.registries().standings(Instant::now()))
    }
}

/// Those of one host as one, and those that are not shown as `(others)`. The first are those asked
/// last.
fn together(standings: Vec<(String, Standing)>) -> Vec<RegistryStanding> {
    let mut shown: BTreeMap<String, RegistryStanding> = BTreeMap::new();
    let mut others = RegistryStanding::none(OTHERS);
    for (host, standing) in standings {
        let is_shown = standing.counted.answered + standing.counted.throttled > 0
            && (shown.len() < MAX_SHOWN || shown.contains_key(&host));
        let one = match is_shown {
            true => shown.entry(host).or_insert_with_key(|host| RegistryStanding::none(host)),
            false => &mut others,
        };
        one.waiting += standing.waiting as u64;
        one.under_way += u64::from(standing.under_way);
        if is_shown {
            one.own = Some(OwnStanding::of(&standing, one.own));
        }
    }
    shown.into_values().chain((others.waiting + others.under_way > 0).then_some(others)).collect()
}

impl RegistryStanding {
    fn none(host: &str) -> Self {
        Self { host: host.to_owned(), waiting: 0, under_way: 0, own: None }
    }
}

impl OwnStanding {
    /// The same host may be asked in clear and over TLS.
    fn of(standing: &Standing, other: Option<Self>) -> Self {
        let counted = &standing.counted;
        let one = Self {
            window: standing.window,
            per_second: standing.per_second,
            paused: standing.paused,
            waited: counted.waited,
            wait: counted.wait,
            throttled: counted.throttled,
            refused: counted.refused,
        };
        let Some(other) = other else { return one };
        let least = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::min);
        Self {
            window: one.window.min(other.window),
            per_second: least(one.per_second, other.per_second),
            paused: one.paused.max(other.paused),
            waited: one.waited + other.waited,
            wait: one.wait + other.wait,
            throttled: one.throttled + other.throttled,
            refused: one.refused + other.refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::Counted;

    fn standing(answered: u64, waiting: usize) -> Standing {
        let counted = Counted { answered, waited: 2, throttled: 1, ..Counted::default() };
        let counted = if answered > 0 { counted } else { Counted::default() };
        Standing {
            waiting,
            under_way: 1,
            window: 8.0,
            per_second: None,
            paused: Duration::ZERO,
            counted,
        }
    }

    #[test]
    fn hosts_that_never_answered_and_those_beyond_the_bound_are_told_together() {
        let of = |number: usize| (format!("r{number:03}.io"), standing(1, 2));
        let mut all = vec![("made-up.io".to_owned(), standing(0, 5))];
        all.extend((0..MAX_SHOWN + 10).map(of));
        let told = together(all);
        assert_eq!(told.len(), MAX_SHOWN + 1);
        let others = told.last().unwrap();
        assert_eq!((others.host.as_str(), others.waiting, others.under_way), (OTHERS, 25, 11));
        assert!(others.own.is_none() && told.iter().rev().skip(1).all(|one| one.own.is_some()));
        assert_eq!(told[0].host, "r000.io");
        assert!(
            together(vec![("idle.io".into(), Standing { under_way: 0, ..standing(0, 0) })])
                .is_empty()
        );
    }

    #[test]
    fn a_host_that_is_asked_in_clear_and_over_tls_is_told_once() {
        let slow = Standing { per_second: Some(5.0), window: 4.0, ..standing(1, 1) };
        let told = together(vec![("r.io".into(), standing(1, 2)), ("r.io".into(), slow)]);
        assert_eq!((told.len(), told[0].waiting), (1, 3));
        let own = told[0].own.unwrap();
        assert_eq!((own.window, own.per_second, own.throttled), (4.0, Some(5.0), 2));
    }
}
