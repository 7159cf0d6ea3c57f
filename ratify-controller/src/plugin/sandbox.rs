//! What a plugin may use, and what the host does so that a plugin cannot reach into it: plain
//! numbers, chosen from the container's own memory, and one call that `main` makes first.
//!
//! [`Limits`] are per process and set by the launcher before the plugin runs;
//! [`MemoryBudget`] bounds all that run at the same time.

use std::{
    fs, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
};

const MIB: u64 = 1024 * 1024;

/// The most data (heap and other private writable memory) a plugin process ever gets.
const MOST_DATA_BYTES: u64 = 512 * MIB;
/// The least a plugin gets where there is that much. v1's sbom plugin, in Go, does not start with
/// 80 MiB and does with 100, and takes 64 more as soon as its heap grows.
const LEAST_DATA_BYTES: u64 = 192 * MIB;
/// What stays for the host itself, at least.
const LEAST_FOR_HOST: u64 = 96 * MIB;

/// What one plugin process may use. Each is a hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Private writable memory, in bytes (RLIMIT_DATA).
    pub data_bytes: u64,
    /// Open file descriptors (RLIMIT_NOFILE).
    pub open_files: u64,
    /// The size of a file it writes, in bytes (RLIMIT_FSIZE).
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { data_bytes: MOST_DATA_BYTES, open_files: 1024, file_bytes: 1024 * MIB }
    }
}

impl Limits {
    /// The same limits with another one for data.
    #[must_use]
    pub fn with_data_bytes(mut self, data_bytes: u64) -> Self {
        self.data_bytes = data_bytes;
        self
    }
}

/// How much memory all plugins that run at the same time may have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// For one plugin process, in bytes.
    pub per_plugin: u64,
    /// For all of them, in bytes; never less than `per_plugin`.
    pub total: u64,
}

impl MemoryBudget {
    /// Divides the memory of the container, or of the machine, so that as many plugins as there
    /// are processors can run at once, and a quarter stays for the host: 96 MiB at least, but no
    /// more than half.
    pub fn divide(memory_bytes: u64, processors: usize) -> Self {
        let for_host = (memory_bytes / 4).max(LEAST_FOR_HOST);
        let total = memory_bytes.saturating_sub(for_host).max(memory_bytes / 2);
        let share = total / u64::try_from(processors.max(1)).unwrap_or(u64::MAX);
        let per_plugin = share.clamp(LEAST_DATA_BYTES, MOST_DATA_BYTES).min(total);
        Self { per_plugin, total }
    }

    /// [`MemoryBudget::divide`] of what this process finds: the container's limit where there is
    /// one, else the machine's memory, else 1 GiB.
    pub fn of_this_machine() -> Self {
        let read = |path: &Path| fs::read_to_string(path).ok();
        let memory = container_memory(read).or_else(|| machine_memory(read)).unwrap_or(1024 * MIB);
        Self::divide(memory, std::thread::available_parallelism().map_or(1, Into::into))
    }
}

/// Makes this process unreadable for others of the same user (its environment, memory and
/// descriptors under /proc; no tracing), forbids core files, and keeps the descriptors it was
/// started with from plugins. `main` calls it before anything secret is read or a thread started.
///
/// # Errors
/// When the kernel refuses; the host should not start then.
pub fn harden_self() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    for number in leaking_descriptors() {
        close_on_exec(number)?;
    }
    Ok(())
}

/// Keeps a descriptor that this process was started with from its children.
#[expect(unsafe_code, reason = "a descriptor known by its number has no owner in this process")]
fn close_on_exec(number: u32) -> io::Result<()> {
    let number = i32::try_from(number).map_err(io::Error::other)?;
    // SAFETY: the number was just found in /proc/self/fdinfo, no thread runs yet that could close
    // it, and the borrow ends with this function.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(fcntl_setfd(descriptor, FdFlags::CLOEXEC)?)
}

/// The descriptors, other than the first three, that every child inherits: what whoever started
/// this process left open in it (what it opens itself is closed on exec).
pub fn leaking_descriptors() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let leaks = |number: &u32| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
        *number > 2 && info.is_ok_and(|info| is_inherited(&info))
    };
    let mut leaking: Vec<u32> = numbers.filter(leaks).collect();
    leaking.sort_unstable();
    leaking
}

/// Reads the flags of `/proc/<pid>/fdinfo/<fd>` (octal; O_CLOEXEC is 02000000 on Linux).
fn is_inherited(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).is_some_and(|flags| {
        const CLOSE_ON_EXEC: u32 = 0o2_000_000;
        flags & CLOSE_ON_EXEC == 0
    })
}

/// The launcher beside a program, if it is there: `ratify-launch` in the same directory.
pub fn launcher_beside(program: &Path) -> Option<PathBuf> {
    let launcher = program.parent()?.join("ratify-launch");
    launcher.is_file().then_some(launcher)
}

/// The least memory limit of the control groups this process is in: version 2 (`memory.max`) or
/// version 1 (`memory.limit_in_bytes`), its own and those above it. `read` gives a file's text.
fn container_memory(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    groups.lines().filter_map(|line| limit_files(line, &read)).min()
}

fn limit_files(line: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        list if list.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    // The path is the host's where the container sees its own group as the root, so the root is
    // always looked at, and each group on the way.
    let group = Path::new(path.trim_start_matches('/'));
    group
        .ancestors()
        .filter_map(|above| read(&Path::new(root).join(above).join(file)))
        .filter_map(|text| text.trim().parse().ok())
        // Version 1 writes "no limit" as the largest multiple of the page size.
        .filter(|limit| *limit < i64::MAX as u64 / 2)
        .min()
}

fn machine_memory(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let text = read(Path::new("/proc/meminfo"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> Option<String> + 'a {
        |path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).into())
        }
    }

    #[test]
    fn the_least_limit_of_the_groups_above_counts_in_both_versions() {
        let v2 = files(&[
            ("/proc/self/cgroup", "0::/kube/pod\n"),
            ("/sys/fs/cgroup/kube/pod/memory.max", "max\n"),
            ("/sys/fs/cgroup/kube/memory.max", "536870912\n"),
        ]);
        assert_eq!(container_memory(v2), Some(512 * MIB));
        let v1 = files(&[
            ("/proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n0::/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
        ]);
        assert_eq!(container_memory(v1), Some(256 * MIB));
        let unlimited = files(&[
            ("/proc/self/cgroup", "4:memory:/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/proc/meminfo", "MemTotal:        2097152 kB\n"),
        ]);
        assert_eq!(container_memory(&unlimited), None);
        assert_eq!(machine_memory(&unlimited), Some(2048 * MIB));
    }

    #[test]
    fn what_this_process_opens_itself_is_not_inherited() {
        assert!(is_inherited("pos:\t0\nflags:\t0100002\nmnt_id:\t25\n"));
        assert!(!is_inherited("pos:\t0\nflags:\t02100000\nmnt_id:\t25\n"));
        let file = fs::File::open("/dev/null").unwrap();
        let number = u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&file)).unwrap();
        assert!(!leaking_descriptors().contains(&number));
    }

    #[test]
    fn all_plugins_together_never_get_what_the_host_needs() {
        for (memory, processors) in
            [(256, 2), (512, 1), (512, 2), (1024, 4), (4096, 8), (24_000, 2)]
        {
            let budget = MemoryBudget::divide(memory * MIB, processors);
            assert!(budget.total + LEAST_FOR_HOST <= memory * MIB, "{memory} {budget:?}");
            assert!(budget.per_plugin <= budget.total);
        }
        let tiny = MemoryBudget::divide(64 * MIB, 2);
        assert_eq!((tiny.per_plugin / MIB, tiny.total / MIB), (32, 32));
        let small = MemoryBudget::divide(512 * MIB, 2);
        assert_eq!((small.per_plugin / MIB, small.total / MIB), (192, 384));
    }
}
