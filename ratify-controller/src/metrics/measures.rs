//! [`Measures`]: how long answers and verifiers took, and what had no answer. Verifiers and
//! namespaces are names from outside, so the number of series is bounded: what is beyond is measured
//! together.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, histogram::Histogram},
};

/// At most this many kinds of runs are told apart.
const MAX_SERIES: usize = 1024;
/// The verifier of those beyond. No resource is called so.
const OTHERS: &str = "(others)";

/// v1's bounds, in milliseconds.
const VERIFICATION: [f64; 25] = [
    0.0, 10.0, 30.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0, 1000.0,
    1100.0, 1200.0, 1400.0, 1600.0, 1800.0, 2000.0, 2300.0, 2600.0, 4000.0, 4400.0, 4900.0,
];
const MUTATION: [f64; 19] = [
    0.0, 10.0, 30.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0, 1000.0,
    1100.0, 1200.0, 1400.0, 1600.0, 1800.0,
];
const VERIFIER: [f64; 12] =
    [0.0, 10.0, 50.0, 100.0, 200.0, 300.0, 400.0, 600.0, 800.0, 1100.0, 1500.0, 2000.0];

/// What was measured since the process began.
pub struct Measures {
    verifications: Histogram,
    mutations: Histogram,
    verifiers: Mutex<BTreeMap<Series, Histogram>>,
    late: AtomicU64,
    failed: AtomicU64,
}

/// One run of a verifier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VerifierRun<'a> {
    pub(crate) verifier: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) is_success: bool,
    /// Whether it came to no verdict.
    pub(crate) is_error: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    verifier: String,
    tenant: String,
    is_success: bool,
    is_error: bool,
}

/// Shows what was measured.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Arc<Measures>);

impl Default for Measures {
    fn default() -> Self {
        Self {
            verifications: Histogram::new(VERIFICATION),
            mutations: Histogram::new(MUTATION),
            verifiers: Mutex::default(),
            late: AtomicU64::default(),
            failed: AtomicU64::default(),
        }
    }
}

impl fmt::Debug for Measures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Measures").finish_non_exhaustive()
    }
}

impl Measures {
    /// A request to verify was answered.
    pub(crate) fn verified(&self, took: Duration) {
        self.verifications.observe(milliseconds(took));
    }

    /// A request to mutate was answered.
    pub(crate) fn mutated(&self, took: Duration) {
        self.mutations.observe(milliseconds(took));
    }

    /// A key had no answer, since the time was over or something stood in the way.
    pub(crate) fn unanswered(&self, is_late: bool) {
        let count = if is_late { &self.late } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn verifier_ran(&self, run: VerifierRun<'_>, took: Duration) {
        let series = Series {
            verifier: run.verifier.to_owned(),
            tenant: run.tenant.to_owned(),
            is_success: run.is_success,
            is_error: run.is_error,
        };
        let mut verifiers = self.verifiers.lock().unwrap_or_else(PoisonError::into_inner);
        let series = match verifiers.len() < MAX_SERIES || verifiers.contains_key(&series) {
            true => series,
            false => Series { verifier: OTHERS.to_owned(), tenant: String::new(), ..series },
        };
        let histogram = verifiers.entry(series).or_insert_with(|| Histogram::new(VERIFIER)).clone();
        drop(verifiers);
        histogram.observe(milliseconds(took));
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, histogram) in [
            (
                "ratify_verification_request",
                "How long requests to verify took, in milliseconds",
                &self.0.verifications,
            ),
            (
                "ratify_mutation_request",
                "How long requests to mutate took, in milliseconds",
                &self.0.mutations,
            ),
        ] {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            histogram.encode(family)?;
        }
        let name = "ratify_verifier_duration";
        let help = "How long verifiers took for an artifact, in milliseconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let verifiers: Vec<_> = {
            let verifiers = self.0.verifiers.lock().unwrap_or_else(PoisonError::into_inner);
            let labels = |series: &Series| {
                [
                    ("verifier", series.verifier.clone()),
                    ("success", series.is_success.to_string()),
                    ("error", series.is_error.to_string()),
                    ("workload_namespace", series.tenant.clone()),
                ]
            };
            verifiers.iter().map(|(series, one)| (labels(series), one.clone())).collect()
        };
        for (labels, histogram) in verifiers {
            histogram.encode(family.encode_family(&labels)?)?;
        }
        let name = "ratify_system_error_count";
        let help = "Images that had no answer, by what stood in the way";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (error, count) in [("timeout", &self.0.late), ("failure", &self.0.failed)] {
            let labels = [("error", error), ("workload_namespace", "")];
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            count.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_bound_is_measured_together() {
        let measures = Measures::default();
        for number in 0..5000 {
            let tenant = format!("team-{number}");
            let run = VerifierRun {
                verifier: "sbom",
                tenant: &tenant,
                is_success: number % 2 == 0,
                is_error: false,
            };
            measures.verifier_ran(run, Duration::from_millis(12));
        }
        let verifiers = measures.verifiers.lock().unwrap();
        // Those that succeeded and those that did not.
        assert_eq!(verifiers.len(), MAX_SERIES + 2);
        assert_eq!(verifiers.keys().filter(|series| series.verifier == OTHERS).count(), 2);
    }
}
