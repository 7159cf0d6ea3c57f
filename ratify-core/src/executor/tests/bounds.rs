//! Every bound that is reached is a deny with a reason.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::executor::{Limits, testing::Answer};

fn many(count: u8) -> MemoryStore {
    (0..count).fold(MemoryStore::new("oras").image(IMAGE, 255), |store, byte| {
        store.artifact(255, byte, "a")
    })
}

fn reason(store: MemoryStore, limits: Limits) -> String {
    let executor =
        executor(vec![store], vec![FunctionVerifier::passing("v", "*")]).with_limits(limits);
    let evaluation = verify(&executor);
    assert!(!evaluation.result.is_success);
    only(&evaluation).error_reason.clone()
}

#[test]
fn every_page_is_read() {
    let executor = executor(vec![many(7).pages_of(2)], vec![FunctionVerifier::passing("v", "*")]);
    assert_eq!(verify(&executor).result.verifier_reports.len(), 7);
}

#[test]
fn what_a_store_left_out_is_said_where_nothing_else_is_left() {
    let clause = "3 artifacts are older than maxAge (24h)";
    let empty = reason(many(0).leaving_out(clause), Limits::default());
    let expected = format!("artifact metadata is attached; in the store oras, {clause}");
    assert!(empty.ends_with(&expected), "{empty}");
    let some = many(1).leaving_out(clause);
    let executor = executor(vec![some], vec![FunctionVerifier::passing("v", "*")]);
    let evaluation = verify(&executor);
    assert!(evaluation.result.is_success, "{evaluation:?}");
    assert!(!format!("{:?}", evaluation.result).contains(clause));
}

#[test]
fn more_pages_or_artifacts_than_the_bound_are_a_deny() {
    let limits = Limits { pages: 3, referrers: 10, ..Limits::default() };
    assert_eq!(
        reason(many(7).pages_of(2), limits),
        "the list of store oras has more than 3 pages; part of a list proves nothing"
    );
    assert_eq!(
        reason(many(11), limits),
        "store oras lists more than 10 artifacts; part of a list proves nothing"
    );
    assert_eq!(
        reason(many(1).pages_of(1).endless(), limits),
        "the list of store oras has more than 3 pages; part of a list proves nothing"
    );
    assert_eq!(
        reason(many(1).pages_of(0).endless(), limits),
        "store oras gives the same page again and again; part of a list proves nothing"
    );
}

#[test]
fn the_bound_on_artifacts_is_one_for_all_stores_and_levels() {
    let limits = Limits { referrers: 3, ..Limits::default() };
    let twice = executor(vec![many(2), many(2)], vec![FunctionVerifier::passing("v", "*")])
        .with_limits(limits);
    assert!(only(&verify(&twice)).error_reason.starts_with("more than 3 artifacts are attached"));
    let chain = many(2).artifact(0, 10, "a").artifact(1, 11, "a");
    let nested = executor(vec![chain], vec![FunctionVerifier::passing("v", "*").nested()])
        .with_limits(limits);
    assert!(!verify(&nested).result.is_success);
}

#[test]
fn no_more_than_the_bound_run_at_once_nested_ones_included() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let counting: Answer = Arc::new(|_| {
        Box::pin(async {
            MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            order::turns(5).await;
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(VerifierReport::success(""))
        })
    });
    let store = (0..20).fold(many(20), |store, byte| store.artifact(byte, byte + 100, "leaf"));
    let verifiers = vec![
        FunctionVerifier::new("v", "a", Arc::clone(&counting)).nested(),
        FunctionVerifier::new("leaf", "leaf", counting),
    ];
    let limits = Limits { concurrency: 4, ..Limits::default() };
    assert!(verify(&executor(vec![store], verifiers).with_limits(limits)).result.is_success);
    assert_eq!(MOST.load(Ordering::SeqCst), 4);
}

#[test]
fn a_concurrency_of_zero_is_one() {
    let executor = executor(vec![many(2)], vec![FunctionVerifier::passing("v", "*")])
        .with_limits(Limits { concurrency: 0, ..Limits::default() });
    assert!(verify(&executor).result.is_success);
}
