//! The spans of a decision: `subject`, `resolve`, `list`, `artifact`, `bind`, `verify`, `policy`. What
//! each one says is in `docs/OBSERVABILITY.md`. Where nobody reads them none of this does anything.

use tracing::{Span, field::Empty};

use crate::{
    Descriptor, Error, Reference, ReferrerPage, Result, Verifier, VerifierReport, VerifyResult,
    capped_line,
    policy::Policy,
    spans::{MAX_TEXT, TRACE, fail, fail_with},
};

macro_rules! span {
    ($name:literal $(in $parent:expr)?) => {
        tracing::info_span!(
            target: TRACE, $(parent: $parent,)? $name,
            "otel.status_code" = Empty, "otel.status_description" = Empty, "error.type" = Empty,
            "ratify.remediation" = Empty, "ratify.subject" = Empty, "ratify.digest" = Empty,
            "ratify.store" = Empty, "ratify.artifact.digest" = Empty,
            "ratify.artifact.type" = Empty, "ratify.artifacts" = Empty,
            "ratify.left_out" = Empty, "ratify.cached" = Empty, "ratify.joined" = Empty,
            "ratify.verifier.name" = Empty, "ratify.verifier.type" = Empty,
            "ratify.policy" = Empty, "ratify.success" = Empty, "ratify.message" = Empty,
        )
    };
}

/// A subject and all that is done for it: the image, or an artifact that others are attached to.
pub(super) fn subject(within: &Span, subject: &Reference) -> Span {
    let span = match within.is_disabled() {
        true => span!("subject"),
        false => span!("subject" in within),
    };
    note(&span, "ratify.subject", subject.as_str());
    span
}

/// A store is asked what a reference stands for.
pub(super) fn resolve(store: &str, subject: &Reference) -> Span {
    let span = span!("resolve");
    note(&span, "ratify.store", store);
    note(&span, "ratify.subject", subject.as_str());
    span
}

/// A store is asked what is attached.
pub(super) fn list(store: &str) -> Span {
    let span = span!("list");
    note(&span, "ratify.store", store);
    span
}

/// What a store has listed.
pub(super) fn listed(span: &Span, page: &Result<ReferrerPage>) {
    if let Ok(page) = page {
        span.record("ratify.artifacts", page.referrers.len());
        if !page.left_out.is_empty() {
            note(span, "ratify.left_out", &page.left_out.join("; "));
        }
    }
    failed(span, page);
}

/// An artifact: whether it belongs to the subject, and what is said of it.
pub(super) fn artifact(within: &Span, artifact: &Descriptor) -> Span {
    let span = match within.is_disabled() {
        true => span!("artifact"),
        false => span!("artifact" in within),
    };
    note(&span, "ratify.artifact.digest", artifact.digest.as_str());
    note(&span, "ratify.artifact.type", &artifact.artifact_type);
    span
}

/// The manifest of an artifact is read, and whether it belongs to the subject is looked at.
pub(super) fn bind() -> Span {
    span!("bind")
}

/// A verifier judges an artifact.
pub(super) fn verify(verifier: &dyn Verifier) -> Span {
    let span = span!("verify");
    note(&span, "ratify.verifier.name", verifier.name());
    note(&span, "ratify.verifier.type", verifier.type_());
    span
}

/// What a verifier said, or the error that became its report.
pub(super) fn reported(span: &Span, report: &VerifierReport, error: Option<&Error>) {
    if span.is_disabled() {
        return;
    }
    span.record("ratify.success", report.is_success);
    note(span, "ratify.message", &report.message);
    match error {
        Some(error) => fail(span, error),
        None if !report.is_success && !report.error_reason.is_empty() => {
            fail_with(span, "verification", &report.error_reason, &report.remediation);
        }
        None => note(span, "ratify.remediation", &report.remediation),
    }
}

/// The policy decides.
pub(super) fn policy(policy: Option<&Policy>) -> Span {
    let span = span!("policy");
    note(&span, "ratify.policy", policy.map_or("", Policy::name));
    span
}

/// What came of it.
pub(super) fn judged(span: &Span, result: &Result<VerifyResult>) {
    if let Ok(result) = result {
        span.record("ratify.success", result.is_success);
    }
    failed(span, result);
}

/// An error, if it is one.
pub(super) fn failed<T>(span: &Span, result: &Result<T>) {
    if let Err(error) = result {
        fail(span, error);
    }
}

/// A text, bounded, if there is one.
fn note(span: &Span, field: &str, text: &str) {
    if !span.is_disabled() && !text.is_empty() {
        span.record(field, capped_line(text, MAX_TEXT));
    }
}
