//! The cache of verdicts as Gatekeeper meets it: who asks again is answered the same, and what may
//! not be kept is not.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ratify_controller::{
    cache::{CacheOptions, VerdictCache},
    plugin::rules::RulesInForce,
    state::{Snapshot, View},
};
use ratify_core::{
    ErrorCode, VerifierReport,
    executor::{
        Executor,
        testing::{Answer, FunctionVerifier, Hook, MemoryStore, digest},
    },
};
use serde_json::{Value, json};

use super::parts::{SIGNED, SLOW, Server, UNSIGNED, policy, policy_of, slow, store, within};

/// What a store was asked for.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    pub(super) fn hook(&self) -> Hook {
        let asked = Arc::clone(&self.0);
        Arc::new(move |method, about| {
            asked.lock().unwrap().push(format!("{method} {about}"));
            Box::pin(async { Ok(()) })
        })
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn verdicts() -> VerdictCache {
    let options = CacheOptions::new(1 << 20, Duration::from_secs(600));
    VerdictCache::new(&options, RulesInForce::default())
}

fn executor(store: MemoryStore, verifier: FunctionVerifier) -> Executor {
    let store = store.resting_on("a test's");
    let verifier = verifier.resting_on("a test's");
    Executor::new(vec![Arc::new(store)], vec![Arc::new(verifier)], Some(policy()))
}

async fn serving(executor: Executor) -> (Server, VerdictCache) {
    let (verdicts, config) = (verdicts(), within(Duration::from_secs(20)));
    (Server::start_with(executor, config, verdicts.clone()).await, verdicts)
}

fn talkative() -> FunctionVerifier {
    let answer: Answer = Arc::new(|_| {
        let seen = json!({"z": 1, "a": {"<": [1000.0, null]}, "m": "&"});
        Box::pin(async { Ok(VerifierReport::success("ok").with_extensions(seen)) })
    });
    FunctionVerifier::new("good", "good", answer)
}

/// An item without what is new in each answer, and that.
pub(super) fn parts_of(body: &str) -> (String, Value) {
    let answer: Value = serde_json::from_str(body).unwrap();
    let value = answer["response"]["items"][0]["value"].clone();
    let (id, at) = (value["traceID"].as_str().unwrap(), value["timestamp"].as_str().unwrap());
    (body.replace(id, "ID").replace(at, "AT"), json!([id, at]))
}

#[tokio::test]
async fn who_asks_again_gets_the_same_bytes_with_an_id_and_a_time_of_its_own() {
    let asked = Asked::default();
    let (server, verdicts) = serving(executor(store().hook(asked.hook()), talkative())).await;
    let first = server.verify(&[SIGNED]).await;
    let worked = asked.count();
    let second = server.verify(&[SIGNED]).await;
    let ((first, its), (second, others)) = (parts_of(&first.body), parts_of(&second.body));
    assert_eq!(first, second);
    assert!(first.contains(r#""extensions":{"a":{"\u003c":[1000,null]},"m":"\u0026","z":1}"#));
    assert_ne!(its[0], others[0]);
    assert_ne!(its[1], others[1]);
    assert_eq!(asked.count(), worked, "the store was asked again");
    assert_eq!((verdicts.counts().hits, verdicts.counts().misses), (1, 1));
}

#[tokio::test]
async fn a_namespace_is_not_answered_with_anothers_verdict() {
    let asked = Asked::default();
    let (server, verdicts) = serving(executor(store().hook(asked.hook()), talkative())).await;
    let (one, other) = (format!("[one]{SIGNED}"), format!("[other]{SIGNED}"));
    for key in [SIGNED, &one, &other, SIGNED, &one, &other] {
        let items = server.verify(&[key]).await.items();
        assert_eq!(
            (items[0]["key"].as_str(), &items[0]["value"]["isSuccess"]),
            (Some(key), &json!(true))
        );
    }
    assert_eq!((verdicts.counts().misses, verdicts.counts().hits), (3, 3));
}

#[tokio::test]
async fn what_failed_since_a_registry_was_not_reached_is_asked_again() {
    let is_down = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&is_down);
    let hook: Hook = Arc::new(move |method, _| {
        let fails = method == "list" && state.load(Ordering::SeqCst);
        Box::pin(async move {
            match fails {
                true => Err(ErrorCode::RepositoryOperationFailure.detail("no route to host")),
                false => Ok(()),
            }
        })
    });
    let (server, verdicts) = serving(executor(store().hook(hook), talkative())).await;
    let is_success =
        async || server.verify(&[SIGNED]).await.items()[0]["value"]["isSuccess"].clone();
    assert_eq!(is_success().await, false);
    assert_eq!((verdicts.counts().passing, verdicts.counts().entries), (1, 0));
    is_down.store(false, Ordering::SeqCst);
    assert_eq!(is_success().await, true);
    is_down.store(true, Ordering::SeqCst);
    assert_eq!(is_success().await, true, "and what was decided is kept");
}

#[tokio::test]
async fn a_denial_is_kept_too_where_it_is_a_decision() {
    let asked = Asked::default();
    let (server, _) = serving(executor(store().hook(asked.hook()), talkative())).await;
    let first = server.verify(&[UNSIGNED]).await;
    let worked = asked.count();
    let second = server.verify(&[UNSIGNED]).await;
    assert_eq!(parts_of(&first.body).0, parts_of(&second.body).0);
    assert!(first.body.contains("No verification results") && asked.count() == worked);
}

#[tokio::test]
async fn what_came_too_late_is_there_for_who_asks_again() {
    let (verdicts, config) = (verdicts(), within(Duration::from_millis(100)));
    let executor = executor(store(), slow(Duration::from_millis(400)));
    let server = Server::start_with(executor, config, verdicts.clone()).await;
    let late = server.verify(&[SLOW]).await;
    assert!(late.body.contains("timed out"), "{}", late.body);
    assert_eq!(verdicts.counts().entries, 0, "nothing that is not finished is kept");
    while verdicts.counts().stored == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let again = server.verify(&[SLOW]).await.items();
    assert_eq!(again[0]["value"]["isSuccess"], true);
    assert_eq!(verdicts.counts().hits, 1);
}

#[tokio::test]
async fn another_policy_counts_for_the_next_request() {
    let (server, verdicts) = serving(executor(store(), talkative())).await;
    let is_success =
        async || server.verify(&[SIGNED]).await.items()[0]["value"]["isSuccess"].clone();
    assert_eq!(is_success().await, true);
    let mut strict = executor(store(), talkative());
    strict.policy = Some(policy_of(&json!({"default": "all", "signature": "all"})));
    server.active.swap(Snapshot::new(strict.clone()));
    assert_eq!(is_success().await, false);
    let mut both = View::new(executor(store(), talkative()));
    both.cluster_rule = Some(strict);
    server
        .active
        .swap(Snapshot::new(executor(store(), talkative())).with_namespace("team", Some(both)));
    assert_eq!(is_success().await, true, "the first policy is in force again");
    assert_eq!(verdicts.counts().hits, 1);
    let of_team = server.verify(&[&format!("[team]{SIGNED}")]).await.items();
    assert_eq!(of_team[0]["value"]["isSuccess"], false);
}

#[tokio::test]
async fn a_request_of_many_keys_is_answered_from_both() {
    let pinned = format!("localhost:5055/lab@{}", digest(1));
    let (server, verdicts) = serving(executor(store(), talkative())).await;
    server.verify(&[&pinned]).await;
    let keys = ["A/B@bad", pinned.as_str(), UNSIGNED, pinned.as_str()];
    let items = server.verify(&keys).await.items();
    let asked: Vec<&str> = items.iter().filter_map(|item| item["key"].as_str()).collect();
    assert_eq!(asked, keys);
    assert_eq!((verdicts.counts().hits, verdicts.counts().misses), (2, 2));
}
