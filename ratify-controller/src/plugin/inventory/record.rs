//! [`Record`]: which digest a resource runs, from where, since when. A JSON file each.

use std::{fmt, fs, path::Path};

use jiff::Timestamp;
use ratify_core::{Algorithm, Descriptor, Digest, capped_line};
use ratify_store_oras::digest_of;
use serde::{Deserialize, Serialize};

use super::{InventoryError, contents};

/// A longer name is told by its hash. File names have at most 255 bytes.
const MAX_READABLE_NAME: usize = 150;
/// A record is far smaller; a larger file is none.
const MAX_RECORD: u64 = 64 * 1024;

/// What a plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It judges artifacts.
    Verifier,
    /// It lists and reads them.
    Store,
}

impl Kind {
    /// The word that v1's texts use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Who runs a plugin: an entry of the configuration, by kind and name. Ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// The name of the entry.
    pub name: String,
    /// What it is an entry for.
    pub kind: Kind,
}

impl Resource {
    /// The file of its record: the name, every byte that could mean something else escaped.
    pub(super) fn file_name(&self) -> String {
        let mut readable = String::new();
        for byte in self.name.bytes() {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => readable.push(byte.into()),
                _ => readable.push_str(&format!("%{byte:02X}")),
            }
        }
        if readable.len() > MAX_READABLE_NAME {
            readable = digest_of(Algorithm::Sha256, self.name.as_bytes()).hex().to_owned();
        }
        format!("{}-{readable}.json", self.kind)
    }
}

/// What was installed for a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Record {
    /// The name of the entry.
    pub name: String,
    /// What it is an entry for.
    pub kind: Kind,
    /// What the program is called.
    #[serde(rename = "type")]
    pub type_: String,
    /// The reference it was pulled by, as configured.
    pub artifact: String,
    /// What the reference stood for: an index or a manifest.
    pub root: Descriptor,
    /// The manifest of this platform.
    pub manifest: Digest,
    /// The program.
    pub digest: Digest,
    /// The program's size in bytes.
    pub size: u64,
    /// The media type of the program's layer.
    pub media_type: String,
    /// The node's platform, `linux/amd64`.
    pub platform: String,
    /// The program's own version, where its artifact says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The protocols it declares, where its artifact says so; else v1's alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<String>,
    /// Whether an operator's command installed it, so that it runs for whoever names it without a source.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_command: bool,
    /// The manifests and configurations it was proven by.
    #[serde(default)]
    pub documents: Vec<Digest>,
    /// Who signed it, as far as they are trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// By what policies and keys it was admitted, as a hash; `None` where nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_by: Option<Digest>,
    /// When what it was admitted by ends, such as a list of revoked certificates; `None` where it does
    /// not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_until: Option<Timestamp>,
    /// When it was installed (RFC 3339).
    pub installed_at: String,
}

impl Record {
    /// Who runs it.
    pub fn resource(&self) -> Resource {
        Resource { name: self.name.clone(), kind: self.kind }
    }

    /// Whether another record says the same, whenever it was written.
    pub(super) fn same_installation(&self, other: &Self) -> bool {
        let at = self.installed_at.clone();
        *self == Self { installed_at: at, ..other.clone() }
    }
}

pub(super) fn write(folder: &Path, record: &Record) -> Result<(), InventoryError> {
    let path = folder.join(record.resource().file_name());
    let bytes = serde_json::to_vec_pretty(record).map_err(|error| InventoryError::Io {
        doing: "encoding",
        path: path.clone(),
        source: error.into(),
    })?;
    contents::write_unsynced(&path, &bytes)
}

/// A record; `None` where there is none. One that cannot be read is said and passed over: the
/// plugin is then fetched again.
pub(super) fn read(path: &Path) -> Option<Record> {
    let size = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    let failed = |why: String| {
        let why = capped_line(&why, 200);
        tracing::warn!("the plugin record {} is passed over: {why}", path.display());
    };
    if size > MAX_RECORD {
        failed(format!("it has {size} bytes"));
        return None;
    }
    let bytes = fs::read(path).map_err(|error| failed(error.to_string())).ok()?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string())).ok()
}

/// Every readable record of a folder, by name.
pub(super) fn read_all(folder: &Path) -> Vec<Record> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let json = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut records: Vec<Record> = json.filter_map(|path| read(&path)).collect();
    records.sort_by_key(Record::resource);
    records
}
