//! The targets of spans. What is traced, under which names, is in `docs/OBSERVABILITY.md`.
//!
//! A target of our own, so that a reader of traces takes these spans and none of a library, and
//! that a span costs nothing where nobody reads: its call site is off then, and none of its fields
//! is looked at.

/// Spans that only a trace shows.
pub const TRACE: &str = "ratify::trace";
/// Spans that the log reads too, whatever its level: its lines within one bear the `trace_id` and the
/// `namespace` of it. One for each piece of work; what a cache answers is none.
pub const WORK: &str = "ratify::work";
/// No text of a span is longer.
pub const MAX_TEXT: usize = 500;

#[cfg(feature = "engine")]
pub use failing::{fail, fail_with};

#[cfg(feature = "engine")]
mod failing {
    use tracing::Span;

    use super::MAX_TEXT;
    use crate::{Error, capped_line};

    /// Says of a span that what it stands for failed. The span has the four fields for it.
    pub fn fail(span: &Span, error: &Error) {
        if span.is_disabled() {
            return;
        }
        fail_with(span, error.root().code().value(), &error.to_string(), error.remediation());
    }

    /// The same of what is no [`Error`]: its kind, and what to say of it.
    pub fn fail_with(span: &Span, kind: &str, text: &str, remediation: &str) {
        if span.is_disabled() {
            return;
        }
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", capped_line(text, MAX_TEXT));
        span.record("error.type", capped_line(kind, MAX_TEXT));
        if !remediation.is_empty() {
            span.record("ratify.remediation", capped_line(remediation, MAX_TEXT));
        }
    }
}
