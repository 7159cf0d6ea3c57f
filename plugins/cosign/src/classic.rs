//! Signatures as cosign has always made them: a layer is the payload, its annotations are the
//! signature and what goes with it (cosign, `specs/SIGNATURE_SPEC.md`).

use std::collections::BTreeMap;

use ratify_core::{Descriptor, strict_json};
use serde::Deserialize;
use sigstore_verify::{
    VerificationPolicy,
    types::{
        Bundle, DigestBytes, HashAlgorithm, MediaType, MessageDigest, MessageSignature,
        Rfc3161Timestamp, SignatureBytes, SignatureContent, TimestampToken,
        TimestampVerificationData, TransparencyLogEntry, VerificationMaterial,
        VerificationMaterialContent, X509Certificate,
    },
};

use crate::{
    chain::Chain,
    checks::{By, Checks, Found, Key, check_length},
    claims,
    config::Keyless,
    identity,
    keys::decode_signature,
    refusal::Refusal,
    rekor::{self, Signed, SignedBy},
    trust::Material,
};

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// The signature that stands in a layer's annotations, in base64.
pub(crate) fn encoded_signature(layer: &Descriptor) -> &str {
    layer.annotations.get(SIGNATURE).map_or("", String::as_str)
}

/// An entry of the log.
pub(crate) struct Logged {
    entry: TransparencyLogEntry,
    /// When it was made.
    time: jiff::Timestamp,
    /// Whether it was with the signature.
    pub(crate) is_offline: bool,
}

/// One signature.
pub(crate) struct Signature<'a> {
    payload: &'a [u8],
    encoded: &'a str,
    /// Where both certificate and chain are there, as in v1.
    chain: Option<Chain>,
    entry: Option<TransparencyLogEntry>,
    timestamp: Option<TimestampToken>,
}

impl<'a> Signature<'a> {
    /// Reads a layer's annotations.
    ///
    /// # Errors
    /// Where one of them is malformed.
    pub(crate) fn read(
        payload: &'a [u8],
        annotations: &'a BTreeMap<String, String>,
    ) -> Result<Self, Refusal> {
        let text = |key: &str| annotations.get(key).map_or("", String::as_str);
        let chain = match (text(CERTIFICATE), text(CHAIN)) {
            ("", _) | (_, "") => None,
            (certificate, chain) => Some(Chain::from_pem(certificate, chain)?),
        };
        let entry = annotations.get(LOG_ENTRY).map(|text| rekor::read_kept(text)).transpose()?;
        let timestamp = annotations.get(TIMESTAMP).map(|text| read_timestamp(text)).transpose()?;
        Ok(Self { payload, encoded: text(SIGNATURE), chain, entry, timestamp })
    }

    /// Checks all that is asked of the signature.
    ///
    /// # Errors
    /// Where something is wrong with it, or the log was asked in vain.
    pub(crate) async fn check(&self, by: By<'_>, checks: &Checks<'_>) -> Result<Found, Refusal> {
        match by {
            By::Key(key) => self.check_key(key, checks).await,
            By::Certificate(keyless) => self.check_certificate(keyless, checks).await,
        }
    }

    async fn check_key(&self, key: &Key, checks: &Checks<'_>) -> Result<Found, Refusal> {
        let written = decode_signature(self.encoded)?;
        let signed = Signed {
            payload: self.payload,
            signature: &written,
            by: SignedBy::Key(key.key.spki()),
        };
        let mut logged = self.kept(&signed, checks)?;
        key.verify_payload(self.payload, &written)?;
        claims::check(self.payload, checks.image)?;
        if logged.is_none() {
            logged = self.search(&signed, checks).await?;
        }
        let mut found = Found::default();
        found.set_logged(logged.as_ref());
        let at = logged.as_ref().map_or(checks.now, |logged| logged.time);
        // Whose key it is does not count, but v1 refuses what goes with a certificate that is over.
        if let Some(chain) = &self.chain {
            let end = chain.check_expiry(at, logged.is_some())?;
            found.valid_until = logged.is_none().then_some(end);
        }
        Ok(found)
    }

    /// The entry of the log that goes with the signature, where the log is looked at and one does.
    fn kept(&self, signed: &Signed<'_>, checks: &Checks<'_>) -> Result<Option<Logged>, Refusal> {
        let (Some(_), Some(entry)) = (checks.rekor_url, &self.entry) else { return Ok(None) };
        let time = rekor::check_entry(entry, signed, &trusted(checks)?.log_keys, checks.now)
            .map_err(|refusal| refusal.within("error verifying bundle"))?;
        Ok(Some(Logged { entry: entry.clone(), time, is_offline: true }))
    }

    /// The entry that the log itself has, where the log is looked at. Whoever may write to the registry
    /// has it asked: only about what is good but for that.
    async fn search(
        &self,
        signed: &Signed<'_>,
        checks: &Checks<'_>,
    ) -> Result<Option<Logged>, Refusal> {
        let Some(url) = checks.rekor_url else { return Ok(None) };
        let trust = trusted(checks)?;
        let entry = rekor::search(url, signed, &trust.log_keys, checks).await?;
        let time = entry.integrated_time.unwrap_or(checks.now);
        Ok(Some(Logged { entry, time, is_offline: false }))
    }

    async fn check_certificate(
        &self,
        keyless: &Keyless,
        checks: &Checks<'_>,
    ) -> Result<Found, Refusal> {
        let chain = self.chain.as_ref();
        let chain = chain.ok_or_else(|| Refusal::other("no certificate found on signature"))?;
        let written = decode_signature(self.encoded)?;
        let by = SignedBy::Certificate(chain.leaf.as_bytes());
        let signed = Signed { payload: self.payload, signature: &written, by };
        let trust = trusted(checks)?;
        let mut logged = self.kept(&signed, checks)?;
        if logged.is_none() && checks.rekor_url.is_some() {
            let key = chain.check_issuer(trust)?;
            identity::check(keyless, &chain.information()?)?;
            key.verify_payload(self.payload, &written)?;
            claims::check(self.payload, checks.image)?;
            logged = self.search(&signed, checks).await?;
        }
        let mut found = Found { is_timestamped: self.timestamp.is_some(), ..Found::default() };
        found.set_logged(logged.as_ref());
        if logged.is_none() && self.timestamp.is_none() {
            found.valid_until = Some(self.check_now(chain, keyless, &written, checks, trust)?);
        } else {
            let entry = logged.map(|logged| logged.entry);
            let bundle = self.as_bundle(chain, &written, entry);
            let mut policy = VerificationPolicy::any_identity();
            if !keyless.verify_sct {
                policy = policy.skip_sct();
            }
            if checks.rekor_url.is_none() {
                policy = policy.skip_tlog_unsafe();
            }
            trust.verifier.verify(self.payload, &bundle, &policy)?;
        }
        claims::check(self.payload, checks.image)?;
        identity::check(keyless, &chain.information()?)?;
        Ok(found)
    }

    /// Checks a signature of which nobody says when it was made: all has to be good now.
    fn check_now(
        &self,
        chain: &Chain,
        keyless: &Keyless,
        signature: &[u8],
        checks: &Checks<'_>,
        trust: &Material,
    ) -> Result<std::time::SystemTime, Refusal> {
        let end = chain.check_expiry(checks.now, false)?;
        if keyless.verify_sct {
            return Err(Refusal::other(
                "a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true",
            ));
        }
        let key = chain.check_now(trust, checks.now)?;
        key.verify_payload(self.payload, signature)?;
        Ok(end)
    }

    /// The same signature as a Sigstore bundle, which the crates of Sigstore read.
    fn as_bundle(
        &self,
        chain: &Chain,
        signature: &[u8],
        entry: Option<TransparencyLogEntry>,
    ) -> Bundle {
        let all = std::iter::once(&chain.leaf).chain(&chain.intermediates);
        let content = VerificationMaterialContent::X509CertificateChain {
            certificates: all.map(|der| X509Certificate::new(der.clone())).collect(),
        };
        let timestamps = self.timestamp.iter().cloned().map(Rfc3161Timestamp::new).collect();
        // Of the first version a promise is asked, of the second a proof, which only a search has.
        let has_proof = entry.as_ref().is_some_and(|entry| entry.inclusion_proof.is_some());
        let version = match &entry {
            Some(_) if !has_proof => MediaType::Bundle0_1,
            _ => MediaType::Bundle0_2,
        };
        let digest = sigstore_verify::crypto::sha256(self.payload);
        let digest = DigestBytes::new(digest.as_bytes().to_vec());
        Bundle::new(
            version,
            VerificationMaterial::new(content)
                .with_tlog_entries(entry.into_iter().collect())
                .with_timestamp_verification_data(TimestampVerificationData::new(timestamps)),
            SignatureContent::MessageSignature(
                MessageSignature::new(SignatureBytes::new(signature.to_vec()))
                    .with_message_digest(MessageDigest::new(HashAlgorithm::Sha2256, digest)),
            ),
        )
    }
}

/// What is trusted, which there is where a certificate or a log is looked at.
pub(crate) fn trusted<'a>(checks: &'a Checks<'_>) -> Result<&'a Material, Refusal> {
    checks.trust.as_deref().ok_or_else(|| Refusal::other("no trusted rekor public keys provided"))
}

fn read_timestamp(annotation: &str) -> Result<TimestampToken, Refusal> {
    #[derive(Deserialize)]
    struct Kept {
        #[serde(rename = "SignedRFC3161Timestamp")]
        timestamp: TimestampToken,
    }
    let kept: Kept = strict_json::read(annotation.as_bytes()).map_err(|error| {
        Refusal::other(format!("failed to unmarshal RFC3161 timestamp bundle: {error}"))
    })?;
    check_length("timestamp", kept.timestamp.as_bytes())?;
    Ok(kept.timestamp)
}
