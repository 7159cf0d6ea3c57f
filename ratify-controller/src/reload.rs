//! Hot reload: a changed configuration file becomes the next [`Snapshot`].
//!
//! The file is looked at, not listened to: once a second its identity (device, inode, size, times)
//! is compared, through every link on its path. That sees a change in place, a replacement by
//! `mv`, a removal and return, and the `..data` swap of a ConfigMap alike, costs one system call,
//! and cannot lose a watch. The log texts are v1's.

use std::{
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ratify_core::{
    Result,
    config::{Config, ConfigError},
};

use crate::{
    plugin::{
        process::go_error_text,
        rules::{Rules, RulesInForce},
    },
    state::{Active, Snapshot},
};

/// A larger file is no configuration.
const MAX_BYTES: u64 = 4 << 20;
/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long v1 waits for a removed file before it stops watching; we say so and go on.
const ABSENCE_TOLD_AFTER: u32 = 60;
/// What failed is tried again after so many looks, and then after twice as many each time.
const FIRST_RETRY: u32 = 10;
/// At the latest after so many.
const LAST_RETRY: u32 = 300;
/// Within this time after a change another one may leave the same times behind.
const TIME_GRAIN: Duration = Duration::from_secs(2);

/// A configuration file that was read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConfigFile {
    /// What it says.
    pub config: Config,
    bytes: Vec<u8>,
    identity: Identity,
}

/// Why a file is no configuration. The texts are v1's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is not there, or not to be read.
    #[error("unable to read config file at path {given}: open {path}: {}", go_error_text(cause))]
    Unreadable {
        /// The path as the user gave it; empty for the default.
        given: String,
        /// The path.
        path: String,
        /// Why. It is part of the text, hence no source that would be printed once more.
        cause: io::Error,
    },
    /// It is something else than a file.
    #[error("unable to read config file at path {given}: read {path}: it is not a regular file")]
    NoFile {
        /// The path as the user gave it; empty for the default.
        given: String,
        /// The path.
        path: String,
    },
    /// It is larger than a configuration may be.
    #[error(
        "unable to read config file at path {given}: read {path}: it has more than {MAX_BYTES} bytes"
    )]
    TooLarge {
        /// The path as the user gave it; empty for the default.
        given: String,
        /// The path.
        path: String,
    },
    /// It does not say what a configuration says.
    #[error("unable to unmarshal config body: {0}")]
    Malformed(#[from] ConfigError),
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a look at the file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// As before.
    Same,
    /// Written to.
    Written,
    /// Another file stands in its place.
    Replaced,
    /// Not there.
    Absent,
}

/// When a configuration that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Retry {
    /// After so many looks.
    left: u32,
    /// After so many more, should it fail again.
    next: u32,
}

/// Watches one file. Runs until it is dropped.
pub struct Watcher {
    path: PathBuf,
    active: Arc<Active>,
    rules: RulesInForce,
    interval: Duration,
    /// The bytes of the snapshot in force.
    in_force: Vec<u8>,
    /// The bytes that were last tried.
    tried: Vec<u8>,
    /// Set where they failed: what stood in the way, a registry or a disk, may be gone later.
    retry: Option<Retry>,
    /// What was last looked at; `None` while the file is absent.
    seen: Option<Identity>,
    absent_for: u32,
}

impl ConfigFile {
    /// Reads a configuration file. `given` is the path as the user gave it, which v1's text
    /// repeats; empty for the default.
    ///
    /// # Errors
    /// When it cannot be read or is no configuration.
    pub fn read(given: &str, path: &Path) -> Result<Self, ReadError> {
        let place = || (given.to_owned(), path.display().to_string());
        let unreadable = |cause| {
            let (given, path) = place();
            ReadError::Unreadable { given, path, cause }
        };
        // The identity is taken first: a change after it is seen at the next look.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        let identity = Identity::of(&metadata);
        if !metadata.is_file() {
            let (given, path) = place();
            return Err(ReadError::NoFile { given, path });
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            let (given, path) = place();
            return Err(ReadError::TooLarge { given, path });
        }
        Ok(Self { config: Config::from_json(&bytes)?, bytes, identity })
    }
}

impl Identity {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a second change could have left these very times behind.
    fn is_fresh(&self, now: jiff::Timestamp) -> bool {
        let age = now.as_second().saturating_sub(self.modified.0.max(self.changed.0));
        age <= TIME_GRAIN.as_secs().cast_signed()
    }
}

impl Retry {
    fn after(before: Option<Self>) -> Self {
        let left = before.map_or(FIRST_RETRY, |before| before.next);
        Self { left, next: left.saturating_mul(2).min(LAST_RETRY) }
    }
}

impl Watcher {
    /// Watches the file at `path`, of which `first` is in force.
    pub fn new(path: PathBuf, first: ConfigFile, active: Arc<Active>) -> Self {
        Self {
            path,
            active,
            rules: RulesInForce::default(),
            interval: INTERVAL,
            tried: first.bytes.clone(),
            retry: None,
            in_force: first.bytes,
            seen: Some(first.identity),
            absent_for: 0,
        }
    }

    /// The same with another interval between two looks, for tests.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Puts the administrators' rules of each configuration in force as soon as it was read,
    /// whatever becomes of the rest of it. A file that is no configuration leaves the last ones.
    #[must_use]
    pub fn with_rules(mut self, rules: RulesInForce) -> Self {
        self.rules = rules;
        self
    }

    /// Looks at the file again and again. `build` makes a snapshot of a configuration; where it
    /// fails, the one in force stays.
    pub async fn watch<B, F>(self, build: B)
    where
        B: Fn(Config) -> F,
        F: Future<Output = Result<Snapshot>>,
    {
        self.look(|config| {
            let snapshot = build(config);
            async { snapshot.await.map(Some) }
        })
        .await;
    }

    /// The same where only the rules of the file count.
    pub async fn watch_rules(self) {
        self.look(|_| std::future::ready(Ok(None))).await;
    }

    async fn look<B, F>(mut self, build: B)
    where
        B: Fn(Config) -> F,
        F: Future<Output = Result<Option<Snapshot>>>,
    {
        tracing::info!("watcher added on configuration file {}", self.path.display());
        loop {
            tokio::time::sleep(self.interval).await;
            let now = std::fs::metadata(&self.path).ok().map(|metadata| Identity::of(&metadata));
            match sight(self.seen, now) {
                Sight::Absent => self.note_absence(),
                Sight::Same => {
                    self.reload_if_rewritten(&build).await;
                    self.retry_if_due(&build).await;
                }
                Sight::Written => {
                    self.note_event("WRITE");
                    self.reload(&build).await;
                }
                Sight::Replaced => {
                    if self.absent_for == 0 {
                        self.note_removal();
                    }
                    self.absent_for = 0;
                    self.reload(&build).await;
                    let path = self.path.display();
                    tracing::info!("watcher added on configuration directory {path}");
                }
            }
        }
    }

    async fn reload<B, F>(&mut self, build: &B)
    where
        B: Fn(Config) -> F,
        F: Future<Output = Result<Option<Snapshot>>>,
    {
        // What failed is there no more, whatever is.
        self.retry = None;
        // Even a file that is no configuration has been seen; it is looked at again on a change.
        self.seen = std::fs::metadata(&self.path).ok().map(|metadata| Identity::of(&metadata));
        let file = match self.read() {
            Ok(file) => file,
            Err(error) => {
                self.active.note_failure();
                tracing::warn!("failed to load from config file , err: {error}");
                return;
            }
        };
        if file.bytes == self.in_force {
            self.tried = file.bytes;
            tracing::info!("no change found in config file, no executor update needed");
            return;
        }
        self.put_in_force(file, build).await;
    }

    /// A change within the grain of the file's times leaves the same times behind; while they are
    /// that young the content decides. Quiet, since nothing is known to have happened.
    async fn reload_if_rewritten<B, F>(&mut self, build: &B)
    where
        B: Fn(Config) -> F,
        F: Future<Output = Result<Option<Snapshot>>>,
    {
        if !self.seen.is_some_and(|seen| seen.is_fresh(jiff::Timestamp::now())) {
            return;
        }
        if let Ok(file) = self.read()
            && file.bytes != self.tried
        {
            self.retry = None;
            self.put_in_force(file, build).await;
        }
    }

    /// Tries again what failed. Quiet until it is known what comes of it.
    async fn retry_if_due<B, F>(&mut self, build: &B)
    where
        B: Fn(Config) -> F,
        F: Future<Output = Result<Option<Snapshot>>>,
    {
        let Some(retry) = &mut self.retry else { return };
        retry.left = retry.left.saturating_sub(1);
        if retry.left == 0
            && let Ok(file) = self.read()
        {
            self.put_in_force(file, build).await;
        }
    }

    async fn put_in_force<B, F>(&mut self, file: ConfigFile, build: &B)
    where
        B: Fn(Config) -> F,
        F: Future<Output = Result<Option<Snapshot>>>,
    {
        self.tried.clone_from(&file.bytes);
        match build(file.config).await {
            Ok(snapshot) => {
                if let Some(snapshot) = snapshot {
                    self.active.swap(snapshot);
                }
                self.in_force = file.bytes;
                self.retry = None;
                tracing::info!("configuration file has been updated, reloading executor succeeded");
            }
            Err(error) => {
                self.active.note_failure();
                let retry = Retry::after(self.retry);
                let after = self.interval * retry.left;
                self.retry = Some(retry);
                tracing::warn!(
                    "failed to store/verifier/policy objects from config, no updates loaded. err: {error}; it is tried again in {after:?}"
                );
            }
        }
    }

    fn read(&self) -> Result<ConfigFile, ReadError> {
        let file = ConfigFile::read(&self.path.to_string_lossy(), &self.path)?;
        self.rules.put(Rules::of(&file.config));
        Ok(file)
    }

    fn note_event(&self, event: &str) {
        tracing::info!("file watcher event detected {event} {:?}", self.path);
    }

    fn note_removal(&self) {
        self.note_event("REMOVE");
        tracing::info!("config file remove event detected");
    }

    fn note_absence(&mut self) {
        if self.absent_for == 0 {
            self.note_removal();
        }
        self.seen = None;
        self.absent_for = self.absent_for.saturating_add(1);
        if self.absent_for < ABSENCE_TOLD_AFTER {
            tracing::info!("config file does not exist yet, sleeping again");
        } else if self.absent_for == ABSENCE_TOLD_AFTER {
            tracing::warn!(
                "config file not found after waiting for {ABSENCE_TOLD_AFTER} sec, still looking; the configuration in force stays"
            );
        }
    }
}

/// Compares two looks at a file.
fn sight(before: Option<Identity>, now: Option<Identity>) -> Sight {
    match (before, now) {
        (_, None) => Sight::Absent,
        (Some(before), Some(now)) if before == now => Sight::Same,
        (Some(before), Some(now)) if before.file == now.file => Sight::Written,
        _ => Sight::Replaced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(inode: u64, size: u64) -> Identity {
        Identity { file: (1, inode), size, modified: (100, 0), changed: (100, 0) }
    }

    #[test]
    fn tells_a_change_from_a_replacement_and_a_removal() {
        let first = Some(identity(1, 1));
        assert_eq!(sight(first, first), Sight::Same);
        assert_eq!(sight(first, Some(identity(1, 2))), Sight::Written);
        assert_eq!(sight(first, Some(identity(2, 1))), Sight::Replaced);
        assert_eq!(sight(first, None), Sight::Absent);
        assert_eq!(sight(None, first), Sight::Replaced);
    }

    #[test]
    fn times_are_trusted_only_once_they_are_older_than_their_grain() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        assert!(identity(1, 1).is_fresh(at(101)));
        assert!(!identity(1, 1).is_fresh(at(103)));
    }

    #[test]
    fn what_fails_is_tried_again_less_and_less_often() {
        let mut retry = None;
        let mut next = || {
            retry = Some(Retry::after(retry));
            retry.unwrap().left
        };
        assert_eq!([(); 7].map(|()| next()), [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn says_why_a_file_is_no_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let error = |path: &Path| ConfigFile::read("given", path).unwrap_err().to_string();
        assert_eq!(
            error(&path),
            format!(
                "unable to read config file at path given: open {}: no such file or directory",
                path.display()
            )
        );
        assert!(error(directory.path()).ends_with("it is not a regular file"));
        std::fs::write(&path, "").unwrap();
        assert!(error(&path).starts_with("unable to unmarshal config body: EOF"));
        std::fs::write(&path, " ".repeat(5 << 20)).unwrap();
        assert!(error(&path).ends_with("it has more than 4194304 bytes"));
    }
}
