//! The JSON of Gatekeeper's external data protocol, as v1 reads and writes it.
//!
//! A request is read as Go reads it (keys of objects in any case, `null` is nothing), but what Go
//! reads in one of two ways, a key given twice, is refused. Nothing is kept that is not needed, so
//! that a hostile body costs no more than its own size.

use std::fmt;

use jiff::Timestamp;
use ratify_core::{Reports, VerifyResult, go_json};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// More keys than an admission request can have images.
pub(super) const MAX_KEYS: usize = 1000;

const API_VERSION: &str = "externaldata.gatekeeper.sh/v1alpha1";
const KIND: &str = "ProviderResponse";

/// The keys of a request, as sent.
///
/// # Errors
/// When the body is no request.
pub(super) fn parse_request(body: &[u8]) -> serde_json::Result<Vec<String>> {
    serde_json::from_slice::<Document>(body).map(|document| document.0)
}

/// An answer to one key.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Item {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<ItemValue>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) error: String,
}

/// What a key is answered with.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum ItemValue {
    /// A verdict.
    Verification(VerificationResponse),
    /// A reference.
    Mutation(String),
}

/// A verdict as constraint templates read it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerificationResponse {
    version: &'static str,
    is_success: bool,
    #[serde(rename = "traceID", skip_serializing_if = "String::is_empty")]
    trace_id: String,
    timestamp: String,
    #[serde(skip_serializing_if = "Reports::is_empty")]
    verifier_reports: Reports,
}

/// The whole answer: items, or an error of the system.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProviderResponse {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    idempotent: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<Item>,
    #[serde(skip_serializing_if = "String::is_empty")]
    system_error: String,
}

impl VerificationResponse {
    /// A verdict, at the time it is answered.
    pub(super) fn new(
        version: &'static str,
        result: VerifyResult,
        trace_id: String,
        at: Timestamp,
    ) -> Self {
        Self {
            version,
            is_success: result.is_success,
            trace_id,
            // Go's RFC3339Nano: the shortest fraction, UTC as `Z`.
            timestamp: at.to_string(),
            verifier_reports: result.verifier_reports,
        }
    }
}

impl ProviderResponse {
    /// An answer of items. Only a mutation may be asked for twice, so only it is idempotent.
    pub(super) fn items(items: Vec<Item>, idempotent: bool) -> Self {
        Self::new(Response { idempotent, items, system_error: String::new() })
    }

    /// An answer that there is none.
    pub(super) fn system_error(error: &str, idempotent: bool) -> Self {
        Self::partly(Vec::new(), error, idempotent)
    }

    /// An answer of items to some of the keys, and why there is none to the others.
    pub(super) fn partly(items: Vec<Item>, error: &str, idempotent: bool) -> Self {
        let system_error = format!("operation failed with error {error}");
        Self::new(Response { idempotent, items, system_error })
    }

    fn new(response: Response) -> Self {
        Self { api_version: API_VERSION, kind: KIND, response }
    }

    /// One line of JSON as Go's encoder writes it.
    ///
    /// # Errors
    /// Never in practice: all keys are strings.
    pub(super) fn to_body(&self) -> serde_json::Result<String> {
        let mut body = go_json::to_string(self)?;
        body.push('\n');
        Ok(body)
    }
}

struct Document(Vec<String>);
struct RequestObject(Vec<String>);
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Document;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a ProviderRequest")
            }

            fn visit_unit<E>(self) -> Result<Document, E> {
                Ok(Document(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
                let mut request = None;
                while let Some(key) = entries.next_key::<String>()? {
                    match key.to_ascii_lowercase().as_str() {
                        "request" => {
                            once(&request, "request")?;
                            request = Some(entries.next_value::<RequestObject>()?.0);
                        }
                        "apiversion" | "kind" => drop(entries.next_value::<Option<String>>()?),
                        _ => drop(entries.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Document(request.unwrap_or_default()))
            }
        }
        deserializer.deserialize_any(Walk)
    }
}

impl<'de> Deserialize<'de> for RequestObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = RequestObject;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with keys")
            }

            fn visit_unit<E>(self) -> Result<RequestObject, E> {
                Ok(RequestObject(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut entries: A,
            ) -> Result<RequestObject, A::Error> {
                let mut keys = None;
                while let Some(key) = entries.next_key::<String>()? {
                    if key.eq_ignore_ascii_case("keys") {
                        once(&keys, "keys")?;
                        keys = Some(entries.next_value::<Keys>()?.0);
                    } else {
                        entries.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(RequestObject(keys.unwrap_or_default()))
            }
        }
        deserializer.deserialize_any(Walk)
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Keys;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of strings")
            }

            fn visit_unit<E>(self) -> Result<Keys, E> {
                Ok(Keys(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                // Go reads a null as an empty string.
                while let Some(key) = items.next_element::<Option<String>>()? {
                    if keys.len() == MAX_KEYS {
                        return Err(A::Error::custom(format_args!("more than {MAX_KEYS} keys")));
                    }
                    keys.push(key.unwrap_or_default());
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_any(Walk)
    }
}

fn once<T, E: serde::de::Error>(seen: &Option<T>, key: &'static str) -> Result<(), E> {
    if seen.is_some() { Err(E::duplicate_field(key)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use ratify_core::VerifierReport;

    use super::*;

    fn request(keys: &str) -> Vec<u8> {
        format!(
            r#"{{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderRequest","request":{{"keys":{keys}}}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn reads_keys_as_go_does() {
        assert_eq!(parse_request(&request(r#"["a","a",null,"b"]"#)).unwrap(), ["a", "a", "", "b"]);
        let nothing: [&[u8]; 7] = [
            b"null",
            b"{}",
            br#"{"request":null}"#,
            br#"{"request":{}}"#,
            br#"{"request":{"keys":null}}"#,
            br#"{"request":{"keys":[]},"other":[[{}]]}"#,
            br#"{"apiVersion":null,"kind":""}"#,
        ];
        for body in nothing {
            assert!(parse_request(body).unwrap().is_empty());
        }
        assert_eq!(parse_request(br#"{"REQUEST":{"Keys":["a"]}}"#).unwrap(), ["a"]);
    }

    #[test]
    fn refuses_what_is_no_request() {
        let deep = format!(r#"{{"request":{{"keys":{}"#, "[".repeat(100_000));
        let many = format!("[{}\"\"]", "\"\",".repeat(MAX_KEYS));
        let too_many = String::from_utf8(request(&many)).unwrap();
        for body in [
            "",
            "<html><body>hello</body></html>",
            "[]",
            "1",
            "1e999999",
            "\"text\"",
            "{\"request\":[]}",
            "{\"request\":{\"keys\":\"a\"}}",
            "{\"request\":{\"keys\":{}}}",
            "{\"request\":{\"keys\":[1]}}",
            "{\"request\":{\"keys\":[99999999999999999999999999999999]}}",
            "{\"request\":{\"keys\":[[]]}}",
            "{\"apiVersion\":1}",
            "{\"request\":{},\"request\":{}}",
            "{\"request\":{\"keys\":[],\"KEYS\":[]}}",
            "{} {}",
            "{\"request\":",
            &deep,
            &too_many,
        ] {
            assert!(parse_request(body.as_bytes()).is_err(), "{body:.60}");
        }
        assert!(parse_request(b"{\"request\":{\"keys\":[\"\xff\"]}}").is_err());
    }

    #[test]
    fn writes_a_verification_as_v1_does() {
        let mut report = VerifierReport::failure("a < b & c");
        report.subject = "localhost:5055/lab:unsigned".into();
        let verdict = VerificationResponse::new(
            "0.2.0",
            VerifyResult::new(false, vec![report]),
            "37663b23".into(),
            "2026-11-24T14:56:58.690183770Z".parse().unwrap(),
        );
        let items = vec![
            Item {
                key: "A/B@bad".into(),
                value: None,
                error: "REFERENCE_INVALID: failed to parse subject reference".into(),
            },
            Item {
                key: "[ns1]localhost:5055/lab:unsigned".into(),
                value: Some(ItemValue::Verification(verdict)),
                error: String::new(),
            },
        ];
        insta::assert_snapshot!(ProviderResponse::items(items, false).to_body().unwrap(), @r#"{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderResponse","response":{"items":[{"key":"A/B@bad","error":"REFERENCE_INVALID: failed to parse subject reference"},{"key":"[ns1]localhost:5055/lab:unsigned","value":{"version":"0.2.0","isSuccess":false,"traceID":"37663b23","timestamp":"2026-11-24T14:56:58.69018377Z","verifierReports":[{"subject":"localhost:5055/lab:unsigned","isSuccess":false,"message":"a \u003c b \u0026 c"}]}}]}}"#);
    }

    #[test]
    fn writes_mutations_nothing_and_errors_as_v1_does() {
        let item = Item {
            key: String::new(),
            value: Some(ItemValue::Mutation(String::new())),
            error: "E".into(),
        };
        insta::assert_snapshot!(ProviderResponse::items(vec![item], true).to_body().unwrap(), @r#"{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderResponse","response":{"idempotent":true,"items":[{"value":"","error":"E"}]}}"#);
        insta::assert_snapshot!(ProviderResponse::items(vec![], false).to_body().unwrap(), @r#"{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderResponse","response":{}}"#);
        insta::assert_snapshot!(ProviderResponse::system_error("E", true).to_body().unwrap(), @r#"{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderResponse","response":{"idempotent":true,"systemError":"operation failed with error E"}}"#);
    }

    #[test]
    fn a_whole_second_has_no_fraction() {
        let at = |text: &str| {
            let at = text.parse().unwrap();
            VerificationResponse::new("0.2.0", VerifyResult::default(), String::new(), at).timestamp
        };
        assert_eq!(at("2026-11-24T14:56:58.000000000Z"), "2026-11-24T14:56:58Z");
        assert_eq!(at("2026-11-24T14:56:58.690000000Z"), "2026-11-24T14:56:58.69Z");
    }
}
