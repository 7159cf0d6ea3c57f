//! The folder that the parts live in, shared by every clone of this tree: `ratify-tools` in the
//! user's cache, a folder a part and version. Each part has a record beside it of what it was
//! made from and what came out; a part that differs from its record is made anew.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::sha256;

/// The folder of all parts.
pub(crate) struct Cache {
    folder: PathBuf,
}

/// What is known of a part that was brought.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Hash of everything that decides what is built: package, version, flags, our own source.
    pub(crate) recipe: String,
    /// Hash of the program that came out.
    pub(crate) sha256: String,
}

impl Cache {
    /// The cache of the user we run as; made when it is missing.
    ///
    /// # Errors
    /// When neither `XDG_CACHE_HOME` nor `HOME` says where it is, or it cannot be made.
    pub(crate) fn open() -> Result<Self> {
        let folder = folder(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Waits until no other `xtask tools` works here; the lock ends with the returned file.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.folder.join("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        if file.try_lock().is_err() {
            println!("waiting for another `cargo xtask tools` to end");
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that maps each part's name to its path.
    pub(crate) fn map_file(&self) -> PathBuf {
        self.folder.join("tools.json")
    }

    /// Whether the program in this folder is what its record says, made by this recipe.
    pub(crate) fn holds(&self, folder: &Path, binary: &str, recipe: &str) -> bool {
        let Ok(text) = fs::read_to_string(folder.join(RECORD)) else { return false };
        let Ok(record) = serde_json::from_str::<Record>(&text) else { return false };
        let Ok(sha256) = sha256::of_file(&folder.join(binary)) else { return false };
        record == Record { recipe: recipe.to_owned(), sha256 }
    }

    /// Puts a finished part in its place: its record is written, then the whole folder is
    /// renamed, so that a part is either whole or not there.
    ///
    /// # Errors
    /// When a file cannot be read, written or renamed.
    pub(crate) fn put(
        &self,
        built: &Path,
        folder: &Path,
        binary: &str,
        recipe: &str,
    ) -> Result<()> {
        let record =
            Record { recipe: recipe.to_owned(), sha256: sha256::of_file(&built.join(binary))? };
        write_whole(&built.join(RECORD), &serde_json::to_string_pretty(&record)?)?;
        remove(folder)?;
        fs::rename(built, folder)
            .with_context(|| format!("cannot rename {} to {}", built.display(), folder.display()))
    }
}

/// The record's name in a part's folder.
const RECORD: &str = "part.json";

/// Writes a file so that a reader sees the old one or the new one.
///
/// # Errors
/// When it cannot be written or renamed.
pub(crate) fn write_whole(file: &Path, text: &str) -> Result<()> {
    let draft = file.with_extension("draft");
    fs::write(&draft, text).with_context(|| format!("cannot write {}", draft.display()))?;
    fs::rename(&draft, file).with_context(|| format!("cannot write {}", file.display()))
}

/// Removes a folder; none there is fine.
///
/// # Errors
/// When it is there and stays.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// As the XDG base directory specification has it: a relative or empty value counts as unset.
fn folder(cache: Option<std::ffi::OsString>, home: Option<std::ffi::OsString>) -> Result<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let cache = cache.map(PathBuf::from).and_then(absolute);
    let home = home.map(PathBuf::from).and_then(absolute).map(|home| home.join(".cache"));
    match cache.or(home) {
        Some(folder) => Ok(folder.join("ratify-tools")),
        None => bail!("neither XDG_CACHE_HOME nor HOME is set; set one to say where tools go"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("xtask-cache-{name}-{}", std::process::id()));
        remove(&folder).unwrap();
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_relative_cache_folder_counts_as_unset() {
        let found = folder(Some("relative".into()), Some("/somewhere".into())).unwrap();
        assert_eq!(found, Path::new("/somewhere/.cache/ratify-tools"));
        assert!(folder(Some("".into()), None).is_err());
    }

    #[test]
    fn a_part_is_held_until_its_bytes_or_its_recipe_change() {
        let cache = Cache { folder: scratch("held") };
        let (built, part) = (cache.folder.join("built"), cache.folder.join("part-1"));
        fs::create_dir(&built).unwrap();
        fs::write(built.join("program"), "bytes").unwrap();
        assert!(!cache.holds(&part, "program", "recipe"));
        cache.put(&built, &part, "program", "recipe").unwrap();
        assert!(cache.holds(&part, "program", "recipe"));
        assert!(!cache.holds(&part, "program", "another recipe"));
        fs::write(part.join("program"), "other bytes").unwrap();
        assert!(!cache.holds(&part, "program", "recipe"));
        remove(&cache.folder).unwrap();
    }
}
