//! One key of one request: taken apart, spoken of in the log, and turned into its item.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use ratify_core::{Reference, Result, executor::Notice};
use tokio::time::Instant;

use super::{
    verdict::Verdict,
    wire::{Item, ItemValue},
};

/// A longer line of the log is cut.
const MAX_LINE_BYTES: usize = 4096;
/// Kubernetes' bound is 63.
const MAX_NAMESPACE_BYTES: usize = 253;

/// Which of the two questions is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// May the image run?
    Verify,
    /// What does its tag stand for?
    Mutate,
}

/// What the work behind a key brings. Texts are as they are answered.
pub(super) enum Outcome {
    Verified(Result<Arc<Verdict>, String>),
    Mutated(Result<String, String>),
}

/// A key that was taken apart: `[namespace]image`, or `image`.
#[derive(Debug, PartialEq, Eq)]
struct RequestKey<'a> {
    namespace: &'a str,
    subject: &'a str,
}

/// One key of one request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// As sent, without line breaks.
    pub(super) key: String,
    pub(super) namespace: String,
    pub(super) trace_id: String,
}

impl<'a> RequestKey<'a> {
    /// v1's `(\[(.*?)\])?(.*)`: a bracket that is not closed belongs to the image.
    fn parse(key: &'a str) -> Self {
        key.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(
            Self { namespace: "", subject: key },
            |(namespace, subject)| Self { namespace, subject },
        )
    }
}

impl Asked {
    /// A key as it was sent. v1 takes line breaks out of it.
    pub(super) fn new(key: &str, trace_id: &str) -> Self {
        let key = key.replace(['\n', '\r'], "");
        let namespace = RequestKey::parse(&key).namespace.to_owned();
        Self { key, namespace, trace_id: trace_id.to_owned() }
    }

    pub(super) fn reference(&self) -> Result<Reference> {
        Reference::parse_subject(RequestKey::parse(&self.key).subject)
    }

    pub(super) fn item(self, operation: Operation, outcome: &Outcome) -> Item {
        match outcome {
            Outcome::Verified(Ok(verdict)) => self.verified(Arc::clone(verdict)),
            Outcome::Mutated(Ok(reference)) => self.mutated(reference.clone(), String::new()),
            Outcome::Verified(Err(error)) | Outcome::Mutated(Err(error)) => {
                self.log_error(error);
                self.failed(operation, error.clone())
            }
        }
    }

    /// A verdict, answered now.
    pub(super) fn verified(self, verdict: Arc<Verdict>) -> Item {
        let (trace_id, at) = (self.trace_id, Timestamp::now());
        let value = Some(ItemValue::Verification { verdict, trace_id, at });
        Item { key: self.key, value, error: String::new() }
    }

    /// v1 gives a failed mutation its key back beside the error.
    pub(super) fn failed(&self, operation: Operation, error: String) -> Item {
        match operation {
            Operation::Verify => Item { key: self.key.clone(), value: None, error },
            Operation::Mutate => self.mutated(self.key.clone(), error),
        }
    }

    pub(super) fn mutated(&self, value: String, error: String) -> Item {
        Item { key: self.key.clone(), value: Some(ItemValue::Mutation(value)), error }
    }

    pub(super) fn late(&self, operation: Operation, within: Duration) -> Item {
        let error = timed_out(within);
        self.log_warning(&format!("{}: {error}", self.key));
        self.failed(operation, error)
    }

    /// For information; the text may have several lines.
    pub(super) fn log(&self, text: &str) {
        let (namespace, trace_id) = (self.logged_namespace(), &self.trace_id);
        tracing::info!(component_type = "server", namespace, trace_id, "{text}");
    }

    /// For who debugs.
    pub(super) fn log_debug(&self, text: &str) {
        let (namespace, trace_id) = (self.logged_namespace(), &self.trace_id);
        tracing::debug!(component_type = "server", namespace, trace_id, "{text}");
    }

    pub(super) fn log_warning(&self, text: &str) {
        let (namespace, trace_id) = (self.logged_namespace(), &self.trace_id);
        let text = ratify_core::capped_line(text, MAX_LINE_BYTES);
        tracing::warn!(component_type = "server", namespace, trace_id, "{text}");
    }

    pub(super) fn log_error(&self, text: &str) {
        let (namespace, trace_id) = (self.logged_namespace(), &self.trace_id);
        let text = ratify_core::capped_line(text, MAX_LINE_BYTES);
        tracing::error!(component_type = "server", namespace, trace_id, "{text}");
    }

    /// How long something took, for who debugs (v1's texts).
    pub(super) fn log_time(&self, what: &str, began: Instant) {
        let (namespace, trace_id) = (self.logged_namespace(), &self.trace_id);
        let took = began.elapsed().as_millis();
        tracing::debug!(component_type = "server", namespace, trace_id, "{what}: {took}ms");
    }

    pub(super) fn log_notice(&self, notice: &Notice) {
        let (namespace, trace_id) = (self.logged_namespace(), &self.trace_id);
        let text = ratify_core::capped_line(&notice.to_string(), MAX_LINE_BYTES);
        if notice.is_warning() {
            tracing::warn!(component_type = "executor", namespace, trace_id, "{text}");
        } else {
            tracing::info!(component_type = "executor", namespace, trace_id, "{text}");
        }
    }

    /// The key for a log: whoever asks chooses its length.
    pub(super) fn logged_key(&self) -> String {
        ratify_core::capped_line(&self.key, MAX_LINE_BYTES)
    }

    fn logged_namespace(&self) -> String {
        ratify_core::capped_line(&self.namespace, MAX_NAMESPACE_BYTES)
    }
}

/// v1's text of a deadline, with the duration as Go writes it.
pub(super) fn timed_out(within: Duration) -> String {
    format!("operation timed out after duration {}", GoDuration(within))
}

/// A duration as Go prints it: `2.9s`, `950ms`, `1m30s`.
struct GoDuration(Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        if milliseconds == 0 {
            return formatter.write_str("0s");
        }
        if milliseconds < 1000 {
            return write!(formatter, "{milliseconds}ms");
        }
        let (seconds, fraction) = (milliseconds / 1000, milliseconds % 1000);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(formatter, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(formatter, "{minutes}m")?;
        }
        write!(formatter, "{}", seconds % 60)?;
        if fraction > 0 {
            let digits = format!("{fraction:03}");
            write!(formatter, ".{}", digits.trim_end_matches('0'))?;
        }
        formatter.write_str("s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_apart_as_v1_does() {
        let cases = [
            ("[ns]image:v1", ("ns", "image:v1")),
            ("image:v1", ("", "image:v1")),
            ("[]image", ("", "image")),
            ("[ns]", ("ns", "")),
            ("[unclosed", ("", "[unclosed")),
            ("[a]b]c", ("a", "b]c")),
            ("[::1]:5000/x", ("::1", ":5000/x")),
            ("x[ns]y", ("", "x[ns]y")),
            ("", ("", "")),
        ];
        for (key, (namespace, subject)) in cases {
            assert_eq!(RequestKey::parse(key), RequestKey { namespace, subject }, "{key}");
        }
    }

    #[test]
    fn durations_are_written_as_go_does() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (950, "950ms"),
            (1000, "1s"),
            (1950, "1.95s"),
            (2900, "2.9s"),
            (60_000, "1m0s"),
            (90_005, "1m30.005s"),
            (3_600_000, "1h0m0s"),
        ];
        for (milliseconds, text) in cases {
            assert_eq!(GoDuration(Duration::from_millis(milliseconds)).to_string(), text);
        }
    }
}
