//! Stand-ins for what was asked for and cannot be had. What is to stand in for a resource is decided here.

use std::sync::Arc;

use ratify_core::{Error, ErrorCode, capped_line};
use serde_json::Value;

use super::{entry, kind::Role, parts::Part, resource::Resource};
use crate::refused::{MAX_REASON, RefusedStore, RefusedVerifier};

/// A type is cut to this: one that names a program is no longer.
const MAX_TYPE: usize = 255;

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
            let verifier = RefusedVerifier::new(name, &capped_line(type_, MAX_TYPE), types, error);
            Some(Part::Verifier(Arc::new(verifier), None))
        }
        Role::Store => Some(Part::Store(Arc::new(RefusedStore::new(name, error)), None)),
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
        let Some(Part::Verifier(verifier, None)) = stand_in(Role::Verifier, "v") else { panic!() };
        assert!(verifier.can_verify("anything"), "what is no list may have meant any");
        assert!(matches!(stand_in(Role::Store, "s"), Some(Part::Store(_, None))));
        let policy = stand_in(Role::Policy, entry::POLICY_NAME);
        assert!(matches!(policy, Some(Part::Policy(Err(_)))));
        assert!(stand_in(Role::Policy, "of-no-account").is_none());
        assert!(matches!(stand_in(Role::Keys, "k"), Some(Part::Keys(Err(_)))));
        let store = stand_in(Role::CertificateStore, "c");
        assert!(matches!(store, Some(Part::Certificates(Err(_)))));
    }
}
