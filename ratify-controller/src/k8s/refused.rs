//! Stand-ins for what was asked for and cannot be had. What a [`RefusedVerifier`] would judge fails
//! with the reason, and so does every image of which a [`RefusedStore`] would know artifacts; v1
//! leaves both out, and what they should have refused, or shown to a verifier, may then pass.

use std::sync::Arc;

use bytes::Bytes;
use ratify_core::{
    Basis, BoxFuture, Context, Descriptor, Digest, Error, ErrorCode, Manifest, Reference,
    ReferrerPage, ReferrerStore, Request, Result, StoreConfig, Verifier, VerifierReport,
    capped_line, config::ArtifactTypes,
};
use serde_json::{Map, Value};

use super::{entry, kind::Role, parts::Part, resource::Resource};

/// A type is cut to this: one that names a program is no longer.
const MAX_TYPE: usize = 255;
/// The reason is cut to this in reports: its text is the resource's author's.
const MAX_REASON: usize = 1000;

/// What takes the place of what cannot be had. Nothing is in the place of a policy whose name does not
/// count.
pub(super) fn stand_in(resource: &Resource, error: &Error) -> Option<Part> {
    let text = |key: &str| resource.spec.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = resource.key.name.as_str();
    match resource.key.kind.role {
        Role::Verifier => {
            let type_ = if text("type").is_empty() { text("name") } else { text("type") };
            // What is no list of types may have meant any.
            let types = match resource.spec.get("artifactTypes") {
                None | Some(Value::Null | Value::String(_)) => text("artifactTypes"),
                Some(_) => "*",
            };
            Some(Part::Verifier(Arc::new(RefusedVerifier::new(name, type_, types, error))))
        }
        Role::Store => Some(Part::Store(Arc::new(RefusedStore::new(name, error)))),
        Role::Policy if entry::is_misnamed_policy(resource) => None,
        Role::Policy => {
            let text = capped_line(&error.to_string(), 1000);
            Some(Part::Policy(Err(ErrorCode::PluginInitFailure.detail(text))))
        }
        Role::Keys => Some(Part::Keys(Err(not_in_force("key management provider", name, error)))),
        Role::CertificateStore => {
            Some(Part::Certificates(Err(not_in_force("certificate store", name, error))))
        }
    }
}

/// What verifiers are told who need it.
fn not_in_force(what: &str, name: &str, error: &Error) -> Error {
    let reason = capped_line(&error.to_string(), MAX_REASON);
    ErrorCode::KeyManagementProviderFailure
        .detail(format!("the {what} {name} is not in force"))
        .with_source(reason)
        .passing(error.is_transient())
}

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
pub(super) struct RefusedStore {
    name: String,
    config: StoreConfig,
    reason: String,
}

impl RefusedStore {
    /// Stands in for a store of a name.
    pub(super) fn new(name: &str, error: &Error) -> Self {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::k8s::{kind::Kind, resource::Key};

    #[test]
    fn whatever_decides_leaves_a_stand_in() {
        let of = |role: Role, name: &str| Resource {
            key: Key {
                kind: Kind { role, namespaced: false },
                namespace: String::new(),
                name: name.into(),
            },
            uid: "u".into(),
            generation: 1,
            resource_version: "1".into(),
            spec: Arc::new(json!({"artifactTypes": 7}).as_object().cloned().unwrap_or_default()),
            status: Arc::default(),
        };
        let error = ErrorCode::ConfigInvalid.detail("d");
        let stand_in = |role, name| stand_in(&of(role, name), &error);
        let Some(Part::Verifier(verifier)) = stand_in(Role::Verifier, "v") else { panic!() };
        assert!(verifier.can_verify("anything"), "what is no list may have meant any");
        assert!(matches!(stand_in(Role::Store, "s"), Some(Part::Store(_))));
        let policy = stand_in(Role::Policy, entry::POLICY_NAME);
        assert!(matches!(policy, Some(Part::Policy(Err(_)))));
        assert!(stand_in(Role::Policy, "of-no-account").is_none());
        assert!(matches!(stand_in(Role::Keys, "k"), Some(Part::Keys(Err(_)))));
        let store = stand_in(Role::CertificateStore, "c");
        assert!(matches!(store, Some(Part::Certificates(Err(_)))));
    }
}
