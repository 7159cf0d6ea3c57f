//! The COSE envelope (signature envelope specification, COSE_Sign1 of RFC 9052). `coset` reads it, keeps
//! the signed bytes as they were and refuses a header that is given twice.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coset::{
    CoseSign1, Header, Label, RegisteredLabelWithPrivate, TaggedCborSerializable as _,
    cbor::value::Value,
    iana::{self, EnumI64 as _},
};

use super::{
    AUTHENTIC_SIGNING_TIME, Algorithm, Attribute, EXPIRY, Envelope, EnvelopeError, Opened, SCHEME,
    SIGNING_TIME, SigningScheme, TIMESTAMP, certificates, must_be_critical, not_critical,
    signing_time,
};
use crate::moment::Moment;

/// The label of the certificates (RFC 9360).
const X5CHAIN: Label = Label::Int(33);
/// The tag of a time in seconds (RFC 8949, section 3.4.2).
const EPOCH: u64 = 1;
/// Signed headers of the specification, which are no attributes.
const KNOWN: [&str; 4] = [EXPIRY, SCHEME, SIGNING_TIME, AUTHENTIC_SIGNING_TIME];

/// Reads an envelope and proves its signature.
pub(super) fn open(bytes: &[u8]) -> Result<Opened, EnvelopeError> {
    let message = CoseSign1::from_tagged_slice(bytes)
        .map_err(|error| EnvelopeError::Unreadable(format!("cbor: {error}")))?;
    if message.signature.is_empty() {
        return Err(EnvelopeError::Unreadable("empty signature".to_owned()));
    }
    let certificates = certificates(chain(&message.unprotected)?.into_iter())?;
    let algorithm = prove(&message, &certificates)?;
    let protected = &message.protected.header;
    let content_type = content_type(protected)?;
    let scheme = scheme(protected)?;
    let expiry = time(protected, EXPIRY, "expiry")?;
    let signing_time = signing_time(
        scheme,
        time(protected, SIGNING_TIME, "signingTime")?,
        time(protected, AUTHENTIC_SIGNING_TIME, "signingTime")?,
    )?;
    let critical = critical(protected)?;
    let missing: Vec<&str> = must_be_critical(scheme, expiry.is_some())
        .into_iter()
        .filter(|must| !critical.iter().any(|one| one == must))
        .collect();
    if !missing.is_empty() {
        return Err(not_critical(&missing));
    }
    let attributes = attributes(protected, &critical);
    let timestamp = match get(&message.unprotected, TIMESTAMP) {
        Some(Value::Bytes(timestamp)) if !timestamp.is_empty() => Some(timestamp.clone()),
        _ => None,
    };
    let envelope = Envelope {
        payload: message.payload.unwrap_or_default(),
        scheme,
        signing_time,
        expiry,
        certificates,
        attributes,
        signature: message.signature,
        timestamp,
    };
    Ok(Opened { envelope, content_type, algorithm })
}

/// The certificates: a list of byte strings.
fn chain<'a>(unprotected: &'a Header) -> Result<Vec<&'a [u8]>, EnvelopeError> {
    let found = unprotected.rest.iter().find(|(label, _)| *label == X5CHAIN);
    let Some((_, Value::Array(certificates))) = found else { return Ok(Vec::new()) };
    let bytes = |certificate: &'a Value| match certificate {
        Value::Bytes(bytes) => Ok(bytes.as_slice()),
        _ => Err(EnvelopeError::invalid("COSE envelope malformed leaf certificate")),
    };
    certificates.iter().map(bytes).collect()
}

/// Proves the signature by the key of the first certificate, which also decides the algorithm.
fn prove(
    message: &CoseSign1,
    certificates: &[crate::certificate::Certificate],
) -> Result<Algorithm, EnvelopeError> {
    let Some(leaf) = certificates.first() else {
        return Err(EnvelopeError::invalid("certificate chain is not present"));
    };
    let algorithm = Algorithm::of_key(&leaf.key).map_err(EnvelopeError::Invalid)?;
    let named = named_algorithm(&message.protected.header)?;
    if named != algorithm {
        return Err(EnvelopeError::Integrity(format!(
            "algorithm mismatch: the key of the certificate signs by {algorithm:?}, and the header says {named:?}"
        )));
    }
    if message.payload.is_none() {
        return Err(EnvelopeError::Integrity("missing payload".to_owned()));
    }
    message.verify_signature(&[], |signature, signed| {
        match algorithm.verifies(&leaf.key, signed, signature) {
            true => Ok(()),
            false => Err(EnvelopeError::Integrity("verification error".to_owned())),
        }
    })?;
    Ok(algorithm)
}

fn named_algorithm(protected: &Header) -> Result<Algorithm, EnvelopeError> {
    match &protected.alg {
        None => Err(EnvelopeError::Integrity("algorithm not found".to_owned())),
        Some(RegisteredLabelWithPrivate::Assigned(algorithm)) => match algorithm {
            iana::Algorithm::PS256 => Ok(Algorithm::Ps256),
            iana::Algorithm::PS384 => Ok(Algorithm::Ps384),
            iana::Algorithm::PS512 => Ok(Algorithm::Ps512),
            iana::Algorithm::ES256 => Ok(Algorithm::Es256),
            iana::Algorithm::ES384 => Ok(Algorithm::Es384),
            iana::Algorithm::ES512 => Ok(Algorithm::Es512),
            other => Err(EnvelopeError::Integrity(format!(
                "signature algorithm not supported: {}",
                other.to_i64()
            ))),
        },
        Some(_) => Err(EnvelopeError::Integrity("signature algorithm not supported".to_owned())),
    }
}

fn content_type(protected: &Header) -> Result<String, EnvelopeError> {
    match &protected.content_type {
        None => Err(EnvelopeError::invalid("missing content type")),
        Some(coset::ContentType::Text(text)) => Ok(text.clone()),
        Some(_) => Err(EnvelopeError::invalid("content type should be of 'tstr' type")),
    }
}

fn scheme(protected: &Header) -> Result<SigningScheme, EnvelopeError> {
    let Some(Value::Text(name)) = get(protected, SCHEME) else {
        return Err(EnvelopeError::invalid("invalid signingScheme"));
    };
    SigningScheme::of(name).ok_or_else(|| {
        let shown = ratify_core::capped_line(name, 200);
        EnvelopeError::Invalid(format!("unsupported signingScheme: {shown}"))
    })
}

/// A time in seconds, under its tag.
fn time(protected: &Header, label: &str, shown: &str) -> Result<Option<Moment>, EnvelopeError> {
    let invalid = |reason: &str| EnvelopeError::Invalid(format!("invalid {shown}: {reason}"));
    let seconds = match get(protected, label) {
        None => return Ok(None),
        Some(Value::Tag(EPOCH, seconds)) => seconds,
        Some(Value::Tag(..)) => {
            return Err(invalid("only Tag `1` Datetime CBOR object is supported"));
        }
        Some(_) => {
            return Err(invalid(&format!("header \"{label}\" time value does not have a tag")));
        }
    };
    let seconds = match seconds.as_ref() {
        Value::Integer(seconds) => i64::try_from(i128::from(*seconds)).ok(),
        _ => None,
    };
    // The years that a certificate can name.
    match seconds.filter(|seconds| (-62_135_596_800..=253_402_300_799).contains(seconds)) {
        Some(seconds) => Ok(Some(Moment::from_unix(seconds))),
        None => Err(invalid("invalid timeValue type")),
    }
}

/// The labels that are critical, all of which must be there.
fn critical(protected: &Header) -> Result<Vec<String>, EnvelopeError> {
    let label = |label: &RegisteredLabelWithPrivate<iana::HeaderParameter>| {
        let (text, number) = match label {
            RegisteredLabelWithPrivate::Text(text) => (text.clone(), None),
            RegisteredLabelWithPrivate::Assigned(known) => {
                (known.to_i64().to_string(), Some(known.to_i64()))
            }
            RegisteredLabelWithPrivate::PrivateUse(number) => (number.to_string(), Some(*number)),
        };
        let is_there = match number {
            None => get(protected, &text).is_some(),
            Some(number) => has_number(protected, number),
        };
        let shown = ratify_core::capped_line(&text, 200);
        is_there
            .then_some(text)
            .ok_or_else(|| EnvelopeError::Invalid(format!("missing critical header: {shown}")))
    };
    protected.crit.iter().map(label).collect()
}

fn has_number(protected: &Header, number: i64) -> bool {
    match number {
        1 => protected.alg.is_some(),
        2 => !protected.crit.is_empty(),
        3 => protected.content_type.is_some(),
        _ => protected.rest.iter().any(|(label, _)| *label == Label::Int(number)),
    }
}

/// Signed headers that are not of the specification. One with a number for a label is called by it.
fn attributes(protected: &Header, critical: &[String]) -> Vec<Attribute> {
    let attribute = |(label, value): &(Label, Value)| {
        let key = match label {
            Label::Text(text) => text.clone(),
            Label::Int(number) => number.to_string(),
        };
        let is_critical = critical.contains(&key);
        let is_known = matches!(label, Label::Text(text) if KNOWN.contains(&text.as_str()));
        let is_text = matches!(label, Label::Text(_));
        (!is_known).then(|| Attribute { key, is_text, is_critical, value: json(value) })
    };
    protected.rest.iter().filter_map(attribute).collect()
}

/// A value as Go writes it in JSON, for plugins of Notation; `None` where it cannot, or we do not.
fn json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Text(text) => text.clone().into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Integer(number) => i64::try_from(i128::from(*number)).ok()?.into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        Value::Array(items) => items.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        _ => return None,
    })
}

fn get<'a>(header: &'a Header, label: &str) -> Option<&'a Value> {
    let is_it = |of: &Label| matches!(of, Label::Text(text) if text == label);
    header.rest.iter().find(|(of, _)| is_it(of)).map(|(_, value)| value)
}
