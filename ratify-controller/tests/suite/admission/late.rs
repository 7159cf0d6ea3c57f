//! A registry that is slower than an admission may take. Gatekeeper keeps what it was answered for
//! three minutes, errors too, so that what is unfinished must not look finished (T20).

use std::time::Duration;

use super::{
    forms::pod,
    gate::Gate,
    lab::{Lab, assert_done, assert_refused},
};

/// When whoever was told to ask again does.
const RETRY: Duration = Duration::from_secs(2);

pub(super) async fn a_retry_is_created(lab: &Lab, gate: &Gate) {
    let host = lab.site.registry.host();
    let [_, pinned] = lab.push_good("late");
    let slow = pinned.replace(&host, gate.host());
    let pod = pod("late", &[("containers", &pinned), ("initContainers", &slow)]);
    let first = lab.try_apply_once(&pod).await;
    assert_refused(&first, "admission webhook \"validation.gatekeeper.sh\" denied the request");
    assert_refused(&first, "ask again");

    gate.open();
    let landed = format!("the answer about {slow} came too late");
    lab.until("judged", async || lab.pod.controller.said().contains(&landed)).await;
    tokio::time::sleep(RETRY).await;
    assert_done(&lab.try_apply(&pod).await);
}

pub(super) async fn a_tag_that_is_resolved_late_is_asked_for_again(lab: &Lab, gate: &Gate) {
    let host = lab.site.registry.host();
    let [tagged, _] = lab.push_good("late-tag");
    let slow = tagged.replace(&host, gate.host());
    // Ratify's answer comes shortly before Gatekeeper waits for it no longer.
    let is_told = async || {
        let ran = lab.run_once("default", "late-tag", &slow).await;
        assert_ne!(ran.code, Some(0), "nobody knows what it is: {ran:?}");
        let told = [
            "admission webhook \"mutation.gatekeeper.sh\" denied the request",
            "operation timed out after duration ",
        ];
        told.iter().all(|words| ran.stderr.contains(words))
    };
    lab.until("told that it is late", is_told).await;
    gate.open();
    lab.until("created", async || lab.run("default", "late-tag", &slow).await.code == Some(0))
        .await;
}
