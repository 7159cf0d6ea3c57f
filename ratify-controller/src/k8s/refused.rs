//! [`RefusedVerifier`]: stands in for a verifier that was asked for and cannot be had. What it
//! would judge fails with the reason; v1 leaves such a verifier out, and what it should have
//! refused may then pass.

use ratify_core::{
    BoxFuture, Error, ErrorCode, Request, Result, Verifier, VerifierReport, capped_line,
    config::ArtifactTypes,
};

/// A type is cut to this: one that names a program is no longer.
const MAX_TYPE: usize = 255;
/// The reason is cut to this in reports: its text is the resource's author's.
const MAX_REASON: usize = 1000;

/// A verifier that refuses every artifact it is for.
pub(super) struct RefusedVerifier {
    name: String,
    type_: String,
    types: ArtifactTypes,
    reason: String,
}

impl RefusedVerifier {
    /// Stands in for a verifier of a name and type, for the artifact types in the list.
    pub(super) fn new(name: &str, type_: &str, artifact_types: &str, error: &Error) -> Self {
        Self {
            name: name.to_owned(),
            type_: capped_line(type_, MAX_TYPE),
            types: ArtifactTypes::parse(artifact_types),
            reason: capped_line(&error.to_string(), MAX_REASON),
        }
    }
}

impl Verifier for RefusedVerifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn type_(&self) -> &str {
        &self.type_
    }

    fn can_verify(&self, artifact_type: &str) -> bool {
        self.types.cover(artifact_type)
    }

    fn verifies_nested(&self) -> bool {
        false
    }

    fn verify<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<VerifierReport>> {
        Box::pin(async {
            let error = ErrorCode::VerifyReferenceFailure
                .detail(format!("the verifier {} is not in force: {}", self.name, self.reason));
            Ok(VerifierReport::from_error(&error).named(&self.name, &self.type_))
        })
    }
}
