//! [`Draft`]: a file that is being received. It is hashed as it is written and gets its name only
//! when it is whole, proven and on the disk; dropped before, it leaves nothing.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ratify_core::{Algorithm, Digest};
use ratify_store_oras::Hasher;
use tempfile::TempPath;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    InventoryError,
    contents::{self, folder_of, sync_folder},
    error::Attempt as _,
};

/// Its owner may read and run it (v1: 0700); nobody may write to it.
pub(super) const EXECUTABLE: u32 = 0o500;

/// The disk begins to write whenever so many bytes more have been received: it works while the
/// network does, and little is left to wait for at the end.
const WRITE_BACK: u64 = 4 << 20;

/// A file under a temporary name, to be written to once, from its start.
pub struct Draft {
    file: tokio::fs::File,
    /// The same file, for the disk.
    early: Early,
    path: TempPath,
    target: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl Draft {
    /// A file beside its target, locked so that no collection takes it for a stale one.
    pub(super) fn create(target: &Path, algorithm: Algorithm) -> Result<Self, InventoryError> {
        let (file, path) = contents::incoming(folder_of(target))?;
        let early = Early::of(&file).attempt("duplicating the handle of", target)?;
        let (file, target) = (tokio::fs::File::from_std(file), target.to_owned());
        Ok(Self { file, early, path, target, hasher: Hasher::new(algorithm), size: 0 })
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

    /// Gives the proven file its name: on the disk first, then closed, since a file that is open
    /// for writing cannot be run, then renamed.
    ///
    /// # Errors
    /// When a step fails; nothing is left then.
    pub async fn keep(self) -> Result<(), InventoryError> {
        let Self { file, early, path, target, hasher, .. } = self;
        early.end().await;
        let digest = hasher.finish();
        file.set_permissions(Permissions::from_mode(EXECUTABLE))
            .await
            .attempt("making executable", &target)?;
        file.sync_all().await.attempt("writing", &target)?;
        drop(file.into_std().await);
        let named = tokio::task::spawn_blocking(move || name(path, &target, &digest)).await;
        named.map_err(io::Error::other).attempt("naming", Path::new("a file"))?
    }
}

/// Brings a file to the disk while more of it is received. What fails here fails again, and is
/// said, when the whole file is synced.
struct Early {
    file: Arc<std::fs::File>,
    /// How long the file was when this began the last time.
    until: u64,
    running: Option<tokio::task::JoinHandle<()>>,
}

impl Early {
    fn of(file: &std::fs::File) -> io::Result<Self> {
        Ok(Self { file: Arc::new(file.try_clone()?), until: 0, running: None })
    }

    /// Begins where there is enough, one at a time.
    fn write_back(&mut self, size: u64) {
        let is_busy = self.running.as_ref().is_some_and(|running| !running.is_finished());
        if is_busy || size - self.until < WRITE_BACK {
            return;
        }
        self.until = size;
        let file = Arc::clone(&self.file);
        self.running = Some(tokio::task::spawn_blocking(move || {
            let _ = file.sync_data();
        }));
    }

    /// Gives the handle back: a file that is open for writing cannot be run.
    async fn end(self) {
        if let Some(running) = self.running {
            let _ = running.await;
        }
    }
}

/// Takes the name where it is free. Where another process was faster and its file is whole, that
/// one stays: whoever runs it sees no change.
fn name(draft: TempPath, target: &Path, digest: &Digest) -> Result<(), InventoryError> {
    let taken = match draft.persist_noclobber(target) {
        Ok(()) => return sync_folder(folder_of(target)),
        Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => taken,
        Err(other) => return Err(other.error).attempt("writing", target),
    };
    if super::installed::is_whole(target, digest) {
        return Ok(());
    }
    taken.path.persist(target).map_err(|error| error.error).attempt("writing", target)?;
    sync_folder(folder_of(target))
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
        let size = self.size;
        self.early.write_back(size);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(context)
    }
}
