//! The cache of verdicts of a server as a process: what changes on disk counts for the next answer,
//! and what its flags mean.

use std::time::Duration;

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::json;

use super::{Home, STATEMENT, Server, YES, config, verifier};

/// Verdicts are kept for as long as can be said.
const FLAGS: [&str; 5] = ["serve", "--http", "127.0.0.1:0", "--cache-enabled", "--cache-ttl=24h"];
/// How often a state is looked for before a test gives up.
const LOOKS: usize = 200;

/// An image by its digest, with one attachment.
fn put_pinned(registry: &RunningRegistry) -> String {
    let image = registry.put_image("app", "v1", "layer").unwrap();
    let blob = ("application/json", bytes::Bytes::from_static(b"{}"));
    registry.put_artifact("app", &image, STATEMENT, &[blob]).unwrap();
    format!("{}/app@{}", registry.host(), image.digest)
}

/// A plugin that leaves a line behind for each call.
fn counting(home: &Home, answer: &str) -> String {
    let calls = home.path().join("calls");
    format!("cat >/dev/null; echo x >> {}; echo '{answer}'", calls.display())
}

fn calls(home: &Home) -> usize {
    std::fs::read_to_string(home.path().join("calls")).unwrap_or_default().lines().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_replaced_on_disk_or_denied_by_a_rule_admits_no_more() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (home, image) = (Home::new(), put_pinned(&registry));
    home.script_plugin("judge", &counting(&home, r#"{"isSuccess":true,"message":"yes"}"#));
    home.configure(&config(&verifier("judge")));
    let server = Server::run(home.command(&FLAGS)).await;
    let until = async |is_success: bool, text: &str| {
        for _ in 0..LOOKS {
            let item = server.ask(&image).await;
            if item["value"]["isSuccess"] == is_success && item.to_string().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {is_success} {text}: {}", server.log());
    };
    until(true, "yes").await;
    for _ in 0..10 {
        assert_eq!(server.ask(&image).await["value"]["isSuccess"], true);
    }
    assert_eq!(calls(&home), 1, "it was kept");
    // A file takes the place of another, as a package or a person does it.
    home.script_plugin("judge", &counting(&home, r#"{"isSuccess":false,"message":"revoked"}"#));
    until(false, "revoked").await;
    home.script_plugin("judge", &counting(&home, r#"{"isSuccess":true,"message":"again"}"#));
    until(true, "again").await;
    let mut file = config(&verifier("judge"));
    file["plugins"] = json!({"maxSizeBytes": 1});
    home.configure(&file);
    until(false, "plugins.maxSizeBytes").await;
    file["plugins"] = json!({});
    home.configure(&file);
    until(true, "again").await;
    file["verifier"]["plugins"][0]["artifactTypes"] = json!("application/vnd.example.other");
    home.configure(&file);
    until(false, "No verification results").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_breaks_is_asked_again() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (home, image) = (Home::new(), put_pinned(&registry));
    let broken = home.path().join("broken");
    std::fs::write(&broken, "").unwrap();
    let body = format!(
        "{}; [ -e {} ] && exit 1; exit 0",
        counting(&home, r#"{"isSuccess":true}"#),
        broken.display()
    );
    home.script_plugin("judge", &body);
    home.configure(&config(&verifier("judge")));
    let server = Server::run(home.command(&FLAGS)).await;
    for asked in 1..=2 {
        assert_ne!(server.ask(&image).await["value"]["isSuccess"], true);
        assert_eq!(calls(&home), asked);
    }
    std::fs::remove_file(&broken).unwrap();
    for _ in 0..3 {
        assert_eq!(server.ask(&image).await["value"]["isSuccess"], true);
    }
    assert_eq!(calls(&home), 3);
}

#[tokio::test]
async fn flags_that_mean_nothing_are_errors_in_v1s_words() {
    let home = Home::new();
    home.script_plugin("judge", YES);
    home.configure(&config(&verifier("judge")));
    let mut text = String::new();
    for flags in [
        &["--cache-type=foo"][..],
        &["--cache-size=0"],
        &["--cache-ttl=soon"],
        &["--cache-type=redis", "--cache-address=redis://user:hunter2@127.0.0.1"],
    ] {
        let line = [&["serve", "--cache-enabled"], flags].concat();
        let ran = home.run(&line).await;
        assert!(!ran.stderr.contains("hunter2"));
        text.push_str(&format!("{}\n", ran.shown(&home).lines().next().unwrap_or_default()));
    }
    insta::assert_snapshot!(text, @r#"
    [1] Error: error initializing cache of type foo: cache provider foo not found
    [1] Error: error initializing cache of type ristretto: --cache-size must be at least 1, not 0
    [1] Error: invalid value 'soon' for '--cache-ttl <CACHE_TTL>': "soon" is no duration; write it as 10s, 1m30s or 250ms
    [1] Error: --cache-address must be redis://host:port or rediss://host:port: user and password are no part of it, but --cache-username and --cache-password-file
    "#);
    // Without --cache-enabled v1 looks at none of them.
    assert_eq!(home.run(&["serve", "--cache-type=foo"]).await.code, Some(0));
}

#[tokio::test]
async fn v1s_words_are_taken_and_what_they_come_to_is_said() {
    let home = Home::new();
    home.script_plugin("judge", YES);
    home.configure(&config(&verifier("judge")));
    let mut text = String::new();
    for flags in [
        &["--cache-type=ristretto"][..],
        &["--cache-type=dapr", "--cache-name=state"],
        &["--cache-ttl=0"],
        &["--cache-ttl=-5s"],
        &["--cache-type=redis"],
        &["--cache-address=redis://127.0.0.1:1"],
        &["--cache-type=redis", "--cache-address=redis://127.0.0.1:1"],
        &["--cache-type=dapr", "--cache-address=redis://127.0.0.1:1", "--cache-key-file=none"],
    ] {
        let line = [&["serve", "--cache-enabled"], flags].concat();
        let ran = home.run(&line).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        // What the connecting comes to may be said before the end.
        let lines = ran.stderr.lines().filter(|line| line.contains("component-type=cache"));
        let lines = lines.filter(|line| !line.contains("stands alone"));
        text.push_str(&format!("{}\n", flags.join(" ")));
        for line in lines {
            let (level, rest) = line.split_once("level=").unwrap().1.split_once(' ').unwrap();
            let said = rest.split(" component-type").next().unwrap();
            text.push_str(&format!("  {level} {said}\n"));
        }
    }
    insta::assert_snapshot!(text, @"
    --cache-type=ristretto
      info msg=verdicts are kept in memory: 256 MB at most, for 10s
    --cache-type=dapr --cache-name=state
      warning msg=the cache type dapr: no sidecar is asked for its state store state
      info msg=verdicts are kept in memory: 256 MB at most, for 10s
      warning msg=the cache type dapr without --cache-address: replicas share no verdicts
    --cache-ttl=0
      warning msg=--cache-ttl 0: verdicts are kept for one hour, not for ever
      info msg=verdicts are kept in memory: 256 MB at most, for 3600s
    --cache-ttl=-5s
      error msg=Error saving value to ristretto: ttl provided must be >= 0: -5s
    --cache-type=redis
      info msg=verdicts are kept in memory: 256 MB at most, for 10s
      warning msg=the cache type redis without --cache-address: replicas share no verdicts
    --cache-address=redis://127.0.0.1:1
      info msg=verdicts are kept in memory: 256 MB at most, for 10s
      warning msg=--cache-address has no effect with the cache type ristretto; redis shares verdicts
    --cache-type=redis --cache-address=redis://127.0.0.1:1
      info msg=verdicts are kept in memory: 256 MB at most, for 10s
      error msg=verdicts are not shared through redis://127.0.0.1:1: without --cache-key-file nothing proves who wrote an entry
    --cache-type=dapr --cache-address=redis://127.0.0.1:1 --cache-key-file=none
      warning msg=the cache type dapr: no sidecar is asked for its state store dapr-redis
      info msg=verdicts are kept in memory: 256 MB at most, for 10s
      warning msg=verdicts are shared through redis://127.0.0.1:1 in clear: its password is for anybody on the way; rediss:// speaks TLS
    ");
}
