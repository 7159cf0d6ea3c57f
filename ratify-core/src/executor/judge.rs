//! Makes the verdict of the evidence. Pure: values in, values out.

use crate::{ErrorCode, VerifierReport, VerifyResult, policy::ConfigPolicy, policy::failed_report};

use super::gather::Subject;

/// v1's message of a report whose nested artifacts did not pass.
const NESTED_FAILED: &str = "nested verification failed";

/// The config policy's verdict about a subject, under the name it was asked by. Recurses along
/// nested subjects, which are bounded in depth where they are gathered.
pub(super) fn by_config(
    subjects: &mut [Subject],
    index: usize,
    policy: &ConfigPolicy,
    asked: &str,
) -> VerifyResult {
    let findings = match std::mem::replace(&mut subjects[index].findings, Ok(Vec::new())) {
        Ok(findings) => findings,
        Err(error) => return failed_report(asked, error),
    };
    if findings.is_empty() {
        let mut detail = format!(
            "No verification results for the artifact {asked}. Ensure verifiers are properly configured and that artifact metadata is attached"
        );
        for clause in &subjects[index].left_out {
            detail = format!("{detail}; {clause}");
        }
        return failed_report(asked, ErrorCode::NoVerifierReport.detail(detail));
    }
    let mut reports = Vec::with_capacity(findings.len());
    for finding in findings {
        let nested = finding.nested.map(|nested| {
            let asked = subjects[nested].reference.to_string();
            by_config(subjects, nested, policy, &asked)
        });
        // The first verifier that fits is the only one.
        for mut report in finding.reports {
            if let Some(nested) = &nested {
                add_nested(&mut report, nested);
            }
            reports.push(report);
        }
    }
    VerifyResult::new(policy.decide(&reports), reports)
}

fn add_nested(report: &mut VerifierReport, nested: &VerifyResult) {
    report.nested_results.extend(nested.verifier_reports.of_verifiers().iter().cloned());
    if !nested.is_success {
        report.is_success = false;
        NESTED_FAILED.clone_into(&mut report.message);
    }
}

/// The reports about a subject in the form that Rego policies read. Where anything could not be
/// looked at, all of it is an error: what is missing might be what speaks against the image.
#[cfg(feature = "rego")]
pub(super) fn for_rego(
    subjects: &mut [Subject],
    index: usize,
) -> crate::Result<Vec<crate::NestedVerifierReport>> {
    let findings = std::mem::replace(&mut subjects[index].findings, Ok(Vec::new()))?;
    let subject = subjects[index].reference.to_string();
    let mut reports = Vec::with_capacity(findings.len());
    for finding in findings {
        let nested_reports = match finding.nested {
            None => Vec::new(),
            Some(nested) => {
                let asked = subjects[nested].reference.to_string();
                for_rego(subjects, nested).map_err(|error| {
                    ErrorCode::ExecutorFailure
                        .detail(format!(
                            "failed to verify nested subject, param: {{Subject:{asked} ReferenceTypes:[*]}}"
                        ))
                        .with_source(error)
                })?
            }
        };
        reports.push(crate::NestedVerifierReport {
            subject: subject.clone(),
            reference_digest: finding.artifact.to_string(),
            artifact_type: finding.artifact_type,
            verifier_reports: finding.reports,
            nested_reports,
        });
    }
    Ok(reports)
}
