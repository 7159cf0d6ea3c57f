//! [`Late`]: what came too late to be answered, kept for a short while, so that whoever asks again
//! finds it. It is no cache: what was answered in time is not in it. Pure: no clock.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::FlightKey;
use crate::cache::{Now, Until};

/// What an entry costs besides what it keeps.
const ENTRY_BYTES: usize = 256;

/// How much is kept, over all tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gatekeeper) struct Keep {
    /// For how long.
    pub(in crate::gatekeeper) for_: Duration,
    /// At most this many bytes.
    pub(in crate::gatekeeper) bytes: usize,
}

/// What it takes to keep an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gatekeeper) struct Weight {
    /// About.
    pub(in crate::gatekeeper) bytes: usize,
    /// When the first of what it rests on ends.
    pub(in crate::gatekeeper) ends: Option<SystemTime>,
}

/// Outcomes by their question. A question names the snapshot that answered it and all that decided in
/// it, so that nothing outlives a change of the configuration, or of a file that it rests on.
pub(super) struct Late<T> {
    keep: Keep,
    kept: HashMap<Arc<FlightKey>, Kept<T>>,
    /// Those of each tenant, the oldest first.
    tenants: HashMap<Arc<str>, Tenant>,
    bytes: usize,
}

struct Kept<T> {
    outcome: Arc<T>,
    until: Until,
    bytes: usize,
}

#[derive(Default)]
struct Tenant {
    keys: VecDeque<Arc<FlightKey>>,
    bytes: usize,
}

impl<T> Late<T> {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, kept: HashMap::new(), tenants: HashMap::new(), bytes: 0 }
    }

    /// What is kept for a question.
    pub(super) fn get(&mut self, key: &FlightKey, now: Now) -> Option<Arc<T>> {
        let kept = self.kept.get(key)?;
        if kept.until.is_ahead(now) {
            return Some(Arc::clone(&kept.outcome));
        }
        self.drop_old(now);
        None
    }

    /// Keeps an outcome, and no longer than what it rests on; whether it does. Where there is no room
    /// the tenant that has most loses what it has kept for longest.
    pub(super) fn put(
        &mut self,
        key: Arc<FlightKey>,
        outcome: Arc<T>,
        weight: Weight,
        now: Now,
    ) -> bool {
        self.drop_old(now);
        let bytes = weight.bytes + key.bytes() + ENTRY_BYTES;
        let until = Until::after(self.keep.for_, weight.ends, now);
        if bytes > self.keep.bytes || !until.is_ahead(now) || self.kept.contains_key(&key) {
            return false;
        }
        while self.bytes + bytes > self.keep.bytes {
            let most = self.tenants.iter().max_by_key(|(_, tenant)| tenant.bytes);
            let Some(most) = most.map(|(name, _)| Arc::clone(name)) else { break };
            self.drop_first(&most);
        }
        let tenant = self.tenants.entry(Arc::clone(&key.namespace)).or_default();
        tenant.keys.push_back(Arc::clone(&key));
        tenant.bytes += bytes;
        self.bytes += bytes;
        self.kept.insert(key, Kept { outcome, until, bytes });
        true
    }

    /// How many are kept, those included that nobody will find any more, and how many bytes those take.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }

    fn drop_old(&mut self, now: Now) {
        let names: Vec<_> = self.tenants.keys().cloned().collect();
        for name in names {
            while self.is_first_old(&name, now) {
                self.drop_first(&name);
            }
        }
    }

    /// None is kept for longer than the others, so those that end earlier go soon.
    fn is_first_old(&self, tenant: &Arc<str>, now: Now) -> bool {
        let first = self.tenants.get(tenant).and_then(|tenant| tenant.keys.front());
        let Some(first) = first else { return false };
        let is_over = self.kept.get(first).is_none_or(|kept| !kept.until.is_ahead(now));
        // Nobody asks by a configuration that is gone.
        is_over || first.snapshot.strong_count() == 0
    }

    fn drop_first(&mut self, name: &Arc<str>) {
        let Some(tenant) = self.tenants.get_mut(name) else { return };
        if let Some(kept) = tenant.keys.pop_front().and_then(|key| self.kept.remove(&key)) {
            tenant.bytes -= kept.bytes;
            self.bytes -= kept.bytes;
        }
        if tenant.keys.is_empty() {
            self.tenants.remove(name);
        }
    }
}
