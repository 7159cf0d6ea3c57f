//! When a process is told to end: interrupted, terminated as a container is, or left by its terminal.
//!
//! A signal that nobody listens for ends a process at once, and leaves its plugins running and its
//! private files behind.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// What a shell adds to the number of the signal that ended a command.
const BY_SIGNAL: u8 = 128;

/// Ready when this process is told to end; by which signal comes back.
///
/// # Errors
/// When signals cannot be listened to.
pub(super) fn told() -> std::io::Result<impl Future<Output = SignalKind>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        }
    })
}

/// The exit code of a command that was stopped by a signal, as a shell shows it.
pub(super) fn exit_code(signal: SignalKind) -> ExitCode {
    let number = u8::try_from(signal.as_raw_value()).unwrap_or_default();
    ExitCode::from(BY_SIGNAL.saturating_add(number))
}
