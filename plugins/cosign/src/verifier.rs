//! [`CosignVerifier`]: a configured verifier, as the executor sees it.

mod legacy;
mod policies;

use std::time::SystemTime;

use bytes::Bytes;
use ratify_core::{
    Basis, BoxFuture, Certainty, Descriptor, Digest, Error, ErrorCode, Manifest, Request, Result,
    Verifier, VerifierReport, config::VerifierPluginConfig, media_type,
};

use crate::config::{Config, Environment, Mode};

/// In front of every failure.
const FAILED: &str = "Failed to validate the Cosign signature";
/// The most layers of an artifact that are looked at; with more, none is.
const MOST_LAYERS: usize = 1000;
/// The most bytes of a payload or a bundle.
const MOST_BYTES: u64 = 1 << 20;

/// The built-in verifier `cosign`.
pub struct CosignVerifier {
    entry: VerifierPluginConfig,
    config: Config,
}

impl CosignVerifier {
    /// The type that configurations name it by.
    pub const TYPE: &'static str = "cosign";

    /// A verifier as its entry configures it. The key files of trust policies are read here.
    ///
    /// # Errors
    /// Where the entry is wrong, in v1's words; where a key file cannot be used; where a namespace
    /// names a file or a server.
    pub fn new(entry: VerifierPluginConfig, environment: &Environment) -> Result<Self> {
        let config = Config::read(&entry, environment)?;
        if config.accepts_anyone() {
            tracing::warn!(
                "the verifier {} has neither trustPolicies nor key: it accepts signatures of whoever has an identity of Sigstore's, which is anyone; name who has to sign, in trustPolicies",
                entry.name
            );
        }
        Ok(Self { entry, config })
    }

    /// Whether an entry asks only that somebody signed, and not who: v1's older form without a key.
    /// `false` where the entry is wrong.
    pub fn accepts_anyone(entry: &VerifierPluginConfig) -> bool {
        let environment = Environment { is_check: true, ..Environment::default() };
        Config::read(entry, &environment).is_ok_and(|config| config.accepts_anyone())
    }

    /// Checks an entry without reading any file.
    ///
    /// # Errors
    /// As [`CosignVerifier::new`], but for what is in files.
    pub fn check(entry: &VerifierPluginConfig, environment: &Environment) -> Result<()> {
        let environment = Environment { is_check: true, ..environment.clone() };
        Config::read(entry, &environment).map(drop)
    }

    async fn judge(&self, request: &Request) -> Result<VerifierReport> {
        let now = jiff::Timestamp::now();
        match &self.config.mode {
            Mode::Policies(all) => policies::judge(all, request, now).await,
            Mode::Legacy(legacy) => legacy::judge(legacy, request, now).await,
        }
    }
}

impl Verifier for CosignVerifier {
    fn name(&self) -> &str {
        &self.entry.name
    }

    fn type_(&self) -> &str {
        &self.entry.type_
    }

    fn can_verify(&self, artifact_type: &str) -> bool {
        self.entry.artifact_types.as_ref().is_some_and(|types| types.cover(artifact_type))
    }

    fn artifact_types(&self) -> Option<&[String]> {
        self.entry.artifact_types.as_ref()?.named()
    }

    fn verifies_nested(&self) -> bool {
        self.config.nested
    }

    fn named_keys(&self) -> Option<Vec<String>> {
        Some(match &self.config.mode {
            Mode::Policies(all) => policies::named_keys(all),
            Mode::Legacy(_) => Vec::new(),
        })
    }

    fn add_basis(&self, basis: &mut Basis) {
        basis.add("built-in", Self::TYPE);
        basis.add_entry(&self.entry.raw);
        match &self.config.mode {
            Mode::Policies(all) => policies::add_basis(all, basis),
            Mode::Legacy(legacy) => legacy::add_basis(legacy, basis),
        }
    }

    fn verify<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<VerifierReport>> {
        Box::pin(async move {
            // v1 never answers with an error: whatever stands in the way is a failed report.
            let judged = self.judge(request).await;
            let mut report = judged.unwrap_or_else(failed);
            report.type_ = Self::TYPE.to_owned();
            Ok(report.named(&self.entry.name, &self.entry.type_))
        })
    }
}

/// The report of what stood in the way.
fn failed(error: Error) -> VerifierReport {
    let error = ErrorCode::VerifyReferenceFailure.detail(FAILED).with_source(error);
    VerifierReport::from_error(&error)
}

/// The report of an artifact none of whose signatures counts.
fn refused(
    reason: &str,
    extensions: serde_json::Value,
    moment: Option<Certainty>,
) -> VerifierReport {
    let mut report = VerifierReport::failure(FAILED).with_extensions(extensions);
    reason.clone_into(&mut report.error_reason);
    report.standing.certainty = moment.unwrap_or_default();
    report
}

/// The digest of the image that is asked about.
fn image(request: &Request) -> Result<&Digest> {
    let digest = request.subject.digest();
    digest.ok_or_else(|| ErrorCode::ReferenceInvalid.detail("the subject is not resolved"))
}

/// The layers of the artifact, each a signature.
fn layers(manifest: &Manifest, not_an_image: &str) -> Result<Vec<Descriptor>> {
    if manifest.media_type != media_type::OCI_MANIFEST {
        return Err(ErrorCode::VerifyPluginFailure.detail(not_an_image));
    }
    if manifest.blobs.len() > MOST_LAYERS {
        return Err(ErrorCode::VerifyPluginFailure.detail(format!(
            "the artifact has {} signatures, and at most {MOST_LAYERS} are looked at",
            manifest.blobs.len()
        )));
    }
    Ok(manifest.blobs.clone())
}

/// A layer's bytes, which are few.
async fn payload(request: &Request, layer: &Descriptor) -> Result<Bytes> {
    if layer.size > MOST_BYTES {
        return Err(ErrorCode::VerifyPluginFailure.detail(format!(
            "the signature {} has {} bytes, and at most {MOST_BYTES} are read",
            layer.digest, layer.size
        )));
    }
    request.host.blob(&request.subject, layer).await
}

/// The earlier of two ends.
fn earlier(one: Option<SystemTime>, another: Option<SystemTime>) -> Option<SystemTime> {
    match (one, another) {
        (Some(one), Some(another)) => Some(one.min(another)),
        (one, another) => one.or(another),
    }
}

#[cfg(test)]
mod bundle_changes;
#[cfg(test)]
mod bundle_tests;
#[cfg(test)]
mod certificate_tests;
#[cfg(test)]
mod keyless_tests;
#[cfg(test)]
mod layer_changes;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod tests;
