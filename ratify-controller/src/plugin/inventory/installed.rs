//! [`InstalledPlugin`]: a program that was proven, and the check before each start that it still
//! is the same (another plugin of this user could have rewritten it).

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ratify_core::Digest;

use super::{InventoryError, Record, contents::digest_of_file, error::Attempt as _};

/// How often a file that is replaced while it is opened is opened again.
const ATTEMPTS: usize = 8;

/// A program in the inventory, whole and proven: when this value was made, or where it has just been
/// received, by its stream then and by its file before it first runs. While the value or a
/// [`RunGuard`] lives, no collection takes the file.
#[derive(Debug)]
pub struct InstalledPlugin {
    record: Record,
    path: PathBuf,
    argv0: PathBuf,
    proven: Mutex<Proven>,
}

/// What is to be started, now.
#[derive(Debug)]
#[non_exhaustive]
pub struct RunnablePlugin {
    /// The file to run.
    pub path: PathBuf,
    /// What the program sees as its own name: v1's path, `<plugins>/<type>`.
    pub argv0: PathBuf,
    /// Keep it until the program has ended.
    pub guard: RunGuard,
}

/// Holds a file against collection.
#[derive(Debug, Clone)]
pub struct RunGuard(#[allow(dead_code)] Arc<File>);

/// A file under a shared lock, and what it looked like when it was hashed; `None` before that.
#[derive(Debug, Clone)]
struct Proven {
    file: Arc<File>,
    identity: Option<FileIdentity>,
}

/// What changes when anyone writes to a file or puts another in its place. The change time
/// cannot be set by a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl InstalledPlugin {
    /// Hashes the file and locks it.
    pub(super) fn prove(
        record: Record,
        path: PathBuf,
        argv0: PathBuf,
    ) -> Result<Self, InventoryError> {
        let proven = prove(&path, &record.digest)?;
        Ok(Self { record, path, argv0, proven: Mutex::new(proven) })
    }

    /// What has just been received under the digest's proof, and named. Between the two another
    /// process of this user may have written to it, so it is hashed again before it runs.
    pub(super) fn received(record: Record, path: PathBuf, argv0: PathBuf, held: File) -> Self {
        let proven = Proven { file: Arc::new(held), identity: None };
        Self { record, path, argv0, proven: Mutex::new(proven) }
    }

    /// Hashes what was not hashed yet on a thread that may block, so that the first run need not
    /// wait for it. What is wrong then, the first run finds too, and says.
    pub fn prove_soon(self: &Arc<Self>) {
        let plugin = Arc::clone(self);
        drop(tokio::task::spawn_blocking(move || drop(plugin.open_for_run())));
    }

    /// What it is and where it is from.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.record.digest
    }

    /// The file that runs.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// v1's path, `<plugins>/<type>`.
    pub fn argv0(&self) -> &Path {
        &self.argv0
    }

    /// Gives what to start. One system call where nothing changed since the last look; otherwise
    /// the whole file is hashed again.
    ///
    /// # Errors
    /// When the file is gone or its bytes are others: it must not be started.
    pub fn open_for_run(&self) -> Result<RunnablePlugin, InventoryError> {
        // The value behind the lock is replaced whole, so a panic elsewhere leaves it good.
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if Some(FileIdentity::at(&self.path, &self.record.digest)?) != proven.identity {
            *proven = prove(&self.path, &self.record.digest)?;
        }
        Ok(RunnablePlugin {
            path: self.path.clone(),
            argv0: self.argv0.clone(),
            guard: RunGuard(Arc::clone(&proven.file)),
        })
    }
}

impl FileIdentity {
    /// Of an open file.
    pub(in crate::plugin) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    fn at(path: &Path, digest: &Digest) -> Result<Self, InventoryError> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => Ok(Self::from(&found)),
            Ok(_) => Err(InventoryError::Changed { path: path.to_owned(), digest: digest.clone() }),
            Err(error) => Err(gone_or(error, path)),
        }
    }
}

impl From<&std::fs::Metadata> for FileIdentity {
    fn from(found: &std::fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Whether a file is there and has a digest.
pub(super) fn is_whole(path: &Path, digest: &Digest) -> bool {
    prove(path, digest).is_ok()
}

/// Opens, locks and hashes. The name must still be that file's once it is locked, and nothing may
/// have changed while it was read; else it is read anew (another process may be mending it).
fn prove(path: &Path, digest: &Digest) -> Result<Proven, InventoryError> {
    for _ in 0..ATTEMPTS {
        let file = open(path, digest)?;
        file.lock_shared().attempt("locking", path)?;
        let identity = FileIdentity::of(&file).attempt("looking at", path)?;
        if FileIdentity::at(path, digest)? != identity {
            continue;
        }
        let found = digest_of_file(digest.algorithm(), &file).attempt("reading", path)?;
        if FileIdentity::of(&file).attempt("looking at", path)? != identity {
            continue;
        }
        if found != *digest {
            break;
        }
        return Ok(Proven { file: Arc::new(file), identity: Some(identity) });
    }
    Err(InventoryError::Changed { path: path.to_owned(), digest: digest.clone() })
}

/// Never through a link, and never waiting for the other end of a pipe.
fn open(path: &Path, digest: &Digest) -> Result<File, InventoryError> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => Ok(File::from(descriptor)),
        Err(rustix::io::Errno::LOOP) => {
            Err(InventoryError::Changed { path: path.to_owned(), digest: digest.clone() })
        }
        Err(error) => Err(gone_or(error.into(), path)),
    }
}

fn gone_or(error: io::Error, path: &Path) -> InventoryError {
    match error.kind() {
        io::ErrorKind::NotFound => InventoryError::Missing(path.to_owned()),
        _ => InventoryError::Io { doing: "opening", path: path.to_owned(), source: error },
    }
}
