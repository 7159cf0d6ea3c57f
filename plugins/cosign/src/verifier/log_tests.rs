//! Signatures by keys that have to be in a transparency log.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::{Certainty, ErrorCode, VerifierReport, executor::testing::MemoryHost};
use serde_json::{Value, json};

use crate::{
    Environment,
    testing::{Layer, Signer, ask, host_of, image, log::Log, payload, verifier},
};

const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";

/// A key, a log that is trusted, and a signature by the key.
struct Lab {
    folder: tempfile::TempDir,
    signer: Signer,
    log: Log,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Lab {
    fn new(kind: &str) -> Self {
        let (folder, signer, log) = (tempfile::tempdir().unwrap(), Signer::new(kind), Log::new());
        fs::write(folder.path().join("log.pub"), log.key.pem()).unwrap();
        fs::write(folder.path().join("cosign.pub"), signer.pem()).unwrap();
        let payload = payload(image().as_str());
        let signature = signer.sign(&payload);
        Self { folder, signer, log, payload, signature }
    }

    fn body(&self) -> Value {
        Log::body(&self.payload, &self.signature, &self.signer.pem())
    }

    fn layer(&self) -> Layer {
        Layer::new(self.payload.clone(), &self.signature)
    }

    fn with_entry(&self, entry: &Value) -> Layer {
        self.layer().with(LOG_ENTRY, entry.to_string())
    }

    fn ask(&self, host: MemoryHost) -> VerifierReport {
        let path = self.folder.path().join("cosign.pub");
        let policy = json!({"name": "default", "scopes": ["*"], "keys": [{"file": path}], "rekorURL": "https://log.example.com/"});
        let environment = Environment {
            rekor_public_key: Some(self.folder.path().join("log.pub")),
            ..Environment::default()
        };
        ask(&verifier(json!({"trustPolicies": [policy]}), &environment), &Arc::new(host))
    }

    /// Why the one signature of a host does not count; empty where it does.
    fn refused(&self, host: MemoryHost) -> String {
        let report = self.ask(host);
        let verification = &report.extensions["signatures"][0]["verifications"][0];
        assert_eq!(report.is_success, verification["isSuccess"] == true);
        verification["error"].as_str().unwrap_or_default().to_owned()
    }
}

#[test]
fn an_entry_beside_the_signature_is_enough_for_every_kind_of_key() {
    for kind in crate::testing::KINDS {
        let lab = Lab::new(kind);
        let entry = lab.log.annotation(&lab.body());
        let report = lab.ask(host_of(&[lab.with_entry(&entry)]));
        assert!(report.is_success, "{kind}: {report:?}");
        let verification = &report.extensions["signatures"][0]["verifications"][0];
        assert_eq!(verification["bundleVerified"], true);
        assert_eq!(
            verification["summary"],
            json!([
                "The cosign claims were validated.",
                "Existence of the claims in the transparency log was verified offline.",
                "The signatures were verified against the specified public key.",
            ])
        );
    }
}

#[test]
fn an_entry_has_to_be_promised_and_about_this_signature() {
    let lab = Lab::new("p256");
    let refused = |entry: &Value| lab.refused(host_of(&[lab.with_entry(entry)]));
    let of = |body: &Value| lab.log.annotation(body);
    let good = of(&lab.body());
    assert_eq!(refused(&good), "");
    let other = Log { time: lab.log.time, key: Signer::new("p256") };
    assert_eq!(
        refused(&other.annotation(&lab.body())),
        "error verifying bundle: verifying bundle: rekor log public key not found for payload"
    );
    for (key, value) in [("integratedTime", json!(lab.log.time - 1)), ("logIndex", json!(8))] {
        let mut changed = good.clone();
        changed["Payload"][key] = value;
        assert_eq!(refused(&changed), "error verifying bundle: unable to verify SET", "{key}");
    }
    let mut unsigned = good.clone();
    unsigned["SignedEntryTimestamp"] = "".into();
    assert_eq!(refused(&unsigned), "error verifying bundle: unable to verify SET");
    let late = Log { time: lab.log.time + 1000, key: Signer::new("p256") };
    let refusal = refused(&late.annotation(&lab.body()));
    assert!(refusal.starts_with("error verifying bundle: the entry is of the future"), "{refusal}");
    let changed = |path: &str, value: Value| {
        let mut body = lab.body();
        *body.pointer_mut(path).unwrap() = value;
        refused(&of(&body))
    };
    let all = "error verifying bundle: ";
    let elsewhere = STANDARD.encode(b"another");
    assert_eq!(
        changed("/spec/signature/content", elsewhere.into()),
        format!("{all}signature in bundle does not match signature being verified")
    );
    let key = STANDARD.encode(Signer::new("p256").pem());
    assert_eq!(
        changed("/spec/signature/publicKey/content", key.into()),
        format!("{all}the public key in the bundle is not the one that is verified with")
    );
    assert_eq!(
        changed("/spec/data/hash/value", "00".repeat(32).into()),
        format!("{all}matching bundle to payload: the hashes differ")
    );
    assert_eq!(
        changed("/spec/data/hash/algorithm", "sha512".into()),
        format!("{all}matching bundle to payload: the hashes differ")
    );
    let unknown = changed("/spec/data/hash/algorithm", "md5".into());
    assert!(unknown.starts_with(&format!("{all}the entry of the log is malformed")), "{unknown}");
    let body = lab.body().to_string();
    for key in ["spec", "kind", "content", "value"] {
        let named = format!("\"{key}\":");
        let twice = body.replacen(&named, &format!("{named}{{}},{named}"), 1);
        assert_eq!(
            refused(&lab.log.annotation_of(&twice)).split(" at line ").next().unwrap(),
            format!("{all}the entry of the log is malformed: the key {key:?} is given twice")
        );
    }
    assert_eq!(changed("/kind", "rekord".into()), format!("{all}unsupported type"));
    assert_eq!(changed("/apiVersion", "0.0.2".into()), format!("{all}unsupported type"));
}

#[test]
fn a_log_is_asked_where_nothing_is_beside_the_signature() {
    let lab = Lab::new("p256");
    let found = lab.log.found(&lab.body());
    let host = host_of(&[lab.layer()]).fetching(move |request| {
        assert_eq!(request.url, "https://log.example.com/api/v1/log/entries/retrieve");
        let (_, sent) = request.body.as_ref().unwrap();
        let sent: Value = serde_json::from_slice(sent).unwrap();
        assert_eq!(sent["entries"][0]["kind"], "hashedrekord");
        Ok(found.to_string().into())
    });
    let report = lab.ask(host);
    assert!(report.is_success, "{report:?}");
    let verification = &report.extensions["signatures"][0]["verifications"][0];
    assert_eq!(verification["bundleVerified"], false);
    assert_eq!(verification["summary"].as_array().unwrap().len(), 4);
}

#[test]
fn what_a_log_answers_has_to_prove_it() {
    let lab = Lab::new("p256");
    let good = lab.log.found(&lab.body());
    let (uuid, entry) = good[0].as_object().unwrap().iter().next().unwrap();
    let refused = |answer: Value| {
        let host = host_of(&[lab.layer()]).fetching(move |_| Ok(answer.to_string().into()));
        lab.refused(host)
    };
    assert_eq!(refused(good.clone()), "");
    assert_eq!(refused(json!([])), "signature not found in transparency log");
    assert_eq!(refused(json!([{ "00": entry }])), "computed leaf hash did not match UUID");
    let mut unproven = entry.clone();
    unproven["verification"].as_object_mut().unwrap().remove("inclusionProof");
    assert_eq!(refused(json!([{ (uuid): unproven }])), "inclusion proof not provided");
    let mut elsewhere = entry.clone();
    elsewhere["verification"]["inclusionProof"]["rootHash"] = "00".repeat(32).into();
    assert!(refused(json!([{ (uuid): elsewhere }])).starts_with("verifying inclusion proof: "));
    let mut unsigned = entry.clone();
    unsigned["verification"]["signedEntryTimestamp"] = "".into();
    assert_eq!(refused(json!([{ (uuid): unsigned }])), "unable to verify SET");
    // One that proves it is enough.
    assert_eq!(refused(json!([{ "00": entry }, { (uuid): entry }])), "");
    assert!(refused(json!({"a": 1})).starts_with("searching log query: "));
    let twice = format!("[{{\"{uuid}\":{entry},\"{uuid}\":{entry}}}]");
    let host = host_of(&[lab.layer()]).fetching(move |_| Ok(twice.clone().into()));
    let refused = lab.refused(host);
    assert!(refused.contains(&format!("the key {uuid:?} is given twice")), "{refused}");
}

#[test]
fn a_log_that_is_not_reached_says_nothing_about_the_signature() {
    let lab = Lab::new("p256");
    let failing = |is_transient: bool| {
        let host = host_of(&[lab.layer()])
            .fetching(move |_| Err(ErrorCode::Unknown.detail("no answer").passing(is_transient)));
        let report = lab.ask(host);
        assert!(!report.is_success);
        report.standing.certainty
    };
    assert_eq!(failing(true), Certainty::Passing);
    assert_eq!(failing(false), Certainty::Decided);
    let unknown =
        host_of(&[lab.layer()]).fetching(|_| Err(ErrorCode::ResourceNotFound.detail("404")));
    assert_eq!(lab.refused(unknown), "signature not found in transparency log");
}

/// Whoever may write to the registry has the log asked.
#[test]
fn a_log_is_asked_only_about_what_is_good_but_for_that() {
    let lab = Lab::new("p256");
    let other = payload(&format!("sha256:{}", "cd".repeat(32)));
    let moved = Layer::new(other.clone(), &lab.signer.sign(&other));
    let not_base64 = lab.layer().with("dev.cosignproject.cosign/signature", "no base64");
    for (layer, why) in [
        (
            Layer::signed(&Signer::new("p256")),
            "invalid signature when validating ASN.1 encoded signature",
        ),
        (Layer::signed(&Signer::new("rsa2048")), "ecdsa: Invalid IEEE_P1363 encoded bytes"),
        (
            moved,
            "invalid or missing digest in claim: sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        ),
        (not_base64, "illegal base64 data in the signature"),
    ] {
        let host = host_of(&[layer]).fetching(|_| Err(ErrorCode::Unknown.detail("no answer")));
        let report = lab.ask(host.clone());
        let verification = &report.extensions["signatures"][0]["verifications"][0];
        assert_eq!(verification["error"], why);
        assert!(host.asked().is_empty(), "{why}");
        // The log is not what stands in the way.
        assert_eq!(report.standing.certainty, Certainty::Decided, "{why}");
    }
}

#[test]
fn a_log_is_asked_only_about_the_key_that_signed() {
    let lab = Lab::new("p256");
    let keys = ["a.pub", "b.pub", "cosign.pub"].map(|name| lab.folder.path().join(name));
    for other in &keys[..2] {
        fs::write(other, Signer::new("p256").pem()).unwrap();
    }
    let keys: Vec<Value> = keys.iter().map(|file| json!({"file": file})).collect();
    let policy = json!({"name": "default", "scopes": ["*"], "keys": keys});
    let environment = Environment {
        rekor_public_key: Some(lab.folder.path().join("log.pub")),
        ..Environment::default()
    };
    let found = lab.log.found(&lab.body()).to_string();
    let host = Arc::new(host_of(&[lab.layer()]).fetching(move |_| Ok(found.clone().into())));
    let report = ask(&verifier(json!({"trustPolicies": [policy]}), &environment), &host);
    assert!(report.is_success, "{report:?}");
    assert_eq!(host.asked().len(), 1);
}

#[test]
fn an_entry_that_is_there_is_looked_at_first() {
    let lab = Lab::new("p256");
    let entry = Log::new().annotation(&lab.body());
    let layer = Layer::signed(&Signer::new("p256")).with(LOG_ENTRY, entry.to_string());
    let host = host_of(&[layer]);
    assert_eq!(
        lab.refused(host.clone()),
        "error verifying bundle: signature in bundle does not match signature being verified"
    );
    assert!(host.asked().is_empty());
}

#[test]
fn a_log_is_asked_so_often_and_so_long_about_an_artifact() {
    let lab = Lab::new("p256");
    let longest = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&longest);
    let host = host_of(&vec![lab.layer(); 102]).fetching(move |request| {
        let mut noted = noted.lock().unwrap();
        noted.push(request.timeout);
        if noted.len() == 1 {
            std::thread::sleep(Duration::from_millis(300));
        }
        Err(ErrorCode::ResourceNotFound.detail("404"))
    });
    let report = lab.ask(host.clone());
    assert_eq!(host.asked().len(), 100);
    let errors: Vec<&Value> = report.extensions["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signature| &signature["verifications"][0]["error"])
        .collect();
    assert_eq!(errors[99], "signature not found in transparency log");
    for error in &errors[100..] {
        assert_eq!(
            **error,
            "searching log query: VERIFY_PLUGIN_FAILURE: the log is asked at most 100 times about one artifact"
        );
    }
    let longest = longest.lock().unwrap();
    assert_eq!(longest[0], Duration::from_secs(10));
    assert!(longest[1] <= Duration::from_millis(9_700), "{longest:?}");
    assert!(longest.is_sorted_by(|one, next| one >= next), "{longest:?}");
    assert_eq!(report.standing.certainty, Certainty::Decided);
    // Another artifact has its own.
    let found = lab.log.found(&lab.body()).to_string();
    let next = host_of(&[lab.layer()]).fetching(move |_| Ok(found.clone().into()));
    assert!(lab.ask(next).is_success);
}
