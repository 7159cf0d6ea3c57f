//! Pins: small files that say which digest a resource's tag stood for when it was first used. What
//! is in them is up to the caller.

use std::{fs, path::PathBuf};

use ratify_core::Algorithm;
use ratify_store_oras::digest_of;

use super::{Inventory, InventoryError, contents, error::Attempt as _};

const PINS: &str = "pins";
/// A pin is smaller; a larger file is none.
const MAX_PIN: u64 = 4 * 1024;
/// More than a cluster has.
const MAX_PINS: usize = 100_000;

impl Inventory {
    /// Keeps the pin of a resource, whatever its name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_pin(&self, resource: &str, bytes: &[u8]) -> Result<(), InventoryError> {
        self.prepare(Algorithm::Sha256.name())?;
        super::make_private(&self.pins_folder())?;
        contents::write_whole(&self.pin_path(resource), bytes)
    }

    /// Forgets the pin of a resource.
    ///
    /// # Errors
    /// When there is one and it cannot be removed.
    pub fn forget_pin(&self, resource: &str) -> Result<(), InventoryError> {
        let path = self.pin_path(resource);
        contents::remove(&path).attempt("removing", &path)
    }

    /// Every pin that is here.
    pub fn pins(&self) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(self.pins_folder()).into_iter().flatten().flatten();
        let is_small = |path: &PathBuf| {
            fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_PIN)
        };
        let paths = entries.map(|entry| entry.path()).filter(is_small);
        paths.filter_map(|path| fs::read(path).ok()).take(MAX_PINS).collect()
    }

    fn pins_folder(&self) -> PathBuf {
        self.store().join(PINS)
    }

    fn pin_path(&self, resource: &str) -> PathBuf {
        let hex = digest_of(Algorithm::Sha256, resource.as_bytes());
        self.pins_folder().join(format!("{}.json", hex.hex()))
    }
}
