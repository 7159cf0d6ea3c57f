//! What must hold of bytes from outside, a target a file. `check` panics where it does not; it takes
//! any bytes and has no memory of the last ones.
//!
//! - `request`, `reference`: what Gatekeeper asks; `sealed`: what Redis says;
//! - `manifest`, `referrers`, `link`, `challenge`, `token`: what a registry says;
//! - `plugin_output`: what a plugin prints;
//! - `rego_policy`, `config_policy`, `config`, `hosts`, `trust_policy`, `lock_file`: what an operator or a
//!   tenant writes; `pem`, `pkcs12`: what their key management providers hold;
//! - `notation_jws`, `notation_cose`, `timestamp`, `cosign_signature`, `sigstore_bundle`, `keyless`,
//!   `keyless_bundle`: what is attached to images and says that they are signed; `ocsp`, `revocation_list`,
//!   `trusted_root`, `tuf`, `rekor_answer`, `notation_plugin_answer`: what is asked about it. Each has to have been signed by a key that is in nobody's hands any more;
//! - `loads`: what may have happened to the record of loads.

#![allow(clippy::unwrap_used)]

mod challenge;
mod config;
mod config_policy;
mod cosign;
mod cosign_signature;
mod engine;
mod hosts;
mod json;
mod keyless;
mod keyless_bundle;
mod link;
mod loads;
mod lock_file;
mod manifest;
mod notation_cose;
mod notation_jws;
mod notation_plugin_answer;
mod ocsp;
mod pem;
mod pkcs12;
mod plugin_output;
mod reference;
mod referrers;
mod rego_policy;
mod rekor_answer;
mod request;
mod revocation_list;
mod sealed;
mod signed;
mod sigstore_bundle;
mod timestamp;
mod token;
mod trust_policy;
mod trusted_root;
mod tuf;

/// One target.
pub(crate) struct Target {
    /// Also the name of its corpus.
    pub(crate) name: &'static str,
    /// Panics where something does not hold.
    pub(crate) check: fn(&[u8]),
}

const fn target(name: &'static str, check: fn(&[u8])) -> Target {
    Target { name, check }
}

/// Every target.
pub(crate) const ALL: [Target; 31] = [
    target("request", request::check),
    target("reference", reference::check),
    target("manifest", manifest::check),
    target("referrers", referrers::check),
    target("plugin_output", plugin_output::check),
    target("rego_policy", rego_policy::check),
    target("config_policy", config_policy::check),
    target("config", config::check),
    target("hosts", hosts::check),
    target("link", link::check),
    target("challenge", challenge::check),
    target("token", token::check),
    target("sealed", sealed::check),
    target("notation_jws", notation_jws::check),
    target("notation_cose", notation_cose::check),
    target("trust_policy", trust_policy::check),
    target("ocsp", ocsp::check),
    target("revocation_list", revocation_list::check),
    target("timestamp", timestamp::check),
    target("cosign_signature", cosign_signature::check),
    target("sigstore_bundle", sigstore_bundle::check),
    target("trusted_root", trusted_root::check),
    target("keyless", keyless::check),
    target("keyless_bundle", keyless_bundle::check),
    target("rekor_answer", rekor_answer::check),
    target("tuf", tuf::check),
    target("notation_plugin_answer", notation_plugin_answer::check),
    target("pkcs12", pkcs12::check),
    target("pem", pem::check),
    target("lock_file", lock_file::check),
    target("loads", loads::check),
];

/// A target that is judged, a name where it is judged by several policies, and what is said of an input.
#[cfg(test)]
pub(crate) type Judge = (&'static str, &'static str, fn(&[u8]) -> ratify_core::VerifierReport);

/// Who says what of signatures, and of answers about them.
#[cfg(test)]
pub(crate) const JUDGES: [Judge; 18] = [
    ("notation_jws", "", notation_jws::verdict),
    ("notation_cose", "", notation_cose::verdict),
    ("timestamp", "", timestamp::verdict),
    ("ocsp", "", ocsp::verdict),
    ("revocation_list", "", revocation_list::verdict),
    ("cosign_signature", "", cosign_signature::unlogged),
    ("cosign_signature", "logged", cosign_signature::logged),
    ("sigstore_bundle", "", sigstore_bundle::unlogged),
    ("sigstore_bundle", "logged", sigstore_bundle::logged),
    ("trusted_root", "", trusted_root::verdict),
    ("keyless", "", keyless::unlogged),
    ("keyless", "certified", keyless::certified),
    ("keyless", "logged", keyless::logged),
    ("keyless_bundle", "", keyless_bundle::unlogged),
    ("keyless_bundle", "logged", keyless_bundle::logged),
    ("rekor_answer", "", rekor_answer::verdict),
    ("tuf", "", tuf::verdict),
    ("notation_plugin_answer", "", notation_plugin_answer::verdict),
];
#[cfg(test)]
pub(crate) use signed::reason;

/// The bytes before the first separator, and those behind it.
fn split(input: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == separator) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &[]),
    }
}
