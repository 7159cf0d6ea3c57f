//! [`LayoutWriter`]: a layout in a directory, written so that a reader never finds a name that
//! stands for something that is not there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use ratify_core::{Algorithm, Descriptor, Digest, media_type};
use serde_json::json;

use super::{Layout, VERSION, index::REF_NAME};
use crate::{Limits, OrasError, digest_of};

/// A directory that a layout is written into. All of its methods may block.
#[derive(Debug)]
pub struct LayoutWriter {
    path: PathBuf,
    /// The entries that were there, and those added since.
    entries: Vec<Descriptor>,
}

/// A file that gets its name when it is whole, or goes.
struct Draft {
    file: File,
    path: PathBuf,
}

impl LayoutWriter {
    /// A layout at a path: a new one where there is nothing or an empty directory, or else the one
    /// that is there.
    ///
    /// # Errors
    /// When something else is there, or it cannot be written to.
    pub fn open(path: &Path) -> Result<Self, OrasError> {
        let failed = |source| OrasError::Sink { what: path.display().to_string(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let is_empty = fs::read_dir(path).map_err(failed)?.next().is_none();
        let entries = match is_empty {
            true => Vec::new(),
            false => Layout::open(path, None, Limits::default())?.entries()?,
        };
        let writer = Self { path: path.to_owned(), entries };
        if is_empty {
            let version = json!({"imageLayoutVersion": VERSION});
            writer.write("oci-layout", version.to_string().as_bytes())?;
            writer.write_index()?;
        }
        Ok(writer)
    }

    /// Whether a blob of that digest and size is there already. Its bytes are not looked at.
    fn has(&self, descriptor: &Descriptor) -> bool {
        let metadata = self.place(&descriptor.digest).symlink_metadata();
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == descriptor.size)
    }

    /// Puts a blob or a document there, unless it is there already. `fill` writes its bytes, and
    /// only where that succeeds does it get its name.
    ///
    /// # Errors
    /// When `fill` fails, or the directory cannot be written to.
    pub async fn put<F: Future<Output = Result<File, OrasError>>>(
        &self,
        descriptor: &Descriptor,
        fill: impl FnOnce(File) -> F,
    ) -> Result<(), OrasError> {
        if self.has(descriptor) {
            return Ok(());
        }
        let what = descriptor.digest.as_str();
        let failed = |source| OrasError::Sink { what: what.to_owned(), source };
        let draft = self.draft(&descriptor.digest).map_err(failed)?;
        fill(draft.file.try_clone().map_err(failed)?).await?;
        draft.name(&self.place(&descriptor.digest)).map_err(failed)
    }

    /// Puts bytes there.
    ///
    /// # Errors
    /// When the directory cannot be written to.
    pub fn put_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<(), OrasError> {
        let failed = |source| OrasError::Sink { what: digest.to_string(), source };
        if digest_of(digest.algorithm(), bytes) != *digest {
            return Err(failed(io::Error::other("the bytes have another digest")));
        }
        let mut draft = self.draft(digest).map_err(failed)?;
        draft.file.write_all(bytes).map_err(failed)?;
        draft.name(&self.place(digest)).map_err(failed)
    }

    /// Names something that is there. What had the name before loses it.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn name(&mut self, descriptor: &Descriptor, name: &str) -> Result<(), OrasError> {
        self.entries.retain(|entry| {
            let named = entry.annotations.get(REF_NAME);
            named.map(String::as_str) != Some(name)
                && (named.is_some() || entry.digest != descriptor.digest)
        });
        let mut entry = descriptor.clone();
        entry.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        self.entries.push(entry);
        self.write_index()
    }

    fn write_index(&self) -> Result<(), OrasError> {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": self.entries,
        });
        self.write("index.json", index.to_string().as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OrasError> {
        let place = self.path.join(name);
        let failed = |source| OrasError::Sink { what: place.display().to_string(), source };
        let mut draft = self.draft(&digest_of(Algorithm::Sha256, bytes)).map_err(failed)?;
        draft.file.write_all(bytes).map_err(failed)?;
        draft.name(&place).map_err(failed)
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// An unfinished file, beside the blobs so that its name costs nothing.
    fn draft(&self, digest: &Digest) -> io::Result<Draft> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let directory = self.path.join("blobs").join(digest.algorithm().name());
        fs::create_dir_all(&directory)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".unfinished-{}-{number}", std::process::id()));
        // A process of the same number may have left one.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Draft { file, path })
    }
}

impl Draft {
    fn name(mut self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, place)?;
        self.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
