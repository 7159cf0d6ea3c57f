//! From a request to a report, against a store in memory.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::FutureExt as _;
use ratify_core::{
    Certainty, Context, KeyRing, KeyRings, Reference, ReferrerStore, RingCertificate,
    executor::{
        Doors, StoreHost,
        testing::{MemoryStore, descriptor, digest},
    },
    media_type,
};
use rcgen::{CrlDistributionPoint, date_time_ymd};
use serde_json::Value;

use super::*;
use crate::testing::{Authority, PAYLOAD, headers, jws};

const TYPE: &str = "application/vnd.cncf.notary.signature";
/// The image that the payload of the signatures here is about, and its signature.
const IMAGE: u8 = 0xab;
const SIGNATURE: u8 = 0xcd;

/// The 7th of May 2024.
fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_715_040_000)
}

pub(crate) fn verifier(changes: &Value) -> NotationVerifier {
    let mut entry = json!({
        "name": "signatures", "type": "notation", "artifactTypes": TYPE,
        "verificationCertStores": {"certs": ["trusted"]},
        "trustPolicyDoc": {"version": "1.0", "trustPolicies": [{
            "name": "default", "registryScopes": ["*"], "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:certs"], "trustedIdentities": ["*"],
        }]},
    });
    for (key, value) in changes.as_object().unwrap() {
        entry[key] = value.clone();
    }
    let entry = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
    let environment = Environment { clock, ..Environment::new("/nowhere") };
    NotationVerifier::new(entry, environment).unwrap()
}

/// A store with one signed image.
pub(crate) fn store(layers: &[(&str, u64, &[u8])]) -> MemoryStore {
    let mut manifest = Manifest::new(media_type::OCI_MANIFEST, TYPE);
    let mut store = MemoryStore::new("memory").image("reg.io/a:v1", IMAGE);
    for (number, (media_type, size, bytes)) in (1..).zip(layers) {
        manifest.blobs.push(Descriptor::new(*media_type, digest(number), *size));
        store = store.blob_of(number, bytes.to_vec());
    }
    store.artifact(IMAGE, SIGNATURE, TYPE).manifest_of(SIGNATURE, manifest)
}

pub(crate) fn ask(
    verifier: &NotationVerifier,
    store: MemoryStore,
    root: &Authority,
) -> Result<VerifierReport> {
    let certificate = RingCertificate {
        name: String::new(),
        version: String::new(),
        der: root.certificate.der().to_vec().into(),
    };
    let mut rings = KeyRings::new("");
    let ring = KeyRing { certificates: [certificate].into(), keys: [].into() };
    rings.insert("trusted", Ok(ring));
    let store: Arc<dyn ReferrerStore> = Arc::new(store);
    let config = store.config().clone();
    let host = StoreHost::new(store, Context::default());
    let host = Arc::new(host.with_doors(Doors::new(Arc::new(rings))));
    let subject = Reference::parse("reg.io/a:v1").unwrap().with_digest(digest(IMAGE));
    let resolved = Arc::new(descriptor(IMAGE, media_type::OCI_MANIFEST));
    let listed = descriptor(SIGNATURE, TYPE);
    let referrer = Arc::new(ratify_core::Referrer::new(listed, ratify_core::Binding::Manifest));
    let request = Request::new(subject, resolved, referrer, Context::default(), config, host);
    verifier.verify(&request).now_or_never().unwrap()
}

fn signed(root: &Authority, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Vec<u8> {
    let leaf = root.issue("leaf", change);
    jws(&leaf.key, &[&leaf.certificate, &root.certificate], &headers(), PAYLOAD)
}

fn jose(bytes: &[u8]) -> [(&'static str, u64, &[u8]); 1] {
    [("application/jose+json", bytes.len() as u64, bytes)]
}

#[test]
fn a_good_signature_is_a_report_with_v1s_words_that_ends_with_its_certificate() {
    let root = Authority::root("root");
    let envelope = signed(&root, |leaf| leaf.not_after = date_time_ymd(2024, 6, 1));
    let report = ask(&verifier(&json!({})), store(&jose(&envelope)), &root).unwrap();
    insta::assert_snapshot!(serde_json::to_string(&report).unwrap(), @r#"{"isSuccess":true,"name":"signatures","verifierName":"signatures","type":"notation","verifierType":"notation","message":"Notation signature verification success","extensions":{"Issuer":"CN=root,O=Lab,ST=WA,C=US","SN":"CN=leaf,O=Lab,ST=WA,C=US"}}"#);
    let end = UNIX_EPOCH + Duration::from_secs(1_717_200_000);
    assert_eq!(report.standing.valid_until, Some(end));
    assert_eq!(report.standing.certainty, Certainty::Decided);
}

#[test]
fn what_is_found_out_is_a_decision_and_what_is_not_is_none() {
    let root = Authority::root("root");
    let mut envelope = signed(&root, |_| ());
    let of_another = ask(&verifier(&json!({})), store(&jose(&envelope)), &Authority::root("other"));
    let of_another = of_another.unwrap();
    assert_eq!(of_another.error_reason, "signature is not produced by a trusted signer");
    assert!(!of_another.is_success && of_another.extensions.is_null());
    assert_eq!(of_another.standing.certainty, Certainty::Decided);
    let lists = signed(&root, |leaf| {
        let uris = vec!["http://list.example.com/a".to_owned()];
        leaf.crl_distribution_points = vec![CrlDistributionPoint { uris }];
    });
    let unknown = ask(&verifier(&json!({})), store(&jose(&lists)), &root).unwrap();
    assert!(unknown.error_reason.ends_with("revocation status is unknown"));
    assert_eq!(unknown.standing.certainty, Certainty::Failed);
    insta::assert_snapshot!(unknown.remediation, @"Mend what keeps revocation from being known: failed to download CRL from http://list.example.com/a: failed to retrieve CRL: OPERATION_FORBIDDEN: http://list.example.com/a may not be fetched here");
    envelope.truncate(100);
    let cut = ask(&verifier(&json!({})), store(&jose(&envelope)), &root).unwrap();
    assert!(cut.error_reason.starts_with("unable to parse the digital signature, error : "));
    assert!(cut.message.starts_with("Failed to validate the Notation signature: {Descriptor:{"));
}

#[test]
fn an_artifact_that_is_no_signature_is_refused_before_it_is_read() {
    let root = Authority::root("root");
    let refusal = |layers: &[(&str, u64, &[u8])]| {
        let error = ask(&verifier(&json!({})), store(layers), &root).unwrap_err();
        (error.reason(), error.remediation().to_owned())
    };
    let jose = "application/jose+json";
    let two = refusal(&[(jose, 1, b"x"), (jose, 1, b"y")]);
    assert_eq!(
        two.0,
        "Notation signature manifest requires exactly one signature envelope blob, got 2"
    );
    let place = format!(
        "Please inspect the artifact [reg.io/a@{}] is correctly signed by Notation signer",
        digest(SIGNATURE)
    );
    assert_eq!(two.1, place);
    let long = refusal(&[(jose, (4 << 20) + 1, b"x")]);
    assert_eq!(long.0, "the signature envelope has 4194305 bytes, more than 4194304");
}

#[test]
fn what_is_skipped_is_not_read() {
    let skip = json!({"trustPolicyDoc": {"version": "1.0", "trustPolicies": [{
        "name": "none", "registryScopes": ["*"], "signatureVerification": {"level": "skip"},
    }]}});
    let report =
        ask(&verifier(&skip), MemoryStore::new("empty"), &Authority::root("root")).unwrap();
    assert!(report.is_success);
    insta::assert_snapshot!(report.message, @r#"Notation signature verification is skipped by the trust policy statement "none""#);
}

#[test]
fn it_judges_the_types_that_it_is_told_and_nothing_nested() {
    let of = |types: Value| verifier(&json!({"artifactTypes": types}));
    let listed = of(json!("a,b"));
    assert!(listed.can_verify("b") && !listed.can_verify(TYPE));
    assert!(of(json!("*")).can_verify(TYPE) && !listed.verifies_nested());
    assert_eq!((listed.name(), listed.type_()), ("signatures", "notation"));
    assert_eq!(listed.artifact_types().unwrap().len(), 2);
    let mut untold = verifier(&json!({}));
    untold.entry.artifact_types = None;
    assert!(!untold.can_verify(TYPE));
}

#[test]
fn its_configuration_is_part_of_what_decides() {
    let basis = |changes: &Value| {
        let mut basis = Basis::default();
        verifier(changes).add_basis(&mut basis);
        basis.bytes().unwrap().to_vec()
    };
    assert_eq!(basis(&json!({})), basis(&json!({})));
    assert_ne!(basis(&json!({})), basis(&json!({"verificationCerts": ["/nowhere/else"]})));
}
