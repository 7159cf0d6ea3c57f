//! The conformance suite of the OCI distribution specification against the embedded registry:
//! pull, push, content discovery and content management, everything optional switched on.
//!
//! The suite is a program of its own; `RATIFY_TOOLS` names the file that says where it is.

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::Command};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::Value;

/// What the suite leaves out by default and this registry can do.
const OPTIONAL: [&str; 6] = [
    "OCI_API_BLOBS_DIGEST_HEADER",
    "OCI_API_BLOBS_UPLOAD_CANCEL",
    "OCI_API_MANIFESTS_DIGEST_HEADER",
    "OCI_API_MANIFESTS_TAG_PARAM",
    "OCI_DATA_SPARSE",
    "OCI_DATA_SHA512",
];

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_oci_conformance_suite_over_plain_http() {
    passes("plain HTTP", RegistryOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_oci_conformance_suite_over_https_with_a_password() {
    let credentials = Some(("user".to_owned(), "word".to_owned()));
    passes(
        "HTTPS and a password",
        RegistryOptions { tls: true, credentials, ..Default::default() },
    )
    .await;
}

async fn passes(how: &str, options: RegistryOptions) {
    let Some(suite) = suite() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(suite);
    if let Some((user, word)) = &options.credentials {
        command.env("OCI_USERNAME", user).env("OCI_PASSWORD", word);
    }
    let registry = RunningRegistry::start(options).await.unwrap();
    let tls = if registry.ca_pem().is_some() { "enabled" } else { "disabled" };
    if registry.ca_pem().is_some() {
        registry.write_ca(&folder.path().join("ca.pem")).unwrap();
        command.env("SSL_CERT_FILE", folder.path().join("ca.pem"));
    }
    command.current_dir(folder.path()).env("OCI_RESULTS_DIR", folder.path().join("results"));
    command.env("OCI_REGISTRY", registry.host()).env("OCI_TLS", tls);
    command.envs(OPTIONAL.map(|name| (name, "true")));
    let run = move || command.output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let counts = counts(&text);
    let requests = registry.requests().len();
    say(&format!("OCI conformance suite, {how}: {counts:?}, {requests} requests"));
    let failed: Vec<_> = text.lines().filter(|line| line.contains(": FAIL")).collect();
    assert!(output.status.success(), "{failed:#?}\n{errors}");
    assert!(text.contains("OCI Conformance Result: Pass"), "{text}\n{errors}");
    assert!(counts["Pass"] > 500, "{counts:?}");
    for none in ["FAIL", "Error", "Skip", "Disabled"] {
        assert_eq!(counts[none], 0, "{none}: {counts:?}\n{text}");
    }
}

/// Where the suite is; `None`, said aloud, where it was not set up.
fn suite() -> Option<PathBuf> {
    let Some(file) = std::env::var_os("RATIFY_TOOLS") else {
        assert!(std::env::var_os("CI").is_none(), "RATIFY_TOOLS is not set in CI");
        say("SKIPPED: run cargo xtask test (RATIFY_TOOLS is not set)");
        return None;
    };
    let tools: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    Some(tools["conformance"].as_str().expect("tools list the conformance suite").into())
}

/// Prints past the test harness, which keeps the output of passing tests to itself.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The summary's counts: `  Pass..........................:        123`.
fn counts(text: &str) -> BTreeMap<String, u64> {
    let summary = text.lines().skip_while(|line| !line.starts_with("OCI Conformance Result"));
    let lines = summary.skip(1).take_while(|line| line.starts_with("  "));
    lines
        .filter_map(|line| {
            let (name, count) = line.trim().split_once(':')?;
            Some((name.trim_end_matches('.').to_owned(), count.trim().parse().ok()?))
        })
        .collect()
}
