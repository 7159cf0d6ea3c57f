//! The life of one child, from the spawn to the last byte: fed, read, watched, ended with all its
//! descendants, reaped.
//!
//! It knows nothing of what is said through the pipes.

use std::{
    future::pending,
    io,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::unix::pipe::Sender,
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};

use super::{
    End, Failed, Finished, Stream,
    family::Family,
    pipes::{Capture, Progress, feed},
};

/// How long the pipes are read once every process that could write to them has ended.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// How often a call is weighed. Most end before the first time.
const WEIGHED_EVERY: Duration = Duration::from_millis(25);
/// How long a killed process may take to die.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a child is given and how far it may go.
pub(super) struct Errand {
    pub(super) stdin: Bytes,
    pub(super) give_up_at: Option<std::time::Instant>,
    pub(super) most_stdout: usize,
    pub(super) most_stderr: usize,
    pub(super) most_memory: u64,
    pub(super) most_processes: usize,
}

/// Runs a command to its end. It ends early, with its whole tree, at the deadline, over a cap, or
/// when the other end of `cancelled` is dropped.
pub(super) async fn supervise(
    family: Arc<Family>,
    mut command: Command,
    marker: String,
    prepare: impl FnOnce(Pid) -> io::Result<()>,
    errand: Errand,
    cancelled: oneshot::Receiver<()>,
) -> Result<Finished, Failed> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (pid, child) = family.spawn(&mut command, &marker).map_err(Failed::Start)?;
    let leader = Leader { family: &family, pid, child, reaped: false };
    live(leader, prepare, errand, cancelled).await.map_err(Failed::Watch)
}

/// From here on the child is ended on every way out, since its leader is dropped.
async fn live(
    mut leader: Leader<'_>,
    prepare: impl FnOnce(Pid) -> io::Result<()>,
    errand: Errand,
    cancelled: oneshot::Receiver<()>,
) -> io::Result<Finished> {
    let Leader { family, pid, ref mut child, .. } = leader;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    prepare(pid)?;
    let no_pipe = || io::Error::other("a pipe of the child is missing");
    let stdin = Sender::from_owned_fd(OwnedFd::from(stdin.ok_or_else(no_pipe)?))?;
    let mut outputs = Outputs {
        stdout: Capture::new(stdout.ok_or_else(no_pipe)?, errand.most_stdout)?,
        stderr: Capture::new(stderr.ok_or_else(no_pipe)?, errand.most_stderr)?,
    };
    let exit = exit_of(pid)?;

    let scales = Scales { family, leader: pid, errand: &errand };
    let why = watch(&exit, stdin, &mut outputs, &scales, cancelled).await;
    let status = leader.end(&exit).await?;
    let last = match why {
        Ok(Why::Cancelled) | Err(_) => None,
        Ok(_) => timeout(LAST_WORDS, outputs.drain()).await.ok().flatten(),
    };
    let end = match (why?, last) {
        (Why::Deadline, _) => End::Deadline,
        (Why::Cancelled, _) => End::Cancelled,
        (Why::TooMuchMemory, _) => End::TooMuchMemory,
        (Why::TooManyProcesses, _) => End::TooManyProcesses,
        (Why::TooMuch(stream), _) | (Why::Exited, Some(stream)) => End::TooMuch(stream),
        (Why::Exited, None) => End::Exited(status),
    };
    let Outputs { stdout, stderr } = outputs;
    Ok(Finished { end, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() })
}

/// A descriptor that becomes readable when the process exits (pidfd_open(2)).
fn exit_of(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let exit = pidfd_open(pid, PidfdFlags::empty())?;
    #[expect(
        deprecated,
        reason = "what it may be misused for, a type that gives different descriptors, an OwnedFd \
                  is not; the alternative is an unsafe function"
    )]
    AsyncFd::with_interest(exit, Interest::READABLE)
}

/// Why the watching is over.
enum Why {
    Exited,
    Deadline,
    Cancelled,
    TooMuch(Stream),
    TooMuchMemory,
    TooManyProcesses,
}

/// What is needed to weigh a call.
struct Scales<'a> {
    family: &'a Family,
    leader: Pid,
    errand: &'a Errand,
}

impl Scales<'_> {
    fn verdict(&self) -> Option<Why> {
        let most = self.errand;
        let weight = self.family.weigh(self.leader, most.most_processes);
        if weight.processes > most.most_processes {
            return Some(Why::TooManyProcesses);
        }
        (weight.memory_bytes > most.most_memory).then_some(Why::TooMuchMemory)
    }
}

async fn watch(
    exit: &AsyncFd<OwnedFd>,
    stdin: Sender,
    outputs: &mut Outputs,
    scales: &Scales<'_>,
    mut cancelled: oneshot::Receiver<()>,
) -> io::Result<Why> {
    let errand = scales.errand;
    let deadline = async {
        match errand.give_up_at {
            Some(at) => sleep_until(at.into()).await,
            None => pending().await,
        }
    };
    let mut deadline = std::pin::pin!(deadline);
    let mut feeding = std::pin::pin!(feed(stdin, errand.stdin.clone()));
    let mut is_fed = false;
    let mut weighing = interval_at(Instant::now() + WEIGHED_EVERY, WEIGHED_EVERY);
    weighing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // In this order: a child that floods its pipes delays neither its end nor its deadline.
        tokio::select! {
            biased;
            exited = exit.readable() => return exited.map(|_| Why::Exited),
            _ = &mut cancelled => return Ok(Why::Cancelled),
            () = &mut deadline => return Ok(Why::Deadline),
            _ = weighing.tick() => {
                if let Some(too_heavy) = scales.verdict() {
                    return Ok(too_heavy);
                }
            }
            over = outputs.fill(), if outputs.are_open() => {
                if let Some(stream) = over? {
                    return Ok(Why::TooMuch(stream));
                }
            }
            () = &mut feeding, if !is_fed => is_fed = true,
        }
    }
}

struct Outputs {
    stdout: Capture,
    stderr: Capture,
}

impl Outputs {
    fn are_open(&self) -> bool {
        self.stdout.is_open() || self.stderr.is_open()
    }

    /// Reads once from whichever has something; says which one went over its cap. May be dropped
    /// at any time without losing a byte.
    async fn fill(&mut self) -> io::Result<Option<Stream>> {
        let (stream, progress) = tokio::select! {
            progress = self.stdout.fill(), if self.stdout.is_open() => (Stream::Stdout, progress?),
            progress = self.stderr.fill(), if self.stderr.is_open() => (Stream::Stderr, progress?),
            else => return Ok(None),
        };
        Ok((progress == Progress::OverCap).then_some(stream))
    }

    /// Reads what is left.
    async fn drain(&mut self) -> Option<Stream> {
        while self.are_open() {
            match self.fill().await {
                Ok(None) => {}
                Ok(over) => return over,
                Err(_) => return None,
            }
        }
        None
    }
}

/// The child, ended with its tree on every way out.
struct Leader<'a> {
    family: &'a Family,
    pid: Pid,
    child: Child,
    reaped: bool,
}

impl Leader<'_> {
    async fn end(&mut self, exit: &AsyncFd<OwnedFd>) -> io::Result<ExitStatus> {
        Family::end_group(self.pid);
        let late = || io::Error::other("the process was killed and does not end");
        let _exited = timeout(PATIENCE, exit.readable()).await.map_err(|_| late())??;
        let status = self.family.reap(self.pid, &mut self.child)?.ok_or_else(late)?;
        self.reaped = true;
        self.family.end_strays().await;
        Ok(status)
    }
}

impl Drop for Leader<'_> {
    /// Only where the ordinary way was not gone to its end: an error before it, or a runtime that
    /// is shut down. Short, since nothing else may run meanwhile.
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        Family::end_group(self.pid);
        for _ in 0..100 {
            if !matches!(self.family.reap(self.pid, &mut self.child), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.family.end_strays_now();
    }
}
