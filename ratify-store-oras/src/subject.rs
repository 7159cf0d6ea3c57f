//! [`Client::attach`]: an artifact is pushed and listed with its subject, by the registry itself
//! or, where it has no Referrers API, by the tag that stands for the list (OCI distribution
//! specification, "Pushing Manifests with Subject").

use std::time::Duration;

use bytes::Bytes;
use ratify_core::{Descriptor, Digest, Index, Reference, capped_line, media_type};
use reqwest::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde_json::{Value, json};

use crate::{
    Client, OrasError,
    client::{PUSH, Target},
    layout::attachment,
    patience::jitter,
    referrers::schema_tag,
};

/// By which a registry says that it lists the manifest with its subject.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// How often the list is written before somebody else is found to take off what is written.
const MAX_WRITES: u32 = 5;
/// How often others may be faster before it is given up.
const MAX_REFUSALS: u32 = 20;
/// Among how many pauses' time those who were slower spread at most.
const MAX_SPREAD: u32 = 6;
/// How long another writer may take from reading the list to writing it.
const SETTLE: Duration = Duration::from_millis(150);

/// A list that a tag stands for.
struct List {
    /// `None` where there is none yet.
    bytes: Option<Bytes>,
    /// The condition that it is still this one, where the registry has marks.
    is_still: Option<(HeaderName, HeaderValue)>,
}

impl Client {
    /// Pushes a manifest or an index by its digest into the reference's repository, and where it
    /// names a subject, sees to it that it is listed there.
    ///
    /// Nothing locks the list of a registry without the Referrers API. It is written on the condition
    /// that it is still what was read, which some registries know of; and it is read again to see
    /// whether another writer was faster. Clones of one client take turns. Where the registry knows of
    /// no conditions, or never agrees with its own marks, a writer in another process that is very slow between reading and writing
    /// can still take an entry off the list, after it was seen there.
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
        let _turn = self.attaching().lock().await;
        let (mut written, mut refused, mut refused_for) = (0, 0, None);
        loop {
            let List { bytes, is_still } = self.list_of(&tagged).await?;
            let Some(changed) = with_entry(&tagged, bytes, entry)? else { return Ok(()) };
            let what = &entry.digest;
            if written == MAX_WRITES {
                let why = format!("{written} times another writer took {what} off the list");
                return Err(OrasError::invalid(tagged.as_str(), why));
            }
            if refused == MAX_REFUSALS {
                let why = format!(
                    "{refused} times the list had changed when {what} was to be added: other writers are faster, try again later"
                );
                return Err(OrasError::invalid(tagged.as_str(), why));
            }
            // The very mark that was refused is there still: nobody was faster, but something
            // between here and there never agrees with a mark. Else it would take off what
            // another writer has seen on the list.
            let condition = is_still.filter(|mark| refused_for.as_ref() != Some(mark));
            let put = self.put_manifest(&tagged, media_type::OCI_INDEX, changed, condition.clone());
            let pauses = match put.await {
                // Whoever read the list before this was written may write it without this entry.
                Ok(_) => {
                    (written, refused_for) = (written + 1, None);
                    f64::from(written - 1) + jitter()
                }
                Err(OrasError::Status { status: 412, .. }) if condition.is_some() => {
                    tracing::debug!("{}: another writer was faster", tagged.as_str());
                    (refused, refused_for) = (refused + 1, condition);
                    f64::from(refused.min(MAX_SPREAD)) * jitter()
                }
                Err(error) => return Err(error),
            };
            tokio::time::sleep(SETTLE.mul_f64(pauses)).await;
        }
    }

    /// The list as it is now where it is written to, whatever a mirror has.
    async fn list_of(&self, tagged: &Reference) -> Result<List, OrasError> {
        let target: Target<'_> = self.target(tagged, PUSH, None).await?;
        match Box::pin(self.index_by_tag(&target, self.limits().manifest_bytes)).await {
            Ok((bytes, mark)) => {
                Ok(List { bytes: Some(bytes), is_still: mark.map(|mark| (IF_MATCH, mark)) })
            }
            Err(OrasError::NotFound { .. }) => {
                let nothing = HeaderValue::from_static("*");
                Ok(List { bytes: None, is_still: Some((IF_NONE_MATCH, nothing)) })
            }
            Err(error) => Err(error),
        }
    }
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
