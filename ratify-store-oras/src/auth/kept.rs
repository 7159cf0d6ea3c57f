//! [`Kept`]: what was read from elsewhere, kept while it is good. One at a time reads a key; the
//! others wait for what it reads, or are served what is still valid.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::patience::jitter;

/// More keys than this and those that nobody waits for and that hold nothing valid are dropped; if
/// that is not enough, all that nobody waits for. The keys come from requests.
const MAX_KEYS: usize = 1024;
/// A failure answers those who ask within this time, too.
const FAILURE_LIFETIME: Duration = Duration::from_secs(1);
/// Renewing something that is still valid keeps nobody for longer.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(3);
/// What is still valid and could not be renewed is tried again after this long.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// Values by key, each until its time is over.
pub(super) struct Kept<K, V, E> {
    /// How long before its end a value is renewed; at most half of its life.
    ahead: Duration,
    slots: StdMutex<HashMap<K, Arc<Slot<V, E>>>>,
}

struct Slot<V, E> {
    /// Held by who reads.
    flight: Mutex<()>,
    last: StdMutex<Last<V, E>>,
}

/// What is known of a key.
struct Last<V, E> {
    value: Option<Valid<V>>,
    /// How the last reading ended, and when: for those who waited for it.
    outcome: Option<(Instant, Result<V, E>)>,
}

struct Valid<V> {
    value: V,
    read_at: Instant,
    renew_at: Instant,
    good_until: Instant,
}

/// What a slot has for who asks.
enum Found<V, E> {
    Answer(Result<V, E>),
    /// Still valid, and to be renewed.
    Due(V),
    Nothing,
}

impl<K: Hash + Eq + Clone, V: Clone, E: Clone> Kept<K, V, E> {
    /// Keeps values and renews them so long before their end, ten percent more or less, so that
    /// many processes do not do it at once.
    pub(super) fn renewed_ahead(ahead: Duration) -> Self {
        Self { ahead, slots: StdMutex::default() }
    }

    /// What is kept, else what `read` finds: a value and the time until which it is good. Without
    /// one it answers those who wait for it, and nobody else.
    pub(super) async fn get(
        &self,
        key: &K,
        read: impl Future<Output = Result<(V, Option<Instant>), E>>,
    ) -> Result<V, E> {
        let asked = Instant::now();
        let slot = self.slot(key);
        let due = match slot.look(asked, asked) {
            Found::Answer(answer) => return answer,
            Found::Due(value) => Some(value),
            Found::Nothing => None,
        };
        if let Some(valid) = due {
            let Ok(_flight) = slot.flight.try_lock() else { return Ok(valid) };
            return Ok(self.renew(&slot, valid, read).await);
        }
        let _flight = slot.flight.lock().await;
        match slot.look(asked, Instant::now()) {
            Found::Answer(answer) => answer,
            Found::Due(value) => Ok(value),
            Found::Nothing => {
                let begun = Instant::now();
                let result = read.await;
                slot.note(begun, self.ahead, result)
            }
        }
    }

    /// Keeps for another key what was read for one, as of when that began, until a time. What was
    /// read later stays.
    pub(super) fn keep(&self, key: &K, value: V, read_at: Instant, good_until: Instant) {
        let slot = self.slot(key);
        if slot.last().value.as_ref().is_some_and(|valid| valid.read_at >= read_at) {
            return;
        }
        // A value is what there is to answer; nobody waits for it here.
        let _ = slot.note(read_at, self.ahead, Ok((value, Some(good_until))));
    }

    /// Forgets what was read of a key before an instant. What is being read stays: it is as good
    /// as new.
    #[cfg(any(feature = "alibaba", feature = "aws", feature = "azure", test))]
    pub(super) fn forget(&self, key: &K, before: Instant) {
        let slot = self.slots().get(key).cloned();
        if let Some(slot) = slot {
            slot.forget(before);
        }
    }

    /// Forgets what was read before an instant, of the keys and values that are meant. It is asked
    /// about those alone that would be forgotten, and others are served meanwhile: finding out may take
    /// a while.
    pub(super) fn forget_those(&self, before: Instant, is_meant: impl Fn(&K, &V) -> bool) {
        let older = |(key, slot): (&K, &Arc<Slot<V, E>>)| {
            let value = slot.read_before(before)?;
            Some((key.clone(), slot.clone(), value))
        };
        let older: Vec<_> = self.slots().iter().filter_map(older).collect();
        for (key, slot, value) in older {
            if is_meant(&key, &value) {
                slot.forget(before);
            }
        }
    }

    async fn renew(
        &self,
        slot: &Slot<V, E>,
        valid: V,
        read: impl Future<Output = Result<(V, Option<Instant>), E>>,
    ) -> V {
        let begun = Instant::now();
        match tokio::time::timeout(RENEWAL_PATIENCE, read).await {
            Ok(Ok(new)) => slot.note(begun, self.ahead, Ok(new)).unwrap_or(valid),
            Ok(Err(_)) | Err(_) => {
                if let Some(value) = &mut slot.last().value {
                    value.renew_at = Instant::now() + RENEWAL_PAUSE;
                }
                valid
            }
        }
    }

    fn slot(&self, key: &K) -> Arc<Slot<V, E>> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(key) {
            return slot.clone();
        }
        if slots.len() >= MAX_KEYS {
            let now = Instant::now();
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.holds_valid(now));
        }
        if slots.len() >= MAX_KEYS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(key.clone()).or_default().clone()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<K, Arc<Slot<V, E>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V, E> Default for Slot<V, E> {
    fn default() -> Self {
        let last = Last { value: None, outcome: None };
        Self { flight: Mutex::default(), last: StdMutex::new(last) }
    }
}

impl<V: Clone, E: Clone> Slot<V, E> {
    fn look(&self, asked: Instant, now: Instant) -> Found<V, E> {
        let last = self.last();
        if let Some(valid) = last.value.as_ref().filter(|valid| now < valid.good_until) {
            let value = valid.value.clone();
            return if now < valid.renew_at { Found::Answer(Ok(value)) } else { Found::Due(value) };
        }
        let Some((ended, outcome)) = &last.outcome else { return Found::Nothing };
        let is_fresh_failure =
            outcome.is_err() && now.saturating_duration_since(*ended) < FAILURE_LIFETIME;
        // What came while one was waiting is an answer to that one, however short its life is.
        let was_waited_for = *ended >= asked && now != asked;
        if is_fresh_failure || was_waited_for {
            return Found::Answer(outcome.clone());
        }
        Found::Nothing
    }

    fn note(
        &self,
        begun: Instant,
        ahead: Duration,
        result: Result<(V, Option<Instant>), E>,
    ) -> Result<V, E> {
        let now = Instant::now();
        let (value, answer) = match result {
            Ok((value, good_until)) => {
                let valid = good_until.filter(|end| *end > now).map(|good_until| {
                    let margin = ahead.min((good_until - now) / 2).mul_f64(0.9 + 0.2 * jitter());
                    let renew_at = good_until.checked_sub(margin).unwrap_or(good_until);
                    Valid { value: value.clone(), read_at: begun, renew_at, good_until }
                });
                (valid, Ok(value))
            }
            Err(error) => (None, Err(error)),
        };
        *self.last() = Last { value, outcome: Some((now, answer.clone())) };
        answer
    }

    fn read_before(&self, before: Instant) -> Option<V> {
        let last = self.last();
        let valid = last.value.as_ref().filter(|valid| valid.read_at < before)?;
        Some(valid.value.clone())
    }

    fn forget(&self, before: Instant) {
        let mut last = self.last();
        if last.value.as_ref().is_some_and(|valid| valid.read_at < before) {
            *last = Last { value: None, outcome: None };
        }
    }

    fn holds_valid(&self, now: Instant) -> bool {
        self.last().value.as_ref().is_some_and(|valid| now < valid.good_until)
    }
}

impl<V, E> Slot<V, E> {
    fn last(&self) -> MutexGuard<'_, Last<V, E>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::{join, join_all};

    use super::*;

    type Numbers = Kept<&'static str, u32, &'static str>;

    fn kept() -> Numbers {
        Kept::renewed_ahead(Duration::from_secs(300))
    }

    fn later(milliseconds: u64) -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(milliseconds))
    }

    /// Reads that count themselves and take a while.
    struct Source(AtomicU32);

    impl Source {
        async fn read(&self, life: u64) -> Result<(u32, Option<Instant>), &'static str> {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok((number, later(life)))
        }

        async fn fail(&self) -> Result<(u32, Option<Instant>), &'static str> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err("down")
        }

        fn reads(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn many_at_once_read_a_key_once_and_each_key_for_itself() {
        let (kept, source) = (kept(), Source(AtomicU32::new(0)));
        let all = (0..1000).map(|_| kept.get(&"a", source.read(60_000)));
        assert!(join_all(all).await.iter().all(|answer| *answer == Ok(0)));
        assert_eq!(kept.get(&"b", source.read(60_000)).await, Ok(1));
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(0));
    }

    #[tokio::test]
    async fn what_is_not_to_be_kept_still_answers_all_who_wait() {
        let (kept, source) = (kept(), Source(AtomicU32::new(0)));
        let once = || async { source.read(0).await.map(|(number, _)| (number, None)) };
        assert_eq!(join(kept.get(&"a", once()), kept.get(&"a", once())).await, (Ok(0), Ok(0)));
        assert_eq!(kept.get(&"a", once()).await, Ok(1));
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_kept_for_a_second() {
        let (kept, source) = (kept(), Source(AtomicU32::new(0)));
        let all = (0..100).map(|_| kept.get(&"a", source.fail()));
        assert!(join_all(all).await.iter().all(|answer| *answer == Err("down")));
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Err("down"));
        assert_eq!(source.reads(), 1);
        tokio::time::sleep(FAILURE_LIFETIME).await;
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_value_is_renewed_before_its_end_while_the_others_are_served() {
        let (kept, source) = (kept(), Source(AtomicU32::new(0)));
        assert_eq!(kept.get(&"a", source.read(400)).await, Ok(0));
        tokio::time::sleep(Duration::from_millis(260)).await;
        let both = join(kept.get(&"a", source.read(60_000)), kept.get(&"a", source.read(60_000)));
        assert_eq!(both.await, (Ok(1), Ok(0)));
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(1));
        assert_eq!(source.reads(), 2);
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_renewed_is_served_to_its_end_and_no_longer() {
        let (kept, source) = (kept(), Source(AtomicU32::new(0)));
        assert_eq!(kept.get(&"a", source.read(400)).await, Ok(0));
        tokio::time::sleep(Duration::from_millis(260)).await;
        for _ in 0..3 {
            assert_eq!(kept.get(&"a", source.fail()).await, Ok(0));
        }
        assert_eq!(source.reads(), 2, "the renewal is not tried each time");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(kept.get(&"a", source.fail()).await, Err("down"));
    }

    #[tokio::test]
    async fn what_is_forgotten_is_read_again_and_what_is_newer_stays() {
        let (kept, source) = (kept(), Source(AtomicU32::new(0)));
        let before = Instant::now();
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(0));
        kept.forget(&"a", before);
        kept.forget(&"b", Instant::now());
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(0));
        kept.forget(&"a", Instant::now());
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(1));
        assert_eq!(kept.get(&"b", source.read(60_000)).await, Ok(2));
        kept.forget_those(Instant::now(), |key, number| *key == "a" && *number == 1);
        assert_eq!(kept.get(&"b", source.read(60_000)).await, Ok(2));
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(3));
    }

    #[tokio::test]
    async fn whether_it_is_meant_is_asked_of_what_is_old_enough_while_others_are_served() {
        let (kept, source) = (kept(), Source(AtomicU32::new(0)));
        let before = Instant::now();
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(0));
        kept.forget_those(before, |key, _| panic!("{key} is newer"));
        kept.forget_those(Instant::now(), |_, _| kept.slots.try_lock().is_ok());
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(1));
    }

    #[tokio::test]
    async fn what_is_kept_for_another_key_is_as_old_as_it_is() {
        let (kept, source) = (kept(), Source(AtomicU32::new(0)));
        let read_at = Instant::now();
        let until = read_at + Duration::from_secs(60);
        let before = read_at + Duration::from_nanos(1);
        kept.keep(&"a", 7, read_at, until);
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(7));
        kept.forget(&"a", before);
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(0));
        kept.keep(&"a", 7, read_at, until);
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(0), "it was read later");
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_work_to_the_next() {
        let (kept, source) = (kept(), Source(AtomicU32::new(0)));
        let begun = kept.get(&"a", source.read(60_000));
        assert_eq!(futures_util::future::poll_immediate(begun).await, None);
        assert_eq!(kept.get(&"a", source.read(60_000)).await, Ok(1));
    }

    #[tokio::test]
    async fn the_number_of_keys_is_bounded() {
        let kept = Kept::<u32, u32, ()>::renewed_ahead(Duration::ZERO);
        let held = kept.slot(&0);
        for key in 0..5000 {
            let _ = kept.get(&key, async { Ok((key, later(60_000))) }).await;
        }
        assert!(kept.slots().len() <= MAX_KEYS);
        assert!(Arc::ptr_eq(&held, &kept.slot(&0)));
    }
}
