//! [`MemoryHost`]: what a verifier sees of the world, without a store and without a network.

use std::{
    collections::BTreeMap,
    future::ready,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::{
    BoxFuture, Descriptor, Digest, ErrorCode, FetchRequest, Host, KeyRing, KeyRings, Manifest,
    Reference, Result, RingCertificate, RingKey, media_type,
};

/// Who answers what is fetched.
type Answer = Arc<dyn Fn(&FetchRequest) -> Result<Bytes> + Send + Sync>;

/// A host that has one artifact, keys, and whatever a test lets it fetch. Clones
/// count together what was asked.
#[derive(Clone)]
pub struct MemoryHost {
    /// The artifact's manifest.
    pub manifest: Manifest,
    /// Its blobs. One that is not there may be there a moment later.
    pub blobs: BTreeMap<Digest, Bytes>,
    /// What key management providers hold.
    pub rings: KeyRings,
    answer: Answer,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Default for MemoryHost {
    fn default() -> Self {
        Self {
            manifest: Manifest::new(media_type::OCI_MANIFEST, ""),
            blobs: BTreeMap::new(),
            rings: KeyRings::default(),
            answer: Arc::new(|_| {
                Err(ErrorCode::OperationForbidden.detail("nothing is fetched here"))
            }),
            asked: Arc::default(),
        }
    }
}

impl MemoryHost {
    /// Has another blob of the artifact.
    #[must_use]
    pub fn with_blob(mut self, blob: Descriptor, bytes: impl Into<Bytes>) -> Self {
        self.blobs.insert(blob.digest.clone(), bytes.into());
        self.manifest.blobs.push(blob);
        self
    }

    /// Has a key management provider of these keys.
    #[must_use]
    pub fn with_keys(mut self, provider: &str, keys: Vec<RingKey>) -> Self {
        self.rings.insert(provider, Ok(KeyRing { certificates: [].into(), keys: keys.into() }));
        self
    }

    /// Has a key management provider of these certificates, in DER.
    #[must_use]
    pub fn with_certificates<'a>(
        mut self,
        provider: &str,
        certificates: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let certificate = |der: &[u8]| RingCertificate {
            name: String::new(),
            version: String::new(),
            der: Bytes::copy_from_slice(der),
        };
        let certificates = certificates.into_iter().map(certificate).collect();
        self.rings.insert(provider, Ok(KeyRing { certificates, keys: [].into() }));
        self
    }

    /// Fetches by a function.
    #[must_use]
    pub fn fetching(
        mut self,
        answer: impl Fn(&FetchRequest) -> Result<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.answer = Arc::new(answer);
        self
    }

    /// As a verification has it.
    pub fn shared(&self) -> Arc<dyn Host> {
        Arc::new(self.clone())
    }

    /// The URLs that were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Host for MemoryHost {
    fn manifest<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Manifest>> {
        Box::pin(ready(Ok(self.manifest.clone())))
    }

    fn blob<'a>(
        &'a self,
        _: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Bytes>> {
        let missing = || ErrorCode::GetBlobContentFailure.detail("not reached").passing(true);
        Box::pin(ready(self.blobs.get(&descriptor.digest).cloned().ok_or_else(missing)))
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> BoxFuture<'a, Result<Bytes>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.url.clone());
        Box::pin(ready((self.answer)(request)))
    }

    fn certificates(&self, provider: &str) -> Result<Arc<[RingCertificate]>> {
        self.rings.certificates(provider, "")
    }

    fn keys(&self, provider: &str) -> Result<Arc<[RingKey]>> {
        self.rings.keys(provider, "")
    }

    fn certificate_store(&self, name: &str) -> Result<Arc<[RingCertificate]>> {
        self.rings.certificate_store(name, "")
    }
}
