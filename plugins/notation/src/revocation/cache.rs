//! [`ListCache`]: lists of revoked certificates that were fetched, until their next update. Bounded in
//! number and bytes. What is in it was proven before it was kept, and is at each use, for several authorities
//! may name one address.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{flights::Flights, list::RevocationList};
use crate::moment::Moment;

/// The most bytes of all lists together: three of the longest.
const MOST_BYTES: usize = 96 << 20;
/// The most lists.
const MOST_LISTS: usize = 1_000;

/// The lists that verifiers of one process share. It keeps none until it is told to.
#[derive(Default)]
pub struct ListCache {
    keeps: AtomicBool,
    /// By address.
    lists: Mutex<BTreeMap<String, Arc<RevocationList>>>,
    /// Those that are being fetched, whether or not they will be kept.
    pub(super) flights: Flights,
}

impl ListCache {
    /// Keeps lists from now on, or forgets those that are kept.
    pub fn keep(&self, keeps: bool) {
        self.keeps.store(keeps, Ordering::Relaxed);
        if !keeps {
            self.lists.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// The list of an address, where it is there and no newer one is due.
    pub(super) fn get(&self, url: &str, now: Moment) -> Option<Arc<RevocationList>> {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let list = lists.get(url)?;
        list.next_update.is_some_and(|end| now <= end).then(|| Arc::clone(list))
    }

    /// Keeps a list. Those that are due go first, then those that will be.
    pub(super) fn put(&self, url: &str, list: &Arc<RevocationList>, now: Moment) {
        if !self.keeps.load(Ordering::Relaxed) {
            return;
        }
        if list.next_update.is_none_or(|end| end < now) || list.len() > MOST_BYTES {
            return;
        }
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|_, kept| kept.next_update.is_some_and(|end| now <= end));
        lists.remove(url);
        let bytes = |lists: &BTreeMap<String, Arc<RevocationList>>| -> usize {
            lists.values().map(|list| list.len()).sum()
        };
        while lists.len() >= MOST_LISTS || bytes(&lists) + list.len() > MOST_BYTES {
            let first = lists.iter().min_by_key(|(_, kept)| kept.next_update);
            let Some(first) = first.map(|(url, _)| url.clone()) else { break };
            lists.remove(&first);
        }
        lists.insert(url.to_owned(), Arc::clone(list));
    }
}

impl fmt::Debug for ListCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ListCache").field("keeps", &self.keeps).finish_non_exhaustive()
    }
}
