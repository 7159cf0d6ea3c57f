//! What must hold of bytes from outside, a target a file. `check` panics where it does not; it takes
//! any bytes and has no memory of the last ones.
//!
//! - `request`, `reference`: what Gatekeeper asks; `sealed`: what Redis says;
//! - `manifest`, `referrers`, `link`, `challenge`, `token`: what a registry says;
//! - `plugin_output`: what a plugin prints;
//! - `rego_policy`, `config_policy`, `config`, `hosts`, `trust_policy`, `lock_file`: what an operator or a
//!   tenant writes; `pem`, `pkcs12`: what their key management providers hold;
//! - `notation_jws`, `notation_cose`, `timestamp`, `cosign_signature`, `sigstore_bundle`: what is attached to
//!   images and says that they are signed; `ocsp`, `revocation_list`, `trusted_root`: what is asked about
//!   it. Each has to have been signed by a key that is in nobody's hands any more;
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
mod link;
mod loads;
mod lock_file;
mod manifest;
mod notation_cose;
mod notation_jws;
mod ocsp;
mod pem;
mod pkcs12;
mod plugin_output;
mod reference;
mod referrers;
mod rego_policy;
mod request;
mod revocation_list;
mod sealed;
mod signed;
mod sigstore_bundle;
mod timestamp;
mod token;
mod trust_policy;
mod trusted_root;

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
pub(crate) const ALL: [Target; 26] = [
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
    target("pkcs12", pkcs12::check),
    target("pem", pem::check),
    target("lock_file", lock_file::check),
    target("loads", loads::check),
];

/// The bytes before the first separator, and those behind it.
fn split(input: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == separator) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &[]),
    }
}
