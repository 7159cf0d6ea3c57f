//! Why an inventory cannot give or keep something: [`InventoryError`].

use std::{
    io,
    path::{Path, PathBuf},
};

use ratify_core::{Digest, Error, ErrorCode};

/// What went wrong with the files of a plugin directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// A system call failed.
    #[error("{doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something else stands where a directory must be.
    #[error("{} is not a directory: move it away, or name another plugin directory", .0.display())]
    NotADirectory(PathBuf),
    /// A private directory that another user owns or may write to.
    #[error("{} belongs to another user or is writable by others: run chown and chmod 0700 on it", .0.display())]
    OpenToOthers(PathBuf),
    /// The plugin's name is taken by something that no installer put there.
    #[error("{} is {what}, which is not replaced: move it away", path.display())]
    NameTaken {
        /// The path of the plugin.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// A recorded file is gone.
    #[error("the plugin file {} is gone: install it again", .0.display())]
    Missing(PathBuf),
    /// The bytes are not those that were proven.
    #[error("the plugin file {} was changed since it was installed (its digest is not {digest}): it is not run; install it again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What its digest should be.
        digest: Digest,
    },
}

impl From<InventoryError> for Error {
    fn from(error: InventoryError) -> Self {
        ErrorCode::VerifyPluginFailure.error().with_source(error)
    }
}

/// Says what was being done, and to what, where a system call fails.
pub(super) trait Attempt<T> {
    /// Adds the words.
    fn attempt(self, doing: &'static str, path: &Path) -> Result<T, InventoryError>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempt(self, doing: &'static str, path: &Path) -> Result<T, InventoryError> {
        self.map_err(|source| InventoryError::Io { doing, path: path.to_owned(), source })
    }
}

/// What to do about it, where one can say.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            ": mount a writable volume there, or name another plugin directory"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free some space, or name another plugin directory"
        }
        io::ErrorKind::PermissionDenied => {
            ": let this user write there, or name another plugin directory"
        }
        io::ErrorKind::NotADirectory => ": a part of that path is a file",
        _ => "",
    }
}
