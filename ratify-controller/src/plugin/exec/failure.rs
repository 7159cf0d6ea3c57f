//! [`PluginFailure`]: a plugin that failed, in v1's words, and its own error beside them.

use std::{fmt, io, os::unix::process::ExitStatusExt, path::Path, process::ExitStatus};

use ratify_core::{config::Denial, without_control_characters};
use ratify_plugin_sdk::protocol::{PluginError, output};
use rustix::io::Errno;

use crate::plugin::{
    find::not_executable,
    process::{End, Finished, ProcessError, Stream},
};

/// How much of each stream an error shows.
const SHOWN_BYTES: usize = 4096;

/// A plugin that was not started, was ended, or did not exit with 0. `Display` is v1's text, with
/// both streams made fit for a report: bounded, on one line, without control characters.
#[derive(Debug)]
pub struct PluginFailure {
    reason: String,
    stdout: String,
    stderr: String,
    plugin_error: Option<PluginError>,
    is_transient: bool,
}

impl PluginFailure {
    /// The error the plugin printed, where it printed one.
    pub fn plugin_error(&self) -> Option<&PluginError> {
        self.plugin_error.as_ref()
    }

    /// Why, without what the plugin printed.
    pub(in crate::plugin) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether there was no time or no room for it, which says nothing of what it was asked.
    pub fn is_transient(&self) -> bool {
        self.is_transient
    }

    fn without_output(reason: String, is_transient: bool) -> Self {
        let (stdout, stderr) = (String::new(), String::new());
        Self { reason, stdout, stderr, plugin_error: None, is_transient }
    }

    /// It did not run, for a reason that is this machine's.
    pub(super) fn not_run(reason: String) -> Self {
        Self::without_output(reason, true)
    }

    pub(super) fn denied(denial: &Denial) -> Self {
        Self::without_output(format!("its answer does not count: {denial}"), false)
    }

    pub(super) fn not_started(error: &ProcessError, source: &io::Error, path: &Path) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::PermissionDenied => not_executable(path),
            _ => None,
        };
        let reason = match hint {
            Some(hint) => format!("{error}: {hint}"),
            None => error.to_string(),
        };
        // The machine is short of something; all else is the file's fault.
        let passes = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::TXTBSY];
        let is_transient = Errno::from_io_error(source).is_some_and(|no| passes.contains(&no));
        Self::without_output(reason, is_transient)
    }

    pub(super) fn ended(
        end: End,
        finished: &Finished,
        most_stdout: usize,
        most_stderr: usize,
    ) -> Self {
        let ended = "the plugin was ended with all its processes";
        let reason = match end {
            End::Exited(status) => exit_text(status),
            End::Deadline => format!("signal: killed: the deadline passed, and {ended}"),
            End::TooMuch(stream) => {
                let (name, most) = match stream {
                    Stream::Stdout => ("standard output", most_stdout),
                    Stream::Stderr => ("standard error", most_stderr),
                };
                format!("signal: killed: it wrote more than {most} bytes to {name}, and {ended}")
            }
            End::TooMuchMemory => {
                format!("signal: killed: its processes used more memory than it may, and {ended}")
            }
            End::TooManyProcesses => {
                format!("signal: killed: it started more processes than it may, and {ended}")
            }
            End::Cancelled => format!("signal: killed: nobody waits for it, and {ended}"),
        };
        Self {
            reason,
            stdout: shown(&finished.stdout),
            stderr: shown(&finished.stderr),
            plugin_error: match end {
                End::Exited(_) => output::read_error(&finished.stdout, &finished.stderr),
                _ => None,
            },
            is_transient: matches!(end, End::Deadline | End::Cancelled),
        }
    }
}

impl fmt::Display for PluginFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, stdout, stderr, .. } = self;
        write!(
            formatter,
            "plugin failed with error: '{reason}', msg from stError '{stderr}', msg from stdOut '{stdout}'"
        )
    }
}

impl std::error::Error for PluginFailure {}

/// Several lines as one: line breaks with the indentation behind them become a space. A text
/// without a line break stays as it is.
pub(in crate::plugin) fn joined_lines(text: &str) -> String {
    if !text.contains(['\n', '\r']) {
        return text.to_owned();
    }
    let lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// A stream within an error: one line without control characters, and no more than a page of it.
fn shown(stream: &[u8]) -> String {
    let cut = &stream[..stream.len().min(SHOWN_BYTES)];
    let line = without_control_characters(&joined_lines(&String::from_utf8_lossy(cut)));
    if cut.len() < stream.len() {
        format!("{line}... ({} bytes in all)", stream.len())
    } else {
        line
    }
}

/// As Go prints how a process ended.
pub(super) fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("signal: {}{core}", signal_name(signal))
        }
        (None, None) => status.to_string(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(raw_status: i32, stdout: &str, stderr: &str) -> PluginFailure {
        let end = End::Exited(ExitStatus::from_raw(raw_status));
        let finished = Finished { end, stdout: stdout.into(), stderr: stderr.into() };
        PluginFailure::ended(end, &finished, 10, 10)
    }

    #[test]
    fn reads_as_v1_writes_it_and_keeps_the_plugins_own_error() {
        let error = PluginError::new(8, "plugin command VERIFY failed", "why");
        let failure = failure(1 << 8, &error.to_json(), "INFO: a\nINFO: b\n");
        insta::assert_snapshot!(failure, @r#"plugin failed with error: 'exit status 1', msg from stError 'INFO: a INFO: b', msg from stdOut '{ "code": 8, "msg": "plugin command VERIFY failed", "details": "why" }'"#);
        assert_eq!(failure.plugin_error(), Some(&error));
    }

    #[test]
    fn a_signal_has_the_name_go_gives_it() {
        insta::assert_snapshot!(failure(11, "", ""), @"plugin failed with error: 'signal: segmentation fault', msg from stError '', msg from stdOut ''");
        insta::assert_snapshot!(failure(6 | 0x80, "", ""), @"plugin failed with error: 'signal: aborted (core dumped)', msg from stError '', msg from stdOut ''");
    }

    #[test]
    fn what_had_no_time_or_no_room_may_do_better_and_what_failed_may_not() {
        let ended = |end| {
            let finished = Finished { end, stdout: Vec::new(), stderr: Vec::new() };
            PluginFailure::ended(end, &finished, 10, 10).is_transient()
        };
        assert!(ended(End::Deadline) && ended(End::Cancelled));
        assert!(!ended(End::TooMuchMemory) && !failure(1 << 8, "", "").is_transient());
        let not_started = |no: Errno| {
            let error = ProcessError::NotStarted { program: "x".into(), source: no.into() };
            PluginFailure::not_started(&error, &no.into(), Path::new("x")).is_transient()
        };
        assert!(not_started(Errno::NOMEM) && not_started(Errno::MFILE));
        assert!(!not_started(Errno::NOENT) && !not_started(Errno::NOEXEC));
    }

    #[test]
    fn a_stream_within_an_error_is_no_weapon() {
        let text = shown(b"\x1b]0;evil\x07\r\n\tDENY: ok\n\n\xff\xe2\x80\xae");
        assert_eq!(text, "\u{fffd}]0;evil\u{fffd} DENY: ok \u{fffd}\u{fffd}");
        let long = shown("x".repeat(10_000).as_bytes());
        assert!(long.len() < SHOWN_BYTES + 40 && long.ends_with("... (10000 bytes in all)"));
    }
}
