//! What follows from each check, at each level, and what a verdict rests on.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use coset::TaggedCborSerializable as _;
use futures_util::FutureExt as _;
use ratify_core::{ErrorCode, executor::testing::MemoryHost};
use rcgen::{CertificateParams, CrlDistributionPoint, KeyPair, date_time_ymd};
use serde_json::json;

mod chain;
mod plugin;
mod timestamp;

use super::{plugin::VERIFICATION_PLUGIN, *};
use crate::{
    certificate::Certificate,
    policy::TrustPolicy,
    testing::{Authority, PAYLOAD, cose, epoch, headers, host_trusting, jws},
    trust::CertificateStores,
};

/// A day after the signatures here.
const NOW: &str = "2024-05-07T07:08:09Z";
const LIST: &str = "http://list.example.com/a.crl";

fn subject() -> Descriptor {
    let payload: Value = serde_json::from_str(PAYLOAD).unwrap();
    serde_json::from_value(payload["targetArtifact"].clone()).unwrap()
}

fn moment(text: &str) -> Moment {
    Moment::parse_rfc3339(text).unwrap()
}

/// What one signature comes to under a statement with these changes.
struct Trial<'a> {
    changes: Value,
    host: &'a MemoryHost,
    now: Moment,
    media_type: &'static str,
    plugins: Option<&'a dyn VerificationPlugins>,
    plugin_config: Value,
}

impl<'a> Trial<'a> {
    fn of(host: &'a MemoryHost, changes: Value) -> Self {
        let (media_type, plugin_config) = (envelope::JWS, Value::Null);
        Self { changes, host, now: moment(NOW), media_type, plugins: None, plugin_config }
    }

    fn at(mut self, now: &str) -> Self {
        self.now = moment(now);
        self
    }

    /// What becomes of a signature, the same in each form.
    fn told(mut self, both: &[(&'static str, Vec<u8>); 2]) -> String {
        let [of_jws, of_cose] = both.each_ref().map(|(media_type, bytes)| {
            self.media_type = media_type;
            self.run(bytes).map_or_else(|refusal| refusal, |_| "good".to_owned())
        });
        assert_eq!(of_jws, of_cose);
        of_jws
    }

    fn run(&self, envelope: &[u8]) -> Result<Accepted, String> {
        let mut statement = json!({
            "name": "default", "registryScopes": ["*"], "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:certs", "signingAuthority:authorities"], "trustedIdentities": ["*"],
        });
        for (key, value) in self.changes.as_object().unwrap() {
            statement[key] = value.clone();
        }
        let document = json!({"version": "1.0", "trustPolicies": [statement]});
        let policy = TrustPolicy::read(&document).unwrap();
        let stores = json!({
            "ca": {"certs": ["trusted"]},
            "signingAuthority": {"authorities": ["trusted"]},
            "tsa": {"clocks": ["clocks"]},
        });
        let stores = CertificateStores::read(stores.as_object().unwrap()).unwrap();
        let trust = TrustStores::new(&[], stores, "/nowhere".as_ref());
        let lists = ListCache::default();
        let verification = Verification {
            statement: policy.statement_for("reg.io/a", "r").unwrap(),
            trust: &trust,
            host: &self.host.shared(),
            lists: &lists,
            plugins: self.plugins,
            plugin_config: &self.plugin_config,
            context: &Context::default(),
            now: self.now,
        };
        let subject = subject();
        let run = verification.run(self.media_type, envelope, &subject);
        run.now_or_never().unwrap().map_err(|refusal| refusal.to_string())
    }
}

fn level(level: &str, overrides: Value) -> Value {
    json!({"signatureVerification": {"level": level, "override": overrides}})
}

fn lists(leaf: &mut CertificateParams) {
    leaf.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![LIST.into()] }];
}

fn nobody_answers(_: &ratify_core::FetchRequest) -> ratify_core::Result<Bytes> {
    Err(ErrorCode::ReferrerStoreFailure.detail("connection refused").passing(true))
}

fn signed(root: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let leaf = root.issue("leaf", change);
    jws(&leaf.key, &[&leaf.certificate, &root.certificate], &headers(), PAYLOAD)
}

/// A signature in each form, which may have an end.
fn both(
    key: &KeyPair,
    chain: &[&Certificate],
    expiry: Option<Moment>,
) -> [(&'static str, Vec<u8>); 2] {
    let (scheme, end) = ("io.cncf.notary.signingScheme", "io.cncf.notary.expiry");
    let mut headers = headers();
    let mut labels = vec![
        (scheme, coset::cbor::Value::Text("notary.x509".into())),
        ("io.cncf.notary.signingTime", epoch(1_714_979_289)),
    ];
    let mut critical = vec![scheme];
    if let Some(expiry) = expiry {
        critical.push(end);
        headers[end] = json!(expiry.rfc3339());
        let since = expiry.to_clock().duration_since(UNIX_EPOCH).unwrap();
        labels.push((end, epoch(since.as_secs().try_into().unwrap())));
    }
    headers["crit"] = json!(critical);
    let of_cose = cose(key, chain, &critical, labels).to_tagged_vec().unwrap();
    [(envelope::JWS, jws(key, chain, &headers, PAYLOAD)), (envelope::COSE, of_cose)]
}

#[test]
fn a_signature_lasts_as_long_as_its_first_certificate() {
    let root = Authority::root("root");
    let host = host_trusting(&[&root.certificate]);
    let until = |change: fn(&mut CertificateParams), changes: Value| {
        Trial::of(&host, changes).run(&signed(&root, change)).unwrap().until
    };
    let short = |leaf: &mut CertificateParams| leaf.not_after = date_time_ymd(2025, 1, 2);
    assert_eq!(until(short, json!({})), Some(moment("2025-01-02T00:00:00Z")));
    assert_eq!(until(short, level("permissive", json!({}))), None, "nothing rests on it");
}

#[test]
fn certificates_are_valid_now_or_a_level_lets_it_pass() {
    let root = Authority::root("root");
    let host = host_trusting(&[&root.certificate]);
    let envelope = signed(&root, |leaf| {
        leaf.not_before = date_time_ymd(2024, 1, 1);
        leaf.not_after = date_time_ymd(2025, 1, 1);
    });
    let trial = |now: &str| Trial::of(&host, json!({})).at(now).run(&envelope);
    assert!(trial(NOW).is_ok());
    insta::assert_snapshot!(trial("2025-01-01T00:00:01Z").unwrap_err(), @r#"verification time is after certificate "CN=leaf,O=Lab,ST=WA,C=US" validity period, it was expired at "Wed, 01 Jan 2025 00:00:00 +0000""#);
    insta::assert_snapshot!(trial("2023-12-31T23:59:59Z").unwrap_err(), @r#"verification time is before certificate "CN=leaf,O=Lab,ST=WA,C=US" validity period, it will be valid from "Mon, 01 Jan 2024 00:00:00 +0000""#);
    let permissive = Trial::of(&host, level("permissive", json!({}))).at("2025-01-01T00:00:01Z");
    assert!(permissive.run(&envelope).is_ok());
}

#[test]
fn a_signature_that_has_ended_is_refused_where_that_counts() {
    let root = Authority::root("root");
    let host = host_trusting(&[&root.certificate]);
    let leaf = root.leaf("leaf");
    let mut headers = headers();
    headers["io.cncf.notary.expiry"] = json!("2024-06-01T10:00:00+02:00");
    headers["crit"] = json!(["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"]);
    let chain = [&leaf.certificate, &root.certificate];
    let envelope = jws(&leaf.key, &chain, &headers, PAYLOAD);
    let accepted = Trial::of(&host, json!({})).run(&envelope).unwrap();
    assert_eq!(accepted.until, Some(moment("2024-06-01T08:00:00Z")));
    let late = |changes: Value| Trial::of(&host, changes).at("2024-06-01T08:00:00Z").run(&envelope);
    insta::assert_snapshot!(late(json!({})).unwrap_err(), @r#"digital signature has expired on "Sat, 01 Jun 2024 10:00:00 +0200""#);
    assert!(late(level("strict", json!({"expiry": "log"}))).is_ok());
}

#[test]
fn an_authority_says_when_it_signed_and_is_in_a_store_of_its_own() {
    let root = Authority::root("root");
    let host = host_trusting(&[&root.certificate]);
    let leaf = root.issue("leaf", |leaf| leaf.not_before = date_time_ymd(2024, 5, 6));
    let scheme = "notary.x509.signingAuthority";
    let at = |seconds: i64| {
        let chain = [&leaf.certificate, &root.certificate];
        let headers = vec![
            ("io.cncf.notary.signingScheme", coset::cbor::Value::Text(scheme.into())),
            ("io.cncf.notary.authenticSigningTime", epoch(seconds)),
        ];
        let critical = ["io.cncf.notary.signingScheme", "io.cncf.notary.authenticSigningTime"];
        cose(&leaf.key, &chain, &critical, headers).to_tagged_vec().unwrap()
    };
    let trial = |changes: Value| Trial { media_type: envelope::COSE, ..Trial::of(&host, changes) };
    let accepted = trial(json!({})).run(&at(1_714_979_289)).unwrap();
    assert_eq!(accepted.until, None, "it was valid then, and stays so");
    insta::assert_snapshot!(trial(json!({})).run(&at(1_714_900_000)).unwrap_err(), @r#"certificate "CN=leaf,O=Lab,ST=WA,C=US" was not valid when the digital signature was produced at "Sun, 05 May 2024 09:06:40 +0000""#);
    let of_authorities = json!({"trustStores": ["ca:certs"]});
    insta::assert_snapshot!(trial(of_authorities).run(&at(1_714_979_289)).unwrap_err(), @"no trusted certificates are found to verify authenticity");
}

#[test]
fn the_payload_is_the_images_digest_size_and_type() {
    let root = Authority::root("root");
    let host = host_trusting(&[&root.certificate]);
    let leaf = root.leaf("leaf");
    let with = |key: &str, value: Value| {
        let mut payload: Value = serde_json::from_str(PAYLOAD).unwrap();
        payload["targetArtifact"][key] = value;
        let chain = [&leaf.certificate, &root.certificate];
        let envelope = jws(&leaf.key, &chain, &headers(), &payload.to_string());
        Trial::of(&host, level("audit", json!({}))).run(&envelope)
    };
    assert!(with("annotations", json!({"a": "b"})).is_ok());
    let other = format!("sha256:{}", "cd".repeat(32));
    for (key, value) in [
        ("digest", json!(other)),
        ("digest", Value::Null),
        ("size", json!(8)),
        ("size", json!("7")),
        ("mediaType", json!("application/vnd.oci.image.index.v1+json")),
    ] {
        assert_eq!(with(key, value).unwrap_err(), "content descriptor mismatch", "{key}");
    }
    for payload in ["{}", r#"{"targetArtifact":[]}"#] {
        let chain = [&leaf.certificate, &root.certificate];
        let envelope = jws(&leaf.key, &chain, &headers(), payload);
        let refusal = Trial::of(&host, json!({})).run(&envelope).unwrap_err();
        assert_eq!(refusal, "content descriptor mismatch", "{payload}");
    }
}

#[test]
fn a_critical_attribute_that_nobody_understands_is_refused_at_every_level() {
    let root = Authority::root("root");
    let host = host_trusting(&[&root.certificate]);
    let leaf = root.leaf("leaf");
    let with = |critical: Value, attributes: Value| {
        let mut headers = headers();
        headers["crit"] = critical;
        for (key, value) in attributes.as_object().unwrap() {
            headers[key] = value.clone();
        }
        let chain = [&leaf.certificate, &root.certificate];
        let envelope = jws(&leaf.key, &chain, &headers, PAYLOAD);
        Trial::of(&host, level("audit", json!({}))).run(&envelope).map(|_| ())
    };
    let scheme = "io.cncf.notary.signingScheme";
    assert_eq!(with(json!([scheme]), json!({"a": 1})), Ok(()));
    insta::assert_snapshot!(with(json!([scheme, "a"]), json!({"a": 1})).unwrap_err(), @r#"extended critical attribute "a" was not processed, since the signature names no verification plugin"#);
    let plugin = json!({VERIFICATION_PLUGIN: "p"});
    insta::assert_snapshot!(with(json!([scheme, VERIFICATION_PLUGIN]), plugin.clone()).unwrap_err(), @r#"error while locating the verification plugin "p", make sure the plugin is installed successfully before verifying the signature. error: no plugins of Notation are run here"#);
    insta::assert_snapshot!(with(json!([scheme]), plugin).unwrap_err(), @"io.cncf.notary.verificationPlugin is not a critical Extended attribute");
    insta::assert_snapshot!(with(json!([scheme, VERIFICATION_PLUGIN]), json!({VERIFICATION_PLUGIN: 1})).unwrap_err(), @"io.cncf.notary.verificationPlugin from extended attribute is not a string");
}

#[test]
fn nobody_is_asked_about_a_certificate_that_nobody_trusts() {
    let root = Authority::root("root");
    let envelope = signed(&root, lists);
    let host = host_trusting(&[&Authority::root("other").certificate]).fetching(nobody_answers);
    let run = |changes: Value| Trial::of(&host, changes).run(&envelope).map(|_| ());
    assert_eq!(run(level("audit", json!({}))), Ok(()));
    assert_eq!(run(json!({})).unwrap_err(), "signature is not produced by a trusted signer");
    let revocation_counts = level("audit", json!({"revocation": "enforce"}));
    insta::assert_snapshot!(run(revocation_counts).unwrap_err(), @"revocation is not checked, since the signature is not produced by a trusted signer");
    assert_eq!(host.asked(), Vec::<String>::new());
}

#[test]
fn nobody_is_asked_about_what_stands_above_the_trusted_certificate() {
    // Somebody has an authority of their own sign the key of one that is trusted further down.
    let real = Authority::root("real");
    let between = real.authority("between");
    let stranger = Authority::root("stranger");
    let crossed = stranger.cross(&between, |between| {
        let uris = vec!["http://169.254.169.254/trap".to_owned()];
        between.crl_distribution_points = vec![CrlDistributionPoint { uris }];
    });
    let issuing = between.authority("issuing");
    let leaf = issuing.leaf("leaf");
    let chain = [&leaf.certificate, &issuing.certificate, &crossed, &stranger.certificate];
    let envelope = jws(&leaf.key, &chain, &headers(), PAYLOAD);
    let host = host_trusting(&[&issuing.certificate]).fetching(nobody_answers);
    assert!(Trial::of(&host, json!({})).run(&envelope).is_ok());
    assert_eq!(host.asked(), Vec::<String>::new());
}

#[test]
fn a_responder_that_is_away_leaves_a_refusal_that_passes() {
    let root = Authority::root("root");
    let host = host_trusting(&[&root.certificate]).fetching(nobody_answers);
    let envelope = signed(&root, lists);
    let refusal = Trial::of(&host, json!({})).run(&envelope).unwrap_err();
    insta::assert_snapshot!(refusal, @r#"signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" revocation status is unknown"#);
    assert_eq!(host.asked(), [LIST]);
    assert!(Trial::of(&host, level("permissive", json!({}))).run(&envelope).is_ok());
    assert!(
        Trial::of(&host, level("strict", json!({"revocation": "skip"}))).run(&envelope).is_ok()
    );
    assert_eq!(host.asked().len(), 2, "what is skipped is not asked for");
}

#[test]
fn what_is_not_found_out_is_no_finding() {
    let found = Refusal::from("x");
    assert!(is_found(&found) && !is_found(&Refusal::from("x").unknown()));
    assert!(!is_found(&Refusal::from("x").passing(true)));
    assert_eq!(earlier(None, Some(moment(NOW))), Some(moment(NOW)));
    let later = Moment::of_clock(moment(NOW).to_clock() + Duration::from_secs(1));
    assert_eq!(earlier(Some(later), Some(moment(NOW))), Some(moment(NOW)));
}

#[test]
fn the_leaf_is_of_somebody_who_is_named() {
    let root = Authority::root("root");
    let host = host_trusting(&[&root.certificate]);
    let envelope = signed(&root, |_| ());
    let run = |identities: Value| {
        Trial::of(&host, json!({"trustedIdentities": identities})).run(&envelope).map(|_| ())
    };
    assert_eq!(run(json!(["x509.subject: C=US, ST=WA, O=Lab, CN=leaf"])), Ok(()));
    insta::assert_snapshot!(run(json!(["x509.subject: C=US, ST=WA, O=Lab, CN=x"])).unwrap_err(), @r#"signing certificate from the digital signature does not match the X.509 trusted identities [map["C":"US" "CN":"x" "O":"Lab" "ST":"WA"]] defined in the trust policy "default""#);
    insta::assert_snapshot!(run(json!(["arn:x"])).unwrap_err(), @r#"no x509 trusted identities are configured in the trust policy "default""#);
}

/// Whether two certificates are of one key: what the test above rests on.
#[test]
fn a_crossed_certificate_is_of_the_same_key() {
    let (real, stranger) = (Authority::root("real"), Authority::root("stranger"));
    let crossed: Certificate = stranger.cross(&real, |_| ());
    assert_eq!(crossed.key, real.certificate.key);
    assert_ne!(crossed, real.certificate);
}
