//! The verifier of Notary Project signatures, as Ratify v1's built-in `notation`: JWS and COSE
//! envelopes, the trust policy, trust stores in files and key management providers, timestamps and
//! revocation. The most important item is [`NotationVerifier`].
//!
//! Cryptography and formats are read by aws-lc-rs, x509-cert, coset, cms and x509-ocsp; what the Notary
//! Project and Ratify make of them is here. It reads files of certificates, and asks its host for
//! everything else, and programs of Notation's plugins are run by whoever implements
//! [`VerificationPlugins`]: it opens no connection, starts no process and has no runtime, no environment and no global state.

mod certificate;
mod checks;
mod configuration;
mod envelope;
mod go;
mod moment;
mod plugin;
mod policy;
mod refusal;
mod revocation;
mod timestamp;
mod trust;
mod verifier;

pub use configuration::Environment;
pub use plugin::{PluginCall, PluginFailure, VerificationPlugin, VerificationPlugins};
pub use revocation::ListCache;
pub use verifier::NotationVerifier;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;
