//! For development and tests: an OCI registry inside this process, on the loopback interface and
//! in memory ([`RunningRegistry`]), and the lies it can be told to tell ([`Fault`], [`Lie`]).
//!
//! It implements the OCI distribution specification 1.1: push, pull, content discovery and content
//! management. It is no registry for production: nothing outlives it, and it has one password.

pub mod forgery;
pub mod registry;

mod samples;
mod server;

mod honest;
mod route;

mod blobs;
mod manifests;
mod referrers;
mod upload;

mod answer;
mod storage;
mod throttle;
mod tls;

mod faults;

pub use faults::{Fault, Lie, Matcher, Occurrence, REMOTE_TEXT, RequestKind};
pub use registry::{RegistryError, RegistryOptions, RunningRegistry};
pub use server::SeenRequest;
pub use storage::Full;
pub use tls::CertificateError;
