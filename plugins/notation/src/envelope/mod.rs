//! The envelope of a signature: what both forms of it, JWS and COSE, come to. The most important items
//! are [`open`], which proves that a signature is whole, and [`Envelope`].

mod algorithm;
mod cose;
mod jws;

use serde_json::Value;

use crate::{
    certificate::{Certificate, Purpose, check_chain},
    moment::Moment,
};

pub(crate) use algorithm::Algorithm;

/// The media type of a JWS envelope.
pub(crate) const JWS: &str = "application/jose+json";
/// The media type of a COSE envelope.
pub(crate) const COSE: &str = "application/cose";
/// What a signature is about (signature specification, "Payload").
pub(crate) const PAYLOAD: &str = "application/vnd.cncf.notary.payload.v1+json";
/// More certificates than any signature needs: each costs the check of a signature.
const MOST_CERTIFICATES: usize = 32;

/// A signature whose bytes are proven to be whole. Whether anybody trusts its certificates is
/// another question.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// What is signed.
    pub(crate) payload: Vec<u8>,
    pub(crate) scheme: SigningScheme,
    /// When it was signed, by the signer's own clock or by its authority's.
    pub(crate) signing_time: Moment,
    pub(crate) expiry: Option<Moment>,
    /// From the one that signed to the root.
    pub(crate) certificates: Vec<Certificate>,
    /// Signed attributes that are not of the specification.
    pub(crate) attributes: Vec<Attribute>,
    /// The bytes of the signature, which a timestamp is about.
    pub(crate) signature: Vec<u8>,
    /// A timestamp, unproven.
    pub(crate) timestamp: Option<Vec<u8>>,
}

/// Who says when it was signed (signing scheme specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SigningScheme {
    /// The signer, and so nobody who can be believed without a timestamp.
    X509,
    /// An authority that signs for others.
    SigningAuthority,
}

/// A signed attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attribute {
    pub(crate) key: String,
    /// Whether its key is a text, and not a number as COSE has it, too.
    pub(crate) is_text: bool,
    /// Whether who does not understand it must refuse.
    pub(crate) is_critical: bool,
    /// `None` where it has no form in JSON.
    pub(crate) value: Option<Value>,
}

/// Why an envelope is none, or is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    /// It could not be read at all.
    #[error("unable to parse the digital signature, error : {0}")]
    Unreadable(String),
    /// It lacks something, or something in it is against the specification.
    #[error("{0}")]
    Invalid(String),
    /// Its bytes are not what was signed.
    #[error("signature is invalid. Error: {0}")]
    Integrity(String),
}

impl EnvelopeError {
    fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }
}

/// What each form finds in its bytes, once the signature over them is proven.
struct Opened {
    envelope: Envelope,
    content_type: String,
    algorithm: Algorithm,
}

impl SigningScheme {
    /// The name in envelopes.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X509 => "notary.x509",
            Self::SigningAuthority => "notary.x509.signingAuthority",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::X509, Self::SigningAuthority].into_iter().find(|scheme| scheme.name() == name)
    }
}

impl Envelope {
    /// The certificate that signed.
    pub(crate) fn leaf(&self) -> Option<&Certificate> {
        self.certificates.first()
    }
}

/// Reads an envelope and proves that its signature is over it, by the key of its first certificate,
/// and that its certificates are a chain of the kind that signs images.
///
/// # Errors
/// When any of that is not so.
pub(crate) fn open(media_type: &str, bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    let opened = match media_type {
        JWS => jws::open(bytes)?,
        COSE => cose::open(bytes)?,
        other => {
            let shown = crate::go::quoted(&ratify_core::capped_line(other, 200));
            return Err(EnvelopeError::Unreadable(format!(
                "signature envelope format with media type {shown} is not supported"
            )));
        }
    };
    check(&opened)?;
    Ok(opened.envelope)
}

/// What both forms have to hold.
fn check(opened: &Opened) -> Result<(), EnvelopeError> {
    let envelope = &opened.envelope;
    if envelope.payload.is_empty() {
        return Err(EnvelopeError::invalid("content not present"));
    }
    if envelope.expiry.is_some_and(|expiry| expiry <= envelope.signing_time) {
        return Err(EnvelopeError::invalid("expiry cannot be equal or before the signing time"));
    }
    check_chain(&envelope.certificates, Purpose::CodeSigning).map_err(|error| {
        EnvelopeError::Invalid(format!("certificate-chain is invalid, {error}"))
    })?;
    let leaf = envelope.leaf().map(|leaf| Algorithm::of_key(&leaf.key));
    let of_key = leaf
        .ok_or_else(|| EnvelopeError::invalid("certificate-chain not present or is empty"))?
        .map_err(EnvelopeError::Invalid)?;
    if of_key != opened.algorithm {
        return Err(EnvelopeError::Invalid(format!(
            "mismatch between signature algorithm derived from signing certificate ({}) and signing algorithm specified ({}s)",
            of_key.number(),
            opened.algorithm.number()
        )));
    }
    if opened.content_type != PAYLOAD {
        let shown = crate::go::quoted(&ratify_core::capped_line(&opened.content_type, 200));
        return Err(EnvelopeError::Invalid(format!("payload content type {shown} not supported")));
    }
    Ok(())
}

/// The certificates of an envelope, the first of which signed it.
fn certificates<'a>(
    der: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Result<Vec<Certificate>, EnvelopeError> {
    if der.len() == 0 {
        return Err(EnvelopeError::invalid("certificate chain is not present"));
    }
    if der.len() > MOST_CERTIFICATES {
        return Err(EnvelopeError::Invalid(format!(
            "certificate chain has {} certificates, more than {MOST_CERTIFICATES}",
            der.len()
        )));
    }
    der.enumerate()
        .map(|(at, der)| match (Certificate::parse(der), at) {
            (Err(_), 0) => Err(EnvelopeError::invalid("malformed leaf certificate")),
            (certificate, _) => {
                certificate.map_err(|error| EnvelopeError::Invalid(error.to_string()))
            }
        })
        .collect()
}

/// The time of signing by the scheme, where the envelope has the right one of two headers.
fn signing_time<T>(
    scheme: SigningScheme,
    of_signer: Option<T>,
    of_authority: Option<T>,
) -> Result<T, EnvelopeError> {
    let (own, own_key, other, other_key) = match scheme {
        SigningScheme::X509 => (of_signer, SIGNING_TIME, of_authority, AUTHENTIC_SIGNING_TIME),
        SigningScheme::SigningAuthority => {
            (of_authority, AUTHENTIC_SIGNING_TIME, of_signer, SIGNING_TIME)
        }
    };
    if other.is_some() {
        return Err(EnvelopeError::Invalid(format!(
            "{} header must not be present for {} signing scheme",
            crate::go::quoted(other_key),
            scheme.name()
        )));
    }
    own.ok_or_else(|| match scheme {
        SigningScheme::X509 => EnvelopeError::invalid("signing-time not present"),
        // As v1 has it, which names the other scheme.
        SigningScheme::SigningAuthority => EnvelopeError::Invalid(format!(
            "{} header must be present for {} signing scheme",
            crate::go::quoted(own_key),
            SigningScheme::X509.name()
        )),
    })
}

/// The signed headers of the specification.
const EXPIRY: &str = "io.cncf.notary.expiry";
const SCHEME: &str = "io.cncf.notary.signingScheme";
const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
/// Headers that are not signed.
const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";

/// Which headers must be marked as critical.
fn must_be_critical(scheme: SigningScheme, has_expiry: bool) -> Vec<&'static str> {
    let mut must = vec![SCHEME];
    if scheme == SigningScheme::SigningAuthority {
        must.push(AUTHENTIC_SIGNING_TIME);
    }
    if has_expiry {
        must.push(EXPIRY);
    }
    must
}

fn not_critical(missing: &[&str]) -> EnvelopeError {
    EnvelopeError::Invalid(format!(
        "these required headers are not marked as critical: {}",
        crate::go::list(missing.iter().copied())
    ))
}

#[cfg(test)]
mod algorithm_tests;
#[cfg(test)]
mod tests;
