//! What is known of a program that is here: [`Known`]. An installed one has a record; of any other
//! file the digest is taken, once for each state of the file.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ratify_core::{
    Algorithm, Digest, Reference, capped_line,
    config::{Candidate, Denial, Part, PluginRules},
};

use crate::plugin::inventory::{FileIdentity, InstalledPlugin, Record, digest_of_file};

/// As many files are remembered; there are far fewer plugins.
const MAX_FILES: usize = 256;

/// A program that is to run or runs.
#[derive(Debug, Clone)]
pub(in crate::plugin) enum Known {
    /// An installed one.
    Installed(Arc<InstalledPlugin>),
    /// Any file that was not installed here.
    File(PathBuf),
}

/// The digests of files as they were last seen.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<HashMap<(PathBuf, Algorithm), (FileIdentity, Digest)>>);

impl Known {
    /// Whether the rules let it run.
    pub(super) fn check(&self, rules: &PluginRules, files: &Files) -> Result<(), Denial> {
        match self {
            Self::Installed(plugin) => check_installed(plugin, rules, files),
            Self::File(path) => check_file(path, rules, files),
        }
    }
}

fn check_installed(
    plugin: &InstalledPlugin,
    rules: &PluginRules,
    files: &Files,
) -> Result<(), Denial> {
    let record = plugin.record();
    let source = source_of(record)?;
    let digests = digests_of(record);
    let candidate = Candidate { source: Some(&source), digests: &digests, size: Some(record.size) };
    rules.check(&candidate)?;
    // A list may name a program by another algorithm than its manifest does.
    let others = algorithms(rules).into_iter().filter(|other| *other != record.digest.algorithm());
    for algorithm in others {
        check_digest(&files.digest(plugin.path(), algorithm)?, rules)?;
    }
    Ok(())
}

/// A file that somebody put into a plugin directory.
fn check_file(path: &Path, rules: &PluginRules, files: &Files) -> Result<(), Denial> {
    let size = std::fs::metadata(path).map_err(|error| doubt(path, &error))?.len();
    rules.check(&Candidate { size: Some(size), ..Candidate::default() })?;
    for algorithm in algorithms(rules) {
        check_digest(&files.digest(path, algorithm)?, rules)?;
    }
    Ok(())
}

fn source_of(record: &Record) -> Result<Reference, Denial> {
    Reference::parse_exact(&record.artifact).map_err(|error| {
        let artifact = capped_line(&record.artifact, 200);
        Denial::Doubt(format!("its record says it is from {artifact}: {error}"))
    })
}

fn digests_of(record: &Record) -> [(Part, &Digest); 3] {
    [
        (Part::Root, &record.root.digest),
        (Part::Manifest, &record.manifest),
        (Part::Program, &record.digest),
    ]
}

fn algorithms(rules: &PluginRules) -> Vec<Algorithm> {
    let all = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
    let is_used = |algorithm: &Algorithm| {
        rules.denied_digests.iter().any(|digest| digest.algorithm() == *algorithm)
    };
    all.into_iter().filter(is_used).collect()
}

fn check_digest(digest: &Digest, rules: &PluginRules) -> Result<(), Denial> {
    rules.check(&Candidate { digests: &[(Part::Program, digest)], ..Candidate::default() })
}

fn doubt(path: &Path, error: &io::Error) -> Denial {
    Denial::Doubt(format!("{} cannot be read: {error}", path.display()))
}

impl Files {
    /// The digest of a file, read only where it is not as it was last seen.
    pub(super) fn digest(&self, path: &Path, algorithm: Algorithm) -> Result<Digest, Denial> {
        self.take(path, algorithm).map_err(|error| doubt(path, &error))
    }

    fn take(&self, path: &Path, algorithm: Algorithm) -> io::Result<Digest> {
        let file = File::open(path)?;
        let before = FileIdentity::of(&file)?;
        let key = (path.to_owned(), algorithm);
        if let Some((identity, digest)) = self.lock().get(&key)
            && *identity == before
        {
            return Ok(digest.clone());
        }
        let digest = digest_of_file(algorithm, &file)?;
        if FileIdentity::of(&file)? != before {
            return Err(io::Error::other("it changes while it is read"));
        }
        let mut files = self.lock();
        if files.len() >= MAX_FILES {
            files.clear();
        }
        files.insert(key, (before, digest.clone()));
        Ok(digest)
    }

    fn lock(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<(PathBuf, Algorithm), (FileIdentity, Digest)>> {
        // Entries are inserted whole, so a panic elsewhere leaves the map good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
