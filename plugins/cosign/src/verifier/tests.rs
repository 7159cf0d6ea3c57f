//! Signatures by keys, without a log.

use std::{fs, sync::Arc};

use ratify_core::{Certainty, ErrorCode, executor::testing::MemoryHost, media_type};
use serde_json::{Value, json};

use super::*;
use crate::{
    Environment,
    testing::{KINDS, Layer, Signer, ask, ask_about, ask_for, host_of, image, payload, verifier},
};

/// A policy of keys, without the log.
fn keys_policy(keys: Value) -> Value {
    json!({"trustPolicies": [{"name": "default", "scopes": ["*"], "keys": keys, "tLogVerify": false}]})
}

/// A key in a file of its own.
struct KeyFile {
    folder: tempfile::TempDir,
    signer: Signer,
}

impl KeyFile {
    fn new(kind: &str) -> Self {
        let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::new(kind));
        fs::write(folder.path().join("cosign.pub"), signer.pem()).unwrap();
        Self { folder, signer }
    }

    fn path(&self) -> String {
        self.folder.path().join("cosign.pub").to_str().unwrap().to_owned()
    }

    fn policy(&self) -> Value {
        keys_policy(json!([{"file": self.path()}]))
    }

    fn legacy(&self) -> Value {
        json!({"key": self.path()})
    }
}

#[test]
fn an_image_signed_by_a_key_passes_whatever_kind_the_key_is() {
    for kind in KINDS {
        let file = KeyFile::new(kind);
        let layer = Layer::signed(&file.signer);
        let report = ask_about(file.policy(), std::slice::from_ref(&layer));
        assert!(report.is_success, "{kind}: {report:?}");
        let signature = &layer.annotations["dev.cosignproject.cosign/signature"];
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            json!({
                "isSuccess": true, "name": "cosign", "verifierName": "cosign",
                "type": "cosign", "verifierType": "cosign",
                "message": "Verification success. Valid signatures found. Please refer to extensions field for verifications performed.",
                "extensions": {
                    "signatures": [{"signature": signature, "verifications": [{
                        "isSuccess": true,
                        "bundleVerified": false,
                        "keyInformation": {"provider": "file", "name": file.path()},
                        "summary": [
                            "The cosign claims were validated.",
                            "The signatures were verified against the specified public key.",
                        ],
                    }]}],
                    "trustPolicy": "default",
                },
            })
        );
        assert_eq!(report.standing, ratify_core::Standing::default());
    }
}

#[test]
fn a_signature_of_one_kind_is_none_of_a_key_of_another() {
    let kinds = ["p256", "p384", "p521", "p521-sha512", "rsa2048", "rsa3072-sha384", "ed25519"];
    let layers = kinds.map(|kind| Layer::signed(&Signer::new(kind)));
    for kind in kinds {
        let file = KeyFile::new(kind);
        let reasons: &[&str] = match kind {
            "ed25519" => &["failed to verify signature"],
            _ if kind.starts_with("rsa") => &["crypto/rsa: verification error"],
            _ => &[
                "invalid signature when validating ASN.1 encoded signature",
                "invalid signature when validating IEEE_P1363 encoded signature",
                "ecdsa: Invalid IEEE_P1363 encoded bytes",
            ],
        };
        for (other, layer) in kinds.iter().zip(&layers) {
            let report = ask_about(file.policy(), std::slice::from_ref(layer));
            assert!(!report.is_success, "{kind} {other}");
            let error = &report.extensions["signatures"][0]["verifications"][0]["error"];
            assert!(reasons.contains(&error.as_str().unwrap()), "{kind} {other}: {error}");
        }
    }
}

#[test]
fn a_payload_of_another_digest_is_refused_on_both_ways() {
    let file = KeyFile::new("p256");
    let other = format!("sha256:{}", "cd".repeat(32));
    let other = payload(&other);
    let layer = Layer::new(other.clone(), &file.signer.sign(&other));
    let claimed = format!("invalid or missing digest in claim: sha256:{}", "cd".repeat(32));
    let report = ask_about(file.policy(), std::slice::from_ref(&layer));
    assert!(!report.is_success);
    assert_eq!(report.message, "Failed to validate the Cosign signature");
    assert_eq!(report.error_reason, "no valid Cosign signatures found");
    assert_eq!(report.extensions["signatures"][0]["verifications"][0]["error"], claimed);
    assert_eq!(report.standing.certainty, Certainty::Decided);
    let report = ask_about(file.legacy(), &[layer]);
    assert!(!report.is_success);
    assert_eq!(report.error_reason, "no valid signatures found");
    assert_eq!(report.extensions["signatures"][0]["error"], claimed);
}

#[test]
fn any_one_valid_signature_is_enough_in_either_order_and_none_is_not() {
    let file = KeyFile::new("p256");
    let good = Layer::signed(&file.signer);
    let (other, moved) = (Signer::new("p256"), payload(&format!("sha256:{}", "cd".repeat(32))));
    let no_signature = Layer::new(payload(image().as_str()), b"no signature");
    let bad = [
        (Layer::signed(&other), "invalid signature when validating ASN.1 encoded signature"),
        (no_signature, "invalid signature when validating IEEE_P1363 encoded signature"),
        (
            Layer { annotations: [].into(), ..good.clone() },
            "ecdsa: Invalid IEEE_P1363 encoded bytes",
        ),
        (
            Layer::new(moved.clone(), &file.signer.sign(&moved)),
            "invalid or missing digest in claim: sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        ),
        (
            good.clone().with("dev.cosignproject.cosign/signature", "no base64"),
            "illegal base64 data in the signature",
        ),
        (
            good.clone().with("dev.sigstore.cosign/bundle", "{"),
            "failed to unmarshal bundle from blob payload: EOF while parsing an object at line 1 column 1",
        ),
        (
            Layer::bundle("{}"),
            "the bundle is malformed: missing field `mediaType` at line 1 column 2",
        ),
    ];
    for (entry, parsing) in [
        (file.policy(), "Failed to parse Cosign signature with digest "),
        (file.legacy(), "failed to parse static signature opts: "),
    ] {
        // Why each layer does not count; empty for the one that does.
        let judge = |layers: &[&Layer]| -> (bool, Vec<String>) {
            let layers: Vec<Layer> = layers.iter().map(|layer| (*layer).clone()).collect();
            let report = ask_about(entry.clone(), &layers);
            let reasons = report.extensions["signatures"].as_array().unwrap().iter().map(|one| {
                let one = one.get("verifications").map_or(one, |all| &all[0]);
                let error = one["error"].as_str().unwrap_or_default();
                assert_eq!(one["isSuccess"] == true, error.is_empty(), "{report:?}");
                match error.strip_prefix(parsing) {
                    Some(rest) if parsing.ends_with("digest ") => rest[73..].to_owned(),
                    Some(rest) => rest.to_owned(),
                    None => error.to_owned(),
                }
            });
            (report.is_success, reasons.collect())
        };
        for (one, why) in &bad {
            assert_eq!(judge(&[&good, one]), (true, vec![String::new(), (*why).to_owned()]));
            assert_eq!(judge(&[one, &good]), (true, vec![(*why).to_owned(), String::new()]));
            for (another, why_too) in &bad {
                let reasons = vec![(*why).to_owned(), (*why_too).to_owned()];
                assert_eq!(judge(&[one, another]), (false, reasons));
            }
        }
        assert!(!ask_about(entry.clone(), &[]).is_success);
    }
}

/// Under which name does not matter: the digest is the image. Who has to have signed what is asked for by a
/// name, scopes say.
#[test]
fn a_signature_that_was_copied_with_its_image_counts_where_a_scope_covers_it() {
    let file = KeyFile::new("p256");
    // The payload says r.io/a.
    let host = Arc::new(host_of(&[Layer::signed(&file.signer)]));
    let of_other = Arc::new(host_of(&[Layer::signed(&Signer::new("p256"))]));
    let mut entry = file.policy();
    entry["trustPolicies"][0]["scopes"] = json!(["r.io/a*", "mirror.example.com/*"]);
    let verifier = verifier(entry, &Environment::default());
    for name in [
        "r.io/a:v1",
        "r.io/a:v2",
        "r.io/another:v1",
        "mirror.example.com/a:v1",
        "mirror.example.com/deep/b:latest",
    ] {
        let report = ask_for(name, &verifier, &host);
        assert!(report.is_success, "{name}: {report:?}");
        assert!(!ask_for(name, &verifier, &of_other).is_success, "{name}");
    }
    for name in ["r.io/b:v1", "mirror.example.org/a:v1", "other.r.io/a:v1"] {
        let report = ask_for(name, &verifier, &host);
        assert!(!report.is_success, "{name}");
        assert_eq!(report.error_reason, format!("No policy found for the artifact {name}"));
    }
}

#[test]
fn what_is_not_had_stands_in_the_way_only_where_nothing_else_passes() {
    let file = KeyFile::new("p256");
    let (good, missing) = (Layer::signed(&file.signer), Layer::new(b"missing".to_vec(), b""));
    for entry in [file.policy(), file.legacy()] {
        for layers in [[good.clone(), missing.clone()], [missing.clone(), good.clone()]] {
            let mut host = host_of(&layers);
            host.blobs.remove(&crate::testing::digest_of(b"missing"));
            let verifier = verifier(entry.clone(), &Environment::default());
            assert!(ask(&verifier, &Arc::new(host)).is_success);
        }
        let mut host = host_of(std::slice::from_ref(&missing));
        host.blobs.clear();
        let report = ask(&verifier(entry, &Environment::default()), &Arc::new(host));
        assert!(!report.is_success);
        assert_eq!(report.standing.certainty, Certainty::Passing);
        assert!(report.message.starts_with("Failed to validate the Cosign signature"));
        assert_eq!(report.error_reason, "not reached");
    }
}

#[test]
fn keys_of_a_provider_are_found_by_name_and_version_and_all_are_tried() {
    let (one, two) = (Signer::new("p256"), Signer::new("rsa2048"));
    let host = |layer: &Layer| {
        let keys = vec![one.ring_key("inline", "", ""), two.ring_key("azurekeyvault", "two", "v1")];
        Arc::new(host_of(std::slice::from_ref(layer)).with_keys("keys", keys))
    };
    let by_two = Layer::signed(&two);
    let answer = |keys: Value, layer: &Layer| {
        ask(&verifier(keys_policy(keys), &Environment::default()), &host(layer))
    };
    let report = answer(json!([{"provider": "keys"}]), &by_two);
    assert!(report.is_success);
    let found: Vec<(Value, Value)> = report.extensions["signatures"][0]["verifications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["keyInformation"].clone(), one["isSuccess"].clone()))
        .collect();
    let two_information = json!({"provider": "keys", "name": "two", "version": "v1"});
    assert_eq!(
        found,
        [(json!({"provider": "keys"}), json!(false)), (two_information, json!(true)),]
    );
    assert!(answer(json!([{"provider": "keys", "name": "two"}]), &by_two).is_success);
    assert!(
        answer(json!([{"provider": "keys", "name": "two", "version": "v1"}]), &by_two).is_success
    );
    let refused = answer(json!([{"provider": "keys", "name": "two", "version": "v2"}]), &by_two);
    assert_eq!(
        refused.error_reason,
        "Invalid trust policy [default]: key two with version v2 not found in key management provider keys"
    );
    let refused = answer(json!([{"provider": "other"}]), &by_two);
    assert_eq!(
        refused.message,
        "Failed to validate the Cosign signature: Invalid trust policy [default]: failed to access key management provider other"
    );
    assert_eq!(refused.error_reason, "The key management provider [other] does not exist");
}

#[test]
fn a_provider_without_keys_is_no_reason_to_look_for_certificates() {
    let entry = keys_policy(json!([{"provider": "empty"}]));
    let host = host_of(&[Layer::signed(&Signer::new("p256"))]).with_keys("empty", vec![]);
    let report = ask(&verifier(entry, &Environment::default()), &Arc::new(host));
    assert!(!report.is_success);
    assert_eq!(
        report.error_reason,
        "Invalid trust policy [default]: no key found in key management provider empty"
    );
}

#[test]
fn a_key_vaults_signatures_are_hashed_as_its_keys_are_strong() {
    for kind in ["p256", "p384", "p521-sha512", "rsa2048", "rsa3072-sha384"] {
        let signer = Signer::new(kind);
        let layer = Layer::signed(&signer);
        let answer = |provider_type: &str| {
            let keys = vec![signer.ring_key(provider_type, "k", "1")];
            let host = host_of(std::slice::from_ref(&layer)).with_keys("akv", keys);
            let entry = keys_policy(json!([{"provider": "akv"}]));
            ask(&verifier(entry, &Environment::default()), &Arc::new(host)).is_success
        };
        assert!(answer("azurekeyvault"), "{kind}");
        assert_eq!(answer("inline"), kind != "rsa3072-sha384", "{kind}");
    }
}

#[test]
fn a_key_that_cannot_be_used_does_not_keep_others_from_it() {
    let signer = Signer::new("ed25519");
    let mut broken = signer.ring_key("inline", "broken", "");
    broken.spki = "no key".into();
    let keys = vec![
        broken,
        signer.ring_key("azurekeyvault", "of a vault", ""),
        signer.ring_key("inline", "z", ""),
    ];
    let host = host_of(&[Layer::signed(&signer)]).with_keys("k", keys);
    let entry = keys_policy(json!([{"provider": "k"}]));
    let report = ask(&verifier(entry, &Environment::default()), &Arc::new(host));
    assert!(report.is_success);
    let all = report.extensions["signatures"][0]["verifications"].as_array().unwrap();
    let errors: Vec<&str> = all.iter().filter_map(|one| one["error"].as_str()).collect();
    assert_eq!(errors.len(), 2);
    assert!(errors[0].starts_with("the public key is malformed"), "{errors:?}");
    assert_eq!(errors[1], "unsupported public key type [ed25519.PublicKey]");
}

#[test]
fn the_older_form_answers_as_v1_does() {
    let file = KeyFile::new("p256");
    let layer = Layer::signed(&file.signer);
    let report = ask_about(file.legacy(), std::slice::from_ref(&layer));
    assert_eq!(report.message, "Verification success. Valid signatures found");
    let digest = crate::testing::digest_of(&layer.bytes);
    assert_eq!(
        report.extensions,
        json!({"signatures": [{
            "signatureDigest": digest, "isSuccess": true, "bundleVerified": false, "keyInformation": {},
        }]})
    );
    let rsa = KeyFile::new("rsa2048");
    let refused = ask_about(rsa.legacy(), std::slice::from_ref(&layer));
    assert_eq!(refused.message, "Failed to validate the Cosign signature");
    assert_eq!(
        refused.error_reason,
        "failed to load public key: pem to ecdsa: invalid public key: was *rsa.PublicKey, require *ecdsa.PublicKey"
    );
    let refused = ask_about(json!({"key": "/nowhere"}), &[layer]);
    assert_eq!(
        refused.error_reason,
        "failed to load public key: open /nowhere: no such file or directory"
    );
}

#[test]
fn the_artifact_has_to_be_an_image_and_not_too_long() {
    let file = KeyFile::new("p256");
    let layer = Layer::signed(&file.signer);
    for (entry, reason) in [
        (file.policy(), "The artifact metadata is not an OCI image"),
        (file.legacy(), "reference manifest is not an image"),
    ] {
        let answer = |change: &dyn Fn(&mut MemoryHost)| {
            let mut host = host_of(std::slice::from_ref(&layer));
            change(&mut host);
            ask(&verifier(entry.clone(), &Environment::default()), &Arc::new(host))
        };
        let refused = answer(&|host| host.manifest.media_type = media_type::DOCKER_MANIFEST.into());
        assert_eq!(refused.error_reason, reason);
        let refused = answer(&|host| host.manifest.blobs[0].size = MOST_BYTES + 1);
        assert!(refused.error_reason.contains("at most 1048576 are read"), "{refused:?}");
        let refused = answer(&|host| {
            let one = host.manifest.blobs[0].clone();
            host.manifest.blobs = vec![one; MOST_LAYERS + 1];
        });
        assert!(refused.error_reason.contains("at most 1000 are looked at"), "{refused:?}");
    }
}

#[test]
fn an_image_without_a_policy_is_refused() {
    let file = KeyFile::new("p256");
    let mut entry = file.policy();
    entry["trustPolicies"][0]["scopes"] = json!(["r.io/b*"]);
    let refused = ask_about(entry, &[Layer::signed(&file.signer)]);
    assert_eq!(refused.error_reason, "No policy found for the artifact r.io/a:v1");
    assert_eq!(refused.extensions, Value::Null);
}

#[test]
fn the_basis_is_what_the_key_files_hold() {
    let basis = |entry: &Value| {
        let mut basis = Basis::default();
        verifier(entry.clone(), &Environment::default()).add_basis(&mut basis);
        basis.bytes().map(<[u8]>::to_vec)
    };
    let file = KeyFile::new("p256");
    for entry in [file.policy(), file.legacy()] {
        let before = basis(&entry).unwrap();
        assert_eq!(basis(&entry).unwrap(), before);
        let kept = fs::read(file.path()).unwrap();
        fs::write(file.path(), Signer::new("p256").pem()).unwrap();
        assert_ne!(basis(&entry).unwrap(), before);
        fs::write(file.path(), kept).unwrap();
    }
    // v1's chart names a file that few have, and verdicts are kept all the same.
    let path = file.path();
    let folder = std::path::Path::new(&path).parent().unwrap();
    let key = folder.join("later.pub");
    let entry = json!({"key": key});
    let before = basis(&entry).unwrap();
    fs::write(&key, Signer::new("p256").pem()).unwrap();
    assert_ne!(basis(&entry).unwrap(), before);
    assert_eq!(basis(&json!({"key": folder})), None);
}

#[test]
fn what_is_configured_in_v1s_chart_is_taken() {
    let entry = json!({"key": "/usr/local/ratify-certs/cosign/cosign.pub"});
    let verifier = verifier(entry, &Environment::default());
    assert!(verifier.can_verify(media_type::COSIGN_SIGNATURE) && !verifier.can_verify("other"));
    assert_eq!(verifier.artifact_types(), Some(&[media_type::COSIGN_SIGNATURE.to_owned()][..]));
    assert!(!verifier.verifies_nested());
    let error = ErrorCode::Unknown.error();
    assert_eq!(failed(error).message, FAILED);
}

#[test]
fn the_providers_that_any_policy_names_are_the_named_keys() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cosign.pub");
    fs::write(&file, Signer::new("p256").pem()).unwrap();
    let named = |entry: Value| verifier(entry, &Environment::default()).named_keys();
    let keyless = json!({"certificateIdentity": "i", "certificateOIDCIssuer": "o"});
    let all = json!({"trustPolicies": [
        {"name": "a", "scopes": ["r.io/a*"], "keys": [
            {"provider": "one", "name": "k", "version": "1"}, {"file": file}, {"provider": "ns/two"},
        ]},
        {"name": "b", "scopes": ["r.io/b*"], "keys": [{"provider": "one"}, {"provider": "three"}]},
        {"name": "c", "scopes": ["*"], "keyless": keyless.clone()},
    ]});
    let mut found = named(all).unwrap();
    found.sort();
    found.dedup();
    assert_eq!(found, ["ns/two", "one", "three"]);
    let by_file = json!({"name": "a", "scopes": ["*"], "keys": [{"file": file}]});
    let none = [
        json!({"trustPolicies": [by_file]}),
        json!({"trustPolicies": [{"name": "a", "scopes": ["*"], "keyless": keyless}]}),
        json!({"key": file}),
        json!({}),
    ];
    for entry in none {
        assert_eq!(named(entry.clone()), Some(Vec::new()), "{entry}");
    }
}
