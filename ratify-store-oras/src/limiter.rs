//! [`Limiter`]: the queue before one registry, shared by all work of the process. `pace` says how
//! many may go; here they wait, tenant by tenant in turn.
//!
//! There is no task of its own. Whoever ends a request lets the next ones go; for what only time
//! brings, the first of those that wait looks at the clock for all.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::{Either, pending, select};
use tokio::sync::{Notify, oneshot};

use crate::{
    deadline::Deadline,
    pace::{Pace, Seen, Turn},
};

/// Those who gave up are looked for each time so many wait.
const SWEEP: usize = 64;

/// The queue before a registry.
#[derive(Default)]
pub(crate) struct Limiter {
    state: Mutex<State>,
    /// Whoever holds it watches the clock.
    clock: tokio::sync::Mutex<()>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    pace: Pace,
    /// One for each tenant that waits; the first is the next to go.
    queues: VecDeque<Queue>,
    /// How many requests of each tenant are under way.
    under_way: HashMap<Arc<str>, u32>,
    counted: Counted,
}

/// What became of requests so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Those that were answered, whatever the answer says.
    pub(crate) answered: u64,
    /// Those that had to wait for their turn, and for how long together.
    pub(crate) waited: u64,
    pub(crate) wait: Duration,
    /// Answers that asked for a pause.
    pub(crate) throttled: u64,
    /// Those that were not sent, since a pause ends after there is time.
    pub(crate) refused: u64,
}

/// How a queue stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Standing {
    pub(crate) waiting: usize,
    pub(crate) under_way: u32,
    /// How many may be under way.
    pub(crate) window: f64,
    /// How many may be sent in a second; `None` for no bound.
    pub(crate) per_second: Option<f64>,
    /// For how much longer nothing is sent.
    pub(crate) paused: Duration,
    pub(crate) counted: Counted,
}

struct Queue {
    tenant: Arc<str>,
    waiting: VecDeque<oneshot::Sender<Ticket>>,
}

/// The right to send one request. It ends with [`Ticket::done`], or unused.
pub(crate) struct Ticket {
    limiter: Arc<Limiter>,
    tenant: Arc<str>,
    begun: Instant,
    seen: Seen,
}

/// The registry asked for a pause that is longer than there is time; it ends then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paused(pub(crate) Instant);

impl Limiter {
    /// Waits until a request of this tenant may be sent.
    ///
    /// # Errors
    /// At once where the registry's pause ends after the deadline; shortly before the deadline where
    /// there is a pause that began meanwhile.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        tenant: &Arc<str>,
        deadline: &Deadline,
    ) -> Result<Ticket, Paused> {
        let began = Instant::now();
        loop {
            let granted = {
                let mut state = self.lock();
                let now = Instant::now();
                if let Some(until) = state.pace.paused_until().filter(|until| *until > now)
                    && deadline.end().is_some_and(|end| until >= end)
                {
                    state.counted.refused += 1;
                    return Err(Paused(until));
                }
                if state.queues.is_empty() && state.has_room(tenant, now) {
                    return Ok(state.begin(self, tenant, now));
                }
                let (grant, granted) = oneshot::channel();
                state.queue(tenant).push_back(grant);
                granted
            };
            // There may be room for this one while those that wait are of tenants that have enough.
            self.let_go();
            let ticket =
                match select(Box::pin(self.wait(granted)), Box::pin(deadline.nears())).await {
                    Either::Left((ticket, _)) => ticket,
                    Either::Right(((), wait)) => match self.paused_until(Instant::now()) {
                        Some(until) => {
                            self.lock().counted.refused += 1;
                            return Err(Paused(until));
                        }
                        None => wait.await,
                    },
                };
            if let Some(ticket) = ticket {
                let mut state = self.lock();
                state.counted.waited += 1;
                state.counted.wait += began.elapsed();
                return Ok(ticket);
            }
        }
    }

    /// How it stands.
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let state = self.lock();
        let waiting = state.queues.iter().flat_map(|queue| &queue.waiting);
        Standing {
            waiting: waiting.filter(|grant| !grant.is_closed()).count(),
            under_way: state.pace.in_flight(),
            window: state.pace.window(),
            per_second: state.pace.rate(now),
            paused: state
                .pace
                .paused_until()
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
            counted: state.counted,
        }
    }

    /// When the registry may be asked again, where it asks for a pause.
    pub(crate) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.lock().pace.paused_until().filter(|until| *until > now)
    }

    /// Waits for a ticket, and watches the clock for all while nobody else does.
    async fn wait(self: &Arc<Self>, mut granted: oneshot::Receiver<Ticket>) -> Option<Ticket> {
        let clock = Box::pin(self.clock.lock());
        let _clock = match select(&mut granted, clock).await {
            Either::Left((ticket, _)) => return ticket.ok(),
            Either::Right((clock, _)) => clock,
        };
        loop {
            let next = self.let_go();
            let time = Box::pin(async move {
                match next {
                    Turn::At(at) => tokio::time::sleep_until(at.into()).await,
                    Turn::Now | Turn::WhenOneEnds => pending().await,
                }
            });
            let change = Box::pin(self.changed.notified());
            match select(&mut granted, select(time, change)).await {
                Either::Left((ticket, _)) => return ticket.ok(),
                Either::Right(_) => {}
            }
        }
    }

    /// Lets go whoever may, and says when the next may. That is [`Turn::Now`] where all that wait
    /// are of tenants that have enough: the end of a request lets them go.
    fn let_go(self: &Arc<Self>) -> Turn {
        let mut granted = Vec::new();
        let next = {
            let mut state = self.lock();
            // One moment for all: what is due only after it is due later.
            let now = Instant::now();
            while let Some((tenant, grant)) = state.next(now) {
                granted.push((grant, state.begin(self, &tenant, now)));
            }
            state.pace.turn(now, state.counted())
        };
        for (grant, ticket) in granted {
            // Who gave up meanwhile gives the ticket back, outside of the lock.
            drop(grant.send(ticket));
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, tenant: &Arc<str>) -> &mut VecDeque<oneshot::Sender<Ticket>> {
        let known = self.queues.iter().position(|queue| queue.tenant == *tenant);
        let index = known.unwrap_or_else(|| {
            self.queues.push_back(Queue { tenant: tenant.clone(), waiting: VecDeque::new() });
            self.queues.len() - 1
        });
        let waiting = &mut self.queues[index].waiting;
        if waiting.len() % SWEEP == SWEEP - 1 {
            waiting.retain(|grant| !grant.is_closed());
        }
        waiting
    }

    /// Whoever has nothing under way may have one request, however many the others have: those may
    /// hang, and have more than there is room for since the window became smaller. (There are no
    /// more tenants at work than the service works for at once.)
    fn has_room(&self, tenant: &Arc<str>, now: Instant) -> bool {
        let own = self.under_way.get(tenant).copied().unwrap_or_default();
        let counted = if own == 0 { 0 } else { self.counted() };
        own < self.pace.share() && self.pace.turn(now, counted) == Turn::Now
    }

    /// How many of those under way take room: of each tenant as many as it may have now.
    fn counted(&self) -> u32 {
        let share = self.pace.share();
        self.under_way.values().map(|count| (*count).min(share)).sum()
    }

    /// The next that may go; its tenant's turn is the last one then.
    fn next(&mut self, now: Instant) -> Option<(Arc<str>, oneshot::Sender<Ticket>)> {
        for queue in &mut self.queues {
            while queue.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                queue.waiting.pop_front();
            }
        }
        self.queues.retain(|queue| !queue.waiting.is_empty());
        let index =
            (0..self.queues.len()).find(|index| self.has_room(&self.queues[*index].tenant, now))?;
        let mut queue = self.queues.remove(index)?;
        let grant = queue.waiting.pop_front()?;
        let tenant = queue.tenant.clone();
        if !queue.waiting.is_empty() {
            self.queues.push_back(queue);
        }
        Some((tenant, grant))
    }

    fn begin(&mut self, limiter: &Arc<Limiter>, tenant: &Arc<str>, now: Instant) -> Ticket {
        self.pace.begin(now);
        *self.under_way.entry(tenant.clone()).or_default() += 1;
        let (limiter, tenant) = (limiter.clone(), tenant.clone());
        Ticket { limiter, tenant, begun: now, seen: Seen::Unknown }
    }

    fn end(&mut self, ticket: &Ticket) {
        self.pace.end(ticket.begun, Instant::now(), ticket.seen);
        match ticket.seen {
            Seen::Served => self.counted.answered += 1,
            Seen::Busy(_) => self.counted.throttled += 1,
            Seen::Failed | Seen::Unknown => {}
        }
        if let Some(count) = self.under_way.get_mut(&ticket.tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.under_way.remove(&ticket.tenant);
            }
        }
    }
}

impl Ticket {
    /// The request ended so.
    pub(crate) fn done(mut self, seen: Seen) {
        self.seen = seen;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let waits = {
            let mut state = self.limiter.lock();
            state.end(self);
            !state.queues.is_empty()
        };
        if waits {
            self.limiter.let_go();
            self.limiter.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tenant(name: &str) -> Arc<str> {
        name.into()
    }

    fn never() -> Deadline {
        Deadline::new(None)
    }

    #[tokio::test]
    async fn a_tenant_with_many_waiting_leaves_room_for_another() {
        let limiter = Arc::new(Limiter::default());
        let (many, few) = (tenant("many"), tenant("few"));
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(limiter.admit(&many, &never()).await.unwrap());
        }
        let waiting: Vec<_> = (0..500)
            .map(|_| {
                let (limiter, many) = (limiter.clone(), many.clone());
                tokio::spawn(async move { drop(limiter.admit(&many, &never()).await.unwrap()) })
            })
            .collect();
        tokio::task::yield_now().await;
        let soon = Duration::from_secs(5);
        let ticket =
            tokio::time::timeout(soon, limiter.admit(&few, &never())).await.unwrap().unwrap();
        while limiter.standing(Instant::now()).waiting < 500 {
            tokio::task::yield_now().await;
        }
        assert_eq!(limiter.standing(Instant::now()).under_way, 7);
        assert!(waiting.iter().all(|task| !task.is_finished()));
        ticket.done(Seen::Served);
        drop(held);
        for task in waiting {
            tokio::time::timeout(soon, task).await.unwrap().unwrap();
        }
        assert!(limiter.lock().queues.is_empty() && limiter.lock().under_way.is_empty());
        let Standing { waiting, under_way, counted, .. } = limiter.standing(Instant::now());
        // The one of the few, too, stood in the queue for a moment.
        assert_eq!((waiting, under_way, counted.waited, counted.answered), (0, 0, 501, 1));
    }

    #[tokio::test]
    async fn requests_that_hang_take_no_room_from_others_when_there_is_less_of_it() {
        let limiter = Arc::new(Limiter::default());
        let (tenants, never) = (["a", "b", "c"].map(tenant), never());
        // Of a registry that served well, two tenants have all that there is.
        for _ in 0..8 {
            let served: Vec<_> = (0..4).map(|_| limiter.admit(&tenants[2], &never)).collect();
            let served = futures_util::future::join_all(served).await;
            served.into_iter().for_each(|ticket| ticket.unwrap().done(Seen::Served));
        }
        let mut held = Vec::new();
        for tenant in &tenants[..2] {
            while limiter.lock().has_room(tenant, Instant::now()) {
                held.push(limiter.admit(tenant, &never).await.unwrap());
            }
        }
        let all = held.len();
        assert!(all >= 8, "{all}");
        // Then it answers nothing in time, and is asked less.
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            held.remove(0).done(Seen::Failed);
        }
        let soon = Duration::from_secs(5);
        for tenant in [&tenants[2], &tenant("d")] {
            let ticket = tokio::time::timeout(soon, limiter.admit(tenant, &never));
            held.push(ticket.await.expect("room for who has nothing under way").unwrap());
        }
        assert!(!limiter.lock().has_room(&tenants[0], Instant::now()), "who has enough waits");
        // Those of one tenant that are too many by now hold up nobody but their tenant.
        held.retain(|ticket| ticket.tenant == tenants[0]);
        assert!(limiter.lock().has_room(&tenants[1], Instant::now()));
    }

    #[tokio::test]
    async fn tenants_take_turns() {
        let limiter = Arc::new(Limiter::default());
        let (a, b) = (tenant("a"), tenant("b"));
        let held: Vec<_> = {
            let mut state = limiter.lock();
            let held = std::iter::repeat_n("c", 8).chain(["a", "b"]);
            held.map(|name| state.begin(&limiter, &tenant(name), Instant::now())).collect()
        };
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for name in [&a, &a, &a, &a, &b, &b] {
            let (limiter, name, order) = (limiter.clone(), name.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let ticket = limiter.admit(&name, &never()).await.unwrap();
                order.lock().unwrap().push(name);
                tokio::time::sleep(Duration::from_millis(5)).await;
                ticket.done(Seen::Unknown);
            }));
            tokio::task::yield_now().await;
        }
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        let order: Vec<_> = order.lock().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(order, ["a", "b", "a", "b", "a", "a"]);
    }

    #[tokio::test]
    async fn whoever_watches_the_clock_may_leave() {
        let limiter = Arc::new(Limiter::default());
        let a = tenant("a");
        let ticket = limiter.admit(&a, &never()).await.unwrap();
        ticket.done(Seen::Busy(Duration::from_millis(200)));
        let task = |_| {
            let (limiter, a) = (limiter.clone(), a.clone());
            tokio::spawn(async move { limiter.admit(&a, &never()).await.unwrap() })
        };
        let mut tasks: Vec<_> = (0..3).map(task).collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let first = tasks.remove(0);
        first.abort();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        }
        drop(first);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_is_left_behind_however_close_the_times() {
        let limiter = Arc::new(Limiter::default());
        // Many a second from now on, so that what is due is due within microseconds.
        {
            let mut state = limiter.lock();
            let now = Instant::now();
            for _ in 0..50_000 {
                state.pace.begin(now);
                state.pace.end(now, now, Seen::Served);
            }
            state.pace.begin(now);
            state.pace.end(now, now, Seen::Busy(Duration::ZERO));
        }
        let name = tenant("a");
        let all = (0..4000).map(|_| async {
            limiter.admit(&name, &never()).await.unwrap().done(Seen::Served);
        });
        let all = futures_util::future::join_all(all);
        tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    }

    #[tokio::test]
    async fn a_pause_longer_than_there_is_time_ends_at_once() {
        let limiter = Arc::new(Limiter::default());
        let a = tenant("a");
        limiter.admit(&a, &never()).await.unwrap().done(Seen::Busy(Duration::from_secs(60)));
        let begun = Instant::now();
        let soon = Deadline::new(Some(begun + Duration::from_secs(5)));
        let Paused(until) = limiter.admit(&a, &soon).await.err().unwrap();
        let standing = limiter.standing(Instant::now());
        let Counted { refused, throttled, waited, .. } = standing.counted;
        assert_eq!((refused, throttled, waited, standing.waiting), (1, 1, 0, 0));
        assert!(standing.paused > Duration::from_secs(50) && standing.per_second.is_some());
        assert!(
            until > begun + Duration::from_secs(50) && begun.elapsed() < Duration::from_secs(4)
        );
    }

    #[tokio::test]
    async fn a_pause_that_begins_meanwhile_is_told_shortly_before_the_end() {
        let limiter = Arc::new(Limiter::default());
        let a = tenant("a");
        let under_way = limiter.admit(&a, &never()).await.unwrap();
        let mut held = Vec::new();
        while limiter.lock().has_room(&a, Instant::now()) {
            held.push(limiter.admit(&a, &never()).await.unwrap());
        }
        let end = Instant::now() + Duration::from_millis(300);
        let (deadline, later) = (Deadline::new(Some(end)), Deadline::new(Some(end)));
        let waits = [&deadline, &later].map(|deadline| {
            let (limiter, a, deadline) = (limiter.clone(), a.clone(), deadline.clone());
            tokio::spawn(async move { limiter.admit(&a, &deadline).await.map(drop) })
        });
        tokio::task::yield_now().await;
        under_way.done(Seen::Busy(Duration::from_millis(600)));
        later.extend(None);
        let [told, patient] = waits;
        assert!(told.await.unwrap().is_err());
        drop(held);
        assert_eq!(patient.await.unwrap(), Ok(()), "who has more time waits for the pause");
    }
}
