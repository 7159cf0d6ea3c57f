//! The record of loads: which program came into force when, for whom, and from where. A line of
//! JSON each, appended in one write and on the disk before the program may run. Each line names the
//! one before it by its hash, so that none can be changed or taken out without all that follow: `chain`
//! looks.
//!
//! `<plugins>/.store/loads/loads.jsonl` is written to; when it is full it becomes `loads-1.jsonl`,
//! whole, what was `loads-1.jsonl` becomes `loads-2.jsonl`, and the oldest goes. Each plugin
//! directory has its own, so that what one namespace loads displaces no other's lines.

mod chain;

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use ratify_core::{Algorithm, Digest, capped_line};
use ratify_store_oras::digest_of;
use serde::{Deserialize, Serialize};

pub use chain::{Chain, Fault, FaultKind};

use super::{
    Inventory, InventoryError, LOADS, Record, STORE, contents, error::Attempt as _, make_private,
};

/// A file that would grow beyond this is put aside.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// As many files are kept besides the one that is written to.
const MAX_OLD_FILES: u32 = 7;
/// Names and references are cut to this.
const MAX_TEXT: usize = 1024;
/// A longer line is none of ours.
const MAX_LINE: u64 = 64 * 1024;

/// One load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Load {
    /// When (RFC 3339, UTC).
    pub time: String,
    /// The kind of the resource: `Verifier`; `verifier` of a configuration file.
    pub kind: String,
    /// Its namespace; empty where it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What the program is called.
    #[serde(rename = "type")]
    pub type_: String,
    /// The reference it was pulled by.
    pub artifact: String,
    /// What the reference stood for: an index or a manifest.
    pub root: Digest,
    /// The manifest of this platform.
    pub manifest: Digest,
    /// The program.
    pub program: Digest,
    /// The platform, `linux/amd64`.
    pub platform: String,
    /// The program's size in bytes.
    pub size: u64,
    /// Who loaded it: the pod or the machine.
    pub who: String,
    /// How it came here: `downloaded`, `present`, or `kept` where an update failed.
    pub outcome: String,
    /// Who signed it, as far as they are trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// The hash of the line before, without its end; nothing in the first line of a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
}

/// For whom a program is loaded, and by whom. An empty kind or name is the installation's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedFor {
    /// The kind of the resource.
    pub kind: String,
    /// Its namespace; empty where it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pod or the machine.
    pub who: String,
}

/// What a record says.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Loads {
    /// Its lines, oldest first.
    pub loads: Vec<Load>,
    /// How many lines could not be read.
    pub unreadable: usize,
}

impl Load {
    /// The load of an installed program, now.
    pub fn new(record: &Record, loaded_for: &LoadedFor, outcome: &str) -> Self {
        let or = |text: &str, other: &str| {
            capped_line(if text.is_empty() { other } else { text }, MAX_TEXT)
        };
        Self {
            time: format!("{:.3}", Timestamp::now()),
            kind: or(&loaded_for.kind, record.kind.as_str()),
            namespace: capped_line(&loaded_for.namespace, MAX_TEXT),
            name: or(&loaded_for.name, &record.name),
            type_: capped_line(&record.type_, MAX_TEXT),
            artifact: capped_line(&record.artifact, MAX_TEXT),
            root: record.root.digest.clone(),
            manifest: record.manifest.clone(),
            program: record.digest.clone(),
            platform: capped_line(&record.platform, MAX_TEXT),
            size: record.size,
            who: capped_line(&loaded_for.who, MAX_TEXT),
            outcome: outcome.to_owned(),
            signers: record.signers.clone(),
            previous: None,
        }
    }
}

impl Inventory {
    /// Appends a load to the record of this directory. It is on the disk when this returns, the hash
    /// of its line.
    ///
    /// # Errors
    /// When it cannot be written whole: the program must not run then.
    pub fn record_load(&self, load: &Load) -> Result<Digest, InventoryError> {
        self.append_load(load, MAX_FILE)
    }

    fn append_load(&self, load: &Load, max_file: u64) -> Result<Digest, InventoryError> {
        let folder = self.loads_folder();
        make_private(&self.directory().join(STORE))?;
        make_private(&folder)?;
        let path = folder.join(file_name(0));
        // One process at a time, so that no two put the same file aside or follow the same line.
        let _alone = self.lock()?;
        let load = Load { previous: last_line(&folder)?, ..load.clone() };
        let mut line = serde_json::to_vec(&load)
            .map_err(io::Error::from)
            .attempt("encoding a line for", &path)?;
        let digest = digest_of(Algorithm::Sha256, &line);
        line.push(b'\n');
        let length = fs::symlink_metadata(&path).map_or(0, |found| found.len());
        if length > 0 && length.saturating_add(line.len() as u64) > max_file {
            put_aside(&folder)?;
        }
        append(&folder, &path, line)?;
        Ok(digest)
    }

    /// What the record of this directory says.
    ///
    /// # Errors
    /// When a file of it cannot be read.
    pub fn loads(&self) -> Result<Loads, InventoryError> {
        let mut loads = Loads::default();
        for number in (0..=MAX_OLD_FILES).rev() {
            let path = self.loads_folder().join(file_name(number));
            match open(&path, rustix::fs::OFlags::RDONLY) {
                Ok(file) => read(&file, &mut loads).attempt("reading", &path)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).attempt("opening", &path),
            }
        }
        Ok(loads)
    }

    fn loads_folder(&self) -> PathBuf {
        self.directory().join(STORE).join(LOADS)
    }
}

fn file_name(number: u32) -> String {
    match number {
        0 => "loads.jsonl".to_owned(),
        number => format!("loads-{number}.jsonl"),
    }
}

/// Makes room for a new file. Each step is a rename, so that no line is lost but with the oldest
/// file, which is said.
fn put_aside(folder: &Path) -> Result<(), InventoryError> {
    let oldest = folder.join(file_name(MAX_OLD_FILES));
    if oldest.exists() {
        tracing::warn!("the record of loads is full: its oldest file, {}, goes", oldest.display());
    }
    for number in (0..MAX_OLD_FILES).rev() {
        let (from, to) = (folder.join(file_name(number)), folder.join(file_name(number + 1)));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).attempt("putting aside", &from);
            }
            _ => {}
        }
    }
    contents::sync_folder(folder)
}

/// Writes a line at the end, in one write. What a dead process left of a line stays, on a line of
/// its own.
fn append(folder: &Path, path: &Path, mut line: Vec<u8>) -> Result<(), InventoryError> {
    use rustix::fs::OFlags;
    let is_new = fs::symlink_metadata(path).is_err();
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
    let mut file = open(path, flags).attempt("opening", path)?;
    let found = file.metadata().attempt("looking at", path)?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() || found.nlink() != 1
    {
        return Err(InventoryError::OpenToOthers(path.to_owned()));
    }
    if found.len() > 0 && !ends_a_line(&file, found.len()).attempt("reading", path)? {
        line.insert(0, b'\n');
    }
    let written = file.write(&line).attempt("writing", path)?;
    if written != line.len() {
        let error = io::Error::new(io::ErrorKind::WriteZero, "a part of the line only");
        return Err(error).attempt("writing", path);
    }
    file.sync_data().attempt("writing", path)?;
    if is_new { contents::sync_folder(folder) } else { Ok(()) }
}

/// The hash of the last line there is, whatever it is; nothing where there is none.
fn last_line(folder: &Path) -> Result<Option<Digest>, InventoryError> {
    // Where the file was put aside and nobody came to write the next one, it is the one before.
    for number in [0, 1] {
        let path = folder.join(file_name(number));
        let file = match open(&path, rustix::fs::OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).attempt("opening", &path),
        };
        let last = tail(&file).attempt("reading", &path)?;
        let mut lines = last.split(|byte| *byte == b'\n').rev();
        if let Some(line) = lines.find(|line| !line.trim_ascii().is_empty()) {
            return Ok(Some(digest_of(Algorithm::Sha256, line)));
        }
    }
    Ok(None)
}

/// The end of a file, a line of ours at least.
fn tail(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * MAX_LINE);
    let mut end = vec![0; usize::try_from(length - from).unwrap_or_default()];
    file.read_exact_at(&mut end, from)?;
    Ok(end)
}

fn ends_a_line(file: &File, length: u64) -> io::Result<bool> {
    let mut last = [0];
    file.read_exact_at(&mut last, length.saturating_sub(1))?;
    Ok(last == *b"\n")
}

/// Never through a link.
fn open(path: &Path, flags: rustix::fs::OFlags) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))
}

fn read(file: &File, loads: &mut Loads) -> io::Result<()> {
    let mut lines = BufReader::new(file);
    loop {
        let mut line = Vec::new();
        if lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(load) => loads.loads.push(load),
            Err(_) => loads.unreadable += 1,
        }
    }
}

#[cfg(test)]
mod tests;
