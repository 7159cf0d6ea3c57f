//! Reports are in the order of stores and lists, whoever finishes first (random in v1).

use std::sync::Arc;

use super::*;
use crate::executor::testing::{Answer, digest};

/// Is pending this many times.
pub(super) async fn turns(count: usize) {
    let mut left = count;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn reports_follow_stores_and_lists_and_not_the_clock() {
    let store = |name, first: u8| {
        (first..first + 3).fold(MemoryStore::new(name).image(IMAGE, 1), |store, byte| {
            store.artifact(1, byte, "a")
        })
    };
    let slowest_first: Answer = Arc::new(|request| {
        let byte = u8::from_str_radix(&request.referrer.descriptor.digest.hex()[..2], 16).unwrap();
        Box::pin(async move {
            turns(usize::from(100 - byte)).await;
            Ok(VerifierReport::success(""))
        })
    });
    let executor = executor(
        vec![store("one", 10), store("two", 20)],
        vec![FunctionVerifier::new("v", "*", slowest_first)],
    );
    let digests: Vec<_> = verify(&executor)
        .result
        .verifier_reports
        .of_verifiers()
        .iter()
        .map(|report| report.reference_digest.clone())
        .collect();
    assert_eq!(digests, [10, 11, 12, 20, 21, 22].map(|byte| digest(byte).to_string()));
}

#[test]
fn an_artifact_seen_through_two_stores_gives_two_reports() {
    let store = |name| MemoryStore::new(name).image(IMAGE, 1).artifact(1, 2, "a");
    let executor =
        executor(vec![store("one"), store("two")], vec![FunctionVerifier::passing("v", "*")]);
    assert_eq!(verify(&executor).result.verifier_reports.len(), 2);
}
