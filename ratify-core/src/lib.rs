//! What Ratify reasons about, as plain data, and the seams between those who do the work.
//!
//! Without features this crate holds the nouns ([`Reference`], [`Digest`], [`Descriptor`],
//! [`Manifest`], [`VerifierReport`], [`Error`], [`config::Config`]) and the three seam traits
//! ([`ReferrerStore`], [`Verifier`], [`Host`]). The feature `engine` adds the executor and the
//! policies, which decide; `schema` adds JSON Schemas.
//!
//! It does no I/O: no disk, no network, no process, no clock, no runtime. Whoever calls it brings
//! those as arguments.

mod basis;
mod context;
mod descriptor;
mod digest;
mod error;
mod future;
mod host;
mod keys;
mod manifest;
mod reference;
mod report;
mod standing;
mod store;
mod text;
mod verifier;

pub mod ber;
pub mod config;
pub mod duration;
pub mod go_json;
pub mod simple_signing;
pub mod spans;
pub mod strict_json;

#[cfg(feature = "engine")]
pub mod executor;
#[cfg(feature = "engine")]
pub mod policy;

pub use basis::Basis;
pub use context::{Context, RequestCount};
pub use descriptor::{Descriptor, Platform, media_type};
pub use digest::{Algorithm, Digest, DigestError};
pub use error::{ComponentType, Error, ErrorCode, Result, link};
pub use future::BoxFuture;
pub use host::{Fetch, FetchRequest, Host, UrlSource};
pub use keys::{KeyRing, KeyRings, RingCertificate, RingKey};
pub use manifest::{Index, Manifest, ManifestError};
pub use reference::{Reference, ReferenceError};
pub use report::{NestedVerifierReport, Reports, VerifierReport, VerifyResult};
pub use standing::{Certainty, Standing};
pub use store::{Binding, Referrer, ReferrerPage, ReferrerStore, StoreConfig};
pub use text::{capped_line, is_printable_ascii, without_control_characters};
pub use verifier::{Request, Verifier};
