//! The enemy does what it says: a host's tests rest on it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use ratify_plugin_sdk::{
    Reference, VerifierReport,
    protocol::{environment, output},
};
use serde_json::{Value, json};

fn start(parameters: &Value, subject: &str) -> Child {
    let mut entry = json!({"name": "s"});
    for (key, value) in parameters.as_object().unwrap() {
        entry[key] = value.clone();
    }
    let digest = format!("sha256:{}", "ab".repeat(32));
    let input = json!({"config": entry, "referenceDesc": {"digest": digest, "size": 1}});
    let mut child = Command::new(env!("CARGO_BIN_EXE_stress"))
        .envs(environment::of_verifier(&Reference::parse(subject).unwrap(), "1.0.0"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Some deeds do not read it.
    let _ = child.stdin.take().unwrap().write_all(input.to_string().as_bytes());
    child
}

fn run(parameters: &Value) -> Output {
    start(parameters, "reg.io/app:v1").wait_with_output().unwrap()
}

fn misbehave(name: &str) -> Output {
    run(&json!({"misbehave": name}))
}

/// What a deed found.
fn found(parameters: &Value, name: &str) -> Value {
    let output = run(parameters);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["extensions"][name].clone()
}

/// The verdict a host of ours reads.
fn verdict(output: &Output) -> Result<bool, String> {
    let answer = output::read::<VerifierReport>(&output.stdout, &output.stderr).answer;
    answer.map(|report| report.is_success).map_err(|error| error.to_string())
}

#[test]
fn behaves_when_nothing_is_asked_and_says_when_it_does_not_know_a_name() {
    assert_eq!(verdict(&run(&json!({}))), Ok(true));
    let unknown = found(&json!({"misbehave": "nothing_of_the_kind"}), "nothing_of_the_kind");
    assert_eq!(unknown, "there is no such misbehaviour");
}

#[test]
fn answers_that_a_host_of_ours_reads_and_those_it_refuses() {
    for name in [
        "pretty",
        "json_on_stderr",
        "stderr_without_newline",
        "long_line",
        "impersonate",
        "ansi",
        "invalid_utf8",
    ] {
        assert_eq!(verdict(&misbehave(name)), Ok(true), "{name}");
    }
    for name in ["no_output", "two_lines", "deep_json", "huge_message"] {
        assert!(verdict(&misbehave(name)).is_err(), "{name}");
    }
    assert_eq!(verdict(&misbehave("empty_json")), Ok(false));
}

#[test]
fn exits_as_asked() {
    assert_eq!(misbehave("exit_code_3").status.code(), Some(3));
    let failed = misbehave("exit_nonzero_with_error_json");
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(output::read_error(&failed.stdout, b"").unwrap().code, 8);
    assert_eq!(misbehave("crash").status.code(), None);
    assert_eq!(misbehave("panic").status.code(), Some(101));
}

#[test]
fn floods_both_streams() {
    let flood = |name: &str| run(&json!({"misbehave": name, "bytes": 300_000}));
    assert!(flood("flood_stdout").stdout.len() > 300_000);
    assert!(flood("flood_stderr").stderr.len() >= 300_000);
}

#[test]
fn a_panic_in_a_plugin_of_the_sdk_is_code_999_with_its_place() {
    let output = start(&json!({}), "reg.io/sdk_panic:v1").wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = output::read_error(&output.stdout, b"").unwrap();
    assert_eq!((error.code, error.msg.as_str()), (999, "plugin panicked"));
    assert!(error.details.contains("main.rs"), "{}", error.details);
    assert!(output.stderr.is_empty(), "the hook replaces the usual report");
}

#[test]
fn answers_without_reading_where_the_subject_asks_for_it() {
    for name in ["never_read_stdin", "close_stdin"] {
        let by_tag = start(&json!({}), &format!("reg.io/app:{name}")).wait_with_output().unwrap();
        assert_eq!(verdict(&by_tag), Ok(true), "{name}");
    }
}

#[test]
fn leaves_processes_behind_that_hold_the_pipes() {
    for name in ["orphan", "daemon"] {
        let started = Instant::now();
        let mut child = start(&json!({"misbehave": name, "seconds": 6}), "reg.io/app:v1");
        child.wait().unwrap();
        let ended = started.elapsed();
        // Its standard output ends only with whoever else has it.
        child.wait_with_output().unwrap();
        assert!(ended < Duration::from_secs(5) && started.elapsed() > ended, "{name}");
        assert!(started.elapsed() >= Duration::from_millis(5900), "{name}");
    }
}

#[test]
fn shrugs_at_a_polite_request_to_end() {
    let mut child = start(&json!({"misbehave": "ignore_sigterm"}), "reg.io/app:v1");
    std::thread::sleep(Duration::from_millis(300));
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn reports_what_it_sees() {
    let names = found(&json!({"misbehave": "report_env"}), "report_env");
    assert!(names.as_array().unwrap().contains(&json!("RATIFY_VERIFIER_SUBJECT")));
    let limits = found(&json!({"misbehave": "report_limits"}), "report_limits");
    assert_eq!(limits["Max open files"].as_array().unwrap().len(), 3);
    let place = found(&json!({"misbehave": "report_cwd_args"}), "report_cwd_args");
    assert_eq!(place["args"].as_array().unwrap().len(), 1);
    let stdin = found(&json!({"misbehave": "echo_stdin"}), "echo_stdin");
    assert_eq!(stdin["config"]["misbehave"], "echo_stdin");
    let host = found(&json!({"misbehave": "read_host_proc"}), "read_host_proc");
    assert_eq!(host["pid"], std::process::id());
    let eaten = found(&json!({"misbehave": "eat_memory", "bytes": 3_000_000}), "eat_memory");
    assert_eq!(eaten["eaten"], 3 << 20);
}

#[test]
fn rewrites_a_file_in_place_or_puts_another_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    let rewrite = |path: &Path| {
        let parameters = json!({"misbehave": "rewrite_file", "path": path, "content": "new"});
        found(&parameters, "rewrite_file")
    };
    assert_eq!(rewrite(&path), json!({"inPlace": true}));
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_ne!(rewrite(&directory.path().join("none/file"))["replaced"], true);
}
