//! [`Flights`]: a list that many want at once is fetched once.
//!
//! Whoever waits carries the fetch on, so that none of them ends it for the others by leaving; it ends
//! with the last one. What came of it is for those who waited, and for nobody who asks later.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::{FutureExt as _, Shared, WeakShared};
use ratify_core::BoxFuture;

use super::{Trouble, list::RevocationList};

/// What comes of a fetch.
pub(super) type Fetched = Result<Arc<RevocationList>, Trouble>;
type Work = BoxFuture<'static, Fetched>;

/// What is under way, by address.
#[derive(Default)]
pub(super) struct Flights(Mutex<BTreeMap<String, WeakShared<Work>>>);

impl Flights {
    /// The list of an address, by the fetch that is under way or by one that begins here. Who joined one
    /// that had no time left, or whose moment was a bad one, tries once more.
    ///
    /// # Errors
    /// Why it was not had.
    pub(super) async fn join(&self, url: &str, work: impl Fn() -> Work) -> Fetched {
        let (flight, is_own) = self.enter(url, &work);
        match flight.await {
            Err(trouble) if trouble.is_passing && !is_own => self.enter(url, &work).0.await,
            fetched => fetched,
        }
    }

    /// The flight, and whether it begins here.
    fn enter(&self, url: &str, work: impl Fn() -> Work) -> (Shared<Work>, bool) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has landed is none: who asks now wants to know how it is now.
        flights.retain(|_, flight| under_way(flight).is_some());
        if let Some(flight) = flights.get(url).and_then(under_way) {
            return (flight, false);
        }
        let flight = work().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(url.to_owned(), weak);
        }
        (flight, true)
    }
}

fn under_way(flight: &WeakShared<Work>) -> Option<Shared<Work>> {
    flight.upgrade().filter(|work| work.peek().is_none())
}
