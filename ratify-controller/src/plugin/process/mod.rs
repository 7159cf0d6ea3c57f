//! [`PluginHost`]: the only place that starts a process.
//!
//! - [`PluginHost::run`] takes a [`Launch`] and gives back how it ended and what it wrote.
//! - `family`: whose children are whose, and the end of strays; `supervise`: the life of one
//!   child; `tree`: how heavy it is; `pipes`: its three pipes; `start`: the launcher, and what a failed start says;
//!   `places`: how many run at once, and whose turn it is; `tally`: how calls ended.
//!
//! A process is spawned by `posix_spawn`, never by `fork`: nothing here may use `pre_exec`, a
//! session or a user setter, which make the standard library fork (75 ms with 2 GiB in use).

mod family;
mod pipes;
mod places;
mod start;
mod supervise;
mod tally;
mod tree;

use std::{
    any::Any,
    ffi::OsString,
    io,
    path::PathBuf,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{sleep, timeout_at},
};

pub use family::Orphans;
pub use start::go_error_text;
pub use tally::HostCounts;

use super::{
    exec::trace,
    sandbox::{Limits, MemoryBudget},
};
use family::Family;
use places::{Place, Places};
use start::{Attempt, LauncherFailure, Starter};
use supervise::Errand;
use tally::Tally;

/// How often "text file busy" is met with a fresh command, and the pauses between.
const BUSY_PAUSES_MS: [u64; 5] = [5, 10, 20, 40, 80];
/// How much longer than its deadline a call may take to end its tree before it is left to do so
/// in the background.
const GRACE: Duration = Duration::from_secs(1);
/// How many processes a call may have at a time: a verifier, a store it runs, and some more.
const MOST_PROCESSES: usize = 128;
/// Memory is counted in these.
const MIB: u64 = 1024 * 1024;

/// How a [`PluginHost`] is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostOptions {
    /// The launcher that sets limits; where it is missing they are set after the spawn.
    pub launcher: Option<PathBuf>,
    /// What one process may use.
    pub limits: Limits,
    /// What all that run at once may have together, in bytes of data.
    pub memory_bytes: u64,
    /// How many run at once.
    pub most_processes: usize,
    /// What becomes of processes that outlive their call.
    pub orphans: Orphans,
}

impl HostOptions {
    /// Options for a memory budget.
    pub fn new(launcher: Option<PathBuf>, budget: MemoryBudget, orphans: Orphans) -> Self {
        Self {
            launcher,
            limits: Limits::default().with_data_bytes(budget.per_plugin),
            memory_bytes: budget.total,
            most_processes: 64,
            orphans,
        }
    }

    /// What one call may use.
    fn needed_mib(&self) -> u64 {
        self.limits.data_bytes.min(self.memory_bytes) / MIB
    }
}

/// A program to run once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Launch {
    /// The file.
    pub program: PathBuf,
    /// What it sees as its own name; the file where `None`.
    pub argv0: Option<OsString>,
    /// What follows that name.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What it is fed, then the end of input.
    pub stdin: Bytes,
    /// When it is ended with all its processes.
    pub give_up_at: Option<Instant>,
    /// How many bytes it may write to stdout; one more is its end.
    pub most_stdout: usize,
    /// The same for stderr.
    pub most_stderr: usize,
    /// Held until the process and all its descendants are gone.
    pub keep: Option<Arc<dyn Any + Send + Sync>>,
    /// Whose work it is: places are shared out between tenants.
    pub tenant: Arc<str>,
}

impl Launch {
    /// How many bytes of stderr are taken where nobody says otherwise.
    pub const MOST_STDERR: usize = 1 << 20;

    /// A program without arguments, input or environment, 64 MiB of stdout, 1 MiB of stderr, no deadline.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            argv0: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            stdin: Bytes::new(),
            give_up_at: None,
            most_stdout: 64 << 20,
            most_stderr: Self::MOST_STDERR,
            keep: None,
            tenant: Arc::default(),
        }
    }
}

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The result.
    Stdout,
    /// The log.
    Stderr,
}

/// How a process that was started ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// By the host, at the deadline.
    Deadline,
    /// By the host, since it wrote more than it may.
    TooMuch(Stream),
    /// By the host, since its processes together used more memory than one call may.
    TooMuchMemory,
    /// By the host, since it had more processes than one call may.
    TooManyProcesses,
    /// By the host, since nobody waits for it any longer.
    Cancelled,
}

/// A process that was started and is gone, with all its descendants.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// What it wrote to stdout, up to the cap.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, up to the cap.
    pub stderr: Vec<u8>,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The program cannot be executed. v1's text.
    #[error("fork/exec {}: {}", program.display(), go_error_text(source))]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The limits cannot be set, so the plugin was not run.
    #[error("the launcher failed at {step}: {}", go_error_text(source))]
    Launcher {
        /// What it was doing.
        step: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// Too much is running already.
    #[error(
        "the deadline passed while waiting for other plugins to end: one may use {needed_mib} MiB \
         and {most_processes} processes with {total_mib} MiB in all may run at once"
    )]
    NoRoom {
        /// For one.
        needed_mib: u64,
        /// In all.
        total_mib: u64,
        /// How many.
        most_processes: usize,
    },
    /// The process could not be watched or ended.
    #[error("the process of {} cannot be watched: {source}", program.display())]
    Watch {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Starts, bounds and ends plugin processes. Made once, by `main`; cheap to share.
pub struct PluginHost {
    family: Arc<Family>,
    starter: Starter,
    places: Arc<Places>,
    options: HostOptions,
    nonce: uuid::Uuid,
    calls: AtomicU64,
    tally: Tally,
}

impl PluginHost {
    /// A host. With [`Orphans::Adopt`] this process becomes the one that orphans go to.
    ///
    /// # Errors
    /// When the kernel refuses that.
    pub fn new(options: HostOptions) -> io::Result<Self> {
        if options.launcher.is_none() {
            tracing::warn!(
                "ratify-launch is not beside ratify: limits of plugins are set after they start"
            );
        }
        // Each call may use the same, so memory is a number of calls.
        let needed = options.needed_mib().max(1);
        let by_memory = usize::try_from(options.memory_bytes / MIB / needed).unwrap_or(usize::MAX);
        Ok(Self {
            family: Arc::new(Family::new(options.orphans)?),
            starter: Starter::new(options.launcher.clone(), options.limits),
            places: Arc::new(Places::new(options.most_processes.min(by_memory))),
            options,
            nonce: uuid::Uuid::new_v4(),
            calls: AtomicU64::new(0),
            tally: Tally::default(),
        })
    }

    /// Runs a program to its end. Whatever way that comes (dropping the future included), the
    /// process and all its descendants are gone and reaped, at once or within moments.
    ///
    /// # Errors
    /// When it was not run; how it ended is in [`Finished`].
    pub async fn run(&self, launch: Launch) -> Result<Finished, ProcessError> {
        let call = self.tally.call();
        let result = self.run_to_its_end(launch).await;
        call.ended(&result);
        result
    }

    /// What runs, and how what was to run ended.
    pub fn counts(&self) -> HostCounts {
        let (places, running, waiting) = self.places.count();
        HostCounts { places, running, waiting, ends: self.tally.ends() }
    }

    async fn run_to_its_end(&self, launch: Launch) -> Result<Finished, ProcessError> {
        let asked = Instant::now();
        let room = Room::new(self.admit(&launch).await?);
        trace::waited(asked.elapsed());
        let mut pauses = BUSY_PAUSES_MS.into_iter();
        loop {
            match self.attempt(&launch, room.clone()).await? {
                Attempt::Ran(finished) => return Ok(finished),
                Attempt::Busy(source) => match pauses.next() {
                    Some(pause) => sleep(Duration::from_millis(pause)).await,
                    None => {
                        return Err(ProcessError::NotStarted { program: launch.program, source });
                    }
                },
            }
        }
    }

    /// Reaps processes that this one inherits from strangers, as PID 1 must, for as long as it is
    /// polled. `serve` runs it beside everything else.
    ///
    /// # Errors
    /// When the signal cannot be listened to.
    pub async fn reap_strangers(&self) -> io::Result<()> {
        let mut child_signals = signal(SignalKind::child())?;
        while child_signals.recv().await.is_some() {
            // Our own children are reaped by their calls; one look for many signals is enough.
            sleep(Duration::from_millis(100)).await;
            self.family.reap_strangers();
        }
        Ok(())
    }

    /// Waits for a place.
    async fn admit(&self, launch: &Launch) -> Result<Place, ProcessError> {
        let waiting = self.places.enter(&launch.tenant);
        let admitted = match launch.give_up_at {
            Some(at) => timeout_at(at.into(), waiting).await.ok(),
            None => Some(waiting.await),
        };
        admitted.ok_or_else(|| ProcessError::NoRoom {
            needed_mib: self.options.needed_mib(),
            total_mib: self.options.memory_bytes / MIB,
            most_processes: self.options.most_processes,
        })
    }

    async fn attempt(&self, launch: &Launch, room: Room) -> Result<Attempt, ProcessError> {
        let not_started =
            |source| ProcessError::NotStarted { program: launch.program.clone(), source };
        match self.supervised(launch, room).await {
            Ok(finished) => match self.starter.launcher_failure(&finished) {
                None => Ok(Attempt::Ran(finished)),
                Some(LauncherFailure::Exec(source)) => {
                    Attempt::if_busy(source).map_err(not_started)
                }
                Some(LauncherFailure::Step(step, source)) => {
                    Err(ProcessError::Launcher { step, source })
                }
            },
            Err(Failed::Start(source)) => Attempt::if_busy(source).map_err(not_started),
            Err(Failed::Watch(source)) => {
                Err(ProcessError::Watch { program: launch.program.clone(), source })
            }
        }
    }

    /// The child lives in a task of its own, so that whoever asked may leave at any time. `room`
    /// is given back when its tree is gone.
    async fn supervised(&self, launch: &Launch, room: Room) -> Result<Finished, Failed> {
        let (stays, cancelled) = oneshot::channel();
        let errand = Errand {
            stdin: launch.stdin.clone(),
            give_up_at: launch.give_up_at,
            most_stdout: launch.most_stdout,
            most_stderr: launch.most_stderr,
            most_memory: self.options.limits.data_bytes,
            most_processes: MOST_PROCESSES,
        };
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let marker = format!("{}-{number}", self.nonce.simple());
        let (family, command) = (Arc::clone(&self.family), self.starter.command(launch));
        let (prepare, keep) = (self.starter.after_spawn(), launch.keep.clone());
        let life = tokio::spawn(async move {
            let _held = (room, keep);
            supervise::supervise(family, command, marker, prepare, errand, cancelled).await
        });
        let ended = match launch.give_up_at {
            Some(at) => timeout_at((at + GRACE).into(), life).await,
            None => Ok(life.await),
        };
        drop(stays);
        match ended {
            Ok(Ok(Ok(finished))) => Ok(finished),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(join)) => Err(Failed::Watch(io::Error::other(join))),
            Err(_) => Err(Failed::Watch(io::Error::other("it was killed and does not end"))),
        }
    }
}

/// A place, given back when the last process that uses it is gone.
type Room = Arc<Place>;

/// Where it failed.
enum Failed {
    Start(io::Error),
    Watch(io::Error),
}
