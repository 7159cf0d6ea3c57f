//! Whether bytes are what a digest says. For stores, and for verifiers that follow digests which no
//! manifest lists; what [`Store::blob`](crate::Store::blob) gives is proven already.

use ratify_core::{Algorithm, Digest};

/// The digest of bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    // 32 bytes in lower-case hexadecimal are always a digest.
    #[allow(clippy::expect_used, reason = "proven by the line above")]
    Digest::new(Algorithm::Sha256, &hex(&hmac_sha256::Hash::hash(bytes))).expect("64 digits")
}

/// Whether `bytes` have the digest.
pub fn has_digest(bytes: &[u8], digest: &Digest) -> bool {
    let found = match digest.algorithm() {
        Algorithm::Sha256 => hex(&hmac_sha256::Hash::hash(bytes)),
        Algorithm::Sha384 => hex(&hmac_sha512::sha384::Hash::hash(bytes)),
        Algorithm::Sha512 => hex(&hmac_sha512::Hash::hash(bytes)),
    };
    found == digest.hex()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_each_algorithm_by_its_published_value_for_abc() {
        for digest in [
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ] {
            let digest: Digest = digest.parse().unwrap();
            assert!(has_digest(b"abc", &digest));
            assert!(!has_digest(b"abd", &digest));
        }
        assert_eq!(
            sha256(b"abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
