//! Digests of bytes: what turns "the registry says" into "it is".

use aws_lc_rs::digest;
use ratify_core::{Algorithm, Digest};

use crate::OrasError;

/// A running digest, for bytes that come in pieces.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: digest::Context,
}

impl Hasher {
    /// Starts a digest.
    pub fn new(algorithm: Algorithm) -> Self {
        let context = digest::Context::new(match algorithm {
            Algorithm::Sha256 => &digest::SHA256,
            Algorithm::Sha384 => &digest::SHA384,
            Algorithm::Sha512 => &digest::SHA512,
        });
        Self { algorithm, context }
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        let mut hex = String::with_capacity(self.algorithm.hex_length());
        for byte in self.context.finish().as_ref() {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        match Digest::new(self.algorithm, &hex) {
            Ok(digest) => digest,
            // The algorithm fixes how many bytes come out, and the loop above writes lower-case
            // hexadecimal digits only.
            Err(_) => unreachable!("a hash has the length of its algorithm"),
        }
    }
}

/// The digest of some bytes.
pub fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// Checks bytes against the digest, and the size where one is known.
pub(crate) fn check(
    what: &str,
    bytes: &[u8],
    expected: &Digest,
    size: Option<u64>,
) -> Result<(), OrasError> {
    let length = bytes.len() as u64;
    if let Some(size) = size.filter(|size| *size != length) {
        let (what, actual) = (what.to_owned(), length.to_string());
        return Err(OrasError::Size { what, expected: size, actual });
    }
    let actual = digest_of(expected.algorithm(), bytes);
    if actual != *expected {
        return Err(OrasError::Digest {
            what: what.to_owned(),
            expected: expected.clone(),
            actual: actual.to_string(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_algorithms_give_the_published_digests() {
        // NIST's example values for the message "abc".
        assert_eq!(
            digest_of(Algorithm::Sha256, b"abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(digest_of(Algorithm::Sha384, b"abc").hex().starts_with("cb00753f45a35e8bb5a03d69"));
        assert!(digest_of(Algorithm::Sha512, b"abc").hex().starts_with("ddaf35a193617abacc417349"));
    }

    #[test]
    fn a_wrong_byte_and_a_wrong_size_are_told_apart() {
        let digest = digest_of(Algorithm::Sha256, b"abc");
        assert!(check("x", b"abc", &digest, Some(3)).is_ok());
        assert!(matches!(check("x", b"abd", &digest, Some(3)), Err(OrasError::Digest { .. })));
        assert!(matches!(check("x", b"abc", &digest, Some(4)), Err(OrasError::Size { .. })));
    }
}
