//! The SDK from outside: what a plugin built with it says on v1's wire, whole.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod document;
mod external;
mod store_wire;
mod verifier_wire;

use ratify_plugin_sdk::testing::Outcome;

/// Exit code, standard output and standard error as one text.
fn transcript(outcome: &Outcome) -> String {
    let stdout = String::from_utf8_lossy(&outcome.stdout);
    format!("exit {}\n-- stdout\n{stdout}\n-- stderr\n{}", outcome.exit_code, outcome.stderr)
}
