//! A verifier that reads from an external store: a real process, here a shell script that is the
//! enemy.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use ratify_plugin_sdk::{
    Descriptor, Result, Store, Subject, VerifierConfig, VerifierPlugin, VerifierReport, external,
    proof, testing,
};
use serde_json::{Map, Value, json};

/// Reads the artifact's digest as a blob, or asks what the subject is.
struct Reader {
    asks_for_subject: bool,
}

impl VerifierPlugin for Reader {
    type Parameters = Map<String, Value>;

    fn new(parameters: Self::Parameters, _: &VerifierConfig) -> Result<Self> {
        Ok(Self { asks_for_subject: parameters.contains_key("subject") })
    }

    fn verify(&self, subject: &Subject, store: &Store) -> Result<VerifierReport> {
        if self.asks_for_subject {
            let found = store.subject()?.digest;
            assert!(subject.reference.digest().is_none_or(|said| *said == found));
            return Ok(VerifierReport::success(found.to_string()));
        }
        let blob = store.blob(&subject.referrer)?;
        Ok(VerifierReport::success(String::from_utf8_lossy(&blob).into_owned()))
    }
}

fn write_store(directory: &Path, script: &str) {
    let path = directory.join("shell-store");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The details of the failure, or the message of the report, and the log.
fn read_through(directories: &Value, bytes: &[u8]) -> (String, String) {
    judged_through(directories, json!({"name": "reader"}), "", bytes)
}

/// The same of a verifier's entry and the digest that the host says of the subject.
fn judged_through(
    directories: &Value,
    entry: Value,
    digest: &str,
    bytes: &[u8],
) -> (String, String) {
    let artifact = Descriptor::new("m", proof::sha256(bytes), bytes.len() as u64);
    let input = json!({
        "config": entry,
        "storeConfig": {"version": "1.0.0", "pluginBinDirs": directories, "store": {"name": "shell-store", "k": "<v>"}},
        "referenceDesc": artifact,
    });
    let variables = [
        ("RATIFY_VERIFIER_COMMAND", "VERIFY"),
        ("RATIFY_VERIFIER_VERSION", "1.0.0"),
        ("RATIFY_VERIFIER_SUBJECT", "reg.io/app:v1"),
        ("RATIFY_VERIFIER_SUBJECT_DIGEST", digest),
    ];
    let outcome = testing::run_verifier_with::<Reader>(
        external::open,
        &variables,
        input.to_string().as_bytes(),
    );
    let answer: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let text = match outcome.exit_code {
        0 => format!("ok {}", answer["message"].as_str().unwrap()),
        _ => format!("{} {}{}", answer["code"], answer["msg"], answer["details"]),
    };
    (text, outcome.stderr)
}

fn with_store(script: &str, bytes: &[u8]) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    write_store(directory.path(), script);
    read_through(&json!([directory.path()]), bytes)
}

#[test]
fn the_store_is_called_as_the_host_calls_it() {
    let script = r#"printf '%s %s %s %s %s' "$#" "$RATIFY_STORE_COMMAND" "$RATIFY_STORE_SUBJECT" "$RATIFY_STORE_VERSION" "$(cat)""#;
    let expected = r#"0 GETBLOB reg.io/app:v1 1.0.0 {"k":"\u003cv\u003e","name":"shell-store"}"#;
    assert_eq!(with_store(script, expected.as_bytes()).0, format!("ok {expected}"));
}

#[test]
fn the_subject_is_what_the_host_found_or_nothing() {
    let [one, other] = ["1", "2"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        r#"[ "$RATIFY_STORE_COMMAND $RATIFY_STORE_ARGS" = "GETSUBJECTDESCRIPTOR " ] || exit 3; echo '{{"mediaType":"","digest":"{one}","size":0}}'"#
    );
    write_store(directory.path(), &script);
    let ask = |digest: &str| {
        let entry = json!({"name": "reader", "subject": true});
        judged_through(&json!([directory.path()]), entry, digest, b"x").0
    };
    assert_eq!([ask(""), ask(&one)], [format!("ok {one}"), format!("ok {one}")]);
    let moved = format!(
        "REPOSITORY_OPERATION_FAILURE: store plugin shell-store: reg.io/app:v1 is {other}, and {one} in the store"
    );
    assert_eq!(ask(&other), format!(r#"8 "plugin command VERIFY failed""{moved}""#));
    assert!(ask("sha256:x").starts_with(r#"7 "cannot parse subject reference reg.io/app:v1 of"#));
}

#[test]
fn bytes_that_are_not_the_blobs_are_refused() {
    let (text, _) = with_store("printf yyy", b"xxx");
    insta::assert_snapshot!(text, @r#"8 "plugin command VERIFY failed""GET_BLOB_CONTENT_FAILURE: store plugin shell-store: the bytes are not those of the blob sha256:cd2eb0837c9b4c962c22d2ff8b5441b7b45805887f051d39bf133b583baf6860""#);
    let (text, _) = with_store("printf xx", b"xxx");
    insta::assert_snapshot!(text, @r#"8 "plugin command VERIFY failed""GET_BLOB_CONTENT_FAILURE: store plugin shell-store: the blob sha256:cd2eb0837c9b4c962c22d2ff8b5441b7b45805887f051d39bf133b583baf6860 has 2 bytes, and 3 are listed""#);
    let (text, _) = with_store("printf ''", b"xxx");
    insta::assert_snapshot!(text, @r#"8 "plugin command VERIFY failed""GET_BLOB_CONTENT_FAILURE: store plugin shell-store: the blob sha256:cd2eb0837c9b4c962c22d2ff8b5441b7b45805887f051d39bf133b583baf6860 has 0 bytes, and 3 are listed""#);
}

#[test]
fn a_flood_is_ended() {
    let (text, _) = with_store("exec yes", b"xxx");
    insta::assert_snapshot!(text, @r#"8 "plugin command VERIFY failed""GET_BLOB_CONTENT_FAILURE: store plugin shell-store: it printed more than 65536 bytes""#);
}

#[test]
fn a_store_that_fails_says_why_in_whatever_form() {
    let (text, _) = with_store(r#"echo '{"code":8,"msg":"m","details":"d"}'; exit 1"#, b"x");
    insta::assert_snapshot!(text, @r#"8 "plugin command VERIFY failed""GET_BLOB_CONTENT_FAILURE: store plugin shell-store: m; d""#);
    let (text, _) = with_store("echo out; echo err >&2; exit 3", b"x");
    insta::assert_snapshot!(text, @r#"8 "plugin command VERIFY failed""GET_BLOB_CONTENT_FAILURE: store plugin shell-store: plugin failed with error: 'exit status 3', msg from stError 'err�', msg from stdOut 'out�'""#);
    let (text, _) = with_store("kill -9 $$", b"x");
    insta::assert_snapshot!(text, @r#"8 "plugin command VERIFY failed""GET_BLOB_CONTENT_FAILURE: store plugin shell-store: plugin failed with error: 'signal: 9 (SIGKILL)', msg from stError '', msg from stdOut ''""#);
}

#[test]
fn the_stores_log_is_passed_on_without_braces() {
    let script =
        r#"echo 'DEBUG: one' >&2; echo '{"isSuccess":true}' >&2; echo 'plain' >&2; printf x"#;
    let (text, log) = with_store(script, b"x");
    assert_eq!(text, "ok x");
    insta::assert_snapshot!(log, @r#"
    DEBUG: one
    INFO: ("isSuccess":true)
    INFO: plain
    "#);
}

#[test]
fn a_store_that_reads_nothing_and_floods_its_log_ends_all_the_same() {
    let (text, _) = with_store("exec <&-; yes | head -c 3000000 >&2; printf x", b"x");
    assert_eq!(text, "ok x");
}

#[test]
fn the_current_directory_is_never_searched() {
    // Test runs share the current directory; the name is this test's own.
    let path = Path::new("shell-store");
    fs::write(path, "#!/bin/sh\nprintf x\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    let found = [Value::Null, json!([]), json!([""])].map(|dirs| read_through(&dirs, b"x").0);
    fs::remove_file(path).unwrap();
    insta::assert_snapshot!(found.join("\n"), @r#"
    7 "create store from input config failed with error PLUGIN_NOT_FOUND: plugin not found: failed to find plugin \"shell-store\" in paths []"null
    7 "create store from input config failed with error PLUGIN_NOT_FOUND: plugin not found: failed to find plugin \"shell-store\" in paths []"null
    7 "create store from input config failed with error PLUGIN_NOT_FOUND: plugin not found: failed to find plugin \"shell-store\" in paths []"null
    "#);
}

#[test]
fn a_directory_or_a_file_that_cannot_run_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("shell-store")).unwrap();
    let (text, _) = read_through(&json!([directory.path()]), b"x");
    assert!(text.contains("failed to find plugin"), "{text}");
    fs::remove_dir(directory.path().join("shell-store")).unwrap();
    fs::write(directory.path().join("shell-store"), "x").unwrap();
    let (text, _) = read_through(&json!([directory.path()]), b"x");
    assert!(text.contains("Permission denied"), "{text}");
}
