//! Starting other programs. Every failure names the whole command line, so that it can be
//! repeated by hand.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a long step says that it is still alive.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How many lines of a log are shown when its program fails.
const SHOWN_LINES: usize = 30;

/// Runs a command with our own input and output.
///
/// # Errors
/// When it cannot be started, or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    succeeded(command, status)
}

/// Runs a command and returns what it printed on standard output; its standard error is shown.
///
/// # Errors
/// When it cannot be started, does not exit with 0, or prints something that is not UTF-8.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| cannot_start(command))?;
    succeeded(command, output.status)?;
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something that is not UTF-8", line(command)))
}

/// Runs a long command whose output only matters when it fails: it goes to `log`, and a line
/// every 20 seconds says that `what` is still under way.
///
/// # Errors
/// As [`run`], with the last lines of the log.
pub(crate) fn run_logged(command: &mut Command, log: &Path, what: &str) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let started = Instant::now();
    let mut said = started;
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if said.elapsed() >= HEARTBEAT {
            said = Instant::now();
            println!("  … {what}: {} s so far", started.elapsed().as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    };
    succeeded(command, status).with_context(|| last_lines(log))
}

/// The command line, as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("`{}` failed ({status})", line(command))
}

fn cannot_start(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    format!("cannot start `{program}`; is it installed and on PATH?")
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().saturating_sub(SHOWN_LINES);
    format!("{}\nthe whole log is {}", lines[shown..].join("\n"), log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_named_with_its_arguments() {
        let error = run(Command::new("false").arg("--flag")).unwrap_err();
        assert!(error.to_string().starts_with("`false --flag` failed"), "{error}");
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = capture(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(error.to_string().contains("`no-such-program-here`"), "{error}");
    }

    #[test]
    fn a_logged_command_that_fails_shows_the_end_of_its_log() {
        let log = std::env::temp_dir().join(format!("xtask-log-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason; exit 3"]);
        let error = run_logged(&mut command, &log, "a test").unwrap_err();
        fs::remove_file(&log).unwrap();
        assert!(format!("{error:#}").contains("the reason"), "{error:#}");
    }
}
