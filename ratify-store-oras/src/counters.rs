//! [`Counters`]: what was asked so far, for whoever shows it. The names are for labels, so their
//! number is bounded: what is beyond is counted together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use url::Url;

/// At most this many kinds of answers are told apart.
const MAX_SERIES: usize = 1024;
/// The host of those beyond. It is none.
const OTHERS: &str = "(others)";

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct Counters {
    requests: Mutex<BTreeMap<RequestSeries, u64>>,
    blobs: Mutex<BTreeMap<CacheSeries, u64>>,
}

/// Look-ups in the cache on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheSeries {
    /// Whether it was there.
    pub is_hit: bool,
    /// Whose work it was.
    pub tenant: Arc<str>,
}

/// A kind of answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestSeries {
    /// The host that answered.
    pub host: String,
    /// The status of its answer.
    pub status: u16,
    /// Whose work it was.
    pub tenant: Arc<str>,
}

impl Counters {
    /// How many answers there were of each kind, repeated requests included.
    pub fn requests(&self) -> Vec<(RequestSeries, u64)> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().map(|(series, count)| (series.clone(), *count)).collect()
    }

    /// How often a manifest or blob was found in the cache on disk, and how often it was not.
    pub fn blob_cache(&self) -> Vec<(CacheSeries, u64)> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.iter().map(|(series, count)| (series.clone(), *count)).collect()
    }

    pub(crate) fn count_request(&self, url: &Url, status: u16, tenant: &Arc<str>) {
        let host = host_of(url);
        let series = RequestSeries { host, status, tenant: tenant.clone() };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let series = match requests.len() < MAX_SERIES || requests.contains_key(&series) {
            true => series,
            false => RequestSeries { host: OTHERS.to_owned(), status, tenant: "".into() },
        };
        *requests.entry(series).or_default() += 1;
    }

    pub(crate) fn count_blob(&self, is_hit: bool, tenant: &Arc<str>) {
        let series = CacheSeries { is_hit, tenant: tenant.clone() };
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let series = match blobs.len() < MAX_SERIES || blobs.contains_key(&series) {
            true => series,
            false => CacheSeries { is_hit, tenant: "".into() },
        };
        *blobs.entry(series).or_default() += 1;
    }
}

/// The host of a URL with its port, where that is not the scheme's: v1's label.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_as_long_as_there_are_not_too_many() {
        let counters = Counters::default();
        let count = |host: &str, status, tenant: &str| {
            let url = Url::parse(&format!("https://{host}/v2/")).unwrap();
            counters.count_request(&url, status, &tenant.into());
        };
        count("r.io", 200, "");
        count("r.io:5000", 200, "");
        count("r.io", 429, "");
        count("r.io", 200, "team");
        for number in 0..5000 {
            count(&format!("r{number}.io"), 404, "");
        }
        count("r.io", 200, "");
        let requests = counters.requests();
        let of = |host: &str, status, tenant: &str| {
            let series = RequestSeries { host: host.to_owned(), status, tenant: tenant.into() };
            requests.iter().find(|(known, _)| *known == series).map(|(_, count)| *count)
        };
        assert_eq!(of("r.io", 200, ""), Some(2));
        assert_eq!(of("r.io:5000", 200, ""), Some(1));
        assert_eq!((of("r.io", 429, ""), of("r.io", 200, "team")), (Some(1), Some(1)));
        assert_eq!(of(OTHERS, 404, ""), Some(5000 - (MAX_SERIES as u64 - 4)));
        assert_eq!(requests.len(), MAX_SERIES + 1);
    }

    #[test]
    fn finds_and_misses_are_two_counts() {
        let counters = Counters::default();
        let team = "team".into();
        counters.count_blob(true, &team);
        for _ in 0..2 {
            counters.count_blob(false, &team);
        }
        let series = |is_hit| CacheSeries { is_hit, tenant: "team".into() };
        assert_eq!(counters.blob_cache(), [(series(false), 2), (series(true), 1)]);
    }
}
