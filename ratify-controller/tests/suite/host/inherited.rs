//! What whoever started Ratify left open in it stays away from plugins.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

#[test]
fn a_descriptor_that_ratify_was_started_with_does_not_reach_a_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("lister");
    // The shell itself opens none but the first three.
    let script = "#!/bin/sh\ncat >/dev/null\nread_at_9=closed\n( : <&9 ) 2>/dev/null && read_at_9=open\necho \"{\\\"isSuccess\\\":true,\\\"message\\\":\\\"$read_at_9\\\"}\"\n";
    fs::write(&plugin, script).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();

    let run = || {
        let line = "exec \"$@\" 9<\"$SECRET\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", line, "sh"]).env("SECRET", &secret).env("HOME", folder.path());
        shell
    };
    let mut ratify = run();
    ratify.args([env!("CARGO_BIN_EXE_ratify"), "plugin", "run"]).arg(&plugin);
    let descriptor =
        format!(r#"{{"mediaType":"m","digest":"sha256:{}","size":1}}"#, "ab".repeat(32));
    ratify.args(["--subject", "reg.example.com/app:v1", "--descriptor", &descriptor]);
    let output = ratify.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("closed") && !text.contains("\"open\""), "{output:?}");

    // The control: without Ratify between them the plugin has the descriptor.
    let direct = run().arg(&plugin).stdin(std::process::Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&direct.stdout).contains("open"), "{direct:?}");
}
