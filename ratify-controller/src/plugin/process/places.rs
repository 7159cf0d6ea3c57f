//! [`Places`]: how many plugins run at once, shared out between tenants. A plugin that hangs has its
//! place until it is given up, so one tenant never has all of them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Places for processes.
pub(super) struct Places {
    most: usize,
    state: Mutex<State>,
}

/// One of them, as long as it exists.
pub(super) struct Place {
    places: Arc<Places>,
    tenant: Arc<str>,
}

#[derive(Default)]
struct State {
    used: usize,
    tenants: HashMap<Arc<str>, Tenant>,
    turns: u64,
}

#[derive(Default)]
struct Tenant {
    used: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
    last_turn: u64,
}

impl Places {
    /// So many, and one at least.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), state: Mutex::default() }
    }

    /// Waits for a place, behind those of the same tenant that came before.
    pub(super) async fn enter(self: &Arc<Self>, tenant: &Arc<str>) -> Place {
        loop {
            let granted = self.ask(tenant);
            self.let_in();
            // A grant is lost only with the places themselves.
            if let Ok(place) = granted.await {
                return place;
            }
        }
    }

    /// How many there are, how many are taken, and how many wait for one.
    pub(super) fn count(&self) -> (usize, usize, usize) {
        let state = self.lock();
        let waiting = state.tenants.values().flat_map(|tenant| &tenant.waiting);
        (self.most, state.used, waiting.filter(|grant| !grant.is_closed()).count())
    }

    fn ask(&self, tenant: &Arc<str>) -> oneshot::Receiver<Place> {
        let (grant, granted) = oneshot::channel();
        let mut state = self.lock();
        state.tenants.entry(Arc::clone(tenant)).or_default().waiting.push_back(grant);
        granted
    }

    /// Lets in whoever may.
    fn let_in(self: &Arc<Self>) {
        let mut granted = Vec::new();
        {
            let mut state = self.lock();
            while let Some((tenant, grant)) = state.next(self.most) {
                granted.push((grant, Place { places: Arc::clone(self), tenant }));
            }
        }
        for (grant, place) in granted {
            // Who gave up meanwhile gives the place back, outside of the lock.
            drop(grant.send(place));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next that may go in: of those that have least, the one whose turn was longest ago.
    fn next(&mut self, most: usize) -> Option<(Arc<str>, oneshot::Sender<Place>)> {
        self.tenants.retain(|_, tenant| {
            tenant.waiting.retain(|grant| !grant.is_closed());
            tenant.used > 0 || !tenant.waiting.is_empty()
        });
        let used = self.used;
        let waiting = self.tenants.iter_mut().filter(|(_, tenant)| {
            !tenant.waiting.is_empty() && tenant.used < share(most - (used - tenant.used))
        });
        let (name, tenant) = waiting.min_by_key(|(_, tenant)| (tenant.used, tenant.last_turn))?;
        if used >= most {
            return None;
        }
        let grant = tenant.waiting.pop_front()?;
        self.turns += 1;
        tenant.last_turn = self.turns;
        tenant.used += 1;
        self.used += 1;
        Some((Arc::clone(name), grant))
    }
}

/// How many one tenant may have of those that the others leave: three of four, and never the last
/// but where there is only one.
fn share(left: usize) -> usize {
    (left - (left / 4).max(1).min(left)).max(1)
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.places.lock();
            state.used -= 1;
            if let Some(tenant) = state.tenants.get_mut(&self.tenant) {
                tenant.used -= 1;
            }
        }
        self.places.let_in();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn enter(places: &Arc<Places>, tenant: &str) -> Option<Place> {
        places.enter(&tenant.into()).now_or_never()
    }

    #[test]
    fn nobody_has_all_places_and_each_gets_one() {
        let shares = [1, 2, 3, 4, 8, 64].map(share);
        assert_eq!(shares, [1, 1, 2, 3, 6, 48]);
        let places = Arc::new(Places::new(8));
        let of_a: Vec<_> = (0..8).filter_map(|_| enter(&places, "a")).collect();
        let of_b: Vec<_> = (0..8).filter_map(|_| enter(&places, "b")).collect();
        assert_eq!((of_a.len(), of_b.len(), enter(&places, "c").is_some()), (6, 1, true));
        drop((of_a, of_b));
        assert_eq!(places.lock().used, 0);
        drop(enter(&places, "d"));
        assert!(places.lock().tenants.is_empty(), "who has nothing is forgotten");
    }

    #[tokio::test]
    async fn who_waits_is_let_in_by_turns_and_who_gave_up_is_not() {
        let places = Arc::new(Places::new(1));
        let first = enter(&places, "a").unwrap();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut again = Box::pin(places.enter(&a));
        let mut gone = Box::pin(places.enter(&b));
        let mut other = Box::pin(places.enter(&b));
        assert!((&mut again).now_or_never().is_none() && (&mut gone).now_or_never().is_none());
        assert!((&mut other).now_or_never().is_none());
        assert_eq!(places.count(), (1, 1, 3));
        drop(gone);
        assert_eq!(places.count(), (1, 1, 2));
        drop(first);
        // The one had its turn already.
        let second = other.await;
        assert!((&mut again).now_or_never().is_none());
        drop(second);
        drop(again.await);
        assert_eq!(places.lock().used, 0);
    }
}
