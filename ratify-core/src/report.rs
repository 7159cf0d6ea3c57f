//! What a verifier answers and what an evaluation returns, in v1's JSON: keys, order and omissions
//! are part of the contract with constraint templates.

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeSeq};
use serde_json::Value;

use crate::{Certainty, Error, Standing};

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
    /// How much is known by it, and until when. It is no part of the JSON: what a plugin prints has
    /// no say in it.
    #[serde(skip)]
    pub standing: Standing,
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

    /// The first of it and what is nested in it that failed for a reason that may be gone a moment
    /// later.
    fn first_of_moment(&self) -> Option<&Self> {
        let nested = || self.nested_results.iter().find_map(Self::first_of_moment);
        match self.standing.certainty {
            Certainty::Passing => Some(self),
            _ => nested(),
        }
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
    pub verifier_reports: Reports,
    /// How many requests it took, by registry; only where somebody asks for it (not in v1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_requests: Option<BTreeMap<String, u64>>,
}

impl VerifyResult {
    /// A verdict and what it rests on.
    pub fn new(is_success: bool, verifier_reports: impl Into<Reports>) -> Self {
        Self { is_success, verifier_reports: verifier_reports.into(), registry_requests: None }
    }

    /// Whether it is no success for a reason that may be gone a moment later, such as a registry
    /// that was not reached: nothing that is kept, and no verdict about the image. A success needs
    /// nothing of what failed.
    pub fn is_transient(&self) -> bool {
        !self.is_success && self.standing().certainty == Certainty::Passing
    }

    /// Whether the verdict may be kept: where all that it rests on may be. A verdict without
    /// reports is none that could be told apart from one that lacks them.
    pub fn standing(&self) -> Standing {
        let is_empty = self.verifier_reports.is_empty();
        let certainty = if is_empty { Certainty::Failed } else { Certainty::Decided };
        let whole = Standing { certainty, valid_until: None };
        match &self.verifier_reports {
            Reports::Config(reports) => {
                reports.iter().map(VerifierReport::whole_standing).fold(whole, Standing::and)
            }
            Reports::Rego(reports) => {
                reports.iter().map(NestedVerifierReport::whole_standing).fold(whole, Standing::and)
            }
        }
    }
}

/// Reports in the form of the policy that they are for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Reports {
    /// Of the config policy: one a verifier and artifact.
    Config(Vec<VerifierReport>),
    /// Of a Rego policy: one an artifact.
    Rego(Vec<NestedVerifierReport>),
}

impl Default for Reports {
    fn default() -> Self {
        Self::Config(Vec::new())
    }
}

impl Reports {
    /// How many there are, without what is nested in them.
    pub fn len(&self) -> usize {
        match self {
            Self::Config(reports) => reports.len(),
            Self::Rego(reports) => reports.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first that failed for a reason that may be gone a moment later, nested ones included.
    pub fn first_of_moment(&self) -> Option<&VerifierReport> {
        match self {
            Self::Config(reports) => reports.iter().find_map(VerifierReport::first_of_moment),
            Self::Rego(reports) => reports.iter().find_map(NestedVerifierReport::first_of_moment),
        }
    }

    /// Those of the config policy; none where they are of the other form.
    pub fn of_verifiers(&self) -> &[VerifierReport] {
        match self {
            Self::Config(reports) => reports,
            Self::Rego(_) => &[],
        }
    }

    /// Those of a Rego policy; none where they are of the other form.
    pub fn of_artifacts(&self) -> &[NestedVerifierReport] {
        match self {
            Self::Config(_) => &[],
            Self::Rego(reports) => reports,
        }
    }
}

impl From<Vec<VerifierReport>> for Reports {
    fn from(reports: Vec<VerifierReport>) -> Self {
        Self::Config(reports)
    }
}

impl From<Vec<NestedVerifierReport>> for Reports {
    fn from(reports: Vec<NestedVerifierReport>) -> Self {
        Self::Rego(reports)
    }
}

/// Of the two forms only that of a Rego policy has `nestedReports`, and has it always.
impl<'de> Deserialize<'de> for Reports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reports = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
        let are_of_artifacts =
            reports.first().is_some_and(|report| report.get("nestedReports").is_some());
        let reports = Value::Array(reports);
        match are_of_artifacts {
            true => serde_json::from_value(reports).map(Self::Rego),
            false => serde_json::from_value(reports).map(Self::Config),
        }
        .map_err(serde::de::Error::custom)
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
    #[serde(serialize_with = "of_one_artifact")]
    pub verifier_reports: Vec<VerifierReport>,
    /// The same for what is attached to the artifact itself.
    pub nested_reports: Vec<NestedVerifierReport>,
}

impl NestedVerifierReport {
    /// Whether it may be kept, with all that is nested in it.
    fn whole_standing(&self) -> Standing {
        let own = self.verifier_reports.iter().map(VerifierReport::whole_standing);
        let nested = self.nested_reports.iter().map(Self::whole_standing);
        own.chain(nested).fold(Standing::default(), Standing::and)
    }

    fn first_of_moment(&self) -> Option<&VerifierReport> {
        let own = self.verifier_reports.iter().find_map(VerifierReport::first_of_moment);
        own.or_else(|| self.nested_reports.iter().find_map(Self::first_of_moment))
    }
}

/// A verifier's report within one about an artifact: what the outer one says is left out, a
/// message, a name and extensions are always there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WithinArtifact<'a> {
    is_success: bool,
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error_reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    remediation: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    verifier_name: &'a str,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    type_: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    verifier_type: &'a str,
    extensions: &'a Value,
}

fn of_one_artifact<S: Serializer>(
    reports: &[VerifierReport],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(reports.len()))?;
    for report in reports {
        list.serialize_element(&WithinArtifact {
            is_success: report.is_success,
            message: &report.message,
            error_reason: &report.error_reason,
            remediation: &report.remediation,
            name: &report.name,
            verifier_name: &report.verifier_name,
            type_: &report.type_,
            verifier_type: &report.verifier_type,
            extensions: &report.extensions,
        })?;
    }
    list.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

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
        assert_eq!(
            whole.standing(),
            Standing { certainty: Certainty::Decided, valid_until: Some(at(5)) }
        );
        let unreached = ErrorCode::ListReferrersFailure.detail("timeout");
        outer.nested_results.push(VerifierReport::from_error(&unreached));
        for reports in [vec![VerifierReport::success(""), outer], vec![]] {
            let standing = VerifyResult::new(true, reports).standing();
            assert_ne!(standing.certainty, Certainty::Decided);
        }
    }

    #[test]
    fn of_errors_only_that_nothing_is_attached_is_a_decision() {
        for code in ErrorCode::ALL {
            let error = ErrorCode::VerifyReferenceFailure.error().with_source(code.detail("d"));
            let certainty = VerifierReport::from_error(&error).standing.certainty;
            assert_eq!(
                certainty == Certainty::Decided,
                *code == ErrorCode::NoVerifierReport,
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_plugin_has_no_say_in_how_long_its_report_stands() {
        let said = r#"{"isSuccess":true,"standing":{"certainty":"Failed","valid_until":1}}"#;
        let report: VerifierReport = serde_json::from_str(said).unwrap();
        assert_eq!(report.standing, Standing::default());
        let failed = VerifierReport::from_error(&ErrorCode::Unknown.error());
        assert_eq!(serde_json::to_string(&failed).unwrap(), r#"{"isSuccess":false}"#);
    }

    #[test]
    fn a_failure_of_the_moment_counts_where_there_is_no_success_and_is_not_written() {
        let error = ErrorCode::ListReferrersFailure.error().passing(true);
        let moment = VerifierReport::from_error(&error);
        let mut outer = VerifierReport::failure("nested verification failed");
        outer.nested_results = vec![VerifierReport::success(""), moment.clone()];
        for report in [moment, outer] {
            assert!(!serde_json::to_string(&report).unwrap().contains("ransient"));
            let said: VerifierReport = serde_json::from_str(r#"{"isTransient":true}"#).unwrap();
            assert_eq!(said.standing, Standing::default(), "a plugin has no say in it");
            assert!(VerifyResult::new(false, vec![said.clone(), report.clone()]).is_transient());
            assert!(!VerifyResult::new(true, vec![said, report]).is_transient());
        }
        let plain = VerifyResult::new(false, vec![VerifierReport::failure("")]);
        assert!(!plain.is_transient());
    }

    #[test]
    fn writes_v1s_form_of_an_artifact_for_rego() {
        let mut bad = VerifierReport::failure("").named("v", "");
        bad.subject = "left out".into();
        let good = VerifierReport::success("m").named("n", "t").with_extensions(Value::from(1));
        let report = NestedVerifierReport {
            subject: "s".into(),
            verifier_reports: vec![good, bad],
            nested_reports: vec![NestedVerifierReport::default()],
            ..NestedVerifierReport::default()
        };
        let result = VerifyResult::new(true, vec![report]);
        let text = serde_json::to_string(&result).unwrap();
        insta::assert_snapshot!(text, @r#"{"isSuccess":true,"verifierReports":[{"subject":"s","referenceDigest":"","artifactType":"","verifierReports":[{"isSuccess":true,"message":"m","name":"n","verifierName":"n","type":"t","verifierType":"t","extensions":1},{"isSuccess":false,"message":"","name":"v","verifierName":"v","extensions":null}],"nestedReports":[{"subject":"","referenceDigest":"","artifactType":"","verifierReports":[],"nestedReports":[]}]}]}"#);
        let read: VerifyResult = serde_json::from_str(&text).unwrap();
        assert_eq!(read.verifier_reports.of_artifacts()[0].verifier_reports.len(), 2);
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn reads_the_form_of_the_config_policy_as_it_was_written() {
        let result = VerifyResult::new(false, vec![VerifierReport::failure("m")]);
        let text = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<VerifyResult>(&text).unwrap(), result);
    }

    #[test]
    fn a_failed_verdict_has_no_key() {
        assert_eq!(
            serde_json::to_string(&VerifyResult::default()).unwrap(),
            r#"{"verifierReports":[]}"#
        );
    }
}
