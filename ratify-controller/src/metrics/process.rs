//! What the process itself takes, by the names that every client library of Prometheus has for it
//! (v1's too); and which build it is.

use std::{fmt, fs};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::page::{Page, Show, label};
use crate::cli::COMMIT;

/// Shows this process.
pub(super) struct Shown;

/// What the kernel says of a process (proc_pid_stat(5)), in its own units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    /// Its own time and that of its children which were waited for.
    ticks: u64,
    children_ticks: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// Reads the one line; the name in it may hold anything.
    fn read(line: &str) -> Option<Self> {
        let (_, fields) = line.rsplit_once(')')?;
        // The first of these is the third of the manual.
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            ticks: field(14)? + field(15)?,
            children_ticks: field(16)? + field(17)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine started, in seconds since 1970 (proc_stat(5)).
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

impl Show for Shown {
    // Seconds of CPU time, and of a date, are far from where a float loses some.
    #[expect(clippy::cast_precision_loss)]
    fn show(&self, page: &mut Page<'_>) -> fmt::Result {
        let version = label(concat!("v", env!("CARGO_PKG_VERSION")));
        let revision = label(COMMIT.unwrap_or_default());
        let labels = [("version", version), ("revision", revision)];
        page.gauges(
            ("ratify_build_info", "1; the labels say which build this is"),
            [(labels, 1u64)],
        )?;
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|line| Stat::read(&line));
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text));
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        page.counters(
            ("process_cpu_seconds", "Total user and system CPU time spent in seconds"),
            stat.iter().map(|stat| ([], seconds(stat.ticks))),
        )?;
        page.counters(
            (
                "ratify_plugin_cpu_seconds",
                "CPU time of plugins and other programs that were run, in seconds",
            ),
            stat.iter().map(|stat| ([], seconds(stat.children_ticks))),
        )?;
        page.gauges(
            ("process_resident_memory_bytes", "Resident memory size in bytes"),
            stat.iter().map(|stat| ([], stat.resident_pages * page_size() as u64)),
        )?;
        page.gauges(
            ("process_virtual_memory_bytes", "Virtual memory size in bytes"),
            stat.iter().map(|stat| ([], stat.virtual_bytes)),
        )?;
        let start =
            stat.zip(booted).map(|(stat, booted)| booted as f64 + seconds(stat.start_ticks));
        page.gauges(
            ("process_start_time_seconds", "Start time of the process since unix epoch in seconds"),
            start.map(|start| ([], start)),
        )?;
        let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count() as u64).ok();
        page.gauges(
            ("process_open_fds", "Number of open file descriptors"),
            // Without the one that is open to count them.
            open.map(|open| ([], open.saturating_sub(1))),
        )?;
        page.gauges(
            ("process_max_fds", "Maximum number of open file descriptors"),
            getrlimit(Resource::Nofile).current.map(|most| ([], most)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read_whatever_the_program_is_called() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194304 97 0 0 0 250 50 30 12 20 0 9 0 58301 3133440 \
                    379 18446744073709551615 1 1";
        let read = Stat::read(line).unwrap();
        let expected = Stat {
            ticks: 300,
            children_ticks: 42,
            start_ticks: 58301,
            virtual_bytes: 3_133_440,
            resident_pages: 379,
        };
        assert_eq!(read, expected);
        assert_eq!(Stat::read("7 (a) S 1"), None);
        assert_eq!(boot_time("cpu  1 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_000));
    }
}
