//! Verification under v1's older form: one key, or any certificate of a trusted authority.

use std::path::Path;

use ratify_core::{Basis, Certainty, ComponentType, ErrorCode, Request, Result, VerifierReport};

use super::{earlier, image, layers, payload, policies::ReadLayer, refused};
use crate::{
    checks::{By, Checks, Key},
    config::{Keyless, Legacy, io_text, read_file},
    extensions::{Verification, of_legacy},
    keys::PublicKey,
    refusal::Refusal,
    rekor::Questions,
    trust::add_file,
};

/// Judges an artifact.
pub(super) async fn judge(
    legacy: &Legacy,
    request: &Request,
    now: jiff::Timestamp,
) -> Result<VerifierReport> {
    let key = legacy.key.as_deref().map(load_key).transpose().map_err(|error| {
        ErrorCode::KeyInvalid
            .error()
            .with_source(format!("failed to load public key: {error}"))
            .from_component(ComponentType::Verifier, "")
    })?;
    let has_log = legacy.rekor_url.is_some();
    let keyless = Keyless { subject: None, issuer: None, verify_sct: has_log };
    let by = match &key {
        Some(key) => By::Key(key),
        None => By::Certificate(&keyless),
    };
    let wanted = legacy.wanted();
    let trust = if wanted.nothing() {
        None
    } else {
        Some(legacy.trust.material(wanted, &request.host, now).await?)
    };
    let valid_until = trust.as_ref().and_then(|trust| trust.valid_until);
    let rekor_url = legacy.rekor_url.as_deref();
    let (host, image) = (&request.host, image(request)?);
    let questions = Questions::of_an_artifact();
    let checks = Checks { host, image, rekor_url, trust, now, questions };
    let manifest = request.host.manifest(&request.subject, &request.referrer.descriptor).await?;
    let mut tally = Tally { valid_until, ..Tally::default() };
    for layer in &layers(&manifest, "reference manifest is not an image")? {
        let bytes = match payload(request, layer).await {
            Ok(bytes) => bytes,
            Err(error) => {
                tally.missing.push(error);
                continue;
            }
        };
        let checked = match ReadLayer::read(layer, &bytes).signature {
            Ok(signature) => signature.check(by, &checks).await,
            Err(refusal) => Err(refusal.within("failed to parse static signature opts")),
        };
        let mut verification = tally.add(checked);
        verification.signature_digest = Some(layer.digest.clone());
        tally.verifications.push(verification);
    }
    tally.report()
}

/// Reads the key at each verification, as v1 does: of an elliptic curve, and no other.
fn load_key(path: &Path) -> Result<Key, String> {
    let pem = read_file(path).map_err(|error| io_text(path, &error))?;
    let key = PublicKey::from_pem(&pem).map_err(|error| format!("pem to ecdsa: {error}"))?;
    if !key.is_ecdsa() {
        let is = key.go_type();
        return Err(format!(
            "pem to ecdsa: invalid public key: was {is}, require *ecdsa.PublicKey"
        ));
    }
    Ok(Key { key, is_of_key_vault: false })
}

/// What was found out so far.
#[derive(Default)]
struct Tally {
    verifications: Vec<Verification>,
    valid_until: Option<std::time::SystemTime>,
    is_transient: bool,
    missing: Vec<ratify_core::Error>,
}

impl Tally {
    fn add(&mut self, checked: Result<crate::checks::Found, Refusal>) -> Verification {
        match checked {
            Ok(found) => {
                self.valid_until = earlier(self.valid_until, found.valid_until);
                Verification {
                    is_success: true,
                    bundle_verified: found.is_logged_offline,
                    ..Verification::default()
                }
            }
            Err(refusal) => {
                self.is_transient |= refusal.is_transient();
                Verification { error: refusal.text(), ..Verification::default() }
            }
        }
    }

    fn report(mut self) -> Result<VerifierReport> {
        let extensions = of_legacy(&self.verifications);
        if self.verifications.iter().any(|verification| verification.is_success) {
            let report = VerifierReport::success("Verification success. Valid signatures found")
                .with_extensions(extensions);
            return Ok(match self.valid_until {
                Some(end) => report.valid_until(end),
                None => report,
            });
        }
        if !self.missing.is_empty() {
            return Err(self.missing.swap_remove(0));
        }
        let moment = self.is_transient.then_some(Certainty::Passing);
        Ok(refused("no valid signatures found", extensions, moment))
    }
}

/// Adds what is in the key file, and what is trusted.
pub(super) fn add_basis(legacy: &Legacy, basis: &mut Basis) {
    if let Some(path) = &legacy.key {
        add_file(basis, "key", path);
    }
    if legacy.key.is_none() || legacy.rekor_url.is_some() {
        legacy.trust.add_basis(basis);
    }
}
