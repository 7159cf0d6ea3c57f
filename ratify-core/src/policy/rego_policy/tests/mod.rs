//! What is accepted, against OPA's answers: each form, each builtin; policies as operators write
//! them, with good and bad reports; and that no policy takes more than it may.

mod answers;
mod bounds;
mod negation;
mod policies;

use serde_json::{Value, json};

use super::testing::{Evaluated, evaluate};

/// The value of `valid` in a policy of these rules.
fn asked(rules: &str, input: &Value) -> Evaluated {
    let policy = format!("package ratify.policy\nimport future.keywords\n{rules}\n");
    evaluate(&policy, "ratify.policy.valid", input)
}

/// What answers are about.
fn input() -> Value {
    json!({
        "xs": [{"a": 1}, {"a": 3}], "mixed": [{"a": 1}, {"b": 2}, {"a": 1}], "o": {"k": 1},
        "s": "x", "e": [], "f": false, "n": 5,
    })
}

fn yields(rules: &str, value: Value) {
    assert_eq!(asked(rules, &input()), Evaluated::Value(value), "{rules}");
}

fn is_undefined(rules: &str) {
    assert_eq!(asked(rules, &input()), Evaluated::Undefined, "{rules}");
}

fn fails(rules: &str, with: &str) {
    match asked(rules, &input()) {
        Evaluated::Failed(error) => assert!(error.contains(with), "{rules}: {error}"),
        other => panic!("{rules}: {other:?}"),
    }
}
