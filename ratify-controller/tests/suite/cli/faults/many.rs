//! A thousand verifiers at once: all come into force, in bounded memory, in the order of their
//! names, and then nobody writes any more.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{Lab, Replica, is_active};

const COUNT: usize = 1000;
/// A debug build; a release build needs a fraction.
const PATIENCE: Duration = Duration::from_secs(120);
/// In KiB. A process with one verifier needs about a third.
const MEMORY: u64 = 120 * 1024;

fn spec(number: usize) -> Value {
    // Three judge the image; the rest judges something else.
    let types = if number.is_multiple_of(400) { "*" } else { "application/vnd.example.none" };
    json!({"name": "judge", "artifactTypes": types, "parameters": {"number": number}})
}

fn name(number: usize) -> String {
    format!("verifier-{number:04}")
}

async fn apply_all(lab: &Lab) {
    let all = stream::iter(0..COUNT).map(|number| async move {
        lab.apply("verifiers", &name(number), &spec(number)).await;
    });
    all.buffer_unordered(16).collect::<()>().await;
}

async fn until_all_are_active(lab: &Lab, replica: &Replica) {
    let end = Instant::now() + PATIENCE;
    loop {
        let active = lab.list("verifiers").await.iter().filter(|object| is_active(object)).count();
        if active == COUNT {
            return;
        }
        assert!(Instant::now() < end, "{active} are active: {}", replica.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until a verifier judges the image. Of all that may, the first by name does.
async fn until_judges(lab: &Lab, replica: &Replica, name: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let item = replica.server().ask(&lab.image()).await;
        if item["value"]["verifierReports"][0]["verifierName"] == name {
            return;
        }
        assert!(Instant::now() < end, "{item}: {}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_verifiers_at_once_are_active_in_order_and_in_bounded_memory() {
    let Some(lab) = Lab::start().await else { return };
    apply_all(&lab).await;
    let mut replica = lab.replica("pod-1");
    let yes = r#"cat >/dev/null; echo '{"isSuccess":true,"message":"yes"}'"#;
    replica.home.script_plugin("judge", yes);
    let started = Instant::now();
    replica.start().await;
    until_all_are_active(&lab, &replica).await;
    println!("{COUNT} verifiers were active after {:?}", started.elapsed());
    until_judges(&lab, &replica, &name(0)).await;
    lab.settle(&["verifiers", "stores", "policies"]).await;
    lab.is_quiet(&["verifiers", "stores", "policies"], Duration::from_secs(10)).await;

    // The next process finds everything said, and says nothing.
    let before = lab.list("verifiers").await;
    replica.kill().await;
    replica.start().await;
    let end = Instant::now() + PATIENCE;
    while !replica.log().contains(&format!("verifier '{}' added", name(COUNT - 1))) {
        assert!(Instant::now() < end, "{}", replica.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    lab.settle(&["verifiers"]).await;
    assert!(lab.list("verifiers").await == before, "a restart wrote to a status");

    // The order is that of names, and then all go at once.
    let most = replica.memory("VmHWM");
    for number in [0, 400] {
        until_judges(&lab, &replica, &name(number)).await;
        lab.delete("verifiers", &name(number)).await;
    }
    until_judges(&lab, &replica, &name(800)).await;
    let left = (0..COUNT).filter(|number| ![0, 400].contains(number));
    let all = stream::iter(left).map(|number| {
        let lab = &lab;
        async move { lab.delete("verifiers", &name(number)).await }
    });
    all.buffer_unordered(16).collect::<()>().await;
    let end = Instant::now() + PATIENCE;
    while replica.server().ask(&lab.image()).await["value"]["verifierReports"].is_array() {
        assert!(Instant::now() < end, "{}", replica.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{most} KiB were the most in use");
    assert!(most < MEMORY && replica.memory("VmHWM") < MEMORY, "{most} KiB");
}
