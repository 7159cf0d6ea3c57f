//! What a configuration may say, and in which words it is refused.

use ratify_core::config::VerifierPluginConfig;
use serde_json::{Value, json};

use super::*;

/// A public key of P-256, made for this test.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECakSwq/uB9iwkF4TWJmoBXG/wACv\nrW0FyFJsh9NSNyYOhFQZxdbMfB1XCe97bXiZXiYBP9l+aYcl6lgFSSPQaw==\n-----END PUBLIC KEY-----\n";

fn read_in(entry: &Value, environment: &Environment) -> Result<Config> {
    let entry = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0")?;
    Config::read(&entry, environment)
}

fn read(entry: &Value) -> Result<Config> {
    read_in(entry, &Environment::default())
}

fn refused(entry: &Value) -> String {
    match read(entry) {
        Ok(_) => format!("{entry} is taken"),
        Err(error) => error.to_string(),
    }
}

/// An entry with these policies.
fn with(policies: Value) -> Value {
    json!({"name": "cosign", "artifactTypes": "a", "trustPolicies": policies})
}

/// A policy with these keys more.
fn policy(more: Value) -> Value {
    let mut policy = json!({"name": "p", "scopes": ["*"], "keys": [{"provider": "k"}]});
    for (key, value) in more.as_object().unwrap() {
        policy[key] = value.clone();
    }
    policy
}

// Long because: it is a table.
#[test]
fn refuses_what_v1_refuses_in_its_words() {
    let all = "CONFIG_INVALID: ";
    assert_eq!(
        refused(
            &json!({"name": "cosign", "artifactTypes": "a", "key": "k", "trustPolicies": [policy(json!({}))]})
        ),
        format!(
            "{all}'key' and 'rekorURL' are part of Cosign legacy configuration and cannot be used with `trustPolicies` parameter"
        )
    );
    let all = "CONFIG_INVALID: Failed to create the Cosign Verifier: ";
    assert_eq!(
        refused(&json!({"name": "cosign"})),
        format!("{all}missing artifactTypes in verifier config")
    );
    let keyless = |more: Value| policy(json!({"keys": [], "keyless": more}));
    let cases = [
        (
            policy(json!({"version": "2.0.0"})),
            "Invalid trust policy p: unsupported version 2.0.0: Supported versions are: [1.0.0]",
        ),
        (
            policy(json!({"name": ""})),
            "name parameter is required in trust policy configuration: Please provide a name for the trust policy.",
        ),
        (
            policy(json!({"scopes": []})),
            "scopes parameter is required in trust policy configuration p: Please provide at least one scope for the trust policy.",
        ),
        (
            policy(json!({"keys": []})),
            "keys or keyless parameter is required in trust policy configuration p",
        ),
        (
            keyless(json!({})),
            "keys or keyless parameter is required in trust policy configuration p",
        ),
        (
            policy(json!({"keyless": {"ctLogVerify": true}})),
            "Only one of keys or keyless parameter is required in trust policy configuration p",
        ),
        (
            policy(json!({"keys": [{"name": "n"}]})),
            "Invalid trust policy p: key management provider name is required when not using file path",
        ),
        (
            policy(json!({"keys": [{"file": "f", "provider": "k"}]})),
            "Invalid trust policy p: 'name' and 'file' cannot be configured together",
        ),
        (
            policy(json!({"keys": [{"provider": "k", "version": "1"}]})),
            "Invalid trust policy p: key name is required when key version is defined",
        ),
        (
            policy(json!({"keys": [{"file": "/nowhere/at/all"}]})),
            "Invalid trust policy [p]: failed to load the key from file /nowhere/at/all: open /nowhere/at/all: no such file or directory: Ensure that the key file path is correct and public key is correctly saved.",
        ),
        (
            keyless(json!({"ctLogVerify": false})),
            "Invalid trust policy p: certificate identity or identity regex pattern is required",
        ),
        (
            keyless(json!({"certificateIdentity": "i"})),
            "Invalid trust policy p: certificate OIDC issuer or issuer regex pattern is required",
        ),
        (
            keyless(
                json!({"certificateIdentity": "i", "certificateIdentityRegExp": "i", "certificateOIDCIssuer": "o"}),
            ),
            "Invalid trust policy p: only one of certificate identity or identity regex pattern should be specified",
        ),
        (
            keyless(
                json!({"certificateIdentity": "i", "certificateOIDCIssuer": "o", "certificateOIDCIssuerRegExp": "o"}),
            ),
            "Invalid trust policy p: only one of certificate OIDC issuer or issuer regex pattern should be specified",
        ),
    ];
    for (policy, expected) in cases {
        assert_eq!(refused(&with(json!([policy]))), format!("{all}{expected}"));
    }
    let malformed =
        keyless(json!({"certificateIdentityRegExp": "(", "certificateOIDCIssuer": "o"}));
    let refused = refused(&with(json!([malformed])));
    assert!(
        refused.starts_with(&format!(
            "{all}Invalid trust policy p: certificateIdentityRegExp is malformed: "
        )),
        "{refused}"
    );
}

#[test]
fn scopes_of_two_policies_never_meet() {
    let of = |policies: &[&[&str]]| {
        let policies: Vec<Value> = policies
            .iter()
            .enumerate()
            .map(|(index, scopes)| policy(json!({"name": format!("p{index}"), "scopes": scopes})))
            .collect();
        match read(&with(json!(policies))) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    let all =
        "CONFIG_INVALID: Failed to create the Cosign Verifier: Failed to create trust policies: ";
    let taken: [&[&[&str]]; 4] = [
        &[&["*"], &["r.io/a", "r.io/b*"]],
        &[&["r.io/a*"], &["r.io/b*"]],
        &[&["r.io/a_b/c@sha256:00"]],
        &[&["r.io/a"], &["r.io/ab"]],
    ];
    for policies in taken {
        assert_eq!(of(policies), "");
    }
    let cases: [(&[&[&str]], &str); 10] = [
        (
            &[&["*", "a"]],
            "global wildcard character * cannot be used with other scopes within the same trust policy p0",
        ),
        (&[&["*"], &["*"]], "global wildcard character * can only be used once"),
        (&[&["a", ""]], "scope value cannot be empty in trust policy p0"),
        (&[&["a*b"]], "invalid scope a*b for trust policy p0"),
        (&[&["R.io/a"]], "invalid scope R.io/a for trust policy p0"),
        (&[&["a", "a"]], "duplicate scope a for trust policy p0"),
        (&[&["a*"], &["ab*"]], "overlapping scopes ab* and a* for trust policy p1"),
        (&[&["ab*"], &["a*"]], "overlapping scopes a* and ab* for trust policy p1"),
        (&[&["a*", "ab"]], "overlapping scopes ab and a* for trust policy p0"),
        (&[&["ab"], &["a*"]], "overlapping scopes a* and ab for trust policy p1"),
    ];
    for (policies, expected) in cases {
        assert_eq!(of(policies), format!("{all}{expected}"));
    }
    let twice = with(json!([policy(json!({})), policy(json!({"scopes": ["a"]}))]));
    assert_eq!(
        refused(&twice),
        format!("{all}duplicate policy name p: Ensure that trust policy names are unique.")
    );
}

#[test]
fn the_policy_of_an_image_is_the_one_whose_scope_it_begins_with() {
    let policies = [
        json!({"name": "all", "scopes": ["*"], "keys": [{"provider": "k"}]}),
        json!({"name": "start", "scopes": ["r.io/a/*"], "keys": [{"provider": "k"}]}),
        json!({"name": "one", "scopes": ["r.io/b:v1"], "keys": [{"provider": "k"}]}),
    ];
    let named = |policies: &[Value], image: &str| {
        let Mode::Policies(policies) = read(&with(json!(policies))).unwrap().mode else { panic!() };
        let subject = ratify_core::Reference::parse_subject(image).unwrap();
        policy_for(&policies, &subject).map(|policy| policy.name.clone()).map_err(|e| e.to_string())
    };
    for (image, expected) in [
        ("r.io/a/b:v1", "start"),
        ("r.io/b:v1", "one"),
        ("r.io/b:v2", "all"),
        ("r.io/ab:v1", "all"),
        ("alpine", "all"),
    ] {
        assert_eq!(named(&policies, image).unwrap(), expected);
    }
    let refused = named(&policies[1..], "r.io/b:v2").unwrap_err();
    assert_eq!(refused, "CONFIG_INVALID: No policy found for the artifact r.io/b:v2");
}

#[test]
fn a_namespace_names_no_file_and_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cosign.pub");
    fs::write(&path, KEY).unwrap();
    let path = path.to_str().unwrap();
    let entries = [
        json!({"name": "cosign", "artifactTypes": "a", "key": path}),
        json!({"name": "cosign", "artifactTypes": "a", "key": "/var/run/secrets/kubernetes.io/serviceaccount/token"}),
        json!({"name": "cosign", "artifactTypes": "a", "rekorURL": "http://169.254.169.254"}),
        with(json!([policy(json!({"keys": [{"file": path}]}))])),
        with(json!([policy(json!({"rekorURL": "http://10.0.0.1"}))])),
        with(json!([policy(json!({"trustedRoot": path}))])),
        with(json!([policy(json!({"tuf": {"url": "http://10.0.0.1", "root": path}}))])),
        json!({"name": "cosign", "artifactTypes": "a", "trustedRoot": path}),
    ];
    let of_namespace = Environment { is_of_namespace: true, ..Environment::default() };
    for entry in entries {
        let Err(refused) = read_in(&entry, &of_namespace) else { panic!("{entry} is taken") };
        assert_eq!(refused.root().code(), ErrorCode::OperationForbidden, "{refused}");
        assert!(refused.to_string().contains("which a namespace may not choose"), "{refused}");
    }
    for rekor_url in ["https://rekor.sigstore.dev", "https://rekor.sigstore.dev/"] {
        let entry = with(json!([policy(json!({"rekorURL": rekor_url}))]));
        read_in(&entry, &of_namespace).unwrap();
    }
    // The cluster's may.
    read(&with(json!([policy(json!({"keys": [{"file": path}], "rekorURL": "http://10.0.0.1"}))])))
        .unwrap();
}

#[test]
fn an_entry_is_checked_without_its_files() {
    let keys = json!({"keys": [{"file": "/nowhere"}], "trustedRoot": "/nowhere"});
    let tuf = json!({"tuf": {"url": "https://tuf.example.com", "root": "/nowhere"}});
    let checked = |entry: &Value, is_of_namespace: bool| {
        let entry = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
        let environment = Environment { is_of_namespace, ..Environment::default() };
        crate::CosignVerifier::check(&entry, &environment)
    };
    for entry in [with(json!([policy(keys)])), with(json!([policy(tuf)]))] {
        checked(&entry, false).unwrap();
        checked(&entry, true).unwrap_err();
        assert!(read(&entry).is_err());
    }
    checked(&with(json!([policy(json!({"keys": []}))])), false).unwrap_err();
}

#[test]
fn a_key_file_has_to_hold_a_public_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cosign.pub");
    let entry = with(json!([policy(json!({"keys": [{"file": path.to_str().unwrap()}]}))]));
    let private = KEY.replace("PUBLIC", "PRIVATE");
    let cut = KEY.replace("6lgFSSPQaw==", "");
    for (contents, reason) in [
        ("", "is empty"),
        ("no PEM", "PEM decoding failed"),
        (private.as_str(), "unknown Public key PEM file type: PRIVATE KEY."),
        (cut.as_str(), "Invalid trust policy [p]: failed to load the key"),
    ] {
        fs::write(&path, contents).unwrap();
        let refused = refused(&entry);
        assert!(refused.contains(reason), "{refused}");
    }
    fs::write(&path, KEY).unwrap();
    read(&entry).unwrap();
}

#[test]
fn the_older_form_is_what_has_no_policies() {
    let home = Environment { home: "/home/user".into(), ..Environment::default() };
    let entry = json!({"name": "cosign", "artifactTypes": "a", "key": "~/cosign.pub", "rekorURL": "https://r", "nestedArtifactTypes": ["b"]});
    let config = read_in(&entry, &home).unwrap();
    let Mode::Legacy(legacy) = config.mode else { panic!() };
    assert!(config.nested);
    assert_eq!(legacy.key.unwrap(), Path::new("/home/user/cosign.pub"));
    assert_eq!(legacy.rekor_url.unwrap(), "https://r");
    let keyless = read(&json!({"name": "cosign", "artifactTypes": "a"})).unwrap();
    assert!(!keyless.nested && matches!(keyless.mode, Mode::Legacy(Legacy { key: None, .. })));
}

#[test]
fn sigstores_own_repository_never_stands_for_one_that_cosign_initialize_chose() {
    let initialized = Environment { tuf_root: Some("/s/root".into()), ..Environment::default() };
    let files = Environment {
        root_file: Some("/f".into()),
        rekor_public_key: Some("/r".into()),
        ..initialized.clone()
    };
    let identity = json!({"certificateIdentity": "i", "certificateOIDCIssuer": "o"});
    let mut unlogged = identity.clone();
    unlogged["ctLogVerify"] = false.into();
    let older = |more: Value| {
        let mut entry = json!({"name": "cosign", "artifactTypes": "a"});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let keyless = |keyless: &Value| with(json!([policy(json!({"keys": [], "keyless": keyless}))]));
    // Each with what is said of it under a directory alone, and with two files beside it.
    for (entry, is_refused) in [
        (keyless(&identity), [true, true]),
        (keyless(&unlogged), [true, false]),
        (with(json!([policy(json!({}))])), [true, false]),
        (with(json!([policy(json!({"tLogVerify": false}))])), [false, false]),
        (older(json!({})), [true, false]),
        (older(json!({"rekorURL": "https://r"})), [true, true]),
        (older(json!({"key": "k"})), [false, false]),
        (older(json!({"key": "k", "rekorURL": "https://r"})), [true, false]),
    ] {
        read(&entry).unwrap();
        for (environment, is_refused) in [&initialized, &files].into_iter().zip(is_refused) {
            let told = read_in(&entry, environment).err().map(|error| error.to_string());
            let refused = "was chosen with cosign initialize in /s/root, which is not read, and Sigstore's own repository must not stand for it: Please write \"tuf\": {";
            assert_eq!(
                told.as_ref().map(|text| text.contains(refused)),
                is_refused.then_some(true),
                "{entry}: {told:?}"
            );
        }
        let named = json!({"url": "https://tuf.example.com", "root": "/nowhere"});
        let mut named_by_it = entry;
        named_by_it["tuf"] = named;
        let checked = Environment { is_check: true, ..initialized.clone() };
        read_in(&named_by_it, &checked).unwrap();
        let tenant = Environment { is_of_namespace: true, ..initialized.clone() };
        if is_refused[0] && named_by_it["key"].is_null() && named_by_it["rekorURL"].is_null() {
            named_by_it.as_object_mut().unwrap().remove("tuf");
            let told = read_in(&named_by_it, &tenant).err().unwrap().to_string();
            assert!(told.contains("ask the cluster's administrator"), "{told}");
        }
    }
}

#[test]
fn what_cosign_initialize_wrote_is_known_by_its_file() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(initialized(home.path()), None);
    let root = home.path().join(".sigstore/root");
    fs::create_dir_all(&root).unwrap();
    assert_eq!(initialized(home.path()), None);
    fs::write(root.join("remote.json"), "{}").unwrap();
    assert_eq!(initialized(home.path()), Some(root.clone()));
    assert_eq!(initialized(&root.join("remote.json")), None);
}
