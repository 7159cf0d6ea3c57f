//! [`Kind`]: the nine kinds as values. What differs between them is in this table.

use kube::core::{ApiResource, GroupVersionKind};

use super::crd::GROUP;

/// The version that is read and written.
pub(super) const VERSION: &str = "v1beta1";

/// What a resource configures. A namespaced kind configures the same as its cluster-wide twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Where keys and certificates come from. First, since verifiers use them.
    Keys,
    /// Where certificates come from, in the deprecated form.
    CertificateStore,
    /// Where artifacts are.
    Store,
    /// What decides.
    Policy,
    /// What judges.
    Verifier,
}

/// A kind of resource. Ordered as they are tried: what others use comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// What its resources configure.
    pub role: Role,
    /// Whether its resources belong to a namespace.
    pub namespaced: bool,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 9] = [
        Self { role: Role::Keys, namespaced: false },
        Self { role: Role::Keys, namespaced: true },
        Self { role: Role::CertificateStore, namespaced: true },
        Self { role: Role::Store, namespaced: false },
        Self { role: Role::Store, namespaced: true },
        Self { role: Role::Policy, namespaced: false },
        Self { role: Role::Policy, namespaced: true },
        Self { role: Role::Verifier, namespaced: false },
        Self { role: Role::Verifier, namespaced: true },
    ];

    /// The kind as manifests spell it.
    pub const fn name(self) -> &'static str {
        match (self.role, self.namespaced) {
            (Role::Keys, false) => "KeyManagementProvider",
            (Role::Keys, true) => "NamespacedKeyManagementProvider",
            (Role::CertificateStore, _) => "CertificateStore",
            (Role::Store, false) => "Store",
            (Role::Store, true) => "NamespacedStore",
            (Role::Policy, false) => "Policy",
            (Role::Policy, true) => "NamespacedPolicy",
            (Role::Verifier, false) => "Verifier",
            (Role::Verifier, true) => "NamespacedVerifier",
        }
    }

    /// The kind as the API's paths spell it.
    pub const fn plural(self) -> &'static str {
        match (self.role, self.namespaced) {
            (Role::Keys, false) => "keymanagementproviders",
            (Role::Keys, true) => "namespacedkeymanagementproviders",
            (Role::CertificateStore, _) => "certificatestores",
            (Role::Store, false) => "stores",
            (Role::Store, true) => "namespacedstores",
            (Role::Policy, false) => "policies",
            (Role::Policy, true) => "namespacedpolicies",
            (Role::Verifier, false) => "verifiers",
            (Role::Verifier, true) => "namespacedverifiers",
        }
    }

    /// Where the API serves it.
    pub fn api_resource(self) -> ApiResource {
        let kind = GroupVersionKind::gvk(GROUP, VERSION, self.name());
        ApiResource::from_gvk_with_plural(&kind, self.plural())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::crd;

    #[test]
    fn every_definition_is_a_kind_and_the_other_way_round() {
        let defined = crd::definitions().unwrap();
        let mut defined: Vec<_> = defined
            .iter()
            .map(|crd| {
                let names = &crd["spec"]["names"];
                let namespaced = crd["spec"]["scope"] == "Namespaced";
                (
                    names["kind"].as_str().unwrap().to_owned(),
                    names["plural"].as_str().unwrap().to_owned(),
                    namespaced,
                )
            })
            .collect();
        let mut kinds: Vec<_> = Kind::ALL
            .into_iter()
            .map(|kind| (kind.name().to_owned(), kind.plural().to_owned(), kind.namespaced))
            .collect();
        defined.sort();
        kinds.sort();
        assert_eq!(kinds, defined);
    }

    #[test]
    fn keys_come_before_all_and_verifiers_last() {
        let mut kinds = Kind::ALL;
        kinds.sort();
        assert_eq!(kinds, Kind::ALL);
        assert_eq!(kinds[0].role, Role::Keys);
        assert_eq!(kinds[8].role, Role::Verifier);
    }
}
