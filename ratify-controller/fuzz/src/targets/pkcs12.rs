//! An archive of a key vault. What is taken of it are certificates, in little time.

use ratify_controller::keys::fuzzing;

pub(super) fn check(input: &[u8]) {
    match fuzzing::of_archive(input) {
        Ok((certificates, _)) => assert!(certificates.iter().all(|der| der[0] == 0x30)),
        Err(why) => assert!(!why.is_empty() && why.len() <= 300, "{why}"),
    }
}
