//! The API server is away, ends its watches, has forgotten what happened, or is written to by
//! others all the time. Verdicts are given meanwhile, and what changed is caught up with.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Fate, Lab, Replica, is_active, program};

/// What the API server says to a watch from a state that it has forgotten.
const GONE: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}"#;

/// As an answer, and as an event of a watch that had been granted.
fn gone(number: usize) -> Fate {
    if number.is_multiple_of(2) {
        let length = GONE.len();
        let head = "HTTP/1.1 410 Gone\r\nContent-Type: application/json\r\n";
        return Fate::Answer(format!("{head}Content-Length: {length}\r\n\r\n{GONE}"));
    }
    let event = format!("{{\"type\":\"ERROR\",\"object\":{GONE}}}\n");
    let length = event.len();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    Fate::Answer(format!("{head}Content-Length: {length}\r\n\r\n{event}"))
}

/// Asks all the time; there is no end, and no failure.
async fn asking(replica: &Replica, image: &str, answered: &AtomicU64) {
    loop {
        let said = replica.says(image).await;
        assert!(said.is_ok(), "{said:?} {}", replica.log());
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes a new version and waits until it decides.
async fn update(lab: &Lab, replica: &Replica, version: &str) {
    lab.push(version, &program(version, 0));
    let artifact = lab.plugin(&lab.registry.host(), version);
    lab.apply("verifiers", "judge", &lab.judge(&artifact)).await;
    replica.until_says(&lab.image(), version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_go_on_while_the_api_server_is_away_and_changes_are_caught_up_with() {
    let Some(mut lab) = Lab::start().await else { return };
    let mut replica = lab.replica("pod-1");
    replica.start().await;
    update(&lab, &replica, "v0").await;
    let (image, answered) = (lab.image(), AtomicU64::new(0));
    let outages = async {
        for round in 1..=2 {
            lab.cluster.stop_api_server();
            tokio::time::sleep(Duration::from_secs(2)).await;
            lab.cluster.compact().await;
            lab.cluster.start_api_server().await;
            update(&lab, &replica, &format!("v{round}")).await;
            lab.until("verifiers", "judge", is_active).await;
        }
    };
    tokio::select! {
        () = outages => {}
        () = asking(&replica, &image, &answered) => unreachable!(),
    }
    assert!(answered.into_inner() > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_cannot_be_written_is_written_later() {
    let Some(mut lab) = Lab::start().await else { return };
    let api = lab.api_proxy().await;
    let mut replica = lab.replica_by("pod-1", &format!("https://{}", api.address()));
    replica.start().await;
    update(&lab, &replica, "v0").await;
    // The second write of an update is the verdict; from it on there is no API server.
    let mut writes = 0;
    api.rule(move |asked| {
        writes += usize::from(asked.method == "PATCH");
        if writes < 2 { Fate::Pass } else { Fate::Cut }
    });
    update(&lab, &replica, "v1").await;
    lab.cluster.stop_api_server();
    tokio::time::sleep(Duration::from_secs(1)).await;
    api.rule(|_| Fate::Pass);
    lab.cluster.start_api_server().await;
    let object = lab.until("verifiers", "judge", is_active).await;
    assert!(!object["status"]["plugin"]["program"].is_null(), "{object}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_end_or_are_too_late_are_begun_anew_and_nothing_is_missed() {
    let Some(lab) = Lab::start().await else { return };
    let api = lab.api_proxy().await;
    let mut replica = lab.replica_by("pod-1", &format!("https://{}", api.address()));
    replica.start().await;
    update(&lab, &replica, "v0").await;
    let (image, answered) = (lab.image(), AtomicU64::new(0));
    let troubles = async {
        for round in 1..=3 {
            api.cut();
            update(&lab, &replica, &format!("cut{round}")).await;
        }
        for round in 1..=4 {
            let mut number = round;
            api.rule(move |asked| {
                number += 1;
                let is_watch = asked.path.contains("watch=true");
                if is_watch && number < 20 { gone(number) } else { Fate::Pass }
            });
            api.cut();
            update(&lab, &replica, &format!("gone{round}")).await;
        }
        // What is deleted while nobody sees it is gone afterwards.
        lab.apply("verifiers", "extra", &lab.judge(&lab.plugin(&lab.registry.host(), "v0"))).await;
        lab.until("verifiers", "extra", is_active).await;
        api.rule(|_| Fate::Cut);
        api.cut();
        lab.delete("verifiers", "extra").await;
        lab.push("last", &program("last", 0));
        let last = lab.plugin(&lab.registry.host(), "last");
        lab.apply("verifiers", "judge", &lab.judge(&last)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut number = 0;
        api.rule(move |asked| {
            number += 1;
            if asked.path.contains("watch=true") && number < 20 { gone(0) } else { Fate::Pass }
        });
        replica.until_says(&lab.image(), "last").await;
    };
    tokio::select! {
        () = troubles => {}
        () = asking(&replica, &image, &answered) => unreachable!(),
    }
    let item = replica.server().ask(&image).await;
    let reports = item["value"]["verifierReports"].as_array().unwrap();
    assert_eq!(reports.len(), 1, "{item}");
    assert!(replica.log().contains("removing verifier extra"), "{}", replica.log());
    assert!(answered.into_inner() > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_is_claimed_and_a_status_written_though_others_write_there_all_the_time() {
    let Some(lab) = Lab::start().await else { return };
    let mut replicas = ["pod-1", "pod-2"].map(|name| lab.replica(name));
    for replica in &mut replicas {
        replica.start().await;
    }
    update(&lab, &replicas[0], "v0").await;
    let bumping = async {
        for number in 0_u64.. {
            let bump = json!({"brieferror": number.to_string()});
            lab.patch_status("verifiers", "judge", &bump).await;
        }
    };
    let updating = async {
        for round in 1..=10 {
            let version = format!("v{round}");
            update(&lab, &replicas[0], &version).await;
            replicas[1].until_says(&lab.image(), &version).await;
            let is_whole = |object: &Value| {
                is_active(object) && !object["status"]["plugin"]["program"].is_null()
            };
            lab.until("verifiers", "judge", is_whole).await;
        }
    };
    tokio::select! {
        () = updating => {}
        () = bumping => unreachable!(),
    }
    lab.settle(&["verifiers"]).await;
    lab.is_quiet(&["verifiers"], Duration::from_secs(2)).await;
}
