//! The configuration in force, and the custom resources that it is made of.

use std::{fmt, sync::Arc};

use super::page::{Page, Show};
use crate::{
    cache::fingerprint_of, k8s::resource_counts::ResourceCounts, plugin::rules::RulesInForce,
    state::Active,
};

/// Shows what is in force.
pub(super) struct Shown {
    pub(super) active: Arc<Active>,
    pub(super) rules: RulesInForce,
    pub(super) resources: Option<Arc<ResourceCounts>>,
}

impl Show for Shown {
    fn show(&self, page: &mut Page<'_>) -> fmt::Result {
        self.configuration(page)?;
        self.resources(page)
    }
}

impl Shown {
    fn configuration(&self, page: &mut Page<'_>) -> fmt::Result {
        let (snapshot, changes) = (self.active.snapshot(), self.active.changes());
        let view = snapshot.view("");
        let parts = [
            ("stores", view.executor.stores.len()),
            ("verifiers", view.executor.verifiers.len()),
            ("policies", usize::from(view.executor.policy.is_some())),
        ];
        page.gauges(
            ("ratify_configuration_parts", "What the cluster's configuration in force has; without one of each nothing is verified"),
            parts.map(|(part, count)| ([("part", part.to_owned())], count)),
        )?;
        page.gauge(
            (
                "ratify_configuration_timestamp_seconds",
                "Since when the configuration in force is as it is",
            ),
            changes.since.as_second(),
        )?;
        page.counter(
            ("ratify_configuration_changes", "How often another configuration came into force"),
            changes.swaps,
        )?;
        page.counter(
            (
                "ratify_configuration_failures",
                "How often a changed configuration file was not taken",
            ),
            changes.failures,
        )?;
        let fingerprint = fingerprint_of(view, &self.rules.now());
        page.gauges(
            (
                "ratify_configuration_info",
                "1; replicas that decide alike have the same fingerprint. None where a plugin does not say what it decides by",
            ),
            fingerprint.map(|fingerprint| ([("fingerprint", fingerprint)], 1u64)),
        )
    }

    fn resources(&self, page: &mut Page<'_>) -> fmt::Result {
        let (tries, standing) = self
            .resources
            .as_ref()
            .map(|counts| (counts.tries(), counts.standing()))
            .unwrap_or_default();
        page.counters(
            (
                "ratify_resource_reconciles",
                "Tries to put custom resources in force, by what came of them",
            ),
            tries.into_iter().map(|((kind, outcome), count)| {
                ([("kind", kind.to_owned()), ("outcome", outcome.to_owned())], count)
            }),
        )?;
        page.gauges(
            (
                "ratify_resources",
                "Custom resources by how they stand: in_force, kept as before though the spec cannot be had, refused",
            ),
            standing.resources.into_iter().map(|((kind, state), count)| {
                ([("kind", kind.to_owned()), ("state", state.to_owned())], count)
            }),
        )?;
        let pins = self
            .resources
            .iter()
            .flat_map(|_| [("pinned", standing.pinned), ("moved", standing.moved)]);
        page.gauges(
            (
                "ratify_plugin_pins",
                "Resources whose plugin is held at the digest that its tag stood for, and those of them whose tag has moved since",
            ),
            pins.map(|(state, count)| ([("state", state.to_owned())], count)),
        )
    }
}
