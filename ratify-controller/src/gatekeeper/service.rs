//! [`Service`]: answers the keys of a request, each on its own.
//!
//! There are two times. At the first, the request's, it answers: what is finished as it is, and
//! that the rest is not. At the second, `give_up_after`, the work behind a key ends; until then it
//! goes on, and who asks again meanwhile waits for the same work.
//!
//! What is found out about an image is an item, which Gatekeeper keeps for minutes, errors too. What
//! stands in the way of finding out is no item but a system error, which is not kept.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;
use prometheus_client::metrics::histogram::Histogram;
use ratify_core::{ComponentType, ErrorCode, Result};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{Instrument as _, Span};

use super::{
    asked::{Answer, Asked, Failure, Operation, Outcome, Source, Unanswered},
    config::ServiceConfig,
    flights::{Bounds, FlightKey, Flights, Keep, Load, Terms, Waiting},
    mutation::{mutated, resolve},
    times::Times,
    verdict::Verdict,
    verification::{Verification, work_for},
    wire::Item,
};
use crate::{
    cache::{Fingerprint, Found, LookUps, VerdictCache},
    metrics::{Measures, Told},
    plugin::rules::RulesInForce,
    state::{Active, Snapshot, View},
    telemetry::{
        self,
        spans::{self, Spot},
    },
};

/// Told apart from a verifier's own time so that it can say what was late itself.
const GIVE_UP_GRACE: Duration = Duration::from_secs(1);
/// What v1 says of a tag.
const MUTABLE: &str = "Digest should be used instead of tagged reference. The resolved digest may \
                       not point to the same signed artifact, since tags are mutable.";

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
    /// A verdict that was reached a moment ago.
    Kept(Arc<Verdict>),
    Waiting(Waiting<Outcome>),
}

/// A key that waits, and its place among the keys.
struct Waits {
    index: usize,
    asked: Asked,
    waiting: Waiting<Outcome>,
    span: Span,
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
    /// Answers out of whatever configuration is in force when a request arrives. The work for that is
    /// done on the threads of whoever calls this.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(active: Arc<Active>, config: ServiceConfig) -> Self {
        let bounds = Bounds {
            at_once: config.at_once,
            behind: config.behind,
            waiting: config.waiting,
            waiting_bytes: config.waiting_bytes,
        };
        let keep = Keep { for_: config.keep_late, bytes: config.late_bytes };
        let flights = Arc::new(Flights::new(bounds, keep, Outcome::to_keep));
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
        trace_id: &Arc<str>,
        started: Instant,
    ) -> Answered {
        let asking = Asking {
            operation,
            snapshot: self.active.snapshot(),
            give_up_at: started + self.config.give_up_after,
            images: keys.len(),
        };
        let within = self.within(operation);
        let mut answers = Vec::with_capacity(keys.len());
        let mut waits = Vec::new();
        {
            let _lines = telemetry::together();
            let mut kept = self.verdicts.look_up();
            for (index, key) in keys.into_iter().enumerate() {
                let asked = Asked::new(key, trace_id, started);
                let span = spans::key(&asked.key);
                answers.push(match span.in_scope(|| self.begin(&asking, &asked, &mut kept)) {
                    Ok(Begun::Answered(item)) => Some(Answer::Item(item).told()),
                    Ok(Begun::Kept(verdict)) => {
                        let item = span.in_scope(|| asked.verified(verdict, Source::Memory));
                        Some(Answer::Item(item).told())
                    }
                    Ok(Begun::Waiting(waiting)) => {
                        waits.push(Waits { index, asked, waiting, span });
                        None
                    }
                    Err(failure) => {
                        Some(span.in_scope(|| asked.failure(operation, failure)).told())
                    }
                });
            }
        }
        if !waits.is_empty() {
            let waits = waits.into_iter().map(|one| self.wait(one, operation, started + within));
            for (index, answer) in join_all(waits).await {
                answers[index] = Some(answer);
            }
        }
        let (mut items, mut unanswered) = (Vec::with_capacity(answers.len()), Vec::new());
        for (answer, told) in answers.into_iter().flatten() {
            self.measures.told(told);
            match answer {
                Answer::Item(item) => items.push(item),
                Answer::Nothing(why) => unanswered.push(why),
            }
        }
        Answered { items, unanswered }
    }

    /// The answer of a flight, or that there is none by then.
    async fn wait(
        &self,
        one: Waits,
        operation: Operation,
        answer_by: Instant,
    ) -> (usize, (Answer, Told)) {
        let Waits { index, asked, waiting, span } = one;
        let answer = async {
            let source = waiting.source();
            tokio::select! {
                biased;
                landed = waiting.landed() => match landed {
                    Ok(outcome) => asked.answer(operation, &outcome, source).told(),
                    Err(lost) => asked.failure(operation, not_done(&lost)).told(),
                },
                () = self.time_is_over(answer_by) => {
                    let told = match operation {
                        Operation::Verify => Told::Late,
                        Operation::Mutate => Told::LateResolution,
                    };
                    (asked.late(operation, answer_by - asked.began), told)
                }
            }
        };
        (index, answer.instrument(span).await)
    }

    /// All that needs no waiting; the rest becomes a flight.
    fn begin<'a>(
        &self,
        asking: &'a Asking,
        asked: &Asked,
        kept: &mut LookUps<'a>,
    ) -> Result<Begun, Failure> {
        match asking.operation {
            Operation::Verify => self.begin_verification(asking, asked, kept),
            Operation::Mutate => self.begin_mutation(asking, asked),
        }
    }

    fn begin_verification<'a>(
        &self,
        asking: &'a Asking,
        asked: &Asked,
        kept: &mut LookUps<'a>,
    ) -> Result<Begun, Failure> {
        let view = asking.snapshot.view(asked.namespace());
        // What is kept was asked for in the same words.
        let place = match kept.find(view, asked.namespace(), asked.subject()) {
            Found::Verdict(verdict) => {
                if !asked.subject().contains('@') {
                    asked.log_warning(MUTABLE);
                }
                asked.log_debug(format_args!("cache hit for subject {}", asked.subject()));
                return Ok(Begun::Kept(verdict));
            }
            Found::Nothing(place) => place,
        };
        let reference = asked.reference().map_err(|error| Failure::lasting(&error))?;
        let snapshot = &asking.snapshot;
        check_components(view, Operation::Verify).map_err(|error| Failure::lasting(&error))?;
        if reference.digest().is_none() {
            asked.log_warning(MUTABLE);
        }
        asked.log_debug(format_args!("verifying subject {reference}"));
        let job = Verification {
            snapshot: Arc::clone(snapshot),
            asked: asked.clone(),
            subject: reference.to_string(),
            give_up_at: asking.give_up_at,
            headers: self.trace_headers(asked),
            place: place.of(&reference),
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
        check_components(asking.snapshot.view(asked.namespace()), Operation::Mutate)
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
            let executor = &work_on.view(asked_again.namespace()).executor;
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
            telemetry::together_until_it_waits(work().instrument(span))
        };
        let begun = self.flights.join(key, terms, asker, work);
        begun.map(Begun::Waiting).map_err(|full| not_done(&full))
    }

    /// As v1 means to: registries get the headers that a trace id is taken from.
    fn trace_headers(&self, asked: &Asked) -> Vec<(String, String)> {
        let names = self.config.trace_id_headers.iter();
        names.map(|name| (name.clone(), asked.trace_id.to_string())).collect()
    }

    fn flight_key(&self, asking: &Asking, asked: &Asked, subject: &str) -> FlightKey {
        let rules = self.rules.now();
        FlightKey {
            snapshot: Arc::downgrade(&asking.snapshot),
            decides: Fingerprint::of(asking.snapshot.view(asked.namespace()), &rules),
            rules,
            is_mutation: asking.operation == Operation::Mutate,
            namespace: asked.namespace().into(),
            subject: subject.to_owned(),
        }
    }
}

/// Work that was not done, which says nothing of the image.
fn not_done(why: &impl ToString) -> Failure {
    Failure::passing(ErrorCode::ExecutorFailure.detail(why.to_string()).to_string())
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
