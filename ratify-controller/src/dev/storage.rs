//! What the embedded registry holds, in memory and bounded in bytes: contents by digest, and
//! repositories that link to them. Every byte kept is covered by a [`Claim`] on one [`Budget`],
//! which is given back when the last link to it is gone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use aws_lc_rs::digest as hash;
use bytes::Bytes;
use ratify_core::{Algorithm, Descriptor, Digest};

use super::{
    referrers::Facts,
    upload::{Upload, Uploads},
};

/// What an entry costs beside its bytes, so that a flood of empty ones is bounded too.
pub(super) const ENTRY_COST: u64 = 256;

/// The bytes that may be held, shared by all that hold some.
pub(super) struct Budget {
    maximum: u64,
    used: Mutex<u64>,
}

/// Bytes taken from a [`Budget`], given back on drop.
pub(super) struct Claim {
    budget: Arc<Budget>,
    bytes: u64,
}

/// The registry is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the registry is full: {needed} more bytes do not fit, {used} of {maximum} are used; delete \
     something, or start it with a higher limit"
)]
pub struct Full {
    /// How many bytes were asked for.
    pub needed: u64,
    /// How many are held.
    pub used: u64,
    /// How many may be held.
    pub maximum: u64,
}

/// A blob's bytes, once for all repositories that link to it.
pub(super) struct Content {
    pub(super) bytes: Bytes,
    _claim: Claim,
}

/// A manifest in one repository.
pub(super) struct StoredManifest {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
    pub(super) facts: Facts,
    _claim: Claim,
}

/// All that the registry holds.
pub(super) struct Storage {
    budget: Arc<Budget>,
    inner: Mutex<Inner>,
    pub(super) uploads: Uploads,
}

#[derive(Default)]
struct Inner {
    contents: HashMap<Digest, Weak<Content>>,
    repositories: BTreeMap<String, Repository>,
}

#[derive(Default)]
struct Repository {
    blobs: BTreeMap<Digest, Arc<Content>>,
    manifests: BTreeMap<Digest, Arc<StoredManifest>>,
    tags: BTreeMap<String, Tag>,
}

struct Tag {
    digest: Digest,
    _claim: Claim,
}

impl Storage {
    pub(super) fn new(maximum: u64) -> Self {
        Self {
            budget: Arc::new(Budget { maximum, used: Mutex::new(0) }),
            inner: Mutex::default(),
            uploads: Uploads::default(),
        }
    }

    /// The bytes held now, uploads included.
    pub(super) fn used(&self) -> u64 {
        *lock(&self.budget.used)
    }

    /// Starts an upload that is not yet listed anywhere.
    pub(super) fn new_upload(&self, name: &str) -> Result<Upload, Full> {
        Ok(Upload::new(name, self.claim(ENTRY_COST)?))
    }

    pub(super) fn blob(&self, name: &str, digest: &Digest) -> Option<Arc<Content>> {
        self.lock().repositories.get(name)?.blobs.get(digest).cloned()
    }

    /// Keeps a blob whose digest the caller has computed. `claim` covers its bytes.
    pub(super) fn keep_blob(&self, name: &str, digest: Digest, bytes: Bytes, claim: Claim) {
        let mut inner = self.lock();
        let known = inner.contents.get(&digest).and_then(Weak::upgrade);
        let content = known.unwrap_or_else(|| Arc::new(Content { bytes, _claim: claim }));
        inner.contents.insert(digest.clone(), Arc::downgrade(&content));
        inner.repositories.entry(name.to_owned()).or_default().blobs.insert(digest, content);
    }

    /// Keeps bytes under the digest they have.
    pub(super) fn put_blob(&self, name: &str, bytes: Bytes) -> Result<Digest, Full> {
        let claim = self.claim(bytes.len() as u64 + ENTRY_COST)?;
        let digest = digest_of(Algorithm::Sha256, &bytes);
        self.keep_blob(name, digest.clone(), bytes, claim);
        Ok(digest)
    }

    /// Links a blob of `from`, or of any repository, into `name`. False when there is none.
    pub(super) fn mount(&self, name: &str, from: Option<&str>, digest: &Digest) -> bool {
        let mut inner = self.lock();
        let found = match from {
            Some(from) => inner.repositories.get(from).and_then(|r| r.blobs.get(digest)).cloned(),
            None => inner.contents.get(digest).and_then(Weak::upgrade),
        };
        let Some(content) = found else { return false };
        inner
            .repositories
            .entry(name.to_owned())
            .or_default()
            .blobs
            .insert(digest.clone(), content);
        true
    }

    /// Unlinks a blob from one repository. False when it was not there.
    pub(super) fn delete_blob(&self, name: &str, digest: &Digest) -> bool {
        let mut inner = self.lock();
        let repository = inner.repositories.get_mut(name);
        let gone = repository.and_then(|repository| repository.blobs.remove(digest)).is_some();
        inner.contents.retain(|_, content| content.strong_count() > 0);
        gone
    }

    pub(super) fn manifest(&self, name: &str, digest: &Digest) -> Option<Arc<StoredManifest>> {
        self.lock().repositories.get(name)?.manifests.get(digest).cloned()
    }

    pub(super) fn tagged(&self, name: &str, tag: &str) -> Option<Arc<StoredManifest>> {
        let inner = self.lock();
        let repository = inner.repositories.get(name)?;
        repository.manifests.get(&repository.tags.get(tag)?.digest).cloned()
    }

    /// Keeps a manifest under the digest of its bytes by `algorithm`, and points `tags` to it.
    /// The descriptor that a listing would show for it comes back.
    pub(super) fn put_manifest(
        &self,
        name: &str,
        tags: &[String],
        media_type: &str,
        bytes: Bytes,
        algorithm: Algorithm,
    ) -> Result<Descriptor, Full> {
        // Once for the bytes, once for the facts taken out of them.
        let claim = self.claim(2 * bytes.len() as u64 + ENTRY_COST)?;
        let mut entries = Vec::with_capacity(tags.len());
        let digest = digest_of(algorithm, &bytes);
        for tag in tags {
            let claim = self.claim(ENTRY_COST + tag.len() as u64)?;
            entries.push((tag.clone(), Tag { digest: digest.clone(), _claim: claim }));
        }
        let facts = Facts::read(media_type, &bytes);
        let media_type = media_type.to_owned();
        let manifest = StoredManifest { digest, media_type, bytes, facts, _claim: claim };
        let descriptor = manifest.descriptor();
        let mut inner = self.lock();
        let repository = inner.repositories.entry(name.to_owned()).or_default();
        repository.manifests.insert(manifest.digest.clone(), Arc::new(manifest));
        repository.tags.extend(entries);
        Ok(descriptor)
    }

    /// Removes a manifest and every tag that points to it. False when it was not there.
    pub(super) fn delete_manifest(&self, name: &str, digest: &Digest) -> bool {
        let mut inner = self.lock();
        let Some(repository) = inner.repositories.get_mut(name) else { return false };
        repository.tags.retain(|_, tag| tag.digest != *digest);
        repository.manifests.remove(digest).is_some()
    }

    /// Removes a tag; the manifest stays. False when it was not there.
    pub(super) fn delete_tag(&self, name: &str, tag: &str) -> bool {
        let mut inner = self.lock();
        inner.repositories.get_mut(name).is_some_and(|r| r.tags.remove(tag).is_some())
    }

    /// The tags of a repository in order, or `None` when there is no such repository.
    pub(super) fn tags(&self, name: &str) -> Option<Vec<String>> {
        Some(self.lock().repositories.get(name)?.tags.keys().cloned().collect())
    }

    /// The manifests of a repository that have a subject, in the order of their digests.
    pub(super) fn with_subject(&self, name: &str) -> Vec<Arc<StoredManifest>> {
        let inner = self.lock();
        let Some(repository) = inner.repositories.get(name) else { return Vec::new() };
        repository.manifests.values().filter(|m| m.facts.subject.is_some()).cloned().collect()
    }

    fn claim(&self, bytes: u64) -> Result<Claim, Full> {
        let mut claim = Claim { budget: Arc::clone(&self.budget), bytes: 0 };
        claim.grow(bytes)?;
        Ok(claim)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl StoredManifest {
    /// What a listing shows for this manifest.
    pub(super) fn descriptor(&self) -> Descriptor {
        let mut descriptor =
            Descriptor::new(&self.media_type, self.digest.clone(), self.bytes.len() as u64)
                .with_artifact_type(&self.facts.artifact_type);
        descriptor.annotations.clone_from(&self.facts.annotations);
        descriptor
    }
}

impl Claim {
    /// Takes more bytes.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        let mut used = lock(&self.budget.used);
        let maximum = self.budget.maximum;
        match used.checked_add(bytes).filter(|sum| *sum <= maximum) {
            Some(sum) => *used = sum,
            None => return Err(Full { needed: bytes, used: *used, maximum }),
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Moves all of the bytes into another claim.
    pub(super) fn take(&mut self) -> Self {
        Self { budget: Arc::clone(&self.budget), bytes: std::mem::take(&mut self.bytes) }
    }

    /// Gives some of the bytes back.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        *lock(&self.budget.used) -= bytes;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// The digest of bytes.
pub(super) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let function = match algorithm {
        Algorithm::Sha256 => &hash::SHA256,
        Algorithm::Sha384 => &hash::SHA384,
        Algorithm::Sha512 => &hash::SHA512,
    };
    let hex = hex::encode(hash::digest(function, bytes));
    #[allow(clippy::expect_used)] // A hash of this algorithm has the length its digest wants.
    Digest::new(algorithm, &hex).expect("a hash in hexadecimal is a digest")
}

/// Locks, also after a panic elsewhere: every critical section here leaves the data whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = ratify_core::media_type::OCI_MANIFEST;

    #[test]
    fn a_blob_in_two_repositories_is_held_once_and_freed_with_the_last() {
        let storage = Storage::new(1 << 20);
        let digest = storage.put_blob("a", Bytes::from_static(b"hello")).unwrap();
        let once = storage.used();
        storage.put_blob("b", Bytes::from_static(b"hello")).unwrap();
        assert!(storage.mount("c", Some("a"), &digest));
        assert_eq!(storage.used(), once);
        assert!(storage.delete_blob("a", &digest) && storage.delete_blob("b", &digest));
        assert!(!storage.delete_blob("a", &digest));
        assert_eq!(storage.blob("c", &digest).unwrap().bytes, "hello");
        assert!(storage.delete_blob("c", &digest));
        assert_eq!(storage.used(), 0);
        assert!(!storage.mount("c", None, &digest));
    }

    #[test]
    fn says_what_does_not_fit_and_keeps_what_it_had() {
        let storage = Storage::new(1000);
        let digest = storage.put_blob("a", Bytes::from(vec![0; 500])).unwrap();
        let error = storage.put_blob("a", Bytes::from(vec![1; 500])).unwrap_err();
        insta::assert_snapshot!(error, @"the registry is full: 756 more bytes do not fit, 756 of 1000 are used; delete something, or start it with a higher limit");
        assert!(storage.blob("a", &digest).is_some());
    }

    #[test]
    fn a_deleted_manifest_takes_its_tags_along_and_gives_its_bytes_back() {
        let storage = Storage::new(1 << 20);
        let tags = ["v1".to_owned(), "v2".to_owned()];
        let put = |tags: &[String]| {
            storage
                .put_manifest("a", tags, OCI, Bytes::from_static(b"{}"), Algorithm::Sha256)
                .unwrap()
        };
        let descriptor = put(&tags);
        assert!(storage.delete_tag("a", "v1") && !storage.delete_tag("a", "v1"));
        assert_eq!(storage.tags("a").unwrap(), ["v2"]);
        assert!(storage.tagged("a", "v2").is_some());
        assert!(storage.delete_manifest("a", &descriptor.digest));
        assert_eq!(storage.tags("a").unwrap(), Vec::<String>::new());
        assert_eq!(storage.used(), 0);
        assert_eq!(storage.tags("b"), None);
    }
}
