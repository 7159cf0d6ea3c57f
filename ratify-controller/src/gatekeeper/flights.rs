//! The work behind the keys. A question that is being worked on is not asked again: who asks the
//! same waits for the same answer. Work outlives the request that asked for it, until it is given
//! up; how much runs and waits is bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

/// What makes two questions the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FlightKey {
    /// Which snapshot answers: its address, which the flight keeps alive.
    pub(super) snapshot: usize,
    pub(super) is_mutation: bool,
    pub(super) namespace: String,
    pub(super) subject: String,
}

/// The flights of one service. `T` is what they bring.
pub(super) struct Flights<T> {
    running: Mutex<HashMap<FlightKey, watch::Receiver<Option<Arc<T>>>>>,
    room: Semaphore,
    most: usize,
}

/// A place among those who wait for a flight.
pub(super) struct Waiting<T>(watch::Receiver<Option<Arc<T>>>);

/// Too many questions are being worked on.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{0} images are being worked on already; ask again later")]
pub(super) struct Full(usize);

/// The work ended without an answer: it was given up, or it panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work was given up before it was done")]
pub(super) struct Lost;

impl<T: Send + Sync + 'static> Flights<T> {
    /// `at_once` flights run at a time; at most `most` are known, waiting ones included.
    pub(super) fn new(at_once: usize, most: usize) -> Self {
        Self { running: Mutex::default(), room: Semaphore::new(at_once), most }
    }

    /// Joins the flight of a question, or starts one that ends at `give_up_at` at the latest.
    pub(super) fn join<F>(
        self: &Arc<Self>,
        key: FlightKey,
        give_up_at: Instant,
        work: impl FnOnce() -> F,
    ) -> Result<Waiting<T>, Full>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.lock();
        if let Some(flight) = running.get(&key) {
            return Ok(Waiting(flight.clone()));
        }
        if running.len() >= self.most {
            return Err(Full(self.most));
        }
        let (land, flight) = watch::channel(None);
        running.insert(key.clone(), flight.clone());
        drop(running);
        let ending = Ending { flights: Arc::clone(self), key };
        let work = work();
        tokio::spawn(async move {
            let fly = async {
                // The semaphore is never closed; without a permit there is no work either way.
                let _permit = ending.flights.room.acquire().await.ok()?;
                Some(work.await)
            };
            let landed = timeout_at(give_up_at, fly).await.ok().flatten();
            drop(ending);
            // Nobody may be waiting any more.
            let _ = land.send(landed.map(Arc::new));
        });
        Ok(Waiting(flight))
    }

    /// How many flights there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, watch::Receiver<Option<Arc<T>>>>> {
        // Each change of the map is one call, so a panic leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Waiting<T> {
    /// The answer, once it is there.
    pub(super) async fn landed(mut self) -> Result<Arc<T>, Lost> {
        // Ends with the flight: it sends once, or is dropped by a panic.
        match self.0.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().ok_or(Lost),
            Err(_) => Err(Lost),
        }
    }
}

/// Takes a flight off the list, however it ends.
struct Ending<T: Send + Sync + 'static> {
    flights: Arc<Flights<T>>,
    key: FlightKey,
}

impl<T: Send + Sync + 'static> Drop for Ending<T> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::future::join_all;

    use super::*;

    fn key(subject: &str) -> FlightKey {
        FlightKey {
            snapshot: 0,
            is_mutation: false,
            namespace: String::new(),
            subject: subject.into(),
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn the_same_question_is_worked_on_once_and_answered_to_all() {
        let flights = Arc::new(Flights::new(4, 10));
        let worked = Arc::new(AtomicUsize::new(0));
        let ask = |subject: &str| {
            let worked = Arc::clone(&worked);
            let work = move || async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                worked.fetch_add(1, Ordering::SeqCst)
            };
            flights.join(key(subject), soon(), work).unwrap()
        };
        let waiting: Vec<_> = ["a", "a", "b", "a"].map(ask).into_iter().collect();
        assert_eq!(flights.len(), 2);
        let answers = join_all(waiting.into_iter().map(Waiting::landed)).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(worked.load(Ordering::SeqCst), 2);
        assert_eq!(flights.len(), 0, "an answer is not kept");
    }

    #[tokio::test]
    async fn only_so_many_run_and_only_so_many_wait() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let flights = Arc::new(Flights::new(2, 5));
        let ask = |subject: usize| {
            flights.join(key(&subject.to_string()), soon(), || async {
                MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                RUNNING.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let waiting: Vec<_> = (0..5).map(|subject| ask(subject).unwrap()).collect();
        let refused = ask(5).err().map(|full| full.to_string());
        assert_eq!(
            refused.as_deref(),
            Some("5 images are being worked on already; ask again later")
        );
        join_all(waiting.into_iter().map(Waiting::landed)).await;
        assert_eq!(MOST.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn work_that_is_given_up_or_panics_is_lost_and_leaves_nothing_behind() {
        let flights = Arc::new(Flights::<()>::new(1, 5));
        let at = Instant::now() + Duration::from_millis(10);
        let hangs = flights.join(key("hangs"), at, std::future::pending::<()>).unwrap();
        let queued = flights.join(key("queued"), at, || async {}).unwrap();
        assert_eq!(hangs.landed().await.err(), Some(Lost));
        let _ = queued.landed().await;
        let panics =
            flights.join(key("panics"), soon(), || async { panic!("on purpose") }).unwrap();
        assert_eq!(panics.landed().await.err(), Some(Lost));
        assert_eq!(flights.len(), 0);
    }
}
