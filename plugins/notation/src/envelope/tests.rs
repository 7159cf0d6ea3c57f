//! Envelopes that are whole, and what happens to those that are not. Those of the real `notation` are
//! in the controller's suite.

use coset::{CborSerializable as _, TaggedCborSerializable as _, cbor::Value as Cbor};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
use serde_json::json;

use super::*;
use crate::testing::{Authority, Issued, PAYLOAD as SIGNED, SIGNED_AT, cose, epoch, headers, jws};

const X509: &str = "notary.x509";
const AUTHORITY: &str = "notary.x509.signingAuthority";

struct Signer {
    leaf: Issued,
    root: Authority,
}

impl Signer {
    fn new() -> Self {
        let root = Authority::root("root");
        Self { leaf: root.leaf("leaf"), root }
    }

    fn chain(&self) -> [&Certificate; 2] {
        [&self.leaf.certificate, &self.root.certificate]
    }

    fn jws(&self, headers: &Value) -> Vec<u8> {
        jws(&self.leaf.key, &self.chain(), headers, SIGNED)
    }

    fn cose(&self, critical: &[&str], headers: Vec<(&str, Cbor)>) -> Vec<u8> {
        cose(&self.leaf.key, &self.chain(), critical, headers).to_tagged_vec().unwrap()
    }

    fn usual_cose(&self) -> Vec<u8> {
        self.cose(&[SCHEME], vec![text(SCHEME, X509), (SIGNING_TIME, epoch(1_714_979_289))])
    }
}

fn text<'a>(label: &'a str, value: &str) -> (&'a str, Cbor) {
    (label, Cbor::Text(value.to_owned()))
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut headers = headers();
    for (key, value) in changes {
        headers[*key] = value.clone();
    }
    headers
}

fn refusal(media_type: &str, bytes: &[u8]) -> String {
    open(media_type, bytes).unwrap_err().to_string()
}

#[test]
fn both_forms_hold_the_same() {
    let signer = Signer::new();
    for (media_type, bytes) in [(JWS, signer.jws(&headers())), (COSE, signer.usual_cose())] {
        let envelope = open(media_type, &bytes).unwrap();
        assert_eq!(envelope.payload, SIGNED.as_bytes());
        assert_eq!(envelope.scheme, SigningScheme::X509);
        assert_eq!(envelope.signing_time.rfc3339(), SIGNED_AT);
        assert_eq!(envelope.leaf(), Some(&signer.leaf.certificate));
        assert_eq!((envelope.expiry, envelope.timestamp), (None, None));
        assert_eq!(envelope.attributes, []);
    }
    let other = refusal("application/json", b"{}");
    insta::assert_snapshot!(other, @r#"unable to parse the digital signature, error : signature envelope format with media type "application/json" is not supported"#);
}

#[test]
fn expiry_attributes_and_the_other_scheme_are_read() {
    let signer = Signer::new();
    let expiry = "2024-05-06T09:08:10+02:00";
    let changes = [
        ("crit", json!([SCHEME, AUTHENTIC_SIGNING_TIME, EXPIRY, "a"])),
        (SCHEME, json!(AUTHORITY)),
        (AUTHENTIC_SIGNING_TIME, json!(SIGNED_AT)),
        (SIGNING_TIME, Value::Null),
        (EXPIRY, json!(expiry)),
        ("a", json!("1")),
    ];
    let of_jws = signer.jws(&with(&changes));
    let of_cose = signer.cose(
        &[SCHEME, AUTHENTIC_SIGNING_TIME, EXPIRY, "a"],
        vec![
            text(SCHEME, AUTHORITY),
            (AUTHENTIC_SIGNING_TIME, epoch(1_714_979_289)),
            (EXPIRY, epoch(1_714_979_290)),
            text("a", "1"),
        ],
    );
    for (media_type, bytes) in [(JWS, of_jws), (COSE, of_cose)] {
        let envelope = open(media_type, &bytes).unwrap();
        assert_eq!(envelope.scheme, SigningScheme::SigningAuthority);
        assert_eq!(envelope.expiry, Moment::parse_rfc3339(expiry));
        let attribute = Attribute {
            key: "a".into(),
            is_text: true,
            is_critical: true,
            value: Some(json!("1")),
        };
        assert_eq!(envelope.attributes, [attribute]);
    }
}

#[test]
fn jws_headers_are_what_they_must_be() {
    let signer = Signer::new();
    let refused = |changes: &[(&str, Value)]| refusal(JWS, &signer.jws(&with(changes)));
    insta::assert_snapshot!(refused(&[("alg", json!("none"))]), @"signature is invalid. Error: signing method none is invalid");
    insta::assert_snapshot!(refused(&[("alg", json!("HS256"))]), @"signature is invalid. Error: signing method HS256 is invalid");
    insta::assert_snapshot!(refused(&[("alg", json!("ES999"))]), @"signature is invalid. Error: signing method (alg) is unavailable.");
    insta::assert_snapshot!(refused(&[("alg", json!(1))]), @"signature is invalid. Error: signing method (alg) is unspecified.");
    insta::assert_snapshot!(refused(&[("alg", json!("PS256"))]), @"signature is invalid. Error: key is invalid");
    insta::assert_snapshot!(refused(&[("alg", json!("ES384"))]), @"signature is invalid. Error: crypto/ecdsa: verification error");
    insta::assert_snapshot!(refused(&[("cty", json!("text/plain"))]), @r#"payload content type "text/plain" not supported"#);
    insta::assert_snapshot!(refused(&[(SCHEME, json!("x"))]), @"unsupported SigningScheme: `x`");
    insta::assert_snapshot!(refused(&[(SIGNING_TIME, Value::Null)]), @"signing-time not present");
    insta::assert_snapshot!(refused(&[(SIGNING_TIME, json!("today"))]), @"jws envelope protected header can't be decoded: io.cncf.notary.signingTime is not a time of RFC 3339");
    insta::assert_snapshot!(refused(&[(AUTHENTIC_SIGNING_TIME, json!(SIGNED_AT))]), @r#""io.cncf.notary.authenticSigningTime" header must not be present for notary.x509 signing scheme"#);
    insta::assert_snapshot!(refused(&[("crit", json!([]))]), @r#"missing "crit" header"#);
    insta::assert_snapshot!(refused(&[("crit", json!(["x"]))]), @r#""x" header is marked critical but not present"#);
    insta::assert_snapshot!(refused(&[("crit", json!([SCHEME, SCHEME]))]), @r#""io.cncf.notary.signingScheme" header is marked critical but not present"#);
    insta::assert_snapshot!(refused(&[(EXPIRY, json!("2024-05-06T07:08:10Z"))]), @"these required headers are not marked as critical: [io.cncf.notary.expiry]");
    insta::assert_snapshot!(refused(&[(EXPIRY, json!(SIGNED_AT)), ("crit", json!([SCHEME, EXPIRY]))]), @"expiry cannot be equal or before the signing time");
}

#[test]
fn cose_headers_are_what_they_must_be() {
    let signer = Signer::new();
    let time = || (SIGNING_TIME, epoch(1_714_979_289));
    let refused = |critical: &[&str], headers| refusal(COSE, &signer.cose(critical, headers));
    insta::assert_snapshot!(refused(&[SCHEME], vec![time()]), @"invalid signingScheme");
    insta::assert_snapshot!(refused(&[SCHEME], vec![text(SCHEME, "x"), time()]), @"unsupported signingScheme: x");
    insta::assert_snapshot!(refused(&["y", SCHEME], vec![text(SCHEME, X509), time()]), @"missing critical header: y");
    insta::assert_snapshot!(refused(&[], vec![text(SCHEME, X509), time()]), @"these required headers are not marked as critical: [io.cncf.notary.signingScheme]");
    insta::assert_snapshot!(refused(&[SCHEME], vec![text(SCHEME, X509)]), @"signing-time not present");
    insta::assert_snapshot!(refused(&[SCHEME], vec![text(SCHEME, X509), (SIGNING_TIME, Cbor::Integer(1.into()))]), @r#"invalid signingTime: header "io.cncf.notary.signingTime" time value does not have a tag"#);
    let text_time = Cbor::Tag(0, Box::new(Cbor::Text(SIGNED_AT.into())));
    insta::assert_snapshot!(refused(&[SCHEME], vec![text(SCHEME, X509), (SIGNING_TIME, text_time)]), @"invalid signingTime: only Tag `1` Datetime CBOR object is supported");
    let far = Cbor::Tag(1, Box::new(Cbor::Integer(u64::MAX.into())));
    insta::assert_snapshot!(refused(&[SCHEME], vec![text(SCHEME, X509), (SIGNING_TIME, far)]), @"invalid signingTime: invalid timeValue type");
    let message =
        cose(&signer.leaf.key, &signer.chain(), &[SCHEME], vec![text(SCHEME, X509), time()]);
    insta::assert_snapshot!(refusal(COSE, &message.to_vec().unwrap()), @"unable to parse the digital signature, error : cbor: got array, expected tag");
}

#[test]
fn a_chain_that_is_missing_malformed_or_endless_is_refused() {
    let signer = Signer::new();
    let leaf = &signer.leaf;
    let of = |chain: &[&Certificate]| refusal(JWS, &jws(&leaf.key, chain, &headers(), SIGNED));
    insta::assert_snapshot!(of(&[]), @"certificate chain is not present");
    insta::assert_snapshot!(of(&vec![&leaf.certificate; 33]), @"certificate chain has 33 certificates, more than 32");
    insta::assert_snapshot!(of(&[&leaf.certificate]), @r#"certificate-chain is invalid, invalid self-signed certificate. subject: "CN=leaf,O=Lab,ST=WA,C=US". Error: x509: ECDSA verification failure"#);
    let mut envelope: Value = serde_json::from_slice(&signer.jws(&headers())).unwrap();
    envelope["header"]["x5c"][0] = json!("AAAA");
    insta::assert_snapshot!(refusal(JWS, envelope.to_string().as_bytes()), @"malformed leaf certificate");
    let mut message = cose(&leaf.key, &signer.chain(), &[SCHEME], vec![text(SCHEME, X509)]);
    message.unprotected.rest.clear();
    insta::assert_snapshot!(refusal(COSE, &message.to_tagged_vec().unwrap()), @"certificate chain is not present");
}

#[test]
fn the_key_of_another_certificate_or_curve_signs_nothing() {
    let signer = Signer::new();
    let other = signer.root.leaf("other");
    let swapped = jws(&other.key, &signer.chain(), &headers(), SIGNED);
    insta::assert_snapshot!(refusal(JWS, &swapped), @"signature is invalid. Error: crypto/ecdsa: verification error");
    let swapped = cose(&other.key, &signer.chain(), &[SCHEME], vec![text(SCHEME, X509)]);
    insta::assert_snapshot!(refusal(COSE, &swapped.to_tagged_vec().unwrap()), @"signature is invalid. Error: verification error");
    // A certificate of P-384 beside the algorithm of P-256.
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let larger = signer.root.issue_for("larger", key, |_| ());
    let chain = [&larger.certificate, &signer.root.certificate];
    let of_jws = jws(&other.key, &chain, &headers(), SIGNED);
    insta::assert_snapshot!(refusal(JWS, &of_jws), @"signature is invalid. Error: crypto/ecdsa: verification error");
    let of_cose = cose(&other.key, &chain, &[SCHEME], vec![text(SCHEME, X509)]);
    insta::assert_snapshot!(refusal(COSE, &of_cose.to_tagged_vec().unwrap()), @"signature is invalid. Error: algorithm mismatch: the key of the certificate signs by Es384, and the header says Es256");
}

#[test]
fn a_key_that_is_given_twice_is_refused() {
    let signer = Signer::new();
    let envelope = String::from_utf8(signer.jws(&headers())).unwrap();
    let parsed: Value = serde_json::from_str(&envelope).unwrap();
    for (key, value) in parsed.as_object().unwrap() {
        let twice = format!("{{\"{key}\":{value},{}", &envelope[1..]);
        assert!(refusal(JWS, twice.as_bytes()).contains("given twice"), "{key}");
    }
    for (key, value) in headers().as_object().unwrap() {
        let twice = format!("{{\"{key}\":{value},{}", &headers().to_string()[1..]);
        let envelope = signed_text(&signer, &twice, SIGNED);
        assert!(refusal(JWS, &envelope).contains("given twice"), "{key}");
    }
    let payload = r#"{"targetArtifact":{},"targetArtifact":{}}"#;
    let envelope = signed_text(&signer, &headers().to_string(), payload);
    assert!(refusal(JWS, &envelope).contains("given twice"));
    // The label of the certificates, made to be that of the algorithm once more.
    let twice = [0xd2, 0x84, 0x43, 0xa1, 0x01, 0x26, 0xa2, 0x04, 0x41, 0x31, 0x04, 0x41, 0x31];
    let twice = [&twice[..], &[0x41, 0x7b, 0x41, 0x31]].concat();
    insta::assert_snapshot!(refusal(COSE, &twice), @"unable to parse the digital signature, error : cbor: duplicate map key");
}

/// An envelope whose signed parts are these texts.
fn signed_text(signer: &Signer, headers: &str, payload: &str) -> Vec<u8> {
    crate::testing::jws_of_text(&signer.leaf.key, &signer.chain(), headers, payload)
}

#[test]
fn no_byte_that_is_changed_or_cut_off_changes_what_is_signed() {
    let signer = Signer::new();
    for (media_type, bytes) in [(JWS, signer.jws(&headers())), (COSE, signer.usual_cose())] {
        let whole = open(media_type, &bytes).unwrap();
        // What is neither signed nor read.
        let name = br#"io.cncf.notary.signingAgent":"test"#;
        let agent = bytes.windows(name.len()).position(|part| part == name);
        let agent = agent.map_or(0..0, |at| at..at + name.len());
        for at in 0..bytes.len() {
            assert!(open(media_type, &bytes[..at]).is_err(), "{media_type} {at}");
            let mut other = bytes.clone();
            other[at] ^= if at % 2 == 0 { 1 } else { 0x40 };
            if let Ok(other) = open(media_type, &other) {
                assert!(agent.contains(&at), "{media_type} {at}");
                assert_eq!(other.payload, whole.payload);
                assert_eq!(other.certificates, whole.certificates);
                assert_eq!(other.signing_time, whole.signing_time);
                assert_eq!(other.attributes, whole.attributes);
            }
        }
    }
}

#[test]
fn what_is_no_envelope_is_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"header":1}"#,
        r#"{"header":{"x5c":1}}"#,
        r#"{"payload":1}"#,
        &deep,
    ] {
        assert!(open(JWS, text.as_bytes()).is_err());
    }
    let deep = [vec![0xd2], vec![0x81; 100_000]].concat();
    let long = [0xd2, 0x84, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for bytes in [&[][..], &[0xd2], &[0xd2, 0x84, 0x40, 0xa0, 0x40, 0x40], &deep, &long] {
        assert!(open(COSE, bytes).is_err());
    }
}
