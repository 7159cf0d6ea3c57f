//! What the files of a directory of `hosts.toml` say, for a [`Basis`]: all of them, for any of them
//! may be about the registry that is asked next.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{PoisonError, atomic::Ordering},
};

use ratify_core::{Algorithm, Basis, Digest};

use super::{FILE, Hosts, HostsFile, MAX_CERTIFICATE_BYTES, MAX_FILE_BYTES, read};
use crate::digest_of;

/// More directories of registries than this are not read; nothing is kept then.
const MAX_FOLDERS: usize = 1000;

impl Hosts {
    /// Adds what the files below a directory say now. Where that differs from the last time, what
    /// was read a moment ago counts no more.
    pub(crate) fn add_basis(&self, directory: &Path, basis: &mut Basis) {
        let Some(now) = contents(directory) else { return basis.add_unknown() };
        let mut last = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&now) {
            let mut known = self.lock();
            self.changes.fetch_add(1, Ordering::Release);
            known.clear();
            *last = Some(now.clone());
        }
        basis.add("hosts", now.as_str());
    }
}

/// A digest of all files that decide; `None` where that cannot be told.
fn contents(directory: &Path) -> Option<Digest> {
    let mut folders = match std::fs::read_dir(directory) {
        Ok(entries) => entries
            .take(MAX_FOLDERS + 1)
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<PathBuf>>>()
            .ok()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(_) => return None,
    };
    if folders.len() > MAX_FOLDERS {
        return None;
    }
    folders.sort_unstable();
    let mut said = Basis::default();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().as_encoded_bytes();
        let Some(text) = add_file(&folder.join(FILE), MAX_FILE_BYTES, name, &mut said) else {
            continue;
        };
        // What cannot be understood is an error for its registry, and names no other file.
        let Ok(file) = HostsFile::parse(&String::from_utf8_lossy(&text)) else { continue };
        for entry in file.entries {
            let client = entry.client.into_iter().flat_map(|files| [files.certificate, files.key]);
            for path in entry.authorities.into_iter().chain(client) {
                let name = path.as_os_str().as_encoded_bytes();
                add_file(&folder.join(&path), MAX_CERTIFICATE_BYTES, name, &mut said);
            }
        }
    }
    Some(digest_of(Algorithm::Sha256, said.bytes()?))
}

/// Adds a file, or that it cannot be read: then it is an error for the registry that it is about.
fn add_file(path: &Path, limit: u64, name: &[u8], said: &mut Basis) -> Option<Vec<u8>> {
    said.add("file", name);
    match read(path, limit) {
        Ok(bytes) => {
            said.add("says", &bytes);
            Some(bytes)
        }
        Err(error) => {
            said.add("cannot be read", format!("{:?}", error.kind()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hosts: &Hosts, directory: &Path) -> Option<Vec<u8>> {
        let mut basis = Basis::default();
        hosts.add_basis(directory, &mut basis);
        basis.bytes().map(<[u8]>::to_vec)
    }

    #[test]
    fn each_file_counts_and_those_that_it_names_elsewhere() {
        let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = elsewhere.path().join("ca.pem");
        let here = Hosts::default();
        let mut seen = vec![bytes(&here, &directory.path().join("none")).unwrap()];
        let mut look = |what: &str| {
            let now = bytes(&here, directory.path()).unwrap();
            assert_eq!(bytes(&Hosts::default(), directory.path()), Some(now.clone()));
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        let put = |name: &str, text: &str| {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
            std::fs::write(directory.path().join(name).join(FILE), text).unwrap();
        };
        put("a.example.com", "server = \"https://b.example.com\"");
        look("a file");
        let names = format!("[host.\"https://m\"]\nca = {authority:?}");
        put("_default", &names);
        look("a file that names another that is not there");
        std::fs::write(&authority, "1").unwrap();
        look("the other is there");
        std::fs::write(&authority, "2").unwrap();
        look("the other says something else");
        put("_default", "no file of ours");
        look("a file that cannot be understood");
    }

    #[test]
    fn what_cannot_be_listed_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(bytes(&Hosts::default(), &file), None);
        for number in 0..=MAX_FOLDERS {
            std::fs::create_dir(directory.path().join(number.to_string())).unwrap();
        }
        assert_eq!(bytes(&Hosts::default(), directory.path()), None);
    }
}
