//! The plugin changes under a server that is asked all the time: no request fails, and from some
//! request on every one is judged by the new plugin.

use std::time::{Duration, Instant};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};

use super::{Home, Server, config, put_app, sample, sourced, this_platform};
use crate::host;

const OLD: &str = "Sample verification success";
const NEW: &str = "stress did: ";

/// Asks until an answer has a message or the time is over; every message is returned.
async fn ask_until(
    server: &Server,
    image: &str,
    wanted: Option<&str>,
    time: Duration,
) -> Vec<String> {
    let end = Instant::now() + time;
    let mut messages = Vec::new();
    while Instant::now() < end {
        let item = server.ask(image).await;
        assert_eq!(item["value"]["isSuccess"], true, "{item} {}", server.log());
        let message = &item["value"]["verifierReports"][0]["message"];
        messages.push(message.as_str().unwrap_or_default().to_owned());
        if messages.last().map(String::as_str) == wanted {
            return messages;
        }
    }
    assert_eq!(wanted, None, "it never came: {}", server.log());
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_of_a_plugin_comes_into_force_without_a_failed_request() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    let image = put_app(&registry);
    let plugin = |version: &str| format!("{}/plugins/sample:{version}", registry.host());
    for (version, program) in [("1.0.0", sample()), ("2.0.0", host::stress().to_owned())] {
        let platform = format!("{}={}", this_platform(), program.display());
        let (reference, push) = (plugin(version), ["plugin", "push"]);
        let rest = ["--type", "sample", "--version", version, "--platform", &platform];
        home.must(&[&push[..], &[reference.as_str()], &rest].concat()).await;
    }
    home.configure(&config(&sourced("sample", &plugin("1.0.0"))));
    let server = Server::start(&home).await;
    let before = ask_until(&server, &image, None, Duration::from_millis(300)).await;
    assert!(before.iter().all(|message| message == OLD), "{before:?}");

    home.configure(&config(&sourced("sample", &plugin("2.0.0"))));
    let between = ask_until(&server, &image, Some(NEW), Duration::from_secs(20)).await;
    let (last, others) = between.split_last().unwrap();
    assert!(last == NEW && others.iter().all(|message| message == OLD), "{between:?}");

    // A plugin that is not there leaves the one in force, and the log says which is missing.
    home.configure(&config(&sourced("sample", &plugin("3.0.0"))));
    let after = ask_until(&server, &image, None, Duration::from_secs(2)).await;
    assert!(after.iter().all(|message| message == NEW), "{after:?}");
    let log = server.log();
    let refused = log.lines().find(|line| line.contains("no updates loaded"));
    let refused = refused.unwrap_or_else(|| panic!("{log}"));
    assert!(refused.contains("sample:3.0.0: not found"), "{refused}");
}
