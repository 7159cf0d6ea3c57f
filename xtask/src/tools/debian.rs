//! Debian packages. Root installs what is missing; anyone else is told the one line to run.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::parts::DebianPart;
use super::say;
use crate::process;

/// Installs the packages whose proof is missing.
///
/// # Errors
/// When something is missing and we are not root, or apt-get cannot install it.
pub(crate) fn bring(parts: &[DebianPart], log: &Path) -> Result<()> {
    let missing: Vec<&str> = missing(parts);
    if missing.is_empty() {
        return Ok(());
    }
    if !am_root()? {
        bail!("packages are missing; as root: apt-get install -y {}", missing.join(" "));
    }
    let started = Instant::now();
    println!("installing {}", missing.join(" "));
    process::run_logged(apt_get().arg("update"), log, "apt-get update")?;
    let install = ["install", "-y", "--no-install-recommends"];
    process::run_logged(apt_get().args(install).args(&missing), log, "apt-get install")?;
    match self::missing(parts).as_slice() {
        [] => say("Debian packages", "installed", Some(started)),
        still => bail!("apt-get ended well, yet {} cannot be found", still.join(" ")),
    }
    Ok(())
}

/// Where a proof is: on PATH, or the absolute path itself.
pub(crate) fn find(proof: &str) -> Option<PathBuf> {
    let path = Path::new(proof);
    if path.is_absolute() {
        return path.exists().then(|| path.to_owned());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(proof)).find(|path| path.is_file())
}

fn missing(parts: &[DebianPart]) -> Vec<&'static str> {
    parts.iter().filter(|part| find(part.proof).is_none()).map(|part| part.package).collect()
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The owner of our own process's folder in /proc is our effective user.
fn am_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self").context("cannot tell which user this is")?.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_path_and_an_absolute_path_are_found_and_nothing_else() {
        assert!(find("sh").is_some());
        assert!(find("/dev/null").is_some());
        assert_eq!(find("no-such-program-here"), None);
        assert_eq!(find("/no/such/file"), None);
    }

    #[test]
    fn only_packages_without_proof_are_missing() {
        let part = |package, proof| DebianPart { name: package, package, proof };
        let parts = [part("shell", "sh"), part("absent", "no-such-program-here")];
        assert_eq!(missing(&parts), ["absent"]);
    }
}
