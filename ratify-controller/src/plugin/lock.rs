//! [`LockFile`]: which digest each plugin's reference stands for, written down once and heeded from then
//! on: what it does not name is not installed (`plugins.lockFile`).

use std::{fs, io::Write as _, path::Path};

use ratify_core::{Digest, capped_line, config::Denial};
use serde::{Deserialize, Serialize};

/// The version of the file's form.
const VERSION: u32 = 1;
/// A larger file is none.
const MAX_BYTES: u64 = 4 << 20;

/// Plugins by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    plugins: Vec<Locked>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Locked {
    /// `source.artifact`, as configured.
    pub artifact: String,
    /// What it stands for: the digest of an index or a manifest, which names everything below it.
    pub digest: Digest,
}

impl LockFile {
    /// A file of these, by reference, each once.
    pub fn new(mut plugins: Vec<Locked>) -> Self {
        plugins.sort_by(|one, other| one.artifact.cmp(&other.artifact));
        plugins.dedup();
        Self { version: VERSION, plugins }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read or is none: it cannot be told what is locked then.
    pub fn read(path: &Path) -> Result<Self, Denial> {
        let shown = path.display();
        let doubt = |why: String| Denial::Doubt(format!("the lock file {shown}: {why}"));
        let metadata = fs::metadata(path).map_err(|error| doubt(error.to_string()))?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(doubt(format!("it is no file of at most {MAX_BYTES} bytes")));
        }
        let bytes = fs::read(path).map_err(|error| doubt(error.to_string()))?;
        Self::parse(&bytes).map_err(doubt)
    }

    /// Reads what is in a file.
    ///
    /// # Errors
    /// Where it is none, and why.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let read: Self =
            serde_json::from_slice(bytes).map_err(|error| capped_line(&error.to_string(), 200))?;
        if read.version != VERSION {
            return Err(format!("version {} is not {VERSION}", read.version));
        }
        let mut names: Vec<&str> = read.plugins.iter().map(|one| one.artifact.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("it names {} twice", capped_line(pair[0], 300))),
            None => Ok(read),
        }
    }

    /// What a reference stands for, for good.
    ///
    /// # Errors
    /// Where it is not locked, or something else was agreed on.
    pub fn digest_of(&self, artifact: &str, agreed: Option<&Digest>) -> Result<&Digest, Denial> {
        let found = self.plugins.iter().find(|one| one.artifact == artifact);
        let Some(Locked { digest, .. }) = found else {
            return Err(Denial::NotLocked { artifact: capped_line(artifact, 300) });
        };
        match agreed {
            Some(agreed) if agreed != digest => Err(Denial::OtherThanLocked {
                artifact: capped_line(artifact, 300),
                digest: agreed.clone(),
                locked: digest.clone(),
            }),
            _ => Ok(digest),
        }
    }

    /// As it is written.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes the file whole, or leaves what was there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(self.to_text()?.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ratify_core::executor::testing::digest;

    use super::*;

    fn locked(artifact: &str, number: u8) -> Locked {
        Locked { artifact: artifact.into(), digest: digest(number) }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_says_what_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ratify.lock");
        let lock = LockFile::new(vec![locked("r/b:1", 2), locked("r/a:1", 1), locked("r/b:1", 2)]);
        lock.write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\n  \"version\": 1,\n  \"plugins\": [\n"), "{text}");
        let read = LockFile::read(&path).unwrap();
        assert_eq!((&read, read.plugins.len()), (&lock, 2));
        assert_eq!(read.digest_of("r/a:1", None).unwrap(), &digest(1));
        assert_eq!(read.digest_of("r/a:1", Some(&digest(1))).unwrap(), &digest(1));
        let other = read.digest_of("r/a:1", Some(&digest(3))).unwrap_err();
        assert!(matches!(other, Denial::OtherThanLocked { .. }), "{other}");
        let absent = read.digest_of("r/a:2", None).unwrap_err();
        assert!(matches!(absent, Denial::NotLocked { .. }), "{absent}");
    }

    #[test]
    fn what_is_no_lock_file_locks_everything_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ratify.lock");
        let refused = || LockFile::read(&path).unwrap_err().to_string();
        assert!(refused().contains("the lock file "), "{}", refused());
        let twice = format!(
            r#"{{"version":1,"plugins":[{0},{0}]}}"#,
            serde_json::to_string(&locked("r/a:1", 1)).unwrap()
        );
        for text in [
            "",
            "{}",
            "[]",
            r#"{"version":2,"plugins":[]}"#,
            r#"{"version":1,"plugins":[],"x":1}"#,
            &twice,
        ] {
            fs::write(&path, text).unwrap();
            assert!(refused().starts_with("the plugin is denied, for it cannot be told"), "{text}");
        }
    }
}
