//! The two times: when to answer, and when to give up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ratify_core::{
    ErrorCode, VerifierReport,
    executor::testing::{Answer, FunctionVerifier, Hook, digest},
};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::parts::{
    MUTATE, SIGNED, SLOW, Server, VERIFY, executor, policy_of, read, request, slow, store, within,
};

#[tokio::test]
async fn a_slow_key_has_no_item_and_the_others_are_answered_in_time() {
    let executor = executor(store(), slow(Duration::from_secs(60)));
    let server = Server::start(executor, within(Duration::from_millis(400))).await;
    let began = Instant::now();
    let namespaced = format!("[ns]{SLOW}");
    let answer = server.verify(&[SLOW, SIGNED, &namespaced]).await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    let (items, why) = answer.partly();
    assert_eq!((items.len(), &items[0]["value"]["isSuccess"]), (1, &json!(true)));
    assert_eq!(items[0]["key"], SIGNED);
    assert_eq!(
        why,
        format!("operation timed out after duration 400ms: ask again for {SLOW}, {namespaced}")
    );
    assert!(answer.json()["response"].get("idempotent").is_none());
}

#[tokio::test]
async fn evidence_that_is_late_allows_nothing_under_any_policy() {
    let both = json!({"good": "any", "slow": "any"});
    for rules in [json!({}), json!({"default": "any"}), json!({"good": "any"}), both] {
        let store = store().artifact(1, 15, "slow");
        let mut executor = executor(store, slow(Duration::from_secs(60)));
        executor.policy = Some(policy_of(&rules));
        let server = Server::start(executor, within(Duration::from_millis(200))).await;
        let why = server.verify(&[SIGNED]).await.nothing();
        assert!(why.starts_with("operation timed out after duration 200ms: "), "{rules}: {why}");
    }
}

/// What fails for a reason that passes is no verdict either: under no policy, and wherever it is.
#[tokio::test]
async fn what_could_not_be_asked_of_a_registry_is_not_said_of_the_image() {
    let unreachable = |what: &str| {
        let what = what.to_owned();
        let hook: Hook = Arc::new(move |asked, _| {
            let fails = asked == what;
            Box::pin(async move {
                let error = ErrorCode::RepositoryOperationFailure.detail("connection refused");
                if fails { Err(error.passing(true)) } else { Ok(()) }
            })
        });
        store().hook(hook)
    };
    for what in ["resolve", "list", "manifest"] {
        let executor = executor(unreachable(what), slow(Duration::ZERO));
        let server = Server::start(executor, within(Duration::from_secs(20))).await;
        let answer = server.verify(&[SIGNED, "A/B"]).await;
        let (items, why) = answer.partly();
        assert_eq!((items.len(), &items[0]["key"]), (1, &json!("A/B")), "{what}");
        assert!(why.starts_with(&format!("{SIGNED}: ")), "{what}: {why}");
        // What no store knows is not said in detail, as in v1: that is in the log.
        assert!(what == "resolve" || why.ends_with("connection refused"), "{what}: {why}");
        assert!(!answer.body.contains("isSuccess"), "{}", answer.body);
    }
}

#[tokio::test]
async fn work_goes_on_after_a_late_answer_and_who_asks_again_gets_its_verdict() {
    static WORKED: AtomicUsize = AtomicUsize::new(0);
    let answer: Answer = Arc::new(|_| {
        Box::pin(async {
            WORKED.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2500)).await;
            Ok(VerifierReport::success("at last"))
        })
    });
    let verifier = FunctionVerifier::new("slow", "slow", answer).resting_on("a test's");
    let executor = executor(store(), verifier);
    let server = Server::start(executor, within(Duration::from_millis(1500))).await;
    server.verify(&[SLOW]).await.nothing();
    for _ in 0..2 {
        // The first joins it, the second finds what came of it.
        assert_eq!(server.verify(&[SLOW]).await.items()[0]["value"]["isSuccess"], true);
    }
    assert_eq!(WORKED.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn work_that_is_given_up_is_an_error_and_no_verdict() {
    let mut config = within(Duration::from_secs(20));
    config.give_up_after = Duration::from_millis(50);
    let server = Server::start(executor(store(), slow(Duration::from_secs(60))), config).await;
    let why = server.verify(&[SLOW]).await.nothing();
    let given_up = "EXECUTOR_FAILURE: the work was given up before it was done";
    assert_eq!(why, format!("{SLOW}: {given_up}"));
}

#[tokio::test]
async fn a_timeout_of_zero_makes_every_key_late() {
    let executor = executor(store(), slow(Duration::from_secs(60)));
    let server = Server::start(executor, within(Duration::ZERO)).await;
    let late = server.verify(&[SLOW]).await;
    assert!(late.body.contains("operation timed out after duration 0s"), "{}", late.body);
    assert!(!late.body.contains("isSuccess"));
}

#[tokio::test]
async fn a_mutation_that_is_late_takes_nothing_from_the_other_images() {
    let store = store().hook(Arc::new(|_, subject| {
        let is_slow = subject == SLOW;
        Box::pin(async move {
            if is_slow {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            Ok(())
        })
    }));
    let server =
        Server::start(executor(store, slow(Duration::ZERO)), within(Duration::from_millis(500)))
            .await;
    // Gatekeeper would not look at the items beside a system error.
    let items = server.mutate(&[SLOW, SIGNED]).await.items();
    assert_eq!(items[0]["value"], SLOW);
    assert_eq!(items[0]["error"], "operation timed out after duration 500ms");
    assert_eq!(items[1]["value"], format!("localhost:5055/lab@{}", digest(1)));
}

#[tokio::test]
async fn more_work_than_the_bound_is_refused_and_said() {
    let mut config = within(Duration::from_millis(500));
    (config.at_once, config.waiting) = (1, 0);
    let server = Server::start(executor(store(), slow(Duration::from_secs(60))), config).await;
    assert_eq!(
        server.verify(&[SLOW, SIGNED]).await.nothing(),
        format!(
            "operation timed out after duration 500ms: ask again for {SLOW}; \
             {SIGNED}: EXECUTOR_FAILURE: 1 images are being worked on already; ask again later"
        )
    );
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_in_time() {
    let executor = executor(store(), slow(Duration::ZERO));
    let server = Server::start(executor, within(Duration::from_millis(300))).await;
    for path in [VERIFY, MUTATE] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read(stream).await;
        assert_eq!(answer.status, 408, "{}", answer.head);
        assert_eq!(
            answer.json()["response"]["systemError"],
            "operation failed with error operation timed out after duration 300ms"
        );
    }
}

#[tokio::test]
async fn the_end_waits_for_a_request_in_progress_and_takes_no_new_one() {
    let executor = executor(store(), slow(Duration::from_millis(1500)));
    let server = Server::start(executor, within(Duration::from_secs(20))).await;
    let address = server.address;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = request(&[SLOW]);
    let head =
        format!("POST {VERIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let (answer, ()) = tokio::join!(read(stream), server.end());
    assert_eq!(answer.items()[0]["value"]["isSuccess"], true);
    assert!(TcpStream::connect(address).await.is_err());
}
