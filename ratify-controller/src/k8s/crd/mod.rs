//! The custom resources of group `config.ratify.deislabs.io`: their Rust types, and the
//! definitions that a cluster is given. Five specs, thirteen uses of one macro: a namespaced kind
//! has the spec of its cluster-wide twin, and v1alpha1 is still served for the four kinds that
//! had it.
//!
//! The types describe; nothing is read through them, since one broken object must never stop a
//! list. What a resource says is read in `resource.rs`.

mod definitions;
mod kinds;
mod schema;
mod spec;
mod status;

pub use definitions::{definitions, yaml};
pub use kinds::{v1alpha1, v1beta1};
pub use spec::{
    CertificateStoreSpec, KeyManagementProviderSpec, PluginSourceSpec, PolicySpec, StoreSpec,
    VerifierSpec,
};
pub use status::{
    Condition, KeyStatus, LegacyStatus, PluginStatus, PolicyStatus, StoreStatus, VerifierStatus,
};

/// The group of every kind.
pub const GROUP: &str = "config.ratify.deislabs.io";
