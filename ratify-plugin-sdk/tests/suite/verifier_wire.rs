//! Every transcript of a verifier that was recorded from v1's own sample, and what v1 leaves to
//! chance.

use ratify_plugin_sdk::{
    ErrorCode, PluginError, Result, Store, Subject, VerifierConfig, VerifierPlugin, VerifierReport,
    log, testing,
};
use serde_json::{Map, Value, json};

use crate::transcript;

const INPUT: &str = r#"{"config":{"name":"verifier-sample","type":"sample","artifactTypes":"*"},"storeConfig":{"version":"1.0.0","pluginBinDirs":["/opt/p"],"store":{"name":"samplestore"}},"referenceDesc":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":42,"artifactType":"a/b"}}"#;

/// v1's sample, and what its parameter `then` asks for.
struct Sample {
    then: String,
}

impl VerifierPlugin for Sample {
    type Parameters = Map<String, Value>;

    fn new(parameters: Self::Parameters, config: &VerifierConfig) -> Result<Self> {
        log::info("initialized plugin");
        log::debug(format_args!("plugin {} {}", config.type_, config.version));
        let then = parameters.get("then").and_then(Value::as_str).unwrap_or_default();
        if then == "refuse" {
            return Err("the parameters are not to its taste".into());
        }
        Ok(Self { then: then.to_owned() })
    }

    fn verify(&self, subject: &Subject, store: &Store) -> Result<VerifierReport> {
        match self.then.as_str() {
            "panic" => panic!("a fault in the plugin"),
            "text" => return Err("the text of an error".into()),
            "io" => {
                std::fs::read("/does/not/exist")?;
            }
            "coded" => {
                let cause = ErrorCode::CertInvalid.detail("the cause");
                return Err(ErrorCode::ConfigInvalid
                    .detail("what failed")
                    .with_source(cause)
                    .into());
            }
            "own" => return Err(PluginError::new(5, "own code", "own details").into()),
            "read" => {
                store.manifest(&subject.referrer)?;
            }
            "long" => return Ok(VerifierReport::failure("x".repeat(70_000))),
            _ => {}
        }
        let mut report = VerifierReport::success("Sample verification success");
        report.is_success = subject.referrer.size > 0;
        Ok(report)
    }
}

fn run(command: &str, version: &str, subject: &str, stdin: &str) -> testing::Outcome {
    let variables = [
        ("RATIFY_VERIFIER_COMMAND", command),
        ("RATIFY_VERIFIER_VERSION", version),
        ("RATIFY_VERIFIER_SUBJECT", subject),
    ];
    testing::run_verifier::<Sample>(&variables, stdin.as_bytes())
}

fn verify(stdin: &str) -> String {
    transcript(&run("VERIFY", "1.0.0", "registry.example.com/app:v1", stdin))
}

fn then(what: &str) -> String {
    verify(&INPUT.replace(r#""artifactTypes":"*""#, &format!(r#""then":"{what}""#)))
}

#[test]
fn a_verdict_is_one_line() {
    insta::assert_snapshot!(verify(INPUT), @r#"
    exit 0
    -- stdout
    {"isSuccess":true,"name":"verifier-sample","type":"sample","message":"Sample verification success"}

    -- stderr
    INFO: initialized plugin
    DEBUG: plugin sample 1.0.0
    "#);
    insta::assert_snapshot!(verify(&INPUT.replace(":42,", ":0,")), @r#"
    exit 0
    -- stdout
    {"isSuccess":false,"name":"verifier-sample","type":"sample","message":"Sample verification success"}

    -- stderr
    INFO: initialized plugin
    DEBUG: plugin sample 1.0.0
    "#);
}

#[test]
fn variables_are_checked_before_anything_else_and_each_that_is_missing_is_named() {
    insta::assert_snapshot!(transcript(&run("", "", "", "{")), @r#"
    exit 1
    -- stdout
    {
        "code": 4,
        "msg": "missing env variables [RATIFY_VERIFIER_COMMAND,RATIFY_VERIFIER_VERSION,RATIFY_VERIFIER_SUBJECT]"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(transcript(&run("VERIFY", "", "x", "")), @r#"
    exit 1
    -- stdout
    {
        "code": 4,
        "msg": "missing env variables [RATIFY_VERIFIER_VERSION]"
    }
    -- stderr
    "#);
}

#[test]
fn an_error_with_a_code_says_its_cause_once() {
    let said = then("coded");
    assert!(said.contains("\"details\": \"CERT_INVALID: what failed: the cause\""), "{said}");
}

#[test]
fn the_subject_comes_before_the_version_and_the_version_before_the_input() {
    insta::assert_snapshot!(transcript(&run("VERIFY", "9", "REG/APP::", "{")), @r#"
    exit 1
    -- stdout
    {
        "code": 7,
        "msg": "cannot parse subject reference REG/APP::",
        "details": "REFERENCE_INVALID: failed to parse subject reference"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(transcript(&run("VERIFY", "9", "registry.example.com/app:v1", "{")), @r#"
    exit 1
    -- stdout
    {
        "code": 6,
        "msg": "plugin doesn't support version 9"
    }
    -- stderr
    "#);
}

#[test]
fn the_input_comes_before_the_command() {
    insta::assert_snapshot!(transcript(&run("FOO", "1.0.0", "reg.io/app", "{")), @r#"
    exit 1
    -- stdout
    {
        "code": 1,
        "msg": "error unmarshall verifier config: unexpected end of JSON input"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(transcript(&run("FOO", "1.0.0", "reg.io/app", "{}")), @r#"
    exit 1
    -- stdout
    {
        "code": 2,
        "msg": "missing verifier name"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(transcript(&run("FOO", "1.0.0", "reg.io/app", INPUT)), @r#"
    exit 1
    -- stdout
    {
        "code": 3,
        "msg": "unknown RATIFY_VERIFIER_COMMAND: FOO"
    }
    -- stderr
    "#);
}

#[test]
fn input_that_is_none_is_refused() {
    insta::assert_snapshot!(verify(&INPUT.replace("sha256:2c", "sha256:XX")), @r#"
    exit 1
    -- stdout
    {
        "code": 1,
        "msg": "error unmarshall verifier config: invalid checksum digest format: sha256:XXf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    }
    -- stderr
    "#);
    for input in ["", "[]", "null", "1", r#"{"config":[]}"#, r#"{"config":{"name":1}}"#, "\u{0}"] {
        let outcome = run("VERIFY", "1.0.0", "reg.io/app", input);
        assert_eq!(outcome.exit_code, 1, "{input}");
        let error: PluginError = serde_json::from_slice(&outcome.stdout).unwrap();
        assert!(matches!(error.code, 1 | 2), "{input}: {error}");
    }
}

#[test]
fn input_without_end_is_cut_off() {
    let input = format!("{}{INPUT}", " ".repeat(16 << 20));
    insta::assert_snapshot!(verify(&input), @r#"
    exit 1
    -- stdout
    {
        "code": 5,
        "msg": "error reading from stdin: it has more than 16777216 bytes"
    }
    -- stderr
    "#);
}

#[test]
fn unknown_keys_a_null_store_and_an_entry_as_a_file_has_it_are_taken() {
    let input = json!({
        "config": {"name": "n", "source": {"artifact": "a", "authProvider": null}, "unknown": {"x": 1}},
        "storeConfig": null, "unknown": 1,
        "referenceDesc": {"digest": format!("sha256:{}", "ab".repeat(32)), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}, "data": "eA=="},
    });
    insta::assert_snapshot!(verify(&input.to_string()), @r#"
    exit 0
    -- stdout
    {"isSuccess":true,"name":"n","type":"n","message":"Sample verification success"}

    -- stderr
    INFO: initialized plugin
    DEBUG: plugin n 1.0.0
    "#);
}

#[test]
fn a_failure_says_what_the_author_said() {
    insta::assert_snapshot!(then("refuse"), @r#"
    exit 1
    -- stdout
    {
        "code": 2,
        "msg": "invalid verifier config",
        "details": "the parameters are not to its taste"
    }
    -- stderr
    INFO: initialized plugin
    DEBUG: plugin sample 1.0.0
    "#);
    insta::assert_snapshot!(then("text"), @r#"
    exit 1
    -- stdout
    {
        "code": 8,
        "msg": "plugin command VERIFY failed",
        "details": "the text of an error"
    }
    -- stderr
    INFO: initialized plugin
    DEBUG: plugin sample 1.0.0
    "#);
    insta::assert_snapshot!(then("io"), @r#"
    exit 1
    -- stdout
    {
        "code": 8,
        "msg": "plugin command VERIFY failed",
        "details": "No such file or directory (os error 2)"
    }
    -- stderr
    INFO: initialized plugin
    DEBUG: plugin sample 1.0.0
    "#);
    insta::assert_snapshot!(then("own"), @r#"
    exit 1
    -- stdout
    {
        "code": 5,
        "msg": "own code",
        "details": "own details"
    }
    -- stderr
    INFO: initialized plugin
    DEBUG: plugin sample 1.0.0
    "#);
}

#[test]
fn a_panic_is_code_999() {
    insta::assert_snapshot!(then("panic"), @r#"
    exit 1
    -- stdout
    {
        "code": 999,
        "msg": "plugin panicked",
        "details": "a fault in the plugin"
    }
    -- stderr
    INFO: initialized plugin
    DEBUG: plugin sample 1.0.0
    "#);
}

#[test]
fn a_store_that_cannot_be_opened_is_code_7_and_only_when_something_is_read() {
    insta::assert_snapshot!(then("read"), @r#"
    exit 1
    -- stdout
    {
        "code": 7,
        "msg": "create store from input config failed with error PLUGIN_NOT_FOUND: plugin not found: failed to find plugin \"samplestore\" in paths [/opt/p]",
        "details": "this plugin opens no store; its author gives it one by run_with"
    }
    -- stderr
    INFO: initialized plugin
    DEBUG: plugin sample 1.0.0
    "#);
}

#[test]
fn a_line_that_v1_would_lose_is_printed_with_a_warning() {
    let outcome = run(
        "VERIFY",
        "1.0.0",
        "reg.io/app",
        &INPUT.replace(r#""artifactTypes":"*""#, r#""then":"long""#),
    );
    assert_eq!((outcome.exit_code, outcome.stdout.len()), (0, 70_074));
    insta::assert_snapshot!(outcome.stderr, @r#"
    INFO: initialized plugin
    DEBUG: plugin sample 1.0.0
    WARN: the answer has 70074 bytes; a host of Ratify v1 takes less than 65536 and loses it
    "#);
}
