//! [`Draft`]: a file that is being received. It gets its name only when it is whole; dropped before,
//! it leaves nothing.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use ratify_core::Digest;
use tempfile::TempPath;

use super::{
    InventoryError,
    contents::{self, Incoming, folder_of},
    error::Attempt as _,
};

/// Its owner may read and run it (v1: 0700); nobody may write to it.
pub(super) const EXECUTABLE: u32 = 0o500;

/// A file under a temporary name, to be written to once, from its start. No collection takes it.
pub struct Draft {
    incoming: Incoming,
    target: PathBuf,
    digest: Digest,
}

/// A file that is not written to any more and has no name yet.
pub struct Received {
    held: File,
    path: TempPath,
    target: PathBuf,
    digest: Digest,
}

impl Draft {
    /// A file beside its target.
    pub(super) fn create(target: &Path, digest: &Digest) -> Result<Self, InventoryError> {
        let incoming = contents::incoming(folder_of(target))?;
        Ok(Self { incoming, target: target.to_owned(), digest: digest.clone() })
    }

    /// What to write to. The name stays with the draft, and goes with it at once, whoever still
    /// writes. To be closed before [`Draft::close`].
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn writer(&self) -> Result<File, InventoryError> {
        self.incoming.file.try_clone().attempt("opening", &self.target)
    }

    /// Closes the file, since what is open for writing cannot be run.
    ///
    /// # Errors
    /// When it cannot be made executable.
    pub fn close(self) -> Result<Received, InventoryError> {
        let Self { incoming: Incoming { file, held, path }, target, digest } = self;
        let executable = Permissions::from_mode(EXECUTABLE);
        file.set_permissions(executable).attempt("making executable", &target)?;
        Ok(Received { held, path, target, digest })
    }
}

impl Received {
    /// What was received, to be looked at.
    pub fn file(&self) -> &File {
        &self.held
    }

    /// Gives the file its name where that is free, and hands out the lock on it. Where another
    /// process was faster and its file is whole, that one stays, and there is no lock: whoever runs
    /// it sees no change. Nothing is proven here: whoever runs what has the name proves it first.
    /// Nobody waits for the disk either: what a power cut tears is found out by its digest, and is
    /// pulled again.
    ///
    /// # Errors
    /// When a step fails; nothing is left then.
    pub(super) fn name(self) -> Result<Option<File>, InventoryError> {
        let Self { held, path, target, digest } = self;
        let taken = match path.persist_noclobber(&target) {
            Ok(()) => return Ok(Some(held)),
            Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => taken,
            Err(other) => return Err(other.error).attempt("writing", &target),
        };
        if super::installed::is_whole(&target, &digest) {
            return Ok(None);
        }
        taken.path.persist(&target).map_err(|error| error.error).attempt("writing", &target)?;
        Ok(Some(held))
    }
}
