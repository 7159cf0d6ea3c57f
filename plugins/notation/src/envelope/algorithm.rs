//! [`Algorithm`]: the six ways in which an image may be signed (signature specification, "Signature
//! Algorithm Requirements"): the key of the certificate decides which.

use aws_lc_rs::signature::{self, VerificationAlgorithm};

use crate::certificate::{KeyKind, PublicKey};

/// A signature algorithm of envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    const ALL: [Self; 6] =
        [Self::Ps256, Self::Ps384, Self::Ps512, Self::Es256, Self::Es384, Self::Es512];

    /// The algorithm that a key signs with.
    ///
    /// # Errors
    /// notation-core-go's text, for a key that may sign nothing.
    pub(crate) fn of_key(key: &PublicKey) -> Result<Self, String> {
        match key.kind {
            KeyKind::Rsa(2048) => Ok(Self::Ps256),
            KeyKind::Rsa(3072) => Ok(Self::Ps384),
            KeyKind::Rsa(4096) => Ok(Self::Ps512),
            KeyKind::Rsa(size) => Err(format!("rsa key size {size} bits is not supported")),
            KeyKind::P256 => Ok(Self::Es256),
            KeyKind::P384 => Ok(Self::Es384),
            KeyKind::P521 => Ok(Self::Es512),
            KeyKind::Ed25519 | KeyKind::Unknown => Err("unsupported public key type".to_owned()),
        }
    }

    /// The algorithm of this name in JWS (RFC 7518, section 3.1).
    pub(super) fn of_jws(name: &str) -> Option<Self> {
        let names = ["PS256", "PS384", "PS512", "ES256", "ES384", "ES512"];
        Self::ALL.into_iter().zip(names).find(|(_, of)| *of == name).map(|(algorithm, _)| algorithm)
    }

    /// notation-core-go's number, which v1 shows where two do not agree.
    pub(super) fn number(self) -> usize {
        1 + Self::ALL.iter().position(|one| *one == self).unwrap_or_default()
    }

    /// Whether the signature is over the message, by this key. The signature of an elliptic curve is
    /// two numbers of fixed length.
    pub(super) fn verifies(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self {
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        };
        key.verifies(algorithm, message, signature)
    }

    /// Whether it is of RSA.
    pub(super) const fn is_rsa(self) -> bool {
        matches!(self, Self::Ps256 | Self::Ps384 | Self::Ps512)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_algorithm_or_none() {
        let of = |kind| Algorithm::of_key(&PublicKey { kind, bits: Vec::new() });
        assert_eq!(of(KeyKind::Rsa(3072)), Ok(Algorithm::Ps384));
        assert_eq!(of(KeyKind::P521), Ok(Algorithm::Es512));
        assert_eq!(of(KeyKind::Rsa(2560)).unwrap_err(), "rsa key size 2560 bits is not supported");
        assert_eq!(of(KeyKind::Ed25519).unwrap_err(), "unsupported public key type");
        assert_eq!(Algorithm::of_jws("ES512").map(Algorithm::number), Some(6));
        for name in ["none", "RS256", "HS256", "es256", "ES256K", "EdDSA", ""] {
            assert_eq!(Algorithm::of_jws(name), None, "{name}");
        }
    }
}
