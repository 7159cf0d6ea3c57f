//! Certificates of the wrong time, of nobody who is trusted, and with a chain that is not theirs; and what
//! a timestamp says of them.

use std::{fs, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::{Certainty, ErrorCode};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

use super::keyless_tests::{LOG_ENTRY, Lab, identity, refusal};
use crate::{
    Environment,
    testing::{
        Layer, Signer, ask,
        authority::{Authority, Certified, Wish},
        bundles::{SIGNED, bundle, logged, of_certificate, statement},
        changes::flipped,
        clock::Clock,
        host_of, image,
        log::Log,
        payload, verifier,
    },
};

pub(super) const CHAIN: &str = "dev.sigstore.cosign/chain";
pub(super) const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// A policy that does not look at the certificates' log, and at the other one where it is told to.
fn entry(lab: &Lab, has_log: bool) -> Value {
    let mut keyless = identity();
    keyless["ctLogVerify"] = false.into();
    lab.entry(keyless, &[("tLogVerify", has_log.into())])
}

/// Why a layer does not count: in the log, in none, and where the log itself would have to be asked,
/// which it is not.
fn refusals(lab: &Lab, certified: &Certified, chain: &str) -> [String; 3] {
    let unlogged = lab.unlogged(certified).with(CHAIN, chain);
    let host = Arc::new(host_of(std::slice::from_ref(&unlogged)));
    let asked = ask(&verifier(entry(lab, true), &Environment::default()), &host);
    assert!(host.asked().is_empty(), "{asked:?}");
    [
        lab.refused(entry(lab, true), lab.layer(certified).with(CHAIN, chain)),
        lab.refused(entry(lab, false), unlogged),
        refusal(&asked),
    ]
}

const INVALID: &str = "certificate chain is invalid: certificate chain validation failed: ";
const UNTRUSTED: &str = "cert verification failed: ";

#[test]
fn a_certificate_that_is_not_yet_valid_is_refused() {
    let lab = Lab::new();
    let future = lab.authority.certify(&Wish { years: (2090, 2100), ..Wish::default() });
    let refused = lab.refused(entry(&lab, true), lab.layer(&future));
    assert!(refused.starts_with(&format!("{INVALID}CertNotValidYet")), "{refused}");
    let refused = lab.refused(entry(&lab, false), lab.unlogged(&future));
    let issued = "checking expiry on certificate with bundle: certificate was issued after signatures were entered in log: 2090-01-01T00:00:00Z is after ";
    assert!(refused.starts_with(issued), "{refused}");
}

#[test]
fn a_certificate_that_vouches_for_itself_is_nobodys() {
    let lab = Lab::new();
    let own = Certified::self_signed(&Wish::default());
    let authority = lab.authority.pem();
    for chain in [authority.clone(), own.pem.clone(), own.pem.clone() + &authority] {
        let refused = refusals(&lab, &own, &chain);
        assert_eq!(refused[0], format!("{INVALID}UnknownIssuer"));
        assert_eq!(refused[1..], [format!("{UNTRUSTED}UnknownIssuer"), refused[1].clone()]);
    }
    // Nor does it where the layer brings an authority of its own.
    let stranger = Authority::new();
    let foreign = stranger.certify(&Wish::default());
    let refused = refusals(&lab, &foreign, &stranger.pem());
    assert_eq!(refused[0], format!("{INVALID}InvalidSignatureForPublicKey"));
    assert_eq!(refused[1], format!("{UNTRUSTED}InvalidSignatureForPublicKey"));
    assert_eq!(refused[2], refused[1]);
}

/// The order says nothing: what counts is a way from the certificate to a trusted one.
#[test]
fn a_chain_has_to_lead_to_an_authority() {
    let lab = Lab::new();
    let between = lab.authority.intermediate((2020, 2100));
    let certified = between.certify(&Wish::default());
    let (between, root) = (between.pem(), lab.authority.pem());
    for chain in [
        format!("{between}{root}"),
        format!("{root}{between}"),
        between.clone(),
        format!("{between}{between}{root}{root}"),
        format!("a line of text\n{between}\n{root}\n"),
    ] {
        for has_log in [true, false] {
            let layer = if has_log { lab.layer(&certified) } else { lab.unlogged(&certified) };
            assert_eq!(
                lab.refused(entry(&lab, has_log), layer.with(CHAIN, &*chain)),
                "",
                "{chain}"
            );
        }
        let logged = lab.layer(&certified).with(CHAIN, chain);
        assert_eq!(lab.refused(lab.entry(identity(), &[]), logged), "");
    }
    let other = Authority::new();
    let strangers = other.intermediate((2020, 2100)).pem() + &other.pem();
    let same_name = lab.authority.intermediate((2020, 2100)).pem() + &root;
    for (chain, why) in [
        (root.clone(), "UnknownIssuer"),
        (certified.pem.clone(), "UnknownIssuer"),
        (strangers, "InvalidSignatureForPublicKey"),
        (same_name, "InvalidSignatureForPublicKey"),
    ] {
        let refused = refusals(&lab, &certified, &chain);
        assert_eq!(refused[0], format!("{INVALID}{why}"));
        assert_eq!(refused[1..], [format!("{UNTRUSTED}{why}"), refused[1].clone()]);
    }
    let long = "A".repeat(100_000);
    let long = format!("-----BEGIN CERTIFICATE-----\n{long}\n-----END CERTIFICATE-----\n");
    for refused in refusals(&lab, &certified, &long) {
        assert!(refused.ends_with(": the certificate has more than 65536 bytes"), "{refused}");
    }
    let malformed = "the certificate is malformed: it is not made of whole certificates";
    for chain in [
        between[..300].to_owned(),
        format!("{between}{}", &root[..300]),
        format!("{between}{root}and more"),
        "no certificate".to_owned(),
        Signer::new("p256").pem(),
        between.clone() + &Signer::new("p256").pem(),
    ] {
        for refused in refusals(&lab, &certified, &chain) {
            let digest =
                refused.strip_prefix("Failed to parse Cosign signature with digest sha256:");
            assert_eq!(digest.map(|digest| &digest[66..]), Some(malformed), "{refused}");
        }
    }
    // Each letter of the one that is needed.
    let is_word = |at: usize| between[at..].starts_with('\n') || between[..at].ends_with('\n');
    for at in (0..between.len() - 1).filter(|at| !is_word(*at)).step_by(3) {
        let chain = flipped(&between, at) + &root;
        for (has_log, reason) in [(true, INVALID), (false, UNTRUSTED)] {
            let layer = if has_log { lab.layer(&certified) } else { lab.unlogged(&certified) };
            let refused = lab.refused(entry(&lab, has_log), layer.with(CHAIN, &*chain));
            let is_one = refused.starts_with(reason);
            assert!(
                is_one || refused.contains("the certificate is malformed: "),
                "{at}: {refused}"
            );
        }
    }
}

#[test]
fn an_authority_between_has_to_be_valid_itself() {
    let lab = Lab::new();
    for (years, why) in [((2020, 2021), "CertExpired"), ((2090, 2100), "CertNotValidYet")] {
        let between = lab.authority.intermediate(years);
        let certified = between.certify(&Wish::default());
        let chain = between.pem() + &lab.authority.pem();
        let logged = lab.layer(&certified).with(CHAIN, &*chain);
        let refused = lab.refused(entry(&lab, true), logged);
        assert!(refused.starts_with(&format!("{INVALID}{why}")), "{refused}");
        let unlogged = lab.unlogged(&certified).with(CHAIN, chain);
        let refused = lab.refused(entry(&lab, false), unlogged);
        assert!(refused.starts_with(&format!("{UNTRUSTED}{why}")), "{refused}");
    }
}

/// Unlike in Go, no purpose is not any. What the root of trust has is not asked for one.
#[test]
fn an_authority_between_has_to_be_for_signing_code_or_trusted_itself() {
    let lab = Lab::new();
    for purposes in [vec![], vec![ExtendedKeyUsagePurpose::ServerAuth]] {
        fs::write(lab.root(), lab.authority.trusted_root(&lab.log).to_string()).unwrap();
        let between = lab.authority.intermediate_for((2020, 2100), purposes);
        let certified = between.certify(&Wish::default());
        let layer = lab.layer(&certified).with(CHAIN, between.pem());
        let refused = lab.refused(entry(&lab, true), layer.clone());
        assert!(refused.starts_with(&format!("{INVALID}RequiredEkuNotFoundContext")), "{refused}");
        fs::write(lab.root(), between.trusted_root(&lab.log).to_string()).unwrap();
        assert_eq!(lab.refused(entry(&lab, true), layer), "");
    }
}

/// A bundle of the older versions has a chain as well, whose first is the signer's.
#[test]
fn the_first_certificate_of_a_bundle_is_the_signers() {
    let lab = Lab::new();
    let between = lab.authority.intermediate((2020, 2100));
    let certified = between.certify(&Wish::default());
    let der = |pem: &str| json!({"rawBytes": of_certificate(pem)["certificate"]["rawBytes"]});
    let chain = [certified.pem.clone(), between.pem(), lab.authority.pem()].map(|pem| der(&pem));
    let refused = |version: &str, chain: &[Value]| {
        let material = json!({"x509CertificateChain": {"certificates": chain}});
        let signed = bundle(&statement(image().as_str(), SIGNED), &certified.key, material);
        let mut signed = logged(signed, &lab.log, &certified.pem);
        signed["mediaType"] =
            format!("application/vnd.dev.sigstore.bundle+json;version={version}").into();
        lab.refused(lab.entry(identity(), &[]), Layer::bundle(signed.to_string()))
    };
    let [leaf, middle, root] = &chain;
    let all = |order: [&Value; 3]| order.map(Clone::clone);
    assert_eq!(refused("0.2", &chain), "");
    assert_eq!(refused("0.2", &chain[..2]), "");
    assert_eq!(refused("0.2", &all([leaf, root, middle])), "");
    assert_eq!(refused("0.2", &chain[..1]), format!("{INVALID}UnknownIssuer"));
    assert_eq!(refused("0.2", &[]), "invalid bundle: bundle has no signing certificate");
    for reordered in [all([middle, leaf, root]), all([root, middle, leaf])] {
        let refused = refused("0.2", &reordered);
        assert!(refused.starts_with(INVALID), "{refused}");
    }
    assert_eq!(
        refused("0.3", &chain),
        "Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundles must use a single certificate, not a chain"
    );
}

/// Whose key it is does not count there, but v1 refuses what goes with a certificate that is over.
#[test]
fn a_key_whose_certificate_is_over_or_not_yet_there_is_refused() {
    let lab = Lab::new();
    let asks = |has_log: bool, certified: &Certified, layer: Layer| {
        let file = lab.folder.path().join("cosign.pub");
        fs::write(&file, certified.key.pem()).unwrap();
        let policy = json!({"name": "default", "scopes": ["*"], "keys": [{"file": file}], "trustedRoot": lab.root(), "tLogVerify": has_log});
        lab.refused(json!({"trustPolicies": [policy]}), layer)
    };
    let by_key = |certified: &Certified| {
        let payload = payload(image().as_str());
        let signature = certified.key.sign(&payload);
        let body = Log::body(&payload, &signature, &certified.key.pem());
        lab.unlogged(certified)
            .with(LOG_ENTRY, lab.log.annotation(&body).to_string())
            .signed_with(&signature)
    };
    let of = |years| lab.authority.certify(&Wish { years, ..Wish::default() });
    let (good, ended, future) = (of((2020, 2100)), of((2020, 2021)), of((2090, 2100)));
    assert_eq!(asks(false, &good, lab.unlogged(&good)), "");
    assert_eq!(asks(true, &good, by_key(&good)), "");
    assert_eq!(
        asks(false, &ended, lab.unlogged(&ended)),
        "expected a signed timestamp to verify an expired certificate"
    );
    let checking = "checking expiry on certificate with bundle: certificate";
    let refused = asks(true, &ended, by_key(&ended));
    let over = "expired before signatures were entered in log: 2021-01-01T00:00:00Z is before ";
    assert!(refused.starts_with(&format!("{checking} {over}")), "{refused}");
    let later = "was issued after signatures were entered in log: 2090-01-01T00:00:00Z is after ";
    for refused in
        [asks(false, &future, lab.unlogged(&future)), asks(true, &future, by_key(&future))]
    {
        assert!(refused.starts_with(&format!("{checking} {later}")), "{refused}");
    }
}

/// The layer with what a clock says of some bytes.
pub(super) fn stamped(layer: Layer, clock: &Clock, about: &[u8]) -> Layer {
    let kept = json!({"SignedRFC3161Timestamp": STANDARD.encode(clock.stamp(about))});
    layer.with(TIMESTAMP, kept.to_string())
}

/// The signature of a layer.
pub(super) fn signature(layer: &Layer) -> Vec<u8> {
    STANDARD.decode(&layer.annotations["dev.cosignproject.cosign/signature"]).unwrap()
}

/// Trusts a clock, too.
pub(super) fn trust(lab: &Lab, clock: &Clock) {
    let mut root = lab.authority.trusted_root(&lab.log);
    root["timestampAuthorities"] = clock.trusted();
    fs::write(lab.root(), root.to_string()).unwrap();
}

#[test]
fn a_timestamp_counts_where_a_trusted_authority_made_it_about_this_signature() {
    let lab = Lab::new();
    let (Some(clock), Some(stranger)) = (Clock::new(), Clock::new()) else { return };
    let certified = lab.authority.certify(&Wish::default());
    let unlogged = lab.unlogged(&certified);
    let good = stamped(unlogged.clone(), &clock, &signature(&unlogged));
    let refused = |layer: &Layer| {
        let mut keyless = lab.entry(identity(), &[("tLogVerify", json!(false))]);
        keyless["trustPolicies"][0]["keyless"]["ctLogVerify"] = true.into();
        lab.refused(keyless, layer.clone())
    };
    let stamp = "invalid RFC 3161 timestamp: TSA timestamp verification failed: ";
    assert_eq!(
        refused(&good),
        format!("{stamp}no timestamp authorities configured in trusted root")
    );
    trust(&lab, &clock);
    assert_eq!(refused(&good), "");
    let other = refused(&stamped(unlogged.clone(), &clock, b"another"));
    assert!(other.starts_with(&format!("{stamp}Timestamp message hash mismatch: ")), "{other}");
    let by_stranger = refused(&stamped(unlogged.clone(), &stranger, &signature(&unlogged)));
    assert!(by_stranger.starts_with(stamp), "{by_stranger}");
    for (years, why) in [((2020, 2021), "CertExpired"), ((2090, 2100), "CertNotValidYet")] {
        let layer = lab.unlogged(&lab.authority.certify(&Wish { years, ..Wish::default() }));
        let refused = refused(&stamped(layer.clone(), &clock, &signature(&layer)));
        assert!(refused.starts_with(&format!("{INVALID}{why}")), "{refused}");
    }
    // Beside what a log says it is no lesser evidence.
    let logged = lab.layer(&certified);
    let beside = |layer: Layer| lab.refused(entry(&lab, true), layer);
    assert_eq!(beside(stamped(logged.clone(), &clock, &signature(&logged))), "");
    assert!(beside(stamped(logged.clone(), &clock, b"another")).starts_with(stamp));
    assert!(beside(stamped(logged.clone(), &stranger, &signature(&logged))).starts_with(stamp));
}

#[test]
fn a_log_is_asked_only_about_certificates_that_are_good_but_for_that() {
    let lab = Lab::new();
    let asked = |layer: Layer| {
        let host = host_of(&[layer]).fetching(|_| Err(ErrorCode::Unknown.detail("no answer")));
        let report =
            ask(&verifier(entry(&lab, true), &Environment::default()), &Arc::new(host.clone()));
        (refusal(&report), host.asked().len(), report.standing.certainty)
    };
    let certified = lab.authority.certify(&Wish::default());
    let good = lab.unlogged(&certified);
    assert_eq!(asked(good.clone()).1, 1);
    // When it was made is not known yet.
    let ended = lab.authority.certify(&Wish { years: (2020, 2021), ..Wish::default() });
    assert_eq!(asked(lab.unlogged(&ended)).1, 1);
    let other =
        lab.authority.certify(&Wish { subject: "other@example.com".into(), ..Wish::default() });
    // Whatever it brings to vouch for itself, and however long ago that ended.
    let strangers = Authority::new().intermediate((2000, 2010));
    let by_strangers = strangers.certify(&Wish::default());
    let by_strangers = lab.unlogged(&by_strangers).with(CHAIN, strangers.pem());
    let no_code = lab.authority.certify(&Wish { may_sign: false, ..Wish::default() });
    let elsewhere = payload(&format!("sha256:{}", "cd".repeat(32)));
    let moved = Layer { bytes: elsewhere.clone(), ..good.clone() };
    for (layer, why) in [
        (
            lab.unlogged(&other),
            "none of the expected identities matched what was in the certificate, got subjects [other@example.com]",
        ),
        (by_strangers, "cert verification failed: "),
        (lab.unlogged(&no_code), "cert verification failed: RequiredEkuNotFoundContext"),
        (
            good.clone().signed_with(&other.key.sign(&good.bytes)),
            "invalid signature when validating ASN.1 encoded signature",
        ),
        (moved.clone(), "invalid signature when validating ASN.1 encoded signature"),
        (
            moved.signed_with(&certified.key.sign(&elsewhere)),
            "invalid or missing digest in claim: sha256:cdcd",
        ),
    ] {
        let (refused, count, certainty) = asked(layer);
        assert!(refused.starts_with(why), "{refused}");
        assert_eq!((count, certainty), (0, Certainty::Decided), "{why}");
    }
}
