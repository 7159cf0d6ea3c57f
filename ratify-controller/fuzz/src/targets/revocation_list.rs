//! A list of revoked certificates. A certificate is good only by a list that its authority has signed.

use ratify_core::VerifierReport;

use super::signed::{JWS, envelope, has_signature_of, judge, strict};

const ENVELOPE: &[u8] = include_bytes!("../../fixtures/notation/list.jws");
const GOOD: [&[u8]; 2] = [
    include_bytes!("../../corpora/revocation_list/good"),
    include_bytes!("../../corpora/revocation_list/of-others"),
];

pub(super) fn verdict(input: &[u8]) -> VerifierReport {
    let answer = input.to_vec();
    let host = envelope(JWS, ENVELOPE).fetching(move |_| Ok(answer.clone().into()));
    judge(&strict(false), host)
}

pub(super) fn check(input: &[u8]) {
    if verdict(input).is_success {
        assert!(GOOD.iter().any(|good| has_signature_of(input, good)), "it is not the authority's");
    }
}
