//! The answer of a token service. What is taken of it is one header line, secret, and ends.

use std::time::{Duration, Instant};

use ratify_store_oras::fuzzing;
use serde_json::Value;

pub(super) fn check(input: &[u8]) {
    let now = Instant::now();
    let Some(token) = fuzzing::token(input, now) else { return };
    assert!(token.is_secret);
    let said = token.header.strip_prefix(b"Bearer ").unwrap();
    assert!(
        !said.is_empty() && said.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()),
        "{said:?}"
    );
    let answer: Value = serde_json::from_slice(input).unwrap();
    let given = ["token", "access_token"].map(|key| answer[key].as_str().unwrap_or_default());
    assert!(given.iter().any(|given| given.as_bytes() == said), "{said:?}");
    assert!(!(token.is_valid_at)(now + Duration::from_secs(12 * 3600)), "it never ends");
}
