//! The program `verify-cosign`, started as a host starts it: whose entry it has, as it is told.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// Under these rules of a host, what the program says of an entry that names a file.
fn said(rules: Option<&str>, entry: &Value) -> String {
    let digest = format!("sha256:{}", "1".repeat(64));
    let question = json!({
        "config": entry,
        "storeConfig": {"version": "1.0.0", "pluginBinDirs": [], "store": {"name": "nowhere"}},
        "referenceDesc": {"mediaType": "m", "digest": digest, "size": 1, "artifactType": "a/b"},
    });
    let mut program = Command::new(env!("CARGO_BIN_EXE_verify-cosign"));
    program
        .env_clear()
        .env("RATIFY_VERIFIER_COMMAND", "VERIFY")
        .env("RATIFY_VERIFIER_VERSION", "1.0.0")
        .env("RATIFY_VERIFIER_SUBJECT", format!("registry.example.com/a@{digest}"));
    if let Some(rules) = rules {
        program.env("RATIFY_REGISTRY_RULES", rules);
    }
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = program.spawn().unwrap();
    process.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_file_is_read_for_an_administrators_entry_whoevers_the_store_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cosign.pub");
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&file, key.public_key_pem()).unwrap();
    let policy =
        json!({"name": "all", "scopes": ["*"], "keys": [{"file": file}], "tLogVerify": false});
    let entry = json!({"name": "c", "type": "verify-cosign", "artifactTypes": "a/b",
        "trustPolicies": [policy]});
    let refused = "which a namespace may not choose";
    let lent = r#"{"entry":"namespace","references":"anybody","registries":{}}"#;
    let namespaces =
        r#"{"credentials":"none","entry":"namespace","references":"anybody","registries":{}}"#;
    for rules in [lent, namespaces] {
        let said = said(Some(rules), &entry);
        assert!(said.contains(refused), "{said}");
    }
    let over_a_namespaces = r#"{"credentials":"none","references":"anybody","registries":{}}"#;
    // v1 says nothing, and has the administrator's entries alone.
    for rules in [Some(over_a_namespaces), None] {
        let said = said(rules, &entry);
        // The entry is taken: what is missing is the store.
        assert!(said.contains("failed to find plugin"), "{said}");
    }
    let unknown = r#"{"entry":"another","references":"anybody"}"#;
    let said = said(Some(unknown), &entry);
    assert!(said.contains("RATIFY_REGISTRY_RULES cannot be used"), "{said}");
}
