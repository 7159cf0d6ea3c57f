//! What a plugin of Notation answers: what it is, and behind a record separator what it found out about a
//! signature that names it. The signature is good only where the plugin says so of all that it judges.

use std::sync::Arc;

use ratify_core::{Basis, BoxFuture, VerifierReport};
use ratify_verifier_notation::{
    PluginCall, PluginFailure, VerificationPlugin, VerificationPlugins,
};
use serde_json::Value;

use super::{
    signed::{JWS, envelope, judge, strict_with},
    split,
};

const ENVELOPE: &[u8] = include_bytes!("../../corpora/notation_jws/plugin");
const SEPARATOR: u8 = 0x1e;

/// A plugin that answers so, whatever it is asked for.
#[derive(Debug, Clone)]
struct Plugin {
    metadata: Vec<u8>,
    found: Vec<u8>,
}

impl VerificationPlugins for Plugin {
    fn find(&self, _: &str) -> Result<Arc<dyn VerificationPlugin>, String> {
        Ok(Arc::new(self.clone()))
    }

    fn add_basis(&self, _: &mut Basis) {}
}

impl VerificationPlugin for Plugin {
    fn run<'a>(&'a self, call: PluginCall<'a>) -> BoxFuture<'a, Result<Vec<u8>, PluginFailure>> {
        let is_metadata = call.command == "get-plugin-metadata";
        let answer = if is_metadata { &self.metadata } else { &self.found };
        Box::pin(std::future::ready(Ok(answer.clone())))
    }
}

pub(super) fn verdict(input: &[u8]) -> VerifierReport {
    let (metadata, found) = split(input, SEPARATOR);
    let plugin = Plugin { metadata: metadata.into(), found: found.into() };
    judge(&strict_with(plugin), envelope(JWS, ENVELOPE))
}

pub(super) fn check(input: &[u8]) {
    if verdict(input).is_success {
        let (metadata, found) = split(input, SEPARATOR);
        let of = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let (metadata, found) = (of(metadata), of(found));
        // Keys are read in any case.
        let get = |object: &Value, key: &str| {
            let fields = object.as_object().into_iter().flatten();
            let mut is_key = fields.filter(|(name, _)| ratify_core::go_json::is_key(name, key));
            is_key.next().map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let capabilities = get(&metadata, "capabilities");
        let judged = capabilities.as_array().unwrap().iter().filter_map(Value::as_str);
        let judged: Vec<_> =
            judged.filter(|name| name.starts_with("SIGNATURE_VERIFIER.")).collect();
        let results = get(&found, "verificationResults");
        let is_good = |name: &&str| get(&results[*name], "success") == true;
        assert!(!judged.is_empty() && get(&metadata, "name") == "p", "it is no such plugin");
        assert!(judged.iter().filter(|name| KNOWN.contains(name)).all(is_good), "it says no");
    }
}

const KNOWN: [&str; 2] =
    ["SIGNATURE_VERIFIER.TRUSTED_IDENTITY", "SIGNATURE_VERIFIER.REVOCATION_CHECK"];
