//! The examples of `docs/PLUGIN-PROTOCOL.md` are run, so that none of them rots.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use ratify_plugin_sdk::{
    PluginError, Reference, VerifierReport,
    protocol::{VerifyInput, environment, output},
};

const DOCUMENT: &str = include_str!("../../../docs/PLUGIN-PROTOCOL.md");

/// The first fenced block of a language that contains a text.
fn block(language: &str, containing: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let mut blocks = DOCUMENT.split(fence.as_str()).skip(1);
    blocks
        .find_map(|rest| rest.split("\n```").next().filter(|block| block.contains(containing)))
        .unwrap()
}

fn run(program: &str) -> (VerifierReport, output::Log) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("size");
    fs::write(&path, program).unwrap();
    let input: VerifyInput = serde_json::from_str(block("json", "storeConfig")).unwrap();
    // A shell reads the file, so that nobody is told it is busy.
    let interpreter = if program.starts_with("#!/bin/sh") { "sh" } else { "python3" };
    let mut child = Command::new(interpreter)
        .arg(&path)
        .envs(environment::of_verifier(&Reference::parse("reg.io/app:v1").unwrap(), "1.0.0"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_json().unwrap().as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let output = output::read(&ended.stdout, &ended.stderr);
    (output.answer.unwrap(), output.log)
}

#[test]
fn the_plugin_in_shell_works() {
    let (report, log) = run(block("sh", "isSuccess"));
    assert_eq!((report.is_success, report.message.as_str()), (true, "it has a size"));
    assert_eq!(log.lines[0].text, "judging an artifact of reg.io/app:v1");
}

#[test]
fn the_plugin_in_python_works() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3 on this machine");
        return;
    }
    let (report, log) = run(block("python", "isSuccess"));
    assert_eq!((report.is_success, report.message.as_str()), (true, "42 of 1000 bytes"));
    assert_eq!(report.extensions["limit"], 1000);
    assert_eq!(log.lines[0].level, Some(output::LogLevel::Info));
}

#[test]
fn the_messages_in_the_text_are_messages() {
    let error: PluginError = serde_json::from_str(block("json", "code")).unwrap();
    assert_eq!(error, PluginError::version_not_supported("9"));
    for name in ["VERIFY", "LISTREFERRERS", "GETBLOB", "GETREFMANIFEST", "GETSUBJECTDESCRIPTOR"]
        .into_iter()
        .chain(environment::ALL)
    {
        assert!(DOCUMENT.contains(name), "the document does not mention {name}");
    }
}
