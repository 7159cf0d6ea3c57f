//! Crates that this workspace depends on, as far as tests read files that are published with them. Cargo has
//! them already: it downloads what Cargo.lock names, and proves it by the checksum there.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use super::parts::CratePart;
use super::say;
use crate::workspace;

/// The folder of a crate's source, read-only by custom.
///
/// # Errors
/// When this workspace depends on no such crate, or cargo cannot have it.
pub(crate) fn source(part: &CratePart) -> Result<PathBuf> {
    let started = Instant::now();
    let metadata = workspace::metadata()?;
    let package = metadata.packages.iter().find(|package| package.name == part.package);
    let package = package.with_context(|| format!("Cargo.lock names no crate {}", part.package))?;
    let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
    say(part.name, "downloaded or present", Some(started));
    Ok(folder.to_path_buf().into_std_path_buf())
}

#[cfg(test)]
mod tests {
    use super::super::parts;
    use super::*;

    #[test]
    fn each_crate_is_one_of_our_dependencies() {
        for part in &parts::CRATES {
            assert!(source(part).unwrap().join("Cargo.toml").is_file(), "{}", part.name);
        }
        let none = CratePart { name: "none", package: "no-such-crate" };
        assert!(source(&none).is_err());
    }
}
