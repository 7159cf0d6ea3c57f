//! Certificates in files: a file, or a directory with all that is below it. A link is followed to a
//! file, since that is how Kubernetes mounts secrets, and each file counts once.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{
    known::{Anchor, Known},
    pem,
};
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
pub(crate) fn load(path: &Path, known: &Known) -> Result<Vec<Anchor>, String> {
    let mut found = Found { known, files: BTreeSet::new(), anchors: Vec::new() };
    found.walk(path, MOST_DEPTH)?;
    tracing::info!(
        "{} notation verification certificates loaded from path '{}'",
        found.anchors.len(),
        path.display()
    );
    Ok(found.anchors)
}

struct Found<'a> {
    known: &'a Known,
    /// Files that were read, by device and inode.
    files: BTreeSet<(u64, u64)>,
    anchors: Vec<Anchor>,
}

impl Found<'_> {
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
        let file = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                tracing::error!(
                    "Unable to resolve symbolic link {} , error '{error}'",
                    path.display()
                );
                return Ok(());
            }
        };
        // Not a directory behind a link, nor a device or a pipe, which might have no end.
        let place = (file.dev(), file.ino());
        if file.is_file() && !self.files.contains(&place) {
            self.read(path, file.len()).map_err(|error| {
                let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                format!("error reading certificate file {}: {error}", target.display())
            })?;
            self.files.insert(place);
        }
        Ok(())
    }

    fn read(&mut self, path: &Path, length: u64) -> Result<(), String> {
        if self.files.len() >= MOST_FILES {
            return Err(format!("there are more than {MOST_FILES} files"));
        }
        // Room for one byte more, by which the end is seen.
        let room = usize::try_from(length.min(MOST_BYTES) + 1).unwrap_or(0);
        let mut bytes = Vec::with_capacity(room);
        let file = File::open(path).map_err(|error| error.to_string())?;
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(format!("it has more than {MOST_BYTES} bytes"));
        }
        self.anchors.extend(anchors(&bytes, self.known)?);
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
fn anchors(bytes: &[u8], known: &Known) -> Result<Vec<Anchor>, String> {
    let blocks = pem::blocks(bytes)?;
    let read = match blocks.as_slice() {
        [] => Certificate::parse_all(bytes).map(|all| all.into_iter().map(Anchor::of).collect()),
        blocks => blocks.iter().map(|block| known.parse(block)).collect(),
    };
    read.map_err(|error| error.to_string())
}
