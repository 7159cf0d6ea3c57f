//! An envelope of the Notary Project in COSE. Of all envelopes only those that were signed for the image
//! by a certificate of the root are good.

use ratify_core::VerifierReport;

use super::signed::{envelope, has_signature_of, judge, strict};

const GOOD: [&[u8]; 2] = [
    include_bytes!("../../corpora/notation_cose/good"),
    include_bytes!("../../corpora/notation_cose/attribute"),
];

pub(super) fn verdict(input: &[u8]) -> VerifierReport {
    judge(&strict(false), envelope("application/cose", input))
}

pub(super) fn check(input: &[u8]) {
    if verdict(input).is_success {
        assert!(GOOD.iter().any(|good| has_signature_of(input, good)), "nobody has signed it");
    }
}
