//! A store that keeps artifacts in directories, one OCI image layout a repository:
//! `<root>/<registry>/<repository>/{index.json,blobs/sha256/…}` (OCI image specification,
//! image-layout.md). An artifact is a manifest that `index.json` lists and whose `subject` is the
//! image.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
};

use bytes::Bytes;
use ratify_core::Index;
use ratify_plugin_sdk::{
    Descriptor, Digest, ListReferrersOutput, Manifest, Reference, Result, StorePlugin, media_type,
    proof,
};

/// The annotation that holds a tag.
const TAG: &str = "org.opencontainers.image.ref.name";
/// The most bytes of `index.json` and of a manifest.
const MAX_MANIFEST: u64 = 4 << 20;
/// The most bytes of a blob.
const MAX_BLOB: u64 = 64 << 20;

/// The parameters of the store.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    /// Where the layouts are.
    root: PathBuf,
    /// How many artifacts a page has; all where it is missing.
    page_size: Option<usize>,
}

struct DirectoryStore {
    root: PathBuf,
    page_size: usize,
}

impl StorePlugin for DirectoryStore {
    type Parameters = Parameters;

    fn new(parameters: Parameters) -> Result<Self> {
        if !parameters.root.is_dir() {
            return Err(format!("root: {} is no directory", parameters.root.display()).into());
        }
        let page_size = parameters.page_size.unwrap_or(usize::MAX).max(1);
        Ok(Self { root: parameters.root, page_size })
    }

    fn list_referrers(
        &self,
        subject: &Reference,
        artifact_types: &[String],
        next_token: &str,
    ) -> Result<ListReferrersOutput> {
        let start: usize = match next_token {
            "" => 0,
            token => token.parse().map_err(|_| format!("no page begins at {token:?}"))?,
        };
        let all = self.referrers(subject, artifact_types)?;
        let end = start.saturating_add(self.page_size);
        let next = if end < all.len() { end.to_string() } else { String::new() };
        let page = all.into_iter().skip(start).take(self.page_size).collect();
        Ok(ListReferrersOutput::new(page, next))
    }

    fn manifest(&self, subject: &Reference, digest: &Digest) -> Result<Manifest> {
        let listed = self.index(subject)?.manifests.into_iter().find(|m| m.digest == *digest);
        let listed = listed.ok_or_else(|| format!("the layout lists no manifest {digest}"))?;
        self.read_manifest(subject, &listed)
    }

    fn blob(&self, subject: &Reference, digest: &Digest) -> Result<Bytes> {
        Ok(self.read(subject, digest, MAX_BLOB)?.into())
    }

    fn descriptor(&self, subject: &Reference) -> Result<Descriptor> {
        let is_subject = |manifest: &Descriptor| match subject.digest() {
            Some(digest) => manifest.digest == *digest,
            None => manifest.annotations.get(TAG).map(String::as_str) == subject.tag(),
        };
        let found = self.index(subject)?.manifests.into_iter().find(is_subject);
        found.ok_or_else(|| format!("the layout has no {subject}").into())
    }
}

impl DirectoryStore {
    fn referrers(&self, subject: &Reference, types: &[String]) -> Result<Vec<Descriptor>> {
        let image = self.descriptor(subject)?.digest;
        let mut referrers = Vec::new();
        for listed in self.index(subject)?.manifests {
            if !matches!(
                listed.media_type.as_str(),
                media_type::OCI_MANIFEST | media_type::OCI_ARTIFACT
            ) {
                continue;
            }
            let manifest = self.read_manifest(subject, &listed)?;
            let is_attached = manifest.subject.is_some_and(|subject| subject.digest == image);
            if is_attached && (types.is_empty() || types.contains(&manifest.artifact_type)) {
                referrers.push(listed.with_artifact_type(manifest.artifact_type));
            }
        }
        Ok(referrers)
    }

    fn index(&self, subject: &Reference) -> Result<Index> {
        let path = self.layout(subject).join("index.json");
        let bytes = read_file(&path, MAX_MANIFEST)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(Index::from_bytes(media_type::OCI_INDEX, &bytes)?)
    }

    fn read_manifest(&self, subject: &Reference, listed: &Descriptor) -> Result<Manifest> {
        let bytes = self.read(subject, &listed.digest, MAX_MANIFEST)?;
        Ok(Manifest::from_bytes(&listed.media_type, &bytes)?)
    }

    /// Reads a file of the layout and proves it.
    fn read(&self, subject: &Reference, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let folder = self.layout(subject).join("blobs").join(digest.algorithm().name());
        let bytes = read_file(&folder.join(digest.hex()), limit)
            .map_err(|error| format!("cannot read {digest}: {error}"))?;
        if !proof::has_digest(&bytes, digest) {
            return Err(format!("the file of {digest} has other bytes").into());
        }
        Ok(bytes)
    }

    /// A reference has no component that leads upwards.
    fn layout(&self, subject: &Reference) -> PathBuf {
        self.root.join(subject.registry()).join(subject.repository())
    }
}

fn read_file(path: &std::path::Path, limit: u64) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn main() -> ExitCode {
    ratify_plugin_sdk::run_store::<DirectoryStore>()
}

#[cfg(test)]
mod tests;
