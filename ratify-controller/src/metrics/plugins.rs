//! Plugins: their processes, how they came here, and which may run.

use std::{fmt, sync::Arc};

use super::page::{Page, Show};
use crate::plugin::{loaded::Loaded, process::PluginHost};

/// Shows what a host runs, and what was loaded.
pub(super) struct Shown {
    pub(super) host: Arc<PluginHost>,
    pub(super) loaded: Arc<Loaded>,
}

impl Show for Shown {
    fn show(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = self.host.counts();
        let states = [("running", counts.running), ("waiting", counts.waiting)];
        page.gauges(
            ("ratify_plugin_processes", "Calls of plugins that run, or wait for a place to run"),
            states.map(|(state, count)| ([("state", state.to_owned())], count)),
        )?;
        page.gauge(
            ("ratify_plugin_process_places", "How many plugins may run at once"),
            counts.places,
        )?;
        page.counters(
            (
                "ratify_plugin_process_ends",
                "How calls of plugins ended; all but exited were ended, or not begun, by Ratify",
            ),
            counts.ends.into_iter().map(|(end, count)| ([("end", end.to_owned())], count)),
        )?;
        let loads = self.loaded.loads();
        page.counters(
            ("ratify_plugin_loads", "How plugins came to be loaded from their sources, or did not"),
            loads.into_iter().map(|(outcome, count)| ([("outcome", outcome.to_owned())], count)),
        )?;
        let in_force = self.loaded.in_force().into_iter().map(|one| {
            let labels = [
                ("kind", one.kind.to_owned()),
                ("workload_namespace", one.namespace),
                ("name", one.name),
                ("digest", one.digest),
                ("version", one.version),
                ("source", one.source),
                ("signer", one.signer),
            ];
            (labels, 1u64)
        });
        page.gauges(
            ("ratify_plugin_info", "1 for each plugin that may run, by what its source stood for"),
            in_force,
        )
    }
}
