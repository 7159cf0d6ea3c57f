//! What the kernel says about a process, read from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Linux counts the times of /proc/PID/stat in this many ticks a second on every platform (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// The CPU time of a process, in user space and in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cpu {
    /// Its own.
    pub(super) own: Duration,
    /// That of the children it has waited for, and of theirs.
    pub(super) children: Duration,
}

/// For how long each thread of a process has run, to the nanosecond, where [`Cpu`] counts hundredths of
/// a second.
#[derive(Debug)]
pub(super) struct RunTimes(BTreeMap<String, u64>);

impl RunTimes {
    /// For how long all have run since. What a thread did that has ended meanwhile is not known.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let known = |thread: &String| before.0.get(thread).copied().unwrap_or_default();
        let each = self.0.iter().map(|(thread, now)| now.saturating_sub(known(thread)));
        Duration::from_nanos(each.sum())
    }
}

/// The memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Pages in memory, shared ones in full.
    pub(super) resident: u64,
    /// The greatest that it ever was.
    pub(super) most: u64,
    /// The same, each shared page divided by its users; not everyone may read it.
    pub(super) proportional: Option<u64>,
}

/// The CPU time of a process. `self` is a process, too.
///
/// # Errors
/// When it is gone.
pub(super) fn cpu(process: &str) -> Result<Cpu> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_cpu(&stat).with_context(|| format!("{path} is not as proc_pid_stat(5) says"))
}

/// For how long the threads of a process have run.
///
/// # Errors
/// When it is gone, or the kernel does not tell.
pub(super) fn run_times(process: u32) -> Result<RunTimes> {
    let path = format!("/proc/{process}/task");
    let tasks = fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?;
    // One may end while it is looked at.
    let of_task = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let time = text.split_whitespace().next()?.parse().ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), time))
    };
    let times: BTreeMap<_, _> = tasks.flatten().filter_map(of_task).collect();
    ensure!(!times.is_empty(), "no thread of {path} has a schedstat");
    Ok(RunTimes(times))
}

/// The memory of a process.
///
/// # Errors
/// When it is gone.
pub(super) fn memory(process: u32) -> Result<Memory> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let resident = kibibytes(&status, "VmRSS:").with_context(|| format!("{path} has no VmRSS"))?;
    let most = kibibytes(&status, "VmHWM:").with_context(|| format!("{path} has no VmHWM"))?;
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
    let proportional = rollup.ok().and_then(|text| kibibytes(&text, "Pss:"));
    Ok(Memory { resident, most, proportional })
}

/// The greatest memory in KiB that a command has until it ends, well. It is looked at a thousand times
/// a second: what it takes in its last millisecond goes unseen.
///
/// # Errors
/// When it does not start, or fails.
pub(super) fn most_memory(command: &mut Command) -> Result<u64> {
    let mut process = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut most = 0;
    loop {
        // Of a process that has ended, there is nothing to read.
        if let Ok(memory) = memory(process.id()) {
            most = memory.most.max(most);
        }
        match process.try_wait()? {
            Some(status) if status.success() => return Ok(most),
            Some(status) => bail!("{command:?} ended with {status}"),
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Whether a process has children right now.
pub(super) fn has_children(process: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    tasks.flatten().any(|task| {
        let children = fs::read_to_string(task.path().join("children"));
        children.is_ok_and(|text| !text.trim().is_empty())
    })
}

/// Fields 14 to 17: utime, stime, cutime, cstime. The name in field 2 may hold anything.
fn parse_cpu(stat: &str) -> Option<Cpu> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11).map(str::parse);
    let mut next = || fields.next()?.ok();
    let own = ticks(next()?) + ticks(next()?);
    let children = ticks(next()?) + ticks(next()?);
    Some(Cpu { own, children })
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1_000 / TICKS_PER_SECOND)
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a ) 1 (b) S 1 7 7 0 -1 4194560 9 8 7 6 12 3 40 5 20 0 1 0";
        let expected =
            Cpu { own: Duration::from_millis(150), children: Duration::from_millis(450) };
        assert_eq!(parse_cpu(stat), Some(expected));
        assert_eq!(parse_cpu("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_by_its_key() {
        assert_eq!(kibibytes("VmHWM:\t 9 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(kibibytes("VmHWM:\t 9 kB\n", "VmRSS:"), None);
    }

    #[test]
    fn the_most_that_a_command_had_is_known_when_it_has_ended() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "head -c 33554432 /dev/zero | tail -c 1 >/dev/null; sleep 0.05"]);
        assert!(most_memory(&mut shell).unwrap() > 100);
        assert!(most_memory(Command::new("sh").args(["-c", "exit 3"])).is_err());
    }

    #[test]
    fn run_times_are_those_of_each_thread() {
        let times = |each: &[(&str, u64)]| {
            RunTimes(each.iter().map(|(thread, time)| ((*thread).to_owned(), *time)).collect())
        };
        let (before, after) = (times(&[("1", 100), ("2", 70)]), times(&[("1", 130), ("3", 5)]));
        assert_eq!(after.since(&before), Duration::from_nanos(35));
        let before = run_times(std::process::id()).unwrap();
        let started = std::time::Instant::now();
        while run_times(std::process::id()).unwrap().since(&before) < Duration::from_millis(1) {
            assert!(started.elapsed() < Duration::from_secs(60));
        }
        assert!(run_times(0).is_err());
    }

    #[test]
    fn this_process_is_there() {
        cpu("self").unwrap();
        assert!(memory(std::process::id()).unwrap().resident > 0);
    }
}
