//! [`Layout`]: an OCI image layout, in a directory or a tar archive, to read from (OCI image
//! specification, image-layout.md). [`LayoutStore`] makes a referrer store of it, and
//! [`LayoutWriter`] writes one.
//!
//! No network is used. What is read is proven as what a registry sends is, and bounded alike.

mod archive;
mod files;
mod index;
mod store;
mod write;

use std::{
    collections::HashMap,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use ratify_core::{
    Algorithm, Descriptor, Digest, Index, Reference, capped_line,
    media_type::{self, COSIGN_SIGNATURE},
};
use serde::Deserialize;

use crate::{
    Limits, OrasError, Section, digest_of, patience::within, proof, referrers::schema_tag, stream,
};
use files::{Files, Name};
use index::Scope;

pub(crate) use index::attachment;
pub use store::{LAYOUT_STORE, LayoutStore};
pub use write::LayoutWriter;

/// The one version there is.
const VERSION: &str = "1.0.0";
/// More than the document with the version ever has.
const MAX_MARKER: u64 = 4096;
/// How deep an index may lie within others, and how many of them are looked through for a digest.
const MAX_DEPTH: usize = 4;
const MAX_NESTED: usize = 1000;

/// A layout to read from. All of its methods may block. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Layout(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Files,
    limits: Limits,
    scope: Scope,
    /// What was attached to what when the index had this digest.
    attached: Mutex<Option<(Digest, Arc<Attached>)>>,
}

/// What is attached to each subject.
type Attached = HashMap<Digest, Vec<Descriptor>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// A layout at a path: a directory, or a tar archive. The repository is the one that all of it
    /// is of, where there is one. It is looked at for the first time.
    ///
    /// # Errors
    /// When there is none, it has another version, or its index is none.
    pub fn open(
        path: &Path,
        repository: Option<String>,
        limits: Limits,
    ) -> Result<Self, OrasError> {
        let scope = Scope { repository };
        let (files, attached) = (Files::of(path), Mutex::new(None));
        let layout = Self(Arc::new(Inner { files, limits, scope, attached }));
        let marker = layout.0.files.read(Name::Marker, MAX_MARKER)?;
        match serde_json::from_slice::<Marker>(&marker) {
            Ok(marker) if marker.image_layout_version == VERSION => {}
            _ => {
                let what = layout.0.files.what(Name::Marker);
                return Err(OrasError::invalid(what, format!("its version is not {VERSION}")));
            }
        }
        layout.index()?;
        Ok(layout)
    }

    /// The index, and the digest of its bytes. It is read anew, for the layout may have changed.
    fn index(&self) -> Result<(Digest, Index), OrasError> {
        let bytes = self.0.files.read(Name::Index, self.0.limits.manifest_bytes)?;
        let index = Index::from_bytes(media_type::OCI_INDEX, &bytes).map_err(|error| {
            let why = capped_line(&error.to_string(), 200);
            OrasError::invalid(self.0.files.what(Name::Index), why)
        })?;
        if index.manifests.len() > self.0.limits.referrers {
            let (what, limit) = (self.0.files.what(Name::Index), self.0.limits.referrers as u64);
            return Err(OrasError::TooLarge { what, limit, unit: "entries" });
        }
        Ok((digest_of(Algorithm::Sha256, &bytes), index))
    }

    /// The entries of the index, as they are.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn entries(&self) -> Result<Vec<Descriptor>, OrasError> {
        Ok(self.index()?.1.manifests)
    }

    /// What a reference stands for. Its bytes are there and proven.
    ///
    /// # Errors
    /// [`OrasError::NotFound`] where there is none; any other failure as what it is.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor, OrasError> {
        let what = || format!("{reference} in the layout");
        let (_, index) = self.index()?;
        if !self.0.scope.covers(reference) {
            return Err(OrasError::NotFound { what: what() });
        }
        let found = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => self.listed(&index, digest)?,
            (None, Some(tag)) => {
                if self.0.scope.ignores_bare(&index, tag) {
                    tracing::debug!(
                        "{}: a tag without its repository counts where `repository` is set",
                        what()
                    );
                }
                self.0.scope.tagged(&index, reference, tag)?.cloned()
            }
            (None, None) => None,
        };
        let found = found.ok_or_else(|| OrasError::NotFound { what: what() })?;
        let found = Descriptor::new(found.media_type, found.digest, found.size);
        self.manifest_bytes(&found)?;
        Ok(found)
    }

    /// The entry of a digest, in the index or in one that it lists. Of an index that lists what
    /// is not here, the rest counts.
    fn listed(&self, index: &Index, digest: &Digest) -> Result<Option<Descriptor>, OrasError> {
        let mut level = index.manifests.clone();
        let mut looked_at = 0;
        for depth in 0..MAX_DEPTH {
            let with_digest = level.iter().filter(|entry| entry.digest == *digest);
            if let Some(found) = index::one(with_digest, digest.as_str())? {
                return Ok(Some(found.clone()));
            }
            let mut next = Vec::new();
            for entry in level.iter().filter(|entry| index::is_index(entry)) {
                looked_at += 1;
                if looked_at > MAX_NESTED {
                    let (what, limit) = (self.0.files.what(Name::Index), MAX_NESTED as u64);
                    return Err(OrasError::TooLarge { what, limit, unit: "nested indexes" });
                }
                let bytes = match self.manifest_bytes(entry) {
                    Err(OrasError::NotFound { .. }) if depth > 0 => continue,
                    read => read?,
                };
                let nested = Index::from_bytes(&entry.media_type, &bytes).map_err(|error| {
                    OrasError::invalid(entry.digest.as_str(), capped_line(&error.to_string(), 200))
                })?;
                next.extend(nested.manifests);
            }
            level = next;
        }
        Ok(None)
    }

    /// All that is attached to a subject: by the `subject` of a manifest that the index lists, and
    /// by the index under the subject's tag (OCI distribution specification, "Referrers Tag
    /// Schema").
    ///
    /// # Errors
    /// Also when any manifest that the index lists is missing or none: it might have been one.
    pub fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, OrasError> {
        let what = format!("the referrers of {}@{subject} in the layout", reference.path());
        let (digest, index) = self.index()?;
        if !self.0.scope.covers(reference) {
            return Ok(Vec::new());
        }
        let attached = self.attached(digest, &index)?;
        let named = attached.get(subject).map_or(&[][..], Vec::as_slice);
        let by_tag = match self.0.scope.tagged(&index, reference, &schema_tag(subject))? {
            Some(entry) if entry.media_type != media_type::OCI_INDEX => {
                let expected = media_type::OCI_INDEX;
                return Err(OrasError::media_type(&what, expected, &entry.media_type));
            }
            Some(entry) => Some(self.manifest_bytes(entry)?),
            None => None,
        };
        let type_of = |entry: &Descriptor| {
            let attached = attachment(entry, &self.manifest_bytes(entry)?)?;
            Ok(attached.map_or_else(String::new, |(_, listed)| listed.artifact_type))
        };
        index::list(&what, self.0.limits, named, by_tag.as_deref(), type_of)
    }

    fn attached(&self, of: Digest, index: &Index) -> Result<Arc<Attached>, OrasError> {
        let lock = || self.0.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = lock().as_ref().filter(|(known, _)| *known == of) {
            return Ok(known.clone());
        }
        let mut attached = Attached::new();
        let (mut bytes_read, limit) = (0, self.0.limits.referrer_bytes);
        let listed = |entry: &&Descriptor| index::is_index(entry) || index::is_manifest(entry);
        for entry in index.manifests.iter().filter(listed) {
            bytes_read += entry.size;
            if bytes_read > limit {
                let what = "all manifests of the layout".to_owned();
                return Err(OrasError::TooLarge { what, limit, unit: "bytes" });
            }
            let bytes = self.manifest_bytes(entry)?;
            if let Some((subject, artifact)) = attachment(entry, &bytes)? {
                attached.entry(subject).or_default().push(artifact);
            }
        }
        let attached = Arc::new(attached);
        *lock() = Some((of, attached.clone()));
        Ok(attached)
    }

    /// The signature that cosign keeps under a tag derived from the subject's digest.
    ///
    /// # Errors
    /// As [`Layout::resolve`], save "not found".
    pub fn cosign_signature(
        &self,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Option<Descriptor>, OrasError> {
        let Ok(tagged) = reference.sibling_tag(&subject.cosign_tag()) else { return Ok(None) };
        match self.resolve(&tagged) {
            Ok(found) => Ok(Some(found.with_artifact_type(COSIGN_SIGNATURE))),
            Err(OrasError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of a manifest or an index, proven.
    ///
    /// # Errors
    /// Among others when they are not what the descriptor says.
    pub fn manifest_bytes(&self, descriptor: &Descriptor) -> Result<Bytes, OrasError> {
        let limit = self.0.limits.manifest_bytes;
        self.proven(&descriptor.digest, Some(descriptor.size), limit)
    }

    /// The bytes of a blob, proven.
    ///
    /// # Errors
    /// As [`Layout::manifest_bytes`].
    pub fn blob_bytes(&self, digest: &Digest, size: Option<u64>) -> Result<Bytes, OrasError> {
        self.proven(digest, size, self.0.limits.blob_bytes)
    }

    fn proven(&self, digest: &Digest, size: Option<u64>, limit: u64) -> Result<Bytes, OrasError> {
        let name = Name::Blob(digest);
        let what = self.0.files.what(name);
        if size.is_some_and(|size| size > limit) {
            return Err(OrasError::TooLarge { what, limit, unit: "bytes" });
        }
        let actual = self.0.files.open(name)?.length();
        if let Some(expected) = size.filter(|size| *size != actual) {
            return Err(OrasError::Size { what, expected, actual: actual.to_string() });
        }
        let bytes = self.0.files.read(name, limit)?;
        proof::check(&what, &bytes, digest, size)?;
        Ok(bytes.into())
    }

    /// A blob as a part of an open file, not proven yet.
    ///
    /// # Errors
    /// When it is not there, or has not the size of its descriptor.
    pub fn section(&self, descriptor: &Descriptor) -> Result<Section, OrasError> {
        let name = Name::Blob(&descriptor.digest);
        let section = self.0.files.open(name)?;
        if section.length() != descriptor.size {
            let (what, actual) = (self.0.files.what(name), section.length().to_string());
            return Err(OrasError::Size { what, expected: descriptor.size, actual });
        }
        Ok(section)
    }

    /// Copies a blob into a sink and gives it back, full and proven.
    ///
    /// # Errors
    /// As [`Layout::section`], and when its bytes are others or the sink fails. The sink is
    /// dropped then: it held unproven bytes.
    pub fn blob_into<S: Write>(&self, descriptor: &Descriptor, sink: S) -> Result<S, OrasError> {
        let what = self.0.files.what(Name::Blob(&descriptor.digest));
        stream::copy(self.section(descriptor)?, &what, descriptor, sink)
    }

    /// Runs work on files beside the runtime's own threads, and not beyond the time for it.
    pub(crate) async fn on_a_thread<T: Send + 'static>(
        &self,
        what: &str,
        give_up_at: Option<Instant>,
        work: impl FnOnce(&Self) -> Result<T, OrasError> + Send + 'static,
    ) -> Result<T, OrasError> {
        let layout = self.clone();
        let working = tokio::task::spawn_blocking(move || work(&layout));
        let done = async {
            working.await.unwrap_or_else(|error| {
                let source = std::io::Error::other(error);
                Err(OrasError::Read { what: what.to_owned(), source })
            })
        };
        within(give_up_at, what, done).await
    }
}
