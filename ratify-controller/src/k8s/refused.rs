//! [`RefusedVerifier`]: stands in for a verifier that was asked for and cannot be had. What it
//! would judge fails with the reason; v1 leaves such a verifier out, and what it should have
//! refused may then pass. [`RefusedStore`] does so for a store that is denied: what only that one
//! knows of must not be missed.

use std::time::Instant;

use bytes::Bytes;
use ratify_core::{
    BoxFuture, ComponentType, Descriptor, Digest, Error, ErrorCode, Manifest, Reference,
    ReferrerPage, ReferrerStore, Request, Result, StoreConfig, Verifier, VerifierReport,
    config::ArtifactTypes,
};
use serde_json::{Map, Value};

use super::{entry::DEFAULT_VERSION, resource::Resource};

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
            type_: type_.to_owned(),
            types: ArtifactTypes::parse(artifact_types),
            reason: error.to_string(),
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

/// A store that refuses whatever it is asked.
pub(super) struct RefusedStore {
    name: String,
    config: StoreConfig,
    reason: String,
}

impl RefusedStore {
    /// Stands in for the store of a resource.
    pub(super) fn new(resource: &Resource, error: &Error) -> Self {
        let name = resource.spec.get("name").and_then(Value::as_str).unwrap_or_default();
        let entry = Map::from_iter([("name".to_owned(), Value::from(name))]);
        Self {
            name: name.to_owned(),
            config: StoreConfig::new(DEFAULT_VERSION, None, entry),
            reason: error.to_string(),
        }
    }

    fn refuse<T>(&self) -> BoxFuture<'_, Result<T>> {
        Box::pin(async {
            Err(ErrorCode::ReferrerStoreFailure
                .detail(format!("the store {} is not in force: {}", self.name, self.reason))
                .from_component(ComponentType::ReferrerStore, self.name.as_str()))
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
        _: Option<Instant>,
    ) -> BoxFuture<'a, Result<Descriptor>> {
        self.refuse()
    }

    fn list_referrers<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Descriptor,
        _: &'a [String],
        _: &'a str,
        _: Option<Instant>,
    ) -> BoxFuture<'a, Result<ReferrerPage>> {
        self.refuse()
    }

    fn manifest<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Descriptor,
        _: Option<Instant>,
    ) -> BoxFuture<'a, Result<Manifest>> {
        self.refuse()
    }

    fn blob<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Digest,
        _: Option<u64>,
        _: Option<Instant>,
    ) -> BoxFuture<'a, Result<Bytes>> {
        self.refuse()
    }
}
