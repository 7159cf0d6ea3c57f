//! `cargo xtask soak`: the suite of the plugin host with its long counts, which CI is too short for.

use anyhow::Result;

use crate::build_plugins;
use crate::process;
use crate::test;
use crate::workspace;

/// Runs the command.
///
/// # Errors
/// When something does not build, or a test fails.
pub(crate) fn run() -> Result<()> {
    test::programs_and_plugins()?;
    let mut cargo = workspace::cargo()?;
    cargo.env("RATIFY_SOAK", "1");
    cargo.env("RATIFY_PLUGINS", build_plugins::folder(&workspace::metadata()?));
    let suite =
        ["test", "--locked", "--release", "--package", "ratify-controller", "--test", "suite"];
    process::run(cargo.args(suite).args(["--", "--nocapture", "host::"]))
}
