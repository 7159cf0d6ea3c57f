//! [`RegoPolicy`]: a rule written in Rego decides about the reports, or passes them on undecided.
//!
//! - `load`: what is accepted of Rego, and made of it;
//! - `builtins`: what may be called;
//! - `engine`: an evaluation, bounded in time and memory.

mod builtins;
mod engine;
mod load;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{Instant, SystemTime},
};

use regorus::Value as RegoValue;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Judgement, ReadPolicy};
use crate::{ComponentType, Error, ErrorCode, NestedVerifierReport, Result, go_json, link};

/// What v1 asks of a policy: `data.ratify.policy.valid`.
const QUERY: &str = "ratify.policy.valid";

/// A key of the entry (new), and of the reports.
const NESTED_REPORTS: &str = "nestedReports";

/// v1's `regopolicy`.
#[derive(Clone)]
pub struct RegoPolicy {
    text: String,
    passthrough: bool,
    nested_reports: bool,
    compiled: engine::Compiled,
}

/// The text and the switches are all there is to a policy.
impl PartialEq for RegoPolicy {
    fn eq(&self, other: &Self) -> bool {
        let all = |one: &Self| (one.passthrough, one.nested_reports);
        self.text == other.text && all(self) == all(other)
    }
}

impl fmt::Debug for RegoPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RegoPolicy")
            .field("text", &self.text)
            .field("passthrough", &self.passthrough)
            .field("nested_reports", &self.nested_reports)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    verifier_reports: &'a [NestedVerifierReport],
}

impl RegoPolicy {
    /// Adds the text and the switches, which are all there is to it.
    pub(super) fn add_basis(&self, basis: &mut crate::Basis) {
        basis.add("rego", &self.text);
        basis.add("passthrough", [u8::from(self.passthrough)]);
        basis.add("nested reports", [u8::from(self.nested_reports)]);
    }

    /// Reads the policy's entry. Keys it does not know are ignored, as in v1.
    pub(super) fn from_entry(entry: &Map<String, Value>, read: ReadPolicy<'_>) -> Result<Self> {
        let text = string(entry, "policy")?;
        let text = match text.is_empty() {
            false => text,
            true => {
                let path = string(entry, "policyPath")?;
                let text = read(&path).map_err(|cause| {
                    let detail = format!("unable to read rego policy file at path: {path}");
                    invalid(&detail).with_source(cause)
                })?;
                if text.is_empty() {
                    return Err(invalid("policy is required for rego policy provider"));
                }
                text
            }
        };
        let passthrough = switch(entry, "passthroughEnabled", false)?;
        let nested_reports = switch(entry, NESTED_REPORTS, true)?;
        let text = text.trim().to_owned();
        if text.is_empty() {
            return Err(uncreated("policy is empty".to_owned()));
        }
        if !nested_reports && text.contains(NESTED_REPORTS) {
            return Err(uncreated(format!(
                "{NESTED_REPORTS} is false, and the policy reads {NESTED_REPORTS}"
            )));
        }
        let compiled = engine::Compiled::new(&text).map_err(|refused| {
            uncreated(format!(
                "failed to create policy query, err: failed to prepare rego query, err: {refused}"
            ))
        })?;
        Ok(Self { text, passthrough, nested_reports, compiled })
    }

    /// Whether anybody reads what is attached to artifacts: this policy, or who reads the answer.
    pub(crate) const fn reads_nested_reports(&self) -> bool {
        self.nested_reports
    }

    /// Whether reports are passed on to whoever asks, who decides.
    pub const fn is_passthrough(&self) -> bool {
        self.passthrough
    }

    /// Asks the policy. It computes for up to a second: whoever runs other things on the same
    /// thread asks on another. `now` is what the policy takes for the time.
    ///
    /// What cannot be evaluated, is undefined or no boolean is no success, and says why; what takes
    /// too long is nothing decided at all.
    pub(crate) fn decide(&self, reports: &[NestedVerifierReport], now: SystemTime) -> Judgement {
        if self.passthrough {
            return Judgement::of(false);
        }
        let input = match serde_json::to_string(&Input { verifier_reports: reports }) {
            Ok(input) => input,
            Err(error) => return Judgement::failed(&error.to_string()),
        };
        let began = Instant::now();
        match self.compiled.evaluate(QUERY, &input, now, engine::TIME_LIMIT) {
            Ok(Some(RegoValue::Bool(verdict))) => Judgement::of(verdict),
            Ok(Some(other)) => Judgement::failed(&format!("unexpected result type: {other}")),
            Ok(None) => Judgement::failed("no results returned from query"),
            Err(error) => {
                let is_unfinished = began.elapsed() >= engine::TIME_LIMIT;
                Judgement { is_unfinished, ..Judgement::failed(&error) }
            }
        }
    }
}

fn switch(entry: &Map<String, Value>, key: &str, absent: bool) -> Result<bool> {
    match get(entry, key)? {
        None | Some(Value::Null) => Ok(absent),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(unparsed(&format!("{key}: expected a boolean"))),
    }
}

fn get<'a>(entry: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Value>> {
    go_json::member(entry, key).map_err(|error| unparsed(&error.to_string()))
}

fn string(entry: &Map<String, Value>, key: &str) -> Result<String> {
    match get(entry, key)? {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(unparsed(&format!("{key}: expected a string"))),
    }
}

fn unparsed(cause: &str) -> Error {
    invalid("failed to parse policy provider configuration").with_source(cause.to_owned())
}

fn invalid(detail: &str) -> Error {
    error(ErrorCode::ConfigInvalid, detail)
}

fn uncreated(cause: String) -> Error {
    error(ErrorCode::PluginInitFailure, "failed to create OPA engine")
        .with_source(format!("failed to create policy engine: {cause}"))
}

fn error(code: ErrorCode, detail: &str) -> Error {
    code.detail(detail)
        .with_remediation(link::POLICY_PROVIDER)
        .from_component(ComponentType::PolicyProvider, super::REGO_POLICY)
}
