//! [`RotationCounts`]: what rotation did, and until when its authority is good, for whoever shows it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::decide::Decision;
use crate::x509::Facts;

/// Of one process.
#[derive(Debug, Default)]
pub struct RotationCounts {
    authorities: AtomicU64,
    servers: AtomicU64,
    overlaps: AtomicU64,
    failures: AtomicU64,
    authority_ends: Mutex<Option<Timestamp>>,
}

impl RotationCounts {
    /// What was decided was written.
    pub(super) fn wrote(&self, decision: Decision) {
        let count = match decision {
            Decision::RefreshAll => &self.authorities,
            Decision::RefreshServer => &self.servers,
            Decision::EndOverlap => &self.overlaps,
            Decision::Keep => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A try failed.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The authority that is in force is the first of these.
    pub(crate) fn note_authority(&self, bundle: &[u8]) {
        let first = CertificateDer::pem_slice_iter(bundle).next().and_then(Result::ok);
        let ends = first.and_then(|first| Facts::read(&first)).map(|facts| facts.not_after);
        *self.authority_ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    /// Until when the authority in force is good.
    pub(crate) fn authority_ends(&self) -> Option<Timestamp> {
        *self.authority_ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was written, and how often.
    pub(crate) fn rotations(&self) -> [(&'static str, u64); 3] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("authority", read(&self.authorities)),
            ("server", read(&self.servers)),
            ("former_authority_removed", read(&self.overlaps)),
        ]
    }

    /// How many tries failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_first_authority_counts_and_rubbish_has_none() {
        let counts = RotationCounts::default();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        counts.note_authority(made.cert.pem().as_bytes());
        assert_eq!(counts.authority_ends(), Some("4096-01-01T00:00:00Z".parse().unwrap()));
        counts.note_authority(b"rubbish");
        assert_eq!(counts.authority_ends(), None);
    }
}
