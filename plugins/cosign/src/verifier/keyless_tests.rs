//! Signatures by certificates of a private Sigstore.

use std::{fs, sync::Arc};

use ratify_core::VerifierReport;
use serde_json::{Value, json};

use crate::{
    Environment,
    testing::{
        Layer, ask,
        authority::{Authority, Certified, Wish},
        host_of, image,
        log::Log,
        payload, verifier,
    },
};

pub(super) const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";

/// A private Sigstore.
pub(super) struct Lab {
    pub(super) folder: tempfile::TempDir,
    pub(super) authority: Authority,
    pub(super) log: Log,
}

impl Lab {
    pub(super) fn new() -> Self {
        let lab = Self {
            folder: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
            log: Log::new(),
        };
        let root = lab.authority.trusted_root(&lab.log).to_string();
        fs::write(lab.folder.path().join("trusted_root.json"), root).unwrap();
        lab
    }

    pub(super) fn root(&self) -> String {
        self.folder.path().join("trusted_root.json").to_str().unwrap().to_owned()
    }

    /// The image, signed by a certificate and in the log.
    pub(super) fn layer(&self, certified: &Certified) -> Layer {
        let payload = payload(image().as_str());
        let signature = certified.key.sign(&payload);
        let body = Log::body(&payload, &signature, &certified.pem);
        self.unlogged(certified)
            .with(LOG_ENTRY, self.log.annotation(&body).to_string())
            .signed_with(&signature)
    }

    pub(super) fn unlogged(&self, certified: &Certified) -> Layer {
        Layer::signed(&certified.key)
            .with("dev.sigstore.cosign/certificate", certified.pem.clone())
            .with("dev.sigstore.cosign/chain", self.authority.pem())
    }

    pub(super) fn entry(&self, keyless: Value, more: &[(&str, Value)]) -> Value {
        let mut policy = json!({"name": "default", "scopes": ["*"], "keyless": keyless, "trustedRoot": self.root()});
        for (key, value) in more {
            policy[key] = value.clone();
        }
        json!({"trustPolicies": [policy]})
    }

    pub(super) fn ask(&self, entry: Value, layer: Layer) -> VerifierReport {
        ask(&verifier(entry, &Environment::default()), &Arc::new(host_of(&[layer])))
    }

    /// Why a layer does not count; empty where it does.
    pub(super) fn refused(&self, entry: Value, layer: Layer) -> String {
        refusal(&self.ask(entry, layer))
    }
}

pub(super) fn refusal(report: &VerifierReport) -> String {
    let verification = &report.extensions["signatures"][0]["verifications"][0];
    assert_eq!(report.is_success, verification["isSuccess"] == true, "{report:?}");
    verification["error"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn identity() -> Value {
    json!({"certificateIdentity": "dev@example.com", "certificateOIDCIssuer": "https://id.example.com"})
}

#[test]
fn who_has_to_have_signed_did() {
    let lab = Lab::new();
    let certified = lab.authority.certify(&Wish::default());
    let report = lab.ask(lab.entry(identity(), &[]), lab.layer(&certified));
    assert!(report.is_success, "{report:?}");
    let verification = &report.extensions["signatures"][0]["verifications"][0];
    assert_eq!(verification["bundleVerified"], true);
    assert_eq!(verification["keyInformation"], json!({}));
    assert_eq!(
        verification["summary"],
        json!([
            "The cosign claims were validated.",
            "Existence of the claims in the transparency log was verified offline.",
            "The code-signing certificate was verified using trusted certificate authority certificates.",
        ])
    );
    assert_eq!(report.standing.valid_until, None);
}

#[test]
fn identity_and_issuer_are_exact_or_a_pattern() {
    let lab = Lab::new();
    let wish = Wish {
        subject: "https://git.example.com/team/a@refs/heads/main".into(),
        ..Wish::default()
    };
    let certified = lab.authority.certify(&wish);
    let answer = |subject: (&str, &str), issuer: (&str, &str)| {
        let keyless = json!({(subject.0): subject.1, (issuer.0): issuer.1});
        lab.refused(lab.entry(keyless, &[]), lab.layer(&certified))
    };
    let (exact, pattern) = ("certificateIdentity", "certificateIdentityRegExp");
    let (exact_issuer, issuer_pattern) = ("certificateOIDCIssuer", "certificateOIDCIssuerRegExp");
    let issuer = (exact_issuer, "https://id.example.com");
    for subject in [
        (exact, wish.subject.as_str()),
        (pattern, "^https://git\\.example\\.com/team/.*@refs/heads/main$"),
        (pattern, "team"),
    ] {
        assert_eq!(answer(subject, issuer), "");
        assert_eq!(answer(subject, (issuer_pattern, "^https://id\\.")), "");
    }
    let other = "none of the expected identities matched what was in the certificate, got subjects [https://git.example.com/team/a@refs/heads/main] with issuer https://id.example.com";
    for (subject, issuer) in [
        ((exact, "https://git.example.com/team/a@refs/heads/mai"), issuer),
        ((exact, "team"), issuer),
        ((pattern, "^team"), issuer),
        ((pattern, "team"), (exact_issuer, "https://id.example.com/")),
        ((pattern, "team"), (issuer_pattern, "^http:")),
    ] {
        assert_eq!(answer(subject, issuer), other, "{subject:?} {issuer:?}");
    }
}

#[test]
fn a_certificate_has_to_be_of_a_trusted_authority_for_signing_and_in_its_log() {
    let lab = Lab::new();
    let answer = |authority: &Authority, wish: &Wish, sct: bool| {
        let mut keyless = identity();
        keyless["ctLogVerify"] = sct.into();
        lab.refused(lab.entry(keyless, &[]), lab.layer(&authority.certify(wish)))
    };
    assert_eq!(answer(&lab.authority, &Wish::default(), true), "");
    let unlogged = Wish { is_logged: false, ..Wish::default() };
    assert_eq!(answer(&lab.authority, &unlogged, false), "");
    let refused = answer(&lab.authority, &unlogged, true);
    assert!(refused.contains("SCT"), "{refused}");
    let refused = answer(&Authority::new(), &Wish::default(), false);
    assert!(refused.contains("certificate chain"), "{refused}");
    let no_code = Wish { may_sign: false, ..Wish::default() };
    let refused = answer(&lab.authority, &no_code, false);
    assert!(refused.contains("certificate chain"), "{refused}");
    // The same authority, and a log that nobody knows.
    let root = Authority::new().trusted_root(&lab.log);
    let mut mixed = lab.authority.trusted_root(&lab.log);
    mixed["ctlogs"] = root["ctlogs"].clone();
    fs::write(lab.root(), mixed.to_string()).unwrap();
    let refused = answer(&lab.authority, &Wish::default(), true);
    assert!(refused.contains("SCT"), "{refused}");
}

#[test]
fn a_certificate_has_to_be_good_when_the_log_says_that_it_signed() {
    let lab = Lab::new();
    let past = Wish { years: (2020, 2021), ..Wish::default() };
    let certified = lab.authority.certify(&past);
    let refused = lab.refused(lab.entry(identity(), &[]), lab.layer(&certified));
    assert!(refused.contains("xpired") || refused.contains("validity"), "{refused}");
    // It was good then, and the log of then says so.
    let lab = Lab { log: Log { time: 1_590_000_000, ..lab.log }, ..lab };
    fs::write(lab.root(), lab.authority.trusted_root(&lab.log).to_string()).unwrap();
    assert_eq!(lab.refused(lab.entry(identity(), &[]), lab.layer(&certified)), "");
    let other = Lab { log: Log { time: lab.log.time, ..Log::new() }, ..lab };
    let refused = other.refused(other.entry(identity(), &[]), other.layer(&certified));
    assert_eq!(
        refused,
        "error verifying bundle: verifying bundle: rekor log public key not found for payload"
    );
}

#[test]
fn without_a_log_the_certificate_has_to_be_good_now_and_no_longer() {
    let lab = Lab::new();
    let entry = |sct: bool| {
        let mut keyless = identity();
        keyless["ctLogVerify"] = sct.into();
        lab.entry(keyless, &[("tLogVerify", json!(false))])
    };
    let certified = lab.authority.certify(&Wish::default());
    let report = lab.ask(entry(false), lab.unlogged(&certified));
    assert!(report.is_success, "{report:?}");
    let end: std::time::SystemTime =
        "2100-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().into();
    assert_eq!(report.standing.valid_until, Some(end));
    let refused = lab.refused(entry(true), lab.unlogged(&certified));
    assert!(refused.contains("set ctLogVerify to false"), "{refused}");
    let past = lab.authority.certify(&Wish { years: (2020, 2021), ..Wish::default() });
    let refused = lab.refused(entry(false), lab.unlogged(&past));
    assert_eq!(refused, "expected a signed timestamp to verify an expired certificate");
    let other = Authority::new().certify(&Wish::default());
    let refused = lab.refused(entry(false), lab.unlogged(&other));
    assert!(refused.starts_with("cert verification failed: "), "{refused}");
    let no_code = lab.authority.certify(&Wish { may_sign: false, ..Wish::default() });
    let refused = lab.refused(entry(false), lab.unlogged(&no_code));
    assert!(refused.starts_with("cert verification failed: "), "{refused}");
    let forged = Layer::signed(&other.key)
        .with("dev.sigstore.cosign/certificate", certified.pem.clone())
        .with("dev.sigstore.cosign/chain", lab.authority.pem());
    let refused = lab.refused(entry(false), forged);
    assert_eq!(refused, "invalid signature when validating ASN.1 encoded signature");
}

#[test]
fn a_signature_without_certificate_or_of_something_else_is_refused() {
    let lab = Lab::new();
    let certified = lab.authority.certify(&Wish::default());
    let good = lab.layer(&certified);
    for missing in ["dev.sigstore.cosign/certificate", "dev.sigstore.cosign/chain"] {
        let mut layer = good.clone();
        layer.annotations.remove(missing);
        assert_eq!(
            lab.refused(lab.entry(identity(), &[]), layer),
            "no certificate found on signature"
        );
    }
    let other = payload(&format!("sha256:{}", "cd".repeat(32)));
    let signature = certified.key.sign(&other);
    let body = Log::body(&other, &signature, &certified.pem);
    let mut layer = lab
        .unlogged(&certified)
        .with(LOG_ENTRY, lab.log.annotation(&body).to_string())
        .signed_with(&signature);
    layer.bytes = other;
    let refused = lab.refused(lab.entry(identity(), &[]), layer);
    assert!(refused.starts_with("invalid or missing digest in claim: "), "{refused}");
    let mut nothing = good;
    nothing.annotations.remove(LOG_ENTRY);
    let refused = lab.refused(lab.entry(identity(), &[]), nothing);
    assert!(refused.starts_with("searching log query: "), "{refused}");
}

#[test]
fn files_that_cosigns_variables_name_stand_for_the_repository() {
    let lab = Lab::new();
    let certified = lab.authority.certify(&Wish::default());
    let file = |name: &str, contents: String| {
        let path = lab.folder.path().join(name);
        fs::write(&path, contents).unwrap();
        Some(path)
    };
    let environment = Environment {
        root_file: file("root.pem", lab.authority.pem()),
        rekor_public_key: file("log.pub", lab.log.key.pem()),
        ct_log_public_key: file("certificates.pub", lab.authority.certificate_log.pem()),
        ..Environment::default()
    };
    let mut entry = lab.entry(identity(), &[]);
    entry["trustPolicies"][0].as_object_mut().unwrap().remove("trustedRoot");
    let host = Arc::new(host_of(&[lab.layer(&certified)]));
    assert_eq!(refusal(&ask(&verifier(entry.clone(), &environment), &host)), "");
    // The older form takes anybody whom the authority certifies.
    let legacy = json!({"rekorURL": "https://log.example.com"});
    assert!(ask(&verifier(legacy, &environment), &host).is_success);
    assert!(host.asked().is_empty());
    let part = Environment { ct_log_public_key: None, ..environment };
    let report = ask(&verifier(entry, &part), &host);
    assert!(!report.is_success);
    assert_eq!(host.asked()[0], "https://tuf-repo-cdn.sigstore.dev/17.root.json");
    assert!(report.message.contains("Failed to fetch Rekor public keys"), "{report:?}");
}
