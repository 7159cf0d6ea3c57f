//! A certificate whose time of signing nobody vouches for: it has to be good now.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sigstore_verify::{
    crypto::{CertificateInfo, WEBPKI_VERIFICATION_ALGS, parse_certificate_info},
    types::DerCertificate,
};
use webpki::{EndEntityCert, KeyUsage};

use crate::{checks::check_length, keys::PublicKey, refusal::Refusal, trust::Material};

/// id-kp-codeSigning (RFC 5280, section 4.2.1.12), the contents of its DER.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// A certificate and those that vouch for it, as they are with a signature.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) leaf: DerCertificate,
    pub(crate) intermediates: Vec<DerCertificate>,
}

impl Chain {
    /// Reads the two annotations.
    ///
    /// # Errors
    /// Where they hold no certificates.
    pub(crate) fn from_pem(certificate: &str, chain: &str) -> Result<Self, Refusal> {
        let mut leaf = certificates(certificate)?.into_iter();
        let leaf =
            leaf.next().ok_or_else(|| Refusal::other("no certificate found on signature"))?;
        Ok(Self { leaf, intermediates: certificates(chain)? })
    }

    /// What the certificate says.
    ///
    /// # Errors
    /// Where it is malformed.
    pub(crate) fn information(&self) -> Result<CertificateInfo, Refusal> {
        parse_certificate_info(&self.leaf).map_err(|error| {
            Refusal::other(format!("invalid certificate found on signature: {error}"))
        })
    }

    /// Checks that the certificate is good at a time, and says until when.
    ///
    /// # Errors
    /// Where a signature by it would not have counted then. The texts are cosign's.
    pub(crate) fn check_expiry(
        &self,
        at: jiff::Timestamp,
        is_logged: bool,
    ) -> Result<SystemTime, Refusal> {
        let found = self.information()?;
        let (start, end) = (found.not_before, found.not_after);
        let wrong = if end < at && !is_logged {
            "expected a signed timestamp to verify an expired certificate".to_owned()
        } else if end < at {
            format!(
                "checking expiry on certificate with bundle: certificate expired before signatures were entered in log: {end} is before {at}"
            )
        } else if start > at {
            format!(
                "checking expiry on certificate with bundle: certificate was issued after signatures were entered in log: {start} is after {at}"
            )
        } else {
            return Ok(SystemTime::from(end));
        };
        Err(Refusal::other(wrong))
    }

    /// Checks that a trusted authority vouches for the certificate now, and gives its key.
    ///
    /// # Errors
    /// Where none does, or the key is of no use.
    pub(crate) fn check_now(
        &self,
        trust: &Material,
        now: jiff::Timestamp,
    ) -> Result<PublicKey, Refusal> {
        self.verify(&trust.authorities_at(now), now).map_err(untrusted)?;
        self.key()
    }

    /// Checks that a trusted authority vouched for the certificate when it began, and gives its key.
    ///
    /// # Errors
    /// As [`Chain::check_now`].
    pub(crate) fn check_issuer(&self, trust: &Material) -> Result<PublicKey, Refusal> {
        self.verify(&trust.authorities(), self.information()?.not_before).map_err(untrusted)?;
        self.key()
    }

    fn verify(
        &self,
        authorities: &[CertificateDer<'_>],
        at: jiff::Timestamp,
    ) -> Result<(), webpki::Error> {
        let anchors: Vec<TrustAnchor<'_>> =
            authorities.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<_, _>>()?;
        let leaf = CertificateDer::from(self.leaf.as_bytes());
        let intermediates: Vec<CertificateDer<'_>> =
            self.intermediates.iter().map(|der| CertificateDer::from(der.as_bytes())).collect();
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        let leaf = EndEntityCert::try_from(&leaf)?;
        let verified = leaf.verify_for_usage(
            WEBPKI_VERIFICATION_ALGS,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            KeyUsage::required(CODE_SIGNING),
            None,
            None,
        );
        verified.map(drop)
    }

    fn key(&self) -> Result<PublicKey, Refusal> {
        let key = PublicKey::from_spki(self.information()?.public_key.as_bytes());
        key.map_err(|error| {
            Refusal::other(format!("invalid certificate found on signature: {error}"))
        })
    }
}

fn untrusted(error: webpki::Error) -> Refusal {
    Refusal::other(format!("cert verification failed: {error}"))
}

/// The certificates of a PEM text. What is cut is no block, and is not to be left out unsaid.
fn certificates(text: &str) -> Result<Vec<DerCertificate>, Refusal> {
    let malformed = |why: &dyn std::fmt::Display| {
        Refusal::other(format!("the certificate is malformed: {why}"))
    };
    let blocks = pem::parse_many(text).map_err(|error| malformed(&error))?;
    let is_whole = text.matches("-----BEGIN").count() == blocks.len()
        && text.trim_ascii_end().ends_with("-----")
        && blocks.iter().all(|block| block.tag() == "CERTIFICATE");
    if blocks.is_empty() || !is_whole {
        return Err(malformed(&"it is not made of whole certificates"));
    }
    let read = |block: pem::Pem| {
        check_length("certificate", block.contents())?;
        Ok(DerCertificate::new(block.into_contents()))
    };
    blocks.into_iter().map(read).collect()
}
