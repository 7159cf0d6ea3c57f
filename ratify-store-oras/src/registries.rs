//! [`Registries`]: what this process knows of registries, by origin. Nothing of it is a secret or
//! anybody's right, so all clients share it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use url::Url;

use crate::limiter::Limiter;

/// The origins come from requests; of more than these, those asked least recently are forgotten.
const MAX_REGISTRIES: usize = 1024;

/// All registries that were asked.
#[derive(Default)]
pub(crate) struct Registries {
    known: Mutex<HashMap<String, Arc<Registry>>>,
    clock: AtomicU64,
}

/// What is known of one.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) limiter: Arc<Limiter>,
    used: AtomicU64,
}

impl Registries {
    /// The registry, or other server, that a URL leads to.
    pub(crate) fn of(&self, url: &Url) -> Arc<Registry> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = url.origin().ascii_serialization();
        if known.len() >= MAX_REGISTRIES && !known.contains_key(&origin) {
            forget_a_quarter(&mut known);
        }
        let registry = known.entry(origin).or_default();
        registry.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        registry.clone()
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
