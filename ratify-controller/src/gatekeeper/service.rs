//! [`Service`]: answers the keys of a request, each on its own.
//!
//! There are two times. At the first, the request's, it answers: what is finished as it is, what
//! is not with an error that says so. At the second, `give_up_after`, the work behind a key ends;
//! until then it goes on, and who asks again meanwhile waits for the same work.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use jiff::Timestamp;
use ratify_core::{
    ComponentType, Context, ErrorCode, Reference, Result, VerifyResult,
    config::Config,
    executor::{Executor, VerifyParameters},
    go_json,
};
use tokio::time::{Instant, timeout_at};

use super::{
    asked::{Asked, Operation, Outcome},
    flights::{FlightKey, Flights, Waiting},
    verdict::Verdict,
    wire::{Item, VerificationResponse},
};
use crate::{
    cache::{Found, Place, VerdictCache},
    state::{Active, Snapshot, View},
};

/// The one store that mutations are resolved in (v1).
const MUTATION_STORE: &str = "oras";
/// Told apart from a verifier's own time so that it can say what was late itself.
const GIVE_UP_GRACE: Duration = Duration::from_secs(1);

/// How long and how much. v1 takes these when it starts; a reload does not change them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// Within this a verification is answered.
    pub verify_within: Duration,
    /// Within this a mutation is answered.
    pub mutate_within: Duration,
    /// After this, counted from the request, work is given up.
    pub give_up_after: Duration,
    /// How many images are worked on at once, over all requests.
    pub at_once: usize,
    /// How many images may wait or be worked on; more are refused.
    pub most: usize,
    /// The headers a request's trace id is taken from, first found first.
    pub trace_id_headers: Vec<String>,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self::from_config(&Config::default())
    }
}

impl ServiceConfig {
    /// What a configuration says, and defaults for what it cannot say.
    pub fn from_config(config: &Config) -> Self {
        Self {
            verify_within: Duration::from_millis(config.executor.verification_ms()),
            mutate_within: Duration::from_millis(config.executor.mutation_ms()),
            give_up_after: Duration::from_secs(30),
            at_once: 64,
            most: 2000,
            trace_id_headers: config.logger.trace_id_headers.clone(),
        }
    }
}

/// Answers the keys of requests.
pub struct Service {
    active: Arc<Active>,
    config: ServiceConfig,
    flights: Arc<Flights<Outcome>>,
    verdicts: VerdictCache,
}

/// A key on its way to its item.
enum Begun {
    Answered(Item),
    Waiting(Waiting<Outcome>),
}

impl Service {
    /// Answers out of whatever configuration is in force when a request arrives.
    pub fn new(active: Arc<Active>, config: ServiceConfig) -> Self {
        let flights = Arc::new(Flights::new(config.at_once, config.most));
        Self { active, config, flights, verdicts: VerdictCache::default() }
    }

    /// The same with a cache of verdicts.
    #[must_use]
    pub fn with_cache(mut self, verdicts: VerdictCache) -> Self {
        self.verdicts = verdicts;
        self
    }

    pub(super) fn config(&self) -> &ServiceConfig {
        &self.config
    }

    pub(super) fn within(&self, operation: Operation) -> Duration {
        match operation {
            Operation::Verify => self.config.verify_within,
            Operation::Mutate => self.config.mutate_within,
        }
    }

    /// Items in the order of the keys (v1: as they are finished). All keys see one configuration.
    pub(super) async fn answer(
        &self,
        operation: Operation,
        keys: Vec<String>,
        trace_id: &str,
        started: Instant,
    ) -> Vec<Item> {
        let snapshot = self.active.snapshot();
        let answer_by = started + self.within(operation);
        let begun: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let asked = Asked::new(&key, trace_id);
                let begun = self.begin(operation, &asked, &snapshot, started);
                (asked, begun)
            })
            .collect();
        join_all(begun.into_iter().map(|(asked, begun)| async move {
            match begun {
                Begun::Answered(item) => item,
                Begun::Waiting(waiting) => match timeout_at(answer_by, waiting.landed()).await {
                    Ok(Ok(outcome)) => asked.item(operation, &outcome),
                    Ok(Err(lost)) => asked.failed(
                        operation,
                        ErrorCode::ExecutorFailure.detail(lost.to_string()).to_string(),
                    ),
                    Err(_) => asked.late(operation, self.within(operation)),
                },
            }
        }))
        .await
    }

    /// All that needs no waiting; the rest becomes a flight.
    fn begin(
        &self,
        operation: Operation,
        asked: &Asked,
        snapshot: &Arc<Snapshot>,
        started: Instant,
    ) -> Begun {
        let begun = match operation {
            Operation::Verify => self.begin_verification(asked, snapshot, started),
            Operation::Mutate => self.begin_mutation(asked, snapshot, started),
        };
        begun.unwrap_or_else(|error| {
            asked.log_error(&error);
            Begun::Answered(asked.failed(operation, error))
        })
    }

    fn begin_verification(
        &self,
        asked: &Asked,
        snapshot: &Arc<Snapshot>,
        started: Instant,
    ) -> Result<Begun, String> {
        let reference = asked.reference().map_err(|error| error.to_string())?;
        check_components(snapshot.view(&asked.namespace), Operation::Verify)
            .map_err(|error| error.to_string())?;
        if reference.digest().is_none() {
            asked.log_warning("Digest should be used instead of tagged reference. The resolved digest may not point to the same signed artifact, since tags are mutable.");
        }
        asked.log(&format!("verifying subject {reference}"));
        let view = snapshot.view(&asked.namespace);
        let place = match self.verdicts.find(view, &asked.namespace, &reference) {
            Found::Verdict(verdict) => {
                asked.log_debug(&format!("cache hit for subject {reference}"));
                return Ok(Begun::Answered(asked.clone().verified(verdict)));
            }
            Found::Nothing(place) => place,
        };
        let give_up_at = started + self.config.give_up_after;
        let job = VerifyJob {
            snapshot: Arc::clone(snapshot),
            asked: asked.clone(),
            subject: reference.to_string(),
            give_up_at,
            place,
        };
        let key = flight_key(snapshot, Operation::Verify, asked, reference.as_str());
        self.flights
            .join(key, give_up_at + GIVE_UP_GRACE, || job.run())
            .map(Begun::Waiting)
            .map_err(|full| ErrorCode::ExecutorFailure.detail(full.to_string()).to_string())
    }

    fn begin_mutation(
        &self,
        asked: &Asked,
        snapshot: &Arc<Snapshot>,
        started: Instant,
    ) -> Result<Begun, String> {
        asked.log(&format!("mutating image {}", asked.logged_key()));
        let reference = asked.reference().map_err(|error| {
            let outer = ErrorCode::ReferenceInvalid
                .detail(format!("failed to parse image reference {}", asked.key));
            outer.with_source(error).to_string()
        })?;
        check_components(snapshot.view(&asked.namespace), Operation::Mutate)
            .map_err(|error| error.to_string())?;
        if reference.digest().is_some() {
            return Ok(Begun::Answered(asked.mutated(asked.key.clone(), String::new())));
        }
        let give_up_at = started + self.config.give_up_after;
        let (work_on, asked_again) = (Arc::clone(snapshot), asked.clone());
        // The texts name the key, so that it is what makes two questions the same.
        let flight = flight_key(snapshot, Operation::Mutate, asked, &asked.key);
        self.flights
            .join(flight, give_up_at + GIVE_UP_GRACE, || async move {
                let (began, key) = (Instant::now(), &asked_again.key);
                let executor = &work_on.view(&asked_again.namespace).executor;
                let work = work_for(&asked_again, give_up_at);
                let found = resolve(executor, &reference, key, &work).await;
                let shown = asked_again.logged_key();
                asked_again.log_time(&format!("mutation: execution time for image {shown}"), began);
                Outcome::Mutated(found.map_err(|error| error.to_string()))
            })
            .map(Begun::Waiting)
            .map_err(|full| ErrorCode::ExecutorFailure.detail(full.to_string()).to_string())
    }
}

fn flight_key(
    snapshot: &Arc<Snapshot>,
    operation: Operation,
    asked: &Asked,
    subject: &str,
) -> FlightKey {
    FlightKey {
        snapshot: Arc::as_ptr(snapshot).addr(),
        is_mutation: operation == Operation::Mutate,
        namespace: asked.namespace.clone(),
        subject: subject.to_owned(),
    }
}

/// The verification of one subject, as a flight runs it.
struct VerifyJob {
    snapshot: Arc<Snapshot>,
    asked: Asked,
    subject: String,
    give_up_at: Instant,
    /// Where its verdict is kept.
    place: Place,
}

impl VerifyJob {
    async fn run(self) -> Outcome {
        if let Some(verdict) = self.place.of_others().await {
            self.asked.log_debug(&format!("cache hit for subject {}", self.subject));
            return Outcome::Verified(Ok(verdict));
        }
        let view = self.snapshot.view(&self.asked.namespace);
        let version = view.executor.policy.as_ref().map_or("", |policy| policy.response_version());
        let parameters = VerifyParameters::new(self.subject.as_str())
            .with_context(work_for(&self.asked, self.give_up_at));
        let began = Instant::now();
        let log = |notice| self.asked.log_notice(&notice);
        let verified = view.verify(&parameters, &log).await;
        self.asked
            .log_time(&format!("verification: execution time for image {}", self.subject), began);
        let verdict = verified.and_then(|result| {
            self.log_response(version, &result);
            let verdict = Verdict::new(version, &result)
                .map_err(|error| ErrorCode::DataEncodingFailure.error().with_source(error))?;
            let verdict = Arc::new(verdict);
            self.place.keep(view, &verdict, result.standing());
            Ok(verdict)
        });
        Outcome::Verified(
            verdict
                .map_err(|error| ErrorCode::ExecutorFailure.error().with_source(error).to_string()),
        )
    }

    fn log_response(&self, version: &'static str, result: &VerifyResult) {
        let trace_id = self.asked.trace_id.clone();
        let response =
            VerificationResponse::new(version, result.clone(), trace_id, Timestamp::now());
        if let Ok(text) = go_json::to_string_pretty(&response) {
            let subject = &self.subject;
            self.asked.log(&format!("verification response for subject {subject}: \n{text}"));
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

/// What a tag stands for. Namespace and tag are dropped, as in v1.
async fn resolve(
    executor: &Executor,
    reference: &Reference,
    key: &str,
    work: &Context,
) -> Result<String> {
    let Some(store) = executor.stores.iter().find(|store| store.name() == MUTATION_STORE) else {
        return Err(ErrorCode::ReferrerStoreFailure
            .detail(format!(
                "failed to mutate image reference {key}: could not find matching store {MUTATION_STORE}"
            ))
            .from_component(ComponentType::ReferrerStore, ""));
    };
    match store.resolve(reference, work).await {
        Ok(descriptor) => Ok(reference.sibling(&descriptor.digest).to_string()),
        Err(error) => Err(ErrorCode::GetSubjectDescriptorFailure
            .detail(format!("failed to get subject descriptor for image {key}"))
            .with_source(error)
            .from_component(ComponentType::ReferrerStore, store.name())),
    }
}

#[cfg(test)]
mod tests {
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
