//! The folder of one run below target/; every server that is measured gets an empty one in it, so
//! that none finds another's cache.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// A folder that is removed at the end.
pub(super) struct Folder {
    path: PathBuf,
    given: Cell<usize>,
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
        Ok(Self { path, given: Cell::new(0) })
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty folder in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn fresh(&self) -> Result<PathBuf> {
        self.given.set(self.given.get() + 1);
        let path = self.path.join(self.given.get().to_string());
        make(&path)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind lies in target/, where nobody looks for anything.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}
