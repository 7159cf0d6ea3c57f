//! The answer of an OCSP responder. A certificate is good only by what its authority has signed.

use ratify_core::VerifierReport;

use super::signed::{JWS, envelope, has_signature_of, judge, strict};

const ENVELOPE: &[u8] = include_bytes!("../../fixtures/notation/responder.jws");
const GOOD: &[u8] = include_bytes!("../../corpora/ocsp/good");
/// With the certificate of the authority, which stands behind the signature.
const LONGER: &[u8] = include_bytes!("../../corpora/ocsp/good-with-certificates");

pub(super) fn verdict(input: &[u8]) -> VerifierReport {
    let answer = input.to_vec();
    let host = envelope(JWS, ENVELOPE).fetching(move |_| Ok(answer.clone().into()));
    judge(&strict(false), host)
}

pub(super) fn check(input: &[u8]) {
    if verdict(input).is_success {
        // Of the longer one what is signed, which is at its beginning.
        let is_longer = input.windows(64).any(|window| window == &LONGER[64..128]);
        assert!(has_signature_of(input, GOOD) || is_longer, "the authority has not said so");
    }
}
