//! Certificates in files: a file, or a directory with all that is below it. A link is followed to a
//! file, since that is how Kubernetes mounts secrets, and each file counts once.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::pem;
use crate::certificate::Certificate;

/// The most bytes of one file, which is many times the bundle of a system.
const MOST_BYTES: u64 = 4 << 20;
/// The most files of one path.
const MOST_FILES: usize = 1_000;
/// How deep directories may lie in each other.
const MOST_DEPTH: usize = 16;

/// The certificates of all files, in the order of their names. What is not there is skipped.
///
/// # Errors
/// When a file is no certificate, or there are too many.
pub(crate) fn load(path: &Path) -> Result<Vec<Certificate>, String> {
    let mut found = Found::default();
    found.walk(path, MOST_DEPTH)?;
    tracing::info!(
        "{} notation verification certificates loaded from path '{}'",
        found.certificates.len(),
        path.display()
    );
    Ok(found.certificates)
}

#[derive(Default)]
struct Found {
    /// Files that were read, without links.
    files: BTreeSet<PathBuf>,
    certificates: Vec<Certificate>,
}

impl Found {
    fn walk(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        let skipped = |error: io::Error| {
            tracing::warn!("Invalid path '{}' skipped, error {error}", path.display());
        };
        let kind = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) => {
                skipped(error);
                return Ok(());
            }
        };
        if kind.is_dir() {
            if depth == 0 {
                return Err(format!("{}: directories lie too deep in each other", path.display()));
            }
            let entries = match names(path) {
                Ok(entries) => entries,
                Err(error) => {
                    skipped(error);
                    return Ok(());
                }
            };
            return entries.iter().try_for_each(|entry| self.walk(entry, depth - 1));
        }
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) => {
                tracing::error!(
                    "Unable to resolve symbolic link {} , error '{error}'",
                    path.display()
                );
                return Ok(());
            }
        };
        // Not a directory behind a link, nor a device or a pipe, which might have no end.
        let is_file = fs::metadata(&target).is_ok_and(|metadata| metadata.is_file());
        if is_file && !self.files.contains(&target) {
            self.read(&target).map_err(|error| {
                format!("error reading certificate file {}: {error}", target.display())
            })?;
            self.files.insert(target);
        }
        Ok(())
    }

    fn read(&mut self, path: &Path) -> Result<(), String> {
        if self.files.len() >= MOST_FILES {
            return Err(format!("there are more than {MOST_FILES} files"));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| error.to_string())?;
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(format!("it has more than {MOST_BYTES} bytes"));
        }
        self.certificates.extend(certificates(&bytes)?);
        Ok(())
    }
}

/// What is in a directory, by name.
fn names(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.path());
        if names.len() > 10 * MOST_FILES {
            return Err(io::Error::other("too many entries"));
        }
    }
    names.sort();
    Ok(names)
}

/// The certificates of a file in PEM or, where there is no block of it, in DER.
fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, String> {
    let blocks = pem::blocks(bytes)?;
    let read = match blocks.as_slice() {
        [] => Certificate::parse_all(bytes),
        blocks => blocks.iter().map(|block| Certificate::parse(block)).collect(),
    };
    read.map_err(|error| error.to_string())
}
