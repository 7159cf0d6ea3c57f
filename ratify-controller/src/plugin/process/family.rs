//! Who of the host's children is whose: the table of running calls, and the search for processes
//! that a call left behind.
//!
//! A plugin may leave its process group (`setsid`) and its parent (a double fork). Since the host
//! is a *child subreaper* (or PID 1), whatever loses its parent becomes the host's child, so that
//! nothing can hide: each child of the host is the leader of a running call, belongs to one, or is
//! a stray.

use std::{
    collections::HashMap,
    fs, io,
    process::{Child, Command, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpgid, kill_process, kill_process_group,
        set_child_subreaper, waitid, waitpid,
    },
};

use super::tree::{Weight, pids_in, weigh};

/// The variable by which a process is known to belong to a call, whatever group it moved to.
pub(super) const MARKER: &str = "RATIFY_PLUGIN_CALL";

/// How long a call's end may take because something does not die.
const PATIENCE: Duration = Duration::from_secs(2);

/// What becomes of processes that a plugin leaves outside its process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// The host adopts them and ends them. Only for a process in which nobody else spawns: every
    /// child that it does not know is a stray to it.
    Adopt,
    /// They are let go: for a host within a process that has other children (tests, a library's
    /// user).
    LetGo,
}

/// The children of this process.
pub(super) struct Family {
    orphans: Orphans,
    /// Shared by those who spawn or reap a child of theirs, held alone by those who look for
    /// strays: between the spawn and the table a child would pass for one.
    births: RwLock<()>,
    /// Leader → marker of the running calls.
    running: Mutex<HashMap<Pid, String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strays {
    End,
    OnlyReap,
}

impl Family {
    pub(super) fn new(orphans: Orphans) -> io::Result<Self> {
        if orphans == Orphans::Adopt {
            set_child_subreaper(Some(rustix::process::getpid()))?;
        }
        Ok(Self { orphans, births: RwLock::default(), running: Mutex::default() })
    }

    /// Spawns a child, marked, as the leader of a running call.
    pub(super) fn spawn(&self, command: &mut Command, marker: &str) -> io::Result<(Pid, Child)> {
        if self.orphans == Orphans::Adopt {
            command.env(MARKER, marker);
        }
        let _birth = self.births.read().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        self.running().insert(pid, marker.to_owned());
        Ok((pid, child))
    }

    /// Ends the group of a leader that was not reaped yet, so that its number is still its own.
    pub(super) fn end_group(leader: Pid) {
        // A group that is gone already is what we want.
        let _ = kill_process_group(leader, Signal::KILL);
        let _ = kill_process(leader, Signal::KILL);
    }

    /// Reaps a leader that has exited. From here on nothing of its call is spared.
    pub(super) fn reap(&self, leader: Pid, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let _birth = self.births.read().unwrap_or_else(PoisonError::into_inner);
        // Out of the table first: once reaped, the number may be another child's.
        let marker = self.running().remove(&leader);
        let status = child.try_wait();
        if let (Ok(None), Some(marker)) = (&status, marker) {
            self.running().insert(leader, marker);
        }
        status
    }

    /// How heavy a running call is, with those of its processes that this one adopted.
    pub(super) fn weigh(&self, leader: Pid, most_processes: usize) -> Weight {
        let adopted = match self.orphans {
            Orphans::Adopt => adopted().ok().flatten().unwrap_or_default(),
            Orphans::LetGo => Vec::new(),
        };
        let call: HashMap<Pid, String> = {
            let running = self.running();
            running
                .get_key_value(&leader)
                .map(|(pid, text)| (*pid, text.clone()))
                .into_iter()
                .collect()
        };
        let its_own = adopted.into_iter().filter(|pid| *pid != leader && belongs_to(&call, *pid));
        weigh([leader].into_iter().chain(its_own), most_processes)
    }

    /// Ends and reaps whatever ended calls left behind. Bounded: what does not die now is ended
    /// by the next call's search.
    pub(super) async fn end_strays(&self) {
        if self.orphans == Orphans::LetGo || Self::has_no_children() {
            return;
        }
        let give_up_at = tokio::time::Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        while !self.is_clean() {
            if tokio::time::Instant::now() >= give_up_at {
                tracing::warn!("a process that a plugin left behind does not end");
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// The same without a runtime, for one that is being shut down.
    pub(super) fn end_strays_now(&self) {
        if self.orphans == Orphans::LetGo {
            return;
        }
        for _ in 0..100 {
            if self.is_clean() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reaps children that nobody waits for: strangers that PID 1 inherits.
    pub(super) fn reap_strangers(&self) {
        if self.orphans == Orphans::Adopt {
            self.search(Strays::OnlyReap);
        }
    }

    /// Whether no stray is left. Where no call runs the kernel can be asked outright; otherwise one
    /// look at what this process adopted is usually enough, and needs no lock.
    fn is_clean(&self) -> bool {
        if self.running().is_empty() {
            return Self::has_no_children()
                || (self.search(Strays::End) == 0 && Self::has_no_children());
        }
        let adopted = adopted().unwrap_or_default();
        let only_leaders = {
            let running = self.running();
            adopted.is_some_and(|pids| pids.iter().all(|pid| running.contains_key(pid)))
        };
        only_leaders || self.search(Strays::End) == 0
    }

    /// Looks at each child that leads no running call: the dead are reaped, strays are ended.
    /// Returns how many strays were alive.
    fn search(&self, strays: Strays) -> usize {
        let _no_births = self.births.write().unwrap_or_else(PoisonError::into_inner);
        let running = self.running();
        let mut alive = 0;
        for pid in children().into_iter().filter(|pid| !running.contains_key(pid)) {
            let still_runs = matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None));
            if still_runs && strays == Strays::End && !belongs_to(&running, pid) {
                let _ = kill_process(pid, Signal::KILL);
                alive += 1;
            }
        }
        alive
    }

    fn has_no_children() -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::All, look), Err(Errno::CHILD))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Pid, String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a child of the host that leads no call belongs to one that runs: by its process group,
/// or by the marker in the environment it was started with. One that shed both is a stray.
fn belongs_to(running: &HashMap<Pid, String>, pid: Pid) -> bool {
    if getpgid(Some(pid)).is_ok_and(|group| running.contains_key(&group)) {
        return true;
    }
    let Ok(environment) = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())) else {
        return false;
    };
    marker_in(&environment).is_some_and(|marker| running.values().any(|known| known == marker))
}

fn marker_in(environment: &[u8]) -> Option<&str> {
    environment.split(|byte| *byte == 0).find_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        (name == MARKER).then_some(value)
    })
}

/// The children of the main thread: the kernel gives an orphan to the first living thread of the
/// process that adopts it, so nothing adopted is missing here. `None` where it keeps no list.
fn adopted() -> io::Result<Option<Vec<Pid>>> {
    let own = std::process::id();
    match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        Ok(list) => Ok(Some(pids_in(&list))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The children of this process. Each thread has its own list; where the kernel keeps none, every
/// process is asked for its parent.
fn children() -> Vec<Pid> {
    let result = match adopted() {
        Ok(Some(_)) => children_by_thread(),
        _ => children_by_parent(std::process::id()),
    };
    result.unwrap_or_else(|error| {
        tracing::warn!("the children of this process cannot be listed: {error}");
        Vec::new()
    })
}

fn children_by_thread() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        // A thread that has just ended gave its children to another one: the next round finds
        // them there.
        let list = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        pids.extend(pids_in(&list));
    }
    Ok(pids)
}

fn children_by_parent(own: u32) -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(pid_from) else { continue };
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        if stat.is_ok_and(|stat| parent_in(&stat) == Some(own)) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// The parent in `/proc/<pid>/stat`: the second field behind the name, which is in parentheses and
/// may hold any character (proc_pid_stat(5)).
fn parent_in(stat: &str) -> Option<u32> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn pid_from(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_parent_behind_any_name() {
        assert_eq!(parent_in("12 (a) b) (c) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent_in("12 (a"), None);
    }

    #[test]
    fn finds_the_marker_among_variables_of_any_bytes() {
        assert_eq!(marker_in(b"A=1\0B=\xff\xfe\0RATIFY_PLUGIN_CALL=x-1\0"), Some("x-1"));
        assert_eq!(marker_in(b"NOT_RATIFY_PLUGIN_CALL=x\0"), None);
        assert_eq!(marker_in(b""), None);
    }

    #[test]
    fn both_ways_list_a_child_and_a_foreign_child_is_left_alone() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(children_by_thread().unwrap().contains(&pid));
        assert!(children_by_parent(std::process::id()).unwrap().contains(&pid));
        let family = Family::new(Orphans::LetGo).unwrap();
        family.reap_strangers();
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
