//! The two times: when to answer, and when to give up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ratify_core::{
    VerifierReport,
    executor::testing::{Answer, FunctionVerifier},
};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::parts::{
    MUTATE, SIGNED, SLOW, Server, VERIFY, executor, policy_of, read, request, slow, store, within,
};

#[tokio::test]
async fn a_slow_key_is_late_and_the_others_are_answered_in_time() {
    let executor = executor(store(), slow(Duration::from_secs(10)));
    let server = Server::start(executor, within(Duration::from_millis(400))).await;
    let began = Instant::now();
    let items = server.verify(&[SLOW, SIGNED, SLOW]).await.items();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(items[1]["value"]["isSuccess"], true);
    for late in [&items[0], &items[2]] {
        assert_eq!(late["key"], SLOW);
        assert_eq!(late["error"], "operation timed out after duration 400ms");
        assert!(late.get("value").is_none(), "no verdict, not even a partial one");
    }
}

#[tokio::test]
async fn evidence_that_is_late_allows_nothing_under_any_policy() {
    let both = json!({"good": "any", "slow": "any"});
    for rules in [json!({}), json!({"default": "any"}), json!({"good": "any"}), both] {
        let store = store().artifact(1, 15, "slow");
        let mut executor = executor(store, slow(Duration::from_secs(10)));
        executor.policy = Some(policy_of(&rules));
        let server = Server::start(executor, within(Duration::from_millis(200))).await;
        let items = server.verify(&[SIGNED]).await.items();
        assert_eq!(items[0]["error"], "operation timed out after duration 200ms", "{rules}");
        assert!(items[0].get("value").is_none(), "{rules}");
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
    let executor = executor(store(), FunctionVerifier::new("slow", "slow", answer));
    let server = Server::start(executor, within(Duration::from_millis(1500))).await;
    assert!(server.verify(&[SLOW]).await.items()[0]["error"].is_string());
    assert_eq!(server.verify(&[SLOW]).await.items()[0]["value"]["isSuccess"], true);
    assert_eq!(WORKED.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn work_that_is_given_up_is_an_error_and_no_verdict() {
    let mut config = within(Duration::from_secs(20));
    config.give_up_after = Duration::from_millis(50);
    let server = Server::start(executor(store(), slow(Duration::from_secs(60))), config).await;
    let items = server.verify(&[SLOW]).await.items();
    assert_eq!(items[0]["error"], "EXECUTOR_FAILURE: the work was given up before it was done");
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
async fn a_mutation_that_is_late_gives_the_key_back_beside_the_error() {
    let store = store().hook(Arc::new(|_, _| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok(())
        })
    }));
    let server =
        Server::start(executor(store, slow(Duration::ZERO)), within(Duration::from_millis(200)))
            .await;
    let items = server.mutate(&[SIGNED]).await.items();
    assert_eq!(items[0]["value"], SIGNED);
    assert_eq!(items[0]["error"], "operation timed out after duration 200ms");
}

#[tokio::test]
async fn more_work_than_the_bound_is_refused_and_said() {
    let mut config = within(Duration::from_millis(500));
    (config.at_once, config.most) = (1, 1);
    let server = Server::start(executor(store(), slow(Duration::from_secs(10))), config).await;
    let items = server.verify(&[SLOW, SIGNED]).await.items();
    assert_eq!(items[0]["error"], "operation timed out after duration 500ms");
    assert_eq!(
        items[1]["error"],
        "EXECUTOR_FAILURE: 1 images are being worked on already; ask again later"
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
