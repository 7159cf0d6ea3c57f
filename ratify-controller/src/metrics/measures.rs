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

use prometheus_client::metrics::histogram::Histogram;

use super::page::{Labels, Page, Show, label};

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
    told: [AtomicU64; TOLD.len()],
}

/// What somebody was told of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It may run.
    Allowed,
    /// A policy says no. Where it only passes reports on, nothing is decided and this is counted.
    Denied,
    /// There is something wrong with it: an error that lasts.
    Failed,
    /// Nothing, since something stood in the way for the moment.
    Unanswered,
    /// Nothing in time.
    Late,
    /// What its tag stands for.
    Resolved,
    /// Why that is not known.
    Unresolved,
    /// Nothing in time.
    LateResolution,
}

/// Each with its labels: operation and outcome.
const TOLD: [(Told, &str, &str); 8] = [
    (Told::Allowed, "verify", "allowed"),
    (Told::Denied, "verify", "denied"),
    (Told::Failed, "verify", "error"),
    (Told::Unanswered, "verify", "unanswered"),
    (Told::Late, "verify", "late"),
    (Told::Resolved, "mutate", "resolved"),
    (Told::Unresolved, "mutate", "error"),
    (Told::LateResolution, "mutate", "late"),
];

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
pub(super) struct Shown(pub(super) Arc<Measures>);

impl Default for Measures {
    fn default() -> Self {
        Self {
            verifications: Histogram::new(VERIFICATION),
            mutations: Histogram::new(MUTATION),
            verifiers: Mutex::default(),
            late: AtomicU64::default(),
            failed: AtomicU64::default(),
            told: Default::default(),
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

    /// Somebody was told this of one image.
    pub(crate) fn told(&self, told: Told) {
        self.told[told as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn verifier_ran(&self, run: VerifierRun<'_>, took: Duration) {
        let series = Series {
            verifier: label(run.verifier),
            tenant: label(run.tenant),
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

impl Show for Shown {
    fn show(&self, page: &mut Page<'_>) -> fmt::Result {
        let measures = &self.0;
        page.histograms(
            ("ratify_verification_request", "How long requests to verify took, in milliseconds"),
            [([], measures.verifications.clone())],
        )?;
        page.histograms(
            ("ratify_mutation_request", "How long requests to mutate took, in milliseconds"),
            [([], measures.mutations.clone())],
        )?;
        let verifiers: Vec<_> = {
            let verifiers = measures.verifiers.lock().unwrap_or_else(PoisonError::into_inner);
            verifiers.iter().map(|(series, one)| (series.labels(), one.clone())).collect()
        };
        let help = "How long verifiers took for an artifact, in milliseconds";
        page.histograms(("ratify_verifier_duration", help), verifiers)?;
        let errors = [("timeout", &measures.late), ("failure", &measures.failed)];
        let errors = errors.map(|(error, count)| {
            let labels = [("error", error.to_owned()), ("workload_namespace", String::new())];
            (labels, count.load(Ordering::Relaxed))
        });
        let help = "Images that had no answer, by what stood in the way";
        page.counters(("ratify_system_error_count", help), errors)?;
        let told = TOLD.map(|(told, operation, outcome)| {
            let labels = [("operation", operation.to_owned()), ("outcome", outcome.to_owned())];
            (labels, measures.told[told as usize].load(Ordering::Relaxed))
        });
        page.counters(("ratify_answers", "What was told of images, one by one"), told)
    }
}

impl Series {
    fn labels(&self) -> Labels<4> {
        [
            ("verifier", self.verifier.clone()),
            ("success", self.is_success.to_string()),
            ("error", self.is_error.to_string()),
            ("workload_namespace", self.tenant.clone()),
        ]
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
    #[test]
    fn each_outcome_is_counted_under_its_own_name() {
        for (index, (told, ..)) in TOLD.into_iter().enumerate() {
            assert_eq!(told as usize, index);
        }
    }

    #[test]
    fn a_namespace_is_no_longer_as_a_label_than_a_name_is() {
        let measures = Measures::default();
        let tenant = format!("a\nb{}", "x".repeat(100_000));
        let run =
            VerifierRun { verifier: "sbom", tenant: &tenant, is_success: true, is_error: false };
        measures.verifier_ran(run, Duration::ZERO);
        let verifiers = measures.verifiers.lock().unwrap();
        let (series, _) = verifiers.first_key_value().unwrap();
        assert!(series.tenant.len() <= 256 && !series.tenant.contains('\n'));
    }
}
