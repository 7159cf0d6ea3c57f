//! What is answered, byte for byte.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use insta::assert_snapshot;
use ratify_controller::{
    gatekeeper::ServiceConfig,
    state::{Snapshot, View},
};
use ratify_core::executor::{
    Executor,
    testing::{FunctionVerifier, MemoryStore, digest},
};

use super::parts::{
    MUTATE, SICK, SIGNED, Server, UNSIGNED, VERIFY, executor, policy, request, slow, store,
};

/// The body without what differs each time, which must be what it should be.
fn scrubbed(body: &str) -> String {
    let without = replaced(body, r#""traceID":""#, "[uuid]", |text| {
        uuid::Uuid::parse_str(text).is_ok_and(|id| id.get_version_num() == 4)
    });
    replaced(&without, r#""timestamp":""#, "[time]", |text| {
        text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
    })
}

fn replaced(body: &str, before: &str, with: &str, is_right: impl Fn(&str) -> bool) -> String {
    let mut parts = body.split(before);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (value, rest) = part.split_once('"').unwrap();
        assert!(is_right(value), "{value}");
        text = format!("{text}{before}{with}\"{rest}");
    }
    text
}

#[tokio::test]
async fn a_verification_is_v1s_json_in_the_order_of_the_keys() {
    let server = Server::usual().await;
    let namespaced = format!("[ns1]{UNSIGNED}");
    let answer = server.verify(&["A/B@bad", &namespaced, SIGNED]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; charset=utf-8"), "{}", answer.head);
    assert_snapshot!(scrubbed(&answer.body), @r#"{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderResponse","response":{"items":[{"key":"A/B@bad","error":"REFERENCE_INVALID: failed to parse subject reference"},{"key":"[ns1]localhost:5055/lab:unsigned","value":{"version":"0.2.0","isSuccess":false,"traceID":"[uuid]","timestamp":"[time]","verifierReports":[{"subject":"localhost:5055/lab:unsigned","isSuccess":false,"message":"failed to verify artifact: localhost:5055/lab:unsigned","errorReason":"No verification results for the artifact localhost:5055/lab:unsigned. Ensure verifiers are properly configured and that artifact metadata is attached"}]}},{"key":"localhost:5055/lab:signed","value":{"version":"0.2.0","isSuccess":true,"traceID":"[uuid]","timestamp":"[time]","verifierReports":[{"subject":"localhost:5055/lab:signed","isSuccess":true,"name":"good","verifierName":"good","type":"function","verifierType":"function","referenceDigest":"sha256:0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b","artifactType":"good","message":"ok"}]}}]}}"#);
}

#[tokio::test]
async fn a_mutation_is_v1s_json() {
    let server = Server::usual().await;
    let digested = format!("[ns1]localhost:5055/lab@{}", digest(9));
    let namespaced = format!("[ns1]{SIGNED}");
    let keys = [SIGNED, &namespaced, &digested, "A/B", "localhost:5055/lab:none", ""];
    let answer = server.mutate(&keys).await;
    assert_snapshot!(scrubbed(&answer.body), @r#"{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderResponse","response":{"idempotent":true,"items":[{"key":"localhost:5055/lab:signed","value":"localhost:5055/lab@sha256:0101010101010101010101010101010101010101010101010101010101010101"},{"key":"[ns1]localhost:5055/lab:signed","value":"localhost:5055/lab@sha256:0101010101010101010101010101010101010101010101010101010101010101"},{"key":"[ns1]localhost:5055/lab@sha256:0909090909090909090909090909090909090909090909090909090909090909","value":"[ns1]localhost:5055/lab@sha256:0909090909090909090909090909090909090909090909090909090909090909"},{"key":"A/B","value":"A/B","error":"REFERENCE_INVALID: failed to parse image reference A/B: failed to parse subject reference"},{"key":"localhost:5055/lab:none","value":"localhost:5055/lab:none","error":"REPOSITORY_OPERATION_FAILURE: failed to get subject descriptor for image localhost:5055/lab:none: Unable to resolve the reference: localhost:5055/lab:none: not found"},{"value":"","error":"REFERENCE_INVALID: failed to parse image reference : failed to parse subject reference"}]}}"#);
}

/// v1 resolves a key with the namespace of whichever key was last.
#[tokio::test]
async fn each_key_of_a_request_has_its_own_namespace() {
    let server = Server::usual().await;
    let of = |byte| {
        let store = MemoryStore::new("oras").image(SIGNED, byte);
        Some(View::new(executor(store, slow(Duration::ZERO))))
    };
    let cluster = View::new(executor(MemoryStore::new("oras"), slow(Duration::ZERO)));
    let snapshot = Snapshot::of_views(cluster, BTreeMap::new());
    server.active.swap(snapshot.with_namespace("a", of(1)).with_namespace("b", of(2)));
    let keys: Vec<_> = (0..40).map(|key| format!("[{}]{SIGNED}", ["a", "b"][key % 2])).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for (key, item) in server.mutate(&keys).await.items().iter().enumerate() {
        let digest = digest(u8::try_from(1 + key % 2).unwrap());
        assert_eq!(item["value"], format!("localhost:5055/lab@{digest}"), "{item}");
    }
    let none = server.mutate(&[SIGNED]).await.items();
    assert!(none[0]["error"].as_str().unwrap().contains("not found"), "{none:?}");
}

#[tokio::test]
async fn a_mutation_keeps_the_tag_where_that_is_configured() {
    let mut config = ServiceConfig::default();
    config.mutation_keeps_tag = true;
    let server = Server::start(executor(store(), slow(Duration::ZERO)), config).await;
    let (digest, namespaced) = (digest(1), format!("[ns]{SIGNED}"));
    let pinned = format!("{SIGNED}@{digest}");
    for (key, item) in [SIGNED, &namespaced, &pinned]
        .iter()
        .zip(server.mutate(&[SIGNED, &namespaced, &pinned]).await.items())
    {
        assert_eq!(item["value"], pinned, "{key}");
    }
}

#[tokio::test]
async fn a_mutation_needs_the_store_named_oras() {
    let other = MemoryStore::new("other").image(SIGNED, 1);
    let server =
        Server::start(executor(other, slow(Duration::ZERO)), ServiceConfig::default()).await;
    let answer = server.mutate(&[SIGNED]).await;
    assert_snapshot!(scrubbed(&answer.body), @r#"{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderResponse","response":{"idempotent":true,"items":[{"key":"localhost:5055/lab:signed","value":"localhost:5055/lab:signed","error":"REFERRER_STORE_FAILURE: failed to mutate image reference localhost:5055/lab:signed: could not find matching store oras"}]}}"#);
}

#[tokio::test]
async fn a_key_loses_its_line_breaks_and_is_answered_as_often_as_it_is_asked() {
    let server = Server::usual().await;
    let broken = "localhost:5055\n/lab\r:signed\n";
    let items = server.verify(&[SIGNED, broken, SIGNED]).await.items();
    assert_eq!(items.len(), 3);
    for item in items {
        assert_eq!(item["key"], SIGNED);
        assert_eq!(item["value"]["isSuccess"], true);
    }
}

#[tokio::test]
async fn what_is_missing_is_said_per_key_in_v1s_order() {
    let with = |stores: bool, policy_: bool, verifiers: bool| {
        Executor::new(
            if stores { vec![Arc::new(store()) as _] } else { vec![] },
            if verifiers {
                vec![Arc::new(FunctionVerifier::passing("v", "*")) as _]
            } else {
                vec![]
            },
            policy_.then(policy),
        )
    };
    let server = Server::start(with(false, false, false), ServiceConfig::default()).await;
    let cases = [
        (
            with(false, false, false),
            "CONFIG_INVALID: referrer store config should have at least one store",
        ),
        (with(true, false, false), "CONFIG_INVALID: policy provider config is not provided"),
        (
            with(true, true, false),
            "CONFIG_INVALID: verifiers config should have at least one verifier",
        ),
    ];
    for (executor, expected) in cases {
        server.active.swap(Snapshot::new(executor));
        let items = server.verify(&[SIGNED]).await.items();
        assert_eq!(items[0]["error"], expected);
        assert!(items[0].get("value").is_none());
    }
    assert_eq!(
        server.mutate(&[SIGNED]).await.items()[0]["value"],
        format!("localhost:5055/lab@{}", digest(1)),
        "a mutation needs a store only"
    );
}

#[tokio::test]
async fn a_verifier_that_panics_denies_its_own_key_only() {
    let server = Server::usual().await;
    let items = server.verify(&[SICK, SIGNED]).await.items();
    assert_eq!(items[0]["value"]["isSuccess"], false);
    assert_eq!(items[0]["value"]["verifierReports"][0]["errorReason"], "on purpose");
    assert_eq!(items[1]["value"]["isSuccess"], true);
}

#[tokio::test]
async fn the_trace_id_of_a_configured_header_is_given_back() {
    let mut config = ServiceConfig::default();
    config.trace_id_headers = vec!["x-none".into(), "X-Correlation".into()];
    let server = Server::start(executor(store(), slow(Duration::ZERO)), config).await;
    let body = request(&[SIGNED]);
    let answer = server.send("POST", VERIFY, "x-correlation: abc-1\r\n", body.as_bytes()).await;
    assert_eq!(answer.items()[0]["value"]["traceID"], "abc-1");
}

#[tokio::test]
async fn nothing_asked_is_nothing_answered() {
    let server = Server::usual().await;
    for body in ["null", "{}", r#"{"request":{"keys":[]}}"#] {
        let answer = server.post(VERIFY, body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.body,
            "{\"apiVersion\":\"externaldata.gatekeeper.sh/v1alpha1\",\"kind\":\"ProviderResponse\",\"response\":{}}\n"
        );
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_answered_as_v1_does() {
    let server = Server::usual().await;
    let lost = server.post("/ratify/gatekeeper/v2/verify", "{}").await;
    assert_eq!((lost.status, lost.body.as_str()), (404, "404 page not found\n"));
    for path in [VERIFY, MUTATE] {
        let wrong = server.send("GET", path, "", b"").await;
        assert_eq!((wrong.status, wrong.body.as_str()), (405, ""));
    }
}

#[tokio::test]
async fn a_running_request_keeps_the_configuration_it_began_with() {
    let server = Server::start(
        executor(store(), slow(Duration::from_millis(1500))),
        super::parts::within(Duration::from_secs(20)),
    )
    .await;
    let running = server.verify(&[super::parts::SLOW]);
    let swapped = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        server.active.swap(Snapshot::new(Executor::new(vec![], vec![], None)));
        server.verify(&[super::parts::SLOW]).await
    };
    let (before, after) = tokio::join!(running, swapped);
    assert_eq!(before.items()[0]["value"]["isSuccess"], true);
    assert!(after.items()[0]["error"].as_str().unwrap().starts_with("CONFIG_INVALID"));
}
