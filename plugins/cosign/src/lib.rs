//! The built-in verifier [`CosignVerifier`]: signatures of images by cosign, with keys and keyless,
//! under cosign's tags, as OCI 1.1 referrers and in Sigstore bundles.
//!
//! What is configured and how it is answered is Ratify v1's; what a signature is worth is cosign's
//! and Sigstore's. Two things v1 leaves out on one of its ways hold on all of them here: what is
//! signed must name the image, and any one valid signature is enough.
//!
//! It reads the key files that an administrator names. All else comes through the host of the
//! request: the artifact's bytes, keys of key management providers, what a transparency log or a TUF
//! repository answers. It starts nothing, keeps no file and reads no environment.

mod bundle;
mod chain;
mod checks;
mod claims;
mod classic;
mod config;
mod extensions;
mod identity;
mod json;
mod keys;
mod refusal;
mod rekor;
mod trust;
mod verifier;

pub use config::{Environment, initialized};
pub use verifier::CosignVerifier;

#[cfg(test)]
mod testing;
