//! Sigstore bundles, by keys and by certificates of a private Sigstore.

use std::{fs, sync::Arc};

use ratify_core::VerifierReport;
use serde_json::{Value, json};

use crate::{
    Environment,
    testing::{
        Layer, Signer, ask,
        authority::{Authority, Wish},
        bundles::{SIGNED, bundle, bundle_of, logged, of_certificate, of_key, statement},
        host_of, image,
        log::Log,
        verifier,
    },
};

/// A key, and a private Sigstore.
pub(super) struct Lab {
    pub(super) folder: tempfile::TempDir,
    pub(super) signer: Signer,
    pub(super) authority: Authority,
    pub(super) log: Log,
}

impl Lab {
    pub(super) fn new(kind: &str) -> Self {
        let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::new(kind));
        let (authority, log) = (Authority::new(), Log::new());
        fs::write(folder.path().join("cosign.pub"), signer.pem()).unwrap();
        let root = authority.trusted_root(&log).to_string();
        fs::write(folder.path().join("trusted_root.json"), root).unwrap();
        Self { folder, signer, authority, log }
    }

    pub(super) fn policy(&self, more: Value) -> Value {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let mut policy =
            json!({"name": "default", "scopes": ["*"], "trustedRoot": path("trusted_root.json")});
        policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        if policy.get("keyless").is_none() {
            policy["keys"] = json!([{"file": path("cosign.pub")}]);
        }
        json!({"trustPolicies": [policy]})
    }

    pub(super) fn by_key(&self, bundle: &Value, has_log: bool) -> String {
        refusal(&ask_about(self.policy(json!({"tLogVerify": has_log})), bundle))
    }

    pub(super) fn by_certificate(&self, bundle: &Value) -> String {
        refusal(&ask_about(self.keyless(), bundle))
    }

    pub(super) fn keyless(&self) -> Value {
        self.policy(json!({"keyless": {"certificateIdentity": "dev@example.com", "certificateOIDCIssuer": "https://id.example.com"}}))
    }

    /// The image, signed by the key.
    pub(super) fn signed(&self) -> Value {
        bundle(&statement(image().as_str(), SIGNED), &self.signer, of_key())
    }

    /// The image, signed by a certificate and in the log.
    pub(super) fn certified(&self, wish: &Wish) -> Value {
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

/// The same without v1's words in front, which name the layer, and without the place in the text.
pub(super) fn reason(report: &VerifierReport) -> String {
    let refusal = refusal(report);
    let digest = refusal.strip_prefix("Failed to parse Cosign signature with digest sha256:");
    without_place(digest.map_or(&refusal[..], |digest| &digest[66..])).to_owned()
}

/// A reason without the place in a document.
pub(super) fn without_place(refusal: &str) -> &str {
    refusal.split(" at line ").next().unwrap()
}

/// Why a bundle does not count; empty where it does.
pub(super) fn refusal(report: &VerifierReport) -> String {
    let verification = &report.extensions["signatures"][0]["verifications"][0];
    assert_eq!(report.is_success, verification["isSuccess"] == true, "{report:?}");
    verification["error"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_image_signed_by_a_key_passes_with_and_without_a_log() {
    // What each kind hashes with in bundles.
    for (kind, of_another) in [
        ("p256", "invalid signature when validating ASN.1 encoded signature"),
        ("p384", "invalid signature when validating ASN.1 encoded signature"),
        ("p521-sha512", "invalid signature when validating ASN.1 encoded signature"),
        ("rsa2048", "crypto/rsa: verification error"),
        ("ed25519", "failed to verify signature"),
    ] {
        let lab = Lab::new(kind);
        let signed = lab.signed();
        assert_eq!(lab.by_key(&signed, false), "", "{kind}");
        let unlogged = "Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof";
        assert_eq!(lab.by_key(&signed, true), unlogged, "{kind}");
        assert_eq!(Lab::new(kind).by_key(&signed, false), of_another, "{kind}");
        let logged_by = |log: &Log| lab.by_key(&logged(lab.signed(), log, &lab.signer.pem()), true);
        let (own, foreign) = match kind {
            // Sigstore's crates read no such key.
            "p521-sha512" => {
                ["Crypto error: Invalid key: unsupported or invalid EC curve parameters"; 2].into()
            }
            _ => ("", "invalid checkpoint: No matching Rekor key found for checkpoint signature"),
        };
        assert_eq!(logged_by(&lab.log), own, "{kind}");
        assert_eq!(logged_by(&Log::new()), foreign, "{kind}");
    }
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
    let two = statement(own.as_str(), SIGNED);
    for (text, why) in [
        (
            two.to_string().replacen('{', "{\"predicateType\":\"a\",", 1),
            "the key \"predicateType\" is given twice",
        ),
        (
            two.to_string().replacen('{', "{\"predicate_type\":\"a\",", 1),
            "predicateType and predicate_type do not go together",
        ),
        (
            two.to_string().replacen("\"subject\":", "\"subject\":[],\"subject\":", 1),
            "the key \"subject\" is given twice",
        ),
        ("[".to_owned(), "EOF while parsing a list"),
    ] {
        let signed = bundle_of(text.as_bytes(), &lab.signer, of_key());
        let refusal = lab.by_key(&signed, false);
        assert_eq!(without_place(&refusal), format!("the statement is malformed: {why}"));
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
    let refused = |wish: Wish| lab.by_certificate(&lab.certified(&wish));
    assert_eq!(
        refused(Wish { issuer: "https://other.example.com".into(), ..Wish::default() }),
        "none of the expected identities matched what was in the certificate, got subjects [dev@example.com] with issuer https://other.example.com"
    );
    assert_eq!(
        refused(Wish { is_logged: false, ..Wish::default() }),
        "invalid signed certificate timestamp: certificate is missing SCT extension (Signed Certificate Timestamp)"
    );
    for (wish, why) in [
        (Wish { may_sign: false, ..Wish::default() }, "RequiredEkuNotFoundContext"),
        (Wish { years: (2020, 2021), ..Wish::default() }, "CertExpired"),
        (Wish { years: (2090, 2100), ..Wish::default() }, "CertNotValidYet"),
    ] {
        let refusal = refused(wish);
        let found = refusal
            .strip_prefix("certificate chain is invalid: certificate chain validation failed: ");
        assert!(found.is_some_and(|found| found.starts_with(why)), "{why}: {refusal}");
    }
}

#[test]
fn a_key_does_not_stand_for_a_certificate_nor_the_other_way_round() {
    let lab = Lab::new("p256");
    let signed = logged(lab.signed(), &lab.log, &lab.signer.pem());
    assert_eq!(lab.by_certificate(&signed), "invalid bundle: bundle has no signing certificate");
    let certified = lab.certified(&Wish::default());
    assert_eq!(lab.by_key(&certified, true), "the bundle is signed by a certificate, not by a key");
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
}

/// What one reader takes of a member that is given twice, another does not see.
#[test]
fn a_bundle_has_each_member_once_and_one_kind_of_content_and_of_material() {
    let lab = Lab::new("p256");
    let entry = lab.policy(json!({"tLogVerify": false}));
    let text = lab.signed().to_string();
    let refused = |key: &str, before: &str, behind: &str| {
        let at = text.find(&format!("\"{key}\":")).unwrap();
        let end = at + key.len() + 3;
        let mut value = serde_json::Deserializer::from_str(&text[end..]).into_iter::<Value>();
        value.next().unwrap().unwrap();
        let end = end + value.byte_offset();
        let changed = [&text[..at], before, &text[at..end], behind, &text[end..]].concat();
        let host = host_of(&[Layer::bundle(changed)]);
        let report = ask(&verifier(entry.clone(), &Environment::default()), &Arc::new(host));
        reason(&report)
    };
    assert_eq!(refused("dsseEnvelope", "", ""), "");
    let malformed = "the bundle is malformed:";
    for (key, other, why) in [
        ("dsseEnvelope", "dsseEnvelope", "the key \"dsseEnvelope\" is given twice"),
        ("dsseEnvelope", "dsse\\u0045nvelope", "the key \"dsseEnvelope\" is given twice"),
        ("dsseEnvelope", "dsse_envelope", "the name \"dsse_envelope\" is not in camel case"),
        (
            "dsseEnvelope",
            "messageSignature",
            "messageSignature and dsseEnvelope do not go together",
        ),
        ("publicKey", "publicKey", "the key \"publicKey\" is given twice"),
        ("publicKey", "public_key", "the name \"public_key\" is not in camel case"),
        ("publicKey", "certificate", "certificate and publicKey do not go together"),
        (
            "publicKey",
            "x509CertificateChain",
            "x509CertificateChain and publicKey do not go together",
        ),
        ("mediaType", "mediaType", "the key \"mediaType\" is given twice"),
        ("mediaType", "media_type", "the name \"media_type\" is not in camel case"),
    ] {
        for value in ["{}", "null", "\"\""] {
            let first = refused(key, "", &format!(",\"{other}\":{value}"));
            assert_eq!(first, format!("{malformed} {why}"), "{value} behind {key}");
            let last = refused(key, &format!("\"{other}\":{value},"), "");
            assert_eq!(last, format!("{malformed} {why}"), "{value} before {key}");
        }
    }
    // What nobody knows yet says nothing.
    assert_eq!(refused("publicKey", "", ",\"later\":{}"), "");
}
