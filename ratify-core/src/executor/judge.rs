//! Makes the verdict of the evidence. Pure: values in, values out.

use crate::{ErrorCode, VerifierReport, VerifyResult, policy::Policy};

use super::{VerifyParameters, gather::Subject};

/// v1's message of a report whose nested artifacts did not pass.
const NESTED_FAILED: &str = "nested verification failed";

/// The verdict about the first subject, under the name it was asked by.
pub(super) fn verdict(
    subjects: &mut [Subject],
    policy: &Policy,
    parameters: &VerifyParameters,
) -> VerifyResult {
    judge(subjects, 0, policy, &parameters.subject)
}

/// Recurses along nested subjects, which are bounded in depth where they are gathered.
fn judge(subjects: &mut [Subject], index: usize, policy: &Policy, asked: &str) -> VerifyResult {
    let findings = match std::mem::replace(&mut subjects[index].findings, Ok(Vec::new())) {
        Ok(findings) => findings,
        Err(error) => return policy.error_to_result(asked, error),
    };
    if findings.is_empty() {
        let mut detail = format!(
            "No verification results for the artifact {asked}. Ensure verifiers are properly configured and that artifact metadata is attached"
        );
        for clause in &subjects[index].left_out {
            detail = format!("{detail}; {clause}");
        }
        return policy.error_to_result(asked, ErrorCode::NoVerifierReport.detail(detail));
    }
    let mut reports = Vec::with_capacity(findings.len());
    for finding in findings {
        let mut report = finding.report;
        if let Some(nested) = finding.nested {
            let asked = subjects[nested].reference.to_string();
            add_nested(&mut report, judge(subjects, nested, policy, &asked));
        }
        reports.push(report);
    }
    VerifyResult::new(policy.decide(&reports), reports)
}

fn add_nested(report: &mut VerifierReport, nested: VerifyResult) {
    report.nested_results.extend(nested.verifier_reports);
    if !nested.is_success {
        report.is_success = false;
        NESTED_FAILED.clone_into(&mut report.message);
    }
}
