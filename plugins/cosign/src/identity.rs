//! Whom a certificate names, and whether that is who has to have signed.

use sigstore_verify::crypto::CertificateInfo;

use crate::config::{Identity, Keyless};

/// Why a certificate is somebody else's. The text is cosign's.
#[derive(Debug, thiserror::Error)]
#[error(
    "none of the expected identities matched what was in the certificate, got subjects [{subject}] with issuer {issuer}"
)]
pub(crate) struct IdentityError {
    subject: String,
    issuer: String,
}

/// Whether a certificate names who has to have signed.
///
/// # Errors
/// Where it names somebody else, or nobody.
pub(crate) fn check(keyless: &Keyless, certificate: &CertificateInfo) -> Result<(), IdentityError> {
    let subject = certificate.identity.as_ref().map_or("", |subject| subject.as_str());
    let issuer = certificate.issuer.as_deref().unwrap_or("");
    let is_it = |wanted: &Option<Identity>, found: &str| {
        wanted.as_ref().is_none_or(|wanted| !found.is_empty() && wanted.is(found))
    };
    if is_it(&keyless.subject, subject) && is_it(&keyless.issuer, issuer) {
        return Ok(());
    }
    let shown = |text: &str| ratify_core::capped_line(text, 500);
    Err(IdentityError { subject: shown(subject), issuer: shown(issuer) })
}
