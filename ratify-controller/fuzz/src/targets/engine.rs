//! An executor over a store in memory, and what it decides.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use ratify_core::{
    Result, Verifier, VerifyResult,
    config::Config,
    executor::{
        Executor, VerifyParameters,
        testing::{FunctionVerifier, MemoryStore},
    },
    policy::Policy,
};
use serde_json::{Value, json};

/// An image with an artifact of each of the types `good` and `bad`.
pub(super) const MIXED: &str = "localhost:5055/lab:mixed";
/// An image with artifacts of the type `good` alone.
pub(super) const SIGNED: &str = "localhost:5055/lab:signed";
/// An image with artifacts of the type `bad` alone.
pub(super) const FORBIDDEN: &str = "localhost:5055/lab:forbidden";
/// An image with nothing attached.
pub(super) const BARE: &str = "localhost:5055/lab:bare";

/// What a policy's entry comes to.
pub(super) fn policy(entry: Value) -> Result<Policy> {
    let file = json!({"policy": {"plugin": entry}}).to_string();
    let config = Config::from_json(file.as_bytes()).unwrap();
    Policy::from_config(&config.policy.unwrap())
}

/// The four images, and who is content with `good` and not with `bad`.
pub(super) fn executor(policy: Option<Policy>) -> Executor {
    let store = MemoryStore::new("oras")
        .image(MIXED, 1)
        .image(SIGNED, 2)
        .image(FORBIDDEN, 3)
        .image(BARE, 4)
        .artifact(1, 11, "good")
        .artifact(1, 12, "bad")
        .artifact(2, 21, "good")
        .artifact(21, 22, "good")
        .artifact(3, 31, "bad");
    let verifiers =
        [FunctionVerifier::passing("good", "good"), FunctionVerifier::failing("bad", "bad")];
    let verifiers = verifiers.into_iter().map(|one| Arc::new(one) as Arc<dyn Verifier>).collect();
    Executor::new(vec![Arc::new(store)], verifiers, policy)
}

/// What is decided about an image.
pub(super) fn verify(executor: &Executor, image: &str) -> Result<VerifyResult> {
    now(executor.verify(&VerifyParameters::new(image), &|_| {}))
}

/// Nothing in memory waits for anything.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("it waits for something");
}
