//! Misbehaviour with processes: those that stay behind, and one that does not want to end.
//!
//! A helper is this program again, with arguments; a host never gives any.

use std::{
    env, io,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// Plays the part of a helper.
pub(crate) fn play(role: &str, arguments: &[String]) -> ExitCode {
    let seconds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(60);
    let lifetime = Duration::from_secs(seconds);
    match role {
        "sleep" => {
            thread::sleep(lifetime);
            ExitCode::SUCCESS
        }
        "daemon" => {
            // A leader of its group cannot leave its session, and this is none: it was spawned.
            if rustix::process::setsid().is_err() {
                return ExitCode::FAILURE;
            }
            match again("sleep", lifetime).spawn() {
                Ok(_) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        _ => ExitCode::FAILURE,
    }
}

/// A child that holds the pipes and outlives its parent.
pub(crate) fn orphan(lifetime: Duration) -> Value {
    process_id(again("sleep", lifetime).stdin(Stdio::inherit()).spawn())
}

/// A grandchild in a session of its own, which no process group holds. It has the pipes as well.
pub(crate) fn daemon(lifetime: Duration) -> Value {
    let child = again("daemon", lifetime).spawn();
    match child.and_then(|mut child| child.wait()) {
        Ok(status) => json!({"left": status.success()}),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// A few dozen children, until someone says no.
pub(crate) fn many(count: u32, lifetime: Duration) -> Value {
    let mut started = 0;
    for _ in 0..count {
        match again("sleep", lifetime).spawn() {
            Ok(_) => started += 1,
            Err(error) => return json!({"started": started, "refused": error.to_string()}),
        }
    }
    json!({"started": started})
}

/// Becomes a shell that shrugs at a polite request to end. Returns only the reason why not.
pub(crate) fn ignore_sigterm() -> io::Error {
    let script = "trap '' TERM INT HUP; while :; do sleep 1; done";
    Command::new("/bin/sh").args(["-c", script]).exec()
}

/// Becomes a shell that closes its standard input, waits, and accepts.
pub(crate) fn close_stdin() -> ExitCode {
    let script = r#"exec <&-; sleep 1; echo '{"isSuccess":true,"message":"close_stdin"}'"#;
    let error = Command::new("/bin/sh").args(["-c", script]).exec();
    eprintln!("WARN: no shell: {error}");
    ExitCode::FAILURE
}

fn again(role: &str, lifetime: Duration) -> Command {
    // Linux has this path wherever /proc is mounted, as it is for every plugin.
    let program = env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let mut command = Command::new(program);
    command.arg(role).arg(lifetime.as_secs().to_string());
    command
}

fn process_id(child: io::Result<Child>) -> Value {
    match child {
        Ok(child) => json!({"pid": child.id()}),
        Err(error) => json!({"error": error.to_string()}),
    }
}
