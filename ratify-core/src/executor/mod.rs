//! [`Executor`]: decides about one subject. It asks the stores what is attached, lets verifiers
//! judge each artifact (the first that fits under the config policy, all under a Rego policy), and
//! hands the reports to the policy.
//!
//! - `gather`: a queue of jobs, at most so many at once, collects [`Evidence`] into a tree;
//! - `judge`: a pure fold makes the verdict of the tree. A Rego policy computes meanwhile, so that
//!   whoever shares the thread gathers first and judges on another: [`Executor::judge`];
//! - `bind`: whether an artifact belongs to the subject it is listed for;
//! - [`StoreHost`]: the door of an in-process verifier to the request's store.
//!
//! There is no runtime here. `give_up_at` is passed on to stores and verifiers, and whoever awaits
//! [`Executor::verify`] decides how long; the clock is read only to tell what came too late, and
//! for the policy.

mod bind;
mod gather;
mod host;
mod judge;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod trace;

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use tracing::Instrument as _;
#[cfg(feature = "rego")]
use tracing::Span;

use crate::{
    Basis, ComponentType, Context, Descriptor, Digest, Error, ErrorCode, Reference, ReferrerStore,
    Result, Verifier, VerifyResult, policy::Policy,
};

pub use host::{Doors, StoreHost};

/// Stores, verifiers and a policy: what a configuration comes to.
#[derive(Clone)]
#[non_exhaustive]
pub struct Executor {
    /// Where artifacts are kept, in the configured order.
    pub stores: Vec<Arc<dyn ReferrerStore>>,
    /// Who judges, in the configured order: the first that fits an artifact judges it.
    pub verifiers: Vec<Arc<dyn Verifier>>,
    /// What decides; without one there is no verdict, only an error.
    pub policy: Option<Policy>,
    /// How much one request may ask for.
    pub limits: Limits,
    /// What built-in verifiers may have besides the artifact.
    pub doors: Doors,
}

/// Bounds of one request. Reaching one is an error, never a shorter list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How many lists and verifications run at once.
    pub concurrency: usize,
    /// How deep artifacts may be attached to artifacts.
    pub nesting: usize,
    /// How many artifacts are looked at, nested ones included.
    pub referrers: usize,
    /// How many pages one store's list may have.
    pub pages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 16, nesting: 8, referrers: 1000, pages: 100 }
    }
}

/// What is to be verified.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyParameters {
    /// The image, as asked.
    pub subject: String,
    /// Passed on to the stores, which may heed it; nothing is filtered here (as v1).
    pub reference_types: Vec<String>,
    /// Until when and for whom; what is asked of registries is counted in it.
    pub context: Context,
}

impl VerifyParameters {
    /// Every artifact of a subject, without a time to give up at.
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..Self::default() }
    }

    /// The same with the artifact types to ask stores for.
    #[must_use]
    pub fn with_reference_types(mut self, types: Vec<String>) -> Self {
        self.reference_types = types;
        self
    }

    /// The same as part of other work.
    #[must_use]
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// Told of what happens on the way to a verdict, when it happens.
pub type Observe<'a> = &'a (dyn Fn(Notice) + Sync);

/// Something worth a line in the log. `Display` is v1's text where v1 has one.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The subject, or a nested one, is known by its digest.
    Resolved {
        /// The digest.
        digest: Digest,
    },
    /// A store did not know the subject; the next one is asked.
    NotResolved {
        /// The name of the store.
        store: String,
        /// Why not.
        error: Error,
    },
    /// The policy could not be asked, or gave no verdict: the subject is refused.
    NotDecided {
        /// v1's line.
        fault: String,
    },
    /// An artifact is listed for a subject that it does not belong to, or could not be shown to.
    NotBound {
        /// The artifact.
        artifact: Digest,
        /// Why not.
        error: Error,
    },
}

impl Notice {
    /// Whether it is a warning; otherwise it is for information.
    pub const fn is_warning(&self) -> bool {
        !matches!(self, Self::Resolved { .. })
    }

    /// Whether it is an error of the configuration; it is a warning too.
    pub const fn is_error(&self) -> bool {
        matches!(self, Self::NotDecided { .. })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolved { digest } => write!(
                formatter,
                "Resolve of the image completed successfully the digest is {digest}"
            ),
            Self::NotResolved { error, .. } => write!(formatter, "{error}"),
            Self::NotDecided { fault } => write!(formatter, "{fault}"),
            Self::NotBound { artifact, error } => {
                write!(formatter, "artifact {artifact} is not taken into account: {error}")
            }
        }
    }
}

/// All there is about a subject, before anyone has judged it.
pub struct Evidence {
    asked: String,
    /// Whether the time was up: what was still at work has only a failure to say for itself.
    is_late: bool,
    /// The first is what was asked about; or why there is nothing.
    subjects: Result<Vec<gather::Subject>>,
}

impl Executor {
    /// An executor with the default [`Limits`].
    pub fn new(
        stores: Vec<Arc<dyn ReferrerStore>>,
        verifiers: Vec<Arc<dyn Verifier>>,
        policy: Option<Policy>,
    ) -> Self {
        Self { stores, verifiers, policy, limits: Limits::default(), doors: Doors::default() }
    }

    /// The same executor with other bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same executor, whose built-in verifiers may have this.
    #[must_use]
    pub fn with_doors(mut self, doors: Doors) -> Self {
        self.doors = doors;
        self
    }

    /// Adds all that its verdicts rest on: stores and verifiers in their order, policy and bounds.
    pub fn add_basis(&self, basis: &mut Basis) {
        basis.add("limits", format!("{:?}", self.limits));
        for store in &self.stores {
            basis.add("store", store.name());
            store.add_basis(basis);
        }
        for verifier in &self.verifiers {
            basis.add("verifier", verifier.name());
            verifier.add_basis(basis);
            let rings = &self.doors.key_rings;
            match verifier.named_keys() {
                Some(names) => names.iter().for_each(|name| rings.add_basis(Some(name), basis)),
                None => rings.add_basis(None, basis),
            }
        }
        match &self.policy {
            Some(policy) => policy.add_basis(basis),
            None => basis.add("no policy", ""),
        }
    }

    /// Decides about a subject. Reports are in the order of the stores, of their lists and of the
    /// verifiers (random in v1). A Rego policy computes on the thread of the caller.
    ///
    /// # Errors
    /// As [`Executor::gather`] and [`Executor::judge`].
    pub async fn verify(
        &self,
        parameters: &VerifyParameters,
        observe: Observe<'_>,
    ) -> Result<VerifyResult> {
        let evidence = self.gather(parameters, observe).await?;
        self.judge(evidence, SystemTime::now(), observe)
    }

    /// Collects the evidence about a subject: all that waits for others.
    ///
    /// # Errors
    /// Only where there is no policy: any other failure is part of the evidence.
    pub async fn gather(
        &self,
        parameters: &VerifyParameters,
        observe: Observe<'_>,
    ) -> Result<Evidence> {
        if self.policy.is_none() {
            return Err(ErrorCode::PolicyProviderNotFound.detail("Policy configuration not found"));
        }
        let subjects = match Reference::parse_subject(&parameters.subject) {
            Ok(subject) => Ok(gather::gather(self, subject, parameters, observe).await),
            Err(error) => Err(error),
        };
        let is_late = parameters.context.give_up_at.is_some_and(|end| Instant::now() >= end);
        Ok(Evidence { asked: parameters.subject.clone(), is_late, subjects })
    }

    /// Makes the verdict of the evidence that this executor gathered. It waits for nobody, but may
    /// compute for a second: on a thread that others share, let it be another. `at` is what a
    /// policy takes for the time.
    ///
    /// # Errors
    /// Where there is no policy; and under a Rego policy, of which v1 makes no report, whatever
    /// kept any part of the evidence from being complete, or the policy from an end.
    pub fn judge(
        &self,
        evidence: Evidence,
        at: SystemTime,
        observe: Observe<'_>,
    ) -> Result<VerifyResult> {
        let span = trace::policy(self.policy.as_ref());
        let judged = span.in_scope(|| self.judge_by_policy(evidence, at, observe));
        trace::judged(&span, &judged);
        judged
    }

    #[cfg_attr(
        not(feature = "rego"),
        expect(unused_variables, reason = "Rego alone asks for them")
    )]
    fn judge_by_policy(
        &self,
        evidence: Evidence,
        at: SystemTime,
        observe: Observe<'_>,
    ) -> Result<VerifyResult> {
        let Evidence { asked, is_late, subjects } = evidence;
        match &self.policy {
            None => Err(ErrorCode::PolicyProviderNotFound.detail("Policy configuration not found")),
            Some(Policy::Config(policy)) => Ok(match subjects {
                Ok(mut subjects) => judge::by_config(&mut subjects, 0, policy, &asked),
                Err(error) => crate::policy::failed_report(&asked, error),
            }),
            #[cfg(feature = "rego")]
            Some(Policy::Rego(policy)) => {
                let reports = judge::for_rego(&mut subjects?, 0)?;
                if is_late {
                    return Err(ErrorCode::ExecutorFailure
                        .detail("the time was up before every artifact was verified")
                        .passing(true));
                }
                let judgement = policy.decide(&reports, at);
                if let Some(fault) = judgement.fault {
                    crate::spans::fail_with(&Span::current(), "policy", &fault, "");
                    // A machine that is busy ends what is quick otherwise.
                    if judgement.is_unfinished {
                        return Err(ErrorCode::ExecutorFailure.detail(fault).passing(true));
                    }
                    observe(Notice::NotDecided { fault });
                }
                Ok(VerifyResult::new(judgement.is_success, reports))
            }
        }
    }

    /// Whether artifacts count that no verifier fits: under a Rego policy, which sees them all.
    fn counts_every_artifact(&self) -> bool {
        !matches!(self.policy, None | Some(Policy::Config(_)))
    }

    /// Whether it is asked what is attached to any artifact, which costs a registry a list each.
    fn looks_into_every_artifact(&self) -> bool {
        self.policy.as_ref().is_some_and(Policy::looks_into_every_artifact)
    }

    /// Who judges an artifact of a type: the first that fits, or under a Rego policy all of them.
    fn fitting(&self, artifact_type: &str) -> Vec<Arc<dyn Verifier>> {
        let fitting = self.verifiers.iter().filter(|one| one.can_verify(artifact_type)).cloned();
        match self.counts_every_artifact() {
            true => fitting.collect(),
            false => fitting.take(1).collect(),
        }
    }

    /// Finds out what a subject's tag stands for: the stores are asked in order, the first answer
    /// counts.
    ///
    /// # Errors
    /// When no store knows the subject; `observe` is told why.
    pub async fn resolve(
        &self,
        subject: &Reference,
        context: &Context,
        observe: Observe<'_>,
    ) -> Result<Descriptor> {
        let mut is_transient = false;
        for store in &self.stores {
            match resolve_in(store.as_ref(), subject, context).await {
                Ok(descriptor) => {
                    observe(Notice::Resolved { digest: descriptor.digest.clone() });
                    return Ok(descriptor);
                }
                Err(error) => {
                    is_transient |= error.is_transient();
                    observe(Notice::NotResolved { store: store.name().to_owned(), error });
                }
            }
        }
        Err(ErrorCode::ReferrerStoreFailure
            .detail("could not resolve descriptor for a subject from any stores")
            .from_component(ComponentType::ReferrerStore, "")
            .passing(is_transient))
    }
}

async fn resolve_in(
    store: &dyn ReferrerStore,
    subject: &Reference,
    context: &Context,
) -> Result<Descriptor> {
    let span = trace::resolve(store.name(), subject);
    let resolved = gather::guarded(async { store.resolve(subject, context).await });
    let resolved = resolved.instrument(span.clone()).await;
    let checked = resolved.and_then(|descriptor| match subject.digest() {
        Some(asked) if *asked != descriptor.digest => Err(ErrorCode::ReferrerStoreFailure.detail(
            format!("the store answered the question for {asked} with {}", descriptor.digest),
        )),
        _ => Ok(descriptor),
    });
    if let Ok(descriptor) = &checked {
        span.record("ratify.digest", descriptor.digest.as_str());
    }
    trace::failed(&span, &checked);
    checked.map_err(|error| {
        ErrorCode::GetSubjectDescriptorFailure
            .detail("failed to resolve the subject descriptor")
            .with_source(error)
            .from_component(ComponentType::ReferrerStore, store.name())
    })
}
