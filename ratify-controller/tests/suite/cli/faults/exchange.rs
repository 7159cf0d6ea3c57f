//! v1.4.0 goes and comes back under load. Clients ask about good and bad images all the time, each
//! time whichever replica serves, while ours takes its place on an empty volume, the definitions of
//! the kinds change, the verifier is updated, and v1 takes the place back. What ours decides is
//! right, always and from the moment that it says that it is ready; what v1 denies wrongly while it
//! starts and while it overwrites its plugin is counted apart.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use ratify_controller::dev::RegistryOptions;
use serde_json::{Value, json};

use super::{super::STATEMENT, Lab, Replica, is_active, soak};
use crate::cluster::replica::V1;

/// How many ask at once.
const CLIENTS: usize = 4;
/// How long each constellation lasts, beside what it takes to come to it.
const A_WHILE: Duration = Duration::from_secs(1);
/// How long it takes until nobody sends new requests to a replica that is about to end.
const WITHDRAWAL: Duration = Duration::from_millis(500);

/// What clients saw of one of the two.
#[derive(Debug, Default)]
struct Seen {
    /// Right verdicts about good and bad images.
    right: [usize; 2],
    wrong_allows: Vec<String>,
    wrong_denials: Vec<String>,
    unanswered: Vec<String>,
}

/// Who serves, and what was seen of them.
#[derive(Default)]
struct Service {
    replicas: Mutex<Vec<(&'static str, String)>>,
    seen: Mutex<BTreeMap<&'static str, Seen>>,
}

impl Service {
    fn join(&self, who: &'static str, replica: &Replica) {
        self.replicas.lock().unwrap().push((who, replica.server().url().to_owned()));
    }

    /// Nobody asks it any more, and it ends as a pod does.
    async fn leave(&self, who: &'static str, replica: &mut Replica) {
        self.replicas.lock().unwrap().retain(|(other, _)| *other != who);
        tokio::time::sleep(WITHDRAWAL).await;
        replica.terminate().await;
    }

    /// Asks all the time.
    async fn client(&self, number: usize, images: &[String; 2]) {
        // Each request has a connection of its own: none is left over when a replica ends.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0);
        let client = client.timeout(Duration::from_secs(20)).build().unwrap();
        for turn in number.. {
            let (who, url) = {
                let replicas = self.replicas.lock().unwrap();
                replicas[turn % replicas.len()].clone()
            };
            let image = (turn / 2) % 2;
            let answer = ask(&client, &url, &images[image]).await;
            let mut seen = self.seen.lock().unwrap();
            let seen = seen.entry(who).or_default();
            match (answer, image) {
                (Err(why), _) => seen.unanswered.push(why),
                (Ok(item), 0) if item["value"]["isSuccess"] != true => {
                    seen.wrong_denials.push(item.to_string());
                }
                (Ok(item), 1) if item["value"]["isSuccess"] == true => {
                    seen.wrong_allows.push(item.to_string());
                }
                _ => seen.right[image] += 1,
            }
        }
    }
}

/// The item of an image.
async fn ask(client: &reqwest::Client, url: &str, image: &str) -> Result<Value, String> {
    let body = json!({
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest",
        "request": {"keys": [image]},
    });
    let answer = client.post(url).body(body.to_string()).send().await;
    let bytes = match answer {
        Ok(answer) => answer.bytes().await,
        Err(error) => Err(error),
    };
    let bytes = bytes.map_err(|error| format!("{error:?}"))?;
    let answer: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok(answer["response"]["items"][0].clone())
}

/// A plugin that accepts the images of one repository, and says which version it is.
fn program(version: &str) -> Vec<u8> {
    let script = format!(
        r#"#!/bin/sh
cat >/dev/null
case "$RATIFY_VERIFIER_SUBJECT" in */good[@:]*) is=true;; *) is=false;; esac
echo '{{"isSuccess":'$is',"message":"{version}"}}'
"#
    );
    script.into_bytes()
}

/// An image with an artifact, in a repository of its own.
fn put(lab: &Lab, repository: &str) -> String {
    let image = lab.registry.put_image(repository, "v1", "layer").unwrap();
    let blob = ("application/json", bytes::Bytes::from_static(b"{}"));
    lab.registry.put_artifact(repository, &image, STATEMENT, &[blob]).unwrap();
    format!("{}/{repository}:v1", lab.registry.host())
}

/// Makes another version of the plugin the one that judges.
async fn update(lab: &Lab, number: &mut usize, replicas: &[&Replica], good: &str) {
    *number += 1;
    let version = format!("version-{number}");
    lab.push(&version, &program(&version));
    let artifact = lab.plugin(&lab.registry.host(), &version);
    lab.apply("verifiers", "judge", &lab.judge(&artifact)).await;
    for replica in replicas {
        replica.until_says(good, &version).await;
    }
}

/// v1 alone, both, ours alone, both, and v1 alone again, time and again.
async fn exchange(lab: &Lab, service: &Service, v1: &mut Replica, good: &str) -> usize {
    let (end, mut number, mut rounds) = (Instant::now() + soak(Duration::from_secs(8)), 1, 0);
    while rounds == 0 || Instant::now() < end {
        lab.define().await;
        let mut ours = lab.replica("pod-1");
        ours.start().await;
        ours.until_ready().await;
        service.join("ours", &ours);
        tokio::time::sleep(A_WHILE).await;
        update(lab, &mut number, &[v1, &ours], good).await;
        service.leave("v1", v1).await;
        update(lab, &mut number, &[&ours], good).await;
        lab.until("verifiers", "judge", is_active).await;
        tokio::time::sleep(A_WHILE).await;

        v1.start().await;
        v1.until_ready().await;
        service.join("v1", v1);
        tokio::time::sleep(A_WHILE).await;
        service.leave("ours", &mut ours).await;
        update(lab, &mut number, &[v1], good).await;
        rounds += 1;
    }
    rounds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v1_goes_and_comes_back_under_load_and_ours_decides_right_all_the_time() {
    let _alone = V1.lock().await;
    let tls = RegistryOptions { tls: true, ..RegistryOptions::default() };
    let Some(lab) = Lab::start_with_v1s_definitions(tls).await else { return };
    let images = ["good", "bad"].map(|repository| put(&lab, repository));
    let mut v1 = lab.v1_by(&lab.cluster.url());
    v1.start().await;
    update(&lab, &mut 0, &[&v1], &images[0]).await;
    let service = Service::default();
    service.join("v1", &v1);
    let clients = (0..CLIENTS).map(|number| service.client(number, &images));
    let rounds = tokio::select! {
        rounds = exchange(&lab, &service, &mut v1, &images[0]) => rounds,
        _ = futures_util::future::join_all(clients) => unreachable!(),
    };
    let seen = service.seen.into_inner().unwrap();
    for (who, seen) in &seen {
        let (allows, denials) = (seen.wrong_allows.len(), seen.wrong_denials.len());
        let Seen { right: [good, bad], unanswered, .. } = seen;
        eprintln!(
            "{rounds} exchanges, {who}: {good} good and {bad} bad images decided right, {allows} wrong allows, {denials} wrong denials, {} unanswered",
            unanswered.len()
        );
        assert!(seen.right.iter().all(|count| *count > 20), "{seen:?}");
        assert!(seen.wrong_allows.is_empty(), "{who}: {seen:?}");
    }
    let ours = &seen["ours"];
    assert!(ours.wrong_denials.is_empty(), "{:?}", ours.wrong_denials);
    assert!(ours.unanswered.is_empty(), "{:?}", ours.unanswered);
}
