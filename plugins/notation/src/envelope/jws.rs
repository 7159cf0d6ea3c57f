//! The JWS envelope (signature envelope specification, JWS JSON serialization of RFC 7515). A
//! document with a key twice, at any depth, is refused: two readers would see two envelopes.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ratify_core::strict_json;
use serde_json::{Map, Value};

use super::{
    AUTHENTIC_SIGNING_TIME, Algorithm, Attribute, EXPIRY, Envelope, EnvelopeError, Opened, SCHEME,
    SIGNING_TIME, SigningScheme, TIMESTAMP, certificates, must_be_critical, not_critical,
    signing_time,
};
use crate::{certificate::PublicKey, go::quoted, moment::Moment};

/// Signed headers that are no attributes.
const KNOWN: [&str; 7] =
    ["alg", "cty", "crit", EXPIRY, SIGNING_TIME, SCHEME, AUTHENTIC_SIGNING_TIME];

/// Reads an envelope and proves its signature.
pub(super) fn open(bytes: &[u8]) -> Result<Opened, EnvelopeError> {
    let raw = Raw::read(bytes).map_err(EnvelopeError::Unreadable)?;
    let certificates = certificates(raw.certificates.iter().map(Vec::as_slice))?;
    let protected = Protected::read(&raw.protected)?;
    let algorithm = protected.algorithm()?;
    let payload = decoded(&raw.payload).map_err(EnvelopeError::Integrity)?;
    let read: Value = strict_json::read(&payload)
        .map_err(|error| EnvelopeError::Integrity(format!("the payload: {error}")))?;
    if !read.is_object() {
        return Err(EnvelopeError::Integrity("the payload is no JSON object".to_owned()));
    }
    let signature = decoded(&raw.signature).map_err(EnvelopeError::Integrity)?;
    let message = format!("{}.{}", raw.protected, raw.payload);
    if let Some(leaf) = certificates.first() {
        prove(algorithm, &leaf.key, message.as_bytes(), &signature)?;
    }
    let scheme = protected.scheme()?;
    let signing_time = signing_time(
        scheme,
        protected.time(SIGNING_TIME)?,
        protected.time(AUTHENTIC_SIGNING_TIME)?,
    )?;
    let expiry = protected.time(EXPIRY)?;
    let critical = protected.critical()?;
    check_critical(&protected, &critical, must_be_critical(scheme, expiry.is_some()))?;
    let envelope = Envelope {
        payload,
        scheme,
        signing_time,
        expiry,
        certificates,
        attributes: protected.attributes(&critical),
        signature,
        timestamp: raw.timestamp,
    };
    Ok(Opened { envelope, content_type: protected.text("cty")?.to_owned(), algorithm })
}

fn prove(
    algorithm: Algorithm,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), EnvelopeError> {
    if algorithm.verifies(key, message, signature) {
        return Ok(());
    }
    let is_rsa_key = matches!(key.kind, crate::certificate::KeyKind::Rsa(_));
    let reason = match (algorithm.is_rsa(), is_rsa_key) {
        (true, true) => "crypto/rsa: verification error",
        (true, false) => "key is invalid",
        (false, true) => "key is of invalid type",
        (false, false) => "crypto/ecdsa: verification error",
    };
    Err(EnvelopeError::Integrity(reason.to_owned()))
}

/// The envelope as written.
struct Raw {
    protected: String,
    payload: String,
    signature: String,
    certificates: Vec<Vec<u8>>,
    timestamp: Option<Vec<u8>>,
}

impl Raw {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let document = strict_json::read(bytes).map_err(|error| error.to_string())?;
        let Value::Object(document) = document else {
            return Err("the envelope is no JSON object".to_owned());
        };
        let text = |key: &str| match document.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            None | Some(Value::Null) => Ok(String::new()),
            Some(_) => Err(format!("the envelope's {key} is no text")),
        };
        let none = Map::new();
        let header = match document.get("header") {
            Some(Value::Object(header)) => header,
            None | Some(Value::Null) => &none,
            Some(_) => return Err("the envelope's header is no JSON object".to_owned()),
        };
        let certificates = match header.get("x5c") {
            Some(Value::Array(certificates)) => certificates.as_slice(),
            None | Some(Value::Null) => &[],
            Some(_) => return Err("the envelope's x5c is no list".to_owned()),
        };
        Ok(Self {
            protected: text("protected")?,
            payload: text("payload")?,
            signature: text("signature")?,
            certificates: certificates
                .iter()
                .map(|one| binary(one, "x5c"))
                .collect::<Result<_, _>>()?,
            timestamp: header
                .get(TIMESTAMP)
                .filter(|timestamp| !timestamp.is_null())
                .map(|timestamp| binary(timestamp, TIMESTAMP))
                .transpose()?
                .filter(|timestamp| !timestamp.is_empty()),
        })
    }
}

/// Bytes in the usual Base64.
fn binary(value: &Value, key: &str) -> Result<Vec<u8>, String> {
    let text = value.as_str().ok_or_else(|| format!("the envelope's {key} is no text"))?;
    STANDARD.decode(text).map_err(|error| format!("the envelope's {key} is no Base64: {error}"))
}

/// Bytes in the Base64 of JWS.
fn decoded(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("illegal base64 data: {error}"))
}

/// The headers that are signed.
struct Protected(Map<String, Value>);

impl Protected {
    fn read(encoded: &str) -> Result<Self, EnvelopeError> {
        let refused = |error: String| {
            EnvelopeError::Invalid(format!(
                "jws envelope protected header can't be decoded: {error}"
            ))
        };
        let bytes = decoded(encoded).map_err(refused)?;
        match strict_json::read(&bytes).map_err(|error| refused(error.to_string()))? {
            Value::Object(headers) => Ok(Self(headers)),
            _ => Err(refused("it is no JSON object".to_owned())),
        }
    }

    fn algorithm(&self) -> Result<Algorithm, EnvelopeError> {
        let Some(Value::String(name)) = self.0.get("alg") else {
            return Err(EnvelopeError::Integrity(
                "signing method (alg) is unspecified.".to_owned(),
            ));
        };
        Algorithm::of_jws(name).ok_or_else(|| {
            // Those that the library of v1 knows and its verifier does not allow.
            let known = ["none", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "EdDSA"];
            EnvelopeError::Integrity(match known.contains(&name.as_str()) {
                true => format!("signing method {name} is invalid"),
                false => "signing method (alg) is unavailable.".to_owned(),
            })
        })
    }

    fn text(&self, key: &str) -> Result<&str, EnvelopeError> {
        match self.0.get(key) {
            Some(Value::String(text)) => Ok(text),
            None | Some(Value::Null) => Ok(""),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    fn time(&self, key: &str) -> Result<Option<Moment>, EnvelopeError> {
        match self.0.get(key) {
            Some(Value::String(text)) => match Moment::parse_rfc3339(text) {
                Some(time) => Ok(Some(time)),
                None => Err(self.wrong(key, "a time of RFC 3339")),
            },
            None | Some(Value::Null) => Ok(None),
            Some(_) => Err(self.wrong(key, "a time of RFC 3339")),
        }
    }

    fn scheme(&self) -> Result<SigningScheme, EnvelopeError> {
        let name = self.text(SCHEME)?;
        SigningScheme::of(name).ok_or_else(|| {
            let shown = ratify_core::capped_line(name, 200);
            EnvelopeError::Invalid(format!("unsupported SigningScheme: `{shown}`"))
        })
    }

    fn critical(&self) -> Result<Vec<String>, EnvelopeError> {
        let listed = match self.0.get("crit") {
            Some(Value::Array(listed)) => listed.as_slice(),
            None | Some(Value::Null) => &[],
            Some(_) => return Err(self.wrong("crit", "a list of texts")),
        };
        let text = |one: &Value| one.as_str().map(str::to_owned);
        let texts: Option<Vec<String>> = listed.iter().map(text).collect();
        texts.ok_or_else(|| self.wrong("crit", "a list of texts"))
    }

    fn attributes(&self, critical: &[String]) -> Vec<Attribute> {
        let others = self.0.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str()));
        others
            .map(|(key, value)| Attribute {
                key: key.clone(),
                is_text: true,
                is_critical: critical.contains(key),
                value: Some(value.clone()),
            })
            .collect()
    }

    fn wrong(&self, key: &str, must_be: &str) -> EnvelopeError {
        EnvelopeError::Invalid(format!(
            "jws envelope protected header can't be decoded: {key} is not {must_be}"
        ))
    }
}

/// Whether all that is listed as critical is there, once, and all that must be is listed.
fn check_critical(
    protected: &Protected,
    critical: &[String],
    mut must: Vec<&str>,
) -> Result<(), EnvelopeError> {
    if critical.is_empty() {
        return Err(EnvelopeError::invalid("missing \"crit\" header"));
    }
    for key in critical {
        if let Some(at) = must.iter().position(|must| must == key) {
            must.remove(at);
        } else if KNOWN.contains(&key.as_str()) || !protected.0.contains_key(key) {
            return Err(EnvelopeError::Invalid(format!(
                "{} header is marked critical but not present",
                quoted(&ratify_core::capped_line(key, 200))
            )));
        }
    }
    if must.is_empty() { Ok(()) } else { Err(not_critical(&must)) }
}
