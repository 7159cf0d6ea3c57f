//! The span `plugin`: one process of a plugin, from when a place is asked for until it is gone.

use std::time::Duration;

use ratify_core::{
    Digest, capped_line,
    spans::{MAX_TEXT, TRACE, fail_with},
};
use tracing::{Span, field::Empty};

use super::{Call, PluginFailure};
use crate::plugin::process::{End, Finished};

/// A call. Its program's digest is asked for where somebody reads it.
pub(super) fn plugin(call: &Call<'_>, digest: impl FnOnce() -> Option<Digest>) -> Span {
    let span = tracing::info_span!(
        target: TRACE, "plugin",
        "otel.status_code" = Empty, "otel.status_description" = Empty, "error.type" = Empty,
        "ratify.remediation" = Empty, "ratify.plugin.name" = Empty, "ratify.plugin.digest" = Empty,
        "process.executable.name" = Empty, "process.exit.code" = Empty, "ratify.waited_ms" = Empty,
        "ratify.plugin.stdout_bytes" = Empty, "ratify.plugin.stderr_bytes" = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    let name = call.program.path.file_name().unwrap_or_default().to_string_lossy();
    span.record("ratify.plugin.name", capped_line(call.plugin, MAX_TEXT));
    span.record("process.executable.name", capped_line(&name, MAX_TEXT));
    if let Some(digest) = digest() {
        span.record("ratify.plugin.digest", digest.as_str());
    }
    span
}

/// How its process ended.
pub(super) fn finished(finished: &Finished) {
    let span = Span::current();
    if let End::Exited(status) = finished.end {
        span.record("process.exit.code", status.code());
    }
    span.record("ratify.plugin.stdout_bytes", finished.stdout.len());
    span.record("ratify.plugin.stderr_bytes", finished.stderr.len());
}

/// What came of it. What the plugin printed is not in it: that is the report's.
pub(super) fn ended<T>(span: &Span, ended: &Result<T, PluginFailure>) {
    if let Err(failure) = ended {
        fail_with(span, "plugin", failure.reason(), "");
    }
}

/// How long it waited for a place among the plugins that run.
pub(in crate::plugin) fn waited(time: Duration) {
    if let Some(waited) = u64::try_from(time.as_millis()).ok().filter(|waited| *waited > 0) {
        Span::current().record("ratify.waited_ms", waited);
    }
}
