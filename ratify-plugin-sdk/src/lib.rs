//! Write a Ratify plugin: a small program that judges an artifact, or keeps artifacts.
//!
//! ```
//! use ratify_plugin_sdk::{Result, Store, Subject, VerifierConfig, VerifierPlugin, VerifierReport, testing};
//!
//! /// Accepts artifacts of at most so many bytes.
//! struct SizeLimit {
//!     max_bytes: u64,
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "camelCase")]
//! struct Parameters {
//!     max_bytes: u64,
//! }
//!
//! impl VerifierPlugin for SizeLimit {
//!     type Parameters = Parameters;
//!
//!     fn new(parameters: Parameters, _: &VerifierConfig) -> Result<Self> {
//!         Ok(Self { max_bytes: parameters.max_bytes })
//!     }
//!
//!     fn verify(&self, subject: &Subject, store: &Store) -> Result<VerifierReport> {
//!         let manifest = store.manifest(&subject.referrer)?;
//!         let size: u64 = manifest.blobs.iter().map(|blob| blob.size).sum();
//!         if size > self.max_bytes {
//!             return Ok(VerifierReport::failure(format!("{size} bytes are too many")));
//!         }
//!         Ok(VerifierReport::success(format!("{size} bytes")))
//!     }
//! }
//!
//! // In a plugin: `fn main() -> std::process::ExitCode { ratify_plugin_sdk::run::<SizeLimit>() }`.
//! // In its tests:
//! let mut host = testing::MemoryHost::new();
//! let blob = host.add_blob("text/plain", "four");
//! let artifact = host.add_artifact("example/document", vec![blob]);
//! let entry = serde_json::json!({"name": "size", "maxBytes": 3});
//! let report = testing::verify::<SizeLimit>(&entry, &artifact, host)?;
//! assert_eq!((report.is_success, report.message.as_str()), (false, "4 bytes are too many"));
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! A host finds a verifier's binary by its type, starts it once for each artifact, and reads one
//! line of JSON. [`protocol`] is that wire, which is Ratify v1's, so that a plugin runs under v1 as
//! well. Log by [`log`]; standard output belongs to the answer.
//!
//! Reading blobs on this wire means that the plugin opens the store itself, by a function that its
//! author gives to [`run_with`]: [`external::open`] for a store that is a program, that of the
//! `oras` store's crate for registries. A plugin that reads nothing needs neither, and stays small.
//!
//! This crate does standard input and output, and starts external stores. It has no runtime, no
//! TLS and no registry client.

mod bridge;
mod call;
mod parameters;
mod plugin;
mod run;
mod store;

pub mod external;
pub mod log;
pub mod proof;
pub mod protocol;
pub mod testing;

pub use bridge::judge_by;
pub use plugin::{Result, StorePlugin, Subject, VerifierConfig, VerifierPlugin};
pub use protocol::{ListReferrersOutput, PluginError};
pub use ratify_core::{
    Algorithm, Descriptor, Digest, Error, ErrorCode, Host, Manifest, Reference, StoreConfig,
    VerifierReport, media_type,
};
pub use run::{run, run_store, run_with};
pub use store::{OpenStore, Store};
