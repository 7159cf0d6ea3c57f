//! Ratify v1.4.0 and this, given the same images, configurations and plugins, and asked the same.
//! The whole answer is compared, without time, trace id and order; every difference must be a row
//! of docs/COMPATIBILITY.md, section "Reports and answers", and every row must occur.
//!
//! - `machines`, `layout`, `images`, `lab`: foreign programs, what is pushed, both hosts;
//! - `compare`, `rows`: a difference, and the deliberate ones;
//! - `signing`, `authority`: signatures of the real `notation`, and who says that they count;
//! - `notation_plugins`: signatures that name a plugin of Notation;
//! - `cosign`: signatures of the real cosign, with rows of their own;
//! - `forms`: both built-in verifiers as processes of their own;
//! - `verify_cases`, `notation_cases`, `plugin_cases`, `rego_cases`, `serve_cases`, `command_cases`: what is asked.

// Helpers of tests count as tests.
#![allow(clippy::expect_used, clippy::unwrap_used)]

pub(crate) mod authority;
mod command_cases;
mod compare;
pub(crate) mod cosign;
mod forms;
mod images;
mod lab;
pub(crate) mod layout;
pub(crate) mod machines;
mod notation_cases;
mod notation_plugins;
mod plugin_cases;
mod rego_cases;
mod rows;
mod serve_cases;
pub(crate) mod signing;
mod verify_cases;

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use compare::{Difference, differences};
use lab::{Host, Lab, Run};
use rows::{ROWS, Row};

/// What two answers of one case come to: a text for each thing that is wrong.
fn judge(name: &str, expected: &[&str], v1: &Value, here: &Value) -> Vec<String> {
    judge_by(ROWS, name, expected, v1, here)
}

fn judge_by(rows: &[Row], name: &str, expected: &[&str], v1: &Value, here: &Value) -> Vec<String> {
    let found = differences(v1, here);
    let row_of = |difference: &Difference| {
        rows.iter().find(|row| expected.contains(&row.id) && (row.is)(difference))
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

/// Asks both about each case, a few at once, and fails with every difference that is no row.
async fn compare_all<C, F>(cases: Vec<C>, name: fn(&C) -> &str, ask: impl Fn(C) -> F)
where
    F: Future<Output = Vec<String>>,
{
    let only = std::env::var("PARITY_ONLY").unwrap_or_default();
    let cases = cases.into_iter().filter(|case| name(case).contains(&only));
    let wrong: Vec<Vec<String>> = stream::iter(cases.map(ask)).buffered(3).collect().await;
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

async fn both(lab: &Lab, run: &Run<'_>, rows: &[&str]) -> Vec<String> {
    let v1 = lab.outcome(Host::V1, run).await;
    let here = lab.outcome(Host::Here, run).await;
    judge(run.name, rows, &v1, &here)
}

#[tokio::test]
async fn verify_answers_as_v1_does_but_for_the_rows() {
    let Some(lab) = Lab::start().await else { return };
    images::push(&lab).await;
    let lab = &lab;
    let ask = |case: verify_cases::Case| async move {
        let run = Run {
            name: case.name,
            config: Some(case.config.to_string()),
            arguments: ["verify", "--subject", case.subject].map(str::to_owned).to_vec(),
            dynamic: case.dynamic,
            exact: false,
        };
        both(lab, &run, case.rows).await
    };
    compare_all(verify_cases::cases(), |case| case.name, ask).await;
}

#[tokio::test]
async fn notation_answers_as_v1_does_but_for_the_rows_and_so_it_does_as_a_process() {
    let Some(lab) = Lab::start().await else { return };
    let authority = authority::Authority::start(lab.notary()).await;
    signing::push(&lab, &authority).await;
    let lab = &lab;
    let ask = |case: verify_cases::Case| async move {
        let run = Run {
            name: case.name,
            config: Some(case.config.to_string()),
            arguments: ["verify", "--subject", case.subject].map(str::to_owned).to_vec(),
            dynamic: case.dynamic,
            exact: false,
        };
        let mut wrong = both(lab, &run, case.rows).await;
        // Those of plugins of Notation, which no process runs.
        if !notation_plugins::cases().iter().any(|of_plugin| of_plugin.name == case.name) {
            wrong.extend(notation_cases::FORMS.compare(lab, &run).await);
        }
        wrong
    };
    compare_all(notation_cases::notation_cases(), |case| case.name, ask).await;
}

#[tokio::test]
async fn commands_answer_as_v1s_do_but_for_the_rows() {
    let Some(lab) = Lab::start().await else { return };
    images::push(&lab).await;
    let lab = &lab;
    let ask = |case: command_cases::CommandCase| async move {
        let arguments = case.arguments.iter().map(|&argument| argument.to_owned()).collect();
        let run =
            Run { name: case.name, config: case.config, arguments, dynamic: false, exact: true };
        both(lab, &run, case.rows).await
    };
    compare_all(command_cases::command_cases(), |case| case.name, ask).await;
}

#[tokio::test]
async fn serve_answers_as_v1_does_but_for_the_rows() {
    let Some(lab) = Lab::start().await else { return };
    images::push(&lab).await;
    let lab = &lab;
    let ask = |case: serve_cases::ServeCase| async move {
        let v1 = lab.conversation(Host::V1, &case).await;
        let here = lab.conversation(Host::Here, &case).await;
        judge(case.name, case.rows, &v1, &here)
    };
    compare_all(serve_cases::serve_cases(), |case| case.name, ask).await;
}

#[test]
fn a_difference_that_is_no_row_is_wrong_and_so_is_a_row_that_does_not_occur() {
    let (v1, here) = (json!({"status": 500, "body": 1}), json!({"status": 400, "body": 1}));
    assert!(judge("case", &[rows::BAD_BODY], &v1, &here).is_empty());
    assert_eq!(judge("case", &[], &v1, &here).len(), 1);
    assert_eq!(judge("case", &[rows::BAD_BODY], &v1, &v1), ["case: C-bad-body does not occur"]);
    let other = json!({"status": 400, "body": 2});
    assert_eq!(judge("case", &[rows::BAD_BODY], &v1, &other).len(), 1);
}

/// The section of docs/COMPATIBILITY.md that is this suite's.
fn documented_rows() -> Vec<String> {
    let document = include_str!("../../../../docs/COMPATIBILITY.md");
    let (_, section) = document.split_once("\n## Reports and answers\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let id = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    section.lines().filter_map(id).collect()
}

#[test]
fn the_document_lists_the_rows_that_occur_and_no_others() {
    let verify = verify_cases::cases().into_iter().flat_map(|case| case.rows);
    let commands = command_cases::command_cases().into_iter().flat_map(|case| case.rows);
    let serve = serve_cases::serve_cases().into_iter().flat_map(|case| case.rows);
    let notation = notation_cases::notation_cases().into_iter().flat_map(|case| case.rows);
    let used = verify.chain(notation).chain(commands).chain(serve);
    let used: BTreeSet<&str> = used.copied().collect();
    let documented = documented_rows();
    let unique: BTreeSet<&str> = documented.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), documented.len(), "a row is there twice");
    assert_eq!(used, unique);
    assert_eq!(used, ROWS.iter().map(|row| row.id).collect());
}
