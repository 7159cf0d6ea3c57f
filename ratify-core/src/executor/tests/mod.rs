//! The engine on a store in memory: v1's algorithm, its texts, and where it is stricter.

mod binding;
mod bounds;
mod nested;
mod order;
#[cfg(feature = "rego")]
mod rego;
mod walk;

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use serde_json::json;

use crate::{
    ReferrerStore, Result, Verifier, VerifierReport, VerifyResult, config::Config, policy::Policy,
};

use super::{
    Executor, Notice, VerifyParameters,
    testing::{FunctionVerifier, MemoryStore},
};

const IMAGE: &str = "reg.example.com/app:v1";

/// Polls until ready; all that is awaited here wakes itself.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("the future hangs");
}

fn policy(rules: &serde_json::Value) -> Policy {
    let file = json!({"policy": {"plugin": {"name": "configPolicy", "artifactVerificationPolicies": rules}}});
    let config = Config::from_json(file.to_string().as_bytes()).unwrap();
    Policy::from_config(&config.policy.unwrap()).unwrap()
}

fn executor(stores: Vec<MemoryStore>, verifiers: Vec<FunctionVerifier>) -> Executor {
    Executor::new(
        stores.into_iter().map(|store| Arc::new(store) as Arc<dyn ReferrerStore>).collect(),
        verifiers.into_iter().map(|verifier| Arc::new(verifier) as Arc<dyn Verifier>).collect(),
        Some(policy(&json!({}))),
    )
}

/// A verdict, and what was said on the way.
#[derive(Debug)]
struct Evaluation {
    result: VerifyResult,
    notices: Vec<Notice>,
}

fn verify(executor: &Executor) -> Evaluation {
    verify_as(executor, &VerifyParameters::new(IMAGE)).unwrap()
}

fn verify_as(executor: &Executor, parameters: &VerifyParameters) -> Result<Evaluation> {
    let notices = Mutex::new(Vec::new());
    let result = block_on(executor.verify(parameters, &|one| notices.lock().unwrap().push(one)))?;
    Ok(Evaluation { result, notices: notices.into_inner().unwrap() })
}

/// The one report of an evaluation.
fn only(evaluation: &Evaluation) -> &VerifierReport {
    assert_eq!(evaluation.result.verifier_reports.len(), 1, "{evaluation:?}");
    &evaluation.result.verifier_reports.of_verifiers()[0]
}
