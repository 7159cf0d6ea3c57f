//! [`StoreHost`]: what an in-process verifier sees of the world: the store its artifact is in, and
//! what the [`Doors`] of its executor let it have besides.

use std::{fmt, sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    BoxFuture, Context, Descriptor, Digest, ErrorCode, Fetch, FetchRequest, Host, KeyRings,
    Manifest, Reference, ReferrerStore, Result, RingCertificate, RingKey,
};

/// What built-in verifiers may have besides the artifact.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Doors {
    /// What key management providers hold.
    pub key_rings: Arc<KeyRings>,
    /// Who fetches; `None` where nothing may be fetched.
    pub fetch: Option<Arc<dyn Fetch>>,
}

impl Doors {
    /// Keys and nothing fetched.
    pub fn new(key_rings: Arc<KeyRings>) -> Self {
        Self { key_rings, fetch: None }
    }

    /// The same, with somebody who fetches.
    #[must_use]
    pub fn with_fetch(mut self, fetch: Arc<dyn Fetch>) -> Self {
        self.fetch = Some(fetch);
        self
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Doors")
            .field("key_rings", &self.key_rings)
            .field("fetches", &self.fetch.is_some())
            .finish()
    }
}

/// A [`Host`] over the store of a request. Keys are those that the namespace which asks may use.
#[derive(Clone)]
pub struct StoreHost {
    store: Arc<dyn ReferrerStore>,
    context: Context,
    doors: Doors,
    /// The manifest that bound the artifact to its subject: no need to read it twice.
    known: Option<(Digest, Manifest)>,
}

impl StoreHost {
    /// A door to `store` for one request.
    pub fn new(store: Arc<dyn ReferrerStore>, context: Context) -> Self {
        Self { store, context, doors: Doors::default(), known: None }
    }

    /// The same with what the doors let through.
    #[must_use]
    pub fn with_doors(mut self, doors: Doors) -> Self {
        self.doors = doors;
        self
    }

    /// The same with a manifest that has been read and proven.
    #[must_use]
    pub fn with_manifest(mut self, digest: Digest, manifest: Manifest) -> Self {
        self.known = Some((digest, manifest));
        self
    }
}

impl Host for StoreHost {
    fn manifest<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Manifest>> {
        match &self.known {
            Some((digest, manifest)) if *digest == descriptor.digest => {
                Box::pin(std::future::ready(Ok(manifest.clone())))
            }
            _ => self.store.manifest(subject, descriptor, &self.context),
        }
    }

    fn blob<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Bytes>> {
        self.store.blob(subject, &descriptor.digest, Some(descriptor.size), &self.context)
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> BoxFuture<'a, Result<Bytes>> {
        match &self.doors.fetch {
            Some(fetch) => fetch.fetch(request, &self.context),
            None => Box::pin(async move {
                let url = crate::capped_line(&request.url, 200);
                Err(ErrorCode::OperationForbidden.detail(format!("{url} may not be fetched here")))
            }),
        }
    }

    fn tenant(&self) -> &str {
        &self.context.tenant
    }

    fn give_up_at(&self) -> Option<Instant> {
        self.context.give_up_at
    }

    fn certificates(&self, provider: &str) -> Result<Arc<[RingCertificate]>> {
        self.doors.key_rings.certificates(provider, &self.context.tenant)
    }

    fn keys(&self, provider: &str) -> Result<Arc<[RingKey]>> {
        self.doors.key_rings.keys(provider, &self.context.tenant)
    }

    fn certificate_store(&self, name: &str) -> Result<Arc<[RingCertificate]>> {
        self.doors.key_rings.certificate_store(name, &self.context.tenant)
    }
}
