//! How much there is to do, what became of what was late, and how long answers may take.

use std::{fmt, sync::Arc};

use prometheus_client::metrics::histogram::Histogram;

use super::page::{Labels, Page, Show};
use crate::gatekeeper::{Service, flights::Load};

/// Shows the queue of a service.
pub(super) struct Shown(pub(super) Arc<Service>);

impl Show for Shown {
    fn show(&self, page: &mut Page<'_>) -> fmt::Result {
        let (load, wait) = self.0.load();
        queued(page, &load, wait)?;
        ended(page, &load)?;
        let times = self.0.times();
        let timeouts = [("verify", times.verify), ("mutate", times.mutate)];
        page.gauges(
            (
                "ratify_answer_timeout_seconds",
                "Within what a request is answered, whatever is finished: the least of all that wait for it",
            ),
            timeouts.map(|(of, time)| ([("operation", of.to_owned())], time.as_secs_f64())),
        )
    }
}

/// What waits and what runs.
fn queued(page: &mut Page<'_>, load: &Load, wait: Histogram) -> fmt::Result {
    let queued = &load.queued;
    let class = |state: &str, awaited: bool| -> Labels<2> {
        [("state", state.to_owned()), ("awaited", awaited.to_string())]
    };
    page.gauges(
            (
                "ratify_queue_images",
                "Images that are worked on or wait for it; awaited until everybody who asked was told that they are late",
            ),
            [
                (class("waiting", true), queued.awaited),
                (class("waiting", false), queued.left),
                (class("running", true), queued.ahead),
                (class("running", false), queued.behind),
            ],
        )?;
    let limits = [
        ("waiting", queued.bounds.waiting),
        ("running", queued.bounds.at_once),
        ("running_late", queued.bounds.behind),
        ("waiting_bytes", queued.bounds.waiting_bytes),
    ];
    page.gauges(
        ("ratify_queue_limit", "How many images, or bytes, the queue may have"),
        limits.map(|(of, limit)| ([("of", of.to_owned())], limit)),
    )?;
    page.gauge(
        ("ratify_queue_waiting_bytes", "How many bytes the images have that wait"),
        queued.bytes,
    )?;
    page.gauge(
        ("ratify_queue_tenants", "How many namespaces have something in the queue"),
        queued.tenants,
    )?;
    page.histograms(
        ("ratify_queue_wait_seconds", "How long images waited until somebody worked on them"),
        [([], wait)],
    )
}

/// What became of it.
fn ended(page: &mut Page<'_>, load: &Load) -> fmt::Result {
    let tally = &load.tally;
    page.counter(
        ("ratify_queue_refused", "Images that were refused, since too many were worked on"),
        tally.refused,
    )?;
    page.counter(
        (
            "ratify_queue_joined",
            "Questions that were being answered already, and waited for the same answer",
        ),
        tally.joined,
    )?;
    let ended = [
        ("given_up", tally.given_up),
        ("pushed_out", tally.pushed_out),
        ("panicked", tally.panicked),
    ];
    page.counters(
        ("ratify_queue_ended", "Work that ended without an answer"),
        ended.map(|(why, count)| ([("why", why.to_owned())], count)),
    )?;
    let late = [("kept", tally.late_kept), ("found", tally.late_found)];
    page.counters(
        ("ratify_late_answers", "Answers that came too late, and those of them that a retry found"),
        late.map(|(event, count)| ([("event", event.to_owned())], count)),
    )?;
    page.gauge(
        ("ratify_late_answers_entries", "Late answers that are kept for who asks again"),
        load.late_entries,
    )?;
    page.gauge(
        ("ratify_late_answers_bytes", "How many bytes the late answers take that are kept"),
        load.late_bytes,
    )
}
