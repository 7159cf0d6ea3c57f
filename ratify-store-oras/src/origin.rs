//! [`Origin`]: where artifacts are read from, be it a registry or a layout.

use std::{io::Write, time::Instant};

use bytes::Bytes;
use ratify_core::{Descriptor, Digest, Reference};

use crate::{Client, Layout, OrasError};

/// A registry's client, or a layout. Cloning is cheap. Whatever it returns is proven.
#[derive(Clone)]
pub enum Origin {
    /// Registries.
    Registry(Client),
    /// A layout, in which a reference is looked for by its whole name, or by its tag.
    Layout(Layout),
}

impl Origin {
    /// What a reference stands for.
    ///
    /// # Errors
    /// As [`Client::resolve`].
    pub async fn resolve(
        &self,
        reference: &Reference,
        give_up_at: Option<Instant>,
    ) -> Result<Descriptor, OrasError> {
        match self {
            Self::Registry(client) => client.resolve(reference, give_up_at).await,
            Self::Layout(layout) => {
                let asked = reference.clone();
                let work = move |layout: &Layout| layout.resolve(&asked);
                layout.on_a_thread(reference.as_str(), give_up_at, work).await
            }
        }
    }

    /// The bytes of a manifest or an index.
    ///
    /// # Errors
    /// As [`Client::manifest_bytes`].
    pub async fn manifest_bytes(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        give_up_at: Option<Instant>,
    ) -> Result<Bytes, OrasError> {
        match self {
            Self::Registry(client) => {
                client.manifest_bytes(reference, descriptor, give_up_at).await
            }
            Self::Layout(layout) => {
                let asked = descriptor.clone();
                let work = move |layout: &Layout| layout.manifest_bytes(&asked);
                layout.on_a_thread(descriptor.digest.as_str(), give_up_at, work).await
            }
        }
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// As [`Client::blob_bytes`].
    pub async fn blob_bytes(
        &self,
        reference: &Reference,
        digest: &Digest,
        size: Option<u64>,
        give_up_at: Option<Instant>,
    ) -> Result<Bytes, OrasError> {
        match self {
            Self::Registry(client) => client.blob_bytes(reference, digest, size, give_up_at).await,
            Self::Layout(layout) => {
                let asked = digest.clone();
                let work = move |layout: &Layout| layout.blob_bytes(&asked, size);
                layout.on_a_thread(digest.as_str(), give_up_at, work).await
            }
        }
    }

    /// Streams a blob into a sink and gives it back, full and proven. `progress` is told how many
    /// bytes have been received so far; of a layout's, once.
    ///
    /// # Errors
    /// As [`Client::blob_into`].
    pub async fn blob_into<S: Write + Send + 'static>(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: S,
        progress: &mut (dyn FnMut(u64) + Send),
        give_up_at: Option<Instant>,
    ) -> Result<S, OrasError> {
        match self {
            Self::Registry(client) => {
                client.blob_into(reference, descriptor, sink, progress, give_up_at).await
            }
            Self::Layout(layout) => {
                let asked = descriptor.clone();
                let work = move |layout: &Layout| layout.blob_into(&asked, sink);
                let what = descriptor.digest.as_str();
                let sink = layout.on_a_thread(what, give_up_at, work).await?;
                progress(descriptor.size);
                Ok(sink)
            }
        }
    }
}

impl From<Client> for Origin {
    fn from(client: Client) -> Self {
        Self::Registry(client)
    }
}

impl From<Layout> for Origin {
    fn from(layout: Layout) -> Self {
        Self::Layout(layout)
    }
}
