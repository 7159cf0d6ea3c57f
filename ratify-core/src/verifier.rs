//! [`Verifier`]: who judges one artifact of a subject.

use std::sync::Arc;

use crate::{
    Basis, BoxFuture, Context, Descriptor, Host, Reference, Result, StoreConfig, VerifierReport,
    store::Referrer,
};

/// What a verifier is asked.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// The subject, resolved: it has a digest.
    pub subject: Reference,
    /// What the subject was resolved to: its manifest's media type, digest and size. Nobody asks for it
    /// a second time, since a tag may have moved meanwhile.
    pub resolved: Arc<Descriptor>,
    /// The artifact to judge, bound to the subject already.
    pub referrer: Arc<Referrer>,
    /// Until when and for whom it is asked.
    pub context: Context,
    /// What a plugin is told of the store the artifact was found in, to open it again.
    pub store: StoreConfig,
    /// The door to the artifact's bytes.
    pub host: Arc<dyn Host>,
}

impl Request {
    /// All that a verifier is told.
    pub fn new(
        subject: Reference,
        resolved: Arc<Descriptor>,
        referrer: Arc<Referrer>,
        context: Context,
        store: StoreConfig,
        host: Arc<dyn Host>,
    ) -> Self {
        Self { subject, resolved, referrer, context, store, host }
    }
}

/// Who judges artifacts: a built-in, or a plugin.
pub trait Verifier: Send + Sync {
    /// The configured name; reports carry it.
    fn name(&self) -> &str;

    /// The type: what a built-in or a plugin binary is called. As configured, so it may be empty
    /// (v1 leaves the keys out then).
    fn type_(&self) -> &str;

    /// Whether it judges artifacts of this type.
    fn can_verify(&self, artifact_type: &str) -> bool;

    /// The types of artifact it judges, where it knows them by name; `None` where it may judge any.
    /// Stores are asked for these alone where they can tell types apart.
    fn artifact_types(&self) -> Option<&[String]> {
        None
    }

    /// Whether what is attached to the artifact must pass as well.
    fn verifies_nested(&self) -> bool;

    /// The key management providers and certificate stores whose keys it uses, by the names that it is
    /// configured with; `None` where it does not say, so that it may use any.
    fn named_keys(&self) -> Option<Vec<String>> {
        None
    }

    /// Adds what its reports rest on besides the artifact and the keys that it names: its
    /// configuration, and the digest of a program. It may read files, so it is asked rarely. A verifier that does not say leaves the
    /// basis unknown, and no verdict that it takes part in is kept.
    fn add_basis(&self, basis: &mut Basis) {
        basis.add_unknown();
    }

    /// Judges one artifact. A report that is not a success is a verdict; an error means that no
    /// verdict was reached, and the executor makes a failed report of it.
    fn verify<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<VerifierReport>>;
}
