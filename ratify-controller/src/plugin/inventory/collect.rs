//! Collection: what no record names, nobody has open and is older than the grace period goes.

use std::{
    collections::HashSet,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ratify_core::{Algorithm, Digest};

use super::{
    DOCUMENTS, Inventory, InventoryError, SOURCES,
    contents::{self, TEMPORARY},
};

/// How long something unnamed stays: an installation names its file last, and another process may
/// be about to start what a record named a moment ago.
pub const GRACE_PERIOD: Duration = Duration::from_secs(60 * 60);

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Programs, manifests and configurations.
    pub files: usize,
    /// Temporary files whose writer is dead.
    pub temporaries: usize,
    /// Bytes freed.
    pub bytes: u64,
}

impl Inventory {
    /// Removes what nothing needs. `now` is the time; [`GRACE_PERIOD`] is the usual grace. Several
    /// processes may do this at once. A file that cannot be removed is left and said.
    ///
    /// # Errors
    /// When the records cannot be locked.
    pub fn collect(&self, now: SystemTime, grace: Duration) -> Result<Collected, InventoryError> {
        if !self.store().is_dir() {
            return Ok(Collected::default());
        }
        // No record is written meanwhile; a file that a record is about to name is held open by
        // whoever installs it.
        let _alone = self.lock()?;
        let records = self.records();
        let named: HashSet<&str> = records
            .iter()
            .flat_map(|record| record.documents.iter().chain([&record.digest]).map(Digest::hex))
            .collect();
        let mut collected = Collected::default();
        let old = |path: &Path| is_older(path, now, grace);
        let algorithms = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
        let folders = algorithms.map(Algorithm::name).into_iter().chain([DOCUMENTS, SOURCES]);
        for folder in folders {
            for path in files_in(&self.store().join(folder)).filter(|path| old(path)) {
                let temporary = is_temporary(&path);
                if temporary || (folder != SOURCES && !named.contains(name(&path))) {
                    remove_unused(&path, temporary, &mut collected);
                }
            }
        }
        let stale_links = files_in(self.directory()).filter(|path| old(path) && is_temporary(path));
        stale_links.for_each(|path| remove_unused(&path, true, &mut collected));
        Ok(collected)
    }
}

impl Inventory {
    /// Removes what writers left half written that died, however young it is: a process that is
    /// killed at each start must not fill the disk. What fails costs space only.
    pub fn remove_abandoned(&self) {
        // Links have no lock of their own; whoever makes one has this.
        let Ok(_alone) = self.lock() else { return };
        let mut collected = Collected::default();
        let algorithms = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
        let folders = algorithms.map(Algorithm::name).into_iter().chain([DOCUMENTS, SOURCES]);
        let folders = folders.map(|folder| self.store().join(folder));
        for folder in folders.chain([self.directory().to_owned()]) {
            for path in files_in(&folder).filter(|path| is_temporary(path)) {
                remove_unused(&path, true, &mut collected);
            }
        }
    }
}

fn files_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_temporary(path: &Path) -> bool {
    name(path).starts_with(TEMPORARY)
}

fn is_older(path: &Path, now: SystemTime, grace: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age >= grace))
}

/// Removes a file that nobody holds: whoever runs or fills one has it locked.
fn remove_unused(path: &Path, temporary: bool, collected: &mut Collected) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    if found.is_dir() {
        return;
    }
    // Held until the name is gone. What cannot be opened (a link) nobody holds.
    let held = File::open(path).ok().filter(|_| found.is_file());
    if held.as_ref().is_some_and(|file| file.try_lock().is_err()) {
        return;
    }
    if let Err(error) = contents::remove(path) {
        tracing::warn!("{} cannot be removed: {error}", path.display());
        return;
    }
    collected.bytes += found.len();
    if temporary {
        collected.temporaries += 1;
    } else {
        collected.files += 1;
    }
}
