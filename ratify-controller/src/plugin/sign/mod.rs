//! [`sign`]: a signature is made of a plugin and put beside it in its registry, in the formats of
//! `cosign` and `notation`, so that those tools verify it as well. What is signed is a digest.
//!
//! - `key`: whose private key; `encrypted`: the form in which cosign keeps one;
//! - `cosign`, `notation`: the documents, made of values;
//! - here: what is read and pushed.

mod cosign;
mod encrypted;
mod key;
mod notation;

use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use ratify_core::{Algorithm, Descriptor, Digest, Index, Reference, media_type};
use ratify_store_oras::{Changed, Client, OrasError, digest_of};
use serde::Serialize;

pub use encrypted::Password;
pub use key::{Chain, KeyError, PrivateKey};

use super::install::artifact::Document;

/// More platforms than these are not signed at once.
const MAX_PLATFORMS: usize = 32;

/// In whose format, and by whom.
#[derive(Debug)]
#[non_exhaustive]
pub enum Signer {
    /// By a bare key, as `cosign sign --key` does.
    Cosign(PrivateKey),
    /// By a key and its certificates, as `notation sign` does.
    Notation(PrivateKey, Chain),
}

/// A signature that is in the registry now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Signed {
    /// What is signed.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// The manifest that holds the signature, in the same repository.
    pub signature: Digest,
    /// The tag of that manifest, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Why nothing is signed, or not all. Each text holds its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] OrasError),
    /// The key cannot sign this.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What is there is no index that can be gone through.
    #[error("{what} cannot be signed with all in it: {why}")]
    Index {
        /// The reference.
        what: String,
        /// Why.
        why: String,
    },
    /// What stands under the tag of signatures is none of cosign's.
    #[error("{what} is no list of signatures that one can be added to: {why}")]
    Occupied {
        /// The reference by cosign's tag.
        what: String,
        /// Why.
        why: String,
    },
}

/// Signs what a reference stands for and, where `is_recursive`, each manifest that it lists.
///
/// # Errors
/// When there is nothing there, the key may not sign, or the registry refuses. What was pushed before
/// stays.
pub async fn sign(
    client: &Client,
    reference: &Reference,
    signer: &Signer,
    is_recursive: bool,
    give_up_at: Option<Instant>,
) -> Result<Vec<Signed>, SignError> {
    let root = client.resolve(reference, give_up_at).await?;
    // What is signed is what was proven, and not what the registry says of a tag.
    let bytes = client.manifest_bytes(reference, &root, give_up_at).await?;
    let mut subjects = vec![root.clone()];
    let is_index =
        [media_type::OCI_INDEX, media_type::DOCKER_LIST].contains(&root.media_type.as_str());
    if is_recursive && is_index {
        let failed = |why: String| SignError::Index { what: reference.to_string(), why };
        let index = Index::from_bytes(&root.media_type, &bytes);
        let index = index.map_err(|error| failed(error.to_string()))?;
        if index.manifests.len() > MAX_PLATFORMS {
            let count = index.manifests.len();
            return Err(failed(format!("it lists {count} manifests, more than {MAX_PLATFORMS}")));
        }
        for entry in index.manifests {
            client.manifest_bytes(reference, &entry, give_up_at).await?;
            subjects.push(Descriptor::new(&entry.media_type, entry.digest, entry.size));
        }
    }
    let mut signed = Vec::new();
    for subject in subjects {
        let work = Work { client, reference };
        signed.push(match signer {
            Signer::Cosign(key) => work.cosign(subject, key).await?,
            Signer::Notation(key, chain) => work.notation(subject, key, chain).await?,
        });
    }
    Ok(signed)
}

struct Work<'a> {
    client: &'a Client,
    reference: &'a Reference,
}

impl Work<'_> {
    async fn cosign(&self, subject: Descriptor, key: &PrivateKey) -> Result<Signed, SignError> {
        let payload = cosign::payload(self.reference.path(), &subject.digest);
        let signature = key.sign_as_cosign(&payload)?;
        let tag = subject.digest.cosign_tag();
        let tagged = self
            .reference
            .sibling_tag(&tag)
            .map_err(|error| SignError::Occupied { what: tag.clone(), why: error.to_string() })?;
        let occupied = |why: String| SignError::Occupied { what: tagged.to_string(), why };
        self.client.push_blob(self.reference, payload.clone().into()).await?;
        let mut pushed = None;
        let add = |known: Option<Bytes>| -> Result<Option<Changed>, SignError> {
            let layers = match &known {
                Some(known) => cosign::layers(known).map_err(occupied)?,
                None => Vec::new(),
            };
            if let Some(known) = known.filter(|_| cosign::has(&layers, &payload, &signature)) {
                pushed = Some(digest_of(Algorithm::Sha256, &known));
                return Ok(None);
            }
            let list = cosign::list(layers, &payload, &signature).map_err(occupied)?;
            let (document, blobs) = (list.manifest.bytes, vec![list.config.bytes]);
            Ok(Some(Changed { document, blobs }))
        };
        let changed = self.client.change_tag(&tagged, media_type::OCI_MANIFEST, add).await;
        changed.map_err(|error| match error {
            SignError::Registry(OrasError::MediaType { actual, .. }) => {
                occupied(format!("its media type is {actual}"))
            }
            error => error,
        })?;
        let pushed = pushed.ok_or_else(|| occupied("it was not seen there".to_owned()))?;
        let Descriptor { digest, media_type, .. } = subject;
        Ok(Signed { digest, media_type, signature: pushed, tag: Some(tag) })
    }

    async fn notation(
        &self,
        subject: Descriptor,
        key: &PrivateKey,
        chain: &Chain,
    ) -> Result<Signed, SignError> {
        let envelope = notation::envelope(&subject, key, chain, Timestamp::now())?;
        let envelope = Document::new(notation::ENVELOPE, envelope);
        let config = notation::config();
        let manifest = notation::manifest(&subject, &config, &envelope, chain);
        self.client.push_blob(self.reference, envelope.bytes).await?;
        self.client.push_blob(self.reference, config.bytes).await?;
        let Document { descriptor, bytes } = manifest;
        self.client.attach(self.reference, &descriptor, bytes).await?;
        let Descriptor { digest, media_type, .. } = subject;
        Ok(Signed { digest, media_type, signature: descriptor.digest, tag: None })
    }
}

#[cfg(test)]
mod tests;
