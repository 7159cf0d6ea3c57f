//! Every change of a Sigstore bundle is refused with its reason, but for those that say nothing.

use std::{fs, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::bundle_tests::{Lab, reason};
use crate::{
    CosignVerifier, Environment,
    testing::{
        Layer, ask,
        authority::Wish,
        bundles::{SIGNED, bundle, logged, of_certificate, of_key, statement},
        changes::{Expected, Reasons},
        clock::Clock,
        host_of, image,
        log::Log,
        verifier,
    },
};

const MALFORMED: &str = "the bundle is malformed: ";
const PROMISE: &str = "invalid inclusion promise: ";
const PROOF: &str = "invalid inclusion proof: ";
const SHAPE: &str = "Bundle error: ";
const STAMP: &str = "invalid RFC 3161 timestamp: TSA timestamp verification failed: ";

const OF_ALL: Reasons = &[
    ("/mediaType", &[MALFORMED]),
    ("/dsseEnvelope/payload", &["the statement is malformed: "]),
    ("/dsseEnvelope/payloadType", &["the bundle signs something that is no statement"]),
    ("/tlogEntries", &[SHAPE, "the bundle has one of its entries of a log twice"]),
    ("/kindVersion", &[MALFORMED]),
    ("/canonicalizedBody", &[PROOF, "invalid inclusion promise: SET verification failed: "]),
    ("/integratedTime", &[MALFORMED, PROMISE, "no verified timestamp: "]),
    ("/logId", &["malformed log entry: invalid Rekor log ID: ", PROMISE]),
    ("/logIndex", &[MALFORMED, "invalid inclusion promise: SET verification failed: "]),
    ("/inclusionPromise", &["no verified timestamp: "]),
    ("/signedEntryTimestamp", &["invalid inclusion promise: SET verification failed: "]),
    ("/inclusionProof", &[SHAPE]),
    ("/inclusionProof/logIndex", &[MALFORMED, SHAPE, PROOF]),
    ("/inclusionProof/treeSize", &[MALFORMED, SHAPE, PROOF]),
    ("/inclusionProof/hashes", &[PROOF]),
    ("/rootHash", &["Bundle error: inclusion proof root hash does not match checkpoint root hash"]),
    (
        "/checkpoint",
        &[MALFORMED, "Bundle error: inclusion proof has no checkpoint", "invalid checkpoint: "],
    ),
];
const OF_KEY: Reasons = &[(
    "/sig",
    &[
        "ecdsa: Invalid IEEE_P1363 encoded bytes",
        "invalid signature when validating ASN.1 encoded signature",
        "invalid signature when validating IEEE_P1363 encoded signature",
    ],
)];
const OF_CERTIFICATE: Reasons = &[
    ("/sig", &["invalid signature: DSSE signature verification failed: "]),
    ("/rawBytes", &["malformed certificate: ", "certificate chain is invalid: "]),
];
const OF_MESSAGE: Reasons = &[
    ("/messageSignature/signature", &["invalid signature when validating ASN.1 encoded signature"]),
    (
        "/messageDigest",
        &[MALFORMED, "invalid or missing digest in claim: the message is something else"],
    ),
];
const OF_STAMPED: Reasons = &[
    (
        "/sig",
        &[
            "invalid RFC 3161 timestamp: TSA timestamp verification failed: Timestamp message hash mismatch: ",
        ],
    ),
    ("/timestampVerificationData", &["Bundle error: "]),
    ("/rfc3161Timestamps", &["Bundle error: ", "the bundle has one of its timestamps twice"]),
    ("/signedTimestamp", &[STAMP]),
];

fn check(entry: Value, bundle: &Value, reasons: &[Reasons], harmless: &[&str]) {
    let verifier = verifier(entry, &Environment::default());
    let expected = Expected { malformed: MALFORMED, reasons, nothing: &[], harmless };
    expected.check(bundle, &|text| refused(&verifier, text));
}

fn refused(verifier: &CosignVerifier, text: impl Into<Vec<u8>>) -> String {
    reason(&ask(verifier, &Arc::new(host_of(&[Layer::bundle(text)]))))
}

/// The hint says nothing that counts, and whoever knows more members may have some.
const HINTS: [&str; 7] = [
    "/verificationMaterial/publicKey/hint emptied",
    "/verificationMaterial/publicKey/hint flipped",
    "/verificationMaterial/publicKey/hint cut",
    "/verificationMaterial/publicKey/hint doubled",
    "/verificationMaterial/publicKey/hint removed",
    "/verificationMaterial/publicKey in an object",
    "/verificationMaterial/publicKey emptied",
];

/// The proof is enough: a key does not end, so nobody needs the promise of when it was.
const PROMISE_LEFT_OUT: [&str; 2] = [
    "/verificationMaterial/tlogEntries/0/inclusionPromise null",
    "/verificationMaterial/tlogEntries/0/inclusionPromise removed",
];

#[test]
fn no_change_of_a_bundle_by_a_key_passes() {
    let lab = Lab::new("p256");
    check(lab.policy(json!({"tLogVerify": false})), &lab.signed(), &[OF_ALL, OF_KEY], &HINTS);
}

#[test]
fn no_change_of_a_bundle_by_a_key_in_a_log_passes() {
    let lab = Lab::new("p256");
    let bundle = logged(lab.signed(), &lab.log, &lab.signer.pem());
    let harmless = [&HINTS[..], &PROMISE_LEFT_OUT].concat();
    check(lab.policy(json!({})), &bundle, &[OF_ALL, OF_KEY], &harmless);
}

#[test]
fn no_change_of_a_bundle_by_a_certificate_in_a_log_passes() {
    let lab = Lab::new("p256");
    check(lab.keyless(), &lab.certified(&Wish::default()), &[OF_ALL, OF_CERTIFICATE], &[]);
}

#[test]
fn no_change_of_a_bundle_with_a_timestamp_passes() {
    let lab = Lab::new("p256");
    let Some(clock) = Clock::new() else { return };
    trust(&lab, &clock);
    let certified = lab.authority.certify(&Wish::default());
    let material = of_certificate(&certified.pem);
    let bundle = bundle(&statement(image().as_str(), SIGNED), &certified.key, material);
    let bundle = stamped(bundle, &clock);
    let mut entry = lab.keyless();
    entry["trustPolicies"][0]["tLogVerify"] = false.into();
    check(entry, &bundle, &[OF_ALL, OF_CERTIFICATE, OF_STAMPED], &[]);
}

/// A key does not end. What the time is of its signature is looked at with the log, and has to be right then.
#[test]
fn a_timestamp_of_a_key_has_to_be_right_where_the_log_is_looked_at() {
    let lab = Lab::new("p256");
    let (Some(clock), Some(stranger)) = (Clock::new(), Clock::new()) else { return };
    trust(&lab, &clock);
    let signed = || logged(lab.signed(), &lab.log, &lab.signer.pem());
    let good = stamped(signed(), &clock);
    let mut of_another = signed();
    of_another["verificationMaterial"]["timestampVerificationData"] =
        stamped(signed(), &clock)["verificationMaterial"]["timestampVerificationData"].clone();
    for (bundle, why) in [
        (good, ""),
        (of_another, "Timestamp message hash mismatch: "),
        (stamped(signed(), &stranger), "Failed to verify timestamp signature: "),
    ] {
        assert_eq!(lab.by_key(&bundle, false), "");
        let refused = lab.by_key(&bundle, true);
        let is_it = refused.strip_prefix(STAMP).unwrap_or(&refused).starts_with(why);
        assert!(is_it && refused.is_empty() == why.is_empty(), "{why}: {refused}");
    }
}

/// Trusts a clock, too.
fn trust(lab: &Lab, clock: &Clock) {
    let mut root = lab.authority.trusted_root(&lab.log);
    root["timestampAuthorities"] = clock.trusted();
    fs::write(lab.folder.path().join("trusted_root.json"), root.to_string()).unwrap();
}

/// The bundle with what a clock says of its signature.
fn stamped(mut bundle: Value, clock: &Clock) -> Value {
    let signature = bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
    let token = STANDARD.encode(clock.stamp(&STANDARD.decode(signature).unwrap()));
    bundle["verificationMaterial"]["timestampVerificationData"] =
        json!({"rfc3161Timestamps": [{"signedTimestamp": token}]});
    bundle
}

#[test]
fn no_change_of_a_bundle_of_the_images_own_bytes_passes() {
    let lab = Lab::new("p256");
    let hash = hex::decode(image().hex()).unwrap();
    let signature = lab.signer.sign_digest(&hash);
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": of_key(),
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(&hash)},
            "signature": STANDARD.encode(&signature),
        },
    });
    // The signature is compared with the image, whether or not it says whose it is.
    let digest = ["null", "removed"].map(|what| format!("/messageSignature/messageDigest {what}"));
    let harmless = [&[&digest[0][..], &digest[1]], &HINTS[..]].concat();
    let unlogged = lab.policy(json!({"tLogVerify": false}));
    check(unlogged, &bundle, &[OF_ALL, OF_KEY, OF_MESSAGE], &harmless);
    let mut body = Log::body(b"", &signature, &lab.signer.pem());
    body["spec"]["data"]["hash"]["value"] = image().hex().into();
    let mut in_log = bundle;
    in_log["verificationMaterial"]["tlogEntries"] =
        json!([lab.log.entry(&body, ("hashedrekord", "0.0.1"))]);
    let harmless = [&harmless[..], &PROMISE_LEFT_OUT].concat();
    check(lab.policy(json!({})), &in_log, &[OF_ALL, OF_KEY, OF_MESSAGE], &harmless);
}

#[test]
fn a_bundle_has_few_proofs() {
    let lab = Lab::new("p256");
    let mut bundle = logged(lab.signed(), &lab.log, &lab.signer.pem());
    let verifier = verifier(lab.policy(json!({})), &Environment::default());
    let one = bundle["verificationMaterial"]["tlogEntries"][0].clone();
    for (count, why) in [
        (32, "invalid inclusion promise: SET verification failed: "),
        (33, "the bundle has 33 entries of a log, and at most 32 are looked at"),
    ] {
        let entries = (0..count).map(|index: i32| {
            let mut entry = one.clone();
            entry["logIndex"] = (index + 7).to_string().into();
            entry
        });
        bundle["verificationMaterial"]["tlogEntries"] = entries.collect();
        let refused = refused(&verifier, bundle.to_string());
        assert!(refused.starts_with(why), "{refused}");
    }
    let entries = &mut bundle["verificationMaterial"];
    entries["tlogEntries"] = json!([one]);
    let stamps: Value =
        (0..33_u8).map(|byte| json!({"signedTimestamp": STANDARD.encode([byte])})).collect();
    entries["timestampVerificationData"] = json!({"rfc3161Timestamps": stamps});
    assert_eq!(
        refused(&verifier, bundle.to_string()),
        "the bundle has 33 timestamps, and at most 32 are looked at"
    );
}

#[test]
fn no_bundle_that_is_cut_passes() {
    let lab = Lab::new("p256");
    let text = lab.certified(&Wish::default()).to_string();
    let verifier = verifier(lab.keyless(), &Environment::default());
    for cut in (0..text.len()).step_by(7) {
        let refusal = refused(&verifier, &text.as_bytes()[..cut]);
        let why = refusal.strip_prefix("the bundle is malformed: ");
        assert!(why.is_some_and(|why| why.starts_with("EOF while parsing")), "{cut}: {refusal}");
    }
}
