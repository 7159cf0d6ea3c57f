//! Rust's standard library for the static targets, for the toolchain this tree pins.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::say;
use crate::process;
use crate::workspace;

/// Adds the targets that the toolchain lacks.
///
/// # Errors
/// When rustup is not there or cannot add one.
pub(crate) fn bring(targets: &[&str]) -> Result<()> {
    let root = workspace::root()?;
    let mut rustc = Command::new("rustc");
    let sysroot = process::capture(rustc.current_dir(&root).args(["--print", "sysroot"]))?;
    for target in targets {
        if has(Path::new(sysroot.trim()), target) {
            say(target, "present", None);
            continue;
        }
        let started = Instant::now();
        process::run(Command::new("rustup").current_dir(&root).args(["target", "add", target]))
            .with_context(|| {
                format!(
                    "this toolchain has no standard library for {target} and rustup did not \
                     add it; add it by hand: rustup target add {target}"
                )
            })?;
        say(target, "added", Some(started));
    }
    Ok(())
}

fn has(sysroot: &Path, target: &str) -> bool {
    sysroot.join("lib/rustlib").join(target).join("lib").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_does_not_exist_is_not_there() {
        assert!(!has(Path::new("/usr"), "no-such-target"));
    }
}
