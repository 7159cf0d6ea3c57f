//! Every change of a layer as cosign has always made it is refused with its reason, but for those that say
//! nothing: its payload, and each of its annotations.

use std::{fs, ops::Range, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    bundle_tests::without_place,
    certificate_tests::{TIMESTAMP, signature, stamped, trust},
    keyless_tests::{LOG_ENTRY, Lab, identity, refusal},
};
use crate::{
    CosignVerifier, Environment,
    testing::{
        Layer, Signer, ask,
        authority::Wish,
        changes::{Expected, Reasons, flipped},
        clock::Clock,
        host_of, image, payload, verifier,
    },
};

const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Why a layer does not count, without v1's words in front of what is malformed, and without its place.
fn refused(verifier: &CosignVerifier, layer: Layer) -> String {
    let refusal = refusal(&ask(verifier, &Arc::new(host_of(&[layer]))));
    let digest = refusal.strip_prefix("Failed to parse Cosign signature with digest sha256:");
    without_place(digest.map_or(&refusal[..], |digest| &digest[66..])).to_owned()
}

const OF_ENTRY: Reasons = &[
    (
        "/body",
        &[
            "error verifying bundle: the entry of the log is malformed: ",
            "failed to unmarshal bundle from blob payload: body is no base64",
        ],
    ),
    (
        "/integratedTime",
        &[
            "error verifying bundle: unable to verify SET",
            "error verifying bundle: verifying bundle: rekor log public key not found for payload",
        ],
    ),
    (
        "/logID",
        &[
            "failed to unmarshal bundle from blob payload: logID is not hexadecimal in lower case",
            "error verifying bundle: verifying bundle: rekor log public key not found for payload",
        ],
    ),
    ("/logIndex", &["error verifying bundle: unable to verify SET"]),
    (
        "/SignedEntryTimestamp",
        &[
            "error verifying bundle: unable to verify SET",
            "failed to unmarshal bundle from blob payload: SignedEntryTimestamp is no base64",
        ],
    ),
];

#[test]
fn no_change_of_what_the_log_promised_passes() {
    let lab = Lab::new();
    let layer = lab.layer(&lab.authority.certify(&Wish::default()));
    let verifier = verifier(lab.entry(identity(), &[]), &Environment::default());
    let kept: Value = serde_json::from_str(&layer.annotations[LOG_ENTRY]).unwrap();
    let malformed = "failed to unmarshal bundle from blob payload: ";
    Expected { malformed, reasons: &[OF_ENTRY], nothing: &[], harmless: &[] }
        .check(&kept, &|text| refused(&verifier, layer.clone().with(LOG_ENTRY, text)));
    let text = &layer.annotations[LOG_ENTRY];
    for cut in (0..text.len()).step_by(7) {
        let refused = refused(&verifier, layer.clone().with(LOG_ENTRY, &text[..cut]));
        assert!(refused.starts_with(&format!("{malformed}EOF while parsing")), "{cut}: {refused}");
    }
}

#[test]
fn no_change_of_a_timestamp_passes() {
    let lab = Lab::new();
    let Some(clock) = Clock::new() else { return };
    trust(&lab, &clock);
    let layer = lab.unlogged(&lab.authority.certify(&Wish::default()));
    let layer = stamped(layer.clone(), &clock, &signature(&layer));
    let entry = lab.entry(identity(), &[("tLogVerify", json!(false))]);
    let verifier = verifier(entry, &Environment::default());
    let kept: Value = serde_json::from_str(&layer.annotations[TIMESTAMP]).unwrap();
    let malformed = "failed to unmarshal RFC3161 timestamp bundle: ";
    let reasons: Reasons = &[(
        "/SignedRFC3161Timestamp",
        &["invalid RFC 3161 timestamp: TSA timestamp verification failed: "],
    )];
    Expected { malformed, reasons: &[reasons], nothing: &[], harmless: &[] }
        .check(&kept, &|text| refused(&verifier, layer.clone().with(TIMESTAMP, text)));
    let token = STANDARD.decode(kept["SignedRFC3161Timestamp"].as_str().unwrap()).unwrap();
    let refused = |token: &[u8]| {
        let kept = json!({"SignedRFC3161Timestamp": STANDARD.encode(token)});
        refused(&verifier, layer.clone().with(TIMESTAMP, kept.to_string()))
    };
    let unsigned = unsigned_parts(&token);
    for at in 0..token.len() {
        let why = "invalid RFC 3161 timestamp: TSA timestamp verification failed: ";
        let mut changed = token.clone();
        changed[at] ^= 1;
        let changed = refused(&changed);
        let says_nothing = changed.is_empty() && unsigned.iter().any(|part| part.contains(&at));
        assert!(says_nothing || changed.starts_with(why), "{at}: {changed}");
        let cut = refused(&token[..at]);
        assert!(cut.starts_with(why), "{at}: {cut}");
    }
}

/// The name of SHA-256, and that it has no parameters.
const SHA256: [u8; 11] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0];

/// What nobody signs in a token and nothing rests on: the status of the answer, two versions, two names of
/// algorithms that are said elsewhere (RFC 5652, sections 5.1 and 5.3), the tags of what is signed and of
/// parameters that are none.
fn unsigned_parts(token: &[u8]) -> [Range<usize>; 7] {
    let of = |pattern: &[u8], from: usize, length: usize| {
        let at = token.windows(pattern.len()).position(|part| part == pattern).unwrap();
        at + from..at + from + length
    };
    let info = of(&[2, 1, 1, 6], 0, 1).start;
    let digest = token.windows(11).rposition(|part| part == SHA256).unwrap();
    [
        of(&[2, 1, 0], 2, 1),
        of(&[2, 1, 3], 2, 1),
        of(&SHA256, 0, 11),
        info - 4..info - 3,
        of(&[2, 1, 1, 0x30], 2, 1),
        digest + 9..digest + 10,
        of(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], 0, 8),
    ]
}

#[test]
fn no_change_of_a_signature_or_a_certificate_passes() {
    let lab = Lab::new();
    let layer = lab.layer(&lab.authority.certify(&Wish::default()));
    let verifier = verifier(lab.entry(identity(), &[]), &Environment::default());
    assert_eq!(refused(&verifier, layer.clone()), "");
    let other_signature =
        "error verifying bundle: signature in bundle does not match signature being verified";
    let other_certificate =
        "error verifying bundle: the public key in the bundle is not the one that is verified with";
    let malformed = "the certificate is malformed: ";
    for (annotation, reasons) in [
        (SIGNATURE, [other_signature, "illegal base64 data in the signature"]),
        (CERTIFICATE, [other_certificate, malformed]),
    ] {
        let value = layer.annotations[annotation].trim_ascii_end();
        let step = if annotation == SIGNATURE { 1 } else { 5 };
        for at in (0..value.len()).step_by(step) {
            for changed in [flipped(value, at), value[..at].to_owned()] {
                let refused = refused(&verifier, layer.clone().with(annotation, &*changed));
                let is_left_out =
                    changed.is_empty() && refused == "no certificate found on signature";
                let is_one = reasons.iter().any(|reason| refused.starts_with(reason));
                assert!(is_one || is_left_out, "{annotation} {at}: {refused}");
            }
        }
    }
    let doubled = |annotation: &str| {
        let value = layer.annotations[annotation].repeat(2);
        refused(&verifier, layer.clone().with(annotation, value))
    };
    // Of many certificates the first counts, as in v1.
    assert_eq!(doubled(CERTIFICATE), "");
    assert_eq!(doubled("dev.sigstore.cosign/chain"), "");
    let signature = doubled(SIGNATURE);
    let is_base64 = !layer.annotations[SIGNATURE].ends_with('=');
    let why = if is_base64 { other_signature } else { "illegal base64 data in the signature" };
    assert_eq!(signature, why);
    let trailing = "failed to unmarshal bundle from blob payload: trailing characters";
    assert_eq!(doubled(LOG_ENTRY), trailing);
}

/// What is said of the image beside its digest does not count: a copy is the same image.
const SAYS_NOTHING: &[&str] = &["/critical/identity", "/critical/type", "/optional"];

#[test]
fn no_change_of_a_payload_passes() {
    let lab = Lab::new();
    let signer = Signer::new("p256");
    let file = lab.folder.path().join("cosign.pub");
    fs::write(&file, signer.pem()).unwrap();
    let policy =
        json!({"name": "default", "scopes": ["*"], "keys": [{"file": file}], "tLogVerify": false});
    let verifier = verifier(json!({"trustPolicies": [policy]}), &Environment::default());
    let layer = Layer::signed(&signer);
    for at in 0..layer.bytes.len() {
        let mut changed = layer.clone();
        changed.bytes[at] ^= 1;
        let why = "invalid signature when validating ASN.1 encoded signature";
        assert_eq!(refused(&verifier, changed.clone()), why, "{at}");
        changed.bytes.truncate(at);
        assert_eq!(refused(&verifier, changed), why, "{at}");
    }
    // The same by whoever has the key.
    let document: Value = serde_json::from_slice(&payload(image().as_str())).unwrap();
    let reasons: Reasons = &[("/critical", &["invalid or missing digest in claim: "])];
    Expected {
        malformed: "the payload is malformed: ",
        reasons: &[reasons],
        nothing: SAYS_NOTHING,
        harmless: &[],
    }
    .check(&document, &|text| {
        let payload = text.as_bytes().to_vec();
        let signature = signer.sign(&payload);
        refused(&verifier, Layer::new(payload, &signature))
    });
}
