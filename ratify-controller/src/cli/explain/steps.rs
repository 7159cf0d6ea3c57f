//! [`Step`]: a span in the words of who reads an explanation.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::telemetry::collect::{Collected, Kept};

/// What a field of a span is called in an explanation. What is not here is not in one.
const FIELDS: &[(&str, &str)] = &[
    ("ratify.subject", "subject"),
    ("ratify.digest", "digest"),
    ("ratify.store", "store"),
    ("ratify.artifact.digest", "artifact"),
    ("ratify.artifact.type", "artifactType"),
    ("ratify.artifacts", "artifacts"),
    ("ratify.left_out", "leftOut"),
    ("ratify.cached", "fromCache"),
    ("ratify.joined", "joined"),
    ("ratify.verifier.name", "verifier"),
    ("ratify.verifier.type", "verifierType"),
    ("ratify.policy", "policy"),
    ("ratify.success", "isSuccess"),
    ("ratify.message", "message"),
    ("otel.status_description", "error"),
    ("error.type", "errorType"),
    ("ratify.remediation", "remediation"),
    ("http.request.method", "method"),
    ("http.request.resend_count", "resent"),
    ("http.response.status_code", "status"),
    ("http.response.body.size", "bytes"),
    ("server.address", "host"),
    ("server.port", "port"),
    ("url.path", "path"),
    ("ratify.endpoint", "endpoint"),
    ("ratify.redirected", "redirected"),
    ("ratify.waited_ms", "waitedMs"),
    ("ratify.plugin.name", "plugin"),
    ("ratify.plugin.artifact", "source"),
    ("ratify.plugin.digest", "digest"),
    ("process.exit.code", "exitCode"),
];

/// One thing that was done, and what was done for it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) took: Option<Duration>,
    pub(super) fields: Map<String, Value>,
    pub(super) steps: Vec<Step>,
}

impl Step {
    pub(super) fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn number(&self, field: &str) -> u64 {
        self.fields.get(field).and_then(Value::as_u64).unwrap_or_default()
    }

    pub(super) fn is_true(&self, field: &str) -> bool {
        self.fields.get(field).and_then(Value::as_bool).unwrap_or_default()
    }
}

/// The steps that are within no other.
pub(super) fn tree(collected: &Collected) -> Vec<Step> {
    // A span begins after the one that it is within, so from the last one on each finds its place.
    let mut steps: Vec<Option<Step>> =
        collected.spans.iter().map(|kept| Some(step(kept))).collect();
    let mut roots = Vec::new();
    for index in (0..steps.len()).rev() {
        let Some(mut step) = steps[index].take() else { continue };
        step.steps.reverse();
        sort(&mut step.steps);
        let parent = match collected.spans[index].parent {
            Some(parent) => steps[parent].as_mut(),
            None => None,
        };
        parent.map_or(&mut roots, |parent| &mut parent.steps).push(step);
    }
    roots.reverse();
    sort(&mut roots);
    roots
}

fn step(kept: &Kept) -> Step {
    let mut fields = Map::new();
    for (field, name) in FIELDS {
        if let Some(value) = kept.fields.get(*field) {
            fields.insert((*name).to_owned(), value.clone());
        }
    }
    Step { name: kept.name, took: kept.took, fields, steps: Vec::new() }
}

/// What goes on at once is in an order of its own: artifacts by their digest. All else is as it began:
/// what is attached to an artifact is looked at when the artifact itself is judged.
fn sort(steps: &mut [Step]) {
    let rank = |step: &Step| match step.name {
        "install" => 0,
        "resolve" => 1,
        "list" => 2,
        "artifact" => 3,
        "bind" => 4,
        "verify" => 5,
        "subject" => 6,
        "policy" => 8,
        _ => 7,
    };
    steps.sort_by(|a, b| (rank(a), a.text("artifact")).cmp(&(rank(b), b.text("artifact"))));
}
