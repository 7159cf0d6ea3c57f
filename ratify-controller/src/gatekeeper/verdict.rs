//! [`Verdict`]: what was decided about a subject, as constraint templates read it. Its reports are
//! written once; an answer differs in trace id and time alone, so a kept verdict is answered byte
//! for byte as a fresh one.

use std::time::SystemTime;

use jiff::Timestamp;
use ratify_core::{
    NestedVerifierReport, Reports, VerifierReport, VerifyResult, capped_line, go_json,
};

use crate::timestamp;

/// More of who judged is not logged.
const MAX_VERIFIERS_BYTES: usize = 1024;

/// A verdict, ready to be answered to any number of askers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The version of the response, by the policy that decided.
    pub(crate) version: Box<str>,
    /// Whether the image may run.
    pub(crate) is_success: bool,
    /// The reports: an array of JSON as Go writes it, or empty where there is none.
    pub(crate) reports: Box<str>,
    /// When the first of what it rests on ends. Who keeps it heeds that.
    pub(crate) ends: Option<SystemTime>,
    /// For the log: what the image stood for, where that was found out here.
    pub(crate) digest: Box<str>,
    /// For the log: who judged, and how.
    pub(crate) verifiers: Box<str>,
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
        let ends = result.standing().valid_until;
        let (digest, verifiers) = (Box::default(), who_judged(&result.verifier_reports));
        Ok(Self { version, is_success: result.is_success, reports, ends, digest, verifiers })
    }

    /// A success whose reports were written before, and which counts until then; `None` where they
    /// are none.
    pub(crate) fn of_written(version: &str, reports: &str, ends: SystemTime) -> Option<Self> {
        let verifiers = match reports {
            "" => Box::default(),
            reports => who_judged(&serde_json::from_str(reports).ok()?),
        };
        let (version, reports) = (version.into(), reports.into());
        let ends = Some(ends);
        Some(Self { version, is_success: true, reports, ends, verifiers, ..Self::default() })
    }

    /// The same of an image that stands for this.
    pub(super) fn of_digest(mut self, digest: &str) -> Self {
        self.digest = digest.into();
        self
    }

    /// Appends the verdict as an object, as it is answered then.
    pub(super) fn write(
        &self,
        trace_id: &str,
        at: Timestamp,
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
        timestamp::push(at, to);
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
        let texts = [&self.version, &self.reports, &self.digest, &self.verifiers];
        size_of::<Self>() + texts.map(|text| text.len()).iter().sum::<usize>()
    }
}

/// `name:true,other:false`, in the order of the reports.
fn who_judged(reports: &Reports) -> Box<str> {
    let mut judged = Vec::new();
    reports.of_verifiers().iter().for_each(|one| add(one, &mut judged));
    reports.of_artifacts().iter().for_each(|one| add_all(one, &mut judged));
    let said: Vec<_> = judged.iter().map(|(name, yes)| format!("{name}:{yes}")).collect();
    capped_line(&said.join(","), MAX_VERIFIERS_BYTES).into()
}

fn add<'a>(report: &'a VerifierReport, to: &mut Vec<(&'a str, bool)>) {
    if !report.verifier_name.is_empty() {
        to.push((&report.verifier_name, report.is_success));
    }
    report.nested_results.iter().for_each(|nested| add(nested, to));
}

fn add_all<'a>(artifact: &'a NestedVerifierReport, to: &mut Vec<(&'a str, bool)>) {
    artifact.verifier_reports.iter().for_each(|report| add(report, to));
    artifact.nested_reports.iter().for_each(|nested| add_all(nested, to));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_judged_is_said_of_both_forms_and_read_again_from_what_was_written() {
        let report = |name: &str, yes| {
            let report =
                if yes { VerifierReport::success("") } else { VerifierReport::failure("") };
            report.named(name, "t")
        };
        let mut outer = report("sbom", true);
        outer.nested_results = vec![report("scan", false)];
        let config = VerifyResult::new(true, vec![outer.clone(), VerifierReport::failure("m")]);
        let [mut nested, mut of_artifact] = [(); 2].map(|()| NestedVerifierReport::default());
        nested.verifier_reports = vec![report("scan", false)];
        of_artifact.verifier_reports = vec![report("sbom", true)];
        of_artifact.nested_reports = vec![nested];
        let rego = VerifyResult::new(true, vec![of_artifact]);
        for result in [config, rego] {
            let verdict = Verdict::new("0.2.0", &result).unwrap();
            assert_eq!(&*verdict.verifiers, "sbom:true,scan:false");
            let ends = SystemTime::UNIX_EPOCH;
            let expected = Verdict { ends: Some(ends), ..verdict };
            assert_eq!(Verdict::of_written("0.2.0", &expected.reports, ends), Some(expected));
        }
        let many = vec![report("x", true); 1000];
        let many = Verdict::new("", &VerifyResult::new(true, many)).unwrap();
        assert_eq!(many.verifiers.len(), MAX_VERIFIERS_BYTES);
        assert_eq!(Verdict::of_written("0.2.0", "{", SystemTime::UNIX_EPOCH), None);
    }
}
