//! Thirteen uses of one macro: which kinds there are, in which scope and version, and what
//! `kubectl get` shows of them.

/// One kind in one version. `twin of` gives its spec; the API sees that spec and nothing of the
/// wrapper.
macro_rules! kind {
    (
        $(#[doc = $doc:literal])+
        $spec:ident = $twin:ty, kind $kind:literal, plural $plural:literal, version $version:literal,
        status $status:literal, $(#[kube($more:meta)])*
    ) => {
        $(#[doc = $doc])+
        #[derive(
            kube::CustomResource, Debug, Clone, Default, serde::Serialize, serde::Deserialize,
            schemars::JsonSchema,
        )]
        #[kube(
            group = "config.ratify.deislabs.io",
            version = $version,
            kind = $kind,
            plural = $plural,
            status = $status
        )]
        $(#[kube($more)])*
        #[serde(transparent)]
        pub struct $spec(pub $twin);
    };
}

/// The versions in force.
pub mod v1beta1 {
    use super::super::{
        CertificateStoreSpec, KeyManagementProviderSpec, KeyStatus, PolicySpec, PolicyStatus,
        StoreSpec, StoreStatus, VerifierSpec, VerifierStatus,
    };

    kind! {
        /// A verifier of the whole cluster.
        ClusterVerifier = VerifierSpec, kind "Verifier", plural "verifiers", version "v1beta1",
        status "VerifierStatus",
    }
    kind! {
        /// A verifier of one namespace.
        NamespacedVerifierTwin = VerifierSpec, kind "NamespacedVerifier",
        plural "namespacedverifiers", version "v1beta1", status "VerifierStatus",
        #[kube(namespaced)]
    }
    kind! {
        /// A store of the whole cluster.
        ClusterStore = StoreSpec, kind "Store", plural "stores", version "v1beta1",
        status "StoreStatus",
    }
    kind! {
        /// A store of one namespace.
        NamespacedStoreTwin = StoreSpec, kind "NamespacedStore", plural "namespacedstores",
        version "v1beta1", status "StoreStatus",
        #[kube(namespaced)]
    }
    kind! {
        /// The policy of the whole cluster.
        ClusterPolicy = PolicySpec, kind "Policy", plural "policies", version "v1beta1",
        status "PolicyStatus",
    }
    kind! {
        /// The policy of one namespace.
        NamespacedPolicyTwin = PolicySpec, kind "NamespacedPolicy", plural "namespacedpolicies",
        version "v1beta1", status "PolicyStatus",
        #[kube(namespaced)]
    }
    kind! {
        /// A key management provider of the whole cluster.
        ClusterKeyManagementProvider = KeyManagementProviderSpec, kind "KeyManagementProvider",
        plural "keymanagementproviders", version "v1beta1", status "KeyStatus",
    }
    kind! {
        /// A key management provider of one namespace.
        NamespacedKeyManagementProviderTwin = KeyManagementProviderSpec,
        kind "NamespacedKeyManagementProvider", plural "namespacedkeymanagementproviders",
        version "v1beta1", status "KeyStatus",
        #[kube(namespaced)]
    }
    kind! {
        /// A certificate store, always of one namespace.
        CertificateStoreTwin = CertificateStoreSpec, kind "CertificateStore",
        plural "certificatestores", version "v1beta1", status "KeyStatus",
        #[kube(namespaced)]
    }
}

/// The versions that are still served, for manifests that were never changed.
pub mod v1alpha1 {
    use super::super::{CertificateStoreSpec, LegacyStatus, PolicySpec, StoreSpec, VerifierSpec};

    kind! {
        /// A verifier as v1alpha1 knew it.
        LegacyVerifier = VerifierSpec, kind "Verifier", plural "verifiers", version "v1alpha1",
        status "LegacyStatus",
        #[kube(deprecated = "v1alpha1 of the Verifier API has been deprecated. Please migrate to v1beta1.")]
    }
    kind! {
        /// A store as v1alpha1 knew it.
        LegacyStore = StoreSpec, kind "Store", plural "stores", version "v1alpha1",
        status "LegacyStatus",
        #[kube(deprecated = "v1alpha1 of the Store API has been deprecated. Please migrate to v1beta1.")]
    }
    kind! {
        /// A policy as v1alpha1 knew it: its type is its name.
        LegacyPolicy = PolicySpec, kind "Policy", plural "policies", version "v1alpha1",
        status "LegacyStatus",
        #[kube(deprecated = "v1alpha1 of the Policy API has been deprecated. Please migrate to v1beta1.")]
    }
    kind! {
        /// A certificate store as v1alpha1 knew it.
        LegacyCertificateStore = CertificateStoreSpec, kind "CertificateStore",
        plural "certificatestores", version "v1alpha1", status "LegacyStatus",
        #[kube(namespaced)]
        #[kube(deprecated = "v1alpha1 of the CertificateStore API has been deprecated. Please migrate to v1beta1.")]
    }
}
