//! [`Hosts`]: a directory of containerd's `hosts.toml` files, which say where a registry's content
//! is asked for: mirrors, another path, an authority of its own, a client certificate, plain HTTP.
//!
//! A file is read again when it was read more than a second ago, so that a change counts at once. A
//! file that cannot be read or understood is an error for its registry: what it forbids is not
//! known.

mod basis;
mod parse;

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ratify_core::{Digest, capped_line};
use rustix::fs::OFlags;
use url::Url;

pub(crate) use parse::{Capabilities, Entry, HostsFile};

use crate::{OrasError, auth::DOCKER_HUB, route::Endpoint, tls::TlsProfile};

const FILE: &str = "hosts.toml";
/// The directory for registries that have none of their own.
const DEFAULT: &str = "_default";
/// How long what was read counts.
const FRESH: Duration = Duration::from_secs(1);
/// More registries than this are read anew each time.
const MAX_KNOWN: usize = 256;
const MAX_FILE_BYTES: u64 = 64 << 10;
const MAX_CERTIFICATE_BYTES: u64 = 1 << 20;

/// The files of a directory, as last read.
#[derive(Default)]
pub(crate) struct Hosts {
    known: Mutex<HashMap<Key, Read>>,
    /// What all files said when a basis was last made of them.
    said: Mutex<Option<Digest>>,
    /// How often that was something else. What was read before counts no more.
    changes: AtomicU64,
}

/// A directory, and a registry by the scheme that it is spoken to by.
type Key = (PathBuf, &'static str, String);

struct Read {
    at: Instant,
    endpoints: Arc<[Endpoint]>,
}

impl Hosts {
    /// The endpoints of a registry by its file below `directory`; none where it has no file. The
    /// scheme is the one that it is spoken to by.
    pub(crate) async fn of(
        &self,
        directory: PathBuf,
        scheme: &'static str,
        registry: &str,
    ) -> Result<Arc<[Endpoint]>, OrasError> {
        let key = (directory.clone(), scheme, registry.to_owned());
        if let Some(read) = self.lock().get(&key)
            && read.at.elapsed() < FRESH
        {
            return Ok(Arc::clone(&read.endpoints));
        }
        let (at, changes) = (Instant::now(), self.changes.load(Ordering::Acquire));
        let asked = registry.to_owned();
        let read = tokio::task::spawn_blocking(move || endpoints(&directory, scheme, &asked)).await;
        let read = read.unwrap_or_else(|error| Err(error.to_string()));
        let endpoints: Arc<[Endpoint]> = read
            .map_err(|why| OrasError::Registry { registry: capped_line(registry, 255), why })?
            .into();
        let mut known = self.lock();
        if self.changes.load(Ordering::Acquire) != changes {
            return Ok(endpoints);
        }
        if known.len() >= MAX_KNOWN && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, Read { at, endpoints: Arc::clone(&endpoints) });
        Ok(endpoints)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Read>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names under which a registry's directory is looked for, first found first. A port may be
/// written as containerd does where a colon cannot be in a name.
fn names(scheme: &str, registry: &str) -> Vec<String> {
    // One registry, however it is spelt: whoever writes a reference chooses no other file. An
    // address has more spellings than a name: `[0::1]` is `[::1]`, and `10.1` is `10.0.0.1`; the
    // port need not be written where it is the scheme's; and Docker Hub has more than one name.
    let url = Url::parse(&format!("{scheme}://{registry}/")).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port())));
    let mut names = match host {
        Some((host, None)) if DOCKER_HUB.contains(&host) => vec![DOCKER_HUB[0].to_owned()],
        Some((host, None)) => vec![host.to_owned()],
        Some((host, Some(port))) => vec![format!("{host}:{port}"), format!("{host}_{port}_")],
        // It is no host that could be asked either.
        None => vec![registry.to_ascii_lowercase()],
    };
    names.push(DEFAULT.to_owned());
    names
}

fn endpoints(directory: &Path, scheme: &str, registry: &str) -> Result<Vec<Endpoint>, String> {
    if registry.contains('/') || registry.starts_with('.') {
        return Err("it is no name of a directory".into());
    }
    for name in names(scheme, registry) {
        let folder = directory.join(name);
        let path = folder.join(FILE);
        let cannot = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        match read(&path, MAX_FILE_BYTES) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| cannot(&"it is no text"))?;
                let file = HostsFile::parse(&text).map_err(|why| cannot(&why))?;
                let made = file.entries.into_iter().map(|entry| endpoint(&folder, entry));
                return made.collect::<Result<_, _>>().map_err(|why| cannot(&why));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(&error)),
        }
    }
    Ok(Vec::new())
}

fn endpoint(folder: &Path, entry: Entry) -> Result<Endpoint, String> {
    let load = |path: &Path| {
        let path = folder.join(path);
        read(&path, MAX_CERTIFICATE_BYTES)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let authorities = entry.authorities.iter().map(|path| load(path));
    let authorities = authorities.collect::<Result<Vec<_>, _>>()?;
    let client = match &entry.client {
        Some(files) => Some((load(&files.certificate)?, load(&files.key)?)),
        None => None,
    };
    let tls = TlsProfile::new(&authorities, client.as_ref(), entry.dial_timeout)?;
    Ok(Endpoint {
        base: entry.base,
        capabilities: entry.capabilities,
        headers: entry.headers,
        tls: tls.map(Arc::new),
    })
}

/// Reads a file, if it is one: nobody waits for the writer of a pipe.
fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes)?;
    if read as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Whether a URL is where a registry is without any file.
pub(crate) fn is_registry_itself(url: &Url, registry: &str) -> bool {
    let written = |scheme: &str| crate::transport::base_url(scheme, registry);
    ["http", "https"].iter().filter_map(|scheme| written(scheme).ok()).any(|own| {
        own.host() == url.host() && own.port_or_known_default() == url.port_or_known_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(directory: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(directory.join(name)).unwrap();
        std::fs::write(directory.join(name).join(FILE), text).unwrap();
    }

    fn bases(directory: &Path, registry: &str) -> Vec<String> {
        let endpoints = endpoints(directory, "https", registry).unwrap();
        endpoints.iter().map(|e| e.base.as_ref().map_or("-".into(), ToString::to_string)).collect()
    }

    #[test]
    fn a_directory_is_found_by_host_and_port_and_else_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(bases(path, "a.example.com").is_empty());
        put(path, "_default", "[host.\"https://d.example.com\"]");
        put(path, "a.example.com", "[host.\"https://m.example.com\"]");
        put(path, "b.example.com_5000_", "server = \"http://b.example.com:5000\"");
        assert_eq!(bases(path, "a.example.com"), ["https://m.example.com/v2", "-"]);
        assert_eq!(bases(path, "b.example.com:5000"), ["http://b.example.com:5000/v2"]);
        assert_eq!(bases(path, "a.example.com:5000"), ["https://d.example.com/v2", "-"]);
    }

    #[test]
    fn a_registry_has_one_file_however_its_host_is_spelt() {
        for (spelt, expected) in [
            ("R.example.com:443", &["r.example.com", "_default"][..]),
            ("[::1]", &["[::1]", "_default"]),
            ("[0:0::1]:5000", &["[::1]:5000", "[::1]_5000_", "_default"]),
            ("[::1]:443", &["[::1]", "_default"]),
            ("10.1:5000", &["10.0.0.1:5000", "10.0.0.1_5000_", "_default"]),
            ("0x0a000001", &["10.0.0.1", "_default"]),
            ("localhost:80", &["localhost:80", "localhost_80_", "_default"]),
            ("docker.io", &["docker.io", "_default"]),
            ("registry-1.docker.io", &["docker.io", "_default"]),
            ("INDEX.docker.io:443", &["docker.io", "_default"]),
            ("docker.io:5000", &["docker.io:5000", "docker.io_5000_", "_default"]),
            ("auth.docker.io", &["auth.docker.io", "_default"]),
        ] {
            assert_eq!(names("https", spelt), expected, "{spelt}");
        }
        for (spelt, expected) in [
            ("R.example.com:80", &["r.example.com", "_default"][..]),
            ("r.example.com", &["r.example.com", "_default"]),
            ("r.example.com:443", &["r.example.com:443", "r.example.com_443_", "_default"]),
            ("registry-1.docker.io:80", &["docker.io", "_default"]),
        ] {
            assert_eq!(names("http", spelt), expected, "{spelt}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        put(path, "a", "[host.\"https://m\"]\nca = \"missing.pem\"");
        put(path, "b", "[host.\"https://m\"]\nca = \"hosts.toml\"");
        put(path, "c", "skip_verify = true");
        put(path, "d", &"#".repeat(70_000));
        std::fs::create_dir_all(path.join("e/hosts.toml")).unwrap();
        for (registry, expected) in [
            ("a", "missing.pem: No such file"),
            ("b", "no certificate"),
            ("c", "skip_verify is not supported"),
            ("d", "more than 65536 bytes"),
            ("e", "not a regular file"),
            ("../a", "no name of a directory"),
        ] {
            let error = endpoints(path, "https", registry).unwrap_err();
            assert!(error.contains(expected), "{registry}: {error}");
        }
    }
}
