//! One key of one request: taken apart, spoken of in the log, and turned into its item.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use ratify_core::{Error, Reference, Result, VerifyResult, executor::Notice, spans::fail_with};
use tokio::time::Instant;
use tracing::Span;

use super::{
    flights::Weight,
    verdict::Verdict,
    wire::{Item, ItemValue},
};
use crate::{
    metrics::Told,
    timestamp::{Digits, decimal},
};

/// A longer line of the log is cut.
const MAX_LINE_BYTES: usize = 4096;
/// How many keys are named in a text about several.
const MAX_NAMED_KEYS: usize = 8;
/// More of a key is not named there.
const MAX_NAMED_BYTES: usize = 300;
/// More of a reason is not said there.
const MAX_REASON_BYTES: usize = 1024;
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
    Verified(Result<Arc<Verdict>, Failure>),
    /// A verdict of another replica.
    Shared(Arc<Verdict>),
    Mutated(Result<String, Failure>),
}

/// Where an answer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From memory: it was reached a moment ago.
    Memory,
    /// From another replica.
    Redis,
    /// From work that was done for it.
    Work,
    /// From work that was under way for somebody else.
    Joined,
    /// From work that was done for it, and came too late then.
    Late,
}

/// Why there is no verdict, or no digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) text: String,
    /// Whether what stands in the way may be gone a moment later.
    pub(super) is_transient: bool,
}

/// What is known of a key when the request is answered.
pub(super) enum Answer {
    /// Something about the image. Gatekeeper keeps it for minutes, whatever it says.
    Item(Item),
    /// Nothing about the image: what stands in the way. Gatekeeper must ask again.
    Nothing(Unanswered),
}

/// A key without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub(super) key: String,
    /// `None` where the time was over.
    pub(super) why: Option<String>,
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
    pub(super) trace_id: Arc<str>,
    /// When the request came.
    pub(super) began: Instant,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Mutate => "mutate",
        }
    }
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
    pub(super) fn new(mut key: String, trace_id: &Arc<str>, began: Instant) -> Self {
        if key.bytes().any(|byte| matches!(byte, b'\n' | b'\r')) {
            key = key.replace(['\n', '\r'], "");
        }
        Self { key, trace_id: Arc::clone(trace_id), began }
    }

    /// Whose image it is; empty where the key names nobody.
    pub(super) fn namespace(&self) -> &str {
        RequestKey::parse(&self.key).namespace
    }

    /// The image as it was asked for.
    pub(super) fn subject(&self) -> &str {
        RequestKey::parse(&self.key).subject
    }

    pub(super) fn reference(&self) -> Result<Reference> {
        Reference::parse_subject(self.subject())
    }

    /// What the work came to, as it is answered.
    pub(super) fn answer(self, operation: Operation, outcome: &Outcome, source: Source) -> Answer {
        match outcome {
            Outcome::Verified(Ok(verdict)) => {
                Answer::Item(self.verified(Arc::clone(verdict), source))
            }
            Outcome::Shared(verdict) => {
                let source = if source == Source::Work { Source::Redis } else { source };
                Answer::Item(self.verified(Arc::clone(verdict), source))
            }
            Outcome::Mutated(Ok(reference)) => {
                Answer::Item(self.mutated(reference.clone(), String::new()))
            }
            Outcome::Verified(Err(failure)) | Outcome::Mutated(Err(failure)) => {
                self.failure(operation, failure.clone())
            }
        }
    }

    /// A verdict, answered now.
    pub(super) fn verified(self, verdict: Arc<Verdict>, source: Source) -> Item {
        self.log_verdict(&verdict, source);
        let (trace_id, at) = (self.trace_id, Timestamp::now());
        let value = Some(ItemValue::Verification { verdict, trace_id, at });
        Item { key: self.key, value, error: String::new() }
    }

    /// A failure as it is answered: said of the image where it lasts, or else of the whole answer.
    /// Gatekeeper keeps nothing of a mutation, and takes no item beside a system error there; so
    /// the other images of the same request keep theirs.
    pub(super) fn failure(&self, operation: Operation, failure: Failure) -> Answer {
        self.log_error(&failure.text);
        let kind = if failure.is_transient { "passing" } else { "lasting" };
        fail_with(&Span::current(), kind, &failure.text, "");
        match operation {
            Operation::Verify if failure.is_transient => {
                Answer::Nothing(self.unanswered(Some(failure.text)))
            }
            _ => Answer::Item(self.failed(operation, failure.text)),
        }
    }

    /// What is answered where the time is over before there is anything to say.
    pub(super) fn late(&self, operation: Operation, within: Duration) -> Answer {
        let error = timed_out(within);
        self.log_warning(&format!("{}: {error}", self.key));
        fail_with(&Span::current(), "timeout", &error, "");
        match operation {
            Operation::Verify => Answer::Nothing(self.unanswered(None)),
            Operation::Mutate => Answer::Item(self.failed(operation, error)),
        }
    }

    fn unanswered(&self, why: Option<String>) -> Unanswered {
        Unanswered { key: self.key.clone(), why }
    }

    /// v1 gives a failed mutation its key back beside the error.
    fn failed(&self, operation: Operation, error: String) -> Item {
        match operation {
            Operation::Verify => Item { key: self.key.clone(), value: None, error },
            Operation::Mutate => self.mutated(self.key.clone(), error),
        }
    }

    pub(super) fn mutated(&self, value: String, error: String) -> Item {
        Item { key: self.key.clone(), value: Some(ItemValue::Mutation(value)), error }
    }

    /// The one line of a verdict.
    fn log_verdict(&self, verdict: &Verdict, source: Source) {
        let (from, span) = (source.name(), Span::current());
        span.record("ratify.from", from);
        span.record("ratify.success", verdict.is_success);
        let (namespace, trace_id) = (&*self.logged_namespace(), &*self.trace_id);
        let subject = self.subject();
        // What is asked for by its digest stands for that.
        let asked = subject.split_once('@').map(|(_, digest)| digest);
        let digest = asked.unwrap_or(&verdict.digest);
        span.record("ratify.digest", digest);
        tracing::info!(
            component_type = "server",
            digest,
            from,
            "isSuccess" = verdict.is_success,
            namespace,
            took = %Milliseconds(self.began.elapsed()),
            trace_id,
            verifiers = &*verdict.verifiers,
            "verified subject {subject}"
        );
    }

    /// For information.
    pub(super) fn log(&self, text: &str) {
        let (namespace, trace_id) = (&*self.logged_namespace(), &*self.trace_id);
        tracing::info!(component_type = "server", namespace, trace_id, "{text}");
    }

    /// For who debugs; the text may have several lines.
    pub(super) fn log_debug(&self, text: fmt::Arguments<'_>) {
        let (namespace, trace_id) = (&*self.logged_namespace(), &*self.trace_id);
        tracing::debug!(component_type = "server", namespace, trace_id, "{text}");
    }

    pub(super) fn log_warning(&self, text: &str) {
        let (namespace, trace_id) = (&*self.logged_namespace(), &*self.trace_id);
        let text = ratify_core::capped_line(text, MAX_LINE_BYTES);
        tracing::warn!(component_type = "server", namespace, trace_id, "{text}");
    }

    pub(super) fn log_error(&self, text: &str) {
        let (namespace, trace_id) = (&*self.logged_namespace(), &*self.trace_id);
        let text = ratify_core::capped_line(text, MAX_LINE_BYTES);
        tracing::error!(component_type = "server", namespace, trace_id, "{text}");
    }

    /// How long something took, for who debugs (v1's texts).
    pub(super) fn log_time(&self, what: fmt::Arguments<'_>, began: Instant) {
        let (namespace, trace_id) = (&*self.logged_namespace(), &*self.trace_id);
        let took = began.elapsed().as_millis();
        tracing::debug!(component_type = "server", namespace, trace_id, "{what}: {took}ms");
    }

    pub(super) fn log_notice(&self, notice: &Notice) {
        let (namespace, trace_id) = (&*self.logged_namespace(), &*self.trace_id);
        let text = ratify_core::capped_line(&notice.to_string(), MAX_LINE_BYTES);
        if notice.is_warning() {
            tracing::warn!(component_type = "executor", namespace, trace_id, "{text}");
        } else {
            tracing::debug!(component_type = "executor", namespace, trace_id, "{text}");
        }
    }

    /// The key for a log: whoever asks chooses its length.
    pub(super) fn logged_key(&self) -> String {
        ratify_core::capped_line(&self.key, MAX_LINE_BYTES)
    }

    fn logged_namespace(&self) -> Cow<'_, str> {
        let namespace = self.namespace();
        match namespace.len() <= MAX_NAMESPACE_BYTES {
            true => Cow::Borrowed(namespace),
            false => Cow::Owned(ratify_core::capped_line(namespace, MAX_NAMESPACE_BYTES)),
        }
    }
}

impl Source {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Work => "work",
            Self::Joined => "joined",
            Self::Late => "late",
        }
    }
}

impl Answer {
    /// The same, and what it is counted as.
    pub(super) fn told(self) -> (Self, Told) {
        let told = match &self {
            Self::Nothing(_) => Told::Unanswered,
            Self::Item(item) => match &item.value {
                Some(ItemValue::Verification { verdict, .. }) if verdict.is_success => {
                    Told::Allowed
                }
                Some(ItemValue::Verification { .. }) => Told::Denied,
                Some(ItemValue::Mutation(_)) if item.error.is_empty() => Told::Resolved,
                Some(ItemValue::Mutation(_)) => Told::Unresolved,
                None => Told::Failed,
            },
        };
        (self, told)
    }
}

impl Outcome {
    /// What it takes to keep it; `None` where it is true of one moment only.
    pub(super) fn to_keep(&self) -> Option<Weight> {
        let without_end = |bytes| Weight { bytes, ends: None };
        match self {
            Self::Verified(Ok(verdict)) | Self::Shared(verdict) => {
                Some(Weight { bytes: verdict.bytes(), ends: verdict.ends })
            }
            Self::Mutated(Ok(reference)) => Some(without_end(reference.len())),
            Self::Verified(Err(failure)) | Self::Mutated(Err(failure)) => {
                (!failure.is_transient).then(|| without_end(failure.text.len()))
            }
        }
    }
}

impl Failure {
    /// One that stays as long as image and configuration do.
    pub(super) fn lasting(error: &Error) -> Self {
        Self { text: error.to_string(), is_transient: false }
    }

    /// One that says nothing of the image.
    pub(super) fn passing(text: String) -> Self {
        Self { text, is_transient: true }
    }

    /// One of a verdict that says nothing of the image: the first failure of the moment.
    pub(super) fn of_moment(result: &VerifyResult) -> Self {
        if let Some(report) = result.verifier_reports.first_of_moment() {
            let texts = [report.message.as_str(), report.error_reason.as_str()];
            let texts: Vec<_> = texts.into_iter().filter(|text| !text.is_empty()).collect();
            return Self::passing(texts.join(": "));
        }
        Self::passing("what is attached to it could not be looked at".to_owned())
    }

    /// One that an error tells apart.
    pub(super) fn of(error: &Error) -> Self {
        Self { text: error.to_string(), is_transient: error.is_transient() }
    }
}

/// Why several keys have no answer, in one text: v1's where the time was over, and which keys.
pub(super) fn why_nothing(unanswered: &[Unanswered], within: Duration) -> String {
    let late: Vec<_> = unanswered.iter().filter(|one| one.why.is_none()).collect();
    let mut texts = Vec::new();
    if !late.is_empty() {
        let shown = late.iter().take(MAX_NAMED_KEYS);
        let shown: Vec<_> =
            shown.map(|one| ratify_core::capped_line(&one.key, MAX_NAMED_BYTES)).collect();
        let more = match late.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (late, shown) = (timed_out(within), shown.join(", "));
        texts.push(format!("{late}: ask again for {shown}{more}"));
    }
    let failed = unanswered.iter().filter_map(|one| Some((&one.key, one.why.as_ref()?)));
    for (index, (key, why)) in failed.enumerate() {
        if index == MAX_NAMED_KEYS {
            texts.push("and so on".to_owned());
            break;
        }
        let key = ratify_core::capped_line(key, MAX_NAMED_BYTES);
        texts.push(format!("{key}: {}", ratify_core::capped_line(why, MAX_REASON_BYTES)));
    }
    texts.join("; ")
}

/// v1's text of a deadline, with the duration as Go writes it.
pub(super) fn timed_out(within: Duration) -> String {
    format!("operation timed out after duration {}", GoDuration(within))
}

/// A time as so many milliseconds: `0.012ms`.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        formatter.write_str(decimal(microseconds / 1000, 1, &mut Digits::default()))?;
        formatter.write_str(".")?;
        formatter.write_str(decimal(microseconds % 1000, 3, &mut Digits::default()))?;
        formatter.write_str("ms")
    }
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
