//! [`Verdict`]: what was decided about a subject, as constraint templates read it. Its reports are
//! written once; an answer differs in trace id and time alone, so a kept verdict is answered byte
//! for byte as a fresh one.

use ratify_core::{VerifyResult, go_json};

/// A verdict, ready to be answered to any number of askers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The version of the response, by the policy that decided.
    pub(crate) version: Box<str>,
    /// Whether the image may run.
    pub(crate) is_success: bool,
    /// The reports: an array of JSON as Go writes it, or empty where there is none.
    pub(crate) reports: Box<str>,
    /// Whether something that it rests on ends at a time that is known. The cache heeds the time;
    /// who does not keeps no such verdict.
    pub(crate) has_end: bool,
}

impl Verdict {
    /// Writes the reports of a result.
    ///
    /// # Errors
    /// Never in practice: all keys are strings.
    pub(crate) fn new(version: &str, result: &VerifyResult) -> serde_json::Result<Self> {
        let reports = match result.verifier_reports.is_empty() {
            true => String::new(),
            false => go_json::to_string(&result.verifier_reports)?,
        };
        let (version, reports) = (version.into(), reports.into_boxed_str());
        let has_end = result.standing().valid_until.is_some();
        Ok(Self { version, is_success: result.is_success, reports, has_end })
    }

    /// Appends the verdict as an object. `timestamp` needs no escape.
    pub(super) fn write(
        &self,
        trace_id: &str,
        timestamp: &str,
        to: &mut String,
    ) -> serde_json::Result<()> {
        to.push_str("{\"version\":");
        go_json::push_string(&self.version, to)?;
        to.push_str(if self.is_success { ",\"isSuccess\":true" } else { ",\"isSuccess\":false" });
        if !trace_id.is_empty() {
            to.push_str(",\"traceID\":");
            go_json::push_string(trace_id, to)?;
        }
        to.push_str(",\"timestamp\":\"");
        to.push_str(timestamp);
        to.push('"');
        if !self.reports.is_empty() {
            to.push_str(",\"verifierReports\":");
            to.push_str(&self.reports);
        }
        to.push('}');
        Ok(())
    }

    /// How many bytes it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.version.len() + self.reports.len()
    }
}
