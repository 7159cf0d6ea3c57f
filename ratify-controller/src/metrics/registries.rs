//! What registries and clouds were asked: by whom, how they answered, how fast they may be asked.

use std::fmt;

use ratify_store_oras::{AzureCall, Connections, OwnStanding, ResultCache};

use super::page::{Labels, Page, Show, label};

/// Shows the counts of connections, and of the answers that stores keep.
pub(super) struct Shown {
    pub(super) connections: Connections,
    pub(super) results: ResultCache,
}

impl Show for Shown {
    fn show(&self, page: &mut Page<'_>) -> fmt::Result {
        self.requests(page)?;
        self.azure(page)?;
        self.limiter(page)?;
        self.results(page)
    }
}

impl Shown {
    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters = self.connections.counters();
        let help =
            "Answers of registries and of services of clouds, those of repeated requests included";
        let requests = counters.requests().into_iter().map(|(series, count)| {
            let labels = [
                ("registry_host", label(&series.host)),
                ("status_code", series.status.to_string()),
                ("workload_namespace", series.tenant.to_string()),
            ];
            (labels, count)
        });
        page.counters(("ratify_registry_request_count", help), requests)?;
        let blobs = counters.blob_cache().into_iter().map(|(series, count)| {
            let hit = series.is_hit.to_string();
            let labels = [("hit", hit), ("workload_namespace", series.tenant.to_string())];
            (labels, count)
        });
        page.counters(("ratify_blob_cache_count", "Look-ups in the cache on disk"), blobs)
    }

    fn azure(&self, page: &mut Page<'_>) -> fmt::Result {
        let calls = self.connections.counters().azure_calls();
        for (call, label, named) in [
            (
                AzureCall::Aad,
                "resource_type",
                (
                    "ratify_aad_exchange_duration",
                    "How long it took to get a token of Entra for Azure, in milliseconds",
                ),
            ),
            (
                AzureCall::Acr,
                "repository",
                (
                    "ratify_acr_exchange_duration",
                    "How long it took to get a token of a registry of Azure, in milliseconds; the repository is the registry's host",
                ),
            ),
            (
                AzureCall::Akv,
                "certificate_name",
                (
                    "ratify_akv_certificate_duration",
                    "How long it took to get a certificate or a key of a vault of Azure, in milliseconds",
                ),
            ),
        ] {
            let of_kind = calls.iter().filter(|(series, _)| series.call == call);
            let series = of_kind.map(|(series, took)| {
                let tenant = series.tenant.to_string();
                let labels = [(label, series.of.to_string()), ("workload_namespace", tenant)];
                (labels, took.sum, took.buckets())
            });
            page.buckets(named, series)?;
        }
        Ok(())
    }

    fn limiter(&self, page: &mut Page<'_>) -> fmt::Result {
        let standings = self.connections.standings();
        let host = |host: &str| -> Labels<1> { [("registry_host", label(host))] };
        page.gauges(
            (
                "ratify_registry_requests_waiting",
                "Requests that wait until their registry may be asked",
            ),
            standings.iter().map(|one| (host(&one.host), one.waiting)),
        )?;
        page.gauges(
            ("ratify_registry_requests_under_way", "Requests that wait for an answer"),
            standings.iter().map(|one| (host(&one.host), one.under_way)),
        )?;
        let own: Vec<(&str, OwnStanding)> =
            standings.iter().filter_map(|one| Some((one.host.as_str(), one.own?))).collect();
        let each = || own.iter().map(|(name, own)| (host(name), own));
        page.gauges(
            (
                "ratify_registry_requests_at_once",
                "How many requests may wait for an answer at once",
            ),
            each().map(|(labels, own)| (labels, own.window)),
        )?;
        page.gauges(
            (
                "ratify_registry_requests_per_second",
                "How many requests may be sent in a second, of a registry that has asked for fewer",
            ),
            each().filter_map(|(labels, own)| Some((labels, own.per_second?))),
        )?;
        page.gauges(
            (
                "ratify_registry_paused_seconds",
                "For how much longer nothing is asked, since the registry wants a pause",
            ),
            each().map(|(labels, own)| (labels, own.paused.as_secs_f64())),
        )?;
        page.counters(
            (
                "ratify_registry_throttled",
                "Answers that ask for a pause: 429, or 503 with Retry-After",
            ),
            each().map(|(labels, own)| (labels, own.throttled)),
        )?;
        page.counters(
            (
                "ratify_registry_refused",
                "Requests that were not sent, since the registry's pause is longer than there is time",
            ),
            each().map(|(labels, own)| (labels, own.refused)),
        )?;
        page.counters(
            ("ratify_registry_waited", "Requests that had to wait for their turn"),
            each().map(|(labels, own)| (labels, own.waited)),
        )?;
        page.counters(
            (
                "ratify_registry_wait_seconds",
                "For how long requests waited for their turn, together",
            ),
            each().map(|(labels, own)| (labels, own.wait.as_secs_f64())),
        )
    }

    fn results(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = self.results.counts();
        let hits = [(true, counts.hits), (false, counts.misses)];
        page.counters(
            (
                "ratify_result_cache_lookups",
                "Questions to registries that were looked up in memory first",
            ),
            hits.map(|(hit, count)| ([("hit", hit.to_string())], count)),
        )?;
        page.gauge(
            ("ratify_result_cache_entries", "Answers of registries that are kept in memory"),
            counts.entries,
        )?;
        page.gauge(
            (
                "ratify_result_cache_bytes",
                "How many bytes the answers of registries take that are kept in memory",
            ),
            counts.bytes,
        )
    }
}
