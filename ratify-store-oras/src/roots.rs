//! [`SeenRoots`]: which root certificates decide who is believed to be a registry. Pools trust those
//! that were there when they were opened, so those count beside what is there now.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ratify_core::{Algorithm, Basis, Digest};
use rustls::pki_types::CertificateDer;

use crate::{
    Hasher, TlsRoots,
    tls::{self, RootPlaces},
};

/// How long nothing is looked at again: hundreds of files may have to be.
const FRESH: Duration = Duration::from_secs(1);
/// What was written less long before it was read may be written once more without another time:
/// clocks of file systems are coarse. The files are read again until then.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// The root certificates that were read so far.
#[derive(Default)]
pub(crate) struct SeenRoots(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// What pools were opened with, each different set after the other.
    opened: Option<Digest>,
    last_opened: Option<Digest>,
    now: Option<Read>,
}

/// What was read, and by what it is seen that it would be read again as it was.
struct Read {
    /// When that was looked at.
    at: Instant,
    places: RootPlaces,
    stamps: Vec<Option<Stamp>>,
    /// Whether the stamps tell.
    is_settled: bool,
    digest: Digest,
}

/// What changes with the content of a file, or with the names in a directory: device, inode, bytes,
/// when it was written, when its inode was changed, which nobody can set; seconds and nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl SeenRoots {
    /// Reads the roots for a pool that is opened.
    pub(crate) fn load(&self, roots: &TlsRoots) -> Vec<CertificateDer<'static>> {
        let loaded = tls::load(roots);
        self.note(digest_of_all(&loaded));
        loaded
    }

    /// Adds the roots that are there now, and those that pools were opened with.
    pub(crate) fn add_basis(&self, roots: &TlsRoots, basis: &mut Basis) {
        let now = self.now(roots);
        basis.add("roots", now.as_str());
        basis.add("roots in use", self.lock().opened.as_ref().unwrap_or(&now).as_str());
    }

    /// The roots that are there now. They are read again only where something of them was changed:
    /// whoever asks once a second would pay for it each time.
    fn now(&self, roots: &TlsRoots) -> Digest {
        // Whoever asks meanwhile waits for it and reads nothing.
        let mut seen = self.lock();
        let read = match seen.now.take() {
            Some(read) if read.at.elapsed() < FRESH => read,
            Some(read) if read.is_as_it_was() => Read { at: Instant::now(), ..read },
            _ => Read::of(roots),
        };
        seen.now.insert(read).digest.clone()
    }

    fn note(&self, digest: Digest) {
        let mut seen = self.lock();
        if seen.last_opened.as_ref() == Some(&digest) {
            return;
        }
        seen.opened = Some(match seen.opened.take() {
            None => digest.clone(),
            Some(before) => {
                let mut hasher = Hasher::new(Algorithm::Sha256);
                hasher.update(before.as_str().as_bytes());
                hasher.update(digest.as_str().as_bytes());
                hasher.finish()
            }
        });
        seen.last_opened = Some(digest);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read {
    fn of(roots: &TlsRoots) -> Self {
        // What is changed while it is read has another stamp afterwards.
        let (at, places) = (Instant::now(), tls::places(roots));
        let stamps = stamps(&places);
        let is_settled = stamps.iter().flatten().all(|stamp| stamp.is_settled(SystemTime::now()));
        let digest = digest_of_all(&tls::load_from(&places.files));
        Self { at, places, stamps, is_settled, digest }
    }

    fn is_as_it_was(&self) -> bool {
        self.is_settled && stamps(&self.places) == self.stamps
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Whether whatever is changed from now on gets another time. One of the future does not tell.
    fn is_settled(&self, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.changed.0).ok().map(Duration::from_secs);
        let changed = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(seconds));
        changed
            .and_then(|changed| now.duration_since(changed).ok())
            .is_some_and(|age| age > SETTLED_AFTER)
    }
}

/// Of each place, `None` where nothing is there, or it may not be looked at.
fn stamps(places: &RootPlaces) -> Vec<Option<Stamp>> {
    let stamp = |path: &Path| Some(Stamp::of(&path.metadata().ok()?));
    places.files.iter().chain(&places.beside).map(|path| stamp(path)).collect()
}

fn digest_of_all(certificates: &[CertificateDer<'_>]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for certificate in certificates {
        hasher.update(&(certificate.len() as u64).to_le_bytes());
        hasher.update(certificate);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(seen: &SeenRoots, roots: &TlsRoots) -> Vec<u8> {
        let mut basis = Basis::default();
        seen.add_basis(roots, &mut basis);
        basis.bytes().unwrap().to_vec()
    }

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(["ca".to_owned()]).unwrap().self_signed(&key);
        made.unwrap().pem()
    }

    #[test]
    fn two_processes_with_the_same_roots_agree_and_one_that_opened_with_others_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, pem()).unwrap();
        let roots = TlsRoots { file: Some(file.clone()), directories: vec![] };
        let (opened, idle) = (SeenRoots::default(), SeenRoots::default());
        opened.load(&roots);
        opened.load(&roots);
        assert_eq!(bytes(&opened, &roots), bytes(&idle, &roots));
        std::fs::write(&file, pem()).unwrap();
        let later = SeenRoots::default();
        let now = bytes(&later, &roots);
        assert_ne!(bytes(&idle, &roots), now, "what was read a moment ago counts");
        opened.lock().now = None;
        assert_ne!(bytes(&opened, &roots), now, "it goes on with what it opened with");
        opened.load(&roots);
        assert_ne!(bytes(&opened, &roots), now, "and has connections of then");
    }

    #[test]
    fn what_is_there_is_read_again_where_anything_of_it_was_changed_and_only_there() {
        let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| directory.path().join(name);
        let absent = elsewhere.path().join("later.pem");
        std::fs::write(at("a.pem"), pem()).unwrap();
        std::os::unix::fs::symlink(&absent, at("link.pem")).unwrap();
        let file = Some(elsewhere.path().join("file.pem"));
        let roots = TlsRoots { file, directories: vec![directory.path().to_owned()] };
        let mut before = Read::of(&roots);
        assert!(!before.is_settled, "it was written just now");
        assert!(!before.is_as_it_was());
        let mut changes = |what: &str, change: &dyn Fn()| {
            before.is_settled = true;
            assert!(before.is_as_it_was(), "before {what}");
            change();
            assert!(!before.is_as_it_was(), "{what}");
            let digest = std::mem::replace(&mut before, Read::of(&roots)).digest;
            before.digest != digest
        };
        assert!(changes("another file", &|| std::fs::write(at("b.pem"), pem()).unwrap()));
        assert!(changes("one less", &|| std::fs::remove_file(at("b.pem")).unwrap()));
        assert!(changes("a link leads to a file", &|| std::fs::write(&absent, pem()).unwrap()));
        assert!(changes("a file that was not there", &|| {
            std::fs::write(roots.file.as_ref().unwrap(), pem()).unwrap();
        }));
        let same_size_and_time = || {
            let text = std::fs::read_to_string(at("a.pem")).unwrap();
            let written = at("a.pem").metadata().unwrap().modified().unwrap();
            let other = text.replacen("MI", "IM", 1);
            std::fs::write(at("a.pem"), other).unwrap();
            std::fs::File::open(at("a.pem")).unwrap().set_modified(written).unwrap();
        };
        changes("the same length, and the time set back", &same_size_and_time);
        assert!(changes("it is no file any more", &|| {
            std::fs::remove_file(&absent).unwrap();
            std::fs::create_dir(&absent).unwrap();
        }));
    }

    #[test]
    fn a_stamp_tells_only_when_it_is_old_enough() {
        let stamp = |seconds| Stamp {
            device: 1,
            inode: 1,
            bytes: 1,
            written: (0, 0),
            changed: (seconds, 999_999_999),
        };
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let told = [0, 900, 997, 998, 1000, 1001, i64::MAX, -1].map(|at| stamp(at).is_settled(now));
        assert_eq!(told, [true, true, true, false, false, false, false, false]);
    }
}
