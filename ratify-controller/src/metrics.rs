//! What Prometheus reads: [`router`] serves `/metrics`. The names and labels are v1's.
//!
//! Nothing is counted here. Whoever does something counts it, in bounds, and a scrape reads the
//! counts as they are then.

use std::fmt;

use axum::{Router, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{MetricType, counter::ConstCounter},
    registry::Registry,
};
use ratify_store_oras::Connections;

/// What the answer is (the OpenMetrics specification, "Text Format").
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counts of registries and of the cache on disk.
#[derive(Debug)]
struct Registries(Connections);

/// The one endpoint.
pub fn router(connections: Connections) -> Router {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Registries(connections)));
    let registry = std::sync::Arc::new(registry);
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
