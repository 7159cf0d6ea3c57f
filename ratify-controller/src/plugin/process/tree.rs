//! How heavy a call is: its processes and their memory, counted together. A limit per process does
//! not bound a plugin that forks.

use std::{collections::HashSet, fs};

use rustix::process::Pid;

/// What the processes of a call use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// How many there are.
    pub(super) processes: usize,
    /// Their own memory, in bytes: resident and not shared with a file.
    pub(super) memory_bytes: u64,
}

/// Weighs these processes and all their descendants. What ends meanwhile weighs nothing.
pub(super) fn weigh(roots: impl IntoIterator<Item = Pid>, most_processes: usize) -> Weight {
    let mut open: Vec<Pid> = roots.into_iter().collect();
    let mut seen = HashSet::new();
    let mut weight = Weight::default();
    while let Some(pid) = open.pop() {
        if !seen.insert(pid) {
            continue;
        }
        weight.processes += 1;
        weight.memory_bytes += memory_of(pid);
        // Enough is known; a fork bomb must not keep the host counting.
        if weight.processes > most_processes {
            break;
        }
        open.extend(children_of(pid));
    }
    weight
}

fn children_of(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
        return Vec::new();
    };
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    lists.flat_map(|list| pids_in(&list)).collect()
}

/// A list of process numbers with blanks between, as the kernel writes it.
pub(super) fn pids_in(list: &str) -> Vec<Pid> {
    let numbers = list.split_ascii_whitespace().filter_map(|text| text.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

fn memory_of(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    status.map_or(0, |text| own_memory(&text))
}

/// Anonymous and shared memory (proc_pid_status(5)), in bytes; pages of files do not count, since
/// the kernel can drop them.
fn own_memory(status: &str) -> u64 {
    let kibibytes = status.lines().filter_map(|line| {
        let value = line.strip_prefix("RssAnon:").or_else(|| line.strip_prefix("RssShmem:"))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kibibytes.sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn pages_of_files_weigh_nothing() {
        let status = "VmRSS:\t    9000 kB\nRssAnon:\t    100 kB\nRssFile:\t   8000 kB\nRssShmem:\t      20 kB\n";
        assert_eq!(own_memory(status), 120 * 1024);
        assert_eq!(own_memory("Name:\tzombie\n"), 0);
    }

    #[test]
    fn weighs_a_process_with_its_descendants() {
        let mut shell =
            Command::new("/bin/sh").args(["-c", "sleep 30 & sleep 30 & wait"]).spawn().unwrap();
        let pid = Pid::from_child(&shell);
        let give_up_at = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while weigh([pid], 100).processes < 3 {
            assert!(std::time::Instant::now() < give_up_at, "{:?}", weigh([pid], 100));
        }
        let weight = weigh([pid], 100);
        assert_eq!(weight.processes, 3);
        assert!((100_000..100_000_000).contains(&weight.memory_bytes), "{weight:?}");
        assert_eq!(weigh([pid], 1).processes, 2, "one more than allowed is enough to know");
        for child in children_of(pid) {
            rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        }
        shell.wait().unwrap();
        assert_eq!(weigh([pid], 100), Weight { processes: 1, memory_bytes: 0 });
    }
}
