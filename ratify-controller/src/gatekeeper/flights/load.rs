//! [`Load`]: how much there is to do, and what became of questions so far, for whoever shows it.

use super::queue::Queued;

/// The queue at a moment, and counts since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) queued: Queued,
    pub(crate) tally: Tally,
    /// Late answers that are kept.
    pub(crate) late_entries: usize,
    pub(crate) late_bytes: usize,
}

/// What became of questions, counted under the lock of what it is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// There was no place to wait.
    pub(crate) refused: u64,
    /// It was being answered already.
    pub(crate) joined: u64,
    /// Work that ended without an answer, by its reason.
    pub(crate) given_up: u64,
    pub(crate) pushed_out: u64,
    pub(crate) panicked: u64,
    /// Answers that came too late, and those that somebody asked for again.
    pub(crate) late_kept: u64,
    pub(crate) late_found: u64,
}
