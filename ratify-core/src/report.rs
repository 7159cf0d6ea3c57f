//! What a verifier answers and what an evaluation returns, in v1's JSON: keys, order and omissions
//! are part of the contract with constraint templates.

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, ErrorCode};

/// The report of one verifier about one artifact (v1: the report of the config policy).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct VerifierReport {
    /// The image or artifact that was asked about, as asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Whether the artifact passed.
    pub is_success: bool,
    /// The configured name of the verifier (kept by v1 for old templates).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The configured name of the verifier.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verifier_name: String,
    /// The configured type of the verifier (kept by v1 for old templates).
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// The configured type of the verifier.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verifier_type: String,
    /// The digest of the artifact that was verified.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reference_digest: String,
    /// The type of the artifact that was verified.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// What the verifier has to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The root cause of a failure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error_reason: String,
    /// What to do about a failure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remediation: String,
    /// Whatever else the verifier wants a policy to see.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub extensions: Value,
    /// Reports about what is attached to the artifact itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nested_results: Vec<VerifierReport>,
    /// Whether it may be kept, and until when. It is no part of the JSON: what a plugin prints has
    /// no say in it.
    #[serde(skip)]
    pub standing: Standing,
}

/// Whether what was found out may serve the next who asks, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Whether it is a decision about what is there. What failed on the way to one is true of this
    /// moment only.
    pub is_decision: bool,
    /// When the first of what it rests on ends: a certificate, a revocation list, a timestamp.
    /// `None` where nothing of it ends, or nothing is known of it.
    pub valid_until: Option<SystemTime>,
}

impl Default for Standing {
    fn default() -> Self {
        Self { is_decision: true, valid_until: None }
    }
}

impl Standing {
    /// Of an error: that a complete list holds nothing for any verifier is found out; whatever else
    /// fails may not fail a moment later.
    fn of_error(error: &Error) -> Self {
        let is_decision = error.root().code() == ErrorCode::NoVerifierReport;
        Self { is_decision, valid_until: None }
    }

    /// What rests on both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let earlier = match (self.valid_until, other.valid_until) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        Self { is_decision: self.is_decision && other.is_decision, valid_until: earlier }
    }
}

impl VerifierReport {
    /// A positive report.
    pub fn success(message: impl Into<String>) -> Self {
        Self { is_success: true, message: message.into(), ..Self::default() }
    }

    /// A negative report: the verifier worked, and the artifact did not pass.
    pub fn failure(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// A failed report that says what an error says: details as message, the root's cause as
    /// reason, the root's remediation.
    pub fn from_error(error: &Error) -> Self {
        Self {
            message: error.details(),
            error_reason: error.reason(),
            remediation: error.remediation().to_owned(),
            standing: Standing::of_error(error),
            ..Self::default()
        }
    }

    /// The same report, which counts no longer than until then.
    #[must_use]
    pub fn valid_until(mut self, end: SystemTime) -> Self {
        let until = Standing { valid_until: Some(end), ..Standing::default() };
        self.standing = self.standing.and(until);
        self
    }

    /// Whether it may be kept, with all that is nested in it.
    fn whole_standing(&self) -> Standing {
        let nested = self.nested_results.iter().map(Self::whole_standing);
        nested.fold(self.standing, Standing::and)
    }

    /// The same report with something more for a policy to see.
    #[must_use]
    pub fn with_extensions(mut self, extensions: Value) -> Self {
        self.extensions = extensions;
        self
    }

    /// The same report under the configured name and type, whatever it said of itself: a plugin
    /// must not pass for another verifier.
    ///
    /// Where no type is configured the name stands for it, as in what v1's own plugins answer. A
    /// report that names no type, such as one made of an error, gets none then, as in v1.
    #[must_use]
    pub fn named(mut self, name: &str, configured_type: &str) -> Self {
        let type_ = match (configured_type, self.type_.as_str()) {
            ("", "") => "",
            ("", _) => name,
            (configured, _) => configured,
        };
        type_.clone_into(&mut self.verifier_type);
        self.type_ = self.verifier_type.clone();
        name.clone_into(&mut self.name);
        name.clone_into(&mut self.verifier_name);
        self
    }
}

/// The answer about one subject. `isSuccess` is left out when false, as v1 does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct VerifyResult {
    /// The verdict.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_success: bool,
    /// What it rests on.
    pub verifier_reports: Vec<VerifierReport>,
    /// How many requests it took, by registry; only where somebody asks for it (not in v1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_requests: Option<BTreeMap<String, u64>>,
}

impl VerifyResult {
    /// A verdict and what it rests on.
    pub fn new(is_success: bool, verifier_reports: Vec<VerifierReport>) -> Self {
        Self { is_success, verifier_reports, registry_requests: None }
    }

    /// Whether the verdict may be kept: where all that it rests on may be. A verdict without
    /// reports is none that could be told apart from one that lacks them.
    pub fn standing(&self) -> Standing {
        let is_decision = !self.verifier_reports.is_empty();
        let reports = self.verifier_reports.iter().map(VerifierReport::whole_standing);
        reports.fold(Standing { is_decision, valid_until: None }, Standing::and)
    }
}

/// The reports about one artifact in the form Rego policies read: all five keys always present.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct NestedVerifierReport {
    /// The image or artifact that was asked about, as asked.
    pub subject: String,
    /// The digest of the artifact that was verified.
    pub reference_digest: String,
    /// The type of the artifact that was verified.
    pub artifact_type: String,
    /// One report for each verifier that took it.
    pub verifier_reports: Vec<VerifierReport>,
    /// The same for what is attached to the artifact itself.
    pub nested_reports: Vec<NestedVerifierReport>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_v1s_keys_in_v1s_order() {
        let mut report = VerifierReport::success("m")
            .named("n", "t")
            .with_extensions(serde_json::json!({"k": 1}));
        report.subject = "s".into();
        report.reference_digest = "d".into();
        report.artifact_type = "a".into();
        report.error_reason = "e".into();
        report.remediation = "r".into();
        report.nested_results = vec![VerifierReport::failure("inner")];
        insta::assert_snapshot!(serde_json::to_string(&report).unwrap(), @r#"{"subject":"s","isSuccess":true,"name":"n","verifierName":"n","type":"t","verifierType":"t","referenceDigest":"d","artifactType":"a","message":"m","errorReason":"e","remediation":"r","extensions":{"k":1},"nestedResults":[{"isSuccess":false,"message":"inner"}]}"#);
    }

    #[test]
    fn a_report_has_the_configured_name_and_type_or_the_name_for_the_type() {
        let typed = |said: &str, configured: &str| {
            let said = VerifierReport { type_: said.into(), ..VerifierReport::success("") };
            let report = said.named("n", configured);
            assert_eq!((report.name.as_str(), &report.type_), ("n", &report.verifier_type));
            report.type_
        };
        assert_eq!(typed("notation", "t"), "t");
        assert_eq!(typed("", "t"), "t");
        assert_eq!(typed("notation", ""), "n");
        assert_eq!(typed("", ""), "");
    }

    #[test]
    fn a_verdict_stands_as_long_as_the_weakest_of_what_it_rests_on() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let mut outer = VerifierReport::success("").valid_until(at(9)).valid_until(at(7));
        outer.nested_results = vec![VerifierReport::success("").valid_until(at(5))];
        let whole = VerifyResult::new(true, vec![VerifierReport::failure("no"), outer.clone()]);
        assert_eq!(whole.standing(), Standing { is_decision: true, valid_until: Some(at(5)) });
        let unreached = ErrorCode::ListReferrersFailure.detail("timeout");
        outer.nested_results.push(VerifierReport::from_error(&unreached));
        for reports in [vec![VerifierReport::success(""), outer], vec![]] {
            assert!(!VerifyResult::new(true, reports).standing().is_decision);
        }
    }

    #[test]
    fn of_errors_only_that_nothing_is_attached_is_a_decision() {
        for code in ErrorCode::ALL {
            let error = ErrorCode::VerifyReferenceFailure.error().with_source(code.detail("d"));
            let is_decision = VerifierReport::from_error(&error).standing.is_decision;
            assert_eq!(is_decision, *code == ErrorCode::NoVerifierReport, "{code:?}");
        }
    }

    #[test]
    fn a_plugin_has_no_say_in_how_long_its_report_stands() {
        let said = r#"{"isSuccess":true,"standing":{"is_decision":false,"valid_until":1}}"#;
        let report: VerifierReport = serde_json::from_str(said).unwrap();
        assert_eq!(report.standing, Standing::default());
        let failed = VerifierReport::from_error(&ErrorCode::Unknown.error());
        assert_eq!(serde_json::to_string(&failed).unwrap(), r#"{"isSuccess":false}"#);
    }

    #[test]
    fn a_failed_verdict_has_no_key() {
        assert_eq!(
            serde_json::to_string(&VerifyResult::default()).unwrap(),
            r#"{"verifierReports":[]}"#
        );
    }
}
