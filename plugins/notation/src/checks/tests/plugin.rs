//! Signatures that name a plugin of Notation, and plugins that answer in all ways.

use std::sync::{Arc, Mutex};

use ratify_core::{Basis, BoxFuture};

use super::*;
use crate::{PluginCall, PluginFailure, VerificationPlugin};

const MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";
const IDENTITY: &str = "SIGNATURE_VERIFIER.TRUSTED_IDENTITY";
const REVOCATION: &str = "SIGNATURE_VERIFIER.REVOCATION_CHECK";

/// A plugin `p` that answers by what it is given, and keeps what it was asked.
struct Scripted {
    metadata: Value,
    answer: Result<String, PluginFailure>,
    asked: Mutex<Vec<(String, Value)>>,
}

/// Plugins among which this one is.
#[derive(Clone)]
struct Script(Arc<Scripted>);

impl std::fmt::Debug for Script {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Script")
    }
}

impl Script {
    fn new(capabilities: &[&str], answer: &Value) -> Self {
        Self::answering(capabilities, Ok(answer.to_string()))
    }

    fn answering(capabilities: &[&str], answer: Result<String, PluginFailure>) -> Self {
        let metadata = json!({
            "name": "p", "description": "d", "version": "1.2.3", "url": "u",
            "supportedContractVersions": ["1.0"], "capabilities": capabilities,
        });
        Self(Arc::new(Scripted { metadata, answer, asked: Mutex::default() }))
    }

    /// The requests, by command.
    fn asked(&self) -> Vec<(String, Value)> {
        self.0.asked.lock().unwrap().clone()
    }
}

impl VerificationPlugins for Script {
    fn find(&self, name: &str) -> Result<Arc<dyn VerificationPlugin>, String> {
        match name {
            "p" => Ok(Arc::clone(&self.0) as _),
            _ => Err("there is none".to_owned()),
        }
    }

    fn add_basis(&self, basis: &mut Basis) {
        basis.add("scripted", "");
    }
}

impl VerificationPlugin for Scripted {
    fn run<'a>(&'a self, call: PluginCall<'a>) -> BoxFuture<'a, Result<Vec<u8>, PluginFailure>> {
        let request = serde_json::from_str(&call.stdin).unwrap();
        self.asked.lock().unwrap().push((call.command.to_owned(), request));
        let answer = match call.command {
            "get-plugin-metadata" => Ok(self.metadata.to_string()),
            "verify-signature" => self.answer.clone(),
            other => unreachable!("{other}"),
        };
        Box::pin(std::future::ready(answer.map(String::into_bytes)))
    }
}

/// What a plugin answers that finds nothing wrong.
fn content(processed: &[&str]) -> Value {
    json!({
        "verificationResults": {(IDENTITY): {"success": true}, (REVOCATION): {"success": true}},
        "processedAttributes": processed,
    })
}

/// A signature of somebody whose root is trusted that names `p`, with these attributes besides.
struct Signed {
    host: MemoryHost,
    envelope: Vec<u8>,
}

impl Signed {
    fn with(attributes: Value) -> Self {
        Self::of(&Authority::root("root"), attributes, true)
    }

    fn of(root: &Authority, attributes: Value, is_trusted: bool) -> Self {
        let leaf = root.issue("leaf", |leaf| {
            let uris = vec![LIST.to_owned()];
            leaf.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        });
        let mut headers = headers();
        let mut critical = vec![json!("io.cncf.notary.signingScheme"), json!(VERIFICATION_PLUGIN)];
        headers[VERIFICATION_PLUGIN] = "p".into();
        for (key, value) in attributes.as_object().unwrap() {
            headers[key] = value.clone();
            critical.push(json!(key));
        }
        headers["crit"] = critical.into();
        let chain = [&leaf.certificate, &root.certificate];
        let envelope = jws(&leaf.key, &chain, &headers, PAYLOAD);
        let other = Authority::root("other");
        let trusted = if is_trusted { &root.certificate } else { &other.certificate };
        Self { host: host_trusting(&[trusted]).fetching(nobody_answers), envelope }
    }

    fn judged(&self, script: &Script, changes: Value) -> Result<(), String> {
        let trial = Trial { plugins: Some(script), ..Trial::of(&self.host, changes) };
        trial.run(&self.envelope).map(drop)
    }
}

#[test]
fn a_plugin_judges_in_the_verifiers_place_what_it_can() {
    let signed = Signed::with(json!({}));
    let whole = Script::new(&[REVOCATION, IDENTITY], &content(&[]));
    assert_eq!(signed.judged(&whole, json!({"trustedIdentities": ["arn:x:y"]})), Ok(()));
    assert_eq!(signed.host.asked(), Vec::<String>::new(), "revocation is the plugin's");
    let asked = whole.asked();
    assert_eq!(asked[0], ("get-plugin-metadata".to_owned(), json!({})));
    let policy =
        json!({"trustedIdentities": ["arn:x:y"], "signatureVerification": [REVOCATION, IDENTITY]});
    assert_eq!(asked[1].1["trustPolicy"], policy);

    let identity = Script::new(&[IDENTITY], &content(&[]));
    insta::assert_snapshot!(signed.judged(&identity, json!({})).unwrap_err(), @r#"signing certificate with subject "CN=leaf,O=Lab,ST=WA,C=US" revocation status is unknown"#);
    assert_eq!(signed.host.asked(), [LIST]);
    let revocation = Script::new(&[REVOCATION], &content(&[]));
    insta::assert_snapshot!(signed.judged(&revocation, json!({"trustedIdentities": ["arn:x"]})).unwrap_err(), @r#"no x509 trusted identities are configured in the trust policy "default""#);
    assert_eq!(revocation.asked().len(), 1, "what is refused before is not asked about");
}

#[test]
fn a_plugin_is_told_what_notation_go_tells_it() {
    let root = Authority::root("root");
    let signed = Signed::of(&root, json!({"a": {"b": [1]}, (MIN_VERSION): "1.2.3"}), true);
    let script = Script::new(&[IDENTITY], &content(&["a"]));
    let trial = Trial {
        plugins: Some(&script),
        plugin_config: json!({"region": "x"}),
        ..Trial::of(
            &signed.host,
            json!({"signatureVerification": {"level": "strict", "override": {"revocation": "skip"}}}),
        )
    };
    let until = trial.run(&signed.envelope).unwrap().until;
    assert_eq!(until, Some(trial.now.plus_nanos(10_000_000_000)), "it does not say for how long");
    let asked = script.asked();
    assert_eq!(asked[0].1, json!({"pluginConfig": {"region": "x"}}));
    let mut request = asked[1].1.clone();
    let chain = request["signature"]["certificateChain"].take();
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    assert_eq!(chain[1], STANDARD.encode(root.certificate.der()));
    assert_eq!(
        request,
        json!({
            "contractVersion": "1.0",
            "signature": {
                "criticalAttributes": {
                    "contentType": "application/vnd.cncf.notary.payload.v1+json",
                    "signingScheme": "notary.x509",
                    "expiry": "0001-01-01T00:00:00Z",
                    "extendedAttributes": {"a": {"b": [1]}},
                },
                "unprocessedAttributes": ["a"],
                "certificateChain": null,
            },
            "trustPolicy": {"trustedIdentities": ["*"], "signatureVerification": [IDENTITY]},
            "pluginConfig": {"region": "x"},
        })
    );
}

#[test]
fn what_a_plugin_finds_is_weighed_by_the_level() {
    let signed = Signed::with(json!({}));
    let finding = |identity: Value, revocation: Value| {
        let results = json!({(IDENTITY): identity, (REVOCATION): revocation});
        Script::new(&[IDENTITY, REVOCATION], &json!({"verificationResults": results}))
    };
    let (yes, no) = (json!({"success": true}), json!({"success": false, "reason": "a\n\"b\""}));
    let stranger = finding(no.clone(), yes.clone());
    insta::assert_snapshot!(signed.judged(&stranger, json!({})).unwrap_err(), @r#"trusted identify verification by plugin "p" failed with reason "a\n\"b\"""#);
    assert!(signed.judged(&stranger, level("permissive", json!({}))).is_err());
    assert_eq!(signed.judged(&stranger, level("audit", json!({}))), Ok(()));
    let revoked = finding(yes.clone(), no);
    insta::assert_snapshot!(signed.judged(&revoked, json!({})).unwrap_err(), @r#"revocation check by verification plugin "p" failed with reason "a\n\"b\"""#);
    assert_eq!(signed.judged(&revoked, level("permissive", json!({}))), Ok(()));
    let silent = finding(yes, Value::Null);
    insta::assert_snapshot!(signed.judged(&silent, level("audit", json!({}))).unwrap_err(), @r#"verification plugin "p" failed to verify "SIGNATURE_VERIFIER.REVOCATION_CHECK""#);
    let skipped = level("strict", json!({"revocation": "skip"}));
    assert_eq!(signed.judged(&silent, skipped), Ok(()), "what is skipped is not asked for");
    assert_eq!(silent.asked()[3].1["trustPolicy"]["signatureVerification"], json!([IDENTITY]));
}

#[test]
fn what_is_critical_has_to_be_processed_at_every_level() {
    let signed = Signed::with(json!({"a": "1", "b": 2}));
    for level in [level("strict", json!({})), level("audit", json!({}))] {
        let half = Script::new(&[IDENTITY, REVOCATION], &content(&["a"]));
        insta::allow_duplicates! {
            insta::assert_snapshot!(signed.judged(&half, level.clone()).unwrap_err(), @r#"extended critical attribute "b" was not processed by the verification plugin "p" (all extended critical attributes must be processed by the verification plugin)"#);
        }
        let whole = Script::new(&[IDENTITY, REVOCATION], &content(&["b", "a"]));
        assert_eq!(signed.judged(&whole, level), Ok(()));
    }
    // Nothing is left to ask it, so nobody understands them.
    let idle = Script::new(&[REVOCATION], &content(&["a", "b"]));
    let skipped = level("strict", json!({"revocation": "skip"}));
    let refusal = signed.judged(&idle, skipped).unwrap_err();
    assert!(refusal.contains(r#""a" was not processed"#), "{refusal}");
    assert_eq!(idle.asked().len(), 1);
}

#[test]
fn a_plugin_is_not_asked_about_the_revocation_of_what_nobody_trusts() {
    let signed = Signed::of(&Authority::root("root"), json!({}), false);
    let script = Script::new(&[REVOCATION, IDENTITY], &content(&[]));
    assert_eq!(signed.judged(&script, level("audit", json!({}))), Ok(()));
    assert_eq!(script.asked()[1].1["trustPolicy"]["signatureVerification"], json!([IDENTITY]));
    let counts = level("audit", json!({"revocation": "enforce"}));
    insta::assert_snapshot!(signed.judged(&script, counts).unwrap_err(), @"revocation is not checked, since the signature is not produced by a trusted signer");
    assert_eq!(
        signed.judged(&script, json!({})).unwrap_err(),
        "signature is not produced by a trusted signer"
    );
}

#[test]
fn a_plugin_that_lacks_fails_or_answers_garbage_is_never_a_success() {
    let signed = Signed::with(json!({}));
    let audit = || level("audit", json!({}));
    let garbage = Script::answering(&[IDENTITY], Ok("ok".to_owned()));
    insta::assert_snapshot!(signed.judged(&garbage, audit()).unwrap_err(), @"failed to verify with plugin p: failed to unmarshal the response of verify-signature command for plugin p");
    let failure = |stderr: &str| PluginFailure {
        reason: "exit status 1".to_owned(),
        stderr: stderr.into(),
        is_passing: false,
    };
    let failed = Script::answering(&[IDENTITY], Err(failure("")));
    insta::assert_snapshot!(signed.judged(&failed, audit()).unwrap_err(), @"failed to verify with plugin p: exit status 1");
    let error = r#"{"errorCode":"THROTTLED","errorMessage":"slow down"}"#;
    let failed = Script::answering(&[IDENTITY], Err(failure(error)));
    insta::assert_snapshot!(signed.judged(&failed, audit()).unwrap_err(), @"failed to verify with plugin p: slow down");
    let signs = Script::new(&["SIGNATURE_GENERATOR.RAW"], &content(&[]));
    assert!(signed.judged(&signs, audit()).is_err());
    let none = Script::new(&[], &content(&[]));
    insta::assert_snapshot!(signed.judged(&none, audit()).unwrap_err(), @"metadata validation failed for plugin p: empty capabilities");
}

#[test]
fn a_version_that_is_needed_is_there_or_the_signature_refused() {
    let needing = |version: Value| {
        let script = Script::new(&[IDENTITY, REVOCATION], &content(&[]));
        Signed::with(json!({(MIN_VERSION): version})).judged(&script, json!({}))
    };
    assert_eq!(needing(json!("1.2.3")), Ok(()));
    insta::assert_snapshot!(needing(json!("1.2.4")).unwrap_err(), @"found plugin p with version 1.2.3 but signature verification needs plugin version greater than or equal to 1.2.4");
    insta::assert_snapshot!(needing(json!("1")).unwrap_err(), @"error while getting plugin minimum version, error: io.cncf.notary.verificationPluginMinVersion from extended attribute is not a valid SemVer");
    insta::assert_snapshot!(needing(json!(" ")).unwrap_err(), @"error while getting plugin minimum version, error: io.cncf.notary.verificationPluginMinVersion from extended attribute is an empty string");
}

#[test]
fn attributes_of_cose_are_told_where_they_can_be() {
    use coset::cbor::Value as Cbor;
    let root = Authority::root("root");
    let leaf = root.leaf("leaf");
    let host = host_trusting(&[&root.certificate]);
    let chain = [&leaf.certificate, &root.certificate];
    let critical = ["io.cncf.notary.signingScheme", VERIFICATION_PLUGIN, "a"];
    let judged = |value: Cbor, processed: &[&str]| {
        let headers = vec![
            ("io.cncf.notary.signingScheme", Cbor::Text("notary.x509".into())),
            ("io.cncf.notary.signingTime", epoch(1_714_979_289)),
            (VERIFICATION_PLUGIN, Cbor::Text("p".into())),
            ("a", value),
        ];
        let envelope = cose(&leaf.key, &chain, &critical, headers).to_tagged_vec().unwrap();
        let script = Script::new(&[IDENTITY], &content(processed));
        let trial = Trial {
            media_type: envelope::COSE,
            plugins: Some(&script),
            ..Trial::of(&host, json!({}))
        };
        let judged = trial.run(&envelope).map(drop);
        let told = script.asked().get(1).map(|(_, request)| {
            request["signature"]["criticalAttributes"]["extendedAttributes"].clone()
        });
        (judged, told)
    };
    let (judged_list, told) = judged(
        Cbor::Array(vec![Cbor::Bytes(vec![1, 2]), Cbor::Integer(7.into()), Cbor::Bool(true)]),
        &["a"],
    );
    assert_eq!((judged_list, told), (Ok(()), Some(json!({"a": ["AQI=", 7, true]}))));
    let (refused, told) = judged(Cbor::Map(Vec::new()), &["a"]);
    insta::assert_snapshot!(refused.unwrap_err(), @r#"failed to verify with plugin p: the value of the attribute "a" has no form in JSON"#);
    assert_eq!(told, None);
}
