//! [`Places`]: of what there is little of, such as threads that look names up, shared fairly. Pure but
//! for the lock.
//!
//! A tenant may take one more place while it holds fewer than are free. So the first takes half of
//! them, the next half of what is left, and somebody who holds none finds one unless that many
//! tenants have filled the rest: what hangs is its own tenant's trouble.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Those who gave up are looked for each time so many wait.
const SWEEP: usize = 64;

/// The places.
pub(crate) struct Places(Mutex<State>);

struct State {
    free: usize,
    /// How many places each tenant holds.
    held: HashMap<Arc<str>, usize>,
    waiting: VecDeque<(Arc<str>, oneshot::Sender<Place>)>,
}

/// A place, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    tenant: Arc<str>,
}

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        let (held, waiting) = (HashMap::new(), VecDeque::new());
        Self(Mutex::new(State { free: places, held, waiting }))
    }

    /// Waits for a place.
    pub(crate) async fn enter(self: &Arc<Self>, tenant: &Arc<str>) -> Place {
        loop {
            let granted = {
                let mut state = self.lock();
                // Whoever waits is of a tenant that has enough, or there is no place at all.
                if state.may_enter(tenant) {
                    return state.take(self, tenant);
                }
                if state.waiting.len() % SWEEP == SWEEP - 1 {
                    state.waiting.retain(|(_, grant)| !grant.is_closed());
                }
                let (grant, granted) = oneshot::channel();
                state.waiting.push_back((tenant.clone(), grant));
                granted
            };
            if let Ok(place) = granted.await {
                return place;
            }
        }
    }

    /// Gives what is free to those that wait: to the tenant that holds fewest, the first of it.
    fn let_in(self: &Arc<Self>) {
        let mut granted = Vec::new();
        {
            let mut state = self.lock();
            state.waiting.retain(|(_, grant)| !grant.is_closed());
            while let Some(index) = state.next() {
                let Some((tenant, grant)) = state.waiting.remove(index) else { break };
                granted.push((grant, state.take(self, &tenant)));
            }
        }
        for (grant, place) in granted {
            // Who gave up meanwhile gives it back, outside of the lock.
            drop(grant.send(place));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held_by(&self, tenant: &str) -> usize {
        self.held.get(tenant).copied().unwrap_or_default()
    }

    fn may_enter(&self, tenant: &str) -> bool {
        self.held_by(tenant) < self.free
    }

    fn next(&self) -> Option<usize> {
        let index = (0..self.waiting.len()).min_by_key(|at| self.held_by(&self.waiting[*at].0))?;
        self.may_enter(&self.waiting[index].0).then_some(index)
    }

    fn take(&mut self, places: &Arc<Places>, tenant: &Arc<str>) -> Place {
        self.free -= 1;
        *self.held.entry(tenant.clone()).or_default() += 1;
        Place { places: places.clone(), tenant: tenant.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.places.lock();
            state.free += 1;
            let left = state.held_by(&self.tenant).saturating_sub(1);
            match left {
                0 => drop(state.held.remove(&self.tenant)),
                left => drop(state.held.insert(self.tenant.clone(), left)),
            }
        }
        self.places.let_in();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn enters(places: &Arc<Places>, tenant: &str) -> Option<Place> {
        let tenant: Arc<str> = tenant.into();
        tokio::time::timeout(Duration::from_millis(5), places.enter(&tenant)).await.ok()
    }

    #[tokio::test]
    async fn each_tenant_takes_half_of_what_is_left() {
        let places = Arc::new(Places::new(32));
        let mut held = Vec::new();
        for (tenant, expected) in [("a", 16), ("b", 8), ("c", 4), ("d", 2), ("e", 1), ("f", 1)] {
            let mut taken = 0;
            while let Some(place) = enters(&places, tenant).await {
                held.push(place);
                taken += 1;
            }
            assert_eq!(taken, expected, "{tenant}");
        }
        assert!(enters(&places, "g").await.is_none());
        // What becomes free is for who has least, though another waited longer.
        let a = tokio::spawn({
            let places = places.clone();
            async move { places.enter(&"a".into()).await }
        });
        tokio::task::yield_now().await;
        let g = tokio::spawn({
            let places = places.clone();
            async move { places.enter(&"g".into()).await }
        });
        tokio::task::yield_now().await;
        held.remove(0);
        let g = tokio::time::timeout(Duration::from_secs(5), g).await.unwrap().unwrap();
        assert!(!a.is_finished());
        drop((held, g));
        drop(tokio::time::timeout(Duration::from_secs(5), a).await.unwrap().unwrap());
        let state = places.lock();
        assert!(state.free == 32 && state.held.is_empty() && state.waiting.is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_nothing_behind() {
        let places = Arc::new(Places::new(2));
        let place = enters(&places, "a").await.unwrap();
        for _ in 0..1000 {
            assert!(enters(&places, "a").await.is_none());
        }
        assert!(places.lock().waiting.len() <= SWEEP);
        drop(place);
        assert!(enters(&places, "a").await.is_some());
        assert_eq!(places.lock().free, 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everybody_gets_in_at_last() {
        let places = Arc::new(Places::new(4));
        let tasks: Vec<_> = (0..500)
            .map(|number| {
                let (places, tenant) = (places.clone(), Arc::from(["a", "b", "c"][number % 3]));
                tokio::spawn(async move {
                    let _place = places.enter(&tenant).await;
                    tokio::task::yield_now().await;
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
        }
    }
}
