//! `ratify verify --explain`: how a verdict came about, as a tree: what was asked of whom, how long it
//! took, and why it was allowed or refused. It is made of the same spans that a trace is.
//!
//! - `steps`: the tree of spans, in the words of who reads it; `text`: for a person; `json`: for a
//!   program.

mod json;
mod steps;
mod text;

use std::{collections::BTreeMap, io::IsTerminal as _, time::Duration};

use ratify_core::{NestedVerifierReport, VerifierReport, VerifyResult, capped_line};

use crate::telemetry::collect::Collected;
use steps::Step;

/// How an explanation is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// A tree for a person
    Text,
    /// One JSON object
    Json,
}

/// More of what a report says is not shown.
const MAX_REASON: usize = 1000;

/// All there is to say about a verdict.
pub(super) struct Explanation<'a> {
    subject: &'a str,
    /// The verdict; or why there is none, and what to do about that.
    outcome: Result<&'a VerifyResult, (String, String)>,
    reasons: Vec<String>,
    remediations: Vec<String>,
    took: Duration,
    registry: Requests,
    steps: Vec<Step>,
    /// Steps that there was no room for.
    left_out: usize,
}

/// What was asked of registries.
#[derive(Debug, Default)]
struct Requests {
    total: u64,
    by_host: BTreeMap<String, u64>,
    repeated: u64,
    tokens: u64,
    from_cache: u64,
    bytes: u64,
    waited: Duration,
}

impl<'a> Explanation<'a> {
    /// Explains what came of a subject.
    pub(super) fn new(
        subject: &'a str,
        result: Result<&'a VerifyResult, &ratify_core::Error>,
        by_host: BTreeMap<String, u64>,
        took: Duration,
        collected: &Collected,
    ) -> Self {
        let steps = steps::tree(collected);
        let policy = steps.iter().find(|step| step.name == "policy");
        let policy = policy.map(|step| step.text("policy").to_owned()).unwrap_or_default();
        let (reasons, remediations) = match result {
            Ok(result) => (reasons(result, &policy), remediations(result)),
            Err(error) => (vec![capped_line(&error.to_string(), MAX_REASON)], Vec::new()),
        };
        let outcome = result.map_err(|error| {
            let text = capped_line(&error.to_string(), MAX_REASON);
            (text, error.remediation().to_owned())
        });
        let registry = Requests::of(&steps, by_host);
        let left_out = collected.left_out;
        Self { subject, outcome, reasons, remediations, took, registry, steps, left_out }
    }

    /// As it is printed to this standard output.
    ///
    /// # Errors
    /// Never in practice: all keys are strings.
    pub(super) fn printed(&self, form: Form, no_color: bool) -> anyhow::Result<String> {
        match form {
            Form::Text => {
                let color = std::io::stdout().is_terminal() && !no_color;
                Ok(text::render(self, text::Style { width: text::WIDTH, color }))
            }
            Form::Json => {
                Ok(ratify_core::go_json::to_string_pretty(&json::document(self)?)? + "\n")
            }
        }
    }

    fn is_success(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|result| result.is_success)
    }
}

impl Requests {
    fn of(steps: &[Step], by_host: BTreeMap<String, u64>) -> Self {
        let mut requests = Self { total: by_host.values().sum(), by_host, ..Self::default() };
        steps.iter().for_each(|step| requests.add(step));
        requests
    }

    fn add(&mut self, step: &Step) {
        if step.fields.get("fromCache").is_some() {
            self.from_cache += 1;
        }
        match step.name {
            "token" => self.tokens += 1,
            "http" => {
                self.repeated += u64::from(step.number("resent") > 0);
                self.bytes += step.number("bytes");
                self.waited += Duration::from_millis(step.number("waitedMs"));
            }
            _ => {}
        }
        step.steps.iter().for_each(|step| self.add(step));
    }
}

/// Why it is as it is: the policy's word, and of a refusal each report that says no.
fn reasons(result: &VerifyResult, policy: &str) -> Vec<String> {
    let reports = all_reports(result);
    if result.is_success {
        let count = reports.len();
        let noun = if count == 1 { "report" } else { "reports" };
        return vec![format!("the policy {policy} is fulfilled ({count} {noun})")];
    }
    let mut reasons = vec![format!("the policy {policy} is not fulfilled")];
    for report in reports.into_iter().filter(|report| !report.is_success) {
        let said = [report.message.as_str(), report.error_reason.as_str()];
        let said: Vec<_> = said.into_iter().filter(|text| !text.is_empty()).collect();
        let said = said.join(": ");
        let reason = match report.verifier_name.as_str() {
            "" => said,
            name => format!("{name} about {}: {said}", report.reference_digest),
        };
        reasons.push(capped_line(&reason, MAX_REASON));
    }
    reasons
}

/// What to do, each once.
fn remediations(result: &VerifyResult) -> Vec<String> {
    let mut remediations = Vec::new();
    for report in all_reports(result).into_iter().filter(|report| !report.is_success) {
        let remediation = capped_line(&report.remediation, MAX_REASON);
        if !remediation.is_empty() && !remediations.contains(&remediation) {
            remediations.push(remediation);
        }
    }
    remediations
}

/// Every report, those about what is attached to artifacts behind their artifact's.
fn all_reports(result: &VerifyResult) -> Vec<&VerifierReport> {
    let mut all = Vec::new();
    let reports = &result.verifier_reports;
    reports.of_verifiers().iter().for_each(|report| add(report, &mut all));
    reports.of_artifacts().iter().for_each(|artifact| add_all(artifact, &mut all));
    all
}

fn add<'a>(report: &'a VerifierReport, to: &mut Vec<&'a VerifierReport>) {
    to.push(report);
    report.nested_results.iter().for_each(|nested| add(nested, to));
}

fn add_all<'a>(artifact: &'a NestedVerifierReport, to: &mut Vec<&'a VerifierReport>) {
    artifact.verifier_reports.iter().for_each(|report| add(report, to));
    artifact.nested_reports.iter().for_each(|nested| add_all(nested, to));
}
