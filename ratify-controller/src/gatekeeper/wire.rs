//! The JSON of Gatekeeper's external data protocol, as v1 reads and writes it.
//!
//! A request is read as Go reads it (keys of objects in any case, with the letters that Go folds;
//! `null` is nothing), but what Go reads in one of two ways, a key given twice, is refused. Nothing
//! is kept that is not needed, so that a hostile body costs no more than its own size.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use ratify_core::{Reports, VerifyResult, go_json};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::verdict::Verdict;

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

/// An answer to one key. What is empty is left out.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) value: Option<ItemValue>,
    pub(super) error: String,
}

/// What a key is answered with.
#[derive(Debug, Clone)]
pub(super) enum ItemValue {
    /// A verdict, for one who asked.
    Verification { verdict: Arc<Verdict>, trace_id: Arc<str>, at: Timestamp },
    /// A reference.
    Mutation(String),
}

/// A verdict as constraint templates read it, for the log.
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
#[derive(Debug, Clone)]
pub(super) struct ProviderResponse {
    idempotent: bool,
    items: Vec<Item>,
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
            timestamp: at.to_string(),
            verifier_reports: result.verifier_reports,
        }
    }
}

impl ProviderResponse {
    /// An answer of items. Only a mutation may be asked for twice, so only it is idempotent.
    pub(super) fn items(items: Vec<Item>, idempotent: bool) -> Self {
        Self { idempotent, items, system_error: String::new() }
    }

    /// An answer that there is none.
    pub(super) fn system_error(error: &str, idempotent: bool) -> Self {
        Self::partly(Vec::new(), error, idempotent)
    }

    /// An answer of items to some of the keys, and why there is none to the others.
    pub(super) fn partly(items: Vec<Item>, error: &str, idempotent: bool) -> Self {
        let system_error = format!("operation failed with error {error}");
        Self { idempotent, items, system_error }
    }

    /// One line of JSON as Go's encoder writes it. It is put together by hand: the reports of a
    /// verdict are written already.
    ///
    /// # Errors
    /// Never in practice: all keys are strings.
    pub(super) fn to_body(&self) -> serde_json::Result<String> {
        let mut body =
            String::with_capacity(256 + self.items.iter().map(Item::bytes).sum::<usize>());
        body.push_str("{\"apiVersion\":\"");
        body.push_str(API_VERSION);
        body.push_str("\",\"kind\":\"");
        body.push_str(KIND);
        body.push_str("\",\"response\":{");
        let mut before = "";
        if self.idempotent {
            body.push_str("\"idempotent\":true");
            before = ",";
        }
        for (index, item) in self.items.iter().enumerate() {
            body.push_str(if index == 0 { before } else { "," });
            body.push_str(if index == 0 { "\"items\":[" } else { "" });
            item.write(&mut body)?;
        }
        if !self.items.is_empty() {
            body.push(']');
            before = ",";
        }
        if !self.system_error.is_empty() {
            body.push_str(before);
            body.push_str("\"systemError\":");
            go_json::push_string(&self.system_error, &mut body)?;
        }
        body.push_str("}}\n");
        Ok(body)
    }
}

impl Item {
    fn write(&self, to: &mut String) -> serde_json::Result<()> {
        to.push('{');
        let mut before = "";
        if !self.key.is_empty() {
            to.push_str("\"key\":");
            go_json::push_string(&self.key, to)?;
            before = ",";
        }
        if let Some(value) = &self.value {
            to.push_str(before);
            to.push_str("\"value\":");
            match value {
                ItemValue::Mutation(reference) => go_json::push_string(reference, to)?,
                ItemValue::Verification { verdict, trace_id, at } => {
                    verdict.write(trace_id, *at, to)?;
                }
            }
            before = ",";
        }
        if !self.error.is_empty() {
            to.push_str(before);
            to.push_str("\"error\":");
            go_json::push_string(&self.error, to)?;
        }
        to.push('}');
        Ok(())
    }

    /// How long it is, about.
    fn bytes(&self) -> usize {
        let of_value = match &self.value {
            Some(ItemValue::Verification { verdict, .. }) => 128 + verdict.bytes(),
            Some(ItemValue::Mutation(reference)) => reference.len(),
            None => 0,
        };
        64 + self.key.len() + of_value + self.error.len()
    }
}

struct Document(Vec<String>);
struct RequestObject(Vec<String>);
struct Keys(Vec<String>);

/// A key of an object, as Go finds it.
enum Key {
    Request,
    Keys,
    /// One whose value is a text that is not needed.
    Text,
    Other,
}

/// A text that is not needed.
struct Text;

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                let is = |known: &str| go_json::is_key(name, known);
                Ok(match () {
                    () if is("request") => Key::Request,
                    () if is("keys") => Key::Keys,
                    () if is("apiVersion") || is("kind") => Key::Text,
                    () => Key::Other,
                })
            }
        }
        deserializer.deserialize_str(Name)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E>(self, _: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }
        deserializer.deserialize_str(Any)
    }
}

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
                while let Some(key) = entries.next_key()? {
                    match key {
                        Key::Request => {
                            once(&request, "request")?;
                            request = Some(entries.next_value::<RequestObject>()?.0);
                        }
                        Key::Text => {
                            entries.next_value::<Option<Text>>()?;
                        }
                        Key::Keys | Key::Other => {
                            entries.next_value::<IgnoredAny>()?;
                        }
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
                while let Some(key) = entries.next_key()? {
                    if matches!(key, Key::Keys) {
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
        for body in [r#"{"REQUEST":{"Keys":["a"]}}"#, r#"{"requeſt":{"\u212aeyſ":["a"]}}"#] {
            assert_eq!(parse_request(body.as_bytes()).unwrap(), ["a"], "{body}");
        }
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
            "{\"request\":{\"keys\":[],\"keyſ\":[]}}",
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
        let result = VerifyResult::new(false, vec![report]);
        let verdict = ItemValue::Verification {
            verdict: Arc::new(Verdict::new("0.2.0", &result).unwrap()),
            trace_id: "37663b23".into(),
            at: "2026-11-24T14:56:58.690183770Z".parse().unwrap(),
        };
        let items = vec![
            Item {
                key: "A/B@bad".into(),
                value: None,
                error: "REFERENCE_INVALID: failed to parse subject reference".into(),
            },
            Item {
                key: "[ns1]localhost:5055/lab:unsigned".into(),
                value: Some(verdict),
                error: String::new(),
            },
        ];
        insta::assert_snapshot!(ProviderResponse::items(items, false).to_body().unwrap(), @r#"{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderResponse","response":{"items":[{"key":"A/B@bad","error":"REFERENCE_INVALID: failed to parse subject reference"},{"key":"[ns1]localhost:5055/lab:unsigned","value":{"version":"0.2.0","isSuccess":false,"traceID":"37663b23","timestamp":"2026-11-24T14:56:58.69018377Z","verifierReports":[{"subject":"localhost:5055/lab:unsigned","isSuccess":false,"message":"a \u003c b \u0026 c"}]}}]}}"#);
    }

    #[test]
    fn a_verdict_is_answered_as_it_is_logged_whatever_is_in_it() {
        let mut report = VerifierReport::success("<&>\u{2028}\"");
        report.extensions = serde_json::json!({"z": 1000.0, "a": ["<"], "m": {"k": null}});
        let at = "2026-11-24T14:56:58Z".parse().unwrap();
        for (reports, trace_id) in [(vec![report], "a\"b"), (vec![], "")] {
            let result = VerifyResult::new(true, reports);
            let logged = VerificationResponse::new("1.1.0", result.clone(), trace_id.into(), at);
            let mut answered = String::new();
            let verdict = Verdict::new("1.1.0", &result).unwrap();
            verdict.write(trace_id, at, &mut answered).unwrap();
            assert_eq!(answered, go_json::to_string(&logged).unwrap());
        }
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
}
