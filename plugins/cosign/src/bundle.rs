//! Sigstore bundles, as cosign 3 attaches them: one document that holds the signature and all that
//! goes with it (Sigstore's protobuf-specs, `sigstore_bundle.proto`).
//!
//! Of the statements that such a bundle may be about, only one says that an image is signed. Others,
//! such as the report of a scanner, are signed too, by the same people, and must not pass for it.

use ratify_core::{Algorithm, Digest, strict_json};
use sigstore_verify::{
    PublicKeyVerificationPolicy, VerificationPolicy,
    crypto::{SigningScheme, VerificationKey},
    types::{
        Artifact, ArtifactDigest, Bundle, DerCertificate, DerPublicKey, DigestBytes, DsseEnvelope,
        HashAlgorithm, MessageDigest, SignatureContent, Statement, VerificationMaterial,
        VerificationMaterialContent,
    },
};

use crate::{
    checks::{By, Checks, Found, Key, check_length},
    classic::trusted,
    config::Keyless,
    identity, json,
    keys::SignatureError,
    refusal::Refusal,
};

/// What the media types of all versions begin with.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle";
/// What is said of an image that is signed.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
/// The media type of statements.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// The most entries of logs, and the most timestamps, that a bundle may have; sigstore-go takes as many.
const MOST_PROOFS: usize = 32;

/// Whether a layer is a Sigstore bundle.
pub(crate) fn is_bundle(media_type: &str) -> bool {
    media_type.starts_with(MEDIA_TYPE)
}

/// One bundle.
pub(crate) struct SignedBundle(Bundle);

impl SignedBundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// Where it is malformed.
    pub(crate) fn read(json: &[u8]) -> Result<Self, Refusal> {
        let bundle = parse(json)
            .map_err(|error| Refusal::other(format!("the bundle is malformed: {error}")))?;
        let VerificationMaterial {
            tlog_entries, timestamp_verification_data: times, content, ..
        } = &bundle.verification_material;
        check_each("entries of a log", tlog_entries)?;
        check_each("timestamps", &times.rfc3161_timestamps)?;
        for time in &times.rfc3161_timestamps {
            check_length("timestamp", time.signed_timestamp.as_bytes())?;
        }
        for certificate in certificates(content) {
            check_length("certificate", certificate.as_bytes())?;
        }
        Ok(Self(bundle))
    }

    /// The signature, in base64.
    pub(crate) fn encoded_signature(&self) -> String {
        match &self.0.content {
            SignatureContent::MessageSignature(signed) => signed.signature.to_base64(),
            SignatureContent::DsseEnvelope(envelope) => envelope.signature.sig.to_base64(),
            _ => String::new(),
        }
    }

    /// Checks all that is asked of the signature.
    ///
    /// # Errors
    /// Where something is wrong with it.
    pub(crate) fn check(&self, by: By<'_>, checks: &Checks<'_>) -> Result<Found, Refusal> {
        self.check_statement(checks.image)?;
        match by {
            By::Key(key) => self.check_key(key, checks),
            By::Certificate(keyless) => self.check_certificate(keyless, checks),
        }
    }

    /// Checks that what is signed says that the image is signed.
    fn check_statement(&self, image: &Digest) -> Result<(), Refusal> {
        let SignatureContent::DsseEnvelope(envelope) = &self.0.content else {
            // A signature of the image's own bytes: its digest is compared with the signature.
            return Ok(());
        };
        if envelope.payload_type != STATEMENT {
            return Err(Refusal::other("the bundle signs something that is no statement"));
        }
        let statement = parse_statement(envelope.payload.as_bytes())
            .map_err(|error| Refusal::other(format!("the statement is malformed: {error}")))?;
        if statement.predicate_type != SIGNED {
            let said = ratify_core::capped_line(&statement.predicate_type, 200);
            return Err(Refusal::other(format!(
                "the bundle is no signature of an image but says {said}"
            )));
        }
        let is_of_image = match image.algorithm() {
            Algorithm::Sha256 => {
                let hash = sigstore_verify::types::Sha256Hash::from_hex(image.hex());
                hash.is_ok_and(|hash| statement.matches_sha256(&hash))
            }
            Algorithm::Sha512 => {
                let hash = sigstore_verify::types::Sha512Hash::from_hex(image.hex());
                hash.is_ok_and(|hash| statement.matches_sha512(&hash))
            }
            Algorithm::Sha384 => false,
        };
        if is_of_image {
            Ok(())
        } else {
            Err(Refusal::other(
                "invalid or missing digest in claim: the statement is about something else",
            ))
        }
    }

    fn check_key(&self, key: &Key, checks: &Checks<'_>) -> Result<Found, Refusal> {
        if !matches!(
            self.0.verification_material.content,
            VerificationMaterialContent::PublicKey(_)
        ) {
            return Err(Refusal::other("the bundle is signed by a certificate, not by a key"));
        }
        match &self.0.content {
            SignatureContent::DsseEnvelope(envelope) => check_envelope(envelope, key)?,
            SignatureContent::MessageSignature(signed) => {
                let wanted = MessageDigest::new(hash_of(checks.image), digest_of(checks.image));
                if signed.message_digest.as_ref().is_some_and(|said| *said != wanted) {
                    return Err(Refusal::other(
                        "invalid or missing digest in claim: the message is something else",
                    ));
                }
                let public_key = DerPublicKey::new(key.key.spki().to_vec());
                let scheme = SigningScheme::EcdsaP256Sha256;
                let verified = VerificationKey::from_spki_with_scheme(&public_key, scheme)
                    .and_then(|key| {
                        key.verify_prehashed(wanted.digest.as_bytes(), &signed.signature)
                    });
                verified.map_err(|_| SignatureError::Ecdsa)?;
            }
            _ => return Err(Refusal::other("the bundle holds no signature that is known")),
        }
        let mut found = Found::default();
        if checks.rekor_url.is_some() {
            let public_key = DerPublicKey::new(key.key.spki().to_vec());
            let policy = PublicKeyVerificationPolicy::new(public_key);
            trusted(checks)?.verifier.verify(artifact(checks.image)?, &self.0, &policy)?;
            found.is_logged_offline = true;
            found.is_timestamped = self.has_timestamps();
        }
        Ok(found)
    }

    fn check_certificate(&self, keyless: &Keyless, checks: &Checks<'_>) -> Result<Found, Refusal> {
        let mut policy = VerificationPolicy::any_identity();
        if !keyless.verify_sct {
            policy = policy.skip_sct();
        }
        if checks.rekor_url.is_none() {
            policy = policy.skip_tlog_unsafe();
        }
        let verifier = &trusted(checks)?.verifier;
        let result = verifier.verify(artifact(checks.image)?, &self.0, &policy)?;
        let certificate = result.certificate();
        let certificate = certificate.filter(|_| result.certificate_verified());
        let certificate =
            certificate.ok_or_else(|| Refusal::other("no certificate found on signature"))?;
        identity::check(keyless, certificate)?;
        Ok(Found {
            is_logged_offline: result.tlog_verified(),
            is_logged_online: false,
            is_timestamped: self.has_timestamps(),
            valid_until: None,
        })
    }

    fn has_timestamps(&self) -> bool {
        let timestamps = &self.0.verification_material.timestamp_verification_data;
        !timestamps.rfc3161_timestamps.is_empty()
    }
}

fn certificates(content: &VerificationMaterialContent) -> Vec<&DerCertificate> {
    match content {
        VerificationMaterialContent::Certificate(one) => vec![&one.raw_bytes],
        VerificationMaterialContent::X509CertificateChain { certificates } => {
            certificates.iter().map(|one| &one.raw_bytes).collect()
        }
        _ => Vec::new(),
    }
}

fn parse(json: &[u8]) -> Result<Bundle, serde_json::Error> {
    strict_json::read_by(json, &|within, names| {
        json::in_camel_case(names)?;
        match within {
            // The crate takes it for the oldest version then.
            [] if !names.contains("mediaType") => Err("missing field `mediaType`".to_owned()),
            // Of several the crate takes the first that it finds.
            [] => json::at_most_one(names, &["messageSignature", "dsseEnvelope"]),
            [at] if at == "verificationMaterial" => {
                json::at_most_one(names, &["certificate", "x509CertificateChain", "publicKey"])
            }
            _ => Ok(()),
        }
    })
}

fn parse_statement(json: &[u8]) -> Result<Statement, serde_json::Error> {
    // It is a message of protobuf, too, but for what it says.
    strict_json::read_by(json, &|within, names| match within {
        [] => json::at_most_one(names, &["predicateType", "predicate_type"]),
        _ => Ok(()),
    })
}

/// Of what proves something there is not much, and each is there once.
fn check_each<T: PartialEq>(what: &str, all: &[T]) -> Result<(), Refusal> {
    if all.len() > MOST_PROOFS {
        let count = all.len();
        return Err(Refusal::other(format!(
            "the bundle has {count} {what}, and at most {MOST_PROOFS} are looked at"
        )));
    }
    let is_twice = |(at, one)| all.iter().skip(at + 1).any(|other| other == one);
    if all.iter().enumerate().any(is_twice) {
        return Err(Refusal::other(format!("the bundle has one of its {what} twice")));
    }
    Ok(())
}

fn check_envelope(envelope: &DsseEnvelope, key: &Key) -> Result<(), SignatureError> {
    let hash = if key.is_of_key_vault { key.key.key_vault_hash()? } else { key.key.own_hash() };
    let signature = key.made(envelope.signature.sig.as_bytes());
    key.key.verify(hash, &envelope.pae(), &signature)
}

fn artifact(image: &Digest) -> Result<Artifact<'static>, Refusal> {
    let digest = ArtifactDigest::new(hash_of(image), digest_of(image))
        .map_err(|error| Refusal::other(error.to_string()))?;
    Ok(Artifact::from_digest(digest))
}

const fn hash_of(image: &Digest) -> HashAlgorithm {
    match image.algorithm() {
        Algorithm::Sha256 => HashAlgorithm::Sha2256,
        Algorithm::Sha384 => HashAlgorithm::Sha2384,
        Algorithm::Sha512 => HashAlgorithm::Sha2512,
    }
}

fn digest_of(image: &Digest) -> DigestBytes {
    DigestBytes::new(hex::decode(image.hex()).unwrap_or_default())
}

#[cfg(test)]
mod vectors;
