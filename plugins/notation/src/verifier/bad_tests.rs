//! An envelope with everything that one may have, in both forms, and then each part of it cut, flipped,
//! empty, of another type, left out and given twice. The tables say how each is refused, and which may
//! change without harm.

mod cose;
mod jws;

use std::fmt::Write as _;

use ratify_core::Certainty;
use serde_json::json;

use super::tests::{ask, store, verifier};
use crate::{
    certificate::Certificate,
    testing::{Authority, Issued, for_timestamps, token},
};

const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";
const AGENT: &str = "io.cncf.notary.signingAgent";
const SCHEME: &str = "io.cncf.notary.signingScheme";
const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const CONTENT_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";

/// What is done to a part of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Cut,
    Flipped,
    Empty,
    Null,
    Number,
    Removed,
    Twice,
}

const CHANGES: [Change; 7] = [
    Change::Cut,
    Change::Flipped,
    Change::Empty,
    Change::Null,
    Change::Number,
    Change::Removed,
    Change::Twice,
];

/// Who signs, and who says when.
struct Lab {
    root: Authority,
    between: Authority,
    leaf: Issued,
    clock: Issued,
}

impl Lab {
    fn new() -> Self {
        let root = Authority::root("root");
        let between = root.authority("between");
        let leaf = between.leaf("leaf");
        let clock = root.issue("clock", for_timestamps);
        Self { root, between, leaf, clock }
    }

    fn chain(&self) -> [&Certificate; 3] {
        [&self.leaf.certificate, &self.between.certificate, &self.root.certificate]
    }

    fn timestamp(&self, signature: &[u8]) -> Vec<u8> {
        token(&self.clock, &[&self.root.certificate], signature)
    }

    /// What the verifier says of an envelope: `None` where it accepts it.
    fn refusal(&self, media_type: &str, bytes: &[u8], asks_for_time: bool) -> Option<String> {
        let stores = if asks_for_time { vec!["ca:certs", "tsa:certs"] } else { vec!["ca:certs"] };
        let verifier = verifier(&json!({
            "verificationCertStores": {"ca": {"certs": ["trusted"]}, "tsa": {"certs": ["trusted"]}},
            "trustPolicyDoc": {"version": "1.0", "trustPolicies": [{
            "name": "default", "registryScopes": ["*"], "signatureVerification": {"level": "strict"},
            "trustStores": stores, "trustedIdentities": ["*"],
        }]}}));
        let layer = [(media_type, bytes.len() as u64, bytes)];
        let report = ask(&verifier, store(&layer), &self.root).unwrap();
        assert_eq!(report.standing.certainty, Certainty::Decided, "{report:?}");
        assert_eq!(report.is_success, report.error_reason.is_empty(), "{report:?}");
        assert!(report.error_reason.chars().all(|letter| !letter.is_control()), "{report:?}");
        (!report.is_success).then_some(report.error_reason)
    }
}

/// What was done, and what came of it: a line each.
#[derive(Default)]
struct Table(String);

impl Table {
    fn add(&mut self, what: &str, refusal: Option<String>) {
        let refusal = refusal.as_deref().unwrap_or("ACCEPTED");
        // Where in the text it was depends on the lengths of certificates.
        let refusal = refusal.split(" at line ").next().unwrap_or_default();
        let refusal = refusal.split(", offset ").next().unwrap_or_default();
        writeln!(self.0, "{what}: {refusal}").unwrap();
    }

    /// What was accepted.
    fn accepted(&self) -> Vec<&str> {
        self.0.lines().filter_map(|line| line.strip_suffix(": ACCEPTED")).collect()
    }
}

/// The bytes without their last half, or with one bit changed.
fn changed_bytes(bytes: &[u8], at: usize, how: Change) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match how {
        Change::Cut => bytes.truncate(bytes.len() / 6 * 3),
        Change::Flipped => bytes[at] ^= 1,
        Change::Empty => bytes.clear(),
        other => unreachable!("{other:?} changes no bytes"),
    }
    bytes
}

/// The text without its last letter, or with one of its middle changed.
fn changed_text(text: &str, how: Change) -> String {
    let mut bytes = text.as_bytes().to_vec();
    match how {
        Change::Cut => bytes.truncate(bytes.len() - 1),
        Change::Flipped => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Change::Empty => bytes.clear(),
        other => unreachable!("{other:?} changes no text"),
    }
    String::from_utf8(bytes).unwrap()
}
