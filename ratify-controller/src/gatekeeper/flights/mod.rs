//! The work behind the keys. A question that is being worked on is not asked again: who asks the
//! same waits for the same answer. Work outlives the request that asked for it, until it is given
//! up, and an answer that came too late is kept for who asks again.
//!
//! - [`queue`]: how much runs and waits, and whose turn it is;
//! - [`late`]: what came too late;
//! - [`load`]: how much there is, and what became of it.

mod late;
mod load;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};

use futures_util::FutureExt as _;
use prometheus_client::metrics::histogram::Histogram;
use ratify_core::{BoxFuture, capped_line};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use tracing::Span;

use super::asked::Source;
use crate::{
    cache::{Fingerprint, Now},
    plugin::rules::Rules,
    state::Snapshot,
    telemetry::spans::Spot,
};
use late::Late;
pub(super) use late::{Keep, Weight};
pub(crate) use load::Load;
use load::Tally;
use queue::{Ask, Id, Next, Queue};
pub(super) use queue::{Bounds, Full};

/// What it costs to remember who waits, besides the texts.
const FLIGHT_BYTES: usize = 1024;
/// How long somebody waits for a turn, in seconds: told apart by these.
const WAITS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 30.0];

/// What makes two questions the same.
#[derive(Debug, Clone)]
pub(super) struct FlightKey {
    /// Which snapshot answers. It is not kept alive, but no other gets its address.
    pub(super) snapshot: Weak<Snapshot>,
    /// What administrators allow while it answers.
    pub(super) rules: Arc<Rules>,
    /// All that decides in that snapshot, with the programs and files that its parts have when it is
    /// asked; `None` where not all of it is known.
    pub(super) decides: Option<Fingerprint>,
    pub(super) is_mutation: bool,
    /// Whose question it is.
    pub(super) namespace: Arc<str>,
    pub(super) subject: String,
}

/// How an asker asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// How many images the request asks about.
    pub(super) images: usize,
    /// When the work is given up, should it not be under way already.
    pub(super) give_up_at: Instant,
}

/// The flights of one service. `T` is what they bring.
pub(super) struct Flights<T> {
    state: Mutex<State<T>>,
    /// Where work is done, wherever it is asked for.
    threads: Handle,
    /// What it takes to keep an outcome; `None` where it must not be kept.
    weigh: fn(&T) -> Option<Weight>,
    /// How long it was until work began, in seconds.
    waited: Histogram,
}

/// A place among those who wait for a flight. Who gives it up leaves the flight to the others.
pub(super) struct Waiting<T: Send + Sync + 'static>(Place<T>, Source);

/// The work ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lost {
    /// Its time was over.
    #[error("the work was given up before it was done")]
    GivenUp,
    /// Nobody waited for it, and others needed the room.
    #[error("the work was ended, since too many others were late")]
    PushedOut,
    /// A bug of ours.
    #[error("a part of Ratify panicked while it worked on this")]
    Panicked,
}

type Landing<T> = Result<Arc<T>, Lost>;
type Work<T> = Box<dyn FnOnce() -> BoxFuture<'static, T> + Send>;

struct State<T> {
    queue: Queue<Work<T>>,
    ids: HashMap<Arc<FlightKey>, Id>,
    under_way: HashMap<Id, UnderWay<T>>,
    late: Late<T>,
    tally: Tally,
}

struct UnderWay<T> {
    key: Arc<FlightKey>,
    arrived: Instant,
    give_up_at: Instant,
    land: watch::Sender<Option<Landing<T>>>,
    task: Option<AbortHandle>,
    /// Whether somebody was told that there is no answer yet.
    is_late: bool,
    /// Where a trace finds who began it.
    asker: Spot,
}

/// A flight that is off the list, and whoever waits for it is still to be told.
struct Landed<T> {
    under_way: UnderWay<T>,
    landing: Landing<T>,
}

enum Place<T: Send + Sync + 'static> {
    Landed(Arc<T>),
    Flying { answer: watch::Receiver<Option<Landing<T>>>, _seat: Seat<T> },
}

/// Counted as long as it exists.
struct Seat<T: Send + Sync + 'static> {
    flights: Arc<Flights<T>>,
    id: Id,
}

impl<T: Send + Sync + 'static> Flights<T> {
    /// Work is done on the threads of whoever calls this.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(super) fn new(bounds: Bounds, keep: Keep, weigh: fn(&T) -> Option<Weight>) -> Self {
        let state = State {
            queue: Queue::new(bounds),
            ids: HashMap::new(),
            under_way: HashMap::new(),
            late: Late::new(keep),
            tally: Tally::default(),
        };
        let (state, threads) = (Mutex::new(state), Handle::current());
        Self { state, threads, weigh, waited: Histogram::new(WAITS) }
    }

    /// How much there is to do, and how long images waited for it so far.
    pub(super) fn load(&self) -> (Load, Histogram) {
        let state = self.lock();
        let (late_entries, late_bytes) = state.late.size();
        let (queued, tally) = (state.queue.queued(), state.tally);
        let load = Load { queued, tally, late_entries, late_bytes };
        (load, self.waited.clone())
    }

    /// Joins the flight of a question, or finds what came of it a moment too late, or makes one.
    pub(super) fn join<F>(
        self: &Arc<Self>,
        key: FlightKey,
        terms: Terms,
        asker: Spot,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Waiting<T>, Full>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(outcome) = state.late.get(&key, of_both_clocks(now)) {
            state.tally.late_found += 1;
            return Ok(Waiting(Place::Landed(outcome), Source::Late));
        }
        if let Some(&id) = state.ids.get(&key) {
            state.queue.join(id);
            state.tally.joined += 1;
            let flying = state.under_way.get(&id).map(|flying| flying.asker).unwrap_or_default();
            flying.link(&Span::current());
            return Ok(self.seat(&state, id, Source::Joined));
        }
        let ask = Ask {
            tenant: Arc::clone(&key.namespace),
            bytes: key.bytes() + FLIGHT_BYTES,
            arrived: now,
            images: terms.images,
            give_up_at: terms.give_up_at,
        };
        let work: Work<T> = Box::new(move || work().boxed());
        let overdue = state.queue.overdue(now);
        let mut landed: Vec<_> =
            overdue.into_iter().filter_map(|id| state.end(id, Err(Lost::GivenUp))).collect();
        let admitted = state.queue.admit(ask, work);
        state.tally.refused += u64::from(admitted.is_err());
        let joined = admitted.map(|id| {
            let (land, _) = watch::channel(None);
            let key = Arc::new(key);
            state.ids.insert(Arc::clone(&key), id);
            let give_up_at = terms.give_up_at;
            let under_way =
                UnderWay { key, arrived: now, give_up_at, land, task: None, is_late: false, asker };
            state.under_way.insert(id, under_way);
            self.seat(&state, id, Source::Work)
        });
        landed.extend(self.begin(&mut state, now));
        drop(state);
        landed.into_iter().for_each(Landed::tell);
        joined
    }

    fn seat(self: &Arc<Self>, state: &State<T>, id: Id, source: Source) -> Waiting<T> {
        let answer = match state.under_way.get(&id) {
            Some(under_way) => under_way.land.subscribe(),
            // Never: what has a number is under way. It would be lost.
            None => watch::channel(None).1,
        };
        Waiting(Place::Flying { answer, _seat: Seat { flights: Arc::clone(self), id } }, source)
    }

    /// Begins all that may begin. What can no longer is given back.
    fn begin(self: &Arc<Self>, state: &mut State<T>, now: Instant) -> Vec<Landed<T>> {
        let mut landed = Vec::new();
        while let Some(next) = state.queue.next(now) {
            match next {
                Next::Begin(id, work) => {
                    let Some(under_way) = state.under_way.get_mut(&id) else { continue };
                    let waited = now.saturating_duration_since(under_way.arrived);
                    self.waited.observe(waited.as_secs_f64());
                    let task = fly(Arc::clone(self), id, under_way.give_up_at, work);
                    under_way.task = Some(self.threads.spawn(task).abort_handle());
                }
                Next::Overdue(id) => landed.extend(state.end(id, Err(Lost::GivenUp))),
            }
        }
        landed
    }

    /// Takes a flight off the list and tells who waits. It may be off already.
    fn land(self: &Arc<Self>, id: Id, landing: Landing<T>) {
        let now = Instant::now();
        let mut state = self.lock();
        let landed = state.end(id, landing);
        let overdue = self.begin(&mut state, now);
        drop(state);
        // Files are read for it, so not with the lock held. Who asks in between begins anew.
        let kept = landed.as_ref().and_then(|landed| landed.to_keep(self.weigh));
        if let Some((key, outcome, weight)) = kept {
            let mut state = self.lock();
            let is_kept = state.late.put(Arc::clone(&key), outcome, weight, of_both_clocks(now));
            state.tally.late_kept += u64::from(is_kept);
            drop(state);
            if is_kept {
                log_late(&key);
            }
        }
        landed.into_iter().chain(overdue).for_each(Landed::tell);
    }

    fn leave(self: &Arc<Self>, id: Id) {
        let mut state = self.lock();
        let Some(under_way) = state.under_way.get_mut(&id) else { return };
        under_way.is_late = true;
        let ended = state.queue.leave(id);
        let mut landed: Vec<_> =
            ended.into_iter().filter_map(|id| state.end(id, Err(Lost::PushedOut))).collect();
        landed.extend(self.begin(&mut state, Instant::now()));
        drop(state);
        landed.into_iter().for_each(Landed::tell);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that is called with the lock held runs anybody else's code.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of a flight.
async fn fly<T: Send + Sync + 'static>(
    flights: Arc<Flights<T>>,
    id: Id,
    give_up_at: Instant,
    work: Work<T>,
) {
    let ending = Ending { flights, id };
    let flown = AssertUnwindSafe(async { work().await }).catch_unwind();
    let landing = match timeout_at(give_up_at, flown).await {
        Ok(Ok(outcome)) => Ok(Arc::new(outcome)),
        Ok(Err(_)) => Err(Lost::Panicked),
        Err(_) => Err(Lost::GivenUp),
    };
    ending.flights.land(id, landing);
}

impl<T> State<T> {
    fn end(&mut self, id: Id, landing: Landing<T>) -> Option<Landed<T>> {
        let under_way = self.under_way.remove(&id)?;
        self.ids.remove(&under_way.key);
        self.queue.end(id);
        match landing {
            Ok(_) => {}
            Err(Lost::GivenUp) => self.tally.given_up += 1,
            Err(Lost::PushedOut) => self.tally.pushed_out += 1,
            Err(Lost::Panicked) => self.tally.panicked += 1,
        }
        Some(Landed { under_way, landing })
    }
}

impl<T> Landed<T> {
    /// What is kept for who asks again: only what somebody has waited for in vain, and where all that
    /// decided about it is as it was.
    fn to_keep(&self, weigh: fn(&T) -> Option<Weight>) -> Option<(Arc<FlightKey>, Arc<T>, Weight)> {
        let outcome = self.landing.as_ref().ok().filter(|_| self.under_way.is_late)?;
        let (key, weight) = (&self.under_way.key, weigh(outcome)?);
        key.still_decides().then(|| (Arc::clone(key), Arc::clone(outcome), weight))
    }

    fn tell(self) {
        if matches!(self.landing, Err(Lost::PushedOut))
            && let Some(task) = &self.under_way.task
        {
            task.abort();
        }
        self.under_way.land.send_replace(Some(self.landing));
    }
}

impl<T: Send + Sync + 'static> Waiting<T> {
    /// Where its answer is from.
    pub(super) fn source(&self) -> Source {
        self.1
    }

    /// The answer, once it is there.
    pub(super) async fn landed(self) -> Landing<T> {
        let (mut answer, _seat) = match self.0 {
            Place::Landed(outcome) => return Ok(outcome),
            Place::Flying { answer, _seat } => (answer, _seat),
        };
        match answer.wait_for(Option::is_some).await {
            Ok(landing) => landing.clone().unwrap_or(Err(Lost::Panicked)),
            Err(_) => Err(Lost::Panicked),
        }
    }
}

impl<T: Send + Sync + 'static> Drop for Seat<T> {
    fn drop(&mut self) {
        self.flights.leave(self.id);
    }
}

/// Takes a flight off the list, however its task ends.
struct Ending<T: Send + Sync + 'static> {
    flights: Arc<Flights<T>>,
    id: Id,
}

impl<T: Send + Sync + 'static> Drop for Ending<T> {
    fn drop(&mut self) {
        // Nothing happens where it has landed.
        self.flights.land(self.id, Err(Lost::PushedOut));
    }
}

/// The same moment by the clock on the wall as well.
fn of_both_clocks(now: Instant) -> Now {
    Now { instant: now.into_std(), wall: SystemTime::now() }
}

/// Whoever looks why an image was refused and then was not finds it here.
fn log_late(key: &FlightKey) {
    let FlightKey { namespace, subject, .. } = key;
    let (namespace, subject) = (capped_line(namespace, 300), capped_line(subject, 1000));
    tracing::info!(
        component_type = "server",
        namespace,
        "the answer about {subject} came too late; it is kept for who asks again"
    );
}

impl FlightKey {
    /// What it costs to remember it.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.namespace.len() + self.subject.len()
    }

    /// Whether what decides is known, and the same as when it was asked: a program or a file may have
    /// been exchanged while it was worked on. It reads files.
    fn still_decides(&self) -> bool {
        let now =
            |snapshot: Arc<Snapshot>| Fingerprint::now(snapshot.view(&self.namespace), &self.rules);
        self.decides.is_some() && self.snapshot.upgrade().and_then(now) == self.decides
    }

    fn parts(&self) -> (*const Snapshot, *const Rules, Option<Fingerprint>, bool, &str, &str) {
        let (snapshot, rules) = (self.snapshot.as_ptr(), Arc::as_ptr(&self.rules));
        (snapshot, rules, self.decides, self.is_mutation, &self.namespace, &self.subject)
    }
}

impl PartialEq for FlightKey {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for FlightKey {}

impl Hash for FlightKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}
