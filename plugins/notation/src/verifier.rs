//! [`NotationVerifier`]: the verifier as the executor sees it: from a request to a report.

use ratify_core::{
    Basis, BoxFuture, ComponentType, Descriptor, Error, ErrorCode, Manifest, Request, Result,
    Standing, Verifier, VerifierReport, config::VerifierPluginConfig,
};
use serde_json::json;

use crate::{
    checks::{Accepted, Verification, is_found},
    configuration::{Configuration, Environment},
    go,
    moment::Moment,
    refusal::Refusal,
};

/// The longest envelope. A usual one has some thousand bytes.
const MOST_ENVELOPE: u64 = 4 << 20;

/// Judges signatures of the Notary Project.
#[derive(Debug)]
pub struct NotationVerifier {
    entry: VerifierPluginConfig,
    configuration: Configuration,
    environment: Environment,
}

impl NotationVerifier {
    /// A verifier as configured.
    ///
    /// # Errors
    /// `PLUGIN_INIT_FAILURE` or `CONFIG_INVALID`, with v1's texts, where a key or the trust policy is
    /// wrong.
    pub fn new(entry: VerifierPluginConfig, environment: Environment) -> Result<Self> {
        let configuration = Configuration::read(&entry, &environment)?;
        Ok(Self { entry, configuration, environment })
    }

    async fn judge(&self, request: &Request) -> Result<VerifierReport> {
        let subject = &request.subject;
        let digest = subject.digest().map(ToString::to_string).unwrap_or_default();
        let reference = format!("{}@{digest}", subject.path());
        let policy = &self.configuration.policy;
        let statement = match policy.statement_for(subject.path(), &reference) {
            Ok(statement) => statement,
            Err(error) => return Ok(self.refused(request, error.to_string().into())),
        };
        if statement.level.is_skip() {
            let name = go::quoted(&statement.name);
            return Ok(VerifierReport::success(format!(
                "Notation signature verification is skipped by the trust policy statement {name}"
            )));
        }
        let of_artifact = |error: Error| {
            let shown = go::subject(subject);
            let detail =
                format!("Failed to validate the Notation signature of the artifact: {shown}");
            self.error(ErrorCode::VerifyReferenceFailure).with_detail(detail).with_source(error)
        };
        let referrer = &request.referrer.descriptor;
        let manifest = request.host.manifest(subject, referrer).await;
        let manifest = manifest.map_err(|error| self.failure(referrer).with_source(error))?;
        let layer = self.layer(request, &manifest)?;
        let envelope = request.host.blob(subject, layer).await.map_err(of_artifact)?;
        let verification = Verification {
            statement,
            trust: &self.configuration.trust,
            host: &request.host,
            lists: &self.environment.lists,
            plugins: self.environment.plugins.as_deref(),
            plugin_config: &self.configuration.plugin_config,
            context: &request.context,
            now: Moment::of_clock((self.environment.clock)()),
        };
        match verification.run(&layer.media_type, &envelope, &request.resolved).await {
            Ok(accepted) => Ok(success(&accepted)),
            Err(refusal) => Ok(self.refused(request, refusal)),
        }
    }

    /// The one layer of the artifact, which is the envelope.
    fn layer<'a>(&self, request: &Request, manifest: &'a Manifest) -> Result<&'a Descriptor> {
        let referrer = &request.referrer.descriptor;
        let [layer] = manifest.blobs.as_slice() else {
            let count = manifest.blobs.len();
            return Err(self.error(ErrorCode::VerifyReferenceFailure).with_detail(format!("Notation signature manifest requires exactly one signature envelope blob, got {count}")).with_remediation(format!("Please inspect the artifact [{}@{}] is correctly signed by Notation signer", request.subject.path(), referrer.digest)));
        };
        if layer.size > MOST_ENVELOPE {
            let size = layer.size;
            return Err(self.failure(referrer).with_source(format!(
                "the signature envelope has {size} bytes, more than {MOST_ENVELOPE}"
            )));
        }
        Ok(layer)
    }

    /// A report of a signature that is not accepted. What was found out about it lasts.
    fn refused(&self, request: &Request, refusal: Refusal) -> VerifierReport {
        let is_found = is_found(&refusal);
        let is_passing = refusal.lasts() == crate::refusal::Lasting::Passing;
        let error = self.failure(&request.referrer.descriptor);
        let error = error.with_remediation(refusal.remediation());
        let error = error.with_source(refusal.into_cause()).passing(is_passing);
        let mut report = VerifierReport::from_error(&error);
        if is_found {
            report.standing = Standing::default();
        }
        report
    }

    fn failure(&self, referrer: &Descriptor) -> Error {
        let shown = go::referrer(referrer);
        self.error(ErrorCode::VerifyReferenceFailure)
            .with_detail(format!("Failed to validate the Notation signature: {shown}"))
    }

    fn error(&self, code: ErrorCode) -> Error {
        code.error().from_component(ComponentType::Verifier, self.entry.name.clone())
    }
}

fn success(accepted: &Accepted) -> VerifierReport {
    let leaf = accepted.envelope.leaf();
    let name = |of: fn(&crate::certificate::Certificate) -> &str| leaf.map(of).unwrap_or_default();
    let report = VerifierReport::success("Notation signature verification success")
        .with_extensions(json!({
            "Issuer": name(|leaf| &leaf.issuer),
            "SN": name(|leaf| &leaf.subject),
        }));
    match accepted.until {
        Some(until) => report.valid_until(until.to_clock()),
        None => report,
    }
}

impl Verifier for NotationVerifier {
    fn name(&self) -> &str {
        &self.entry.name
    }

    fn type_(&self) -> &str {
        &self.entry.type_
    }

    fn can_verify(&self, artifact_type: &str) -> bool {
        // As in v1, who lists no types judges none.
        match &self.entry.artifact_types {
            Some(types) => types.cover(artifact_type),
            None => artifact_type.is_empty(),
        }
    }

    fn artifact_types(&self) -> Option<&[String]> {
        self.entry.artifact_types.as_ref()?.named()
    }

    fn verifies_nested(&self) -> bool {
        false
    }

    fn named_keys(&self) -> Option<Vec<String>> {
        Some(self.configuration.trust.resources().map(str::to_owned).collect())
    }

    fn add_basis(&self, basis: &mut Basis) {
        basis.add_entry(&self.entry.raw);
        self.configuration.trust.add_basis(basis);
        if let Some(plugins) = &self.environment.plugins {
            plugins.add_basis(basis);
        }
    }

    fn verify<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<VerifierReport>> {
        Box::pin(async move {
            let report = self.judge(request).await?;
            Ok(report.named(&self.entry.name, &self.entry.type_))
        })
    }
}

#[cfg(test)]
mod bad_tests;
#[cfg(test)]
pub(crate) mod tests;
