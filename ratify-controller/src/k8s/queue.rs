//! [`Queue`]: which resource is to be tried next, and when. Pure: times come in as arguments.
//!
//! A resource is tried by one job at a time; what happens to it meanwhile is tried after that job.
//! What others use is tried before those others, and what fails is tried again, later each time.
//! A registry that does not answer holds up what it has, and nothing else. Namespaces take turns,
//! and none of them, nor all together, takes every place.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{kind::Role, resource::Key};

/// The wait after a first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How many resources are worked on at once that need no registry, and those of namespaces among
/// them; the cluster's own need not wait for any of these.
const LOCAL_AT_ONCE: usize = 8;
const LOCAL_OF_NAMESPACES: usize = 6;
/// How many resources are pulled at once from all registries, those of namespaces among them, and
/// from one registry.
const PULLS_AT_ONCE: usize = 16;
const PULLS_OF_NAMESPACES: usize = 12;
const PULLS_AT_ONCE_FROM_ONE: usize = 4;
/// How many of one namespace are worked on at once, and as many again are pulled.
const MOST_OF_ONE_NAMESPACE: usize = 3;

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
    /// When each namespace of which something waits or runs had its last turn.
    turns: BTreeMap<String, u64>,
    /// Counts the turns.
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

/// What is running, as far as others wait for it.
#[derive(Default)]
struct Places<'a> {
    local: Lane<'a>,
    pulls: Lane<'a>,
    of_registries: BTreeMap<&'a str, usize>,
    /// What provides keys runs, or will now.
    keys_first: bool,
}

#[derive(Default)]
struct Lane<'a> {
    all: usize,
    of_namespaces: BTreeMap<&'a str, usize>,
}

impl<'a> Lane<'a> {
    fn add(&mut self, key: &'a Key) {
        self.all += 1;
        if key.kind.namespaced {
            *self.of_namespaces.entry(&key.namespace).or_default() += 1;
        }
    }

    /// One namespace, however much it asks for, leaves room for others, and all of them for the
    /// cluster.
    fn has_room(&self, key: &Key, most: usize, most_of_namespaces: usize) -> bool {
        if !key.kind.namespaced {
            return self.all < most;
        }
        let own = self.of_namespaces.get(key.namespace.as_str()).copied().unwrap_or_default();
        let of_namespaces: usize = self.of_namespaces.values().sum();
        self.all < most && of_namespaces < most_of_namespaces && own < MOST_OF_ONE_NAMESPACE
    }
}

impl Places<'_> {
    /// Whether no other job is in the way.
    fn has_room(&self, key: &Key, work: &Work) -> bool {
        if self.keys_first && key.kind.role == Role::Verifier {
            return false;
        }
        match work {
            Work::Local => self.local.has_room(key, LOCAL_AT_ONCE, LOCAL_OF_NAMESPACES),
            Work::Pull(registry) => {
                let of_this = self.of_registries.get(registry.as_str()).copied();
                of_this.unwrap_or_default() < PULLS_AT_ONCE_FROM_ONE
                    && self.pulls.has_room(key, PULLS_AT_ONCE, PULLS_OF_NAMESPACES)
            }
        }
    }
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
        let places = self.places(now);
        let ready = self.entries.iter().filter(|(key, entry)| {
            let is_due = entry.due.is_some_and(|due| due <= now);
            !entry.is_running && is_due && places.has_room(key, &entry.work)
        });
        let turn = |key: &Key| self.turns.get(&key.namespace).copied().unwrap_or_default();
        // Of two that are alike the first by name.
        let key = ready.min_by_key(|(key, _)| (key.kind, turn(key)))?.0.clone();
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
        let places = self.places(now);
        let waiting = self
            .entries
            .iter()
            .filter(|(key, entry)| !entry.is_running && places.has_room(key, &entry.work));
        waiting.filter_map(|(_, entry)| entry.due).min()
    }

    fn places(&self, now: Instant) -> Places<'_> {
        let mut places = Places::default();
        for (key, entry) in &self.entries {
            let is_next = entry.is_running || entry.due.is_some_and(|due| due <= now);
            places.keys_first |= is_of_keys(key) && is_next;
            if !entry.is_running {
                continue;
            }
            match &entry.work {
                Work::Local => places.local.add(key),
                Work::Pull(registry) => {
                    places.pulls.add(key);
                    *places.of_registries.entry(registry).or_default() += 1;
                }
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
            let is_idle = !self.entries.keys().any(|other| other.namespace == key.namespace);
            if is_idle {
                self.turns.remove(&key.namespace);
            }
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
        assert_eq!(started(&mut queue, now), ["d/d"], "six of namespaces");
        queue.push(key(Role::Store, "of-the-cluster"), Work::Local, now);
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
            queue.push(key.clone(), Work::Local, now);
            assert_eq!(queue.pop(now), Some(key.clone()));
            queue.succeeded(&key, None);
        }
        assert!(queue.turns.is_empty() && queue.entries.is_empty());
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
