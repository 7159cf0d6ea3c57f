//! [`PublicKey`]: a key that signatures are checked with, as cosign checks them: ECDSA over P-256,
//! P-384 and P-521, RSA with PKCS #1 v1.5, Ed25519.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_cert::der::{
    Decode, Encode, Reader, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef, UintRef},
    oid::ObjectIdentifier,
};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// id-ecPublicKey (RFC 5480, section 2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// rsaEncryption (RFC 3279, section 2.3.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-Ed25519 (RFC 8410, section 3).
const ED25519_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// secp256r1, secp384r1 and secp521r1 (RFC 5480, section 2.1.1.1).
const CURVES: [(ObjectIdentifier, Curve); 3] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), Curve::P256),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), Curve::P384),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), Curve::P521),
];
/// What aws-lc takes, in bits. v1 takes shorter ones.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    kind: Kind,
    /// What aws-lc takes: a point, an RSAPublicKey, 32 bytes.
    raw: Vec<u8>,
    /// SubjectPublicKeyInfo, in DER.
    spki: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ecdsa(Curve),
    /// With the length of the modulus in bytes.
    Rsa(usize),
    Ed25519,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

/// What a message is hashed with before it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// No PEM at all.
    #[error("PEM decoding failed")]
    NoPem,
    /// PEM of something else.
    #[error("unknown Public key PEM file type: {0}. Are you passing the correct public key?")]
    Tag(String),
    /// Not SubjectPublicKeyInfo.
    #[error("the public key is malformed: {0}")]
    Malformed(x509_cert::der::Error),
    /// A kind that nothing is signed with.
    #[error("unsupported public key: {0}")]
    Unsupported(String),
}

/// Why a signature is none. The texts are v1's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("illegal base64 data in the signature")]
    Base64,
    #[error("invalid signature when validating ASN.1 encoded signature")]
    Ecdsa,
    #[error("invalid signature when validating IEEE_P1363 encoded signature")]
    EcdsaHalves,
    #[error("ecdsa: Invalid IEEE_P1363 encoded bytes")]
    EcdsaLength,
    #[error("crypto/rsa: verification error")]
    Rsa,
    #[error("failed to verify signature")]
    Ed25519,
    /// A key vault's key of which it is not known how it signs.
    #[error("{0}")]
    KeyVault(String),
}

impl PublicKey {
    /// Reads the first block of a PEM file.
    ///
    /// # Errors
    /// Where it is no public key, or none that can be used.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let block = pem::parse(pem).map_err(|_| KeyError::NoPem)?;
        match block.tag() {
            "PUBLIC KEY" => Self::from_spki(block.contents()),
            "RSA PUBLIC KEY" => Self::from_pkcs1(block.contents()),
            other => Err(KeyError::Tag(ratify_core::capped_line(other, 80))),
        }
    }

    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// As [`PublicKey::from_pem`].
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(KeyError::Malformed)?;
        let raw = spki.subject_public_key.as_bytes().ok_or_else(|| {
            KeyError::Unsupported("its bit string does not end with a byte".to_owned())
        })?;
        let kind = match spki.algorithm.oid {
            EC => Kind::Ecdsa(curve(spki.algorithm.parameters_oid().ok(), raw)?),
            RSA => Kind::Rsa(modulus_length(raw)?),
            ED25519_ID if raw.len() == 32 => Kind::Ed25519,
            other => return Err(KeyError::Unsupported(format!("algorithm {other}"))),
        };
        Ok(Self { kind, raw: raw.to_vec(), spki: der.to_vec() })
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        use x509_cert::spki::AlgorithmIdentifierRef;
        let algorithm = AlgorithmIdentifierRef { oid: RSA, parameters: Some(AnyRef::NULL) };
        let subject_public_key = BitStringRef::from_bytes(der).map_err(KeyError::Malformed)?;
        let spki = SubjectPublicKeyInfoRef { algorithm, subject_public_key };
        Self::from_spki(&spki.to_der().map_err(KeyError::Malformed)?)
    }

    /// SubjectPublicKeyInfo, in DER.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether it is of an elliptic curve's; v1's older form takes no other.
    pub(crate) const fn is_ecdsa(&self) -> bool {
        matches!(self.kind, Kind::Ecdsa(_))
    }

    /// What Go calls the type of the key.
    pub(crate) const fn go_type(&self) -> &'static str {
        match self.kind {
            Kind::Ecdsa(_) => "*ecdsa.PublicKey",
            Kind::Rsa(_) => "*rsa.PublicKey",
            Kind::Ed25519 => "ed25519.PublicKey",
        }
    }

    /// What Sigstore bundles are hashed with: as strong as the curve is, SHA-256 for RSA.
    pub(crate) const fn own_hash(&self) -> Hash {
        match self.kind {
            Kind::Ecdsa(Curve::P384) => Hash::Sha384,
            Kind::Ecdsa(Curve::P521) => Hash::Sha512,
            _ => Hash::Sha256,
        }
    }

    /// What Azure Key Vault hashes with: as strong as the key is.
    ///
    /// # Errors
    /// Where no key of the vault's is of this kind or size.
    pub(crate) fn key_vault_hash(&self) -> Result<Hash, SignatureError> {
        match self.kind {
            Kind::Ecdsa(_) => Ok(self.own_hash()),
            Kind::Rsa(256) => Ok(Hash::Sha256),
            Kind::Rsa(384) => Ok(Hash::Sha384),
            Kind::Rsa(512) => Ok(Hash::Sha512),
            Kind::Rsa(bytes) => Err(SignatureError::KeyVault(format!(
                "RSA key check: unsupported key size: {bytes}"
            ))),
            Kind::Ed25519 => Err(SignatureError::KeyVault(format!(
                "unsupported public key type [{}]",
                self.go_type()
            ))),
        }
    }

    /// A signature of Azure Key Vault's as it was made: cosign wrote those by RSA keys as if they were
    /// of an elliptic curve, in two halves (sigstore issue 1384).
    pub(crate) fn key_vault_signature(&self, signature: &[u8]) -> Vec<u8> {
        let Kind::Rsa(bytes) = self.kind else { return signature.to_vec() };
        halves(signature, bytes).unwrap_or_else(|| signature.to_vec())
    }

    /// Checks a signature of a message.
    ///
    /// # Errors
    /// Where it is not by this key.
    pub(crate) fn verify(
        &self,
        hash: Hash,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let (algorithm, mut error) = self.algorithm(hash);
        let mut signature = std::borrow::Cow::Borrowed(signature);
        if self.is_ecdsa() && two_integers(&signature).is_none() {
            signature = asn1_of_halves(&signature).ok_or(SignatureError::EcdsaLength)?.into();
            error = SignatureError::EcdsaHalves;
        }
        UnparsedPublicKey::new(algorithm, &self.raw).verify(message, &signature).map_err(|_| error)
    }

    /// Checks a signature of a payload as cosign makes it: with SHA-256, and with what is as strong
    /// as the curve, as cosign 2.6 does.
    ///
    /// # Errors
    /// Where it is not by this key.
    pub(crate) fn verify_payload(
        &self,
        payload: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let first = self.verify(Hash::Sha256, payload, signature);
        match self.own_hash() {
            Hash::Sha256 => first,
            stronger => self.verify(stronger, payload, signature).or(first),
        }
    }

    fn algorithm(&self, hash: Hash) -> (&'static dyn VerificationAlgorithm, SignatureError) {
        let algorithm: &'static dyn VerificationAlgorithm = match (self.kind, hash) {
            (Kind::Ecdsa(Curve::P256), Hash::Sha256) => &ECDSA_P256_SHA256_ASN1,
            (Kind::Ecdsa(Curve::P256), Hash::Sha384) => &ECDSA_P256_SHA384_ASN1,
            (Kind::Ecdsa(Curve::P256), Hash::Sha512) => &ECDSA_P256_SHA512_ASN1,
            (Kind::Ecdsa(Curve::P384), Hash::Sha256) => &ECDSA_P384_SHA256_ASN1,
            (Kind::Ecdsa(Curve::P384), Hash::Sha384) => &ECDSA_P384_SHA384_ASN1,
            (Kind::Ecdsa(Curve::P384), Hash::Sha512) => &ECDSA_P384_SHA512_ASN1,
            (Kind::Ecdsa(Curve::P521), Hash::Sha256) => &ECDSA_P521_SHA256_ASN1,
            (Kind::Ecdsa(Curve::P521), Hash::Sha384) => &ECDSA_P521_SHA384_ASN1,
            (Kind::Ecdsa(Curve::P521), Hash::Sha512) => &ECDSA_P521_SHA512_ASN1,
            (Kind::Rsa(_), Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
            (Kind::Rsa(_), Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
            (Kind::Rsa(_), Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
            (Kind::Ed25519, _) => &ED25519,
        };
        let error = match self.kind {
            Kind::Ecdsa(_) => SignatureError::Ecdsa,
            Kind::Rsa(_) => SignatureError::Rsa,
            Kind::Ed25519 => SignatureError::Ed25519,
        };
        (algorithm, error)
    }
}

/// A signature as it stands in an annotation.
///
/// # Errors
/// Where it is not base64.
pub(crate) fn decode_signature(text: &str) -> Result<Vec<u8>, SignatureError> {
    STANDARD.decode(text).map_err(|_| SignatureError::Base64)
}

fn curve(parameters: Option<ObjectIdentifier>, point: &[u8]) -> Result<Curve, KeyError> {
    let known = CURVES.iter().find(|(id, _)| Some(*id) == parameters);
    // The uncompressed form (SEC 1, section 2.3.3) is the only one that Go reads as well.
    match (known, point.first()) {
        (Some((_, curve)), Some(4)) => Ok(*curve),
        (Some(_), _) => Err(KeyError::Unsupported("a point that is compressed".to_owned())),
        (None, _) => Err(KeyError::Unsupported(
            "an elliptic curve that is not P-256, P-384 or P-521".to_owned(),
        )),
    }
}

/// The length of an RSAPublicKey's modulus (RFC 8017, appendix A.1.1), in bytes.
fn modulus_length(der: &[u8]) -> Result<usize, KeyError> {
    let modulus = |der| -> x509_cert::der::Result<Vec<u8>> {
        let mut reader = SliceReader::new(der)?;
        let modulus = reader.sequence(|fields| {
            let modulus = UintRef::decode(fields)?;
            UintRef::decode(fields)?;
            Ok(modulus.as_bytes().to_vec())
        })?;
        reader.finish(modulus)
    };
    let modulus = modulus(der).map_err(KeyError::Malformed)?;
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(leading);
    if !RSA_BITS.contains(&bits) {
        return Err(KeyError::Unsupported(format!("an RSA key of {bits} bits")));
    }
    Ok(modulus.len())
}

/// Two integers in a sequence; `None` where it is something else.
fn two_integers(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut reader = SliceReader::new(der).ok()?;
    let two = reader.sequence(|fields| {
        let first = UintRef::decode(fields)?.as_bytes().to_vec();
        Ok((first, UintRef::decode(fields)?.as_bytes().to_vec()))
    });
    reader.finish(two.ok()?).ok()
}

/// Two halves of equal length (IEEE 1363) as two integers in a sequence; `None` where there are none,
/// or no curve has so long ones.
fn asn1_of_halves(signature: &[u8]) -> Option<Vec<u8>> {
    if signature.is_empty() || signature.len() > 132 || !signature.len().is_multiple_of(2) {
        return None;
    }
    let (first, second) = signature.split_at(signature.len() / 2);
    let mut fields = UintRef::new(first).ok()?.to_der().ok()?;
    fields.extend(UintRef::new(second).ok()?.to_der().ok()?);
    AnyRef::new(Tag::Sequence, &fields).ok()?.to_der().ok()
}

/// Two integers in a sequence, each as half of so many bytes; `None` where it is something else.
fn halves(der: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let (first, second) = two_integers(der)?;
    let mut whole = vec![0; bytes];
    let half = bytes / 2;
    // v1 forgets the zeros that an integer does not begin with.
    whole.get_mut(half.checked_sub(first.len())?..half)?.copy_from_slice(&first);
    whole.get_mut(bytes.checked_sub(second.len())?..)?.copy_from_slice(&second);
    (second.len() <= half).then_some(whole)
}

#[cfg(test)]
mod tests;
