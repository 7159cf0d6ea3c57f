//! Stand-ins for what may not be in force. What a [`RefusedVerifier`] would judge fails with the reason,
//! and so does every image of which a [`RefusedStore`] would know artifacts; v1 leaves both out, and what
//! they should have refused, or shown to a verifier, may then pass.

use bytes::Bytes;
use ratify_core::{
    Basis, BoxFuture, Context, Descriptor, Digest, Error, ErrorCode, Manifest, Reference,
    ReferrerPage, ReferrerStore, Request, Result, StoreConfig, Verifier, VerifierReport,
    capped_line, config::ArtifactTypes,
};
use serde_json::Map;

/// The reason is cut to this in reports: its text is the resource's author's.
pub(crate) const MAX_REASON: usize = 1000;

/// A verifier that refuses every artifact it is for.
pub(crate) struct RefusedVerifier {
    name: String,
    type_: String,
    types: ArtifactTypes,
    reason: String,
}

impl RefusedVerifier {
    /// Stands in for a verifier of a name and type, for the artifact types in the list.
    pub(crate) fn new(name: &str, type_: &str, artifact_types: &str, error: &Error) -> Self {
        Self {
            name: name.to_owned(),
            type_: type_.to_owned(),
            types: ArtifactTypes::parse(artifact_types),
            reason: capped_line(&error.to_string(), MAX_REASON),
        }
    }

    /// Stands in for this one.
    pub(crate) fn of(verifier: &dyn Verifier, error: &Error) -> Self {
        let types =
            verifier.artifact_types().map_or_else(|| "*".to_owned(), |types| types.join(","));
        Self::new(verifier.name(), verifier.type_(), &types, error)
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

    fn artifact_types(&self) -> Option<&[String]> {
        self.types.named()
    }

    fn verifies_nested(&self) -> bool {
        false
    }

    fn named_keys(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }

    fn add_basis(&self, basis: &mut Basis) {
        basis.add("refused", &self.reason);
        basis.add("type", &self.type_);
        basis.add("types", format!("{:?}", self.types));
    }

    fn verify<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<VerifierReport>> {
        Box::pin(async {
            let error = ErrorCode::VerifyReferenceFailure
                .detail(format!("the verifier {} is not in force: {}", self.name, self.reason));
            Ok(VerifierReport::from_error(&error).named(&self.name, &self.type_))
        })
    }
}

/// A store that knows nothing and says so.
pub(crate) struct RefusedStore {
    name: String,
    config: StoreConfig,
    reason: String,
}

impl RefusedStore {
    /// Stands in for a store of a name.
    pub(crate) fn new(name: &str, error: &Error) -> Self {
        let config = StoreConfig::new("", None, Map::new());
        Self { name: name.to_owned(), config, reason: capped_line(&error.to_string(), MAX_REASON) }
    }

    fn error<T>(&self) -> BoxFuture<'_, Result<T>> {
        Box::pin(async {
            let text = format!("the store {} is not in force: {}", self.name, self.reason);
            Err(ErrorCode::ReferrerStoreFailure.detail(text))
        })
    }
}

impl ReferrerStore for RefusedStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn config(&self) -> &StoreConfig {
        &self.config
    }

    fn resolve<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Descriptor>> {
        self.error()
    }

    fn list_referrers<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Descriptor,
        _: &'a [String],
        _: &'a str,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<ReferrerPage>> {
        self.error()
    }

    fn manifest<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Descriptor,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Manifest>> {
        self.error()
    }

    fn blob<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Digest,
        _: Option<u64>,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>> {
        self.error()
    }
}
