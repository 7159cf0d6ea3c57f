//! [`Queue`]: which resource is to be tried next, and when. Pure: times come in as arguments.
//!
//! A resource is tried by one job at a time; what happens to it meanwhile is tried after that job.
//! What others use is tried before those others, and what fails is tried again, later each time.
//! A registry that does not answer holds up what it has, and nothing else.

use std::{
    collections::BTreeMap,
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

impl Queue {
    /// A resource is to be tried at a time, or earlier if that was so already.
    pub fn push(&mut self, key: Key, work: Work, due: Instant) {
        let entry = self.entries.entry(key).or_default();
        entry.work = work;
        entry.due = Some(entry.due.map_or(due, |known| known.min(due)));
    }

    /// The next resource to try now; it is running then. The order is that of kinds, then names;
    /// no verifier is tried while what provides keys is.
    pub fn pop(&mut self, now: Instant) -> Option<Key> {
        let keys_first = self.entries.iter().any(|(key, entry)| {
            is_of_keys(key) && (entry.is_running || entry.due.is_some_and(|due| due <= now))
        });
        let free = self.free();
        let mut ready = self.entries.iter_mut().filter(|(key, entry)| {
            let may_run = !(keys_first && key.kind.role == Role::Verifier);
            may_run && free(entry) && entry.due.is_some_and(|due| due <= now)
        });
        let (key, entry) = ready.next()?;
        entry.due = None;
        entry.is_running = true;
        Some(key.clone())
    }

    /// When the next one is due that may run then.
    pub fn next_due(&self) -> Option<Instant> {
        let free = self.free();
        self.entries.values().filter(|entry| free(entry)).filter_map(|entry| entry.due).min()
    }

    /// Which entries do not run and may.
    fn free(&self) -> impl Fn(&Entry) -> bool + use<> {
        let (mut local, mut pulls) = (0_usize, 0_usize);
        let mut of_registries: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.entries.values().filter(|entry| entry.is_running) {
            match &entry.work {
                Work::Local => local += 1,
                Work::Pull(registry) => {
                    pulls += 1;
                    *of_registries.entry(registry.clone()).or_default() += 1;
                }
            }
        }
        move |entry| {
            let has_room = match &entry.work {
                Work::Local => local < LOCAL_AT_ONCE,
                Work::Pull(registry) => {
                    let of_this = of_registries.get(registry).copied().unwrap_or_default();
                    pulls < PULLS_AT_ONCE && of_this < PULLS_AT_ONCE_FROM_ONE
                }
            };
            !entry.is_running && has_room
        }
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
        assert_eq!((queue.pop(now), queue.next_due()), (None, None));
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
        assert_eq!(queue.next_due(), now.checked_add(FIRST_WAIT));
        queue.push(store.clone(), Work::Local, now);
        assert_eq!(queue.pop(now), Some(store.clone()));
        queue.succeeded(&store, None);
        queue.push(store.clone(), Work::Local, now);
        queue.pop(now);
        queue.failed(&store, now);
        assert_eq!(queue.next_due(), now.checked_add(FIRST_WAIT));
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
        assert_eq!(queue.next_due(), None, "nothing may run, so nothing is to be woken for");
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
        assert_eq!(queue.next_due(), None);
        queue.succeeded(&key(Role::Verifier, "pulled"), None);
        assert_eq!(popped(&mut queue), 1);
    }
}
