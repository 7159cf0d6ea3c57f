//! The folder of one run below target/; every server that is measured gets an empty one in it, so
//! that none finds another's cache. A server's home can lie in memory instead, so that the state of
//! the disk is not measured.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// Where Linux has a file system in memory. Programs may not be run from there everywhere.
const MEMORY: &str = "/dev/shm";

/// A folder that is removed at the end.
pub(super) struct Folder {
    path: PathBuf,
    in_memory: PathBuf,
    given: Cell<usize>,
}

/// Where a server keeps what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Disk,
    Memory,
}

/// The two empty folders of one server.
pub(super) struct Place {
    /// For its configuration, its plugins and its log.
    pub(super) folder: PathBuf,
    /// For what it writes: its home, and its temporary files.
    pub(super) home: PathBuf,
}

impl Folder {
    /// Makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new() -> Result<Self> {
        let target = workspace::metadata()?.target_directory.into_std_path_buf();
        let path = target.join(format!("bench-{}", std::process::id()));
        make(&path)?;
        let in_memory = Path::new(MEMORY).join(format!("ratify-bench-{}", std::process::id()));
        Ok(Self { path, in_memory, given: Cell::new(0) })
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Empty folders in it.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(super) fn fresh(&self, home: Home) -> Result<Place> {
        self.given.set(self.given.get() + 1);
        let number = self.given.get().to_string();
        let folder = self.path.join(&number);
        let home = match home {
            Home::Disk => folder.join("home"),
            Home::Memory => self.in_memory.join(&number),
        };
        make(&folder)?;
        make(&home)?;
        Ok(Place { folder, home })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind lies in target/, where nobody looks for anything.
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_dir_all(&self.in_memory);
    }
}

fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}
