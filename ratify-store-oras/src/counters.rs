//! [`Counters`]: what was asked so far, for whoever shows it. The names are for labels, so their
//! number is bounded: what is beyond is counted together. Whoever makes up hosts takes no room from
//! those that serve something.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use url::Url;

/// At most this many kinds of answers are told apart.
const MAX_SERIES: usize = 1024;
/// The host of those beyond. It is none.
pub(crate) const OTHERS: &str = "(others)";
/// More of a name is no label: names come from requests.
const MAX_LABEL_BYTES: usize = 256;
/// v1's bounds of calls of Azure, in milliseconds.
const AZURE_BOUNDS: [f64; 14] = [
    0.0, 10.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0, 1000.0, 1200.0,
];

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct Counters {
    requests: Mutex<BTreeMap<RequestSeries, u64>>,
    blobs: Mutex<BTreeMap<CacheSeries, u64>>,
    azure: Mutex<BTreeMap<AzureSeries, Took>>,
}

/// A call of a service of Azure, of those that v1 times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AzureCall {
    /// For Entra's token, for this process's identity. v1 calls it AAD.
    Aad,
    /// For a registry's token, for Entra's.
    Acr,
    /// For a certificate or a key of a vault.
    Akv,
}

/// A kind of such calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AzureSeries {
    /// What is asked for.
    pub call: AzureCall,
    /// A scope, a registry's host, or the name of what is in a vault.
    pub of: Arc<str>,
    /// Whose work it was.
    pub tenant: Arc<str>,
}

/// How long calls of one kind took.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Took {
    /// How many took no more than each of v1's bounds and more than the one before; the last took
    /// more than all.
    counts: [u64; AZURE_BOUNDS.len() + 1],
    /// Together, in milliseconds.
    pub sum: f64,
}

impl Took {
    fn add(&mut self, took: Duration) {
        let took = took.as_secs_f64() * 1000.0;
        let at = AZURE_BOUNDS.iter().position(|bound| took <= *bound);
        self.counts[at.unwrap_or(AZURE_BOUNDS.len())] += 1;
        self.sum += took;
    }

    /// The bounds in milliseconds, the last of which is none, and how many there were up to each
    /// from the one before.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = AZURE_BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.counts).collect()
    }
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

    /// How long calls of Azure took. v1 counts those for Entra's token whatever came of them, and the
    /// others where they brought what was asked for.
    pub fn azure_calls(&self) -> Vec<(AzureSeries, Took)> {
        let azure = self.azure.lock().unwrap_or_else(PoisonError::into_inner);
        azure.iter().map(|(series, took)| (series.clone(), took.clone())).collect()
    }

    #[cfg_attr(
        not(feature = "azure"),
        allow(dead_code, reason = "the one cloud whose calls are timed")
    )]
    pub(crate) fn count_azure(&self, call: AzureCall, of: &str, tenant: &str, took: Duration) {
        let series = AzureSeries { call, of: label(of), tenant: label(tenant) };
        let mut azure = self.azure.lock().unwrap_or_else(PoisonError::into_inner);
        let series = match azure.len() < MAX_SERIES || azure.contains_key(&series) {
            true => series,
            false => AzureSeries { call, of: OTHERS.into(), tenant: "".into() },
        };
        azure.entry(series).or_default().add(took);
    }

    pub(crate) fn count_request(&self, url: &Url, status: u16, tenant: &Arc<str>) {
        let host = host_of(url);
        let series = RequestSeries { host, status, tenant: capped(tenant) };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = requests.len() < MAX_SERIES || requests.contains_key(&series);
        let series = match has_room || make_room_for(&series, &mut requests) {
            true => series,
            false => series.among_others(),
        };
        *requests.entry(series).or_default() += 1;
    }

    pub(crate) fn count_blob(&self, is_hit: bool, tenant: &Arc<str>) {
        let series = CacheSeries { is_hit, tenant: capped(tenant) };
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let series = match blobs.len() < MAX_SERIES || blobs.contains_key(&series) {
            true => series,
            false => CacheSeries { is_hit, tenant: "".into() },
        };
        *blobs.entry(series).or_default() += 1;
    }
}

impl RequestSeries {
    fn is_success(&self) -> bool {
        (200..400).contains(&self.status)
    }

    fn among_others(&self) -> Self {
        Self { host: OTHERS.to_owned(), status: self.status, tenant: "".into() }
    }
}

/// Counts one kind with the others in favour of a host that has served something: the rarest of a
/// host that never has. The sum stays what it was.
fn make_room_for(series: &RequestSeries, requests: &mut BTreeMap<RequestSeries, u64>) -> bool {
    let serving: HashSet<&str> =
        requests.keys().filter(|one| one.is_success()).map(|one| one.host.as_str()).collect();
    if !series.is_success() && !serving.contains(series.host.as_str()) {
        return false;
    }
    let idle = requests.iter().filter(|(one, _)| {
        one.host != OTHERS && one.host != series.host && !serving.contains(one.host.as_str())
    });
    let Some(rarest) = idle.min_by_key(|(_, count)| **count).map(|(one, _)| one.clone()) else {
        return false;
    };
    let count = requests.remove(&rarest).unwrap_or_default();
    *requests.entry(rarest.among_others()).or_default() += count;
    true
}

/// A name that is kept as a label.
#[cfg_attr(
    not(feature = "azure"),
    allow(dead_code, reason = "the one cloud whose calls are timed")
)]
fn label(name: &str) -> Arc<str> {
    ratify_core::capped_line(name, MAX_LABEL_BYTES).into()
}

/// The same of a name that is shared, as all but those of an enemy are.
fn capped(name: &Arc<str>) -> Arc<str> {
    let is_plain = name.len() <= MAX_LABEL_BYTES && !name.chars().any(char::is_control);
    if is_plain { Arc::clone(name) } else { ratify_core::capped_line(name, MAX_LABEL_BYTES).into() }
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
    fn a_host_that_serves_something_takes_the_place_of_one_that_never_did() {
        let counters = Counters::default();
        let count = |host: &str, status| {
            let url = Url::parse(&format!("https://{host}/v2/")).unwrap();
            counters.count_request(&url, status, &"".into());
        };
        let tells = |host: &str, status| {
            count(host, status);
            let requests = counters.requests();
            requests.iter().any(|(one, _)| one.host == host && one.status == status)
        };
        let is_known = |host| counters.requests().iter().any(|(one, _)| one.host == host);
        let sum = || counters.requests().iter().map(|(_, count)| count).sum::<u64>();
        count("first.io", 200);
        for number in 0..MAX_SERIES - 2 {
            let host = format!("r{number}.io");
            count(&host, 404);
            count(&host, 404);
        }
        assert!(tells("rarest.io", 404));
        let before = sum();
        assert!(!tells("none.io", 404));
        assert!(!tells("late.io", 401), "as what wants a token answers first");
        assert!(is_known("rarest.io"));
        assert!(tells("late.io", 200) && !is_known("rarest.io"));
        assert!(tells("late.io", 401) && tells("moved.io", 307));
        assert_eq!(sum(), before + 5, "what was counted is counted still");
        for number in 0..1500 {
            count(&format!("serves{number}.io"), 200);
        }
        assert_eq!(sum(), before + 1505);
        assert!(["first.io", "late.io", "moved.io"].into_iter().all(is_known));
        assert!(counters.requests().len() <= MAX_SERIES + 3, "the others are of three kinds");
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
    #[test]
    fn a_call_of_azure_is_counted_by_how_long_it_took_in_v1s_bounds() {
        let counters = Counters::default();
        for milliseconds in [0, 10, 11, 1200, 1201] {
            let took = Duration::from_millis(milliseconds);
            counters.count_azure(AzureCall::Acr, "r.azurecr.io", "team", took);
        }
        let [(series, took)] = counters.azure_calls().try_into().unwrap();
        let (of, tenant) = (&*series.of, &*series.tenant);
        assert_eq!((series.call, of, tenant), (AzureCall::Acr, "r.azurecr.io", "team"));
        let counts: Vec<_> = took.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        let expected = [(0.0, 1), (10.0, 1), (50.0, 1), (1200.0, 1), (f64::INFINITY, 1)];
        assert_eq!((counts.as_slice(), took.sum), (&expected[..], 2422.0));
        for number in 0..5000 {
            let of = format!("r{number}.azurecr.io");
            counters.count_azure(AzureCall::Acr, &of, "", Duration::ZERO);
        }
        assert_eq!(counters.azure_calls().len(), MAX_SERIES + 1);
    }

    /// A namespace is what stands in brackets in a key, however long.
    #[test]
    fn no_label_is_long_or_has_control_characters() {
        let counters = Counters::default();
        let long: Arc<str> = format!("team\n{}", "x".repeat(100_000)).into();
        counters.count_blob(true, &long);
        counters.count_request(&Url::parse("https://r.io/").unwrap(), 200, &long);
        let tenants =
            [counters.blob_cache()[0].0.tenant.clone(), counters.requests()[0].0.tenant.clone()];
        for tenant in tenants {
            assert!(tenant.len() <= MAX_LABEL_BYTES && !tenant.contains('\n'), "{tenant}");
        }
    }
}
