//! [`PublicKey`] and [`SignatureAlgorithm`]: the keys of certificates, and how certificates, lists and
//! tokens are signed with them. Texts are those of Go's `crypto/x509`, which v1 shows.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_cert::{
    der::{
        Decode as _, Encode as _, Reader as _,
        asn1::{AnyRef, ObjectIdentifier, UintRef},
    },
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// A public key, as its algorithm has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) kind: KeyKind,
    /// The bits of `subjectPublicKey`.
    pub(crate) bits: Vec<u8>,
}

/// What a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// With the size of its modulus, in whole octets, as bits.
    Rsa(usize),
    P256,
    P384,
    P521,
    Ed25519,
    /// Of no kind that is known here.
    Unknown,
}

impl PublicKey {
    pub(super) fn of(info: &SubjectPublicKeyInfoOwned) -> Self {
        let bits = info.subject_public_key.raw_bytes().to_vec();
        let kind = match info.algorithm.oid {
            RSA => modulus_size(&bits).map_or(KeyKind::Unknown, KeyKind::Rsa),
            EC => match curve(&info.algorithm) {
                Some(P256) => KeyKind::P256,
                Some(P384) => KeyKind::P384,
                Some(P521) => KeyKind::P521,
                _ => KeyKind::Unknown,
            },
            ED25519 => KeyKind::Ed25519,
            _ => KeyKind::Unknown,
        };
        Self { kind, bits }
    }

    /// Whether this key made the signature by this algorithm.
    pub(crate) fn verifies(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        UnparsedPublicKey::new(algorithm, &self.bits).verify(message, signature).is_ok()
    }

    /// Go's name of its type.
    fn go_type(&self) -> &'static str {
        match self.kind {
            KeyKind::Rsa(_) => "*rsa.PublicKey",
            KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => "*ecdsa.PublicKey",
            KeyKind::Ed25519 => "ed25519.PublicKey",
            KeyKind::Unknown => "<nil>",
        }
    }
}

fn modulus_size(bits: &[u8]) -> Option<usize> {
    let modulus = AnyRef::from_der(bits).ok()?.sequence(|reader| {
        let modulus: UintRef<'_> = reader.decode()?;
        let _exponent: UintRef<'_> = reader.decode()?;
        Ok(modulus)
    });
    Some(modulus.ok()?.as_bytes().len() * 8)
}

fn curve(algorithm: &AlgorithmIdentifierOwned) -> Option<ObjectIdentifier> {
    algorithm.parameters.as_ref()?.decode_as().ok()
}

/// How something is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    Rsa(Hash),
    RsaPss(Hash),
    Ecdsa(Hash),
    Ed25519,
    /// Of no kind that is known here.
    Unknown,
}

/// What is signed: the digest of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    /// Broken.
    Md5,
    /// Broken, and so only good where nothing rests on it.
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The hash that an identifier of RFC 8017 or RFC 5754 names; the broken ones are none.
    pub(crate) fn of(id: ObjectIdentifier) -> Option<Self> {
        match id {
            SHA256 => Some(Self::Sha256),
            SHA384 => Some(Self::Sha384),
            SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The digest of a message.
    pub(crate) fn digest(self, message: &[u8]) -> Option<Vec<u8>> {
        let algorithm = match self {
            Self::Sha256 => &aws_lc_rs::digest::SHA256,
            Self::Sha384 => &aws_lc_rs::digest::SHA384,
            Self::Sha512 => &aws_lc_rs::digest::SHA512,
            Self::Md5 | Self::Sha1 => return None,
        };
        Some(aws_lc_rs::digest::digest(algorithm, message).as_ref().to_vec())
    }
}

impl SignatureAlgorithm {
    /// The algorithm that an identifier names (RFC 4055, RFC 5758, RFC 8410).
    pub(crate) fn of(identifier: &AlgorithmIdentifierOwned) -> Self {
        let of_rsa = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1");
        let of_ecdsa = ObjectIdentifier::new_unwrap("1.2.840.10045.4");
        if identifier.oid == RSA_PSS {
            return pss(identifier).map_or(Self::Unknown, Self::RsaPss);
        }
        if identifier.oid == ED25519 {
            return Self::Ed25519;
        }
        let arcs_behind = |parent: ObjectIdentifier| {
            let arcs: Vec<u32> = identifier.oid.arcs().collect();
            let parent: Vec<u32> = parent.arcs().collect();
            arcs.strip_prefix(parent.as_slice()).map(<[u32]>::to_vec)
        };
        match (arcs_behind(of_rsa).as_deref(), arcs_behind(of_ecdsa).as_deref()) {
            (Some([4]), _) => Self::Rsa(Hash::Md5),
            (Some([5]), _) => Self::Rsa(Hash::Sha1),
            (Some([11]), _) => Self::Rsa(Hash::Sha256),
            (Some([12]), _) => Self::Rsa(Hash::Sha384),
            (Some([13]), _) => Self::Rsa(Hash::Sha512),
            (_, Some([1])) => Self::Ecdsa(Hash::Sha1),
            (_, Some([3, 2])) => Self::Ecdsa(Hash::Sha256),
            (_, Some([3, 3])) => Self::Ecdsa(Hash::Sha384),
            (_, Some([3, 4])) => Self::Ecdsa(Hash::Sha512),
            _ => Self::Unknown,
        }
    }

    /// The algorithm of a CMS signer (RFC 5652, section 5.3), which may name the key's alone.
    pub(crate) fn of_signer(digest: Option<Hash>, identifier: &AlgorithmIdentifierOwned) -> Self {
        match (identifier.oid, digest) {
            (RSA, Some(hash)) => Self::Rsa(hash),
            (RSA_PSS, Some(hash)) => Self::RsaPss(hash),
            _ => match Self::of(identifier) {
                Self::Rsa(Hash::Md5 | Hash::Sha1) | Self::Ecdsa(Hash::Sha1) | Self::Ed25519 => {
                    Self::Unknown
                }
                other => other,
            },
        }
    }

    /// Whether a key signed a message.
    ///
    /// # Errors
    /// Go's text of why not.
    pub(super) fn verify(
        &self,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
        allows_sha1: bool,
    ) -> Result<(), String> {
        if let Self::Rsa(Hash::Md5) = self {
            return Err(insecure("MD5-RSA"));
        }
        if let (Self::Rsa(Hash::Sha1) | Self::Ecdsa(Hash::Sha1), false) = (self, allows_sha1) {
            let name = if matches!(self, Self::Rsa(_)) { "SHA1-RSA" } else { "ECDSA-SHA1" };
            return Err(insecure(name));
        }
        let (is_its, of_kind, failure) = match self {
            Self::Rsa(_) | Self::RsaPss(_) => {
                (matches!(key.kind, KeyKind::Rsa(_)), "RSA", "crypto/rsa: verification error")
            }
            Self::Ecdsa(_) => {
                let is_its = matches!(key.kind, KeyKind::P256 | KeyKind::P384 | KeyKind::P521);
                (is_its, "ECDSA", "x509: ECDSA verification failure")
            }
            Self::Ed25519 => {
                (key.kind == KeyKind::Ed25519, "Ed25519", "x509: Ed25519 verification failure")
            }
            Self::Unknown => return Err(unimplemented_text()),
        };
        if key.kind == KeyKind::Unknown {
            return Err(unimplemented_text());
        }
        if !is_its {
            return Err(format!(
                "x509: signature algorithm specifies an {of_kind} public key, but have public key of type {}",
                key.go_type()
            ));
        }
        let algorithm = self.algorithm(key.kind).ok_or_else(unimplemented_text)?;
        if key.verifies(algorithm, message, signature) { Ok(()) } else { Err(failure.to_owned()) }
    }

    fn algorithm(&self, kind: KeyKind) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match (self, kind) {
            (Self::Rsa(Hash::Sha1), _) => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            (Self::Rsa(Hash::Sha256), _) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa(Hash::Sha384), _) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa(Hash::Sha512), _) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Self::RsaPss(Hash::Sha256), _) => &signature::RSA_PSS_2048_8192_SHA256,
            (Self::RsaPss(Hash::Sha384), _) => &signature::RSA_PSS_2048_8192_SHA384,
            (Self::RsaPss(Hash::Sha512), _) => &signature::RSA_PSS_2048_8192_SHA512,
            (Self::Ecdsa(Hash::Sha1), KeyKind::P256) => &signature::ECDSA_P256_SHA1_ASN1,
            (Self::Ecdsa(Hash::Sha256), KeyKind::P256) => &signature::ECDSA_P256_SHA256_ASN1,
            (Self::Ecdsa(Hash::Sha384), KeyKind::P256) => &signature::ECDSA_P256_SHA384_ASN1,
            (Self::Ecdsa(Hash::Sha512), KeyKind::P256) => &signature::ECDSA_P256_SHA512_ASN1,
            (Self::Ecdsa(Hash::Sha256), KeyKind::P384) => &signature::ECDSA_P384_SHA256_ASN1,
            (Self::Ecdsa(Hash::Sha384), KeyKind::P384) => &signature::ECDSA_P384_SHA384_ASN1,
            (Self::Ecdsa(Hash::Sha512), KeyKind::P384) => &signature::ECDSA_P384_SHA512_ASN1,
            (Self::Ecdsa(Hash::Sha256), KeyKind::P521) => &signature::ECDSA_P521_SHA256_ASN1,
            (Self::Ecdsa(Hash::Sha384), KeyKind::P521) => &signature::ECDSA_P521_SHA384_ASN1,
            (Self::Ecdsa(Hash::Sha512), KeyKind::P521) => &signature::ECDSA_P521_SHA512_ASN1,
            (Self::Ed25519, KeyKind::Ed25519) => &signature::ED25519,
            _ => return None,
        })
    }
}

fn insecure(algorithm: &str) -> String {
    format!("x509: cannot verify signature: insecure algorithm {algorithm}")
}

fn unimplemented_text() -> String {
    "x509: cannot verify signature: algorithm unimplemented".to_owned()
}

/// The hash of RSASSA-PSS where its parameters are the usual ones: the same hash twice and a salt of
/// its length. Go takes no others.
fn pss(identifier: &AlgorithmIdentifierOwned) -> Option<Hash> {
    let parameters = identifier.parameters.as_ref()?.to_der().ok()?;
    [(Hash::Sha256, 1, 32), (Hash::Sha384, 2, 48), (Hash::Sha512, 3, 64)]
        .into_iter()
        .find(|(_, hash, salt)| parameters == pss_parameters(*hash, *salt))
        .map(|(hash, ..)| hash)
}

/// RSASSA-PSS-params (RFC 4055, section 3.1) of one of the SHA-2 hashes, in DER.
fn pss_parameters(hash: u8, salt: u8) -> Vec<u8> {
    let hash_id = [0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, hash, 5, 0];
    let mask_id = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 8];
    let mut parameters = vec![0x30, 0x34, 0xa0, 15];
    parameters.extend(hash_id);
    parameters.extend([0xa1, 28, 0x30, 26]);
    parameters.extend(mask_id);
    parameters.extend(hash_id);
    parameters.extend([0xa2, 3, 2, 1, salt]);
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(oid: &str) -> AlgorithmIdentifierOwned {
        AlgorithmIdentifierOwned { oid: ObjectIdentifier::new(oid).unwrap(), parameters: None }
    }

    #[test]
    fn algorithms_are_known_by_their_identifiers() {
        let cases = [
            ("1.2.840.113549.1.1.4", SignatureAlgorithm::Rsa(Hash::Md5)),
            ("1.2.840.113549.1.1.13", SignatureAlgorithm::Rsa(Hash::Sha512)),
            ("1.2.840.10045.4.3.3", SignatureAlgorithm::Ecdsa(Hash::Sha384)),
            ("1.2.840.10045.4.1", SignatureAlgorithm::Ecdsa(Hash::Sha1)),
            ("1.3.101.112", SignatureAlgorithm::Ed25519),
            ("1.2.840.113549.1.1.10", SignatureAlgorithm::Unknown),
            ("1.2.840.113549.1.1.11.1", SignatureAlgorithm::Unknown),
            ("1.2.840.10045.4", SignatureAlgorithm::Unknown),
        ];
        for (oid, algorithm) in cases {
            assert_eq!(SignatureAlgorithm::of(&identifier(oid)), algorithm, "{oid}");
        }
    }

    #[test]
    fn the_usual_parameters_of_pss_are_known() {
        let with = |bytes: &[u8]| AlgorithmIdentifierOwned {
            oid: RSA_PSS,
            parameters: Some(x509_cert::der::Any::from_der(bytes).unwrap()),
        };
        let usual = pss_parameters(2, 48);
        assert_eq!(usual.len(), usize::from(usual[1]) + 2);
        assert_eq!(SignatureAlgorithm::of(&with(&usual)), SignatureAlgorithm::RsaPss(Hash::Sha384));
        let other = pss_parameters(2, 20);
        assert_eq!(SignatureAlgorithm::of(&with(&other)), SignatureAlgorithm::Unknown);
    }

    #[test]
    fn what_is_broken_or_of_another_key_is_refused_in_gos_words() {
        let key = PublicKey { kind: KeyKind::P256, bits: Vec::new() };
        let refusal = |algorithm: SignatureAlgorithm, allows_sha1| {
            algorithm.verify(&key, b"m", b"s", allows_sha1).unwrap_err()
        };
        insta::assert_snapshot!(refusal(SignatureAlgorithm::Rsa(Hash::Md5), true), @"x509: cannot verify signature: insecure algorithm MD5-RSA");
        insta::assert_snapshot!(refusal(SignatureAlgorithm::Ecdsa(Hash::Sha1), false), @"x509: cannot verify signature: insecure algorithm ECDSA-SHA1");
        insta::assert_snapshot!(refusal(SignatureAlgorithm::RsaPss(Hash::Sha256), false), @"x509: signature algorithm specifies an RSA public key, but have public key of type *ecdsa.PublicKey");
        insta::assert_snapshot!(refusal(SignatureAlgorithm::Ecdsa(Hash::Sha256), false), @"x509: ECDSA verification failure");
        insta::assert_snapshot!(refusal(SignatureAlgorithm::Unknown, false), @"x509: cannot verify signature: algorithm unimplemented");
    }
}
