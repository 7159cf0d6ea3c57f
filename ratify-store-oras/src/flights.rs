//! [`Flights`]: the same question, asked while it is under way, is asked once. Whoever asks waits
//! as long as it has time; the work goes on for as long as anybody waits, and is dropped then. It
//! knows until when the one with most time waits.
//!
//! The key says all that the answer depends on. What credentials are shown is not in it: a client
//! has flights of its own.

use std::{
    collections::HashMap,
    hash::Hash,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures_util::{
    FutureExt,
    future::{Shared, WeakShared},
};
use ratify_core::BoxFuture;
use tracing::{Instrument as _, Span};

use crate::deadline::Deadline;

/// `None` where the work panicked.
type Work<T> = Shared<BoxFuture<'static, Option<T>>>;
/// And what a trace says it is done for.
type UnderWay<T> = (WeakShared<BoxFuture<'static, Option<T>>>, Deadline, Span);

/// What is under way.
pub(crate) struct Flights<K, T>(Mutex<HashMap<K, UnderWay<T>>>)
where
    K: Hash + Eq + Clone,
    T: Clone;

/// One that waits. When it leaves, the last one out takes the entry along.
struct Waiter<'a, K, T>
where
    K: Hash + Eq + Clone,
    T: Clone,
{
    flights: &'a Flights<K, T>,
    key: K,
    work: Option<Work<T>>,
}

impl<K: Hash + Eq + Clone, T: Clone> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone, T: Clone + Send + 'static> Flights<K, T> {
    /// The answer of the flight with this key, which begins with `work` unless it is under way.
    ///
    /// # Errors
    /// Where there is no time left for an answer; the deadline knows what kept it.
    pub(crate) async fn join(
        &self,
        key: K,
        give_up_at: Option<Instant>,
        work: impl FnOnce(Deadline) -> BoxFuture<'static, T>,
    ) -> Result<T, Deadline> {
        if give_up_at.is_some_and(|end| end <= Instant::now()) {
            return Err(Deadline::new(give_up_at));
        }
        let (under_way, deadline) = self.enter(&key, give_up_at, work);
        // In this order: what is dropped last looks whether anybody is left.
        let waiter = Waiter { flights: self, key, work: Some(under_way.clone()) };
        let answer = match give_up_at {
            None => Ok(under_way.await),
            Some(end) => tokio::time::timeout_at(end.into(), under_way).await,
        };
        drop(waiter);
        let Ok(answer) = answer else { return Err(deadline) };
        // A panic is each waiter's own: one inside of what they share would poison it for all.
        Ok(answer.unwrap_or_else(|| resume_unwind(Box::new("the work that was shared panicked"))))
    }

    fn enter(
        &self,
        key: &K,
        give_up_at: Option<Instant>,
        work: impl FnOnce(Deadline) -> BoxFuture<'static, T>,
    ) -> (Work<T>, Deadline) {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(key)
            && let Some(work) = under_way(flight)
        {
            flight.1.extend(give_up_at);
            joined(&flight.2);
            return (work, flight.1.clone());
        }
        let deadline = Deadline::new(give_up_at);
        let span = Span::current();
        let work = AssertUnwindSafe(work(deadline.clone())).catch_unwind();
        // Whoever waits may carry it on; it belongs to the one that began it.
        let work = work.map(Result::ok).instrument(span.clone()).boxed().shared();
        if let Some(weak) = work.downgrade() {
            flights.insert(key.clone(), (weak, deadline.clone(), span));
        }
        (work, deadline)
    }
}

/// A trace is told that another's work is waited for.
fn joined(work: &Span) {
    let span = Span::current();
    span.record("ratify.joined", true);
    span.follows_from(work);
}

impl<K: Hash + Eq + Clone, T: Clone> Flights<K, T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, UnderWay<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that has landed is none: who asks now wants to know how it is now.
fn under_way<T: Clone>(flight: &UnderWay<T>) -> Option<Work<T>> {
    flight.0.upgrade().filter(|work| work.peek().is_none())
}

impl<K: Hash + Eq + Clone, T: Clone> Drop for Waiter<'_, K, T> {
    fn drop(&mut self) {
        // The work itself may end here, so not under the lock.
        drop(self.work.take());
        let mut flights = self.flights.lock();
        if flights.get(&self.key).is_some_and(|flight| under_way(flight).is_none()) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use futures_util::future::join_all;

    use super::*;

    /// Counts how often it began, and how often it came to its end.
    #[derive(Clone, Default)]
    struct Counts {
        begun: Arc<AtomicU32>,
        ended: Arc<AtomicU32>,
    }

    impl Counts {
        fn work(&self, milliseconds: u64) -> BoxFuture<'static, u32> {
            let counts = self.clone();
            Box::pin(async move {
                let number = counts.begun.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                counts.ended.fetch_add(1, Ordering::Relaxed);
                number
            })
        }

        fn now(&self) -> (u32, u32) {
            (self.begun.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed))
        }
    }

    fn after(milliseconds: u64) -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(milliseconds))
    }

    #[tokio::test]
    async fn it_knows_how_long_the_most_patient_waits_and_begins_for_nobody_without_time() {
        let (flights, told) = (Flights::default(), Mutex::new(None));
        let [first, second] = [after(40), after(80)];
        let work = |deadline: Deadline| -> BoxFuture<'static, u32> {
            *told.lock().unwrap() = Some(deadline);
            Box::pin(std::future::pending())
        };
        let none = |_| -> BoxFuture<'static, u32> { panic!("it is under way") };
        let all = join_all([
            Box::pin(flights.join("k", first, work)) as BoxFuture<'_, _>,
            Box::pin(flights.join("k", second, none)),
            Box::pin(flights.join("k", after(0), none)),
        ]);
        assert!(all.await.iter().all(Result::is_err));
        assert_eq!(told.lock().unwrap().as_ref().unwrap().end(), second);
        assert!(flights.join("other", Some(Instant::now()), none).await.is_err());
    }

    #[tokio::test]
    async fn a_panic_reaches_everybody_who_waits_and_nobody_after() {
        let (flights, counts) = (Arc::new(Flights::default()), Counts::default());
        let both = [(); 2].map(|()| {
            let flights = Arc::clone(&flights);
            tokio::spawn(async move {
                let work = |_| -> BoxFuture<'static, u32> {
                    Box::pin(async {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        panic!("on purpose")
                    })
                };
                flights.join("k", None, work).await
            })
        });
        for waiter in both {
            assert!(waiter.await.unwrap_err().is_panic());
        }
        assert_eq!(flights.join("k", None, |_| counts.work(1)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_thousand_with_one_key_are_one_and_the_next_one_is_another() {
        let (flights, counts) = (Flights::default(), Counts::default());
        let all = join_all((0..1000).map(|_| flights.join("k", None, |_| counts.work(20)))).await;
        assert!(all.iter().all(|answer| *answer.as_ref().unwrap() == 0));
        assert_eq!(flights.join("k", None, |_| counts.work(1)).await.unwrap(), 1);
        assert_eq!(flights.join("other", None, |_| counts.work(1)).await.unwrap(), 2);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn it_lasts_as_long_as_the_one_that_has_most_time() {
        let (flights, counts) = (Flights::default(), Counts::default());
        let wait = |milliseconds| flights.join("k", after(milliseconds), |_| counts.work(60));
        let all = join_all([wait(5), wait(1000), wait(20)]).await;
        assert_eq!(all.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(counts.now(), (1, 1));
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn it_is_dropped_when_nobody_waits_and_begins_anew_for_the_next() {
        let (flights, counts) = (Flights::default(), Counts::default());
        for _ in 0..3 {
            assert!(flights.join("k", after(10), |_| counts.work(40)).await.is_err());
            assert!(flights.lock().is_empty());
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(counts.now(), (3, 0));
    }
}
