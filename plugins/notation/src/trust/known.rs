//! [`Known`]: certificates as they were read the last time, by their bytes. The same bytes are the same
//! certificate, so what is kept here is true for ever; that it is there is looked up each time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::certificate::{Certificate, CertificateError};

/// More bytes of certificates than a bundle of all public authorities has are not kept.
const MOST_BYTES: usize = 512 << 10;

/// A certificate of a trust store.
#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    pub(crate) certificate: Certificate,
    /// Whether it may be one: an authority's, or one that signed itself.
    pub(crate) may_be_trusted: bool,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    bytes: usize,
    anchors: HashMap<Box<[u8]>, Anchor>,
}

impl Anchor {
    pub(crate) fn of(certificate: Certificate) -> Self {
        let may_be_trusted =
            certificate.is_authority() || certificate.check_own_signature().is_ok();
        Self { certificate, may_be_trusted }
    }
}

impl Known {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(&self, der: &[u8]) -> Result<Anchor, CertificateError> {
        if let Some(anchor) = self.lock().anchors.get(der) {
            return Ok(anchor.clone());
        }
        let anchor = Anchor::of(Certificate::parse(der)?);
        let mut shelf = self.lock();
        if shelf.bytes + der.len() > MOST_BYTES {
            *shelf = Shelf::default();
        }
        if shelf.anchors.insert(der.into(), anchor.clone()).is_none() {
            shelf.bytes += der.len();
        }
        Ok(anchor)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, Issued};

    #[test]
    fn what_was_read_is_the_same_again_and_another_certificate_is_another() {
        let (known, root) = (Known::default(), Authority::root("root"));
        let (leaf, alone) = (root.leaf("leaf").certificate, Issued::self_signed("a").certificate);
        for _ in 0..2 {
            for (certificate, may_be_trusted) in
                [(&root.certificate, true), (&leaf, false), (&alone, true)]
            {
                let anchor = known.parse(certificate.der()).unwrap();
                assert_eq!(anchor.certificate, *certificate);
                assert_eq!(anchor.may_be_trusted, may_be_trusted);
            }
            let mut forged = root.certificate.der().to_vec();
            *forged.last_mut().unwrap() ^= 1;
            assert_ne!(known.parse(&forged).unwrap().certificate, root.certificate);
            assert!(known.parse(&forged[1..]).is_err());
        }
        assert_eq!(known.lock().anchors.len(), 4);
    }

    #[test]
    fn no_more_than_so_much_is_kept() {
        let (known, mut bytes) = (Known::default(), 0);
        while bytes <= MOST_BYTES + 1000 {
            let root = Authority::root(&"x".repeat(30_000));
            known.parse(root.certificate.der()).unwrap();
            bytes += root.certificate.der().len();
        }
        let shelf = known.lock();
        let kept: usize = shelf.anchors.keys().map(|der| der.len()).sum();
        assert_eq!(kept, shelf.bytes);
        assert!(kept > 0 && kept < MOST_BYTES / 2, "{kept}");
    }
}
