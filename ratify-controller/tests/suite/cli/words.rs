//! Command lines: what is asked of each command, and what is said to one that cannot be understood.

use super::Home;

/// Runs each command line and shows exit code, stdout and error, one after another.
async fn shown(home: &Home, lines: &[&[&str]]) -> String {
    let mut text = String::new();
    for line in lines {
        let ran = home.run(line).await;
        text.push_str(&format!("$ ratify {}\n{}\n", line.join(" "), ran.shown(home)));
    }
    text
}

#[tokio::test]
async fn a_command_line_that_cannot_be_understood_is_an_error_that_says_what_to_do() {
    let home = Home::new();
    let lines: [&[&str]; 18] = [
        &["verfy"],
        &["--nonsense"],
        &["help"],
        &["verify", "--nonsense"],
        &["verify", "--subject"],
        &["verify", "-s"],
        &["verify", "-s", "a", "--silent=perhaps"],
        &["verify", "-s", "a", "--timeout", "10"],
        &["verify", "a"],
        &["referrer", "show-blob", "--digest"],
        &["referrer", "show-everything"],
        &["serve", "--cache-size", "large"],
        &["serve", "--cache-ttl", "-1s"],
        &["plugin"],
        &["plugin", "push", "x"],
        &["plugin", "push", "x", "--type", "t", "--version", "1", "--platform", "linux/amd64"],
        &["dev", "image", "x", "--attach", "text/plain"],
        &["dev", "registry", "--address", "here"],
    ];
    insta::assert_snapshot!(shown(&home, &lines).await, @"");
}

#[tokio::test]
async fn what_a_command_needs_and_does_not_get_is_named_in_v1s_words() {
    let home = Home::new();
    home.write(".ratify/config.json", r#"{"store":{"plugins":[{"name":"oras"}]}}"#);
    let digest = format!("sha256:{}", "a".repeat(64));
    let lines: [&[&str]; 12] = [
        &["verify"],
        &["resolve"],
        &["discover"],
        &["referrer", "show-blob"],
        &["referrer", "show-blob", "-s", "a"],
        &["referrer", "show-blob", "-s", "a", "-d", &digest],
        &["referrer", "show-blob", "-s", "a", "-d", "sha256:beef", "--store", "oras"],
        &["referrer", "show-manifest", "-s", "a", "-d", &digest, "--store", "other"],
        &["serve", "--enable-crd-manager"],
        &["serve", "--cert-dir", "/x"],
        &["serve", "--http", "nowhere:x"],
        &["dev", "registry", "--address", "0.0.0.0:0"],
    ];
    insta::assert_snapshot!(shown(&home, &lines).await, @"");
}

#[tokio::test]
async fn ratify_alone_and_asked_for_help_prints_its_usage_and_succeeds() {
    let home = Home::new();
    let alone = home.must(&[]).await;
    insta::assert_snapshot!(alone, @"");
    for line in [&["--help"][..], &["-h"]] {
        assert_eq!(home.must(line).await, alone, "{line:?}");
    }
    let usage = [
        ("verify", "Usage: ratify verify [OPTIONS]"),
        ("resolve", "Usage: ratify resolve [OPTIONS]"),
        ("discover", "Usage: ratify discover [OPTIONS]"),
        ("serve", "Usage: ratify serve [OPTIONS]"),
        ("version", "Usage: ratify version [OPTIONS]"),
        ("plugin", "Usage: ratify plugin <COMMAND>"),
        ("dev", "Usage: ratify dev <COMMAND>"),
        ("referrer", "Usage: ratify referrer [COMMAND]"),
    ];
    for (command, usage) in usage {
        let help = home.must(&[command, "--help"]).await;
        assert!(help.contains(usage), "{command}: {help}");
    }
    // v1 prints the usage of this one alone, too.
    let referrer = home.must(&["referrer"]).await;
    assert!(referrer.contains("show-blob"), "{referrer}");
}

#[tokio::test]
async fn version_prints_labels_and_values() {
    let home = Home::new();
    let version = home.must(&["version"]).await;
    let of_this_build = version.replace(env!("CARGO_PKG_VERSION"), "<version>");
    let lines: Vec<&str> = of_this_build.lines().filter(|line| !line.starts_with("Git")).collect();
    insta::assert_snapshot!(lines.join("\n").replace(env!("CARGO_PKG_RUST_VERSION"), "<rust>"), @"");
}
