//! What Prometheus reads: [`router`] serves `/metrics`. Names and labels are v1's where v1 has them;
//! an image is no label, since their number has no bound.
//!
//! Nothing is counted here but how long things took ([`Measures`]). Whoever does something counts it,
//! in bounds, and a scrape reads the counts as they are then.
//!
//! - `measures`: how long answers and verifiers took, and what had no answer;
//! - `measured`: a verifier whose work is measured.

mod measured;
mod measures;

use std::{fmt, sync::Arc};

use axum::{Router, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use ratify_store_oras::Connections;

use crate::cache::VerdictCache;
pub(crate) use measured::measured;
pub use measures::Measures;

/// What the answer is (the OpenMetrics specification, "Text Format").
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sources {
    /// Whose requests to registries are counted.
    pub connections: Connections,
    /// How long answers and verifiers took.
    pub measures: Arc<Measures>,
    /// What became of questions that might have been kept.
    pub verdicts: VerdictCache,
}

/// The counts of registries and of the cache on disk.
#[derive(Debug)]
struct Registries(Connections);

/// The counts of the cache of verdicts.
#[derive(Debug)]
struct Verdicts(VerdictCache);

impl Sources {
    /// All of it.
    pub fn new(connections: Connections, measures: Arc<Measures>, verdicts: VerdictCache) -> Self {
        Self { connections, measures, verdicts }
    }
}

/// The one endpoint.
pub fn router(sources: Sources) -> Router {
    let Sources { connections, measures, verdicts } = sources;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(measures::Shown(measures)));
    registry.register_collector(Box::new(Registries(connections)));
    registry.register_collector(Box::new(Verdicts(verdicts)));
    let registry = Arc::new(registry);
    Router::new().route(
        "/metrics",
        get(move || async move {
            let mut text = String::new();
            match encode(&mut text, &registry) {
                Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
                Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }),
    )
}

impl Collector for Registries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (name, counters) = ("ratify_registry_request_count", self.0.counters());
        let help =
            "Answers of registries and of services of clouds, those of repeated requests included";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (series, count) in counters.requests() {
            let labels = [
                ("registry_host", series.host.as_str()),
                ("status_code", &series.status.to_string()),
                ("workload_namespace", &series.tenant),
            ];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let (name, help) = ("ratify_blob_cache_count", "Look-ups in the cache on disk");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (series, count) in counters.blob_cache() {
            let hit = if series.is_hit { "true" } else { "false" };
            let labels = [("hit", hit), ("workload_namespace", &series.tenant)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Verdicts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if !self.0.is_on() {
            return Ok(());
        }
        let counts = self.0.counts();
        let events = [
            ("hit", counts.hits),
            ("miss", counts.misses),
            ("stored", counts.stored),
            ("not_stored_passing", counts.passing),
            ("not_stored_changed", counts.changed),
            ("shared_hit", counts.shared_hits),
            ("shared_miss", counts.shared_misses),
            ("shared_stored", counts.shared),
            ("shared_not_stored", counts.unshared),
            ("shared_refused", counts.refused),
            ("shared_error", counts.shared_errors),
        ];
        let (name, help) = ("ratify_verdict_cache_count", "What became of verdicts to keep");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (event, count) in events {
            ConstCounter::new(count).encode(family.encode_family(&[("event", event)])?)?;
        }
        for (name, help, value) in [
            ("ratify_verdict_cache_entries", "Verdicts that are kept", counts.entries),
            ("ratify_verdict_cache_bytes", "How many bytes they take", counts.bytes),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
