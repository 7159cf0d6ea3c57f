//! Tests of a plugin without a process: [`verify`] for its verdicts, [`run_verifier`] and
//! [`run_store`] for what goes over the wire, [`MemoryHost`] for what it reads.

use std::{
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use bytes::Bytes;
use ratify_core::{
    BoxFuture, Descriptor, Digest, ErrorCode, Host, Manifest, Reference, VerifierReport, media_type,
};
use serde_json::Value;

use crate::{
    OpenStore, Result, Store, StorePlugin, Subject, VerifierConfig, VerifierPlugin,
    call::{self, Call},
    log, parameters, proof,
    protocol::{PluginError, version},
    run,
};

/// The subject that [`verify`] asks about.
pub const SUBJECT: &str = "registry.example.com/app:v1";

/// What a process leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The exit code.
    pub exit_code: u8,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error: what the plugin logged by [`log`].
    pub stderr: String,
}

/// Artifacts in memory, for a plugin to read.
#[derive(Debug, Default)]
pub struct MemoryHost {
    subject: Option<Descriptor>,
    manifests: HashMap<Digest, Manifest>,
    blobs: HashMap<Digest, Bytes>,
}

impl MemoryHost {
    /// A host that has nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the subject is.
    pub fn set_subject(&mut self, subject: Descriptor) {
        self.subject = Some(subject);
    }

    /// Adds a blob and returns its descriptor.
    pub fn add_blob(&mut self, media_type: &str, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::new(media_type, proof::sha256(&bytes), bytes.len() as u64);
        self.blobs.insert(descriptor.digest.clone(), bytes);
        descriptor
    }

    /// Adds an artifact of the given blobs and returns its descriptor.
    pub fn add_artifact(&mut self, artifact_type: &str, blobs: Vec<Descriptor>) -> Descriptor {
        let mut manifest = Manifest::new(media_type::OCI_MANIFEST, artifact_type);
        manifest.blobs = blobs;
        self.add_manifest(manifest)
    }

    /// Adds an artifact's manifest and returns its descriptor.
    pub fn add_manifest(&mut self, manifest: Manifest) -> Descriptor {
        let artifact_type = manifest.artifact_type.clone();
        let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
        let descriptor =
            Descriptor::new(media_type::OCI_MANIFEST, proof::sha256(&bytes), bytes.len() as u64)
                .with_artifact_type(artifact_type);
        self.manifests.insert(descriptor.digest.clone(), manifest);
        descriptor
    }
}

impl Host for MemoryHost {
    fn manifest<'a>(
        &'a self,
        _: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, ratify_core::Result<Manifest>> {
        let found = self.manifests.get(&descriptor.digest).cloned();
        Box::pin(std::future::ready(found.ok_or_else(|| {
            ErrorCode::GetReferrerManifestFailure
                .detail(format!("no manifest {}", descriptor.digest))
        })))
    }

    fn subject<'a>(
        &'a self,
        subject: &'a Reference,
    ) -> BoxFuture<'a, ratify_core::Result<Descriptor>> {
        let unknown = || ErrorCode::ResourceNotFound.detail(format!("no subject {subject}"));
        Box::pin(std::future::ready(self.subject.clone().ok_or_else(unknown)))
    }

    fn blob<'a>(
        &'a self,
        _: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, ratify_core::Result<Bytes>> {
        let found = self.blobs.get(&descriptor.digest).cloned();
        Box::pin(std::future::ready(found.ok_or_else(|| {
            ErrorCode::GetBlobContentFailure.detail(format!("no blob {}", descriptor.digest))
        })))
    }
}

/// Builds a verifier from an entry of the configuration and lets it judge an artifact.
///
/// # Errors
/// The plugin's own, from its parameters, from `new` or from `verify`.
pub fn verify<P: VerifierPlugin>(
    entry: &Value,
    referrer: &Descriptor,
    host: MemoryHost,
) -> Result<VerifierReport> {
    let entry = entry.as_object().ok_or("the entry must be an object")?;
    let name = entry.get("name").and_then(Value::as_str).ok_or("the entry must have a name")?;
    let config = VerifierConfig::new(name, version::CURRENT, entry.clone());
    let verifier = P::new(parameters::of_verifier(entry)?, &config)?;
    let reference = Reference::parse(SUBJECT)?;
    let store = Store::new(reference.clone(), Arc::new(host));
    let mut report = verifier.verify(&Subject::new(reference, referrer.clone()), &store)?;
    report.name = config.name;
    report.type_ = config.type_;
    Ok(report)
}

/// Runs a verifier as a host would run its process: variables and standard input in; exit code,
/// standard output and log lines out. A panic is reported as in a process, without its place.
pub fn run_verifier<P: VerifierPlugin>(variables: &[(&str, &str)], stdin: &[u8]) -> Outcome {
    outcome(variables, stdin, |call| call::answer_verifier::<P>(call, None))
}

/// As [`run_verifier`], for a plugin that opens stores; see [`run_with`](crate::run_with).
pub fn run_verifier_with<P: VerifierPlugin>(
    open_store: OpenStore,
    variables: &[(&str, &str)],
    stdin: &[u8],
) -> Outcome {
    outcome(variables, stdin, |call| call::answer_verifier::<P>(call, Some(open_store)))
}

/// As [`run_verifier`], for a store.
pub fn run_store<S: StorePlugin>(variables: &[(&str, &str)], stdin: &[u8]) -> Outcome {
    outcome(variables, stdin, call::answer_store::<S>)
}

fn outcome(
    variables: &[(&str, &str)],
    mut stdin: &[u8],
    answer: impl FnOnce(&mut Call<'_>) -> Result<Vec<u8>, PluginError>,
) -> Outcome {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let variable = |name: &str| variables.get(name).copied().unwrap_or_default().to_owned();
    let mut call = Call { variable: &variable, stdin: &mut stdin };
    let (answer, stderr) = log::collect(|| {
        panic::catch_unwind(AssertUnwindSafe(|| answer(&mut call)))
            .unwrap_or_else(|payload| Err(PluginError::panic(run::panic_text(payload.as_ref()))))
    });
    let mut stdout = Vec::new();
    let exit_code = run::conclude(answer, &mut stdout);
    Outcome { exit_code, stdout, stderr }
}
