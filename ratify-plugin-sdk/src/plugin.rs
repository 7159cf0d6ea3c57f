//! What an author writes: [`VerifierPlugin`] or [`StorePlugin`], and what each is told.

use std::time::Instant;

use bytes::Bytes;
use ratify_core::{Descriptor, Digest, Manifest, Reference, VerifierReport};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Store,
    protocol::{ListReferrersOutput, version},
};

/// What an author's functions return. Anything that is an error, and any text, becomes the error
/// by `?` or `.into()`.
///
/// A [`PluginError`](crate::protocol::PluginError) goes to the host as it is. Anything else
/// becomes the details of code 8, or of code 2 where it came from `new`.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// A program that judges one artifact of an image.
pub trait VerifierPlugin: Sized {
    /// The plugin's own keys of its entry in the configuration. What every entry has (`name`,
    /// `type`, `artifactTypes`, …) is not among them, so `deny_unknown_fields` is fine.
    /// `serde_json::Map<String, Value>` takes whatever is there.
    type Parameters: DeserializeOwned;

    /// The versions of the wire it speaks. See [`version::DEFAULT`].
    const VERSIONS: &'static [&'static str] = version::DEFAULT;

    /// Builds the verifier from its configuration. An error means that the configuration is wrong.
    ///
    /// # Errors
    /// Whatever the author cannot accept.
    fn new(parameters: Self::Parameters, config: &VerifierConfig) -> Result<Self>;

    /// Judges. A report that is no success is a verdict; an error means that none was reached.
    /// Either denies.
    ///
    /// v1's host keeps `isSuccess`, `message` and `extensions` of a report and drops the rest, so
    /// say there what a person must know.
    ///
    /// # Errors
    /// Whatever kept the plugin from a verdict.
    fn verify(&self, subject: &Subject, store: &Store) -> Result<VerifierReport>;
}

/// A program that keeps artifacts beside the images they are about.
pub trait StorePlugin: Sized {
    /// As [`VerifierPlugin::Parameters`].
    type Parameters: DeserializeOwned;

    /// The versions of the wire it speaks. See [`version::DEFAULT`].
    const VERSIONS: &'static [&'static str] = version::DEFAULT;

    /// Builds the store from its configuration. An error means that the configuration is wrong.
    ///
    /// # Errors
    /// Whatever the author cannot accept.
    fn new(parameters: Self::Parameters) -> Result<Self>;

    /// Lists one page of what is attached to the subject. `artifact_types` is a wish, and empty
    /// for all; `next_token` is empty for the first page, else what the last page said.
    ///
    /// # Errors
    /// Whatever kept the store from a complete page. A list that lacks something is worse than an
    /// error: what is not listed is not judged.
    fn list_referrers(
        &self,
        subject: &Reference,
        artifact_types: &[String],
        next_token: &str,
    ) -> Result<ListReferrersOutput>;

    /// The manifest of an artifact.
    ///
    /// # Errors
    /// When it is not there, or its bytes are not of that digest.
    fn manifest(&self, subject: &Reference, digest: &Digest) -> Result<Manifest>;

    /// The bytes of a blob, as they are. Whoever asked proves them.
    ///
    /// # Errors
    /// When it is not there.
    fn blob(&self, subject: &Reference, digest: &Digest) -> Result<Bytes>;

    /// What the subject's tag stands for.
    ///
    /// # Errors
    /// When there is no such subject.
    fn descriptor(&self, subject: &Reference) -> Result<Descriptor>;
}

/// The part of a verifier's configuration that every verifier has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VerifierConfig {
    /// The configured name, which reports carry.
    pub name: String,
    /// The configured type, or else the name, as v1 has it.
    pub type_: String,
    /// The version of the wire the host asked for.
    pub version: String,
    /// The whole entry, as written.
    pub entry: Map<String, Value>,
}

/// What a verifier is asked about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Subject {
    /// The image, with the digest that the host found for it. v1's host does not say it of a tag.
    pub reference: Reference,
    /// The artifact that is attached to it, and that is to be judged.
    pub referrer: Descriptor,
    /// When the host gives up; `None` where it does not say. v1's wire does not, its host kills.
    pub give_up_at: Option<Instant>,
}

impl VerifierConfig {
    /// The head of an entry that has a name.
    pub fn new(name: &str, version: &str, entry: Map<String, Value>) -> Self {
        let type_ = entry.get("type").and_then(Value::as_str).filter(|type_| !type_.is_empty());
        Self {
            type_: type_.unwrap_or(name).to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            entry,
        }
    }
}

impl Subject {
    /// An image and an artifact attached to it.
    pub fn new(reference: Reference, referrer: Descriptor) -> Self {
        Self { reference, referrer, give_up_at: None }
    }
}
