//! [`Ways`]: which way the places of all registries list referrers, in little memory. The places come
//! from requests.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long it is known. A registry may be upgraded.
const LIFETIME: Duration = Duration::from_secs(600);
/// What is known of all places together takes no more.
const MAX_BYTES: usize = 4 << 20;
/// What is known of a place takes so much besides its text, about.
const BESIDES: usize = 96;

/// Which way a registry lists what is attached to a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Referrers {
    Api,
    TagSchema,
}

/// What is known of places.
#[derive(Default)]
pub(crate) struct Ways(Mutex<Known>);

#[derive(Default)]
struct Known {
    places: HashMap<String, (Referrers, Instant)>,
    bytes: usize,
    swept: Option<Instant>,
}

impl Ways {
    /// The way of a place, where it is known.
    pub(crate) fn of(&self, place: &str, now: Instant) -> Option<Referrers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).of(place, now)
    }

    /// It answered so. A place that has the API keeps it, whatever is not found in it.
    pub(crate) fn learn(&self, place: String, referrers: Referrers, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.of(&place, now) == Some(Referrers::Api) && referrers != Referrers::Api {
            return;
        }
        known.make_room(place.len() + BESIDES, now);
        let bytes = place.len() + BESIDES;
        if known.places.insert(place, (referrers, now)).is_none() {
            known.bytes += bytes;
        }
    }
}

impl Known {
    fn of(&self, place: &str, now: Instant) -> Option<Referrers> {
        let (referrers, at) = *self.places.get(place)?;
        is_fresh(at, now).then_some(referrers)
    }

    /// Forgets what is too old; and where that is not enough, the older half.
    fn make_room(&mut self, bytes: usize, now: Instant) {
        let is_full = |bytes_now: usize| bytes_now + bytes > MAX_BYTES;
        if is_full(self.bytes) || self.swept.is_none_or(|at| !is_fresh(at, now)) {
            self.swept = Some(now);
            self.retain(|at| is_fresh(at, now));
        }
        if is_full(self.bytes) {
            let mut ages: Vec<_> = self.places.values().map(|(_, at)| *at).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            self.retain(|at| at > middle);
        }
    }

    fn retain(&mut self, is_kept: impl Fn(Instant) -> bool) {
        self.places.retain(|_, (_, at)| is_kept(*at));
        self.bytes = self.places.keys().map(|place| place.len() + BESIDES).sum();
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ways: &Ways, place: &str, now: Instant) -> Option<Referrers> {
        ways.of(place, now)
    }

    #[test]
    fn which_way_a_place_lists_is_known_for_ten_minutes_and_the_api_is_not_unlearned() {
        let (ways, start) = (Ways::default(), Instant::now());
        let learn = |referrers, at| ways.learn("app".into(), referrers, at);
        assert_eq!(of(&ways, "app", start), None);
        learn(Referrers::TagSchema, start);
        assert_eq!(of(&ways, "app", start + LIFETIME / 2), Some(Referrers::TagSchema));
        assert_eq!(of(&ways, "other", start), None);
        assert_eq!(of(&ways, "app", start + LIFETIME), None);
        learn(Referrers::Api, start);
        learn(Referrers::TagSchema, start);
        assert_eq!(of(&ways, "app", start), Some(Referrers::Api));
        learn(Referrers::TagSchema, start + LIFETIME);
        assert_eq!(of(&ways, "app", start + LIFETIME), Some(Referrers::TagSchema));
    }

    #[test]
    fn all_places_together_take_little_memory_and_what_is_too_old_none() {
        let (ways, start) = (Ways::default(), Instant::now());
        let place = |number: u32| format!("{number} {}", "a".repeat(500));
        let at = |number: u32| start + Duration::from_millis(number.into());
        for number in 0..50_000 {
            ways.learn(place(number), Referrers::Api, at(number));
            assert!(ways.0.lock().unwrap().bytes <= MAX_BYTES);
        }
        let count = |ways: &Ways| ways.0.lock().unwrap().places.len();
        assert!((2_000..8_000).contains(&count(&ways)), "{}", count(&ways));
        assert_eq!(of(&ways, &place(49_000), at(50_000)), Some(Referrers::Api));
        let later = at(50_000) + LIFETIME;
        ways.learn("new".into(), Referrers::Api, later);
        assert_eq!(count(&ways), 1);
        assert_eq!(ways.0.lock().unwrap().bytes, "new".len() + BESIDES);
    }
}
