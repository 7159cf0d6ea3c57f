//! Hashes of files, and files that appear whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use ratify_core::{Algorithm, Digest};
use ratify_store_oras::Hasher;
use tempfile::TempPath;

use super::{InventoryError, error::Attempt as _};

/// How much of a file is read at once.
const CHUNK: usize = 128 * 1024;
/// Temporaries begin so: a leading dot and a name that no digest and no record has.
pub(super) const TEMPORARY: &str = ".incoming-";

/// The digest of what an open file holds from its start.
pub(in crate::plugin) fn digest_of_file(
    algorithm: Algorithm,
    mut file: &File,
) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut chunk = vec![0; CHUNK];
    io::Seek::rewind(&mut file)?;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How often a new file is made where a collection is faster than its lock.
const ATTEMPTS: usize = 8;

/// A file that is being written under a temporary name.
pub(super) struct Incoming {
    /// To be written to.
    pub(super) file: File,
    /// The same for reading, locked: what is locked has a writer, what is not was left by one that
    /// died. The lock outlives `file`, which has to be closed before the program can run.
    pub(super) held: File,
    /// Its name for now, which goes with this value.
    pub(super) path: TempPath,
}

/// A new file to be written to.
pub(super) fn incoming(folder: &Path) -> Result<Incoming, InventoryError> {
    for _ in 0..ATTEMPTS {
        let made = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder);
        let (file, path) = made.attempt("creating a file in", folder)?.into_parts();
        // Before it was locked, it looked as if its writer were dead.
        let held = match File::open(&path) {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).attempt("opening", &path),
        };
        let is_ours = held.try_lock_shared().is_ok()
            && fs::symlink_metadata(&path)
                .is_ok_and(|named| file.metadata().is_ok_and(|file| file.ino() == named.ino()));
        if is_ours {
            return Ok(Incoming { file, held, path });
        }
    }
    Err(io::Error::from(io::ErrorKind::WouldBlock)).attempt("locking a new file in", folder)
}

/// Writes a file that appears whole, on the disk, or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), InventoryError> {
    let folder = folder_of(path);
    let mut incoming = incoming(folder)?;
    incoming.file.write_all(bytes).attempt("writing", path)?;
    incoming.file.sync_all().attempt("writing", path)?;
    incoming.path.persist(path).map_err(|error| error.error).attempt("writing", path)?;
    sync_folder(folder)
}

/// Writes a file that appears whole or not at all. Nobody waits for the disk: what is in it is
/// proven when it is read, or is a hint.
pub(super) fn write_unsynced(path: &Path, bytes: &[u8]) -> Result<(), InventoryError> {
    let mut incoming = incoming(folder_of(path))?;
    incoming.file.write_all(bytes).attempt("writing", path)?;
    incoming.path.persist(path).map_err(|error| error.error).attempt("writing", path)?;
    Ok(())
}

/// Makes names that were created, renamed or removed in a folder outlive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<(), InventoryError> {
    File::open(folder).and_then(|folder| folder.sync_all()).attempt("syncing", folder)
}

/// The folder a path is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes a file; one that is gone is as good.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
