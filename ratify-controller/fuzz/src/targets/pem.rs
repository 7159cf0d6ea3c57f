//! What a key management provider holds in PEM. Each certificate and key that is taken is what a block of
//! the text holds.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_controller::keys::fuzzing;

pub(super) fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let plain: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let is_there = |der: &[u8]| plain.contains(STANDARD.encode(der).trim_end_matches('='));
    match fuzzing::certificates(text) {
        Ok(certificates) => {
            assert!(!certificates.is_empty());
            assert!(certificates.iter().all(|der| der[0] == 0x30 && is_there(der)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match fuzzing::public_key(text) {
        Ok(key) => assert_eq!(key[0], 0x30),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
