//! [`StoreHost`]: what an in-process verifier sees of the world: the store its artifact is in.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    BoxFuture, Context, Descriptor, Digest, Host, Manifest, Reference, ReferrerStore, Result,
};

/// A [`Host`] over the store of a request. It fetches nothing from outside the registry.
#[derive(Clone)]
pub struct StoreHost {
    store: Arc<dyn ReferrerStore>,
    context: Context,
    /// The manifest that bound the artifact to its subject: no need to read it twice.
    known: Option<(Digest, Manifest)>,
}

impl StoreHost {
    /// A door to `store` for one request.
    pub fn new(store: Arc<dyn ReferrerStore>, context: Context) -> Self {
        Self { store, context, known: None }
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
}
