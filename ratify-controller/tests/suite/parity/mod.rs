//! Ratify v1.4.0 and this, given the same images, configurations and plugins, and asked the same.
//! The whole answer is compared, without time, trace id and order; every difference must be a row
//! of docs/COMPATIBILITY.md, section "Reports and answers", and every row must occur.
//!
//! - `machines`, `layout`, `images`, `lab`: foreign programs, what is pushed, both hosts;
//! - `compare`, `rows`: a difference, and the deliberate ones;
//! - `verify_cases`, `serve_cases`, `command_cases`: what is asked.

// Helpers of tests count as tests.
#![allow(clippy::unwrap_used)]

mod compare;
mod images;
mod lab;
mod layout;
mod machines;
mod rows;
mod verify_cases;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use compare::{Difference, differences};
use lab::{Host, Lab, Run};
use rows::ROWS;

/// What two answers of one case come to: a text for each thing that is wrong.
fn judge(name: &str, expected: &[&str], v1: &Value, here: &Value) -> Vec<String> {
    let found = differences(v1, here);
    let row_of = |difference: &Difference| {
        ROWS.iter().find(|row| expected.contains(&row.id) && (row.is)(difference))
    };
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for difference in &found {
        match row_of(difference) {
            Some(row) => {
                println!("{name}: {}: {difference}", row.id);
                seen.push(row.id);
            }
            None => wrong.push(format!("{name}: not a row: {difference}")),
        }
    }
    let missing = expected.iter().filter(|id| !seen.contains(id));
    wrong.extend(missing.map(|id| format!("{name}: {id} does not occur")));
    wrong
}

#[tokio::test]
async fn verify_answers_as_v1_does_but_for_the_rows() {
    let Some(lab) = Lab::start().await else { return };
    images::push(&lab).await;
    let ask = |case: verify_cases::Case| {
        let lab = &lab;
        async move {
            let run = Run {
                name: case.name,
                config: Some(case.config.to_string()),
                arguments: ["verify", "--subject", case.subject].map(str::to_owned).to_vec(),
                dynamic: case.dynamic,
            };
            let v1 = lab.outcome(Host::V1, &run).await;
            let here = lab.outcome(Host::Here, &run).await;
            judge(case.name, case.rows, &v1, &here)
        }
    };
    let only = std::env::var("PARITY_ONLY").unwrap_or_default();
    let cases = verify_cases::cases().into_iter().filter(|case| case.name.contains(&only));
    let wrong: Vec<Vec<String>> = stream::iter(cases.map(ask)).buffered(3).collect().await;
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
