//! The spans of the server: `request`, `key` and `work`, and those of what goes on beside requests,
//! `install` and `reconcile`. What each says is in `docs/OBSERVABILITY.md`.
//!
//! Work outlives the request that began it, so it is not within the request's span, which ends with the
//! answer: a [`Spot`] is what a trace remembers of a span, whether or not that has ended.

use std::{fmt::Display, time::Duration};

use ratify_core::{
    capped_line,
    spans::{MAX_TEXT, TRACE, WORK, fail},
};
use tracing::{Span, field::Empty};

pub(crate) use super::spot::Spot;

macro_rules! span {
    ($target:expr, $($rest:tt)*) => {
        tracing::info_span!(
            target: $target, $($rest)*
            "otel.status_code" = Empty, "otel.status_description" = Empty, "error.type" = Empty,
            "ratify.remediation" = Empty,
        )
    };
}

/// A request of Gatekeeper's. `route` is its method and path.
pub(crate) fn request(route: &'static str) -> Span {
    let path = route.split_once(' ').map_or(route, |(_, path)| path);
    span!(
        TRACE,
        "request",
        "otel.kind" = "server",
        "otel.name" = route,
        "http.request.method" = "POST",
        "http.route" = path,
        "http.response.status_code" = Empty,
        "ratify.trace_id" = Empty,
        "ratify.keys" = Empty,
    )
}

/// What was answered to a request.
pub(crate) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status);
    }
}

/// One image of a request.
pub(crate) fn key(key: &str) -> Span {
    let span = span!(
        TRACE,
        "key",
        "ratify.key" = Empty,
        "ratify.from" = Empty,
        "ratify.success" = Empty,
        "ratify.digest" = Empty,
    );
    if !span.is_disabled() {
        span.record("ratify.key", capped_line(key, MAX_TEXT));
    }
    span
}

/// The work for a key, which the log reads too. `asker` is whose work it is.
pub(crate) fn work(operation: &'static str, trace_id: &str, namespace: &str, asker: Spot) -> Span {
    let span = span!(
        WORK, parent: None, "work", "otel.name" = operation, trace_id, namespace,
        "ratify.subject" = Empty, "ratify.waited_ms" = Empty, "ratify.from" = Empty,
        "ratify.success" = Empty,
    );
    asker.adopt(&span);
    span
}

/// A plugin is looked after: resolved, fetched where it is not there, proven.
pub(crate) fn install(type_: &str, artifact: &str) -> Span {
    let span = span!(
        TRACE,
        "install",
        "ratify.plugin.type" = Empty,
        "ratify.plugin.artifact" = Empty,
        "ratify.plugin.digest" = Empty,
    );
    note(&span, "ratify.plugin.type", type_);
    note(&span, "ratify.plugin.artifact", artifact);
    span
}

/// A custom resource becomes what runs.
pub(crate) fn reconcile(resource: &impl Display) -> Span {
    let span = span!(TRACE, parent: None, "reconcile", "ratify.resource" = Empty,);
    if !span.is_disabled() {
        note(&span, "ratify.resource", &resource.to_string());
    }
    span
}

/// Says of a span what it failed by, if it did.
pub(crate) fn failed<T>(span: &Span, result: &ratify_core::Result<T>) {
    if let Err(error) = result {
        fail(span, error);
    }
}

/// How long work waited for its turn.
pub(crate) fn waited(span: &Span, time: Duration) {
    if let Some(waited) = u64::try_from(time.as_millis()).ok().filter(|waited| *waited > 0) {
        span.record("ratify.waited_ms", waited);
    }
}

/// A text, bounded.
pub(crate) fn note(span: &Span, field: &'static str, text: &str) {
    if !span.is_disabled() {
        span.record(field, capped_line(text, MAX_TEXT));
    }
}
