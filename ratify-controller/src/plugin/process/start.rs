//! How a program is started, with the launcher or without, and what a failed start says.

use std::{io, os::unix::process::CommandExt, path::PathBuf, process::Command};

use rustix::{
    io::Errno,
    process::{Pid, Resource, Rlimit, prlimit},
};

use super::{End, Finished, Launch};
use crate::plugin::sandbox::Limits;

/// The status of a launcher that could not do its work.
const LAUNCHER_FAILED: i32 = 125;
/// What its one line begins with.
const LAUNCHER_LINE: &str = "ratify-launch: ";

/// What a try came to.
pub(super) enum Attempt {
    /// The program ran.
    Ran(Finished),
    /// Its file is open for writing somewhere. A spawn in another thread can hold the descriptor
    /// of whoever wrote it for a moment, so this passes.
    Busy(io::Error),
}

impl Attempt {
    pub(super) fn if_busy(error: io::Error) -> Result<Self, io::Error> {
        match Errno::from_io_error(&error) {
            Some(Errno::TXTBSY) => Ok(Self::Busy(error)),
            _ => Err(error),
        }
    }
}

/// What a launcher says.
pub(super) enum LauncherFailure {
    /// The program cannot be executed.
    Exec(io::Error),
    /// It did not get that far.
    Step(String, io::Error),
}

/// Builds commands.
pub(super) struct Starter {
    launcher: Option<PathBuf>,
    limits: Limits,
}

impl Starter {
    pub(super) fn new(launcher: Option<PathBuf>, limits: Limits) -> Self {
        Self { launcher, limits }
    }

    /// A fresh command; a spawned one is never used again.
    pub(super) fn command(&self, launch: &Launch) -> Command {
        let argv0 = launch.argv0.as_deref().unwrap_or(launch.program.as_os_str());
        let mut command = match &self.launcher {
            Some(launcher) => {
                let mut command = Command::new(launcher);
                let Limits { data_bytes, open_files, file_bytes } = self.limits;
                command.args([data_bytes, open_files, file_bytes].map(|n| n.to_string()));
                command.arg(argv0).arg(&launch.program);
                command
            }
            None => {
                let mut command = Command::new(&launch.program);
                command.arg0(argv0);
                command
            }
        };
        command.args(&launch.arguments);
        command.env_clear().envs(launch.environment.iter().map(|(name, value)| (name, value)));
        command.process_group(0);
        command
    }

    /// What is left to do once the child lives: nothing, or the limits that a launcher would have
    /// set before.
    pub(super) fn after_spawn(&self) -> impl FnOnce(Pid) -> io::Result<()> + Send + 'static {
        let limits = self.launcher.is_none().then_some(self.limits);
        move |pid| limits.map_or(Ok(()), |limits| limit(pid, limits))
    }

    /// Reads a launcher's failure from how it ended. A plugin that imitates it has failed as well.
    pub(super) fn launcher_failure(&self, finished: &Finished) -> Option<LauncherFailure> {
        let End::Exited(status) = finished.end else { return None };
        if self.launcher.is_none() || status.code() != Some(LAUNCHER_FAILED) {
            return None;
        }
        let line = std::str::from_utf8(&finished.stderr).ok()?.strip_suffix('\n')?;
        let (step, errno) = line.strip_prefix(LAUNCHER_LINE)?.rsplit_once(": ")?;
        let error = io::Error::from_raw_os_error(errno.parse().ok()?);
        Some(match step {
            "exec" => LauncherFailure::Exec(error),
            step => LauncherFailure::Step(ratify_core::capped_line(step, 100), error),
        })
    }
}

/// The text Go gives for an error of the kernel: `permission denied`.
pub fn go_error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rsplit_once(" (os error ")) {
        (Some(_), Some((text, _))) => text.to_lowercase(),
        _ => text,
    }
}

fn limit(pid: Pid, limits: Limits) -> io::Result<()> {
    let each = [
        (Resource::Core, 0),
        (Resource::Data, limits.data_bytes),
        (Resource::Nofile, limits.open_files),
        (Resource::Fsize, limits.file_bytes),
    ];
    for (resource, most) in each {
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        match prlimit(Some(pid), resource, Rlimit { current: Some(most), maximum: Some(most) }) {
            // It has exited already, so there is nothing left to limit.
            Ok(_) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

    use super::*;

    fn ended(code: i32, stderr: &str) -> Finished {
        let end = End::Exited(ExitStatus::from_raw(code << 8));
        Finished { end, stdout: Vec::new(), stderr: stderr.into() }
    }

    #[test]
    fn a_launchers_failure_is_told_from_a_plugins() {
        let starter = Starter::new(Some("/l".into()), Limits::default());
        let busy = starter.launcher_failure(&ended(125, "ratify-launch: exec: 26\n"));
        let Some(LauncherFailure::Exec(busy)) = busy else { panic!("not a failed exec") };
        assert!(matches!(Attempt::if_busy(busy), Ok(Attempt::Busy(_))));
        let step = starter.launcher_failure(&ended(125, "ratify-launch: limit of data: 1\n"));
        assert!(matches!(step, Some(LauncherFailure::Step(step, _)) if step == "limit of data"));
        for plugins_own in [
            ended(1, "ratify-launch: exec: 26\n"),
            ended(125, "no such thing\n"),
            ended(125, "ratify-launch: exec: 26\nmore\n"),
        ] {
            assert!(starter.launcher_failure(&plugins_own).is_none());
        }
    }

    #[test]
    fn errors_of_the_kernel_read_as_go_writes_them() {
        let text = |errno: Errno| go_error_text(&errno.into());
        assert_eq!(text(Errno::ACCESS), "permission denied");
        assert_eq!(text(Errno::NOENT), "no such file or directory");
        assert_eq!(text(Errno::NOEXEC), "exec format error");
        assert_eq!(text(Errno::TXTBSY), "text file busy");
        assert_eq!(go_error_text(&io::Error::other("Own")), "Own");
    }
}
