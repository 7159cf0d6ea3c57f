//! [`BlobCache`]: proven bytes on disk, shared by any number of processes, and apart for whoever has
//! rights of their own.
//!
//! Layout: the private directory `.ratify` with a directory of blobs for each [`Partition`], the
//! unfinished files and the lock. It can lie in the directory of a v1, whose `blobs`, `oci-layout`,
//! `index.json` and `ingest` are neither read nor touched.
//!
//! A blob is read only together with its digest, and hashed each time it comes from its file. It is found only by
//! whoever could have fetched it: a manifest can name any digest, and a report quotes what it finds
//! there. So the namespace whose store it is, the registry and the repository are in the path. A
//! subject is always resolved, and its referrers listed, at the registry first.
//!
//! Processes may be killed at any moment. What is there never exceeds the cap: see `ledger`. What
//! is small and was proven a moment ago is in memory, too: see `recent`.

mod ledger;
mod recent;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use ratify_core::{Algorithm, Digest, Reference};
use rustix::fs::OFlags;

use crate::digest_of;
use ledger::{Ledger, Reservation};
use recent::Recent;

/// A blob that was read within this time counts as just used.
const TOUCH_AFTER: Duration = Duration::from_secs(60);

/// Why a cache could not be used. It never stops a read: the registry is asked instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file is not what its name says. It was removed.
    #[error("the cached bytes do not have that digest; removed, fetching them again")]
    Corrupt,
}

/// What became of bytes that were to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Written,
    WasThere,
    /// Larger than the whole cache.
    TooLarge,
    /// Other processes held the lock for too long.
    Busy,
}

/// A directory of proven bytes. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct BlobCache(Arc<Inner>);

/// What was fetched from one repository with the rights of one tenant.
#[derive(Debug, Clone)]
pub struct Partition {
    cache: Arc<Inner>,
    directory: PathBuf,
}

#[derive(Debug)]
struct Inner {
    blobs: PathBuf,
    ledger: Ledger,
    recent: Recent,
}

impl BlobCache {
    /// Opens a cache, creating its directories (for the owner only) where they are missing. It
    /// holds at most `cap` bytes, each file counted in whole blocks of 4 KiB.
    ///
    /// # Errors
    /// When a directory cannot be created or written to.
    pub fn open(path: &Path, cap: u64) -> Result<Self, CacheError> {
        let blobs = path.join(".ratify/blobs");
        let inner = Inner { blobs, ledger: Ledger::new(path, cap), recent: Recent::default() };
        inner.make_directories()?;
        inner.ledger.check_writable()?;
        Ok(Self(Arc::new(inner)))
    }

    /// What a tenant (a namespace or, empty, the cluster) has fetched from the repository of a
    /// reference.
    pub fn of(&self, tenant: &str, reference: &Reference) -> Partition {
        // None of them holds a line break. Hashed, for they are longer than a name may be.
        let rights = format!("{tenant}\n{}\n{}", reference.registry(), reference.repository());
        let name = digest_of(Algorithm::Sha256, rights.as_bytes());
        Partition { cache: self.0.clone(), directory: self.0.blobs.join(name.hex()) }
    }
}

impl Partition {
    /// The bytes of a digest if they are here: proven, of the size where one is given, and at most
    /// `limit`. What fails is a warning and a miss.
    pub async fn get(&self, digest: &Digest, size: Option<u64>, limit: u64) -> Option<Bytes> {
        let place = self.path_of(digest);
        if let Some(bytes) = self.cache.recent.get(&place, Instant::now()) {
            let length = bytes.len() as u64;
            let is_asked_for = length <= limit && size.is_none_or(|size| size == length);
            return is_asked_for.then_some(bytes);
        }
        let (partition, wanted) = (self.clone(), digest.clone());
        match on_a_thread(move || partition.read(&wanted, size, limit)).await {
            Ok(found) => {
                if let Some(bytes) = &found {
                    self.cache.recent.put(place, bytes, Instant::now());
                }
                found
            }
            Err(error) => {
                tracing::warn!("failed to get blob [{digest}] from cache: {error}");
                None
            }
        }
    }

    /// Keeps bytes, whose digest the caller has proven. What fails is a warning.
    pub async fn put(&self, digest: &Digest, bytes: &Bytes) {
        let (partition, name, bytes) = (self.clone(), digest.clone(), bytes.clone());
        match on_a_thread(move || partition.write(&name, &bytes)).await {
            Ok(kept) => tracing::debug!("blob [{digest}] in cache: {kept:?}"),
            Err(error) => tracing::warn!("failed to save blob [{digest}] in cache: {error}"),
        }
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }

    fn read(
        &self,
        digest: &Digest,
        size: Option<u64>,
        limit: u64,
    ) -> Result<Option<Bytes>, CacheError> {
        let path = self.path_of(digest);
        // Not through a link, and without waiting for the writer of a pipe.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let opened = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > limit {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        (&file).take(metadata.len()).read_to_end(&mut bytes)?;
        if digest_of(digest.algorithm(), &bytes) != *digest {
            fs::remove_file(&path)?;
            return Err(CacheError::Corrupt);
        }
        // The right bytes, but not of the size that was asked for: the registry decides.
        if size.is_some_and(|size| size != bytes.len() as u64) {
            return Ok(None);
        }
        touch(&file, metadata.modified()?);
        Ok(Some(bytes.into()))
    }

    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<Kept, CacheError> {
        let path = self.path_of(digest);
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(Kept::WasThere);
        }
        let mut reserved = match self.cache.reserve(bytes.len() as u64) {
            // Someone may have removed the directory's content meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.cache.make_directories()?;
                self.cache.reserve(bytes.len() as u64)?
            }
            result => result?,
        };
        let temporary = match &mut reserved {
            Reservation::Granted(temporary) => temporary,
            Reservation::TooLarge => return Ok(Kept::TooLarge),
            Reservation::Busy => return Ok(Kept::Busy),
        };
        temporary.file().write_all(bytes)?;
        temporary.file().set_permissions(Permissions::from_mode(0o444))?;
        private_directory(&self.directory)?;
        match temporary.rename(&path) {
            // Whoever made room took the directory, which was empty, away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                private_directory(&self.directory)?;
                temporary.rename(&path)?;
            }
            result => result?,
        }
        Ok(Kept::Written)
    }
}

impl Inner {
    fn make_directories(&self) -> io::Result<()> {
        private_directory(&self.blobs)?;
        private_directory(self.ledger.temporary())
    }

    fn reserve(&self, size: u64) -> io::Result<Reservation> {
        self.ledger.reserve(&self.blobs, size)
    }
}

fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Marks a blob as used; the least recently used goes first. Failing to is of no consequence.
fn touch(file: &File, modified: SystemTime) {
    let now = SystemTime::now();
    if now.duration_since(modified).is_ok_and(|age| age > TOUCH_AFTER) {
        let _ = file.set_modified(now);
    }
}

/// Runs work on files beside the runtime's own threads.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the cluster has of one repository.
    fn open(path: &Path, cap: u64) -> Partition {
        let reference = Reference::parse("r.example.com/app:1").unwrap();
        BlobCache::open(path, cap).unwrap().of("", &reference)
    }

    fn blob(number: u32, size: usize) -> (Digest, Vec<u8>) {
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        (digest_of(Algorithm::Sha256, &bytes), bytes)
    }

    fn total(directory: &Path) -> u64 {
        let mut sum = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            sum += if metadata.is_dir() { total(&entry.path()) } else { metadata.len() };
        }
        sum
    }

    #[test]
    fn keeps_bytes_and_gives_them_back_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let cache = open(&path, 1 << 20);
        let (digest, bytes) = blob(1, 100);
        assert_eq!(cache.read(&digest, None, 1000).unwrap(), None);
        assert_eq!(cache.write(&digest, &bytes).unwrap(), Kept::Written);
        assert_eq!(cache.write(&digest, &bytes).unwrap(), Kept::WasThere);
        assert_eq!(cache.read(&digest, Some(100), 1000).unwrap().unwrap(), bytes);
        assert_eq!(cache.read(&digest, Some(99), 1000).unwrap(), None);
        assert_eq!(cache.read(&digest, None, 99).unwrap(), None);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(cache.cache.ledger.temporary()).unwrap().count(), 0);
    }

    #[test]
    fn a_bad_blob_is_removed_and_can_be_kept_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), 1 << 20);
        let (digest, bytes) = blob(1, 100);
        cache.write(&digest, &bytes).unwrap();
        let path = cache.path_of(&digest);
        fs::remove_file(&path).unwrap();
        fs::write(&path, [1; 100]).unwrap();
        assert!(matches!(cache.read(&digest, None, 1000), Err(CacheError::Corrupt)));
        assert_eq!(cache.read(&digest, None, 1000).unwrap(), None);
        assert_eq!(cache.write(&digest, &bytes).unwrap(), Kept::Written);
        assert_eq!(cache.read(&digest, None, 1000).unwrap().unwrap(), bytes);
    }

    #[test]
    fn a_link_and_a_pipe_in_a_blobs_place_are_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), 1 << 20);
        let (digest, bytes) = blob(1, 100);
        let elsewhere = directory.path().join("x");
        fs::write(&elsewhere, &bytes).unwrap();
        private_directory(&cache.directory).unwrap();
        std::os::unix::fs::symlink(&elsewhere, cache.path_of(&digest)).unwrap();
        assert!(cache.read(&digest, None, 1000).is_err());
        let (digest, _) = blob(2, 100);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, cache.path_of(&digest), kind, mode, 0).unwrap();
        assert_eq!(cache.read(&digest, None, 1000).unwrap(), None);
    }

    #[test]
    fn the_least_recently_used_goes_when_the_cap_is_reached() {
        let directory = tempfile::tempdir().unwrap();
        // Ten blobs and the lock file, a block each.
        let cap = 44 << 10;
        let cache = open(directory.path(), cap);
        let old = SystemTime::now() - Duration::from_secs(3600);
        for number in 0..10 {
            let (digest, bytes) = blob(number, 4000);
            cache.write(&digest, &bytes).unwrap();
            let age = Duration::from_secs(number.into());
            File::open(cache.path_of(&digest)).unwrap().set_modified(old + age).unwrap();
        }
        // Read, so no longer the oldest.
        assert!(cache.read(&blob(0, 4000).0, None, 5000).unwrap().is_some());
        let (digest, bytes) = blob(10, 4000);
        assert_eq!(cache.write(&digest, &bytes).unwrap(), Kept::Written);
        let is_there = |number| cache.path_of(&blob(number, 4000).0).exists();
        assert!(is_there(0) && is_there(9) && is_there(10));
        assert!(!is_there(1));
        assert!(total(directory.path()) <= cap);
    }

    #[test]
    fn the_files_of_a_v1_in_the_same_directory_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (digest, bytes) = blob(1, 100);
        let blobs = directory.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(digest.hex()), &bytes).unwrap();
        for name in ["oci-layout", "index.json"] {
            fs::write(directory.path().join(name), "{}").unwrap();
        }
        let cache = open(directory.path(), 1 << 20);
        assert_eq!(cache.read(&digest, Some(100), 1000).unwrap(), None, "whose is it?");
        assert_eq!(cache.write(&digest, &bytes).unwrap(), Kept::Written);
        assert_eq!(fs::read(blobs.join(digest.hex())).unwrap(), bytes);
        for name in ["oci-layout", "index.json"] {
            assert_eq!(fs::read_to_string(directory.path().join(name)).unwrap(), "{}");
        }
    }

    #[test]
    fn a_blob_is_found_by_whoever_fetched_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(directory.path(), 1 << 20).unwrap();
        let (digest, bytes) = blob(1, 100);
        let of = |tenant, at: &str| cache.of(tenant, &Reference::parse(at).unwrap());
        of("a", "r.example.com/team/app:1").write(&digest, &bytes).unwrap();
        let finds = |tenant, at| of(tenant, at).read(&digest, None, 1000).unwrap().is_some();
        assert!(finds("a", "r.example.com/team/app:2"));
        assert!(!finds("b", "r.example.com/team/app:1"));
        assert!(!finds("", "r.example.com/team/app:1"));
        assert!(!finds("a", "r.example.com/team/other:1"));
        assert!(!finds("a", "r.example.com:5000/team/app:1"));
    }

    #[tokio::test]
    async fn what_is_in_memory_is_found_by_whoever_fetched_it_alone_and_as_it_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(directory.path(), 1 << 20).unwrap();
        let reference = Reference::parse("r.example.com/app:1").unwrap();
        let (own, other) = (cache.of("a", &reference), cache.of("b", &reference));
        let (digest, bytes) = blob(1, 100);
        own.put(&digest, &bytes.clone().into()).await;
        assert_eq!(own.get(&digest, None, 1000).await.unwrap(), bytes);
        fs::remove_file(own.path_of(&digest)).unwrap();
        assert_eq!(own.get(&digest, Some(100), 100).await.unwrap(), bytes, "without its file");
        assert_eq!(own.get(&digest, Some(99), 1000).await, None);
        assert_eq!(own.get(&digest, None, 99).await, None);
        assert_eq!(own.get(&blob(2, 100).0, None, 1000).await, None);
        assert_eq!(other.get(&digest, None, 1000).await, None);
        // What was not what its name says is not kept.
        let (digest, bytes) = blob(3, 100);
        own.put(&digest, &bytes.into()).await;
        fs::remove_file(own.path_of(&digest)).unwrap();
        fs::write(own.path_of(&digest), [1; 100]).unwrap();
        assert_eq!(own.get(&digest, None, 1000).await, None);
        assert_eq!(own.get(&digest, None, 1000).await, None);
    }

    #[test]
    fn a_directory_that_lost_its_last_blob_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(directory.path(), 20 << 10).unwrap();
        for number in 0..20 {
            let reference = Reference::parse(&format!("r.example.com/app{number}:1")).unwrap();
            let (digest, bytes) = blob(number, 4000);
            assert_eq!(cache.of("", &reference).write(&digest, &bytes).unwrap(), Kept::Written);
        }
        assert!(fs::read_dir(directory.path().join(".ratify/blobs")).unwrap().count() <= 5);
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), 8 << 10);
        let (digest, bytes) = blob(1, 9000);
        assert_eq!(cache.write(&digest, &bytes).unwrap(), Kept::TooLarge);
    }

    #[test]
    fn a_directory_that_was_emptied_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path(), 1 << 20);
        for entry in fs::read_dir(directory.path()).unwrap() {
            fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
        let (digest, bytes) = blob(1, 100);
        assert_eq!(cache.read(&digest, None, 1000).unwrap(), None);
        assert_eq!(cache.write(&digest, &bytes).unwrap(), Kept::Written);
    }
}
