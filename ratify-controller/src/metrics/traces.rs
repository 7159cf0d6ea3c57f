//! What became of spans, where they are sent to a collector.

use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::page::Page;
use crate::telemetry::sent::Sent;

/// Shows it; where nothing is sent there are no series.
#[derive(Debug)]
pub(super) struct Spans(pub(super) Sent);

impl Collector for Spans {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.0.counts();
        let results = counts.iter().flat_map(|counts| {
            [("sent", counts.sent), ("lost", counts.lost), ("dropped", counts.dropped)]
        });
        Page(encoder).counters(
            (
                "ratify_trace_export_spans",
                "Spans of traces: taken by the collector, lost on the way, or dropped for lack of room",
            ),
            results.map(|(result, count)| ([("result", result.to_owned())], count)),
        )
    }
}
