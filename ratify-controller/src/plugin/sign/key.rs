//! [`PrivateKey`] and [`Chain`]: whose signature it is, read from the files that `openssl`, `cosign` and
//! `notation` write.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer},
    sign::SigningKey,
};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _, Reader as _, SliceReader, asn1::UintRef},
    spki::SubjectPublicKeyInfoRef,
};

use super::encrypted::{self, Password};
use crate::keys::pem::{self, Block};

/// Longer chains are no one's.
const MAX_CERTIFICATES: usize = 10;

/// A key that signs. It is shown to nobody.
pub struct PrivateKey {
    key: Arc<dyn SigningKey>,
    /// SubjectPublicKeyInfo, in DER.
    public: Vec<u8>,
}

/// The certificates of a key, its own first, the root last. All in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(Vec<Vec<u8>>);

/// Why a key or its certificates cannot sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is no private key.
    #[error("the key cannot be read: {0}")]
    Malformed(String),
    /// It is encrypted, and nobody said with what.
    #[error(
        "the key is encrypted: its password is the environment variable COSIGN_PASSWORD, which may be empty and is not set"
    )]
    NoPassword,
    /// It is encrypted, and what was said is no text.
    #[error("the key is encrypted, and the password in COSIGN_PASSWORD is not UTF-8")]
    PasswordEncoding,
    /// It is encrypted with something else.
    #[error("the key is encrypted with another password than that in COSIGN_PASSWORD")]
    Password,
    /// A kind of key that the format has no signatures of, or that its tools do not read.
    #[error("{format} signs with {has_to_be}: this key is another")]
    Kind {
        /// The format.
        format: &'static str,
        /// What it takes.
        has_to_be: &'static str,
    },
    /// The certificates are not those that verifiers ask for.
    #[error("the certificates cannot be used: {0}")]
    Chain(String),
    /// The key failed.
    #[error("signing failed: {0}")]
    Failed(String),
}

/// An algorithm of notation's envelopes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Algorithm {
    /// What JWS calls it (RFC 7518, section 3.1).
    pub(super) name: &'static str,
    scheme: SignatureScheme,
    /// Of what length each of the two numbers of a signature is, where it has two.
    number: Option<usize>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKey(..)")
    }
}

impl PrivateKey {
    /// Reads a key: PEM of PKCS#8, SEC 1 or PKCS#1, or what cosign made of one with a password.
    ///
    /// # Errors
    /// When it is none, or the password is missing or wrong.
    pub fn from_pem(text: &str, password: Option<&Password>) -> Result<Self, KeyError> {
        let malformed = |why: &str| KeyError::Malformed(why.to_owned());
        let block =
            key_block(text).ok_or_else(|| malformed("there is no PEM block of a key in it"))?;
        let der = match block.label.as_str() {
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(block.der).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(block.der).into(),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(block.der).into(),
            "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                let password = password.ok_or(KeyError::NoPassword)?;
                PrivatePkcs8KeyDer::from(encrypted::open(&block.der, password)?).into()
            }
            "ENCRYPTED PRIVATE KEY" => {
                return Err(malformed(
                    "it is encrypted PKCS#8: decrypt it with `openssl pkcs8`, or have cosign import it",
                ));
            }
            label => {
                let label = ratify_core::capped_line(label, 100);
                return Err(malformed(&format!("its PEM block is a {label}")));
            }
        };
        Self::from_der(&der)
    }

    fn from_der(der: &PrivateKeyDer<'static>) -> Result<Self, KeyError> {
        let malformed = |why: String| KeyError::Malformed(why);
        let key = any_supported_type(der).map_err(|error| malformed(error.to_string()))?;
        let public = key.public_key().ok_or_else(|| malformed("it has no public half".into()))?;
        let public = public.as_ref().to_vec();
        Ok(Self { key, public })
    }

    /// Signs a payload as cosign verifies it, over SHA-256.
    pub(super) fn sign_as_cosign(&self, payload: &[u8]) -> Result<Vec<u8>, KeyError> {
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
        let has_to_be = "an ECDSA key over P-256 or an RSA key";
        self.sign(&schemes, payload)?.ok_or(KeyError::Kind { format: "cosign", has_to_be })
    }

    /// How notation signs with a key of this kind (Notary Project, "Signature Specification",
    /// Signature Algorithm Requirements).
    pub(super) fn notation_algorithm(&self) -> Result<Algorithm, KeyError> {
        use SignatureScheme as Scheme;
        let all = [
            ("ES256", Scheme::ECDSA_NISTP256_SHA256, Some(32)),
            ("ES384", Scheme::ECDSA_NISTP384_SHA384, Some(48)),
            ("ES512", Scheme::ECDSA_NISTP521_SHA512, Some(66)),
            ("PS256", Scheme::RSA_PSS_SHA256, None),
            ("PS384", Scheme::RSA_PSS_SHA384, None),
            ("PS512", Scheme::RSA_PSS_SHA512, None),
        ];
        // The length of an RSA key says which of the three it is.
        let of_length = match self.rsa_bits() {
            Some(2048) => Some("PS256"),
            Some(3072) => Some("PS384"),
            Some(4096) => Some("PS512"),
            Some(_) => Some(""),
            None => None,
        };
        let is_it = |(name, scheme, _): &(&str, Scheme, Option<usize>)| {
            of_length.is_none_or(|of_length| of_length == *name)
                && self.key.choose_scheme(&[*scheme]).is_some()
        };
        let found = all.into_iter().find(is_it);
        let (name, scheme, number) = found.ok_or(KeyError::Kind {
            format: "notation",
            has_to_be: "an ECDSA key over P-256, P-384 or P-521 or an RSA key of 2048, 3072 or 4096 bits",
        })?;
        Ok(Algorithm { name, scheme, number })
    }

    /// Signs as an envelope has it: where a signature is of two numbers, they stand one behind the
    /// other (RFC 7518, section 3.4).
    pub(super) fn sign_as(&self, algorithm: &Algorithm, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = || KeyError::Failed("the key does not know its own algorithm".to_owned());
        let signature = self.sign(&[algorithm.scheme], text)?.ok_or_else(failed)?;
        match algorithm.number {
            Some(length) => side_by_side(&signature, length)
                .ok_or_else(|| KeyError::Failed("the signature is no two numbers".to_owned())),
            None => Ok(signature),
        }
    }

    fn sign(&self, schemes: &[SignatureScheme], text: &[u8]) -> Result<Option<Vec<u8>>, KeyError> {
        let Some(signer) = self.key.choose_scheme(schemes) else { return Ok(None) };
        let signed = signer.sign(text).map_err(|error| KeyError::Failed(error.to_string()))?;
        Ok(Some(signed))
    }

    /// The length of an RSA key.
    fn rsa_bits(&self) -> Option<usize> {
        if self.key.algorithm() != rustls::SignatureAlgorithm::RSA {
            return None;
        }
        let spki = SubjectPublicKeyInfoRef::from_der(&self.public).ok()?;
        let key = spki.subject_public_key.as_bytes()?;
        let mut reader = SliceReader::new(key).ok()?;
        let modulus = reader
            .sequence(|inner| {
                let modulus = UintRef::decode(inner)?;
                UintRef::decode(inner)?;
                Ok(modulus.as_bytes())
            })
            .ok()?;
        let zeros = modulus.first()?.leading_zeros() as usize;
        Some(modulus.len() * 8 - zeros)
    }
}

/// The first block of a key. `openssl ecparam` writes one of parameters before it.
fn key_block(text: &str) -> Option<Block> {
    let mut rest = text;
    loop {
        let (block, after) = pem::first_block(rest)?;
        if block.label.ends_with("PRIVATE KEY") {
            return Some(block);
        }
        rest = after;
    }
}

/// The two numbers of an ECDSA signature, each of a length in bytes.
fn side_by_side(signature: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(signature).ok()?;
    let numbers = reader.sequence(|inner| Ok([UintRef::decode(inner)?, UintRef::decode(inner)?]));
    let mut both = Vec::with_capacity(2 * length);
    for number in numbers.ok()? {
        let number = number.as_bytes();
        both.extend(std::iter::repeat_n(0, length.checked_sub(number.len())?));
        both.extend(number);
    }
    Some(both)
}

impl Chain {
    /// Reads certificates from PEM.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let read = pem::certificates(text).map_err(|error| KeyError::Chain(error.to_string()))?;
        if read.len() > MAX_CERTIFICATES {
            let count = read.len();
            return Err(KeyError::Chain(format!(
                "there are {count}, more than {MAX_CERTIFICATES}"
            )));
        }
        Ok(Self(read.into_iter().map(|der| der.to_vec()).collect()))
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Whether they are those of a key, in order, to the root, and in force; what a verifier would
    /// refuse all the same is for it to say.
    pub(super) fn check(&self, key: &PrivateKey, now: Timestamp) -> Result<(), KeyError> {
        let refused = |why: String| Err(KeyError::Chain(why));
        let read = self.certificates().map(Certificate::from_der).collect::<Result<Vec<_>, _>>();
        let read = read.map_err(|error| KeyError::Chain(error.to_string()))?;
        let (Some(leaf), Some(root)) = (read.first(), read.last()) else {
            return refused("there are none".to_owned());
        };
        let public = leaf.tbs_certificate.subject_public_key_info.to_der();
        if !public.is_ok_and(|public| public == key.public) {
            return refused("the first is not that of the key".to_owned());
        }
        for pair in read.windows(2) {
            let [child, parent] = [&pair[0].tbs_certificate, &pair[1].tbs_certificate];
            if child.issuer != parent.subject {
                let (child, parent) = (&child.subject, &parent.subject);
                return refused(format!(
                    "that of {child} is followed by {parent}, who did not issue it: write them from the key's own to the root"
                ));
            }
        }
        let root = &root.tbs_certificate;
        if root.issuer != root.subject {
            return refused(format!("they end with {}: add those up to the root", root.subject));
        }
        for certificate in &read {
            let validity = certificate.tbs_certificate.validity;
            let [from, to] = [validity.not_before, validity.not_after]
                .map(|time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX));
            if !(from..=to).contains(&now.as_second()) {
                let subject = &certificate.tbs_certificate.subject;
                return refused(format!("that of {subject} is not in force now"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
