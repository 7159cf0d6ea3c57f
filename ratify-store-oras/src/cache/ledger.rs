//! How many bytes a cache holds, kept so that the cap holds at every moment, whoever is killed.
//!
//! The lock file holds the sum. Under the lock a writer first adds the size of what it is about to
//! write, then creates its temporary file at full length; whoever evicts removes first and
//! subtracts afterwards. So a process that is killed can leave the sum too high, never too low.
//! A sum that reaches the cap is counted anew. A temporary file is locked by its writer for as
//! long as it lives: one that can be locked is left over and is removed.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

const BLOCK: u64 = 4096;
/// The sum is written in so many digits: always the same length, so it is replaced by one write.
const DIGITS: usize = 20;
/// A process that is stopped while it holds the lock must not stop others: they go without.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// The sum and the cap of a cache directory.
#[derive(Debug)]
pub(super) struct Ledger {
    lock_file: PathBuf,
    temporary: PathBuf,
    cap: u64,
    next_name: AtomicU64,
}

/// Whether there is room for a blob.
pub(super) enum Reservation {
    /// A file of that size, to be filled and renamed.
    Granted(Temporary),
    /// Not in this cache.
    TooLarge,
    /// Not now.
    Busy,
}

/// An unfinished file. It is removed unless it is renamed.
pub(super) struct Temporary {
    file: File,
    path: Option<PathBuf>,
}

/// The lock, held.
struct Held(File);

/// A blob that could be evicted.
struct Candidate {
    used: SystemTime,
    cost: u64,
    path: PathBuf,
}

impl Ledger {
    pub(super) fn new(root: &Path, cap: u64) -> Self {
        let private = root.join(".ratify");
        Self {
            lock_file: private.join("lock"),
            temporary: private.join("tmp"),
            cap,
            next_name: AtomicU64::new(0),
        }
    }

    pub(super) fn temporary(&self) -> &Path {
        &self.temporary
    }

    pub(super) fn check_writable(&self) -> io::Result<()> {
        self.open_lock().map(drop)
    }

    /// Makes room for `size` bytes, evicting what was used least recently.
    pub(super) fn reserve(&self, blobs: &Path, size: u64) -> io::Result<Reservation> {
        let cost = cost_of(size);
        if cost > self.cap {
            return Ok(Reservation::TooLarge);
        }
        let Some(held) = self.lock()? else { return Ok(Reservation::Busy) };
        let mut sum = match held.sum() {
            Some(sum) => sum,
            None => self.count(blobs)?.0,
        };
        if sum.saturating_add(cost) > self.cap {
            sum = self.evict(blobs, cost)?;
        }
        if sum.saturating_add(cost) > self.cap {
            // Unfinished files of live processes take the room.
            held.write_sum(sum)?;
            return Ok(Reservation::Busy);
        }
        held.write_sum(sum + cost)?;
        self.create(size).map(Reservation::Granted)
    }

    /// Waits for the lock, but not for ever.
    fn lock(&self) -> io::Result<Option<Held>> {
        let file = self.open_lock()?;
        let end = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Held(file))),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn open_lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(&self.lock_file)
    }

    /// Counts anew, and removes blobs until `cost` fits and a tenth of the cap is free besides.
    fn evict(&self, blobs: &Path, cost: u64) -> io::Result<u64> {
        let (mut sum, mut candidates) = self.count(blobs)?;
        if sum.saturating_add(cost) <= self.cap {
            return Ok(sum);
        }
        let target = (self.cap - self.cap / 10).saturating_sub(cost);
        candidates.sort_by_key(|candidate| candidate.used);
        for candidate in candidates {
            if sum <= target {
                break;
            }
            match fs::remove_file(&candidate.path) {
                Ok(()) => sum = sum.saturating_sub(candidate.cost),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    sum = sum.saturating_sub(candidate.cost);
                }
                Err(error) => return Err(error),
            }
            // A directory that is not empty stays.
            let _ = candidate.path.parent().map(fs::remove_dir);
        }
        Ok(sum)
    }

    /// What is there: the sum of blobs and unfinished files, and the blobs. Left-over files are
    /// removed.
    fn count(&self, blobs: &Path) -> io::Result<(u64, Vec<Candidate>)> {
        // The lock file itself.
        let mut sum = BLOCK;
        for path in entries(&self.temporary)? {
            sum += remaining_cost(&path)?;
        }
        let mut candidates = Vec::new();
        for directory in entries(blobs)? {
            for path in entries(&directory)? {
                let Ok(metadata) = path.symlink_metadata() else { continue };
                let (cost, used) = (cost_of(metadata.len()), metadata.modified()?);
                sum += cost;
                candidates.push(Candidate { used, cost, path });
            }
        }
        Ok((sum, candidates))
    }

    fn create(&self, size: u64) -> io::Result<Temporary> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        loop {
            let number = self.next_name.fetch_add(1, Ordering::Relaxed);
            // Another process with this id in another container may share the directory.
            let path = self.temporary.join(format!("{}-{number}", std::process::id()));
            let file = match options.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                result => result?,
            };
            let temporary = Temporary { file, path: Some(path) };
            temporary.file.lock()?;
            temporary.file.set_len(size)?;
            return Ok(temporary);
        }
    }
}

impl Temporary {
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(super) fn rename(&mut self, to: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, to)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What cannot be removed now is removed when the sum is counted anew.
            let _ = fs::remove_file(path);
        }
    }
}

impl Held {
    /// The sum; `None` where the file is new or damaged.
    fn sum(&self) -> Option<u64> {
        let mut digits = [0; DIGITS];
        self.0.read_exact_at(&mut digits, 0).ok()?;
        std::str::from_utf8(&digits).ok()?.parse().ok()
    }

    fn write_sum(&self, sum: u64) -> io::Result<()> {
        self.0.write_all_at(format!("{sum:0DIGITS$}").as_bytes(), 0)
    }
}

/// The paths in a directory; none where it is missing or no directory.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(Vec::new()),
            _ => Err(error),
        },
    }
}

/// What an unfinished file costs: nothing if its writer is gone, for it is removed then.
fn remaining_cost(path: &Path) -> io::Result<u64> {
    let Ok(file) = OpenOptions::new().read(true).open(path) else { return Ok(0) };
    let cost = cost_of(file.metadata()?.len());
    if file.try_lock().is_err() {
        return Ok(cost);
    }
    // Its writer may have renamed it between the two calls: then there is nothing to remove.
    match fs::remove_file(path) {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn cost_of(size: u64) -> u64 {
    size.div_ceil(BLOCK).max(1).saturating_mul(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(cap: u64) -> (tempfile::TempDir, Ledger, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(directory.path(), cap);
        fs::create_dir_all(ledger.temporary()).unwrap();
        let blobs = directory.path().join("blobs");
        fs::create_dir_all(blobs.join("sha256")).unwrap();
        (directory, ledger, blobs)
    }

    #[test]
    fn a_file_that_a_killed_process_left_over_is_counted_until_it_is_removed() {
        let (_directory, ledger, blobs) = ledger(4 * BLOCK);
        fs::write(ledger.temporary().join("1-0"), [0; 5000]).unwrap();
        ledger.lock().unwrap().unwrap().write_sum(3 * BLOCK).unwrap();
        let reserved = ledger.reserve(&blobs, 2 * BLOCK).unwrap();
        assert!(matches!(reserved, Reservation::Granted(_)));
        assert!(!ledger.temporary().join("1-0").exists());
    }

    #[test]
    fn the_unfinished_file_of_a_live_writer_is_neither_removed_nor_forgotten() {
        let (_directory, ledger, blobs) = ledger(4 * BLOCK);
        let Reservation::Granted(first) = ledger.reserve(&blobs, 2 * BLOCK).unwrap() else {
            panic!("there is room")
        };
        assert!(matches!(ledger.reserve(&blobs, 2 * BLOCK).unwrap(), Reservation::Busy));
        drop(first);
        let again = ledger.reserve(&blobs, 2 * BLOCK).unwrap();
        assert!(matches!(again, Reservation::Granted(_)));
    }

    #[test]
    fn a_damaged_sum_is_counted_anew() {
        let (_directory, ledger, blobs) = ledger(4 * BLOCK);
        fs::write(blobs.join("sha256/x"), [0; 5000]).unwrap();
        fs::write(&ledger.lock_file, "nonsense, and longer than the sum").unwrap();
        let reserved = ledger.reserve(&blobs, 1).unwrap();
        assert!(matches!(reserved, Reservation::Granted(_)));
        assert_eq!(ledger.lock().unwrap().unwrap().sum(), Some(4 * BLOCK));
    }

    #[test]
    fn a_lock_that_is_never_given_back_stops_nobody() {
        let (_directory, ledger, blobs) = ledger(4 * BLOCK);
        let _held = ledger.lock().unwrap().unwrap();
        assert!(matches!(ledger.reserve(&blobs, 1).unwrap(), Reservation::Busy));
    }
}
