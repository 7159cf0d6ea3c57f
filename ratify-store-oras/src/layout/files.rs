//! The files of a layout: in a directory, opened beneath it and through no link, or in a tar
//! archive. They are opened anew each time, so that a layout may be replaced while it is used.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ratify_core::Digest;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::archive::{self, ArchiveError, Table};
use crate::{OrasError, Section};

/// Where a layout is.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    /// What the archive held when it was looked at last.
    archive: Mutex<Option<(Stamp, Arc<Table>)>>,
}

/// By what one sees that an archive is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The name of a file of a layout.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name<'a> {
    Marker,
    Index,
    Blob(&'a Digest),
}

impl Name<'_> {
    fn parts(&self) -> Vec<&str> {
        match self {
            Self::Marker => vec!["oci-layout"],
            Self::Index => vec!["index.json"],
            Self::Blob(digest) => vec!["blobs", digest.algorithm().name(), digest.hex()],
        }
    }
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.parts().join("/"))
    }
}

impl Files {
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), archive: Mutex::new(None) }
    }

    /// What is being read, for errors.
    pub(super) fn what(&self, name: Name<'_>) -> String {
        format!("{name} of the layout {}", self.path.display())
    }

    /// Opens a file. Of none there is [`OrasError::NotFound`].
    pub(super) fn open(&self, name: Name<'_>) -> Result<Section, OrasError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => OrasError::NotFound { what: self.what(name) },
            _ => OrasError::Read { what: self.what(name), source },
        };
        // A reader of a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let root = openat(CWD, &self.path, flags, Mode::empty());
        let root = File::from(root.map_err(|error| failed(error.into()))?);
        if root.metadata().map_err(failed)?.is_dir() {
            return beneath(&root, &name.parts()).and_then(Section::whole).map_err(failed);
        }
        let root = Section::whole(root).map_err(failed)?;
        self.in_archive(&root.into_file(), name)
    }

    fn in_archive(&self, file: &Arc<File>, name: Name<'_>) -> Result<Section, OrasError> {
        let table = self.table(file).map_err(|error| match error {
            ArchiveError::Bad(why) => {
                OrasError::invalid(format!("the layout {}", self.path.display()), why)
            }
            ArchiveError::Io(source) => OrasError::Read { what: self.what(name), source },
        })?;
        match table.get(&name.to_string()) {
            Some((offset, length)) => Ok(Section::part(file.clone(), *offset, *length)),
            None => Err(OrasError::NotFound { what: self.what(name) }),
        }
    }

    fn table(&self, file: &File) -> Result<Arc<Table>, ArchiveError> {
        let stamp = Stamp::of(file)?;
        let mut known = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = known.as_ref().filter(|(of, _)| *of == stamp) {
            return Ok(table.clone());
        }
        let table = Arc::new(archive::table(file, stamp.length)?);
        *known = Some((stamp, table.clone()));
        Ok(table)
    }

    /// Reads all of a file, if it has so many bytes at most.
    pub(super) fn read(&self, name: Name<'_>, limit: u64) -> Result<Vec<u8>, OrasError> {
        let section = self.open(name)?;
        if section.length() > limit {
            return Err(OrasError::TooLarge { what: self.what(name), limit, unit: "bytes" });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(section.length()).unwrap_or(0));
        let read = section.take(limit).read_to_end(&mut bytes);
        read.map_err(|source| OrasError::Read { what: self.what(name), source })?;
        Ok(bytes)
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            place: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Opens a file beneath a directory, one name at a time and through no link.
fn beneath(root: &File, parts: &[&str]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut at = None::<File>;
    for (number, part) in parts.iter().enumerate() {
        let is_last = number + 1 == parts.len();
        let flags = if is_last { flags } else { flags | OFlags::DIRECTORY };
        let directory = at.as_ref().unwrap_or(root);
        let opened = openat(directory.as_fd(), *part, flags, Mode::empty());
        at = Some(File::from(opened.map_err(|error| match error {
            rustix::io::Errno::LOOP => io::Error::other("a link in it is not followed"),
            other => other.into(),
        })?));
    }
    at.ok_or_else(|| io::ErrorKind::NotFound.into())
}
