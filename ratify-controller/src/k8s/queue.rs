//! [`Queue`]: which resource is to be tried next, and when. Pure: times come in as arguments.
//!
//! A resource is tried by one job at a time; what happens to it meanwhile is tried after that job.
//! What others use is tried before those others, and what fails is tried again, later each time.
//! A registry that does not answer holds up what it has, and nothing else. Namespaces take turns,
//! and none of them, nor all together, takes every place.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{kind::Role, resource::Key};

/// The wait after a first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How many resources are worked on at once that need no registry.
const LOCAL_AT_ONCE: usize = 8;
/// How many resources are pulled at once from all registries, and from one.
const PULLS_AT_ONCE: usize = 16;
const PULLS_AT_ONCE_FROM_ONE: usize = 4;
/// As many of these places are left to the cluster's own resources, whatever namespaces ask for.
const LEFT_OF_LOCAL: usize = 2;
const LEFT_OF_PULLS: usize = 4;
const LEFT_OF_PULLS_FROM_ONE: usize = 1;
/// How many resources of one namespace are worked on at once.
const OF_ONE_NAMESPACE: usize = 3;

/// What trying a resource takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Work {
    /// Nothing but this machine and the API server.
    #[default]
    Local,
    /// This registry, which may take its time.
    Pull(String),
}

/// What is to be done, by resource.
#[derive(Debug, Default)]
pub struct Queue {
    entries: BTreeMap<Key, Entry>,
    /// When it was last the turn of a namespace of which something is known.
    turns: BTreeMap<String, u64>,
    turn: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// When it is to be tried; `None` where nothing is to be done.
    due: Option<Instant>,
    /// How often it failed in a row.
    failures: u32,
    work: Work,
    is_running: bool,
}

/// What runs, counted.
#[derive(Debug, Default)]
struct Places {
    local: usize,
    pulls: usize,
    of_registries: BTreeMap<String, usize>,
    of_namespaces: BTreeMap<String, usize>,
}

impl Queue {
    /// A resource is to be tried at a time, or earlier if that was so already.
    pub fn push(&mut self, key: Key, work: Work, due: Instant) {
        let entry = self.entries.entry(key).or_default();
        entry.work = work;
        entry.due = Some(entry.due.map_or(due, |known| known.min(due)));
    }

    /// The next resource to try now; it is running then. The order is that of kinds, then of the
    /// turns of namespaces, then of names; no verifier is tried while what provides keys is.
    pub fn pop(&mut self, now: Instant) -> Option<Key> {
        let (keys_first, places) = (self.keys_first(now), self.places());
        let keys_first = |key: &Key| keys_first.are_awaited_by(key);
        let ready = self.entries.iter().filter(|(key, entry)| {
            let is_due = entry.due.is_some_and(|due| due <= now);
            is_due && places.have_room(key, entry, keys_first(key))
        });
        let turn = |key: &Key| self.turns.get(&key.namespace).copied().unwrap_or_default();
        // Of two that are alike the first by name.
        let (key, _) = ready.min_by_key(|(key, _)| (key.kind, turn(key)))?;
        let key = key.clone();
        let entry = self.entries.get_mut(&key)?;
        entry.due = None;
        entry.is_running = true;
        if key.kind.namespaced {
            self.turn = self.turn.saturating_add(1);
            self.turns.insert(key.namespace.clone(), self.turn);
        }
        Some(key)
    }

    /// When the next one is due that waits for nothing but its time. What waits for a job to end
    /// is looked for when that has ended.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let (keys_first, places) = (self.keys_first(now), self.places());
        let waiting = self
            .entries
            .iter()
            .filter(|(key, entry)| places.have_room(key, entry, keys_first.are_awaited_by(key)));
        waiting.filter_map(|(_, entry)| entry.due).min()
    }

    fn keys_first(&self, now: Instant) -> KeysFirst<'_> {
        let next = self.entries.iter().filter(|(key, entry)| {
            is_of_keys(key) && (entry.is_running || entry.due.is_some_and(|due| due <= now))
        });
        KeysFirst(next.map(|(key, _)| key.namespace.as_str()).collect())
    }

    fn places(&self) -> Places {
        let mut places = Places::default();
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.is_running) {
            match &entry.work {
                Work::Local => places.local += 1,
                Work::Pull(registry) => {
                    places.pulls += 1;
                    *places.of_registries.entry(registry.clone()).or_default() += 1;
                }
            }
            if key.kind.namespaced {
                *places.of_namespaces.entry(key.namespace.clone()).or_default() += 1;
            }
        }
        places
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
        entry.is_running = false;
        if let Some(next) = next(entry) {
            entry.due = Some(entry.due.map_or(next, |known| known.min(next)));
        }
        if entry.due.is_none() && entry.failures == 0 {
            self.entries.remove(key);
        }
        // A namespace of which nothing is known any more is forgotten.
        if !self.entries.keys().any(|other| other.namespace == key.namespace) {
            self.turns.remove(&key.namespace);
        }
    }
}

/// The namespaces, and the cluster as an empty one, of which what provides keys comes first.
struct KeysFirst<'a>(BTreeSet<&'a str>);

impl KeysFirst<'_> {
    /// Whether it is for these that something waits: the cluster's verifiers wait for no tenant.
    fn are_awaited_by(&self, key: &Key) -> bool {
        key.kind.role == Role::Verifier
            && (self.0.contains("") || self.0.contains(key.namespace.as_str()))
    }
}

impl Places {
    /// Whether something does not run and may.
    fn have_room(&self, key: &Key, entry: &Entry, waits_for_keys: bool) -> bool {
        if entry.is_running || waits_for_keys {
            return false;
        }
        let left = |places: usize| if key.kind.namespaced { places } else { 0 };
        let has_place = match &entry.work {
            Work::Local => self.local + left(LEFT_OF_LOCAL) < LOCAL_AT_ONCE,
            Work::Pull(registry) => {
                let of_this = self.of_registries.get(registry).copied().unwrap_or_default();
                self.pulls + left(LEFT_OF_PULLS) < PULLS_AT_ONCE
                    && of_this + left(LEFT_OF_PULLS_FROM_ONE) < PULLS_AT_ONCE_FROM_ONE
            }
        };
        let own = self.of_namespaces.get(&key.namespace).copied().unwrap_or_default();
        has_place && (!key.kind.namespaced || own < OF_ONE_NAMESPACE)
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
        queue.push(key(Role::Store, "s"), Work::Local, now);
        assert_eq!(queue.pop(now), Some(key(Role::Store, "s")));
        queue.push(key(Role::Store, "s"), Work::Local, now);
        queue.push(key(Role::Store, "s"), Work::Local, now);
        assert_eq!(queue.pop(now), None);
        queue.succeeded(&key(Role::Store, "s"), None);
        assert_eq!(queue.pop(now), Some(key(Role::Store, "s")));
        queue.succeeded(&key(Role::Store, "s"), None);
        assert_eq!((queue.pop(now), queue.next_due(now)), (None, None));
    }

    #[test]
    fn keys_are_tried_before_verifiers_and_verifiers_wait_for_them() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (role, name) in [(Role::Verifier, "v"), (Role::Keys, "k"), (Role::Store, "s")] {
            queue.push(key(role, name), Work::Local, now);
        }
        assert_eq!(queue.pop(now), Some(key(Role::Keys, "k")));
        assert_eq!(queue.pop(now), Some(key(Role::Store, "s")));
        assert_eq!(queue.pop(now), None);
        queue.failed(&key(Role::Keys, "k"), now);
        assert_eq!(queue.pop(now), Some(key(Role::Verifier, "v")));
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
        queue.push(store.clone(), Work::Local, now);
        queue.pop(now);
        queue.failed(&store, now);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.next_due(now), now.checked_add(FIRST_WAIT));
        queue.push(store.clone(), Work::Local, now);
        assert_eq!(queue.pop(now), Some(store.clone()));
        queue.succeeded(&store, None);
        queue.push(store.clone(), Work::Local, now);
        queue.pop(now);
        queue.failed(&store, now);
        assert_eq!(queue.next_due(now), now.checked_add(FIRST_WAIT));
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
            queue.push(tenants("a", &format!("{number:04}")), Work::Local, now);
        }
        queue.push(tenants("b", "b"), Work::Local, now);
        assert_eq!(started(&mut queue, now), ["a/0000", "b/b", "a/0001", "a/0002"]);
        assert_eq!(queue.next_due(now), None, "it waits for a job to end, and does not spin");
        // What comes later does not wait for the thousand.
        queue.push(tenants("c", "c"), Work::Local, now);
        queue.push(key(Role::Verifier, "of-the-cluster"), Work::Local, now);
        assert_eq!(started(&mut queue, now), ["of-the-cluster", "c/c"]);
        for name in ["d", "e", "f"] {
            queue.push(tenants(name, name), Work::Local, now);
        }
        assert_eq!(started(&mut queue, now), [""; 0], "six places of eight are taken");
        queue.push(key(Role::Store, "of-the-cluster"), Work::Local, now);
        assert_eq!(started(&mut queue, now), ["of-the-cluster"]);
        queue.succeeded(&key(Role::Store, "of-the-cluster"), None);
        queue.succeeded(&key(Role::Verifier, "of-the-cluster"), None);
        queue.failed(&tenants("a", "0000"), now);
        assert_eq!(started(&mut queue, now), ["d/d", "e/e"], "who waits longer comes first");
    }

    #[test]
    fn a_namespace_takes_neither_all_pulls_nor_all_of_one_registry() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for number in 0..20 {
            let namespace = format!("n{}", number % 10);
            let work = Work::Pull("shared".to_owned());
            queue.push(tenants(&namespace, &number.to_string()), work, now);
        }
        assert_eq!(started(&mut queue, now).len(), 3, "of one registry");
        queue.push(key(Role::Store, "of-the-cluster"), Work::Pull("shared".to_owned()), now);
        assert_eq!(started(&mut queue, now), ["of-the-cluster"]);
        for number in 0..100 {
            let work = Work::Pull(format!("dead-{number}"));
            queue.push(tenants(&format!("m{}", number % 20), &number.to_string()), work, now);
        }
        assert_eq!(started(&mut queue, now).len(), 8, "12 pulls of 16");
        for number in 0..9 {
            let name = format!("of-the-cluster-{number}");
            queue.push(key(Role::Verifier, &name), Work::Pull(name.clone()), now);
        }
        assert_eq!(started(&mut queue, now).len(), 4);
    }

    #[test]
    fn namespaces_that_are_done_leave_nothing_behind() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for number in 0..100 {
            let key = tenants(&format!("n{number}"), "v");
            queue.push(key.clone(), Work::Local, now);
            assert_eq!(queue.pop(now), Some(key.clone()));
            queue.succeeded(&key, None);
        }
        assert!(queue.turns.is_empty() && queue.entries.is_empty());
    }

    #[test]
    fn the_clusters_verifiers_wait_for_no_tenants_keys() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let keys = Kind { role: Role::Keys, namespaced: true };
        for number in 0..100 {
            let key = Key { kind: keys, namespace: "a".into(), name: format!("{number:03}") };
            queue.push(key, Work::Local, now);
        }
        queue.push(key(Role::Verifier, "of-the-cluster"), Work::Local, now);
        queue.push(tenants("a", "v"), Work::Local, now);
        queue.push(tenants("b", "v"), Work::Local, now);
        let started = started(&mut queue, now);
        assert_eq!(started, ["a/000", "a/001", "a/002", "of-the-cluster", "b/v"]);
    }

    #[test]
    fn a_verifier_that_waits_for_keys_is_no_reason_to_look_again_at_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(key(Role::Keys, "k"), Work::Local, now);
        queue.push(key(Role::Verifier, "v"), Work::Local, now);
        assert_eq!(queue.next_due(now), Some(now));
        queue.pop(now);
        assert_eq!(queue.next_due(now), None);
        queue.succeeded(&key(Role::Keys, "k"), None);
        assert_eq!(queue.next_due(now), Some(now));
    }

    #[test]
    fn what_waits_for_a_registry_leaves_room_for_others_and_for_what_needs_none() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let pull = |registry: &str| Work::Pull(registry.to_owned());
        let popped = |queue: &mut Queue| std::iter::from_fn(|| queue.pop(now)).count();
        for number in 0..20 {
            queue.push(key(Role::Store, &format!("dead-{number}")), pull("dead"), now);
        }
        assert_eq!(popped(&mut queue), PULLS_AT_ONCE_FROM_ONE);
        assert_eq!(queue.next_due(now), None, "nothing may run, so nothing is to be woken for");
        queue.push(key(Role::Verifier, "pulled"), pull("good"), now);
        assert_eq!(queue.pop(now), Some(key(Role::Verifier, "pulled")));
        for number in 0..40 {
            let registry = format!("another-{number}");
            queue.push(key(Role::Store, &registry), pull(&registry), now);
        }
        assert_eq!(popped(&mut queue), PULLS_AT_ONCE - PULLS_AT_ONCE_FROM_ONE - 1);
        for number in 0..40 {
            queue.push(key(Role::Verifier, &format!("local-{number}")), Work::Local, now);
        }
        assert_eq!(popped(&mut queue), LOCAL_AT_ONCE);
        assert_eq!(queue.next_due(now), None);
        queue.succeeded(&key(Role::Verifier, "pulled"), None);
        assert_eq!(popped(&mut queue), 1);
    }
}
