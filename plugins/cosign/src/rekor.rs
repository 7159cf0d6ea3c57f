//! The transparency log Rekor: what an entry proves, and how one is found.
//!
//! An entry says that a signature was there at a time. It counts where the log promised it (the
//! signed entry timestamp) and where it is about this payload, this signature and this key.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::{Error, ErrorCode, FetchRequest, UrlSource, strict_json};
use serde::{Deserialize, Serialize};
use sigstore_rekor::{LogEntry, RekorEntryBody};
use sigstore_verify::{
    crypto::{Keyring, sha256, sha384, sha512},
    types::{
        CanonicalizedBody, HashAlgorithm, InclusionPromise, KindVersion, LogId, LogIndex, LogKeyId,
        Sha256Hash, SignatureBytes, SignedTimestamp, TransparencyLogEntry,
    },
};

use crate::{checks::Checks, refusal::Refusal};

/// The most that a search may answer.
const MOST_ANSWER: u64 = 1 << 20;
/// How long all searches for one artifact may take.
const LONGEST: Duration = Duration::from_secs(10);
/// The most searches for one artifact.
const MOST_QUESTIONS: usize = 100;
/// The most entries of an answer that are looked at.
const MOST_ENTRIES: usize = 16;

/// What a log may still be asked about one artifact. Whoever may write to the registry decides how many
/// signatures there are, and copies of good ones are good.
pub(crate) struct Questions(Mutex<Left>);

struct Left {
    questions: usize,
    time: Duration,
}

impl Questions {
    pub(crate) const fn of_an_artifact() -> Self {
        Self(Mutex::new(Left { questions: MOST_QUESTIONS, time: LONGEST }))
    }

    /// How long the next question may take.
    fn begin(&self, now: Instant, give_up_at: Option<Instant>) -> Result<Duration, Error> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until_end = give_up_at.map(|end| end.saturating_duration_since(now));
        let time = until_end.map_or(left.time, |until_end| until_end.min(left.time));
        let refuse = |why: String| ErrorCode::VerifyPluginFailure.detail(why);
        if time.is_zero() {
            // The log may be quicker the next time.
            return Err(refuse(
                "the time for asking the log about one artifact is over".to_owned(),
            )
            .passing(true));
        }
        left.questions = left.questions.checked_sub(1).ok_or_else(|| {
            refuse(format!("the log is asked at most {MOST_QUESTIONS} times about one artifact"))
        })?;
        Ok(time)
    }

    fn end(&self, took: Duration) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.time = left.time.saturating_sub(took);
    }
}

/// What an entry has to be about.
#[derive(Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) by: SignedBy<'a>,
}

/// Who signed, as an entry names it.
#[derive(Clone, Copy)]
pub(crate) enum SignedBy<'a> {
    /// SubjectPublicKeyInfo, in DER.
    Key(&'a [u8]),
    /// A certificate, in DER.
    Certificate(&'a [u8]),
}

impl SignedBy<'_> {
    fn pem(&self) -> String {
        let (tag, der) = match self {
            Self::Key(der) => ("PUBLIC KEY", der),
            Self::Certificate(der) => ("CERTIFICATE", der),
        };
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new(tag, *der), config)
    }
}

/// What cosign keeps beside a signature (the annotation `dev.sigstore.cosign/bundle`).
#[derive(Deserialize)]
struct Kept {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    payload: KeptPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptPayload {
    body: String,
    integrated_time: i64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// Reads what cosign keeps beside a signature.
///
/// # Errors
/// Where it is malformed.
pub(crate) fn read_kept(annotation: &str) -> Result<TransparencyLogEntry, Refusal> {
    let malformed = |what: &str| {
        Refusal::other(format!("failed to unmarshal bundle from blob payload: {what}"))
    };
    let kept: Kept =
        strict_json::read(annotation.as_bytes()).map_err(|error| malformed(&error.to_string()))?;
    let promise = STANDARD
        .decode(&kept.promise)
        .map_err(|_| malformed("SignedEntryTimestamp is no base64"))?;
    let body = STANDARD.decode(&kept.payload.body).map_err(|_| malformed("body is no base64"))?;
    // The log signed its own spelling, which is in lower case.
    let log_id = hex::decode(&kept.payload.log_id).ok();
    let log_id = log_id.filter(|log_id| hex::encode(log_id) == kept.payload.log_id);
    let log_id = log_id.ok_or_else(|| malformed("logID is not hexadecimal in lower case"))?;
    let time = jiff::Timestamp::from_second(kept.payload.integrated_time)
        .map_err(|_| malformed("integratedTime is no time"))?;
    let index =
        LogIndex::new(kept.payload.log_index).map_err(|_| malformed("logIndex is too large"))?;
    let entry = TransparencyLogEntry::new(
        index,
        LogId::new(LogKeyId::new(log_id)),
        KindVersion::HashedRekordV001,
        CanonicalizedBody::new(body),
    );
    Ok(entry
        .with_integrated_time(time)
        .with_inclusion_promise(InclusionPromise::new(SignedTimestamp::new(promise))))
}

/// Checks that a log promised an entry about this signature, and says when.
///
/// # Errors
/// Where it is about something else, or no known log promised it.
pub(crate) fn check_entry(
    entry: &TransparencyLogEntry,
    signed: &Signed<'_>,
    keys: &Keyring,
    now: jiff::Timestamp,
) -> Result<jiff::Timestamp, Refusal> {
    check_body(entry.canonicalized_body.as_bytes(), signed)?;
    let time = entry.integrated_time.ok_or_else(|| Refusal::other("the entry has no time"))?;
    if time > now {
        return Err(Refusal::other(format!("the entry is of the future: {time}")));
    }
    let log = Sha256Hash::try_from(entry.log_id.key_id.as_bytes()).ok();
    let key = log.and_then(|log| keys.key_at(&log, time)).ok_or_else(|| {
        Refusal::other("verifying bundle: rekor log public key not found for payload")
    })?;
    let promise = entry.inclusion_promise.as_ref();
    let promise = promise.ok_or_else(|| Refusal::other("the entry has no signed timestamp"))?;
    let promise = SignatureBytes::new(promise.signed_entry_timestamp.as_bytes().to_vec());
    key.verify(promised(entry, time), &promise)
        .map_err(|_| Refusal::other("unable to verify SET"))?;
    Ok(time)
}

/// What a log signs when it promises an entry, in canonical JSON (RFC 8785).
fn promised(entry: &TransparencyLogEntry, time: jiff::Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    struct Promised<'a> {
        // In the order of the keys.
        body: &'a str,
        #[serde(rename = "integratedTime")]
        time: i64,
        #[serde(rename = "logID")]
        log: &'a str,
        #[serde(rename = "logIndex")]
        index: i64,
    }
    let promised = Promised {
        body: &STANDARD.encode(entry.canonicalized_body.as_bytes()),
        time: time.as_second(),
        log: &hex::encode(entry.log_id.key_id.as_bytes()),
        index: entry.log_index.as_i64(),
    };
    // Letters, digits and numbers: it cannot fail, and is written in one way.
    serde_json::to_vec(&promised).unwrap_or_default()
}

/// Checks what an entry says of a signature.
fn check_body(body: &[u8], signed: &Signed<'_>) -> Result<(), Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        kind: String,
        api_version: String,
    }
    let malformed = |error: &dyn std::fmt::Display| {
        Refusal::other(format!("the entry of the log is malformed: {error}"))
    };
    let Kind { kind, api_version } = strict_json::read(body).map_err(|error| malformed(&error))?;
    if (kind.as_str(), api_version.as_str()) != ("hashedrekord", "0.0.1") {
        return Err(Refusal::other("unsupported type"));
    }
    let parsed = RekorEntryBody::from_json(body, &kind, &api_version);
    let RekorEntryBody::HashedRekordV001(parsed) = parsed.map_err(|error| malformed(&error))?
    else {
        return Err(Refusal::other("unsupported type"));
    };
    let (data, logged) = (&parsed.spec.data.hash, &parsed.spec.signature);
    if logged.content.as_bytes() != signed.signature {
        return Err(Refusal::other("signature in bundle does not match signature being verified"));
    }
    let is_same_key = match signed.by {
        SignedBy::Key(der) => {
            logged.public_key.parse_public_key().is_ok_and(|key| key.as_bytes() == der)
        }
        SignedBy::Certificate(der) => {
            logged.public_key.parse_certificate().is_ok_and(|key| key.as_bytes() == der)
        }
    };
    if !is_same_key {
        return Err(Refusal::other(
            "the public key in the bundle is not the one that is verified with",
        ));
    }
    let hash = match data.algorithm {
        HashAlgorithm::Sha2256 => sha256(signed.payload).to_hex(),
        HashAlgorithm::Sha2384 => sha384(signed.payload).to_hex(),
        HashAlgorithm::Sha2512 => sha512(signed.payload).to_hex(),
        other => return Err(Refusal::other(format!("unexpected algorithm: {other}"))),
    };
    if data.value.as_str() != hash {
        return Err(Refusal::other("matching bundle to payload: the hashes differ"));
    }
    Ok(())
}

/// Asks the log for the entry of a signature: the earliest of those that are proven.
///
/// # Errors
/// Where the log was not reached, knows none, or proves none.
pub(crate) async fn search(
    url: &str,
    signed: &Signed<'_>,
    keys: &Keyring,
    checks: &Checks<'_>,
) -> Result<TransparencyLogEntry, Refusal> {
    let answer = ask(url, signed, checks).await?;
    let mut refusal = Refusal::other("signature not found in transparency log");
    let mut found: Option<(jiff::Timestamp, TransparencyLogEntry)> = None;
    for (uuid, logged) in answer.into_iter().flatten().take(MOST_ENTRIES) {
        match check_found(&uuid, &logged, signed, keys, checks.now) {
            Ok((time, entry)) => {
                if found.as_ref().is_none_or(|(earliest, _)| time < *earliest) {
                    found = Some((time, entry));
                }
            }
            Err(error) => refusal = error,
        }
    }
    found.map(|(_, entry)| entry).ok_or(refusal)
}

async fn ask(
    url: &str,
    signed: &Signed<'_>,
    checks: &Checks<'_>,
) -> Result<Vec<BTreeMap<String, LogEntry>>, Refusal> {
    let question = serde_json::json!({"entries": [{
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": sha256(signed.payload).to_hex()}},
            "signature": {
                "content": STANDARD.encode(signed.signature),
                "publicKey": {"content": STANDARD.encode(signed.by.pem())},
            },
        },
    }]});
    let url = format!("{}/api/v1/log/entries/retrieve", url.trim_end_matches('/'));
    let context = "searching log query";
    let host = checks.host.as_ref();
    let begun = Instant::now();
    let longest = checks.questions.begin(begun, host.give_up_at());
    let longest = longest.map_err(|error| Refusal::Asked { context, error })?;
    let request = FetchRequest::new(url, UrlSource::Configuration, MOST_ANSWER, longest)
        .with_body("application/json", question.to_string());
    let answer = host.fetch(&request).await;
    checks.questions.end(begun.elapsed());
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.root().code() == ErrorCode::ResourceNotFound => return Ok(Vec::new()),
        Err(error) => return Err(Refusal::Asked { context, error }),
    };
    strict_json::read(&answer).map_err(|error| Refusal::Asked {
        context,
        error: ErrorCode::DataDecodingFailure.error().with_source(error),
    })
}

/// Checks an entry that a log answered: it is the one its name says, the log's tree holds it, and the
/// log promised it.
fn check_found(
    uuid: &str,
    logged: &LogEntry,
    signed: &Signed<'_>,
    keys: &Keyring,
    now: jiff::Timestamp,
) -> Result<(jiff::Timestamp, TransparencyLogEntry), Refusal> {
    let entry = logged
        .to_bundle_entry(KindVersion::HashedRekordV001)
        .map_err(|error| Refusal::other(format!("the entry of the log is malformed: {error}")))?;
    let leaf = sigstore_merkle::hash_leaf(entry.canonicalized_body.as_bytes());
    if !uuid.ends_with(&leaf.to_hex()) {
        return Err(Refusal::other("computed leaf hash did not match UUID"));
    }
    let proof = entry.inclusion_proof.as_ref();
    let proof = proof.ok_or_else(|| Refusal::other("inclusion proof not provided"))?;
    sigstore_merkle::verify_inclusion_proof(
        &leaf,
        proof.log_index.get(),
        proof.tree_size,
        &proof.hashes,
        &proof.root_hash,
    )
    .map_err(|error| Refusal::other(format!("verifying inclusion proof: {error}")))?;
    let time = check_entry(&entry, signed, keys, now)?;
    Ok((time, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_end_with_the_time_and_with_the_request() {
        let now = Instant::now();
        let questions = Questions::of_an_artifact();
        assert_eq!(questions.begin(now, None).unwrap(), LONGEST);
        let soon = now + Duration::from_secs(1);
        assert_eq!(questions.begin(now, Some(soon)).unwrap(), Duration::from_secs(1));
        questions.end(Duration::from_secs(4));
        let later = now + Duration::from_secs(60);
        assert_eq!(questions.begin(now, Some(later)).unwrap(), Duration::from_secs(6));
        let late = questions.begin(later, Some(now)).unwrap_err();
        assert!(late.is_transient());
        questions.end(Duration::from_secs(7));
        let slow = questions.begin(now, None).unwrap_err();
        assert!(slow.is_transient());
        assert_eq!(
            Refusal::Asked { context: "searching log query", error: slow }.text(),
            "searching log query: VERIFY_PLUGIN_FAILURE: the time for asking the log about one artifact is over"
        );
    }
}
