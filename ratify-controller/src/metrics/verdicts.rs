//! What became of verdicts that might be kept, and how the link to Redis stands.

use std::fmt;

use super::page::{Page, Show};
use crate::cache::VerdictCache;

/// Shows the counts of the cache of verdicts; of one that is off there are no series.
pub(super) struct Shown(pub(super) VerdictCache);

impl Show for Shown {
    fn show(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = self.0.is_on().then(|| self.0.counts());
        let link = self.0.link();
        let events = counts.iter().flat_map(|counts| {
            [
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
            ]
        });
        page.counters(
            ("ratify_verdict_cache_count", "What became of verdicts to keep"),
            events.map(|(event, count)| ([("event", event.to_owned())], count)),
        )?;
        page.gauges(
            ("ratify_verdict_cache_entries", "Verdicts that are kept"),
            counts.iter().map(|counts| ([], counts.entries)),
        )?;
        page.gauges(
            ("ratify_verdict_cache_bytes", "How many bytes the verdicts take that are kept"),
            counts.iter().map(|counts| ([], counts.bytes)),
        )?;
        page.gauges(
            (
                "ratify_verdict_cache_shared_up",
                "1 while verdicts are shared with other replicas, 0 while Redis is away",
            ),
            link.iter().map(|link| ([], u64::from(link.is_up))),
        )?;
        page.counters(
            ("ratify_verdict_cache_shared_connects", "Connections that were made to Redis"),
            link.iter().map(|link| ([], link.connects)),
        )
    }
}
