//! v1.4.0 itself beside ours on one API server, as during an upgrade: first with v1's definitions
//! of the kinds, then with ours. Neither makes the other write or pull in circles, both decide
//! right, and what ours runs is what it ran before, wherever a tag moved.

use std::time::{Duration, Instant};

use ratify_controller::dev::RegistryOptions;
use serde_json::json;

use super::{Lab, Replica, program};

/// v1 listens for metrics at an address that cannot be set, so that there is one at a time.
static V1: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How long the two run side by side once all is settled.
fn length() -> Duration {
    let is_soak = std::env::var_os("RATIFY_SOAK").is_some();
    Duration::from_secs(if is_soak { 300 } else { 25 })
}

/// Both say the same of the image, from now on.
async fn both_say(lab: &Lab, replicas: [&Replica; 2], version: &str) {
    for replica in replicas {
        replica.until_says(&lab.image(), version).await;
    }
}

/// Both run for a while and are asked all the time, and nothing changes.
async fn run_side_by_side(lab: &Lab, replicas: [&Replica; 2], version: &str) {
    let kinds = ["verifiers", "stores", "policies"];
    lab.settle(&kinds).await;
    lab.registry.forget_requests();
    let (end, mut verdicts) = (Instant::now() + length(), 0);
    let asking = async {
        while Instant::now() < end {
            for replica in replicas {
                let said = replica.says(&lab.image()).await;
                assert_eq!(said.as_deref(), Ok(version), "{}", replica.log());
                verdicts += 1;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::join!(asking, lab.is_quiet(&kinds, length()));
    assert!(verdicts > 20, "{verdicts}");
    let asked = lab.registry.requests();
    let is_pull = |path: &str| path.starts_with("/v2/plugins/judge/blobs/");
    let pulled: Vec<_> = asked.iter().filter(|asked| is_pull(&asked.path)).collect();
    assert!(pulled.is_empty(), "{pulled:?}");
    // Both look for what is missing, later each time.
    let looked = asked.iter().filter(|asked| asked.path.ends_with("/missing")).count();
    assert!(looked <= 8 + usize::try_from(length().as_secs()).unwrap() / 20, "{looked}");
}

async fn upgrade(lab: Lab) {
    let _alone = V1.lock().await;
    let (mut v1, mut ours) = (lab.v1(), lab.replica("pod-1"));
    v1.start().await;
    lab.push("stable", &program("v0", 0));
    let host = lab.registry.host();
    lab.apply("verifiers", "judge", &lab.judge(&lab.plugin(&host, "stable"))).await;
    v1.until_says(&lab.image(), "v0").await;
    ours.start().await;
    both_say(&lab, [&v1, &ours], "v0").await;
    // It judges nothing, so that the other one's verdict counts.
    let mut broken = lab.judge(&lab.plugin(&host, "missing"));
    broken["artifactTypes"] = json!("application/vnd.example.none");
    lab.apply("verifiers", "broken", &broken).await;
    run_side_by_side(&lab, [&v1, &ours], "v0").await;

    lab.push("next", &program("v1", 0));
    lab.apply("verifiers", "judge", &lab.judge(&lab.plugin(&host, "next"))).await;
    both_say(&lab, [&v1, &ours], "v1").await;
    lab.settle(&["verifiers"]).await;

    // The tag moves; v1 goes, and ours is started again: what it runs is on the volume.
    lab.push("next", &program("moved", 0));
    v1.kill().await;
    ours.kill().await;
    lab.registry.forget_requests();
    ours.start().await;
    ours.until_says(&lab.image(), "v1").await;
    let asked = lab.registry.requests();
    let is_plugins = |path: &str| path.starts_with("/v2/plugins/") && !path.ends_with("/missing");
    let asked: Vec<_> = asked.iter().filter(|asked| is_plugins(&asked.path)).collect();
    assert!(asked.is_empty(), "{asked:?}");
    // And back under load.
    v1.start().await;
    v1.until_says(&lab.image(), "moved").await;
    assert_eq!(ours.says(&lab.image()).await.as_deref(), Ok("v1"));
}

fn tls() -> RegistryOptions {
    RegistryOptions { tls: true, ..RegistryOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v1_and_ours_side_by_side_under_v1s_definitions() {
    let Some(lab) = Lab::start_with_v1s_definitions(tls()).await else { return };
    upgrade(lab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v1_and_ours_side_by_side_under_our_definitions() {
    let Some(lab) = Lab::start_with(tls()).await else { return };
    upgrade(lab).await;
}
