//! [`Counters`]: what became of verdicts that might have been kept, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) hits: Count,
    pub(super) misses: Count,
    pub(super) stored: Count,
    pub(super) passing: Count,
    pub(super) changed: Count,
    pub(super) shared_hits: Count,
    pub(super) shared_misses: Count,
    pub(super) shared: Count,
    pub(super) unshared: Count,
    pub(super) refused: Count,
    pub(super) shared_errors: Count,
}

/// The counts at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Questions that were answered from memory.
    pub hits: u64,
    /// Questions that were not, where something might have been kept.
    pub misses: u64,
    /// Verdicts that were kept.
    pub stored: u64,
    /// Verdicts that were not kept, since they rest on a failure that may pass.
    pub passing: u64,
    /// Verdicts that were not kept, since what decides changed while they were reached.
    pub changed: u64,
    /// Questions that another replica had answered.
    pub shared_hits: u64,
    /// Questions of which Redis knew nothing.
    pub shared_misses: u64,
    /// Verdicts that were written for other replicas.
    pub shared: u64,
    /// Verdicts that were not, since Redis is away, slow, or they are too long.
    pub unshared: u64,
    /// Entries in Redis that were not believed: forged, ended, or none of ours.
    pub refused: u64,
    /// Questions and entries that Redis did not take or answer, or not in time.
    pub shared_errors: u64,
    /// How many verdicts are kept, those included that have ended and were not removed yet.
    pub entries: u64,
    /// How many bytes they take.
    pub bytes: u64,
}

/// How the link to Redis stands at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStanding {
    /// Whether there is a connection.
    pub is_up: bool,
    /// How many were made so far.
    pub connects: u64,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
