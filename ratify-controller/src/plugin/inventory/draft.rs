//! [`Draft`]: a file that is being received. It is hashed as it is written and gets its name only
//! when it is whole, proven and on the disk; dropped before, it leaves nothing.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use ratify_core::{Algorithm, Digest};
use ratify_store_oras::Hasher;
use tempfile::TempPath;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    InventoryError,
    contents::{self, folder_of},
    error::Attempt as _,
};

/// Its owner may read and run it (v1: 0700); nobody may write to it.
pub(super) const EXECUTABLE: u32 = 0o500;

/// A file under a temporary name, to be written to once, from its start.
pub struct Draft {
    file: tokio::fs::File,
    path: TempPath,
    target: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl Draft {
    /// A file beside its target, locked so that no collection takes it for a stale one.
    pub(super) fn create(target: &Path, algorithm: Algorithm) -> Result<Self, InventoryError> {
        let (file, path) = contents::incoming(folder_of(target))?;
        let file = tokio::fs::File::from_std(file);
        Ok(Self { file, path, target: target.to_owned(), hasher: Hasher::new(algorithm), size: 0 })
    }

    /// How many bytes were written.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Flushes what was written and gives the file to be looked at before it is kept.
    ///
    /// # Errors
    /// When the bytes have another digest, or cannot be flushed.
    pub async fn prove(&mut self, expected: &Digest) -> Result<std::fs::File, InventoryError> {
        self.file.flush().await.attempt("writing", &self.target)?;
        let found = self.hasher.clone().finish();
        if found != *expected {
            return Err(InventoryError::OtherBytes { expected: expected.clone(), found });
        }
        std::fs::File::open(&self.path).attempt("opening", &self.path)
    }

    /// Gives the proven file its name: closed first, since a file that is open for writing cannot
    /// be run, then renamed. Nobody waits for the disk: what a power cut tears is found out by its
    /// digest, since nothing comes into force that was not hashed, and is pulled again.
    ///
    /// # Errors
    /// When a step fails; nothing is left then.
    pub async fn keep(self) -> Result<(), InventoryError> {
        let Self { file, path, target, hasher, .. } = self;
        let digest = hasher.finish();
        file.set_permissions(Permissions::from_mode(EXECUTABLE))
            .await
            .attempt("making executable", &target)?;
        drop(file.into_std().await);
        let named = tokio::task::spawn_blocking(move || name(path, &target, &digest)).await;
        named.map_err(io::Error::other).attempt("naming", Path::new("a file"))?
    }
}

/// Takes the name where it is free. Where another process was faster and its file is whole, that
/// one stays: whoever runs it sees no change.
fn name(draft: TempPath, target: &Path, digest: &Digest) -> Result<(), InventoryError> {
    let taken = match draft.persist_noclobber(target) {
        Ok(()) => return Ok(()),
        Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => taken,
        Err(other) => return Err(other.error).attempt("writing", target),
    };
    if super::installed::is_whole(target, digest) {
        return Ok(());
    }
    taken.path.persist(target).map_err(|error| error.error).attempt("writing", target)
}

impl AsyncWrite for Draft {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.file).poll_write(context, bytes))?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(context)
    }
}
