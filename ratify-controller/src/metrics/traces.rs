//! What became of spans, where they are sent to a collector.

use std::fmt;

use super::page::{Page, Show};
use crate::telemetry::sent::Sent;

/// Shows it; where nothing is sent there are no series.
pub(super) struct Spans(pub(super) Sent);

impl Show for Spans {
    fn show(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = self.0.counts();
        let results = counts.iter().flat_map(|counts| {
            [("sent", counts.sent), ("lost", counts.lost), ("dropped", counts.dropped)]
        });
        page.counters(
            (
                "ratify_trace_export_spans",
                "Spans of traces: taken by the collector, lost on the way, or dropped for lack of room",
            ),
            results.map(|(result, count)| ([("result", result.to_owned())], count)),
        )
    }
}
