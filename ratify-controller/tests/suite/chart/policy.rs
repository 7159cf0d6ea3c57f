//! The Rego policy of `policy.useRego`, which is written anew: judged by v1 itself, it decides what
//! v1's own text decides.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};
use tokio::process::Command;

use super::helm::{Helm, base};

/// The text of a chart's policy.
async fn rego(helm: &Helm, chart: &Path) -> String {
    let values = json!({"policy": {"useRego": true}});
    let objects = helm.render(chart, &[&base(), &values]).await;
    let policy = objects.iter().find(|object| object["kind"] == "Policy").unwrap();
    policy["spec"]["parameters"]["policy"].as_str().unwrap().to_owned()
}

/// A verifier that always answers the same.
fn write_verifier(folder: &Path, name: &str, is_success: bool) {
    let answer = json!({"isSuccess": is_success, "message": name, "name": name});
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\ncat >/dev/null; echo '{answer}'\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Whether v1 accepts an image under a policy, with these verifiers; an "other" one judges no artifact
/// that the image has.
async fn verdict(helm: &Helm, image: &str, policy: &str, verifiers: &[&str]) -> bool {
    let judge = |name: &&str| match name.strip_prefix("other ") {
        Some(name) => json!({"name": name, "artifactTypes": "application/vnd.example.other"}),
        None => json!({"name": name, "artifactTypes": "application/vnd.example.x"}),
    };
    let plugins: Vec<Value> = verifiers.iter().map(judge).collect();
    let policy = json!({"name": "regoPolicy", "policy": policy, "passthroughEnabled": false});
    let config = json!({
        "store": {"version": "1.0.0", "plugins": [{"name": "oras", "useHttp": true}]},
        "policy": {"version": "1.0.0", "plugin": policy},
        "verifier": {"version": "1.0.0", "plugins": plugins},
    });
    let path = helm.folder().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new(helm.tool("ratify-v1"));
    command.args(["verify", "-s", image, "-c"]).arg(path);
    command.env("HOME", helm.folder()).env("RATIFY_CONFIG", helm.folder());
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = said.find("{\n").map(|start| said[start..].to_owned()).unwrap_or_default();
    let report: Value = serde_json::from_str(&json).unwrap_or_else(|error| {
        panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr))
    });
    // v1 leaves out what is false.
    assert!(report["verifierReports"].is_array(), "{report}");
    report["isSuccess"] == true
}

#[tokio::test]
async fn the_rego_policy_decides_what_v1s_decides() {
    let Some(helm) = Helm::find() else { return };
    let registry = helm.registry().await;
    let image = format!("{}/app:1", registry.address);
    let statement = helm.folder().join("statement");
    std::fs::write(&statement, "{}").unwrap();
    let mut push = Command::new(env!("CARGO_BIN_EXE_ratify"));
    let attach = format!("application/vnd.example.x={}", statement.display());
    push.args(["dev", "image", &image, "--attach", &attach]).env("HOME", helm.folder());
    let pushed = push.output().await.unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    let plugins = helm.folder().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    write_verifier(&plugins, "yes", true);
    write_verifier(&plugins, "no", false);

    let texts = [rego(&helm, &helm.v1()).await, rego(&helm, &Helm::ours()).await];
    assert_ne!(texts[0], texts[1]);
    for (verifiers, expected) in
        [(&["yes"][..], true), (&["no"], false), (&["yes", "no"], false), (&["other yes"], false)]
    {
        for text in &texts {
            let decided = verdict(&helm, &image, text, verifiers).await;
            assert_eq!(decided, expected, "{verifiers:?} {text}");
        }
    }
}
