//! What is installed: content-addressed files below one plugin directory, and which resource runs
//! which ([`Inventory`]). Nothing here opens a connection or runs a program.
//!
//! ```text
//! <plugins>/<type>                       a view for whoever looks where v1 put the file: a link
//! <plugins>/.store/sha256/<hex>          what runs; mode 0500, never written in place
//! <plugins>/.store/documents/<hex>       manifests and configurations, by digest: with them a
//!                                        pinned plugin starts without a request, and is proven
//! <plugins>/.store/loads/loads.jsonl      which program came into force when, and for whom
//! <plugins>/.store/sources/<name>.json   which digest a resource runs: a tag starts with the
//!                                        registry down
//! <plugins>/.store/pins/<hex>.json       which digest a custom resource's tag stood for at first
//! ```
//! A record is only a hint: what it points to is hashed before it is used.

mod collect;
mod contents;
mod draft;
mod error;
mod installed;
mod loads;
mod pins;
mod record;
mod view;

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use ratify_core::Digest;
use ratify_store_oras::digest_of;

pub use collect::{Collected, GRACE_PERIOD};
pub use draft::{Draft, Received};
pub use error::InventoryError;
pub use installed::{InstalledPlugin, RunGuard, RunnablePlugin};
pub use loads::{Chain, Fault, FaultKind, Load, LoadedFor, Loads};
pub use record::{Kind, Record, Resource};

pub(super) use contents::digest_of_file;
pub(super) use installed::FileIdentity;

use error::Attempt as _;

/// The installer's own folder. Types may not begin with a dot, so that none can be called so.
const STORE: &str = ".store";
const SOURCES: &str = "sources";
const DOCUMENTS: &str = "documents";
const LOADS: &str = "loads";
const LOCK: &str = ".lock";
/// Directories are their owner's alone.
const PRIVATE_DIRECTORY: u32 = 0o700;
/// Who else could change a file in a directory with these bits.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// One plugin directory. A value: opening it touches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    directory: PathBuf,
}

/// What there is where v1 put a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) enum Shown {
    /// Nothing, or what somebody else put there.
    Foreign,
    /// A link to what was installed here, and no record of that.
    Unrecorded,
    /// What was installed as this says.
    Installed(Box<Record>),
}

impl Inventory {
    /// The inventory of a plugin directory, which need not exist yet. A directory that is a link
    /// is followed; its `.store` may be none.
    pub fn of(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The plugin directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where v1 put a plugin of this type: `<plugins>/<type>`.
    pub fn view_path(&self, type_: &str) -> PathBuf {
        self.directory.join(type_)
    }

    /// Where the bytes of a digest are, if they are.
    pub fn content_path(&self, digest: &Digest) -> PathBuf {
        self.store().join(digest.algorithm().name()).join(digest.hex())
    }

    /// Makes the folders that are missing and checks those that are there.
    ///
    /// # Errors
    /// When one cannot be made, is no directory, or is open to other users.
    pub fn prepare(&self, algorithm: &str) -> Result<(), InventoryError> {
        let made =
            DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(&self.directory);
        if made.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
            // A link that leads nowhere.
            return Err(InventoryError::NotADirectory(self.directory.clone()));
        }
        made.attempt("creating the plugin directory", &self.directory)?;
        let store = self.store();
        make_private(&store)?;
        for folder in [algorithm, SOURCES, DOCUMENTS] {
            make_private(&store.join(folder))?;
        }
        Ok(())
    }

    /// Fails early where there is something that must not be used or replaced. Reads only.
    ///
    /// # Errors
    /// When the directory or its store is no directory, the store is open to others, or the name
    /// of the plugin is taken by something foreign.
    pub fn check(&self, type_: &str) -> Result<(), InventoryError> {
        match fs::metadata(&self.directory) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(InventoryError::NotADirectory(self.directory.clone())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).attempt("opening", &self.directory),
        }
        let store = self.store();
        if fs::symlink_metadata(&store).is_ok() {
            check_private(&store)?;
        }
        view::check(&self.view_path(type_))
    }

    /// A new file to fill.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn draft(&self, digest: &Digest) -> Result<Draft, InventoryError> {
        Draft::create(&self.content_path(digest), digest)
    }

    /// Opens the file of a digest, hashed from its first byte to its last, and holds it against
    /// collection. Reads the whole file: not for an async thread.
    ///
    /// # Errors
    /// When it is not there, or its bytes are others.
    pub fn open(&self, record: &Record) -> Result<InstalledPlugin, InventoryError> {
        InstalledPlugin::prove(
            record.clone(),
            self.content_path(&record.digest),
            self.view_path(&record.type_),
        )
    }

    /// Gives what was received under a record's digest its name. Where another process was faster,
    /// its file is opened as by [`Inventory::open`]. Not for an async thread.
    ///
    /// # Errors
    /// When it cannot be named.
    pub fn adopt(
        &self,
        record: &Record,
        received: Received,
    ) -> Result<InstalledPlugin, InventoryError> {
        let Some(held) = received.name()? else { return self.open(record) };
        let (path, argv0) = (self.content_path(&record.digest), self.view_path(&record.type_));
        Ok(InstalledPlugin::received(record.clone(), path, argv0, held))
    }

    /// What `<plugins>/<type>` shows. Of several records an operator's counts.
    pub(in crate::plugin) fn shown(&self, type_: &str) -> Shown {
        let digest = view::shown_digest(&self.view_path(type_));
        let Some(digest) = digest else { return Shown::Foreign };
        let of_it = |record: &Record| record.digest == digest && record.type_ == type_;
        let record = self.records().into_iter().filter(of_it).max_by_key(|r| r.by_command);
        record.map_or(Shown::Unrecorded, |record| Shown::Installed(Box::new(record)))
    }

    /// The installed plugin that `<plugins>/<type>` shows, proven; `None` where there is nothing
    /// or a file that was not installed here. Reads the whole file: not for an async thread.
    ///
    /// # Errors
    /// As [`Inventory::open`].
    pub fn open_view(&self, type_: &str) -> Result<Option<InstalledPlugin>, InventoryError> {
        match self.shown(type_) {
            Shown::Installed(record) => self.open(&record).map(Some),
            Shown::Foreign | Shown::Unrecorded => Ok(None),
        }
    }

    /// Shows a plugin as `<plugins>/<type>`, where no resource earlier by name has that type, and
    /// records what it is. True when it is shown.
    ///
    /// # Errors
    /// When either cannot be written.
    pub fn publish(&self, record: &Record) -> Result<bool, InventoryError> {
        let shows = |records: &[Record]| {
            let mut others = records.iter().filter(|other| other.type_ == record.type_);
            others.all(|other| record.resource() <= other.resource())
        };
        let view_path = self.view_path(&record.type_);
        if self.record(&record.resource()).is_some_and(|known| known.same_installation(record)) {
            let first = shows(&self.records());
            let shown = view::shown_digest(&view_path).as_ref() == Some(&record.digest);
            if !first || shown {
                return Ok(shown);
            }
        }
        let _alone = self.lock()?;
        record::write(&self.sources(), record)?;
        let first = shows(&self.records());
        if first {
            view::show(&view_path, &record.digest)?;
        }
        Ok(first)
    }

    /// Notes by what an installed plugin is admitted now, or that it is not, where it still is what its
    /// record names.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn note_admission(&self, now: &Record) -> Result<(), InventoryError> {
        let known = self.record(&now.resource()).filter(|known| known.root == now.root);
        let Some(known) = known else { return Ok(()) };
        let (signers, admitted_by) = (now.signers.clone(), now.admitted_by.clone());
        let admitted_until = now.admitted_until;
        self.publish(&Record { signers, admitted_by, admitted_until, ..known }).map(drop)
    }

    /// Takes away the record of a resource, and what `<plugins>/<type>` shows of it: another
    /// resource's program of that type, or nothing. The bytes stay until they are collected.
    ///
    /// # Errors
    /// When it cannot be written. Nothing recorded is no error.
    pub fn forget(&self, resource: &Resource) -> Result<(), InventoryError> {
        if !self.store().is_dir() {
            return Ok(());
        }
        let _alone = self.lock()?;
        let Some(record) = self.record(resource) else { return Ok(()) };
        let path = self.sources().join(resource.file_name());
        contents::remove(&path).attempt("removing", &path)?;
        let view_path = self.view_path(&record.type_);
        match self.records().iter().find(|other| other.type_ == record.type_) {
            Some(other) => view::show(&view_path, &other.digest),
            None => view::hide(&view_path),
        }
    }

    /// What a resource runs, as last recorded; `None` where there is no record or no readable one.
    pub fn record(&self, resource: &Resource) -> Option<Record> {
        record::read(&self.sources().join(resource.file_name()))
            .filter(|record| record.resource() == *resource)
    }

    /// Every readable record, by name.
    pub fn records(&self) -> Vec<Record> {
        record::read_all(&self.sources())
    }

    /// A manifest or configuration that is here and whole.
    pub fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = fs::read(self.document_path(digest)).ok()?;
        (digest_of(digest.algorithm(), &bytes) == *digest).then_some(bytes)
    }

    /// Keeps a manifest or configuration, whose digest the caller has proven.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_document(&self, digest: &Digest, bytes: &[u8]) -> Result<(), InventoryError> {
        contents::write_unsynced(&self.document_path(digest), bytes)
    }

    fn document_path(&self, digest: &Digest) -> PathBuf {
        self.store().join(DOCUMENTS).join(digest.hex())
    }

    fn store(&self) -> PathBuf {
        self.directory.join(STORE)
    }

    fn sources(&self) -> PathBuf {
        self.store().join(SOURCES)
    }

    /// One process at a time changes records and views. Freed when dropped, or when it dies.
    fn lock(&self) -> Result<File, InventoryError> {
        let path = self.store().join(LOCK);
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.attempt("opening", &path)?;
        file.lock().attempt("locking", &path)?;
        Ok(file)
    }
}

fn make_private(path: &Path) -> Result<(), InventoryError> {
    match DirBuilder::new().mode(PRIVATE_DIRECTORY).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => check_private(path),
        Err(error) => Err(error).attempt("creating", path),
    }
}

/// A real directory, this user's, which nobody else may write to.
fn check_private(path: &Path) -> Result<(), InventoryError> {
    let found = fs::symlink_metadata(path).attempt("looking at", path)?;
    if !found.is_dir() {
        return Err(InventoryError::NotADirectory(path.to_owned()));
    }
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if !own || found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(InventoryError::OpenToOthers(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
