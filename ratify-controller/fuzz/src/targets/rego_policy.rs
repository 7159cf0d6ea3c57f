//! A policy in Rego. It is refused by line and name, or it decides, yes or no and nothing else, in
//! bounded time; the same each time, and as its own rule says.

use std::time::{Duration, Instant};

use ratify_core::policy::{
    Policy,
    testing::{Evaluated, evaluate},
};
use serde_json::json;

use super::engine::{self, BARE, FORBIDDEN, MIXED, SIGNED};

/// One evaluation has a second; the machine may be busy.
const BOUND: Duration = Duration::from_secs(20);

pub(super) fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let began = Instant::now();
    let made = |passthrough| {
        let entry =
            json!({"name": "regopolicy", "policy": text, "passthroughEnabled": passthrough});
        engine::policy(entry)
    };
    match made(false) {
        Ok(policy) => {
            decides(policy, text);
            for image in [SIGNED, BARE] {
                let result = engine::verify(&engine::executor(Some(made(true).unwrap())), image);
                assert!(!result.unwrap().is_success, "whoever is passed the reports decides");
            }
        }
        Err(error) => is_refused_by_line(&error.to_string(), text),
    }
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
}

fn decides(policy: Policy, text: &str) {
    let executor = engine::executor(Some(policy));
    for image in [MIXED, SIGNED, FORBIDDEN, BARE] {
        let result = match engine::verify(&executor, image) {
            Ok(result) => result,
            // Its timer ended it.
            Err(error) => {
                assert!(
                    error.is_transient() && error.to_string().contains("time limit"),
                    "{error}"
                );
                continue;
            }
        };
        if text.contains("time.") {
            continue;
        }
        let input = json!({"verifierReports": result.verifier_reports.of_artifacts()});
        let value = evaluate(text.trim(), "ratify.policy.valid", &input);
        if matches!(&value, Evaluated::Failed(why) if why.contains("time limit")) {
            continue;
        }
        let says_yes = value == Evaluated::Value(true.into());
        assert_eq!(result.is_success, says_yes, "{image}: {value:?}");
    }
}

fn is_refused_by_line(error: &str, text: &str) {
    if error.contains("policy is empty") || error.contains("policy provider configuration") {
        return;
    }
    if text.trim().is_empty() || error.contains("unable to read rego policy file") {
        return;
    }
    let line = error.split("policy.rego:").nth(1).and_then(|rest| rest.split(':').next());
    let line: usize = line.and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("{error}"));
    assert!((1..=text.lines().count() + 1).contains(&line), "{error}");
    assert!(!error.chars().any(char::is_control), "{error:?}");
}
