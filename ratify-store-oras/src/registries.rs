//! [`Registries`]: what this process knows of registries, by origin. Nothing of it is a secret or
//! anybody's right, so all clients share it.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use url::Url;

use crate::{
    auth::challenge::Challenge,
    counters::host_of,
    limiter::{Limiter, Standing},
    ways::{Referrers, Ways},
};

/// The origins come from requests; of more than these, those asked least recently are forgotten.
const MAX_REGISTRIES: usize = 1024;
/// Of more challenges than these of one origin, those learned first are forgotten.
const MAX_CHALLENGES: usize = 128;
/// The same by their bytes.
const MAX_CHALLENGES_BYTES: usize = 16 << 10;
/// A longer challenge, place and all, is not kept.
const MAX_CHALLENGE_BYTES: usize = 1024;
/// How long it is known what a registry asks for.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(600);

/// All registries that were asked.
#[derive(Default)]
pub(crate) struct Registries {
    known: Mutex<HashMap<String, Arc<Registry>>>,
    ways: Arc<Ways>,
    clock: AtomicU64,
}

/// What is known of one.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) limiter: Arc<Limiter>,
    origin: String,
    /// By origin and place: a host may stand for several registries, and have repositories of many
    /// kinds.
    ways: Arc<Ways>,
    /// By place, or part of it: what it asks for, whatever the repository.
    challenges: Mutex<HashMap<String, (Challenge, Instant)>>,
    used: AtomicU64,
}

impl Registry {
    /// Whether a place is known to have no Referrers API, so that asking it is of no use.
    pub(crate) fn lists_by_tag(&self, place: &str, now: Instant) -> bool {
        self.way(place, now) == Some(Referrers::TagSchema)
    }

    /// Which way a place lists referrers, where that is known.
    pub(crate) fn way(&self, place: &str, now: Instant) -> Option<Referrers> {
        self.ways.of(&self.place(place), now)
    }

    /// It answered so.
    pub(crate) fn learn_referrers(&self, place: &str, referrers: Referrers, now: Instant) {
        self.ways.learn(self.place(place), referrers, now);
    }

    /// What a place asked for last, of anybody, whatever the repository was.
    pub(crate) fn challenge(&self, place: &str, now: Instant) -> Option<Challenge> {
        let known = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        let (challenge, at) = known.get(place)?;
        let is_known = now.saturating_duration_since(*at) < CHALLENGE_LIFETIME;
        is_known.then(|| challenge.clone())
    }

    /// It asks for this now; `None` for something that there is no answer to.
    pub(crate) fn learn_challenge(&self, place: &str, asks: Option<Challenge>, now: Instant) {
        let mut known = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(place);
        let Some(challenge) = asks.map(Challenge::without_scope) else { return };
        let size = |place: &str, challenge: &Challenge| place.len() + challenge.bytes();
        let new = size(place, &challenge);
        if new > MAX_CHALLENGE_BYTES {
            return;
        }
        let mut bytes: usize = known.iter().map(|(place, (one, _))| size(place, one)).sum();
        while known.len() >= MAX_CHALLENGES || bytes + new > MAX_CHALLENGES_BYTES {
            let oldest =
                known.iter().min_by_key(|(_, (_, at))| *at).map(|(place, _)| place.clone());
            let Some((place, (one, _))) = oldest.and_then(|oldest| known.remove_entry(&oldest))
            else {
                break;
            };
            bytes -= size(&place, &one);
        }
        known.insert(place.to_owned(), (challenge, now));
    }

    fn place(&self, place: &str) -> String {
        format!("{} {place}", self.origin)
    }
}

impl Registries {
    /// The registry, or other server, that a URL leads to.
    pub(crate) fn of(&self, url: &Url) -> Arc<Registry> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = url.origin().ascii_serialization();
        if known.len() >= MAX_REGISTRIES && !known.contains_key(&origin) {
            forget_a_quarter(&mut known);
        }
        let registry = known.entry(origin.clone()).or_insert_with(|| {
            let ways = Arc::clone(&self.ways);
            Arc::new(Registry { origin, ways, ..Registry::default() })
        });
        registry.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        registry.clone()
    }

    /// How the queues stand, by host: those asked last come first.
    pub(crate) fn standings(&self, now: Instant) -> Vec<(String, Standing)> {
        let known = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.values().cloned().collect::<Vec<_>>()
        };
        let mut by_use: Vec<_> =
            known.into_iter().map(|one| (one.used.load(Ordering::Relaxed), one)).collect();
        by_use.sort_unstable_by_key(|(used, _)| Reverse(*used));
        let told = by_use.into_iter().filter_map(|(_, one)| {
            let host = host_of(&Url::parse(&one.origin).ok()?);
            Some((host, one.limiter.standing(now)))
        });
        told.collect()
    }
}

fn forget_a_quarter(known: &mut HashMap<String, Arc<Registry>>) {
    let mut ages: Vec<_> = known.values().map(|one| one.used.load(Ordering::Relaxed)).collect();
    ages.sort_unstable();
    let oldest_kept = ages[ages.len() / 4];
    known.retain(|_, one| one.used.load(Ordering::Relaxed) >= oldest_kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_registry_is_its_scheme_host_and_port() {
        let registries = Registries::default();
        let one = registries.of(&url("https://r.example.com/v2/a"));
        assert!(Arc::ptr_eq(&one, &registries.of(&url("https://R.example.com:443/v2/b?c"))));
        for other in ["http://r.example.com", "https://r.example.com:8443", "https://example.com"] {
            assert!(!Arc::ptr_eq(&one, &registries.of(&url(other))), "{other}");
        }
    }

    #[test]
    fn which_way_referrers_are_listed_is_known_by_origin_and_outlives_what_else_is_known() {
        let (registries, now) = (Registries::default(), Instant::now());
        let place = "/v2 app";
        let learnt = registries.of(&url("https://r.example.com"));
        learnt.learn_referrers(place, Referrers::TagSchema, now);
        assert!(learnt.lists_by_tag(place, now) && !learnt.lists_by_tag("/v2 other", now));
        for number in 0..2 * MAX_REGISTRIES {
            let other = registries.of(&url(&format!("https://r{number}.example.com")));
            assert!(!other.lists_by_tag(place, now));
        }
        let again = registries.of(&url("https://r.example.com"));
        assert!(!Arc::ptr_eq(&learnt, &again) && again.lists_by_tag(place, now));
    }

    #[test]
    fn what_a_place_asks_for_is_known_for_ten_minutes_without_the_repository_and_within_bounds() {
        let (registry, start) = (Registry::default(), Instant::now());
        let bearer = |realm: &str, scope: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: Some("s".into()),
            scope: scope.map(Into::into),
        };
        let first = bearer("https://a/token", Some("repository:x:pull"));
        registry.learn_challenge("/v2 ", Some(first), start);
        let known = |place: &str, after| registry.challenge(place, start + after);
        let last = CHALLENGE_LIFETIME - Duration::from_secs(1);
        assert_eq!(known("/v2 ", last), Some(bearer("https://a/token", None)));
        assert_eq!(known("/v2 ", CHALLENGE_LIFETIME), None);
        assert_eq!(known("/v2/hub ", Duration::ZERO), None);
        registry.learn_challenge("/v2 ", Some(Challenge::Basic), start);
        assert_eq!(known("/v2 ", Duration::ZERO), Some(Challenge::Basic));
        registry.learn_challenge("/v2 ", None, start);
        assert_eq!(known("/v2 ", Duration::ZERO), None);
        let long = bearer(&"a".repeat(MAX_CHALLENGE_BYTES), None);
        registry.learn_challenge("/v2 ", Some(long), start);
        assert_eq!(known("/v2 ", Duration::ZERO), None);
        for number in 0..1000 {
            let at = start + Duration::from_millis(number);
            registry.learn_challenge(&number.to_string(), Some(Challenge::Basic), at);
        }
        assert_eq!(registry.challenges.lock().unwrap().len(), MAX_CHALLENGES);
        let second = Duration::from_secs(1);
        assert_eq!(known("999", second), Some(Challenge::Basic));
        assert_eq!(known("900", second), Some(Challenge::Basic));
        assert_eq!(known("100", second), None);
        for number in 0..100 {
            let at = start + second + Duration::from_millis(number);
            let long = bearer(&"a".repeat(1000), None);
            registry.learn_challenge(&format!("l{number}"), Some(long), at);
        }
        assert_eq!(registry.challenges.lock().unwrap().len(), MAX_CHALLENGES_BYTES / 1004);
    }

    #[test]
    fn their_number_is_bounded_and_one_in_use_is_kept() {
        let registries = Registries::default();
        let one = registries.of(&url("https://r.example.com"));
        for number in 0..5000 {
            registries.of(&url(&format!("https://r{number}.example.com")));
            let again = registries.of(&url("https://r.example.com"));
            assert!(Arc::ptr_eq(&one, &again));
        }
        assert!(registries.known.lock().unwrap().len() <= MAX_REGISTRIES);
    }
}
