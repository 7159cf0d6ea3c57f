//! [`Policy`]: what decides. It turns reports into a verdict, and a failure into a report.
//!
//! An enum and no trait: the executor branches on the kind anyway. [`ConfigPolicy`] is a table in
//! the configuration; [`RegoPolicy`] is a program.

mod config_policy;
#[cfg(feature = "rego")]
mod rego_policy;

use serde_json::{Map, Value};

use crate::{
    Basis, ComponentType, Error, ErrorCode, Result, VerifierReport, VerifyResult,
    config::PolicyConfig, link,
};

pub use config_policy::ConfigPolicy;
#[cfg(feature = "rego")]
pub use rego_policy::RegoPolicy;
#[cfg(all(feature = "rego", any(test, feature = "testing")))]
pub use rego_policy::testing;

const CONFIG_POLICY: &str = "configpolicy";
const REGO_POLICY: &str = "regopolicy";

/// Reads the file of a policy: its text, or why there is none in v1's words
/// (`open p: no such file or directory`). Core itself opens nothing.
pub type ReadPolicy<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The policy of a configuration.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Policy {
    /// Rules per artifact type, written in the configuration.
    Config(ConfigPolicy),
    /// A program in Rego.
    #[cfg(feature = "rego")]
    Rego(Box<RegoPolicy>),
}

/// A verdict, and what v1 writes to its log where the policy could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Judgement {
    /// The verdict.
    pub is_success: bool,
    /// Why it is no success, where that is not the policy's own word.
    pub fault: Option<String>,
    /// Whether the policy was ended by its timer: nothing was decided.
    pub is_unfinished: bool,
}

impl Judgement {
    /// What the policy itself says.
    pub const fn of(is_success: bool) -> Self {
        Self { is_success, fault: None, is_unfinished: false }
    }

    /// The policy could not be asked, or said nothing that is a verdict: no success.
    pub fn failed(fault: &str) -> Self {
        let fault = format!("failed to evaluate policy: {}", crate::capped_line(fault, 1000));
        Self { is_success: false, fault: Some(fault), is_unfinished: false }
    }
}

impl Policy {
    /// Builds the policy that the `policy` section names, of which no part is in a file.
    ///
    /// # Errors
    /// As [`Policy::from_config_and_files`].
    pub fn from_config(section: &PolicyConfig) -> Result<Self> {
        Self::from_config_and_files(section, &|path| Err(format!("open {path}: no such file")))
    }

    /// Builds the policy that the `policy` section names; `read` reads the file it may be in.
    ///
    /// # Errors
    /// When no policy is named, the name is unknown, or its keys are wrong. The texts are v1's.
    pub fn from_config_and_files(section: &PolicyConfig, read: ReadPolicy<'_>) -> Result<Self> {
        let Some(plugin) = &section.plugin else {
            return Err(invalid("policy provider config must be specified"));
        };
        let Some(name) = plugin.get("name") else {
            return Err(invalid(
                "failed to find policy provider name in the policy config with key: name",
            ));
        };
        Self::from_entry(&normalised(name), plugin, read)
    }

    fn from_entry(name: &str, plugin: &Map<String, Value>, read: ReadPolicy<'_>) -> Result<Self> {
        let policy = match name {
            CONFIG_POLICY => ConfigPolicy::from_entry(plugin).map(Self::Config),
            REGO_POLICY => rego(plugin, read),
            _ => {
                return Err(ErrorCode::PolicyProviderNotFound
                    .detail(format!("policy type: {name} is not registered policy provider"))
                    .with_remediation(link::POLICY_CRD)
                    .from_component(ComponentType::PolicyProvider, name));
            }
        };
        policy.map_err(|error| {
            ErrorCode::PluginInitFailure
                .detail("failed to create policy provider")
                .with_source(error)
                .with_remediation(link::POLICY_PROVIDER)
                .from_component(ComponentType::PolicyProvider, name)
        })
    }

    /// v1's normalised name of the kind, as its log line `selected policy provider: …` has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Config(_) => CONFIG_POLICY,
            #[cfg(feature = "rego")]
            Self::Rego(_) => REGO_POLICY,
        }
    }

    /// The version of the response that carries this policy's reports.
    pub const fn response_version(&self) -> &'static str {
        match self {
            Self::Config(_) => "0.2.0",
            #[cfg(feature = "rego")]
            Self::Rego(_) => "1.1.0",
        }
    }

    /// Adds what it decides by.
    pub fn add_basis(&self, basis: &mut Basis) {
        match self {
            // Plain data, of which the derived text leaves nothing out.
            Self::Config(policy) => basis.add(CONFIG_POLICY, format!("{policy:?}")),
            #[cfg(feature = "rego")]
            Self::Rego(policy) => policy.add_basis(basis),
        }
    }

    /// Whether whoever asks decides, and gets the reports with no verdict. Such a list is never
    /// partial: what is missing is an error.
    pub const fn is_passthrough(&self) -> bool {
        match self {
            Self::Config(_) => false,
            #[cfg(feature = "rego")]
            Self::Rego(policy) => policy.is_passthrough(),
        }
    }

    /// Whether every artifact is looked into, that is asked what is attached to it. Under a config
    /// policy only those are whose verifier wants it.
    pub(crate) const fn looks_into_every_artifact(&self) -> bool {
        match self {
            Self::Config(_) => false,
            #[cfg(feature = "rego")]
            Self::Rego(policy) => policy.reads_nested_reports(),
        }
    }

    /// What is answered where no verdict was reached. The config policy makes one failed report
    /// that says why, and of no verifier (v1: no name and no type).
    ///
    /// # Errors
    /// Of a Rego policy, the error itself.
    pub fn error_to_result(&self, subject: &str, error: Error) -> Result<VerifyResult> {
        match self {
            Self::Config(_) => Ok(failed_report(subject, error)),
            #[cfg(feature = "rego")]
            Self::Rego(_) => Err(error),
        }
    }
}

pub(crate) fn failed_report(subject: &str, error: Error) -> VerifyResult {
    let outer = ErrorCode::VerifyReferenceFailure
        .detail(format!("failed to verify artifact: {subject}"))
        .with_source(error);
    let report =
        VerifierReport { subject: subject.to_owned(), ..VerifierReport::from_error(&outer) };
    VerifyResult::new(false, vec![report])
}

#[cfg(feature = "rego")]
fn rego(plugin: &Map<String, Value>, read: ReadPolicy<'_>) -> Result<Policy> {
    RegoPolicy::from_entry(plugin, read).map(|policy| Policy::Rego(Box::new(policy)))
}

#[cfg(not(feature = "rego"))]
fn rego(_: &Map<String, Value>, _: ReadPolicy<'_>) -> Result<Policy> {
    Err(ErrorCode::ConfigInvalid
        .detail("regopolicy is not part of this build of Ratify; use configpolicy")
        .with_remediation(link::POLICY_PROVIDER))
}

/// Lower case, without hyphens: `Config-Policy` is `configpolicy`.
fn normalised(name: &Value) -> String {
    let text = match name {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    crate::capped_line(&text.to_lowercase().replace('-', ""), 100)
}

fn invalid(detail: &str) -> Error {
    ErrorCode::ConfigInvalid.detail(detail).from_component(ComponentType::PolicyProvider, "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(plugin: Value) -> Result<Policy> {
        let file = json!({"policy": {"version": "1.0.0", "plugin": plugin}}).to_string();
        let config = crate::config::Config::from_json(file.as_bytes()).unwrap();
        Policy::from_config(&config.policy.unwrap())
    }

    #[test]
    fn a_name_is_matched_without_case_and_hyphens() {
        for name in ["configPolicy", "config-policy", "CONFIGPOLICY", "configpolicy"] {
            assert_eq!(policy(json!({ "name": name })).unwrap().name(), "configpolicy");
        }
    }

    #[test]
    fn refuses_with_v1s_texts() {
        let cases = [
            (json!(null), "CONFIG_INVALID: policy provider config must be specified"),
            (
                json!({}),
                "CONFIG_INVALID: failed to find policy provider name in the policy config with key: name",
            ),
            (
                json!({"name": "foo"}),
                "POLICY_PROVIDER_NOT_FOUND: policy type: foo is not registered policy provider: https://ratify.dev/docs/reference/crds/policies",
            ),
            (
                json!({"name": 5}),
                "POLICY_PROVIDER_NOT_FOUND: policy type: 5 is not registered policy provider: https://ratify.dev/docs/reference/crds/policies",
            ),
            (
                json!({"name": "configPolicy", "artifactVerificationPolicies": {"a": 1}}),
                "DATA_DECODING_FAILURE: failed to create policy provider: failed to unmarshal policy config: artifactVerificationPolicies.a: expected a string: https://ratify.dev/docs/reference/providers",
            ),
        ];
        for (plugin, expected) in cases {
            assert_eq!(policy(plugin).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_failure_becomes_v1s_one_report() {
        let subject = "localhost:5055/lab:unsigned";
        let error = ErrorCode::NoVerifierReport.detail("nothing was attached");
        let result = policy(json!({"name": "configPolicy"}))
            .unwrap()
            .error_to_result(subject, error)
            .unwrap();
        insta::assert_snapshot!(serde_json::to_string(&result).unwrap(), @r#"{"verifierReports":[{"subject":"localhost:5055/lab:unsigned","isSuccess":false,"message":"failed to verify artifact: localhost:5055/lab:unsigned","errorReason":"nothing was attached"}]}"#);
    }
}
