//! [`Memory`]: verdicts in this process, bounded in bytes and in time. Pure: the time comes in.
//!
//! When it is full, who was not asked for since the hand last came by goes (the clock algorithm),
//! and each addition looks at a few of the oldest, so that what has ended does not stay.

use std::{
    collections::{HashMap, VecDeque},
    mem::size_of,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crate::gatekeeper::verdict::Verdict;

/// What the maps add to an entry, about.
const ENTRY_BYTES: usize = 160;
/// A larger part of the whole than one in this many is not kept.
const LARGEST_PART: u64 = 8;
/// How many of the oldest are looked at when one is added.
const SWEPT: usize = 2;

/// Verdicts by key.
pub(super) struct Memory {
    capacity: u64,
    shelf: Mutex<Shelf>,
}

/// When it is, by the clock that only goes on and by the one on the wall.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

/// Until when something is kept. Both must be ahead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    instant: Instant,
    /// When the first of what it rests on ends.
    wall: Option<SystemTime>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

#[derive(Default)]
struct Shelf {
    bytes: u64,
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Each key once, the oldest in front.
    order: VecDeque<Arc<[u8]>>,
}

struct Entry {
    verdict: Arc<Verdict>,
    until: Until,
    bytes: u64,
    was_asked_for: bool,
}

impl Now {
    pub(super) fn read() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }
}

impl Until {
    /// For so long, and no longer than to the end of what it rests on: by the clock on the wall, and by
    /// the other one as well, so that who sets back the first prolongs nothing.
    pub(crate) fn after(lifetime: Duration, end: Option<SystemTime>, now: Now) -> Self {
        let left = end.map(|end| end.duration_since(now.wall).unwrap_or_default());
        let lifetime = left.map_or(lifetime, |left| left.min(lifetime));
        Self { instant: now.instant + lifetime, wall: end }
    }

    /// Whether it is not over.
    pub(crate) fn is_ahead(self, now: Now) -> bool {
        now.instant < self.instant && self.wall.is_none_or(|end| now.wall < end)
    }
}

impl Memory {
    /// A place of so many bytes, keys and all.
    pub(super) fn new(capacity: u64) -> Self {
        Self { capacity, shelf: Mutex::default() }
    }

    /// The verdict of a key, as long as it counts.
    pub(super) fn get(&self, key: &[u8], now: Now) -> Option<Arc<Verdict>> {
        let mut shelf = self.lock();
        let entry = shelf.entries.get_mut(key)?;
        if !entry.until.is_ahead(now) {
            return None;
        }
        entry.was_asked_for = true;
        Some(Arc::clone(&entry.verdict))
    }

    /// Keeps a verdict, in the place of what was kept under its key. One that is too large, or has
    /// ended, is not kept; the answer says whether it is.
    pub(super) fn put(&self, key: Vec<u8>, verdict: Arc<Verdict>, until: Until, now: Now) -> bool {
        let bytes = (size_of::<Entry>() + ENTRY_BYTES + key.len() + verdict.bytes()) as u64;
        let mut shelf = self.lock();
        if !until.is_ahead(now) || bytes > self.capacity / LARGEST_PART {
            shelf.remove(&key);
            return false;
        }
        let entry = Entry { verdict, until, bytes, was_asked_for: false };
        shelf.insert(key.into(), entry);
        shelf.sweep(now);
        shelf.make_room(self.capacity);
        true
    }

    /// How much is kept, what has ended and was not removed yet included.
    pub(super) fn size(&self) -> Size {
        let shelf = self.lock();
        Size { entries: shelf.entries.len() as u64, bytes: shelf.bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // A panic in between may leave a key in the order that has no entry, which is passed over,
        // or bytes counted that are gone.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn insert(&mut self, key: Arc<[u8]>, entry: Entry) {
        self.bytes += entry.bytes;
        match self.entries.insert(Arc::clone(&key), entry) {
            Some(before) => self.bytes = self.bytes.saturating_sub(before.bytes),
            None => self.order.push_back(key),
        }
    }

    /// Its place in the order goes when the hand comes by; until then nothing is in it.
    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            let until = Until { wall: Some(SystemTime::UNIX_EPOCH), ..entry.until };
            let verdict = Arc::default();
            *entry = Entry { verdict, until, bytes: 0, was_asked_for: false };
        }
    }

    fn sweep(&mut self, now: Now) {
        for _ in 0..SWEPT.min(self.order.len()) {
            let Some(key) = self.order.pop_front() else { return };
            match self.entries.get(&key) {
                Some(entry) if entry.until.is_ahead(now) => self.order.push_back(key),
                _ => self.forget(&key),
            }
        }
    }

    fn make_room(&mut self, capacity: u64) {
        while self.bytes > capacity {
            let Some(key) = self.order.pop_front() else { return };
            match self.entries.get_mut(&key) {
                Some(entry) if entry.was_asked_for => {
                    entry.was_asked_for = false;
                    self.order.push_back(key);
                }
                _ => self.forget(&key),
            }
        }
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bytes: usize) -> Arc<Verdict> {
        let reports = "x".repeat(bytes).into();
        let version = "0.2.0".into();
        Arc::new(Verdict { version, is_success: true, reports, ..Verdict::default() })
    }

    fn in_seconds(now: Now, seconds: u64) -> Until {
        Until { instant: now.instant + Duration::from_secs(seconds), wall: None }
    }

    fn later(now: Now, seconds: u64) -> Now {
        let by = Duration::from_secs(seconds);
        Now { instant: now.instant + by, wall: now.wall + by }
    }

    fn key(number: usize) -> Vec<u8> {
        format!("key {number:06}").into_bytes()
    }

    #[test]
    fn a_verdict_is_there_until_it_ends_by_either_clock() {
        let (memory, now) = (Memory::new(1 << 20), Now::read());
        assert!(memory.put(key(1), verdict(9), in_seconds(now, 10), now));
        assert_eq!(memory.get(&key(1), later(now, 9)), Some(verdict(9)));
        assert_eq!(memory.get(&key(1), later(now, 10)), None);
        assert_eq!(memory.get(&key(2), now), None);
        let wall = Some(now.wall + Duration::from_secs(3));
        memory.put(key(1), verdict(5), Until { wall, ..in_seconds(now, 10) }, now);
        assert_eq!(memory.get(&key(1), later(now, 2)), Some(verdict(5)));
        assert_eq!(memory.get(&key(1), later(now, 3)), None);
        let jumped = Now { wall: now.wall + Duration::from_secs(4), ..now };
        assert_eq!(memory.get(&key(1), jumped), None, "the clock on the wall was put on");
        let back = Now { wall: now.wall - Duration::from_secs(9999), ..later(now, 11) };
        assert_eq!(memory.get(&key(1), back), None, "and put back");
        let until = Until::after(Duration::from_secs(10), wall, now);
        memory.put(key(1), verdict(5), until, now);
        let back = |seconds| Now { wall: back.wall, ..later(now, seconds) };
        assert_eq!(memory.get(&key(1), back(2)), Some(verdict(5)));
        assert_eq!(memory.get(&key(1), back(3)), None, "put back before what it rests on ended");
        assert!(!memory.put(key(1), verdict(5), in_seconds(now, 0), now));
        assert_eq!(memory.get(&key(1), now), None, "what replaces it has ended already");
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_what_is_asked_for_stays() {
        let capacity = 200_000;
        let (memory, now) = (Memory::new(capacity), Now::read());
        let until = in_seconds(now, 1000);
        memory.put(key(0), verdict(500), until, now);
        for number in 1..2000 {
            assert!(memory.put(key(number), verdict(number % 900), until, now));
            assert!(memory.get(&key(0), now).is_some(), "{number}");
            let size = memory.size();
            assert!(size.bytes <= capacity && size.entries > 0);
        }
        assert!(memory.get(&key(1), now).is_none() && memory.get(&key(1999), now).is_some());
        let shelf = memory.lock();
        assert_eq!(shelf.order.len(), shelf.entries.len());
        assert_eq!(shelf.bytes, shelf.entries.values().map(|entry| entry.bytes).sum::<u64>());
    }

    #[test]
    fn one_verdict_does_not_take_the_place_of_all_others() {
        let (memory, now) = (Memory::new(80_000), Now::read());
        assert!(memory.put(key(1), verdict(10), in_seconds(now, 9), now));
        assert!(!memory.put(key(2), verdict(10_001), in_seconds(now, 9), now));
        assert!(!memory.put(key(1), verdict(10_001), in_seconds(now, 9), now));
        assert_eq!(memory.get(&key(1), now), None, "what is no longer true is not answered");
        assert_eq!(memory.size().bytes, 0);
    }

    #[test]
    fn what_has_ended_goes_without_being_asked_for() {
        let (memory, now) = (Memory::new(1 << 30), Now::read());
        for number in 0..1000 {
            memory.put(key(number), verdict(100), in_seconds(now, 10), now);
        }
        let then = later(now, 11);
        for number in 0..1000 {
            memory.put(key(7_000_000 + number), verdict(100), in_seconds(then, 10), then);
        }
        let size = memory.size();
        assert!(size.entries <= 1001, "{size:?}");
    }
}
