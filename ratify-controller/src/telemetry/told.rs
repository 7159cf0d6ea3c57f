//! [`Told`]: what a span of [`WORK`](ratify_core::spans::WORK) tells the lines that are logged within.

use std::fmt;

use tracing::field;

/// For which question work is done. It is kept with the span.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) trace_id: String,
    pub(super) namespace: String,
}

impl field::Visit for Told {
    fn record_str(&mut self, field: &field::Field, value: &str) {
        match field.name() {
            "trace_id" => value.clone_into(&mut self.trace_id),
            "namespace" => value.clone_into(&mut self.namespace),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &field::Field, _: &dyn fmt::Debug) {}
}
