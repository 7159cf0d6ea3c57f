//! The form of JWS.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::*;
use crate::testing::{PAYLOAD, SIGNED_AT, has_openssl, sign};

const MEDIA_TYPE: &str = "application/jose+json";

/// The members of an object in their order, each perhaps more than once, with the text of their values.
#[derive(Clone)]
struct Members(Vec<(&'static str, String)>);

impl Members {
    fn of<const N: usize>(members: [(&'static str, Value); N]) -> Self {
        Self(members.map(|(key, value)| (key, value.to_string())).into())
    }

    fn text(&self) -> String {
        let members = self.0.iter().map(|(key, value)| format!("\"{key}\":{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    fn value(&self, key: &str) -> Value {
        let (_, text) = self.0.iter().find(|(of, _)| *of == key).unwrap();
        serde_json::from_str(text).unwrap()
    }

    /// The same with another value for a key, which may be new.
    fn with(&self, key: &'static str, value: &Value) -> Self {
        let mut members = self.clone();
        match members.0.iter_mut().find(|(of, _)| *of == key) {
            Some((_, text)) => *text = value.to_string(),
            None => members.0.push((key, value.to_string())),
        }
        members
    }

    /// The same with one member changed; `change` says how a value is.
    fn changed(&self, key: &'static str, how: Change, change: fn(&Value, Change) -> Value) -> Self {
        let value = self.value(key);
        let mut members = self.clone();
        match how {
            Change::Twice => members.0.push((key, value.to_string())),
            Change::Removed => members.0.retain(|(of, _)| *of != key),
            Change::Null => return self.with(key, &Value::Null),
            Change::Number => return self.with(key, &json!(1)),
            how => return self.with(key, &change(&value, how)),
        }
        members
    }
}

/// A text or a list that is signed, changed.
fn signed_value(value: &Value, how: Change) -> Value {
    match (value, how) {
        (Value::String(text), how) => changed_text(text, how).into(),
        (Value::Array(items), Change::Cut) => items[..items.len() - 1].to_vec().into(),
        (Value::Array(_), Change::Empty) => json!([]),
        (Value::Array(items), how) => {
            let mut items = items.clone();
            items[0] = signed_value(&items[0], how);
            items.into()
        }
        (Value::Number(number), Change::Flipped) => (number.as_u64().unwrap() ^ 1).into(),
        (Value::Object(_), Change::Empty) => json!({}),
        (other, _) => json!([other]),
    }
}

/// Bytes in the Base64 of JWS, changed: in the middle, which for JSON is always the same one.
fn encoded(value: &Value, how: Change) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
    URL_SAFE_NO_PAD.encode(changed_bytes(&bytes, bytes.len() / 2, how)).into()
}

/// DER in Base64, changed: in its last byte, which is of a signature.
fn encoded_der(value: &Value, how: Change) -> Value {
    let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    STANDARD.encode(changed_bytes(&bytes, bytes.len() - 1, how)).into()
}

fn protected() -> Members {
    Members::of([
        ("alg", json!("ES256")),
        ("cty", json!(CONTENT_TYPE)),
        ("crit", json!([SCHEME, EXPIRY])),
        (SCHEME, json!("notary.x509")),
        (SIGNING_TIME, json!(SIGNED_AT)),
        (EXPIRY, json!("2024-06-01T00:00:00Z")),
        ("a", json!("an attribute")),
    ])
}

impl Lab {
    /// The document, and its header, of an envelope without a timestamp.
    fn jws(&self, protected: &str, payload: &str) -> (Members, Members) {
        let (protected, payload) =
            (URL_SAFE_NO_PAD.encode(protected), URL_SAFE_NO_PAD.encode(payload));
        let signature = sign(&self.leaf.key, format!("{protected}.{payload}").as_bytes());
        let chain = self.chain().map(|one| STANDARD.encode(one.der()));
        let header = Members::of([("x5c", json!(chain)), (AGENT, json!("test"))]);
        let document = Members::of([
            ("payload", payload.into()),
            ("protected", protected.into()),
            ("signature", URL_SAFE_NO_PAD.encode(signature).into()),
        ]);
        (document, header)
    }

    fn refusal_of(&self, document: &Members, header: &Members) -> Option<String> {
        let text = with_header(document, header).text();
        self.refusal(MEDIA_TYPE, text.as_bytes(), false)
    }

    fn refusal_of_signed(&self, protected: &str, payload: &str) -> Option<String> {
        let (document, header) = self.jws(protected, payload);
        self.refusal_of(&document, &header)
    }
}

fn with_header(document: &Members, header: &Members) -> Members {
    let mut document = document.clone();
    document.0.push(("header", header.text()));
    document
}

#[test]
fn each_part_is_refused_that_is_cut_changed_empty_of_another_type_left_out_or_twice() {
    if !has_openssl() {
        return;
    }
    let lab = Lab::new();
    let (document, header) = lab.jws(&protected().text(), PAYLOAD);
    let signature = URL_SAFE_NO_PAD.decode(document.value("signature").as_str().unwrap()).unwrap();
    let header = header.with(TIMESTAMP, &STANDARD.encode(lab.timestamp(&signature)).into());
    let timed = |document: &Members, header: &Members| {
        let text = with_header(document, header).text();
        lab.refusal(MEDIA_TYPE, text.as_bytes(), true)
    };
    assert_eq!(timed(&document, &header), None, "all that is wrong below is what was changed");
    let mut table = Table::default();
    for key in ["payload", "protected", "signature"] {
        for how in CHANGES {
            let refusal = timed(&document.changed(key, how, encoded), &header);
            table.add(&format!("{key} {how:?}"), refusal);
        }
    }
    let other = URL_SAFE_NO_PAD.encode(PAYLOAD.replace("abab", "cdcd"));
    table.add("payload of another image", timed(&document.with("payload", &other.into()), &header));
    for how in CHANGES {
        let changed = header.changed(TIMESTAMP, how, encoded_der);
        table.add(&format!("header.timestamp {how:?}"), timed(&document, &changed));
    }
    for how in [Change::Cut, Change::Empty, Change::Null, Change::Number, Change::Removed] {
        let changed = header.changed("x5c", how, signed_value);
        table.add(&format!("header.x5c {how:?}"), timed(&document, &changed));
    }
    table.add("header.x5c Twice", timed(&document, &header.changed("x5c", Change::Twice, encoded)));
    for (at, how) in (0..3).flat_map(|at| CHANGES.map(|how| (at, how))) {
        let mut chain = header.value("x5c").as_array().unwrap().clone();
        match how {
            Change::Removed => drop(chain.remove(at)),
            Change::Twice => chain.insert(at, chain[at].clone()),
            Change::Null => chain[at] = Value::Null,
            Change::Number => chain[at] = json!(1),
            how => chain[at] = encoded_der(&chain[at], how),
        }
        let changed = header.with("x5c", &chain.into());
        table.add(&format!("header.x5c[{at}] {how:?}"), timed(&document, &changed));
    }
    let mut both = with_header(&document, &header);
    both.0.push(("header", header.text()));
    table.add("header Twice", lab.refusal(MEDIA_TYPE, both.text().as_bytes(), true));
    for (what, value) in [
        ("Empty", json!({})),
        ("Null", Value::Null),
        ("Number", json!(1)),
        ("a list", json!([header.value("x5c")])),
    ] {
        let text = document.with("header", &value).text();
        table.add(&format!("header {what}"), lab.refusal(MEDIA_TYPE, text.as_bytes(), true));
    }
    table.add("header Removed", lab.refusal(MEDIA_TYPE, document.text().as_bytes(), true));
    assert_eq!(table.accepted(), Vec::<&str>::new());
    insta::assert_snapshot!(table.0);
}

/// The signer signed it so: what counts is what it says.
#[test]
fn each_header_and_field_that_is_signed_wrongly_is_refused() {
    let lab = Lab::new();
    assert_eq!(lab.refusal_of_signed(&protected().text(), PAYLOAD), None);
    let mut table = Table::default();
    for (key, how) in protected().0.iter().flat_map(|(key, _)| CHANGES.map(|how| (*key, how))) {
        let changed = protected().changed(key, how, signed_value);
        table.add(&format!("{key} {how:?}"), lab.refusal_of_signed(&changed.text(), PAYLOAD));
    }
    let payload: Value = serde_json::from_str(PAYLOAD).unwrap();
    let target = &payload["targetArtifact"];
    let target = Members::of(["mediaType", "digest", "size"].map(|key| (key, target[key].clone())));
    let of_target = |target: &Members| {
        let payload = format!(r#"{{"targetArtifact":{}}}"#, target.text());
        lab.refusal_of_signed(&protected().text(), &payload)
    };
    assert_eq!(of_target(&target), None);
    for (key, how) in target.0.iter().flat_map(|(key, _)| CHANGES.map(|how| (*key, how))) {
        let changed = target.changed(key, how, signed_value);
        table.add(&format!("targetArtifact.{key} {how:?}"), of_target(&changed));
    }
    for payload in [
        "",
        "{",
        "null",
        "[]",
        "\"\"",
        "{}",
        r#"{"targetArtifact":null}"#,
        r#"{"targetArtifact":[]}"#,
        &format!("{PAYLOAD}{PAYLOAD}"),
        &PAYLOAD.replacen('{', r#"{"targetArtifact":{},"#, 1),
    ] {
        let refusal = lab.refusal_of_signed(&protected().text(), payload);
        let shown = payload.replace(PAYLOAD, "<payload>").replace(&PAYLOAD[1..], "<payload");
        table.add(&format!("payload {shown}"), refusal);
    }
    for (what, headers) in [
        ("none", String::new()),
        ("a list", "[]".to_owned()),
        ("two", protected().text() + &protected().text()),
        ("crit alg", protected().with("crit", &json!([SCHEME, EXPIRY, "alg"])).text()),
        ("crit twice in it", protected().with("crit", &json!([SCHEME, EXPIRY, EXPIRY])).text()),
        ("crit a", protected().with("crit", &json!([SCHEME, EXPIRY, "a"])).text()),
        ("crit of a number", protected().with("crit", &json!([SCHEME, EXPIRY, 1])).text()),
        (
            "b64 in crit",
            protected()
                .with("b64", &json!(false))
                .with("crit", &json!([SCHEME, EXPIRY, "b64"]))
                .text(),
        ),
    ] {
        table.add(&format!("headers {what}"), lab.refusal_of_signed(&headers, PAYLOAD));
    }
    // An attribute is what the signer makes it.
    let free = CHANGES.iter().filter(|how| **how != Change::Twice).map(|how| format!("a {how:?}"));
    assert_eq!(table.accepted(), free.collect::<Vec<_>>());
    insta::assert_snapshot!(table.0);
}

#[test]
fn another_form_of_json_or_base64_is_refused() {
    let lab = Lab::new();
    let (document, header) = lab.jws(&protected().text(), PAYLOAD);
    let whole = with_header(&document, &header).text();
    let refusal = |bytes: &[u8]| lab.refusal(MEDIA_TYPE, bytes, false);
    let mut table = Table::default();
    for key in ["payload", "protected", "signature"] {
        let text = document.value(key).as_str().unwrap().to_owned();
        for (what, text) in [
            ("padded", format!("{text}=")),
            ("padded twice", format!("{text}==")),
            ("with a line break", format!("{text}\n")),
            ("with another letter", format!("{}!", &text[..text.len() - 1])),
        ] {
            let changed = document.with(key, &text.into());
            table.add(&format!("{key} {what}"), lab.refusal_of(&changed, &header));
        }
    }
    let raw = document.with("payload", &PAYLOAD.into());
    table.add("payload as it is", lab.refusal_of(&raw, &header));
    let leaf = lab.chain()[0].der();
    let other = header.with("x5c", &json!(["-_".to_owned() + &URL_SAFE_NO_PAD.encode(leaf)]));
    table.add("x5c of another Base64", lab.refusal_of(&document, &other));
    let pem = header.with("x5c", &json!([crate::testing::pem_of(&lab.chain())]));
    table.add("x5c of PEM", lab.refusal_of(&document, &pem));
    table.add("x5c a text", lab.refusal_of(&document, &header.with("x5c", &json!("AAAA"))));
    let one = json!({"protected": document.value("protected"), "header": {"x5c": header.value("x5c")}, "signature": document.value("signature")});
    let general = json!({"payload": document.value("payload"), "signatures": [one]});
    table.add("general serialization", refusal(general.to_string().as_bytes()));
    let parts = ["protected", "payload", "signature"].map(|key| document.value(key));
    let compact = parts.each_ref().map(|part| part.as_str().unwrap()).join(".");
    table.add("compact serialization", refusal(compact.as_bytes()));
    table.add("two envelopes", refusal((whole.clone() + &whole).as_bytes()));
    table.add("a byte behind it", refusal((whole.clone() + "x").as_bytes()));
    table.add("no UTF-8", refusal(&[whole.as_bytes(), &[0xff]].concat()));
    table.add("a mark before it", refusal(format!("\u{feff}{whole}").as_bytes()));
    table.add("in a list", refusal(format!("[{whole}]").as_bytes()));
    table.add("the last byte cut", refusal(&whole.as_bytes()[..whole.len() - 1]));
    table.add("as COSE", lab.refusal("application/cose", whole.as_bytes(), false));
    let unencoded = format!("{}.{PAYLOAD}", document.value("protected").as_str().unwrap());
    let signature = URL_SAFE_NO_PAD.encode(sign(&lab.leaf.key, unencoded.as_bytes()));
    let signed = document.with("signature", &signature.into());
    table.add("signed over the payload as it is", lab.refusal_of(&signed, &header));
    assert_eq!(table.accepted(), Vec::<&str>::new());
    insta::assert_snapshot!(table.0);
}

#[test]
fn what_is_not_signed_and_not_read_may_change_without_harm() {
    let lab = Lab::new();
    let (document, header) = lab.jws(&protected().text(), PAYLOAD);
    for how in CHANGES.into_iter().filter(|how| *how != Change::Twice) {
        let changed = header.changed(AGENT, how, signed_value);
        assert_eq!(lab.refusal_of(&document, &changed), None, "the agent's name {how:?}");
    }
    let twice = header.changed(AGENT, Change::Twice, signed_value);
    assert!(lab.refusal_of(&document, &twice).unwrap().contains("given twice"));
    for key in ["x", "alg", "crit", SCHEME, EXPIRY] {
        let value = json!("none");
        assert_eq!(lab.refusal_of(&document.with(key, &value), &header), None, "{key}");
        assert_eq!(lab.refusal_of(&document, &header.with(key, &value)), None, "{key}");
    }
    let spaced = with_header(&document, &header).text().replace(':', " :\n\t");
    assert_eq!(lab.refusal(MEDIA_TYPE, spaced.as_bytes(), false), None);
    let unencoded = protected().with("b64", &json!(false));
    assert_eq!(lab.refusal_of_signed(&unencoded.text(), PAYLOAD), None, "an attribute");
}
