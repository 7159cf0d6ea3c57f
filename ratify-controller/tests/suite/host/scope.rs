//! `verify-notation` and `verify-cosign`, started as a host starts them: whose entry they have, as they are
//! told, and so whether they read files for it; and what they say in the host's log.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::parity::machines::Machines;

/// Under these rules of a host, what a program says of an entry that names a file, as an answer and for the
/// log.
fn told(program: &Path, rules: Option<&str>, entry: &Value) -> [String; 2] {
    told_in(program, rules, entry, &[])
}

/// The same with these variables.
fn told_in(
    program: &Path,
    rules: Option<&str>,
    entry: &Value,
    variables: &[(&str, &Path)],
) -> [String; 2] {
    let digest = format!("sha256:{}", "1".repeat(64));
    let question = json!({
        "config": entry,
        "storeConfig": {"version": "1.0.0", "pluginBinDirs": [], "store": {"name": "nowhere"}},
        "referenceDesc": {"mediaType": "m", "digest": digest, "size": 1, "artifactType": "a/b"},
    });
    let mut program = Command::new(program);
    program
        .env_clear()
        .envs(variables.iter().copied())
        .env("RATIFY_VERIFIER_COMMAND", "VERIFY")
        .env("RATIFY_VERIFIER_VERSION", "1.0.0")
        .env("RATIFY_VERIFIER_SUBJECT", format!("registry.example.com/a@{digest}"));
    if let Some(rules) = rules {
        program.env("RATIFY_REGISTRY_RULES", rules);
    }
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = program.spawn().unwrap();
    process.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
}

fn said(program: &Path, rules: Option<&str>, entry: &Value) -> String {
    let [answer, _] = told(program, rules, entry);
    answer
}

#[test]
fn a_file_is_read_for_an_administrators_entry_whoevers_the_store_is() {
    let Some(machines) = Machines::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cosign.pub");
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&file, key.public_key_pem()).unwrap();
    let policy =
        json!({"name": "all", "scopes": ["*"], "keys": [{"file": file}], "tLogVerify": false});
    let cosign = json!({"name": "c", "type": "verify-cosign", "artifactTypes": "a/b",
        "trustPolicies": [policy]});
    let skip = json!({"version": "1.0", "trustPolicies": [{
        "name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "skip"},
    }]});
    let notation = json!({"name": "n", "type": "verify-notation", "artifactTypes": "a/b",
        "verificationCerts": ["/nowhere"], "trustPolicyDoc": skip});
    let refused_by_notation =
        "verificationCerts names files of Ratify's, and is not for namespaces";
    for (program, entry, refused) in [
        ("verify-cosign", cosign, "which a namespace may not choose"),
        ("verify-notation", notation, refused_by_notation),
    ] {
        let program = machines.plugin(program, program);
        let lent = r#"{"entry":"namespace","references":"anybody","registries":{}}"#;
        let namespaces =
            r#"{"credentials":"none","entry":"namespace","references":"anybody","registries":{}}"#;
        for rules in [lent, namespaces] {
            let said = said(&program, Some(rules), &entry);
            assert!(said.contains(refused), "{said}");
        }
        let over_a_namespaces = r#"{"credentials":"none","references":"anybody","registries":{}}"#;
        // v1 says nothing, and has the administrator's entries alone.
        for rules in [Some(over_a_namespaces), None] {
            let said = said(&program, rules, &entry);
            // The entry is taken: what is missing is the store.
            assert!(said.contains("failed to find plugin"), "{said}");
        }
        let unknown = r#"{"entry":"another","references":"anybody"}"#;
        let said = said(&program, Some(unknown), &entry);
        assert!(said.contains("RATIFY_REGISTRY_RULES cannot be used"), "{said}");
    }
}

#[test]
fn a_sigstore_that_cosign_initialize_chose_is_known_to_the_program_too() {
    let Some(machines) = Machines::find() else { return };
    let program = machines.plugin("verify-cosign", "verify-cosign");
    let home = tempfile::tempdir().unwrap();
    let entry = json!({"name": "n", "type": "verify-cosign", "artifactTypes": "a/b"});
    let refused = |variables: &[(&str, &Path)]| {
        let [said, _] = told_in(&program, None, &entry, variables);
        said.contains("was chosen with cosign initialize in ")
    };
    assert!(!refused(&[("HOME", home.path())]));
    assert!(refused(&[("HOME", home.path()), ("TUF_ROOT", Path::new("/sigstore"))]));
    let root = home.path().join(".sigstore/root");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("remote.json"), "{}").unwrap();
    assert!(refused(&[("HOME", home.path())]));
}

#[test]
fn what_a_built_in_says_in_the_log_is_a_line_on_standard_error() {
    let Some(machines) = Machines::find() else { return };
    let entry = |type_: &str| json!({"name": "n", "type": type_, "artifactTypes": "a/b"});
    let mut notation = entry("verify-notation");
    notation["verificationCertStores"] = json!({"ca": {"certs": ["a"]}, "certs": ["a"]});
    notation["trustPolicyDoc"] = json!({"version": "1.0", "trustPolicies": []});
    for (program, entry, line) in [
        ("verify-notation", notation, "is misconfigured with both legacy and new formats"),
        ("verify-cosign", entry("verify-cosign"), "the verifier n has neither trustPolicies"),
    ] {
        let [_, log] = told(&machines.plugin(program, program), None, &entry);
        let is_said = log.lines().any(|said| said.starts_with("WARN: ") && said.contains(line));
        assert!(is_said, "{program}: {log}");
    }
}
