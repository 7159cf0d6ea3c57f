//! [`Client::attach`]: an artifact is pushed and listed with its subject, by the registry itself
//! or, where it has no Referrers API, by the tag that stands for the list (OCI distribution
//! specification, "Pushing Manifests with Subject").
//! [`Client::change_tag`]: what a tag stands for becomes something else, though others change it, too.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ratify_core::{Descriptor, Digest, Index, Reference, capped_line, media_type};
use reqwest::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde_json::{Value, json};

use crate::{
    Client, OrasError,
    client::{PUSH, Target},
    layout::attachment,
    manifests::MANIFEST_TYPES,
    patience::jitter,
    referrers::schema_tag,
};

/// By which a registry says that it lists the manifest with its subject.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// How often a tag is written before somebody else is found to take off what is written.
const MAX_WRITES: u32 = 5;
/// How often others may be faster before it is given up.
const MAX_REFUSALS: u32 = 20;
/// Among how many pauses' time those who were slower spread at most.
const MAX_SPREAD: u32 = 6;
/// How long another writer may take from reading what a tag stands for to writing it, at least and at most.
const SETTLE: Duration = Duration::from_millis(150);
const MAX_SETTLE: Duration = Duration::from_secs(3);
/// So many times as long as this one took, since others have the same registry and the same machine.
const SLOWER: u32 = 4;

/// What a tag is to stand for ([`Client::change_tag`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The manifest or index.
    pub document: Bytes,
    /// What it names and is pushed before it.
    pub blobs: Vec<Bytes>,
}

/// What a tag stands for.
struct State {
    /// `None` where there is none yet.
    bytes: Option<Bytes>,
    /// The condition that it is still this one, where the registry has marks.
    is_still: Option<(HeaderName, HeaderValue)>,
}

impl Client {
    /// Pushes a manifest or an index by its digest into the reference's repository, and where it
    /// names a subject, sees to it that it is listed there; where the registry has no Referrers API, as
    /// [`Client::change_tag`] does.
    ///
    /// # Errors
    /// When the document is none, the registry refuses, or other writers are faster each time.
    pub async fn attach(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        bytes: Bytes,
    ) -> Result<(), OrasError> {
        let attached = attachment(descriptor, &bytes)?;
        let place = reference.sibling(&descriptor.digest);
        let (_, answer) = self.put_manifest(&place, &descriptor.media_type, bytes, None).await?;
        let Some((subject, entry)) = attached else { return Ok(()) };
        match answer.single(&OCI_SUBJECT)? {
            Some(listed) if listed == subject.as_str() => return Ok(()),
            Some(_) => {
                let why = "the registry lists it with another subject";
                return Err(OrasError::invalid(place.as_str(), why));
            }
            None => {}
        }
        drop(answer);
        self.list_under_tag(reference, &subject, &entry).await
    }

    async fn list_under_tag(
        &self,
        reference: &Reference,
        subject: &Digest,
        entry: &Descriptor,
    ) -> Result<(), OrasError> {
        let tag = schema_tag(subject);
        let tagged = reference.sibling_tag(&tag);
        let tagged = tagged.map_err(|error| OrasError::invalid(&tag, error.to_string()))?;
        let change = |list: Option<Bytes>| {
            let document = with_entry(&tagged, list, entry)?;
            Ok(document.map(|document| Changed { document, blobs: Vec::new() }))
        };
        self.change_tag(&tagged, media_type::OCI_INDEX, change).await
    }

    /// Makes a tag stand for what `change` makes of the document of one media type that it stands for
    /// now, if any: until `change` finds nothing to be done, with `None`, which it has to once it sees
    /// what it has made. The document is read where it is written, whatever a mirror has.
    ///
    /// Nothing locks a tag. It is written on the condition that it still stands for what was read,
    /// which some registries know of; and it is read again to see whether another writer was faster.
    /// Clones of one client take turns. Where the registry knows of no conditions, or never agrees with
    /// its own marks, it is read once more right before it is written, and again after a writer that is some
    /// times slower than this one must have written; one that is slower than that can still undo a change.
    ///
    /// # Errors
    /// Those of `change`; when the tag stands for a document of another media type, the registry
    /// refuses, or other writers are faster each time.
    pub async fn change_tag<E: From<OrasError>>(
        &self,
        tagged: &Reference,
        media_type: &str,
        mut change: impl FnMut(Option<Bytes>) -> Result<Option<Changed>, E>,
    ) -> Result<(), E> {
        let _turn = self.attaching().lock().await;
        let (mut written, mut refused, mut refused_for) = (0, 0, None);
        loop {
            let began = Instant::now();
            let State { bytes, is_still } = self.state_of(tagged, media_type).await?;
            let Some(Changed { document, blobs }) = change(bytes.clone())? else { return Ok(()) };
            let given_up = |why: String| E::from(OrasError::invalid(tagged.as_str(), why));
            if written == MAX_WRITES {
                let why = format!("{written} times another writer took off what was added to it");
                return Err(given_up(why));
            }
            if refused == MAX_REFUSALS {
                let why = format!(
                    "{refused} times it had changed when it was to be written: other writers are faster, try again later"
                );
                return Err(given_up(why));
            }
            if !blobs.is_empty() {
                for blob in blobs {
                    self.push_blob(tagged, blob).await?;
                }
                // That took its time, which was another writer's as well.
                if self.state_of(tagged, media_type).await?.bytes != bytes {
                    refused += 1;
                    tokio::time::sleep(spread(SETTLE, refused)).await;
                    continue;
                }
            }
            // The very mark that was refused is there still: nobody was faster, but something
            // between here and there never agrees with a mark. Else it would undo what another writer
            // has seen there.
            let condition = is_still.filter(|mark| refused_for.as_ref() != Some(mark));
            let put = self.put_manifest(tagged, media_type, document, condition.clone());
            let pause = match put.await {
                // Whoever read before this was written may write without this change.
                Ok(_) => {
                    (written, refused_for) = (written + 1, None);
                    let settle = began.elapsed().saturating_mul(SLOWER).clamp(SETTLE, MAX_SETTLE);
                    settle + spread(settle, written)
                }
                Err(OrasError::Status { status: 412, .. }) if condition.is_some() => {
                    tracing::debug!("{}: another writer was faster", tagged.as_str());
                    (refused, refused_for) = (refused + 1, condition);
                    spread(SETTLE, refused)
                }
                Err(error) => return Err(error.into()),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// What a tag stands for now where it is written to, whatever a mirror has.
    async fn state_of(&self, tagged: &Reference, media_type: &str) -> Result<State, OrasError> {
        let target: Target<'_> = self.target(tagged, PUSH, None).await?;
        let limit = self.limits().manifest_bytes;
        let read = self.document_by_tag(&target, &MANIFEST_TYPES, media_type, limit);
        match Box::pin(read).await {
            Ok((bytes, mark)) => {
                Ok(State { bytes: Some(bytes), is_still: mark.map(|mark| (IF_MATCH, mark)) })
            }
            Err(OrasError::NotFound { .. }) => {
                let nothing = HeaderValue::from_static("*");
                Ok(State { bytes: None, is_still: Some((IF_NONE_MATCH, nothing)) })
            }
            Err(error) => Err(error),
        }
    }
}

/// Some time among those who were slower, more of it each time.
fn spread(settle: Duration, times: u32) -> Duration {
    settle.mul_f64(f64::from(times.min(MAX_SPREAD)) * jitter())
}

/// A list with one more entry; `None` where it has it already. Whatever else is in it stays.
fn with_entry(
    tagged: &Reference,
    list: Option<Bytes>,
    entry: &Descriptor,
) -> Result<Option<Bytes>, OrasError> {
    let malformed = |error: String| OrasError::invalid(tagged.as_str(), capped_line(&error, 200));
    let mut list: Value = match &list {
        None => json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX}),
        Some(bytes) => {
            let index = Index::from_bytes(media_type::OCI_INDEX, bytes);
            let index = index.map_err(|error| malformed(error.to_string()))?;
            if index.manifests.iter().any(|known| known.digest == entry.digest) {
                return Ok(None);
            }
            serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?
        }
    };
    let entry = serde_json::to_value(entry).map_err(|error| malformed(error.to_string()))?;
    match list.get_mut("manifests").and_then(Value::as_array_mut) {
        Some(entries) => entries.push(entry),
        None => list["manifests"] = json!([entry]),
    }
    Ok(Some(list.to_string().into()))
}
