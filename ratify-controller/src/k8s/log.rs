//! v1's lines about what happens to a resource, word for word.

use ratify_core::capped_line;

use super::{
    kind::Role,
    resource::{Key, Resource},
};

/// A resource is tried, beside others.
pub(super) fn start<'a>(key: &Key, mut others: impl Iterator<Item = &'a Key>) {
    let name = key.qualified_name();
    match (key.kind.role, key.kind.namespaced) {
        (Role::Verifier, _) => tracing::info!("reconciling verifier '{}'", key.name),
        (Role::Store, false) => tracing::info!("reconciling cluster store '{}'", key.name),
        (Role::Store, true) => tracing::info!("reconciling namspaced store '{}'", key.name),
        (Role::Policy, false) => tracing::info!("Reconciling Cluster Policy {}", key.name),
        (Role::Policy, true) => tracing::info!("Reconciling Namespaced Policy {}", key.name),
        (Role::Keys, _) => tracing::info!("reconciling cluster key management provider '{name}'"),
        (Role::CertificateStore, _) => tracing::info!("reconciling certificate store '{name}'"),
    }
    if key.kind.role == Role::Keys && others.any(|key| key.kind.role == Role::CertificateStore) {
        tracing::warn!(
            "Certificate Store already exists. Key management provider and certificate store should not be configured together. Please migrate to key management provider and delete certificate store."
        );
    }
}

/// What it was built to is in force.
pub(super) fn added(resource: &Resource) {
    let key = &resource.key;
    let namespace = &key.namespace;
    match key.kind.role {
        Role::Verifier => tracing::info!(
            "verifier '{}' added to verifier map in namespace: {namespace}",
            key.name
        ),
        Role::Store => {
            let name = resource.spec.get("name").and_then(|name| name.as_str()).unwrap_or_default();
            let name = capped_line(name, 100);
            tracing::info!("store '{name}' added to store map in namespace: {namespace}");
        }
        Role::Policy | Role::Keys | Role::CertificateStore => {}
    }
}

/// It was deleted.
pub(super) fn removal(key: &Key) {
    let name = key.qualified_name();
    match key.kind.role {
        Role::Verifier => tracing::info!("delete event detected, removing verifier {}", key.name),
        Role::Store => tracing::info!("deletion detected, removing store {}", key.name),
        Role::Policy => tracing::info!("delete event detected, removing policy {}", key.name),
        Role::Keys => tracing::info!("deletion detected, removing key management provider {name}"),
        Role::CertificateStore => {
            tracing::info!("deletion detected, removing certificate store {name}");
        }
    }
}
