//! What must hold of bytes from outside, a target a file. `check` panics where it does not; it takes
//! any bytes and has no memory of the last ones.
//!
//! - `request`, `reference`: what Gatekeeper asks; `sealed`: what Redis says;
//! - `manifest`, `referrers`, `link`, `challenge`, `token`: what a registry says;
//! - `plugin_output`: what a plugin prints;
//! - `rego_policy`, `config_policy`, `config`, `hosts`: what an operator or a tenant writes.

#![allow(clippy::unwrap_used)]

mod challenge;
mod config;
mod config_policy;
mod engine;
mod hosts;
mod json;
mod link;
mod manifest;
mod plugin_output;
mod reference;
mod referrers;
mod rego_policy;
mod request;
mod sealed;
mod token;

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
pub(crate) const ALL: [Target; 13] = [
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
];

/// The bytes before the first separator, and those behind it.
fn split(input: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == separator) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &[]),
    }
}
