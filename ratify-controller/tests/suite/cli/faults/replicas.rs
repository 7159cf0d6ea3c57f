//! Three replicas and a tag that moves all the time: they run one digest, that of the status, also
//! after a restart with an empty volume; and nobody who writes the status makes them write, pull
//! or change what runs.

use std::time::Duration;

use serde_json::json;

use super::{Lab, Pushed, Replica, is_active, program, reason};

const VERSIONS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Writes in circles are seen well within this time.
const LONG: Duration = Duration::from_secs(3);

/// Three replicas, and the versions that the tag moves between.
async fn start() -> Option<(Lab, [Replica; 3], Vec<Pushed>)> {
    let lab = Lab::start().await?;
    let pushed = VERSIONS.map(|version| lab.push("moving", &program(version, 0)));
    let mut replicas = ["pod-1", "pod-2", "pod-3"].map(|name| lab.replica(name));
    for replica in &mut replicas {
        replica.start().await;
    }
    Some((lab, replicas, pushed.to_vec()))
}

/// The tag stands for something else every few milliseconds.
async fn moving(lab: &Lab) {
    for version in VERSIONS.iter().cycle() {
        lab.push("moving", &program(version, 0));
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Gives the verifier a new generation and waits for the digest of it. The version is returned.
async fn applied(lab: &Lab, pushed: &[Pushed], round: usize) -> &'static str {
    let mut spec = lab.judge(&lab.plugin(&lab.registry.host(), "moving"));
    spec["parameters"] = json!({"round": round});
    lab.apply("verifiers", "judge", &spec).await;
    let object = lab.until("verifiers", "judge", is_active).await;
    let plugin = &object["status"]["plugin"];
    assert_eq!(plugin["generation"], object["metadata"]["generation"], "{object}");
    let at = pushed.iter().position(|pushed| plugin["digest"] == pushed.root.as_str()).unwrap();
    assert_eq!(plugin["program"], pushed[at].program.as_str(), "{object}");
    VERSIONS[at]
}

async fn all_say(lab: &Lab, replicas: &[Replica], version: &str) {
    for replica in replicas {
        replica.until_says(&lab.image(), version).await;
    }
}

/// For a while: no writes, no requests to the registry, and the same verdicts.
async fn is_quiet(lab: &Lab, replicas: &[Replica], version: &str) {
    lab.settle(&["verifiers", "stores", "policies"]).await;
    lab.registry.forget_requests();
    lab.is_quiet(&["verifiers", "stores", "policies"], LONG).await;
    let asked = lab.registry.requests();
    assert!(asked.is_empty(), "{asked:?}");
    for replica in replicas {
        assert_eq!(replica.says(&lab.image()).await.as_deref(), Ok(version), "{}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_on_a_moving_tag_run_the_digest_in_status_also_from_an_empty_volume() {
    let Some((lab, mut replicas, pushed)) = start().await else { return };
    let mut version = "";
    for round in 0..8 {
        version = tokio::select! {
            version = applied(&lab, &pushed, round) => version,
            () = moving(&lab) => unreachable!(),
        };
        all_say(&lab, &replicas, version).await;
    }
    is_quiet(&lab, &replicas, version).await;

    let other = VERSIONS.iter().find(|other| **other != version).unwrap();
    lab.push("moving", &program(other, 0));
    let before = lab.get("verifiers", "judge").await;
    replicas[1].kill().await;
    std::fs::remove_dir_all(replicas[1].home.plugins()).unwrap();
    replicas[1].start().await;
    all_say(&lab, &replicas, version).await;
    // All that it has to say is that the tag moved.
    let is_said = |object: &serde_json::Value| {
        object["status"]["conditions"].to_string().contains("\"TagMoved\"")
    };
    let after = lab.until("verifiers", "judge", is_said).await;
    assert_eq!(after["status"]["plugin"], before["status"]["plugin"]);
    is_quiet(&lab, &replicas, version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_is_cleared_or_forged_changes_no_verdict_and_starts_no_circle() {
    let Some((lab, mut replicas, pushed)) = start().await else { return };
    let version = applied(&lab, &pushed, 0).await;
    all_say(&lab, &replicas, version).await;
    let other = VERSIONS.iter().position(|other| *other != version).unwrap();
    lab.push("moving", &program(VERSIONS[other], 0));
    lab.settle(&["verifiers"]).await;

    // As v1 does, which knows nothing of what is beside its own fields.
    lab.put_status("verifiers", "judge", &json!({"issuccess": true})).await;
    is_quiet(&lab, &replicas, version).await;
    assert_eq!(lab.get("verifiers", "judge").await["status"], json!({"issuccess": true}));

    // What the status lost is on the volume.
    replicas[0].kill().await;
    replicas[0].start().await;
    all_say(&lab, &replicas, version).await;
    is_quiet(&lab, &replicas, version).await;
    let object = lab.get("verifiers", "judge").await;
    let of_version = VERSIONS.iter().position(|known| *known == version).unwrap();
    assert_eq!(object["status"]["plugin"]["digest"], pushed[of_version].root.as_str(), "{object}");

    // A digest of nothing: what ran still runs, and every replica says once why.
    let nothing = format!("sha256:{}", "0".repeat(64));
    lab.patch_status("verifiers", "judge", &json!({"plugin": {"digest": nothing}})).await;
    lab.until("verifiers", "judge", |object| reason(object) == "KeptLastGood").await;
    lab.settle(&["verifiers"]).await;
    lab.is_quiet(&["verifiers"], LONG).await;
    all_say(&lab, &replicas, version).await;
    let good = json!({"plugin": {"digest": pushed[of_version].root}});
    lab.patch_status("verifiers", "judge", &good).await;
    lab.until("verifiers", "judge", |object| reason(object) == "Active").await;
    is_quiet(&lab, &replicas, version).await;

    // A digest in the spec is not overruled by a status.
    let spec = lab.judge(&lab.plugin(&lab.registry.host(), "moving"));
    let pinned = format!("{}/plugins/judge@{}", lab.registry.host(), pushed[of_version].root);
    let mut spec = spec;
    spec["source"]["artifact"] = json!(pinned);
    lab.apply("verifiers", "judge", &spec).await;
    lab.until("verifiers", "judge", is_active).await;
    lab.settle(&["verifiers"]).await;
    let forged = json!({"plugin": {"digest": pushed[other].root}});
    lab.patch_status("verifiers", "judge", &forged).await;
    let is_corrected = |object: &serde_json::Value| {
        object["status"]["plugin"]["digest"] == pushed[of_version].root.as_str()
    };
    lab.until("verifiers", "judge", is_corrected).await;
    is_quiet(&lab, &replicas, version).await;
}
