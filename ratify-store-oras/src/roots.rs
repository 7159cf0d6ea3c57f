//! [`SeenRoots`]: which root certificates decide who is believed to be a registry. Pools trust those
//! that were there when they were opened, so those count beside what is there now.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ratify_core::{Algorithm, Basis, Digest};
use rustls::pki_types::CertificateDer;

use crate::{Hasher, TlsRoots, tls};

/// How long what was read counts: hundreds of files may have to be read for it.
const FRESH: Duration = Duration::from_secs(1);

/// The root certificates that were read so far.
#[derive(Default)]
pub(crate) struct SeenRoots(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// What pools were opened with, each different set after the other.
    opened: Option<Digest>,
    last_opened: Option<Digest>,
    now: Option<(Instant, Digest)>,
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
        let fresh = |(at, digest): (Instant, Digest)| (at.elapsed() < FRESH).then_some(digest);
        let known = self.lock().now.clone().and_then(fresh);
        let now = known.unwrap_or_else(|| {
            let (at, digest) = (Instant::now(), digest_of_all(&tls::load(roots)));
            self.lock().now = Some((at, digest.clone()));
            digest
        });
        basis.add("roots", now.as_str());
        basis.add("roots in use", self.lock().opened.as_ref().unwrap_or(&now).as_str());
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
}
