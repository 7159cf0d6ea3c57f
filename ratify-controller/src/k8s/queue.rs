//! [`Queue`]: which resource is to be tried next, and when. Pure: times come in as arguments.
//!
//! A resource is tried by one job at a time; what happens to it meanwhile is tried after that job.
//! What others use is tried before those others, and what fails is tried again, later each time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{kind::Role, resource::Key};

/// The wait after a first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is to be done, by resource.
#[derive(Debug, Default)]
pub struct Queue {
    entries: BTreeMap<Key, Entry>,
    running: usize,
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

    /// The next resource to try now; it is running then. The order is that of kinds, then names;
    /// no verifier is tried while what provides keys is.
    pub fn pop(&mut self, now: Instant) -> Option<Key> {
        let keys_first = self.entries.iter().any(|(key, entry)| {
            is_of_keys(key) && (entry.is_running || entry.due.is_some_and(|due| due <= now))
        });
        let mut ready = self.entries.iter_mut().filter(|(key, entry)| {
            let may_run = !(keys_first && key.kind.role == Role::Verifier);
            may_run && !entry.is_running && entry.due.is_some_and(|due| due <= now)
        });
        let (key, entry) = ready.next()?;
        entry.due = None;
        entry.is_running = true;
        self.running = self.running.saturating_add(1);
        Some(key.clone())
    }

    /// When the next one is due that is not running.
    pub fn next_due(&self) -> Option<Instant> {
        let waiting = self.entries.values().filter(|entry| !entry.is_running);
        waiting.filter_map(|entry| entry.due).min()
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
        if entry.is_running {
            entry.is_running = false;
            self.running = self.running.saturating_sub(1);
        }
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
        queue.push(key(Role::Store, "s"), now);
        assert_eq!(queue.pop(now), Some(key(Role::Store, "s")));
        queue.push(key(Role::Store, "s"), now);
        queue.push(key(Role::Store, "s"), now);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.running(), 1);
        queue.succeeded(&key(Role::Store, "s"), None);
        assert_eq!(queue.pop(now), Some(key(Role::Store, "s")));
        queue.succeeded(&key(Role::Store, "s"), None);
        assert_eq!((queue.pop(now), queue.running(), queue.next_due()), (None, 0, None));
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
        assert_eq!(queue.next_due(), now.checked_add(FIRST_WAIT));
        queue.push(store.clone(), now);
        assert_eq!(queue.pop(now), Some(store.clone()));
        queue.succeeded(&store, None);
        queue.push(store.clone(), now);
        queue.pop(now);
        queue.failed(&store, now);
        assert_eq!(queue.next_due(), now.checked_add(FIRST_WAIT));
    }
}
