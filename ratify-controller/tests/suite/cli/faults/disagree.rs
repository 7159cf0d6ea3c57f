//! Two replicas that found different digests behind one tag while one of them was held up: both run
//! the one that is in the status first.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Notify;

use super::{
    Fate, Lab, Proxy, Pushed, Replica,
    follow::{following, names, says_meanwhile},
    is_active, program,
};

/// Holds back the first request that claims a digest, until it is told to go on.
fn hold_claim_of(api: &Proxy, pushed: &Pushed) -> Arc<Notify> {
    let (told, pushed) = (Arc::new(Notify::new()), pushed.clone());
    let mut waits = Some(Arc::clone(&told));
    api.rule(move |asked| match waits.take_if(|_| names(asked, &pushed)) {
        Some(told) => Fate::Until(told),
        None => Fate::Pass,
    });
    told
}

/// Both say this, and the status names its digest.
async fn both_run(lab: &Lab, replicas: [&Replica; 2], version: &str, pushed: &Pushed) {
    for replica in replicas {
        replica.until_says(&lab.image(), version).await;
    }
    let is_whole = |object: &Value| {
        let plugin = &object["status"]["plugin"];
        let is_same = plugin["digest"] == pushed.root.as_str();
        is_active(object) && is_same && plugin["program"] == pushed.program.as_str()
    };
    lab.until("verifiers", "judge", is_whole).await;
    lab.settle(&["verifiers"]).await;
    for replica in replicas {
        assert_eq!(replica.says(&lab.image()).await.as_deref(), Ok(version), "{}", replica.log());
    }
    assert!(is_whole(&lab.get("verifiers", "judge").await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_whose_pull_is_held_up_is_what_another_replica_runs_too() {
    let Some(lab) = Lab::start().await else { return };
    let slow = Proxy::plain(&lab.registry.host()).await;
    let mut is_held = false;
    slow.rule(move |asked| {
        let is_first = asked.path.contains("/blobs/") && !is_held;
        is_held |= is_first;
        if is_first { Fate::Hold } else { Fate::Pass }
    });
    let mut replicas = ["pod-1", "pod-2"].map(|name| lab.replica(name));
    replicas[0].start().await;
    let first = lab.push("moving", &program("first", 0));
    lab.apply("verifiers", "judge", &lab.judge(&lab.plugin(slow.address(), "moving"))).await;
    slow.held().await;
    let status = &lab.get("verifiers", "judge").await["status"];
    assert_eq!(status["plugin"]["digest"], first.root.as_str(), "claimed before it is pulled");
    assert!(status["plugin"]["program"].is_null(), "{status}");

    let second = lab.push("moving", &program("second", 0));
    replicas[1].start().await;
    replicas[1].until_says(&lab.image(), "first").await;
    slow.cut();
    let [one, two] = &replicas;
    both_run(&lab, [one, two], "first", &first).await;
    for replica in &replicas {
        assert!(!replica.programs().0.contains(&second.program), "{}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_comes_second_is_given_up() {
    let Some(lab) = Lab::start().await else { return };
    let api = lab.api_proxy().await;
    let mut late = lab.replica_by("pod-1", &format!("https://{}", api.address()));
    let mut early = lab.replica("pod-2");
    late.start().await;
    let first = lab.push("moving", &program("late", 0));
    let go_on = hold_claim_of(&api, &first);
    let artifact = lab.plugin(&lab.registry.host(), "moving");
    lab.apply("verifiers", "judge", &lab.judge(&artifact)).await;
    api.held().await;

    let second = lab.push("moving", &program("early", 0));
    early.start().await;
    early.until_says(&lab.image(), "early").await;
    go_on.notify_one();
    both_run(&lab, [&late, &early], "early", &second).await;
    assert!(!late.programs().0.contains(&first.program), "{}", late.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_follow_a_tag_to_different_digests_the_first_claim_counts() {
    let Some(lab) = Lab::start().await else { return };
    let api = lab.api_proxy().await;
    let mut late = lab.replica_by("pod-1", &format!("https://{}", api.address()));
    let mut early = lab.replica("pod-2");
    late.start().await;
    lab.push("moving", &program("old", 0));
    lab.apply("verifiers", "judge", &following(&lab, &lab.registry.host())).await;
    late.until_says(&lab.image(), "old").await;
    lab.settle(&["verifiers"]).await;

    let between = lab.push("between", &program("between", 0));
    let go_on = hold_claim_of(&api, &between);
    lab.push("moving", &program("between", 0));
    says_meanwhile(&lab, &late, &["old"], api.held()).await;
    let new = lab.push("moving", &program("new", 0));
    early.start().await;
    early.until_says(&lab.image(), "old").await;
    let overtaken = says_meanwhile(&lab, &early, &["old", "new"], async {
        early.until_says(&lab.image(), "new").await;
    });
    says_meanwhile(&lab, &late, &["old"], overtaken).await;
    go_on.notify_one();
    let both = both_run(&lab, [&late, &early], "new", &new);
    says_meanwhile(&lab, &late, &["old", "new"], both).await;
}
