//! A store and a host in memory, and verifiers made of functions: what tests of the engine, and of its users,
//! are made of. Digests are made up here; nothing in memory is hashed.

mod host;
pub mod openssl;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use serde_json::Map;

pub use host::MemoryHost;

use crate::{
    Basis, Binding, BoxFuture, Context, Descriptor, Digest, ErrorCode, Manifest, Reference,
    Referrer, ReferrerPage, ReferrerStore, Request, Result, StoreConfig, Verifier, VerifierReport,
    config::ArtifactTypes, media_type,
};

/// What runs before each call of a [`MemoryStore`]: it may wait, fail or panic. It is told the
/// name of the method and the digest or reference it is about.
pub type Hook = Arc<dyn Fn(&'static str, &str) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A verifier's answer to one request.
pub type Answer = Arc<dyn Fn(&Request) -> BoxFuture<'static, Result<VerifierReport>> + Send + Sync>;

/// A digest of one byte repeated: distinct bytes, distinct digests.
///
/// # Panics
/// Never: the text is a digest by construction.
#[allow(clippy::expect_used, reason = "64 hexadecimal digits are a sha256 digest")]
pub fn digest(byte: u8) -> Digest {
    format!("sha256:{}", format!("{byte:02x}").repeat(32)).parse().expect("a digest")
}

/// A descriptor of an image or artifact manifest.
pub fn descriptor(byte: u8, artifact_type: &str) -> Descriptor {
    Descriptor::new(media_type::OCI_MANIFEST, digest(byte), 7).with_artifact_type(artifact_type)
}

/// A store that holds what it is told to.
pub struct MemoryStore {
    name: String,
    config: StoreConfig,
    images: BTreeMap<String, Digest>,
    lists: BTreeMap<Digest, Vec<Referrer>>,
    manifests: BTreeMap<Digest, Manifest>,
    blobs: BTreeMap<Digest, Bytes>,
    page_size: usize,
    endless: bool,
    left_out: Vec<String>,
    hook: Option<Hook>,
    basis: Option<String>,
    calls: Mutex<VecDeque<String>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            config: StoreConfig::new("1.0.0", None, Map::new()),
            images: BTreeMap::new(),
            lists: BTreeMap::new(),
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
            page_size: usize::MAX,
            endless: false,
            left_out: Vec::new(),
            hook: None,
            basis: None,
            calls: Mutex::default(),
        }
    }

    /// Knows an image by a normalised reference.
    #[must_use]
    pub fn image(mut self, reference: &str, byte: u8) -> Self {
        self.images.insert(reference.to_owned(), digest(byte));
        self
    }

    /// Knows an artifact that is attached to `subject`, as its manifest says and the list too.
    #[must_use]
    pub fn artifact(self, subject: u8, byte: u8, artifact_type: &str) -> Self {
        let mut manifest = Manifest::new(media_type::OCI_MANIFEST, artifact_type);
        manifest.subject = Some(descriptor(subject, ""));
        self.listed(subject, descriptor(byte, artifact_type), Binding::Manifest)
            .manifest_of(byte, manifest)
    }

    /// Lists something under a subject, whatever its manifest says.
    #[must_use]
    pub fn listed(mut self, subject: u8, listed: Descriptor, binding: Binding) -> Self {
        self.lists.entry(digest(subject)).or_default().push(Referrer::new(listed, binding));
        self
    }

    /// Has a manifest.
    #[must_use]
    pub fn manifest_of(mut self, byte: u8, manifest: Manifest) -> Self {
        self.manifests.insert(digest(byte), manifest);
        self
    }

    /// Has a blob.
    #[must_use]
    pub fn blob_of(mut self, byte: u8, bytes: impl Into<Bytes>) -> Self {
        self.blobs.insert(digest(byte), bytes.into());
        self
    }

    /// Lists this many artifacts a page.
    #[must_use]
    pub fn pages_of(mut self, size: usize) -> Self {
        self.page_size = size;
        self
    }

    /// Names a next page after every page.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    /// Says with each page that something was left out.
    #[must_use]
    pub fn leaving_out(mut self, clause: &str) -> Self {
        self.left_out.push(clause.to_owned());
        self
    }

    /// Runs a function before each call.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// Says that its answers rest on this; otherwise it does not say.
    #[must_use]
    pub fn resting_on(mut self, basis: &str) -> Self {
        self.basis = Some(basis.to_owned());
        self
    }

    /// The calls so far: method and what it was about.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    async fn called(&self, method: &'static str, about: &str) -> Result<()> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(format!("{method} {about}"));
        match &self.hook {
            Some(hook) => hook(method, about).await,
            None => Ok(()),
        }
    }

    fn knows(&self, digest: &Digest) -> bool {
        self.lists.contains_key(digest)
            || self.manifests.contains_key(digest)
            || self.images.values().any(|known| known == digest)
    }

    fn page(&self, subject: &Reference, token: &str) -> ReferrerPage {
        let all = subject.digest().and_then(|digest| self.lists.get(digest));
        let all = all.map(Vec::as_slice).unwrap_or_default();
        let start = token.parse().unwrap_or(0_usize).min(all.len());
        let end = start.saturating_add(self.page_size).min(all.len());
        let next = if end < all.len() || self.endless {
            token.parse().unwrap_or(0_usize).saturating_add(self.page_size.min(1000)).to_string()
        } else {
            String::new()
        };
        ReferrerPage::new(all[start..end].to_vec(), next).with_left_out(self.left_out.clone())
    }
}

impl ReferrerStore for MemoryStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn config(&self) -> &StoreConfig {
        &self.config
    }

    fn add_basis(&self, basis: &mut Basis) {
        add(self.basis.as_deref(), basis);
    }

    fn resolve<'a>(
        &'a self,
        subject: &'a Reference,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Descriptor>> {
        Box::pin(async move {
            self.called("resolve", subject.as_str()).await?;
            let by_name = self.images.get(subject.as_str()).cloned();
            let by_digest = subject.digest().filter(|digest| self.knows(digest)).cloned();
            match by_name.or(by_digest) {
                Some(digest) => Ok(Descriptor::new(media_type::OCI_MANIFEST, digest, 7)),
                None => Err(ErrorCode::RepositoryOperationFailure
                    .detail(format!("Unable to resolve the reference: {subject}"))
                    .with_source("not found")),
            }
        })
    }

    fn list_referrers<'a>(
        &'a self,
        subject: &'a Reference,
        _: &'a Descriptor,
        artifact_types: &'a [String],
        next_token: &'a str,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<ReferrerPage>> {
        Box::pin(async move {
            self.called("list", &format!("{subject} {artifact_types:?} {next_token}")).await?;
            Ok(self.page(subject, next_token))
        })
    }

    fn manifest<'a>(
        &'a self,
        _: &'a Reference,
        descriptor: &'a Descriptor,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Manifest>> {
        Box::pin(async move {
            self.called("manifest", descriptor.digest.as_str()).await?;
            self.manifests.get(&descriptor.digest).cloned().ok_or_else(|| {
                ErrorCode::RepositoryOperationFailure
                    .detail("Failed to fetch the artifact metadata from the registry")
                    .with_source("not found")
            })
        })
    }

    fn blob<'a>(
        &'a self,
        _: &'a Reference,
        digest: &'a Digest,
        _: Option<u64>,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            self.called("blob", digest.as_str()).await?;
            self.blobs.get(digest).cloned().ok_or_else(|| {
                ErrorCode::GetBlobContentFailure.detail("no such blob").with_source("not found")
            })
        })
    }
}

/// A verifier that answers with what a function says.
pub struct FunctionVerifier {
    name: String,
    types: ArtifactTypes,
    nested: bool,
    basis: Option<String>,
    answer: Answer,
}

impl FunctionVerifier {
    /// A verifier of the type `function` for a comma-separated list of artifact types.
    pub fn new(name: &str, types: &str, answer: Answer) -> Self {
        let types = ArtifactTypes::parse(types);
        Self { name: name.to_owned(), types, nested: false, basis: None, answer }
    }

    /// One that is always satisfied.
    pub fn passing(name: &str, types: &str) -> Self {
        Self::new(name, types, Arc::new(|_| Box::pin(async { Ok(VerifierReport::success("ok")) })))
    }

    /// One that never is.
    pub fn failing(name: &str, types: &str) -> Self {
        Self::new(name, types, Arc::new(|_| Box::pin(async { Ok(VerifierReport::failure("bad")) })))
    }

    /// Says that its reports rest on this; otherwise it does not say.
    #[must_use]
    pub fn resting_on(mut self, basis: &str) -> Self {
        self.basis = Some(basis.to_owned());
        self
    }

    /// The same, and what is attached to the artifact must pass as well.
    #[must_use]
    pub fn nested(mut self) -> Self {
        self.nested = true;
        self
    }
}

impl Verifier for FunctionVerifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn type_(&self) -> &str {
        "function"
    }

    fn can_verify(&self, artifact_type: &str) -> bool {
        self.types.cover(artifact_type)
    }

    fn artifact_types(&self) -> Option<&[String]> {
        self.types.named()
    }

    fn verifies_nested(&self) -> bool {
        self.nested
    }

    fn add_basis(&self, basis: &mut Basis) {
        add(self.basis.as_deref(), basis);
    }

    fn verify<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<VerifierReport>> {
        (self.answer)(request)
    }
}

fn add(said: Option<&str>, basis: &mut Basis) {
    match said {
        Some(said) => basis.add("for a test", said),
        None => basis.add_unknown(),
    }
}
