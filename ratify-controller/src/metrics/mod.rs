//! What Prometheus reads: [`router`] serves `/metrics` of a [`Board`]. Names and labels are v1's
//! where v1 has them; an image is no label, since their number has no bound. What each tells is in
//! docs/OBSERVABILITY.md.
//!
//! Nothing is counted here but how long things took and what was told of images ([`Measures`]).
//! Whoever does something counts it, in bounds, and a scrape reads the counts as they are then.
//!
//! - `measures`: how long answers and verifiers took, and what was told; `measured`: a verifier whose
//!   work is measured;
//! - `queue`, `verdicts`, `registries`, `plugins`, `resources`, `certificates`, `process`: what is
//!   shown of each part;
//! - `traces`: what became of spans;
//! - `form`: which of two formats a scrape gets; `page`: families of series.

mod certificates;
mod form;
mod measured;
mod measures;
mod page;
mod plugins;
mod process;
mod queue;
mod registries;
mod resources;
#[cfg(test)]
mod tests;
mod traces;
mod verdicts;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{Router, response::IntoResponse, routing::get};
use http::{HeaderMap, StatusCode, header};
use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};
use tokio::sync::Semaphore;

use crate::{
    cache::VerdictCache,
    gatekeeper::{Service, tls::Tls},
    k8s::{resource_counts::ResourceCounts, rotation::RotationCounts},
    plugin::rules::RulesInForce,
    runtime::Runtime,
    state::Active,
    telemetry::sent::Sent,
};
use form::Form;
pub(crate) use measured::measured;
pub use measures::Measures;
pub(crate) use measures::Told;
use page::{Part, Show};

/// What is shown. Parts are added as they come to be.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<RwLock<Registry>>);

/// What comes to be only when the server does.
pub(crate) struct Serving {
    pub(crate) service: Arc<Service>,
    pub(crate) active: Arc<Active>,
    pub(crate) rules: RulesInForce,
    pub(crate) tls: Option<Tls>,
    /// Those of the cluster, where there is one.
    pub(crate) resources: Option<Arc<ResourceCounts>>,
    pub(crate) rotation: Option<Arc<RotationCounts>>,
}

impl Board {
    /// What a process has from its beginning.
    pub fn new(runtime: &Runtime, verdicts: VerdictCache) -> Self {
        let board = Self::default();
        board.show(process::Shown);
        board.show(measures::Shown(Arc::clone(&runtime.measures)));
        board.show(registries::Shown {
            connections: runtime.connections().clone(),
            results: runtime.results().clone(),
        });
        board.show(verdicts::Shown(verdicts));
        board.show(plugins::Shown {
            host: Arc::clone(&runtime.host),
            loaded: Arc::clone(&runtime.loaded),
        });
        board
    }

    /// What a server has besides.
    pub(crate) fn show_serving(&self, serving: Serving) {
        let Serving { service, active, rules, tls, resources, rotation } = serving;
        self.show(queue::Shown(service));
        self.show(resources::Shown { active, rules, resources });
        self.show(certificates::Shown { tls, rotation });
    }

    /// What becomes of spans, where they are sent.
    pub(crate) fn show_traces(&self, sent: Sent) {
        self.show(traces::Spans(sent));
    }

    fn show(&self, part: impl Show) {
        let mut registry = self.0.write().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(Part(part)));
    }

    fn text(&self, form: Form) -> Result<String, fmt::Error> {
        let registry = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        match form {
            Form::OpenMetrics => text::encode(&mut text, &registry)?,
            Form::Prometheus => prometheus_text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}

/// The one endpoint.
pub fn router(board: Board) -> Router {
    // One at a time, on a thread that may block: files of the kernel are read.
    let turn = Arc::new(Semaphore::new(1));
    let answer = move |headers: HeaderMap| {
        let (board, turn) = (board.clone(), Arc::clone(&turn));
        async move {
            let form = Form::of(&headers);
            let Ok(_turn) = turn.acquire().await else {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            };
            match tokio::task::spawn_blocking(move || board.text(form)).await {
                Ok(Ok(text)) => {
                    ([(header::CONTENT_TYPE, form.content_type())], text).into_response()
                }
                _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    };
    Router::new().route("/metrics", get(answer))
}
