//! [`Flights`]: a list that many of one tenant want at once is fetched once.
//!
//! Whoever waits carries the fetch on, so that none of them ends it for the others by leaving; it ends
//! with the last one. What came of it is for those who waited, and for nobody who asks later.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::{FutureExt as _, Shared, WeakShared};
use ratify_core::{BoxFuture, Host};

use super::{Trouble, list::RevocationList};

/// What comes of a fetch.
pub(super) type Fetched = Result<Arc<RevocationList>, Trouble>;
type Work = BoxFuture<'static, Fetched>;
/// Whose queue a fetch waits in, and its address: who joined another tenant's would wait behind all
/// that the other asks for.
type Key = (String, String);

/// What is under way.
#[derive(Default)]
pub(super) struct Flights(Mutex<BTreeMap<Key, WeakShared<Work>>>);

impl Flights {
    /// The list of an address, by the fetch of the host's tenant that is under way or by one that begins
    /// here. Who joined one that had no time left, or whose moment was a bad one, tries once more; and
    /// waits for no longer than it has time.
    ///
    /// # Errors
    /// Why it was not had.
    pub(super) async fn join(
        &self,
        host: &dyn Host,
        url: &str,
        work: impl Fn() -> Work,
    ) -> Fetched {
        let key = (host.tenant().to_owned(), url.to_owned());
        let (flight, is_own) = self.enter(&key, &work);
        if is_own {
            // Its host gives up by itself, and says what it waited for.
            return flight.await;
        }
        match in_time(host, url, flight).await? {
            Err(trouble) if trouble.is_passing => {
                let (flight, is_own) = self.enter(&key, &work);
                if is_own { flight.await } else { in_time(host, url, flight).await? }
            }
            fetched => fetched,
        }
    }

    /// The flight, and whether it begins here.
    fn enter(&self, key: &Key, work: impl Fn() -> Work) -> (Shared<Work>, bool) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has landed is none: who asks now wants to know how it is now.
        flights.retain(|_, flight| under_way(flight).is_some());
        if let Some(flight) = flights.get(key).and_then(under_way) {
            return (flight, false);
        }
        let flight = work().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key.clone(), weak);
        }
        (flight, true)
    }
}

/// What comes of another's flight within the time that a host has.
async fn in_time(host: &dyn Host, url: &str, flight: Shared<Work>) -> Result<Fetched, Trouble> {
    let Some(end) = host.give_up_at() else { return Ok(flight.await) };
    tokio::time::timeout_at(end.into(), flight).await.map_err(|_| Trouble {
        text: format!(
            "failed to download CRL from {}: gave up, the time for it is over",
            ratify_core::capped_line(url, 200)
        ),
        is_passing: true,
    })
}

fn under_way(flight: &WeakShared<Work>) -> Option<Shared<Work>> {
    flight.upgrade().filter(|work| work.peek().is_none())
}
