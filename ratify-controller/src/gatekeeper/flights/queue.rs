//! [`Queue`]: whose turn it is. Pure: no clock, no tasks.
//!
//! What somebody waits for goes first; what everybody has left goes on behind it, in places of its
//! own, so that images that never come to an end hold nobody up for longer than an answer takes.
//! Each tenant may have half of the places that the others leave, so that there is always one for
//! the next tenant. Within a tenant an image of a short list comes before one of a long list that
//! came a little earlier.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use tokio::time::{Duration, Instant};

/// By how much each image of a request makes all of them wait longer than those of another
/// request: a list of a thousand waits for a single image that came 20 s later, and no longer.
const WAIT_PER_IMAGE: Duration = Duration::from_millis(20);

/// How much there may be, over all tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// How many run that somebody waits for.
    pub(crate) at_once: usize,
    /// How many run that nobody waits for any more.
    pub(crate) behind: usize,
    /// How many wait for their turn.
    pub(crate) waiting: usize,
    /// How many bytes those have.
    pub(crate) waiting_bytes: usize,
}

/// How much there is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queued {
    /// How many wait for their turn, and somebody for them.
    pub(crate) awaited: usize,
    /// How many wait for their turn, and nobody for them any more.
    pub(crate) left: usize,
    /// How many run, and somebody waits for them.
    pub(crate) ahead: usize,
    /// How many run, and nobody waits for them any more.
    pub(crate) behind: usize,
    /// How many bytes those have that wait for their turn.
    pub(crate) bytes: usize,
    /// How many tenants have something there.
    pub(crate) tenants: usize,
    pub(crate) bounds: Bounds,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) tenant: Arc<str>,
    /// What it costs to remember it.
    pub(super) bytes: usize,
    pub(super) arrived: Instant,
    /// How many images are asked about together.
    pub(super) images: usize,
    /// It is not begun later.
    pub(super) give_up_at: Instant,
}

/// There is no place to wait: all are taken, or all that one tenant may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} images are being worked on already; ask again later")]
pub(in crate::gatekeeper) struct Full(usize);

/// What is known by this number is known as long as it waits or runs.
pub(super) type Id = u64;

/// What is next: work to begin, or what it is too late to begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<W> {
    Begin(Id, W),
    Overdue(Id),
}

/// Those who wait and those who run. `W` is the work.
pub(super) struct Queue<W> {
    bounds: Bounds,
    flights: HashMap<Id, Flight<W>>,
    tenants: HashMap<Arc<str>, Tenant>,
    used: Used,
    next_id: Id,
    turns: u64,
    /// None of those who wait is overdue before.
    none_overdue_before: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Used {
    ahead: usize,
    behind: usize,
    waiting: usize,
    bytes: usize,
}

#[derive(Default)]
struct Tenant {
    used: Used,
    awaited: BTreeMap<Rank, Id>,
    left: BTreeMap<Rank, Id>,
    /// What runs behind and nobody waits for, the longest first.
    behind: VecDeque<Id>,
    last_turn: u64,
}

/// Whose turn is first within a tenant.
type Rank = (Instant, Id);

struct Flight<W> {
    tenant: Arc<str>,
    rank: Rank,
    bytes: usize,
    give_up_at: Instant,
    askers: usize,
    /// What is to be done; `None` once it runs.
    work: Option<W>,
    /// Whether it runs in a place behind. It stays there when somebody waits for it again, who would
    /// otherwise take a place ahead without its turn.
    is_behind: bool,
}

impl<W> Queue<W> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            flights: HashMap::new(),
            tenants: HashMap::new(),
            used: Used::default(),
            next_id: 0,
            turns: 0,
            none_overdue_before: None,
        }
    }

    /// A place for work that one asker waits for.
    pub(super) fn admit(&mut self, ask: Ask, work: W) -> Result<Id, Full> {
        let own = self.tenants.get(&ask.tenant).map_or(Used::default(), |tenant| tenant.used);
        let Bounds { waiting, waiting_bytes, at_once, .. } = self.bounds;
        // What can begin at once waits for nothing.
        let begins = own.waiting == 0 && share(own.ahead, self.used.ahead, at_once) >= 1;
        let has_place = share(own.waiting, self.used.waiting, waiting) >= 1;
        let fits = share(own.bytes, self.used.bytes, waiting_bytes) >= ask.bytes;
        if !(begins || has_place && fits) {
            return Err(Full(self.flights.len()));
        }
        self.next_id += 1;
        let id = self.next_id;
        let images = u32::try_from(ask.images).unwrap_or(u32::MAX);
        let rank = (ask.arrived + WAIT_PER_IMAGE * images, id);
        let tenant = self.tenants.entry(Arc::clone(&ask.tenant)).or_default();
        tenant.awaited.insert(rank, id);
        for used in [&mut tenant.used, &mut self.used] {
            used.waiting += 1;
            used.bytes += ask.bytes;
        }
        let earliest = self.none_overdue_before.map_or(ask.give_up_at, |at| at.min(ask.give_up_at));
        self.none_overdue_before = Some(earliest);
        let Ask { tenant, bytes, give_up_at, .. } = ask;
        let flight = Flight {
            tenant,
            rank,
            bytes,
            give_up_at,
            askers: 1,
            work: Some(work),
            is_behind: false,
        };
        self.flights.insert(id, flight);
        Ok(id)
    }

    /// Takes whoever is next out of those who wait; `None` where nobody may begin.
    pub(super) fn next(&mut self, now: Instant) -> Option<Next<W>> {
        let id = self.next_awaited().or_else(|| self.next_left())?;
        let flight = self.flights.get_mut(&id)?;
        if flight.give_up_at <= now {
            return Some(Next::Overdue(id));
        }
        let work = flight.work.take()?;
        let tenant = self.tenants.get_mut(&flight.tenant)?;
        self.turns += 1;
        tenant.last_turn = self.turns;
        let is_awaited = tenant.awaited.remove(&flight.rank).is_some();
        tenant.left.remove(&flight.rank);
        if !is_awaited {
            flight.is_behind = true;
            tenant.behind.push_back(id);
        }
        for used in [&mut tenant.used, &mut self.used] {
            used.waiting -= 1;
            used.bytes -= flight.bytes;
            *(if is_awaited { &mut used.ahead } else { &mut used.behind }) += 1;
        }
        Some(Next::Begin(id, work))
    }

    /// One more waits for it.
    pub(super) fn join(&mut self, id: Id) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        flight.askers += 1;
        if flight.askers > 1 {
            return;
        }
        let Some(tenant) = self.tenants.get_mut(&flight.tenant) else { return };
        if flight.work.is_some() {
            tenant.left.remove(&flight.rank);
            tenant.awaited.insert(flight.rank, id);
            return;
        }
        // It runs already, and is not ended for others as long as somebody waits.
        tenant.behind.retain(|one| *one != id);
    }

    /// One less waits for it. Those that have to be ended, to make room behind, are given back.
    pub(super) fn leave(&mut self, id: Id) -> Vec<Id> {
        let known = self.flights.get_mut(&id).filter(|flight| flight.askers > 0);
        let Some(flight) = known else { return Vec::new() };
        flight.askers -= 1;
        if flight.askers > 0 {
            return Vec::new();
        }
        let Some(tenant) = self.tenants.get_mut(&flight.tenant) else { return Vec::new() };
        if flight.work.is_some() {
            tenant.awaited.remove(&flight.rank);
            tenant.left.insert(flight.rank, id);
            return Vec::new();
        }
        tenant.behind.push_back(id);
        if !std::mem::replace(&mut flight.is_behind, true) {
            for used in [&mut tenant.used, &mut self.used] {
                used.ahead -= 1;
                used.behind += 1;
            }
        }
        let name = Arc::clone(&flight.tenant);
        self.too_many_behind(&name)
    }

    /// It is over, however it ended.
    pub(super) fn end(&mut self, id: Id) {
        let Some(flight) = self.flights.remove(&id) else { return };
        let Some(tenant) = self.tenants.get_mut(&flight.tenant) else { return };
        tenant.awaited.remove(&flight.rank);
        tenant.left.remove(&flight.rank);
        tenant.behind.retain(|one| *one != id);
        for used in [&mut tenant.used, &mut self.used] {
            if flight.work.is_some() {
                used.waiting -= 1;
                used.bytes -= flight.bytes;
            } else {
                *(if flight.is_behind { &mut used.behind } else { &mut used.ahead }) -= 1;
            }
        }
        if tenant.used == Used::default() {
            self.tenants.remove(&flight.tenant);
        }
    }

    /// Those who wait and can no longer begin.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Id> {
        if self.none_overdue_before.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let waiting = || self.flights.iter().filter(|(_, flight)| flight.work.is_some());
        let overdue = waiting().filter(|(_, one)| one.give_up_at <= now).map(|(id, _)| *id);
        let overdue = overdue.collect();
        self.none_overdue_before =
            waiting().map(|(_, one)| one.give_up_at).filter(|at| *at > now).min();
        overdue
    }

    /// How much there is at this moment.
    pub(super) fn queued(&self) -> Queued {
        let of_tenants = |count: fn(&Tenant) -> usize| self.tenants.values().map(count).sum();
        Queued {
            awaited: of_tenants(|tenant| tenant.awaited.len()),
            left: of_tenants(|tenant| tenant.left.len()),
            ahead: self.used.ahead,
            behind: self.used.behind,
            bytes: self.used.bytes,
            tenants: self.tenants.len(),
            bounds: self.bounds,
        }
    }

    /// How many wait or run.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    fn next_awaited(&self) -> Option<Id> {
        let bound = self.bounds.at_once;
        let may = |one: &&Tenant| share(one.used.ahead, self.used.ahead, bound) >= 1;
        let waiting = self.tenants.values().filter(|one| !one.awaited.is_empty());
        let first = |one: &Tenant| one.awaited.first_key_value().map(|(rank, _)| *rank);
        let next =
            waiting.filter(may).min_by_key(|one| (one.used.ahead, one.last_turn, first(one)));
        next?.awaited.first_key_value().map(|(_, id)| *id)
    }

    fn next_left(&self) -> Option<Id> {
        let bound = self.bounds.behind;
        if self.used.ahead + self.used.behind >= self.bounds.at_once + bound {
            return None;
        }
        let may = |one: &&Tenant| share(one.used.behind, self.used.behind, bound) >= 1;
        let waiting = self.tenants.values().filter(|one| !one.left.is_empty());
        let first = |one: &Tenant| one.left.first_key_value().map(|(rank, _)| *rank);
        let next =
            waiting.filter(may).min_by_key(|one| (one.used.behind, one.last_turn, first(one)));
        next?.left.first_key_value().map(|(_, id)| *id)
    }

    /// What has been behind for longest: of the tenant that has more than its share, and of the
    /// one that has most as long as there are too many.
    fn too_many_behind(&self, latest: &str) -> Vec<Id> {
        let (own, all) = match self.tenants.get(latest) {
            Some(tenant) => (tenant, self.used.behind),
            None => return Vec::new(),
        };
        let others = all - own.used.behind;
        let most = self.bounds.behind.saturating_sub(others).div_ceil(2).max(1);
        let excess = own.used.behind.saturating_sub(most);
        let mut ended: Vec<Id> = own.behind.iter().take(excess).copied().collect();
        if all - ended.len() > self.bounds.behind {
            let may_end = self.tenants.values().filter(|one| !one.behind.is_empty());
            let most = may_end.max_by_key(|one| (one.used.behind, one.last_turn));
            let longest = most.into_iter().flat_map(|one| &one.behind);
            ended.extend(longest.copied().find(|id| !ended.contains(id)));
        }
        ended
    }
}

/// How much more one tenant may have, that has `own` of all that is used: half of what the others
/// leave.
fn share(own: usize, used: usize, bound: usize) -> usize {
    let left = bound.saturating_sub(used.saturating_sub(own));
    left.div_ceil(2).saturating_sub(own).min(bound.saturating_sub(used))
}
