//! [`ReferrerStore`]: where what proves trust is kept.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{Basis, BoxFuture, Context, Descriptor, Digest, Manifest, Reference, Result};

/// An artifact that a store lists for a subject, and how one knows that it belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Referrer {
    /// The artifact.
    pub descriptor: Descriptor,
    /// What binds it to the subject.
    pub binding: Binding,
}

/// How an artifact is bound to its subject. A list alone proves nothing: whoever writes it can
/// show the artifacts of one image under another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// By the `subject` of its manifest, whose artifact type must also be the listed one.
    Manifest,
    /// By the payload of a signature that names the subject's digest (cosign's `.sig` tags).
    Payload,
    /// By an external store that the administrator configured and that vouches for its list. A
    /// `subject` in the manifest must still be the subject.
    Store,
}

impl Referrer {
    /// An artifact and what binds it.
    pub fn new(descriptor: Descriptor, binding: Binding) -> Self {
        Self { descriptor, binding }
    }
}

/// One page of a list of referrers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReferrerPage {
    /// The artifacts.
    pub referrers: Vec<Referrer>,
    /// What to ask for next; empty on the last page.
    pub next_token: String,
    /// What the store left out because its configuration says so, in clauses. Said where nothing is
    /// left to be judged.
    pub left_out: Vec<String>,
}

impl ReferrerPage {
    /// A page.
    pub fn new(referrers: Vec<Referrer>, next_token: impl Into<String>) -> Self {
        Self { referrers, next_token: next_token.into(), left_out: Vec::new() }
    }

    /// The same with what was left out.
    #[must_use]
    pub fn with_left_out(mut self, left_out: Vec<String>) -> Self {
        self.left_out = left_out;
        self
    }
}

/// What a verifier plugin is told about the store of its request (v1: `storeConfig`).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoreConfig {
    /// The version of the stores section.
    pub version: String,
    /// Where an external store's binary is; `None` for the built-in, as v1 writes `null`.
    pub plugin_bin_dirs: Option<Vec<String>>,
    /// The store's entry of the configuration, as written.
    pub store: Map<String, Value>,
    /// Whether a plugin that opens it may not use the credentials of this process: it is a
    /// namespace's. It is no key of `storeConfig`.
    pub is_borrowers: bool,
}

impl StoreConfig {
    /// The three keys.
    pub fn new(
        version: impl Into<String>,
        plugin_bin_dirs: Option<Vec<String>>,
        store: Map<String, Value>,
    ) -> Self {
        Self { version: version.into(), plugin_bin_dirs, store, is_borrowers: false }
    }

    /// The same, of a store that may not use the credentials of this process where that is so.
    #[must_use]
    pub fn of_borrower(mut self, is_borrowers: bool) -> Self {
        self.is_borrowers = is_borrowers;
        self
    }

    /// Adds all of it.
    pub fn add_basis(&self, basis: &mut Basis) {
        basis.add("version", &self.version);
        basis.add("directories", format!("{:?}", self.plugin_bin_dirs));
        basis.add_entry(&self.store);
        basis.add("is a borrower's", [u8::from(self.is_borrowers)]);
    }
}

/// A place that keeps artifacts beside the images they are about. Whatever it returns is proven:
/// the bytes of a manifest or blob have the digest, and the size where one was given.
///
/// The context says until when and for whom, and counts what is asked of registries.
pub trait ReferrerStore: Send + Sync {
    /// The store's name; the built-in is `oras`.
    fn name(&self) -> &str;

    /// What a plugin is told about it.
    fn config(&self) -> &StoreConfig;

    /// Whether [`ReferrerStore::list_referrers`] is to be given the types that verifiers judge
    /// (none, or `*`, for all) rather than those of the request: it spares itself what nobody
    /// looks at.
    fn lists_what_is_judged(&self) -> bool {
        false
    }

    /// Adds what its answers rest on besides what is kept there: its configuration, who is believed
    /// to be a registry, the digest of a program. It may read files, so it is asked rarely. A store
    /// that does not say leaves the basis unknown, and no verdict that it takes part in is kept.
    fn add_basis(&self, basis: &mut Basis) {
        basis.add_unknown();
    }

    /// Finds out what the subject's tag stands for, or whether its digest is there.
    fn resolve<'a>(
        &'a self,
        subject: &'a Reference,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Descriptor>>;

    /// Lists one page of what is attached to a subject. `artifact_types` is a wish: a store may
    /// list more. The first page has an empty token.
    fn list_referrers<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
        artifact_types: &'a [String],
        next_token: &'a str,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<ReferrerPage>>;

    /// Reads an artifact's manifest. `subject` names the repository.
    fn manifest<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Manifest>>;

    /// Reads a blob. `subject` names the repository; `size` is known where a manifest lists it.
    fn blob<'a>(
        &'a self,
        subject: &'a Reference,
        digest: &'a Digest,
        size: Option<u64>,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>>;
}
