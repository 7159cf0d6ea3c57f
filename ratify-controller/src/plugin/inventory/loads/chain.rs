//! Whether a record of loads is as it was written: each line names the one before it by its hash.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
};

use ratify_core::{Algorithm, Digest};
use ratify_store_oras::digest_of;

use super::{
    super::{Inventory, InventoryError, error::Attempt as _},
    Load, MAX_LINE, MAX_OLD_FILES, file_name, open,
};

/// What a record comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chain {
    /// How many lines it has.
    pub lines: u64,
    /// The hash of the last one. Whoever keeps it elsewhere can tell later that nothing before it
    /// was changed.
    pub head: Option<Digest>,
    /// Whether the head that was looked for is one of its lines.
    pub has_known_head: bool,
    /// What is wrong with it, in the order of the lines.
    pub faults: Vec<Fault>,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The file's name.
    pub file: String,
    /// The line in it, from 1.
    pub line: u64,
    /// What is wrong.
    pub what: FaultKind,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// It is none of ours; a process that was killed may have left it.
    #[error("it cannot be read")]
    Unreadable,
    /// Something before it is missing or was changed.
    #[error("it follows another line than the one before it")]
    Broken,
    /// It names no line before it, and is not the first.
    #[error("it names no line before it, as only the first does")]
    Unlinked,
    /// What should be before it is not there.
    #[error("the lines before it are missing")]
    NoBeginning,
}

/// More faults are not told apart.
const MAX_FAULTS: usize = 100;

impl Inventory {
    /// Looks at every line of the record of this directory. `known_head` is the hash of a line that
    /// somebody kept, and that must be there.
    ///
    /// # Errors
    /// When a file of it cannot be read.
    pub fn check_loads(&self, known_head: Option<&Digest>) -> Result<Chain, InventoryError> {
        let mut chain = Chain::default();
        let mut is_whole = true;
        for number in (0..=MAX_OLD_FILES).rev() {
            let path = self.loads_folder().join(file_name(number));
            match open(&path, rustix::fs::OFlags::RDONLY) {
                Ok(file) => {
                    // The oldest file that may be there may have had others before it.
                    is_whole &= number != MAX_OLD_FILES;
                    let name = file_name(number);
                    chain.read(&file, &name, is_whole, known_head).attempt("reading", &path)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).attempt("opening", &path),
            }
        }
        Ok(chain)
    }
}

impl Chain {
    fn read(
        &mut self,
        file: &File,
        name: &str,
        is_whole: bool,
        known_head: Option<&Digest>,
    ) -> io::Result<()> {
        let mut lines = BufReader::new(file);
        for number in 1.. {
            let mut line = Vec::new();
            if lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            if line.trim_ascii().is_empty() {
                continue;
            }
            if let Some(what) = self.fault(line, is_whole)
                && self.faults.len() < MAX_FAULTS
            {
                self.faults.push(Fault { file: name.to_owned(), line: number, what });
            }
            let digest = digest_of(Algorithm::Sha256, line);
            self.has_known_head |= known_head == Some(&digest);
            self.head = Some(digest);
            self.lines += 1;
        }
        Ok(())
    }

    /// What is wrong with the next line.
    fn fault(&self, line: &[u8], is_whole: bool) -> Option<FaultKind> {
        let Ok(load) = serde_json::from_slice::<Load>(line) else {
            return Some(FaultKind::Unreadable);
        };
        match (load.previous, &self.head) {
            (None, None) => None,
            (Some(_), None) => is_whole.then_some(FaultKind::NoBeginning),
            (None, Some(_)) => Some(FaultKind::Unlinked),
            (Some(named), Some(before)) => (named != *before).then_some(FaultKind::Broken),
        }
    }
}
