//! v1.4.0 itself beside ours on one API server, as during an upgrade: first with v1's definitions
//! of the kinds, then with ours. Neither makes the other write or pull in circles, both decide
//! right, and what ours runs is what it ran before, wherever a tag moved. What each of them writes is
//! counted on its way to the API server: a write that changes nothing is one as well.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ratify_controller::dev::RegistryOptions;
use serde_json::json;

use super::{Asked, Fate, Lab, Proxy, Replica, program, soak};
use crate::cluster::replica::V1;

/// How long the two run side by side once all is settled.
fn length() -> Duration {
    soak(Duration::from_secs(25))
}

/// How often each of the two wrote to what.
#[derive(Default, Clone)]
struct Writes(Arc<Mutex<BTreeMap<(&'static str, String), usize>>>);

impl Writes {
    /// Counts what passes by a proxy.
    fn count(&self, who: &'static str, api: &Proxy) {
        let writes = self.clone();
        api.rule(move |asked| {
            if let Some(what) = written(asked) {
                *writes.0.lock().unwrap().entry((who, what)).or_default() += 1;
            }
            Fate::Pass
        });
    }

    /// What was written since it was last asked.
    fn take(&self, when: &str) -> BTreeMap<(&'static str, String), usize> {
        let writes = std::mem::take(&mut *self.0.lock().unwrap());
        eprintln!("writes {when}: {writes:?}");
        writes
    }
}

/// What a request writes to: a resource of ours, or a kind of another group.
fn written(asked: &Asked) -> Option<String> {
    if !matches!(asked.method.as_str(), "PUT" | "PATCH" | "POST" | "DELETE") {
        return None;
    }
    let path = asked.path.split('?').next().unwrap();
    let of_ours = path.split_once("config.ratify.deislabs.io/v1beta1/");
    Some(of_ours.map_or_else(|| path.rsplit('/').next().unwrap(), |(_, rest)| rest).to_owned())
}

/// Both say the same of the image, from now on.
async fn both_say(lab: &Lab, replicas: [&Replica; 2], version: &str) {
    for replica in replicas {
        replica.until_says(&lab.image(), version).await;
    }
}

/// Both run for a while and are asked all the time, and nothing changes.
async fn run_side_by_side(lab: &Lab, replicas: [&Replica; 2], writes: &Writes, version: &str) {
    let kinds = ["verifiers", "stores", "policies"];
    lab.settle(&kinds).await;
    for ((who, what), count) in writes.take("until all was settled") {
        assert!(who == "v1" || count <= 4, "{who} {what} {count}");
    }
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
    let when = format!("in {} s side by side", length().as_secs());
    eprintln!("{when}: {verdicts} verdicts, {looked} requests for the missing tag, no blob");
    for ((who, what), count) in writes.take(&when) {
        // v1 says again what it said, at each try of what it cannot have.
        assert_eq!((who, what.as_str()), ("v1", "verifiers/broken/status"));
        assert!(count <= looked, "{count}");
    }
}

async fn upgrade(lab: Lab) {
    let _alone = V1.lock().await;
    let writes = Writes::default();
    let (of_v1, of_ours) = (lab.api_proxy().await, lab.api_proxy().await);
    writes.count("v1", &of_v1);
    writes.count("ours", &of_ours);
    let mut v1 = lab.v1_by(&format!("https://{}", of_v1.address()));
    let mut ours = lab.replica_by("pod-1", &format!("https://{}", of_ours.address()));
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
    run_side_by_side(&lab, [&v1, &ours], &writes, "v0").await;

    lab.push("next", &program("v1", 0));
    lab.apply("verifiers", "judge", &lab.judge(&lab.plugin(&host, "next"))).await;
    both_say(&lab, [&v1, &ours], "v1").await;
    lab.settle(&["verifiers"]).await;
    writes.take("during an update");

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
