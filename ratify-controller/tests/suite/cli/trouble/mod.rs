//! `ratify serve` when something around it fails: never a wrong allow, a reason in every deny, and
//! right answers again as soon as it can, by itself.
//!
//! - `registry`: it hangs, before an answer or within it; `disk`: none is left, for any of the three
//!   that are written to; `clock`: it jumps; `policy`: it computes without end; `paused`: no processor;
//! - `responder`: whoever is asked about signatures hangs likewise;
//! - `redis`: it is a stranger; `ending`: what fails while the server ends. (Plugins that hang are in
//!   `late` and `fair`, descriptors and an end under load too.)

mod clock;
pub(super) mod disk;
mod ending;
mod paused;
mod policy;
mod redis;
mod registry;
mod responder;

use std::time::Duration;

use ratify_controller::dev::RunningRegistry;
use serde_json::{Value, json};

use super::{Home, STATEMENT, Server, config, verifier};

/// How often a state is looked for before a test gives up, and how soon again.
const LOOKS: usize = 600;
const INTERVAL: Duration = Duration::from_millis(50);

/// An image of its own with one statement, which says of what.
fn put(registry: &RunningRegistry, repository: &str) -> String {
    let image = registry.put_image(repository, "v1", repository.to_owned()).unwrap();
    let blob = ("application/json", bytes::Bytes::from(format!("{{\"of\":{repository:?}}}")));
    registry.put_artifact(repository, &image, STATEMENT, &[blob]).unwrap();
    format!("{}/{repository}:v1", registry.host())
}

/// A plugin that accepts what is not called bad.
const NOT_BAD: &str = r#"cat >/dev/null; case "$RATIFY_VERIFIER_SUBJECT" in */bad*) echo '{"isSuccess":false,"message":"recalled"}';; *) echo '{"isSuccess":true,"message":"yes"}';; esac"#;

/// A home whose server judges by that plugin.
fn home() -> Home {
    let home = Home::new();
    home.script_plugin("judge", NOT_BAD);
    home.configure(&config(&verifier("judge")));
    home
}

/// Whether an answer to one key allows. Where it does not, it says why.
fn allows(said: &Value) -> bool {
    if said["value"]["isSuccess"] == true {
        return true;
    }
    let is_said = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let reports =
        said["value"]["verifierReports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let in_report = |report: &Value| is_said(&report["message"]) || is_said(&report["errorReason"]);
    assert!(is_said(&said["error"]) || reports.iter().any(in_report), "no reason: {said}");
    false
}

/// Waits until a key is answered so.
async fn until(server: &Server, key: &str, allowed: bool) {
    let mut said = Value::Null;
    for _ in 0..LOOKS {
        said = server.ask(key).await;
        if said.get("value").is_some() && allows(&said) == allowed {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    panic!("never {allowed}: {said} {}", server.log());
}

/// Waits until something is so.
async fn until_so(what: &str, server: &Server, is_so: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if is_so() {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    panic!("never {what}: {}", server.log());
}
