//! [`Service`]: answers the keys of a request, each on its own.
//!
//! There are two times. At the first, the request's, it answers: what is finished as it is, and
//! that the rest is not. At the second, `give_up_after`, the work behind a key ends; until then it
//! goes on, and who asks again meanwhile waits for the same work.
//!
//! What is found out about an image is an item, which Gatekeeper keeps for minutes, errors too. What
//! stands in the way of finding out is no item but a system error, which is not kept.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use ratify_core::{
    ComponentType, Context, Digest, ErrorCode, Result, VerifyResult,
    executor::{Notice, VerifyParameters},
    go_json,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{Instrument as _, Level, Span};

use super::{
    asked::{Answer, Asked, Failure, Operation, Outcome, Source, Unanswered},
    config::ServiceConfig,
    flights::{Bounds, FlightKey, Flights, Keep, Load, Terms, Waiting},
    mutation::{mutated, resolve},
    times::Times,
    verdict::Verdict,
    wire::{Item, VerificationResponse},
};
use crate::{
    cache::{Found, Place, VerdictCache},
    metrics::{Measures, Told},
    plugin::rules::RulesInForce,
    state::{Active, Snapshot, View},
    telemetry::spans::{self, Spot},
};

/// Told apart from a verifier's own time so that it can say what was late itself.
const GIVE_UP_GRACE: Duration = Duration::from_secs(1);

/// Answers the keys of requests.
pub struct Service {
    active: Arc<Active>,
    rules: RulesInForce,
    config: ServiceConfig,
    /// Less than configured where others wait for less.
    times: watch::Receiver<Times>,
    /// By when everything is answered, once the server ends.
    hurry: watch::Sender<Option<Instant>>,
    flights: Arc<Flights<Outcome>>,
    verdicts: VerdictCache,
    pub(super) measures: Arc<Measures>,
}

/// What is answered to a request: nothing is left out of both.
pub(super) struct Answered {
    /// In the order of the keys (v1: as they are finished).
    pub(super) items: Vec<Item>,
    /// The keys that have no item.
    pub(super) unanswered: Vec<Unanswered>,
}

/// A key on its way to its answer.
enum Begun {
    Answered(Item),
    Waiting(Waiting<Outcome>),
}

/// What all keys of a request share.
struct Asking {
    operation: Operation,
    snapshot: Arc<Snapshot>,
    give_up_at: Instant,
    images: usize,
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Answers out of whatever configuration is in force when a request arrives.
    pub fn new(active: Arc<Active>, config: ServiceConfig) -> Self {
        let bounds = Bounds {
            at_once: config.at_once,
            behind: config.behind,
            waiting: config.waiting,
            waiting_bytes: config.waiting_bytes,
        };
        let keep = Keep { for_: config.keep_late, bytes: config.late_bytes };
        let flights = Arc::new(Flights::new(bounds, keep, Outcome::bytes_to_keep));
        let (_, times) = watch::channel(config.times());
        let (rules, hurry) = (RulesInForce::default(), watch::Sender::new(None));
        let (verdicts, measures) = (VerdictCache::default(), Arc::default());
        Self { active, rules, config, times, hurry, flights, verdicts, measures }
    }

    /// The same, measured here.
    #[must_use]
    pub fn with_measures(mut self, measures: Arc<Measures>) -> Self {
        self.measures = measures;
        self
    }

    /// The same with a cache of verdicts.
    #[must_use]
    pub fn with_cache(mut self, verdicts: VerdictCache) -> Self {
        self.verdicts = verdicts;
        self
    }

    /// The same, where an answer may take as long as this says at the time.
    #[must_use]
    pub fn with_times(mut self, times: watch::Receiver<Times>) -> Self {
        self.times = times;
        self
    }

    /// The same, where nothing that was found out under other rules of the administrators counts.
    #[must_use]
    pub fn with_rules(mut self, rules: RulesInForce) -> Self {
        self.rules = rules;
        self
    }

    pub(super) fn config(&self) -> &ServiceConfig {
        &self.config
    }

    pub(super) fn within(&self, operation: Operation) -> Duration {
        let times = self.times();
        match operation {
            Operation::Verify => times.verify,
            Operation::Mutate => times.mutate,
        }
    }

    /// Within what requests are answered now.
    pub(crate) fn times(&self) -> Times {
        *self.times.borrow()
    }

    /// How much there is to do, and how long images waited for their turn so far, in seconds.
    pub(crate) fn load(&self) -> (Load, Histogram) {
        self.flights.load()
    }

    /// Everything is answered by then, whatever is finished.
    pub(super) fn hurry(&self, by: Instant) {
        self.hurry.send_replace(Some(by));
    }

    /// Ready when it is to be answered, or earlier where the server ends.
    pub(super) async fn time_is_over(&self, answer_by: Instant) {
        let mut hurry = self.hurry.subscribe();
        loop {
            let by = hurry.borrow_and_update().map_or(answer_by, |by| by.min(answer_by));
            tokio::select! {
                () = sleep_until(by) => return,
                // The sender lives as long as this.
                _ = hurry.changed() => {}
            }
        }
    }

    /// Answers a request. All keys see one configuration.
    pub(super) async fn answer(
        &self,
        operation: Operation,
        keys: Vec<String>,
        trace_id: &str,
        started: Instant,
    ) -> Answered {
        let asking = Asking {
            operation,
            snapshot: self.active.snapshot(),
            give_up_at: started + self.config.give_up_after,
            images: keys.len(),
        };
        let within = self.within(operation);
        let begun: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let asked = Asked::new(&key, trace_id, started);
                let span = spans::key(&asked.key);
                let begun = span.in_scope(|| self.begin(&asking, &asked));
                (asked, begun, span)
            })
            .collect();
        let answers = join_all(begun.into_iter().map(|(asked, begun, span)| {
            let answer = async move {
                let waiting = match begun {
                    Ok(Begun::Answered(item)) => return Answer::Item(item).told(),
                    Ok(Begun::Waiting(waiting)) => waiting,
                    Err(failure) => return asked.failure(operation, failure).told(),
                };
                let source = waiting.source();
                tokio::select! {
                    biased;
                    landed = waiting.landed() => match landed {
                        Ok(outcome) => asked.answer(operation, &outcome, source).told(),
                        Err(lost) => asked.failure(operation, not_done(&lost)).told(),
                    },
                    () = self.time_is_over(started + within) => {
                        let told = match operation {
                            Operation::Verify => Told::Late,
                            Operation::Mutate => Told::LateResolution,
                        };
                        (asked.late(operation, within), told)
                    }
                }
            };
            answer.instrument(span)
        }));
        let (mut items, mut unanswered) = (Vec::new(), Vec::new());
        for (answer, told) in answers.await {
            self.measures.told(told);
            match answer {
                Answer::Item(item) => items.push(item),
                Answer::Nothing(why) => unanswered.push(why),
            }
        }
        Answered { items, unanswered }
    }

    /// All that needs no waiting; the rest becomes a flight.
    fn begin(&self, asking: &Asking, asked: &Asked) -> Result<Begun, Failure> {
        match asking.operation {
            Operation::Verify => self.begin_verification(asking, asked),
            Operation::Mutate => self.begin_mutation(asking, asked),
        }
    }

    fn begin_verification(&self, asking: &Asking, asked: &Asked) -> Result<Begun, Failure> {
        let reference = asked.reference().map_err(|error| Failure::lasting(&error))?;
        let snapshot = &asking.snapshot;
        check_components(snapshot.view(&asked.namespace), Operation::Verify)
            .map_err(|error| Failure::lasting(&error))?;
        if reference.digest().is_none() {
            asked.log_warning("Digest should be used instead of tagged reference. The resolved digest may not point to the same signed artifact, since tags are mutable.");
        }
        asked.log_debug(format_args!("verifying subject {reference}"));
        let view = snapshot.view(&asked.namespace);
        let place = match self.verdicts.find(view, &asked.namespace, &reference) {
            Found::Verdict(verdict) => {
                asked.log_debug(format_args!("cache hit for subject {reference}"));
                return Ok(Begun::Answered(asked.clone().verified(verdict, Source::Memory)));
            }
            Found::Nothing(place) => place,
        };
        let job = VerifyJob {
            snapshot: Arc::clone(snapshot),
            asked: asked.clone(),
            subject: reference.to_string(),
            give_up_at: asking.give_up_at,
            headers: self.trace_headers(asked),
            place,
        };
        let flight = self.flight_key(asking, asked, reference.as_str());
        self.fly(asking, asked, flight, || job.run())
    }

    fn begin_mutation(&self, asking: &Asking, asked: &Asked) -> Result<Begun, Failure> {
        asked.log(&format!("mutating image {}", asked.logged_key()));
        let reference = asked.reference().map_err(|error| {
            let outer = ErrorCode::ReferenceInvalid
                .detail(format!("failed to parse image reference {}", asked.key));
            Failure::lasting(&outer.with_source(error))
        })?;
        check_components(asking.snapshot.view(&asked.namespace), Operation::Mutate)
            .map_err(|error| Failure::lasting(&error))?;
        if reference.digest().is_some() {
            return Ok(Begun::Answered(asked.mutated(asked.key.clone(), String::new())));
        }
        let (work_on, asked_again) = (Arc::clone(&asking.snapshot), asked.clone());
        // The texts name the key, so that it is what makes two questions the same.
        let flight = self.flight_key(asking, asked, &asked.key);
        let (give_up_at, keeps_tag) = (asking.give_up_at, self.config.mutation_keeps_tag);
        let headers = self.trace_headers(asked);
        let work = move || async move {
            let (began, key) = (Instant::now(), &asked_again.key);
            let executor = &work_on.view(&asked_again.namespace).executor;
            let work = work_for(&asked_again, give_up_at).with_trace_headers(headers);
            let found = resolve(executor, &reference, key, &work).await;
            let shown = asked_again.logged_key();
            asked_again.log_time(format_args!("mutation: execution time for image {shown}"), began);
            spans::failed(&Span::current(), &found);
            let found = found.map(|digest| mutated(&reference, &digest, keeps_tag));
            Outcome::Mutated(found.map_err(|error| Failure::of(&error)))
        };
        self.fly(asking, asked, flight, work)
    }

    fn fly<F>(
        &self,
        asking: &Asking,
        asked: &Asked,
        key: FlightKey,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Begun, Failure>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let terms = Terms { images: asking.images, give_up_at: asking.give_up_at + GIVE_UP_GRACE };
        let (asker, asked_at) = (Spot::here(), Instant::now());
        let (subject, namespace) = (key.subject.clone(), Arc::clone(&key.namespace));
        let (name, trace_id) = (asking.operation.name(), asked.trace_id.clone());
        let work = move || {
            let span = spans::work(name, &trace_id, &namespace, asker);
            spans::note(&span, "ratify.subject", &subject);
            spans::waited(&span, asked_at.elapsed());
            work().instrument(span)
        };
        let begun = self.flights.join(key, terms, asker, work);
        begun.map(Begun::Waiting).map_err(|full| not_done(&full))
    }

    /// As v1 means to: registries get the headers that a trace id is taken from.
    fn trace_headers(&self, asked: &Asked) -> Vec<(String, String)> {
        let names = self.config.trace_id_headers.iter();
        names.map(|name| (name.clone(), asked.trace_id.clone())).collect()
    }

    fn flight_key(&self, asking: &Asking, asked: &Asked, subject: &str) -> FlightKey {
        FlightKey {
            snapshot: Arc::downgrade(&asking.snapshot),
            rules: self.rules.now(),
            is_mutation: asking.operation == Operation::Mutate,
            namespace: asked.namespace.as_str().into(),
            subject: subject.to_owned(),
        }
    }
}

/// Work that was not done, which says nothing of the image.
fn not_done(why: &impl ToString) -> Failure {
    Failure::passing(ErrorCode::ExecutorFailure.detail(why.to_string()).to_string())
}

/// The verification of one subject, as a flight runs it.
struct VerifyJob {
    snapshot: Arc<Snapshot>,
    asked: Asked,
    subject: String,
    give_up_at: Instant,
    /// What registries are told of the request.
    headers: Vec<(String, String)>,
    /// Where its verdict is kept.
    place: Place,
}

impl VerifyJob {
    async fn run(mut self) -> Outcome {
        if let Some(verdict) = self.place.of_others().await {
            self.asked.log_debug(format_args!("cache hit for subject {}", self.subject));
            return Outcome::Shared(verdict);
        }
        let view = self.snapshot.view(&self.asked.namespace);
        let version = view.executor.policy.as_ref().map_or("", |policy| policy.response_version());
        let context = work_for(&self.asked, self.give_up_at)
            .with_trace_headers(std::mem::take(&mut self.headers));
        let parameters = VerifyParameters::new(self.subject.as_str()).with_context(context);
        let began = Instant::now();
        let digest = OnceLock::new();
        let log = |notice: Notice| {
            self.asked.log_notice(&notice);
            if let Notice::Resolved { digest: of_image } = notice {
                // The image is resolved before what is attached to it.
                let _ = digest.set(of_image);
            }
        };
        let verified = view.verify(&parameters, &log).await;
        let what = format_args!("verification: execution time for image {}", self.subject);
        self.asked.log_time(what, began);
        spans::failed(&Span::current(), &verified);
        Outcome::Verified(self.verdict(view, version, digest.get(), verified))
    }

    /// What is answered, and kept where it may be.
    fn verdict(
        &self,
        view: &View,
        version: &'static str,
        digest: Option<&Digest>,
        verified: Result<VerifyResult>,
    ) -> Result<Arc<Verdict>, Failure> {
        let failed = |error| Failure::of(&ErrorCode::ExecutorFailure.error().with_source(error));
        let result = verified.map_err(failed)?;
        self.log_response(version, &result);
        if result.is_transient() {
            return Err(Failure::of_moment(&result));
        }
        let verdict = Verdict::new(version, &result)
            .map_err(|error| failed(ErrorCode::DataEncodingFailure.error().with_source(error)))?;
        let verdict = Arc::new(verdict.of_digest(digest.map_or("", Digest::as_str)));
        Span::current().record("ratify.success", verdict.is_success);
        self.place.keep(view, &verdict, result.standing());
        Ok(verdict)
    }

    /// v1's line, for who debugs: its verdicts are logged when they are answered.
    fn log_response(&self, version: &'static str, result: &VerifyResult) {
        if !tracing::enabled!(Level::DEBUG) {
            return;
        }
        let trace_id = self.asked.trace_id.clone();
        let response =
            VerificationResponse::new(version, result.clone(), trace_id, Timestamp::now());
        if let Ok(text) = go_json::to_string_pretty(&response) {
            let subject = &self.subject;
            self.asked
                .log_debug(format_args!("verification response for subject {subject}: \n{text}"));
        }
    }
}

/// The work for a key: it ends then, and is the namespace's that the key names.
fn work_for(asked: &Asked, give_up_at: Instant) -> Context {
    Context::until(Some(give_up_at.into_std())).with_tenant(asked.namespace.as_str())
}

/// What is missing, in v1's order and words. A mutation needs a store only.
fn check_components(view: &View, operation: Operation) -> Result<()> {
    let executor = &view.executor;
    let missing = |component, detail: &str| {
        Err(ErrorCode::ConfigInvalid.detail(detail).from_component(component, ""))
    };
    if executor.stores.is_empty() {
        let detail = "referrer store config should have at least one store";
        return missing(ComponentType::ReferrerStore, detail);
    }
    if operation == Operation::Mutate {
        return Ok(());
    }
    if executor.policy.is_none() {
        let detail = "policy provider config is not provided";
        if let Some(why) = &view.policy_error {
            return missing(ComponentType::PolicyProvider, &format!("{detail}: {why}"));
        }
        return missing(ComponentType::PolicyProvider, detail);
    }
    if executor.verifiers.is_empty() {
        let detail = "verifiers config should have at least one verifier";
        return missing(ComponentType::Verifier, detail);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ratify_core::executor::Executor;

    use super::*;

    #[test]
    fn what_is_missing_is_said_in_v1s_order() {
        let view = View::new(Executor::new(vec![], vec![], None));
        for operation in [Operation::Verify, Operation::Mutate] {
            assert_eq!(
                check_components(&view, operation).unwrap_err().to_string(),
                "CONFIG_INVALID: referrer store config should have at least one store"
            );
        }
    }
}
