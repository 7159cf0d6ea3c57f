//! Sigstore bundles, by keys and by certificates of a private Sigstore.

use std::{fs, sync::Arc};

use ratify_core::VerifierReport;
use serde_json::{Value, json};

use crate::{
    Environment,
    testing::{
        KINDS, Layer, Signer, ask,
        authority::{Authority, Wish},
        bundles::{SIGNED, bundle, logged, of_certificate, of_key, statement},
        host_of, image,
        log::Log,
        verifier,
    },
};

/// A key, and a private Sigstore.
struct Lab {
    folder: tempfile::TempDir,
    signer: Signer,
    authority: Authority,
    log: Log,
}

impl Lab {
    fn new(kind: &str) -> Self {
        let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::new(kind));
        let (authority, log) = (Authority::new(), Log::new());
        fs::write(folder.path().join("cosign.pub"), signer.pem()).unwrap();
        let root = authority.trusted_root(&log).to_string();
        fs::write(folder.path().join("trusted_root.json"), root).unwrap();
        Self { folder, signer, authority, log }
    }

    fn policy(&self, more: Value) -> Value {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let mut policy =
            json!({"name": "default", "scopes": ["*"], "trustedRoot": path("trusted_root.json")});
        policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        if policy.get("keyless").is_none() {
            policy["keys"] = json!([{"file": path("cosign.pub")}]);
        }
        json!({"trustPolicies": [policy]})
    }

    fn by_key(&self, bundle: &Value, has_log: bool) -> String {
        refusal(&ask_about(self.policy(json!({"tLogVerify": has_log})), bundle))
    }

    fn by_certificate(&self, bundle: &Value) -> String {
        refusal(&ask_about(self.keyless(), bundle))
    }

    fn keyless(&self) -> Value {
        self.policy(json!({"keyless": {"certificateIdentity": "dev@example.com", "certificateOIDCIssuer": "https://id.example.com"}}))
    }

    /// The image, signed by the key.
    fn signed(&self) -> Value {
        bundle(&statement(image().as_str(), SIGNED), &self.signer, of_key())
    }

    /// The image, signed by a certificate and in the log.
    fn certified(&self, wish: &Wish) -> Value {
        let certified = self.authority.certify(wish);
        let material = of_certificate(&certified.pem);
        let bundle = bundle(&statement(image().as_str(), SIGNED), &certified.key, material);
        logged(bundle, &self.log, &certified.pem)
    }
}

fn ask_about(entry: Value, bundle: &Value) -> VerifierReport {
    let host = host_of(&[Layer::bundle(bundle.to_string())]);
    ask(&verifier(entry, &Environment::default()), &Arc::new(host))
}

/// Why a bundle does not count; empty where it does.
fn refusal(report: &VerifierReport) -> String {
    let verification = &report.extensions["signatures"][0]["verifications"][0];
    assert_eq!(report.is_success, verification["isSuccess"] == true, "{report:?}");
    verification["error"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_image_signed_by_a_key_passes_with_and_without_a_log() {
    // What each kind hashes with in bundles.
    for kind in ["p256", "p384", "p521-sha512", "rsa2048", "ed25519"] {
        let lab = Lab::new(kind);
        let signed = lab.signed();
        assert_eq!(lab.by_key(&signed, false), "", "{kind}");
        assert_ne!(lab.by_key(&signed, true), "", "{kind}: it is in no log");
        let other = Lab::new(kind);
        assert_ne!(other.by_key(&signed, false), "", "{kind}: it is by another key");
    }
    for kind in ["p256", "p384", "rsa2048", "ed25519"] {
        let lab = Lab::new(kind);
        let signed = logged(lab.signed(), &lab.log, &lab.signer.pem());
        assert_eq!(lab.by_key(&signed, true), "", "{kind}");
        let foreign = logged(lab.signed(), &Log::new(), &lab.signer.pem());
        assert_ne!(lab.by_key(&foreign, true), "", "{kind}: it is in another log");
    }
    assert!(KINDS.contains(&"p521"));
}

#[test]
fn a_statement_has_to_say_that_this_image_is_signed() {
    let lab = Lab::new("p256");
    let refused = |image: &str, predicate: &str| {
        lab.by_key(&bundle(&statement(image, predicate), &lab.signer, of_key()), false)
    };
    let own = image();
    assert_eq!(refused(own.as_str(), SIGNED), "");
    let other = format!("sha256:{}", "cd".repeat(32));
    assert_eq!(
        refused(&other, SIGNED),
        "invalid or missing digest in claim: the statement is about something else"
    );
    for predicate in [
        "https://slsa.dev/provenance/v1",
        "https://cosign.sigstore.dev/attestation/vuln/v1",
        "https://sigstore.dev/cosign/sign/v1/",
        "",
    ] {
        let refused = refused(own.as_str(), predicate);
        assert_eq!(refused, format!("the bundle is no signature of an image but says {predicate}"));
    }
    let mut envelope = lab.signed();
    envelope["dsseEnvelope"]["payloadType"] = "application/json".into();
    assert_eq!(lab.by_key(&envelope, false), "the bundle signs something that is no statement");
}

#[test]
fn who_has_to_have_signed_did() {
    let lab = Lab::new("p256");
    let report = ask_about(lab.keyless(), &lab.certified(&Wish::default()));
    assert!(report.is_success, "{report:?}");
    let verification = &report.extensions["signatures"][0]["verifications"][0];
    assert_eq!(verification["bundleVerified"], true);
    let other = Wish { subject: "other@example.com".into(), ..Wish::default() };
    assert_eq!(
        lab.by_certificate(&lab.certified(&other)),
        "none of the expected identities matched what was in the certificate, got subjects [other@example.com] with issuer https://id.example.com"
    );
    let other = Wish { issuer: "https://other.example.com".into(), ..Wish::default() };
    assert_ne!(lab.by_certificate(&lab.certified(&other)), "");
    assert_ne!(
        lab.by_certificate(&lab.certified(&Wish { is_logged: false, ..Wish::default() })),
        ""
    );
    assert_ne!(
        lab.by_certificate(&lab.certified(&Wish { may_sign: false, ..Wish::default() })),
        ""
    );
    assert_ne!(
        lab.by_certificate(&lab.certified(&Wish { years: (2020, 2021), ..Wish::default() })),
        ""
    );
}

#[test]
fn a_key_does_not_stand_for_a_certificate_nor_the_other_way_round() {
    let lab = Lab::new("p256");
    let signed = logged(lab.signed(), &lab.log, &lab.signer.pem());
    assert_ne!(lab.by_certificate(&signed), "");
    let certified = lab.certified(&Wish::default());
    assert_eq!(lab.by_key(&certified, true), "the bundle is signed by a certificate, not by a key");
}

/// The texts and lists of a document, by their places.
fn places(at: String, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                places(format!("{at}/{key}"), value, found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(format!("{at}/{index}"), value, found);
            }
        }
        _ => found.push(at),
    }
}

#[test]
fn no_change_of_a_bundle_passes_and_none_panics() {
    let lab = Lab::new("p256");
    let by_certificate = lab.certified(&Wish::default());
    assert_eq!(lab.by_certificate(&by_certificate), "");
    let mut all = Vec::new();
    places(String::new(), &by_certificate, &mut all);
    assert!(all.len() > 10);
    for place in &all {
        let text = by_certificate.pointer(place).unwrap().as_str().unwrap().to_owned();
        let half = text.len() / 2;
        let flipped = {
            let mut bytes = text.clone().into_bytes();
            bytes[half] = if bytes[half] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        };
        for wrong in
            [json!(flipped), json!(""), json!(&text[..half]), json!(null), json!(2), json!([text])]
        {
            let mut changed = by_certificate.clone();
            *changed.pointer_mut(place).unwrap() = wrong.clone();
            // Where it stands in the log is said twice; what counts is what the log signed.
            let is_said_twice = place.ends_with("inclusionProof/logIndex")
                && [json!(""), json!(null)].contains(&wrong);
            if !is_said_twice {
                assert_ne!(lab.by_certificate(&changed), "", "{place}: {wrong}");
            }
        }
    }
    let text = by_certificate.to_string();
    for cut in (0..text.len()).step_by(11) {
        let host = host_of(&[Layer::bundle(&text[..cut])]);
        let report = ask(&verifier(lab.keyless(), &Environment::default()), &Arc::new(host));
        assert!(!report.is_success);
        assert!(refusal(&report).contains("the bundle is malformed"), "{report:?}");
    }
}

#[test]
fn an_envelope_has_one_signature_and_a_bundle_one_of_each() {
    let lab = Lab::new("p256");
    let mut twice = lab.signed();
    let signatures = &mut twice["dsseEnvelope"]["signatures"];
    let one = signatures[0].clone();
    *signatures = json!([one, one]);
    assert!(lab.by_key(&twice, false).contains("exactly one signature"));
    twice["dsseEnvelope"]["signatures"] = json!([]);
    assert!(lab.by_key(&twice, false).contains("exactly one signature"));
    let text = lab.signed().to_string();
    let key = r#""dsseEnvelope":"#;
    let doubled = text.replacen(key, &format!(r#"{key}{{}},{key}"#), 1);
    let host = host_of(&[Layer::bundle(doubled)]);
    let entry = lab.policy(json!({"tLogVerify": false}));
    assert!(!ask(&verifier(entry, &Environment::default()), &Arc::new(host)).is_success);
}
