//! A lock file of plugins. It names each reference once, and means the same when it is written anew.

use ratify_controller::plugin::lock::LockFile;
use serde_json::Value;

pub(super) fn check(input: &[u8]) {
    match LockFile::parse(input) {
        Ok(read) => {
            let written = read.to_text().unwrap();
            assert_eq!(LockFile::parse(written.as_bytes()).unwrap(), read);
            let document: Value = serde_json::from_slice(input).unwrap();
            for locked in document["plugins"].as_array().unwrap() {
                let digest = read.digest_of(locked["artifact"].as_str().unwrap(), None).unwrap();
                assert_eq!(locked["digest"], digest.as_str());
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
}
