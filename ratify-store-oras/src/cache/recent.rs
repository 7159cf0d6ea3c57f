//! [`Recent`]: the small ones of the blobs that were proven a moment ago, in memory. An image that is
//! asked about again and again costs no file then. Pure: the time comes in.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

/// A larger blob is not kept: manifests, signatures and attestations are smaller.
const LARGEST: usize = 64 << 10;
/// What all of them may take together with their names.
const CAPACITY: usize = 4 << 20;
/// What the maps add to an entry, about.
const ENTRY_BYTES: usize = 200;
/// For how long a blob counts: then its file is read again, by which it is seen to be in use.
const LIFETIME: Duration = Duration::from_secs(60);

/// Blobs by the place of their file, which says whose they are. The oldest go first.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    bytes: usize,
    blobs: HashMap<Arc<Path>, Blob>,
    /// Each place once, the oldest in front.
    order: VecDeque<Arc<Path>>,
}

#[derive(Debug)]
struct Blob {
    bytes: Bytes,
    since: Instant,
}

impl Recent {
    /// What was proven to belong there.
    pub(super) fn get(&self, place: &Path, now: Instant) -> Option<Bytes> {
        let shelf = self.lock();
        let blob = shelf.blobs.get(place)?;
        (now.saturating_duration_since(blob.since) < LIFETIME).then(|| blob.bytes.clone())
    }

    /// Keeps what was proven, if it is small.
    pub(super) fn put(&self, place: PathBuf, bytes: &Bytes, now: Instant) {
        if bytes.len() > LARGEST {
            return;
        }
        let mut shelf = self.lock();
        shelf.forget_what_ended(now);
        if shelf.blobs.contains_key(&*place) {
            return;
        }
        // A part of a larger buffer would keep all of that.
        let blob = Blob { bytes: Bytes::copy_from_slice(bytes), since: now };
        let place: Arc<Path> = place.into();
        shelf.bytes += size(&place, &blob);
        shelf.order.push_back(Arc::clone(&place));
        shelf.blobs.insert(place, blob);
        while shelf.bytes > CAPACITY {
            shelf.forget_oldest();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn forget_what_ended(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front()
            && let Some(blob) = self.blobs.get(oldest)
            && now.saturating_duration_since(blob.since) >= LIFETIME
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(place) = self.order.pop_front() else { return };
        if let Some(blob) = self.blobs.remove(&place) {
            self.bytes = self.bytes.saturating_sub(size(&place, &blob));
        }
    }
}

fn size(place: &Path, blob: &Blob) -> usize {
    ENTRY_BYTES + place.as_os_str().len() + blob.bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: usize) -> PathBuf {
        format!("/blobs/{number}").into()
    }

    #[test]
    fn a_blob_is_there_for_a_minute_and_from_then_on_its_file_is_asked() {
        let (recent, now) = (Recent::default(), Instant::now());
        recent.put(place(1), &Bytes::from_static(b"one"), now);
        // It stays as old as it is.
        recent.put(place(1), &Bytes::from_static(b"one"), now + LIFETIME / 2);
        assert_eq!(recent.get(&place(1), now + LIFETIME / 2).unwrap(), "one");
        assert_eq!(recent.get(&place(1), now + LIFETIME), None);
        assert_eq!(recent.get(&place(2), now), None);
        recent.put(place(1), &Bytes::from_static(b"one"), now + LIFETIME);
        assert_eq!(recent.get(&place(1), now + LIFETIME).unwrap(), "one");
        assert_eq!(recent.lock().order.len(), 1);
    }

    #[test]
    fn all_together_are_bounded_and_none_is_large() {
        let (recent, now) = (Recent::default(), Instant::now());
        recent.put(place(0), &vec![0; LARGEST + 1].into(), now);
        assert_eq!(recent.get(&place(0), now), None);
        for number in 1..=200 {
            // A part of something large.
            let bytes = Bytes::from(vec![0; 1 << 20]).slice(..LARGEST);
            recent.put(place(number), &bytes, now);
        }
        let shelf = recent.lock();
        assert!(shelf.bytes <= CAPACITY && shelf.bytes > CAPACITY - 2 * LARGEST);
        assert_eq!(shelf.blobs.len(), shelf.order.len());
        assert!(shelf.blobs.contains_key(&*place(200)) && !shelf.blobs.contains_key(&*place(1)));
        drop(shelf);
        for number in 1..=100_000 {
            recent.put(place(number), &Bytes::new(), now + LIFETIME);
        }
        assert!(recent.lock().blobs.len() <= CAPACITY / ENTRY_BYTES);
    }
}
