//! [`HostCounts`]: what runs, and how what was to run ended, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{End, Finished, ProcessError};

/// The host at a moment, and counts since the process began.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostCounts {
    /// How many may run at once.
    pub places: usize,
    /// How many run.
    pub running: usize,
    /// How many wait for a place.
    pub waiting: usize,
    /// How calls ended, and how often so.
    pub ends: Vec<(&'static str, u64)>,
}

/// How calls ended.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; ENDS.len()]);

const ENDS: [&str; 9] = [
    "exited",
    "deadline",
    "too_much_output",
    "too_much_memory",
    "too_many_processes",
    "cancelled",
    "no_place",
    "not_started",
    "not_watched",
];
const CANCELLED: usize = 5;

/// A call, counted as cancelled unless it came to another end.
pub(super) struct Call<'a> {
    tally: &'a Tally,
    end: usize,
}

impl Tally {
    pub(super) fn call(&self) -> Call<'_> {
        Call { tally: self, end: CANCELLED }
    }

    pub(super) fn ends(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        ENDS.into_iter().zip(counts).collect()
    }
}

impl Call<'_> {
    pub(super) fn ended(mut self, result: &Result<Finished, ProcessError>) {
        self.end = match result {
            Ok(Finished { end, .. }) => match end {
                End::Exited(_) => 0,
                End::Deadline => 1,
                End::TooMuch(_) => 2,
                End::TooMuchMemory => 3,
                End::TooManyProcesses => 4,
                End::Cancelled => CANCELLED,
            },
            Err(ProcessError::NoRoom { .. }) => 6,
            Err(ProcessError::NotStarted { .. } | ProcessError::Launcher { .. }) => 7,
            Err(ProcessError::Watch { .. }) => 8,
        };
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.tally.0[self.end].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_nobody_waits_for_is_counted_as_cancelled_and_any_other_by_its_end() {
        let tally = Tally::default();
        drop(tally.call());
        let no_room = ProcessError::NoRoom { needed_mib: 1, total_mib: 1, most_processes: 1 };
        tally.call().ended(&Err(no_room));
        let finished = |end| Ok(Finished { end, stdout: Vec::new(), stderr: Vec::new() });
        tally.call().ended(&finished(End::Deadline));
        tally.call().ended(&finished(End::TooMuchMemory));
        tally.call().ended(&finished(End::TooMuchMemory));
        let counted: Vec<_> = tally.ends().into_iter().filter(|(_, count)| *count > 0).collect();
        let expected = [("deadline", 1), ("too_much_memory", 2), ("cancelled", 1), ("no_place", 1)];
        assert_eq!(counted, expected);
    }
}
