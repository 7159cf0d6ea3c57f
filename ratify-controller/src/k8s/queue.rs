//! [`Queue`]: which resource is to be tried next, and when. Pure: times come in as arguments.
//!
//! A resource is tried by one job at a time; what happens to it meanwhile is tried after that job.
//! What others use is tried before those others, and what fails is tried again, later each time.
//! Namespaces take turns, and none of them, nor all together, takes every place.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{kind::Role, resource::Key};

/// As many jobs of namespaces run at once; the cluster's own need not wait for any of them.
const MOST_OF_NAMESPACES: usize = 6;
/// As many jobs of one namespace run at once.
const MOST_OF_ONE_NAMESPACE: usize = 3;

/// The wait after a first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is to be done, by resource.
#[derive(Debug, Default)]
pub struct Queue {
    entries: BTreeMap<Key, Entry>,
    running: usize,
    /// Those of namespaces, each with what is running of it.
    namespaces: BTreeMap<String, OfNamespace>,
    /// Counts what was started for namespaces.
    turns: u64,
}

/// What a namespace has had.
#[derive(Debug, Default)]
struct OfNamespace {
    running: usize,
    /// When it was last its turn.
    turn: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// When it is to be tried; `None` where nothing is to be done.
    due: Option<Instant>,
    /// How often it failed in a row.
    failures: u32,
    is_running: bool,
}

impl Queue {
    /// A resource is to be tried at a time, or earlier if that was so already.
    pub fn push(&mut self, key: Key, due: Instant) {
        let entry = self.entries.entry(key).or_default();
        entry.due = Some(entry.due.map_or(due, |known| known.min(due)));
    }

    /// The next resource to try now; it is running then. The order is that of kinds, then of the
    /// turns of namespaces, then of names; no verifier is tried while what provides keys is.
    pub fn pop(&mut self, now: Instant) -> Option<Key> {
        let keys_first = self.keys_first(now);
        let is_due = |entry: &Entry| entry.due.is_some_and(|due| due <= now);
        let ready = self.entries.iter().filter(|(key, entry)| {
            !entry.is_running && is_due(entry) && self.may_run(key, keys_first)
        });
        // Of two that are alike the first by name.
        let (key, _) = ready.min_by_key(|(key, _)| (key.kind, self.turn(key)))?;
        let key = key.clone();
        let entry = self.entries.get_mut(&key)?;
        entry.due = None;
        entry.is_running = true;
        self.running = self.running.saturating_add(1);
        if key.kind.namespaced {
            self.turns = self.turns.saturating_add(1);
            let of_namespace = self.namespaces.entry(key.namespace.clone()).or_default();
            of_namespace.running = of_namespace.running.saturating_add(1);
            of_namespace.turn = self.turns;
        }
        Some(key)
    }

    /// When the next one is due that waits for nothing but its time. What waits for a job to end
    /// is looked for when that has ended.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let keys_first = self.keys_first(now);
        let waiting = self
            .entries
            .iter()
            .filter(|(key, entry)| !entry.is_running && self.may_run(key, keys_first));
        waiting.filter_map(|(_, entry)| entry.due).min()
    }

    fn keys_first(&self, now: Instant) -> bool {
        self.entries.iter().any(|(key, entry)| {
            is_of_keys(key) && (entry.is_running || entry.due.is_some_and(|due| due <= now))
        })
    }

    /// Whether no other job is in the way. One namespace, however much it asks for, leaves room for
    /// others, and all of them for the cluster.
    fn may_run(&self, key: &Key, keys_first: bool) -> bool {
        if keys_first && key.kind.role == Role::Verifier {
            return false;
        }
        if !key.kind.namespaced {
            return true;
        }
        let all: usize = self.namespaces.values().map(|of_namespace| of_namespace.running).sum();
        let own = self.namespaces.get(&key.namespace).map_or(0, |found| found.running);
        all < MOST_OF_NAMESPACES && own < MOST_OF_ONE_NAMESPACE
    }

    /// Smaller for who waits longer.
    fn turn(&self, key: &Key) -> u64 {
        self.namespaces.get(&key.namespace).map_or(0, |of_namespace| of_namespace.turn)
    }

    /// How many are running.
    pub fn running(&self) -> usize {
        self.running
    }

    /// A job ended well; the resource may be due again later.
    pub fn succeeded(&mut self, key: &Key, again: Option<Instant>) {
        self.ended(key, |entry| {
            entry.failures = 0;
            again
        });
    }

    /// A job failed in a way that another try may mend.
    pub fn failed(&mut self, key: &Key, now: Instant) {
        self.ended(key, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            now.checked_add(wait_after(entry.failures))
        });
    }

    fn ended(&mut self, key: &Key, next: impl FnOnce(&mut Entry) -> Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let was_running = std::mem::take(&mut entry.is_running);
        if let Some(next) = next(entry) {
            entry.due = Some(entry.due.map_or(next, |known| known.min(next)));
        }
        if entry.due.is_none() && entry.failures == 0 {
            self.entries.remove(key);
        }
        if was_running {
            self.running = self.running.saturating_sub(1);
            self.leave(key);
        }
    }

    /// A namespace of which nothing runs and nothing waits is forgotten.
    fn leave(&mut self, key: &Key) {
        let Some(of_namespace) = self.namespaces.get_mut(&key.namespace) else { return };
        of_namespace.running = of_namespace.running.saturating_sub(1);
        let is_idle = of_namespace.running == 0;
        if is_idle && !self.entries.keys().any(|other| other.namespace == key.namespace) {
            self.namespaces.remove(&key.namespace);
        }
    }
}

fn is_of_keys(key: &Key) -> bool {
    matches!(key.kind.role, Role::Keys | Role::CertificateStore)
}

/// The wait after so many failures.
fn wait_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::kind::Kind;

    fn key(role: Role, name: &str) -> Key {
        Key { kind: Kind { role, namespaced: false }, namespace: String::new(), name: name.into() }
    }

    #[test]
    fn one_resource_is_one_job_and_changes_meanwhile_are_one_more() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(key(Role::Store, "s"), now);
        assert_eq!(queue.pop(now), Some(key(Role::Store, "s")));
        queue.push(key(Role::Store, "s"), now);
        queue.push(key(Role::Store, "s"), now);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.running(), 1);
        queue.succeeded(&key(Role::Store, "s"), None);
        assert_eq!(queue.pop(now), Some(key(Role::Store, "s")));
        queue.succeeded(&key(Role::Store, "s"), None);
        assert_eq!((queue.pop(now), queue.running(), queue.next_due(now)), (None, 0, None));
    }

    #[test]
    fn keys_are_tried_before_verifiers_and_verifiers_wait_for_them() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (role, name) in [(Role::Verifier, "v"), (Role::Keys, "k"), (Role::Store, "s")] {
            queue.push(key(role, name), now);
        }
        assert_eq!(queue.pop(now), Some(key(Role::Keys, "k")));
        assert_eq!(queue.pop(now), Some(key(Role::Store, "s")));
        assert_eq!(queue.pop(now), None);
        queue.failed(&key(Role::Keys, "k"), now);
        assert_eq!(queue.pop(now), Some(key(Role::Verifier, "v")));
    }

    fn tenants(namespace: &str, name: &str) -> Key {
        let kind = Kind { role: Role::Verifier, namespaced: true };
        Key { kind, namespace: namespace.into(), name: name.into() }
    }

    /// All that starts now, in order.
    fn started(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|key| key.qualified_name()).collect()
    }

    #[test]
    fn a_namespace_that_asks_for_much_leaves_room_for_others_and_for_the_cluster() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for number in 0..1000 {
            queue.push(tenants("a", &format!("{number:04}")), now);
        }
        queue.push(tenants("b", "b"), now);
        assert_eq!(started(&mut queue, now), ["a/0000", "b/b", "a/0001", "a/0002"]);
        assert_eq!(queue.next_due(now), None, "it waits for a job to end, and does not spin");
        // What comes later does not wait for the thousand.
        queue.push(tenants("c", "c"), now);
        queue.push(key(Role::Verifier, "of-the-cluster"), now);
        assert_eq!(started(&mut queue, now), ["of-the-cluster", "c/c"]);
        for name in ["d", "e", "f"] {
            queue.push(tenants(name, name), now);
        }
        assert_eq!(started(&mut queue, now), ["d/d"], "six of namespaces");
        queue.push(key(Role::Store, "of-the-cluster"), now);
        assert_eq!(started(&mut queue, now), ["of-the-cluster"]);
        queue.failed(&tenants("a", "0000"), now);
        queue.succeeded(&tenants("b", "b"), None);
        assert_eq!(started(&mut queue, now), ["e/e", "f/f"], "who waits longer comes first");
    }

    #[test]
    fn namespaces_that_are_done_leave_nothing_behind() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for number in 0..100 {
            let key = tenants(&format!("n{number}"), "v");
            queue.push(key.clone(), now);
            assert_eq!(queue.pop(now), Some(key.clone()));
            queue.succeeded(&key, None);
        }
        assert!(queue.namespaces.is_empty() && queue.entries.is_empty());
    }

    #[test]
    fn a_verifier_that_waits_for_keys_is_no_reason_to_look_again_at_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(key(Role::Keys, "k"), now);
        queue.push(key(Role::Verifier, "v"), now);
        assert_eq!(queue.next_due(now), Some(now));
        queue.pop(now);
        assert_eq!(queue.next_due(now), None);
        queue.succeeded(&key(Role::Keys, "k"), None);
        assert_eq!(queue.next_due(now), Some(now));
    }

    #[test]
    fn what_fails_waits_longer_each_time_but_never_longer_than_a_minute() {
        let waits: Vec<u128> = (1..12).map(|n| wait_after(n).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn a_change_does_not_wait_for_the_next_try_and_success_forgets_failures() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let store = key(Role::Store, "s");
        queue.push(store.clone(), now);
        queue.pop(now);
        queue.failed(&store, now);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.next_due(now), now.checked_add(FIRST_WAIT));
        queue.push(store.clone(), now);
        assert_eq!(queue.pop(now), Some(store.clone()));
        queue.succeeded(&store, None);
        queue.push(store.clone(), now);
        queue.pop(now);
        queue.failed(&store, now);
        assert_eq!(queue.next_due(now), now.checked_add(FIRST_WAIT));
    }
}
