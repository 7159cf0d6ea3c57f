//! Collects the evidence about a subject: a queue of jobs, of which at most so many run at once,
//! fills a flat tree of subjects. Nested subjects are jobs like any other, so the bounds hold for
//! the whole request, and nothing here recurses.

use std::{any::Any, collections::VecDeque, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use tracing::{Instrument, Span};

use crate::{
    BoxFuture, ComponentType, Descriptor, Digest, Error, ErrorCode, Reference, Referrer,
    ReferrerPage, ReferrerStore, Request, Result, Verifier, VerifierReport, spans::fail,
};

use super::{Doors, Executor, Notice, Observe, StoreHost, VerifyParameters, bind, trace};

/// An image or artifact, and what is known about what is attached to it.
pub(super) struct Subject {
    pub(super) reference: Reference,
    /// A failure counts for the whole subject: an incomplete list proves nothing.
    pub(super) findings: Result<Vec<Finding>>,
    /// What stores left out of their lists.
    pub(super) left_out: Vec<String>,
    parent: Option<usize>,
    depth: usize,
}

/// One artifact and what was said about it.
#[cfg_attr(not(feature = "rego"), expect(dead_code, reason = "Rego alone asks for them"))]
pub(super) struct Finding {
    pub(super) artifact: Digest,
    pub(super) artifact_type: String,
    /// One of each verifier that judged it, in the configured order.
    pub(super) reports: Vec<VerifierReport>,
    /// What is attached to the artifact itself, where that is looked at.
    pub(super) nested: Option<usize>,
}

/// Resolves and lists a subject, or judges one of its artifacts.
enum Job {
    Open { subject: usize, span: Span },
    Judge { place: Place, question: Question },
}

/// Where a report belongs: a subject and the finding within it.
#[derive(Clone, Copy)]
struct Place {
    subject: usize,
    finding: usize,
}

/// One artifact and who judges it.
struct Question {
    subject: Reference,
    /// What the subject was resolved to.
    resolved: Arc<Descriptor>,
    store: Arc<dyn ReferrerStore>,
    referrer: Arc<Referrer>,
    verifiers: Vec<Arc<dyn Verifier>>,
    doors: Doors,
    /// Whether to look at what is attached to the artifact, whatever its verifiers want.
    looks_further: bool,
    /// The subject's.
    span: Span,
}

enum Done {
    Opened { subject: usize, outcome: Result<Opened>, span: Span },
    Judged { place: Place, judged: Box<Judged> },
}

/// A resolved subject and what is attached to it, in the order of the stores and their lists.
struct Opened {
    reference: Reference,
    descriptor: Arc<Descriptor>,
    listed: Vec<(Arc<dyn ReferrerStore>, Referrer)>,
    left_out: Vec<String>,
}

struct Judged {
    reports: Vec<VerifierReport>,
    /// What to look at next: the artifact as a subject.
    nested: Option<Reference>,
    /// The artifact's, which lasts as long as what is attached to it.
    span: Span,
}

struct Gathering<'a> {
    executor: &'a Executor,
    parameters: &'a VerifyParameters,
    observe: Observe<'a>,
    /// The tree: the first is what was asked about, the others are reached through findings.
    subjects: Vec<Subject>,
    waiting: VecDeque<Job>,
    referrers: usize,
}

/// Collects all there is about a subject.
pub(super) async fn gather(
    executor: &Executor,
    reference: Reference,
    parameters: &VerifyParameters,
    observe: Observe<'_>,
) -> Vec<Subject> {
    let mut gathering = Gathering {
        executor,
        parameters,
        observe,
        subjects: Vec::new(),
        waiting: VecDeque::new(),
        referrers: 0,
    };
    gathering.add_subject(reference, None, &Span::current());
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < executor.limits.concurrency.max(1) {
            let Some(job) = gathering.waiting.pop_front() else { break };
            running.push(gathering.start(job));
        }
        match running.next().await {
            Some(done) => gathering.take(done),
            None => return gathering.subjects,
        }
    }
}

/// Awaits work that may panic; a panic is an error like any other.
pub(super) async fn guarded<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&panic)))
}

impl<'a> Gathering<'a> {
    fn start(&self, job: Job) -> BoxFuture<'a, Done> {
        let (executor, parameters, observe) = (self.executor, self.parameters, self.observe);
        match job {
            Job::Open { subject, span } => {
                let node = &self.subjects[subject];
                let reference = node.reference.clone();
                let is_nested = node.parent.is_some();
                async move {
                    let opened = open(executor, parameters, observe, reference, is_nested);
                    let outcome = opened.instrument(span.clone()).await;
                    trace::failed(&span, &outcome);
                    Done::Opened { subject, outcome, span }
                }
                .boxed()
            }
            Job::Judge { place, question } => async move {
                let span = trace::artifact(&question.span, &question.referrer.descriptor);
                let judged = judge(question, parameters, observe, span.clone());
                Done::Judged { place, judged: Box::new(judged.instrument(span).await) }
            }
            .boxed(),
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Opened { subject, outcome, span } => {
                let findings =
                    outcome.and_then(|opened| self.ask_verifiers(subject, opened, &span));
                self.subjects[subject].findings = findings;
            }
            Done::Judged { place, judged } => {
                let nested = judged
                    .nested
                    .map(|next| self.add_subject(next, Some(place.subject), &judged.span));
                // The subject was listed without a failure, or there would be nothing to judge.
                if let Ok(findings) = &mut self.subjects[place.subject].findings {
                    let finding = &mut findings[place.finding];
                    finding.reports = judged.reports;
                    finding.nested = nested;
                }
            }
        }
    }

    /// A place in the tree, and a job to fill it unless a bound is reached.
    fn add_subject(&mut self, reference: Reference, parent: Option<usize>, within: &Span) -> usize {
        let span = trace::subject(within, &reference);
        let depth = parent.map_or(0, |parent| self.subjects[parent].depth + 1);
        let refusal = self.refuse_nesting(&reference, parent, depth);
        let subject = self.subjects.len();
        let findings = match refusal {
            Some(error) => {
                fail(&span, &error);
                Err(error)
            }
            None => {
                self.waiting.push_back(Job::Open { subject, span });
                Ok(Vec::new())
            }
        };
        self.subjects.push(Subject { reference, findings, left_out: Vec::new(), parent, depth });
        subject
    }

    fn refuse_nesting(
        &self,
        reference: &Reference,
        parent: Option<usize>,
        depth: usize,
    ) -> Option<Error> {
        let limit = self.executor.limits.nesting;
        if depth > limit {
            return Some(ErrorCode::ExecutorFailure.detail(format!(
                "artifacts are attached to artifacts more than {limit} levels deep"
            )));
        }
        let mut ancestor = parent;
        while let Some(index) = ancestor {
            let subject = &self.subjects[index];
            if subject.reference.digest() == reference.digest() {
                return Some(
                    ErrorCode::ExecutorFailure
                        .detail(format!("{reference} is attached, through others, to itself")),
                );
            }
            ancestor = subject.parent;
        }
        None
    }

    /// A finding and a job for each artifact that a verifier fits. The others are ignored, or,
    /// where every artifact counts, found without a report.
    fn ask_verifiers(
        &mut self,
        subject: usize,
        opened: Opened,
        span: &Span,
    ) -> Result<Vec<Finding>> {
        self.referrers += opened.listed.len();
        let limit = self.executor.limits.referrers;
        if self.referrers > limit {
            return Err(too_many(format!("more than {limit} artifacts are attached")));
        }
        let every_artifact = self.executor.counts_every_artifact();
        let looks_further = self.executor.looks_into_every_artifact();
        let mut findings = Vec::new();
        for (store, referrer) in opened.listed {
            let verifiers = self.executor.fitting(&referrer.descriptor.artifact_type);
            let Descriptor { digest, artifact_type, .. } = &referrer.descriptor;
            let (artifact, artifact_type) = (digest.clone(), artifact_type.clone());
            let place = Place { subject, finding: findings.len() };
            let mut nested = None;
            if verifiers.is_empty() {
                if !every_artifact {
                    continue;
                }
                if looks_further {
                    let next = opened.reference.sibling(&artifact);
                    let within = trace::artifact(span, &referrer.descriptor);
                    nested = Some(self.add_subject(next, Some(subject), &within));
                }
            } else {
                let (subject, referrer) = (opened.reference.clone(), Arc::new(referrer));
                let span = span.clone();
                let doors = self.executor.doors.clone();
                let resolved = Arc::clone(&opened.descriptor);
                let question = Question {
                    subject,
                    resolved,
                    store,
                    referrer,
                    verifiers,
                    doors,
                    looks_further,
                    span,
                };
                self.waiting.push_back(Job::Judge { place, question });
            }
            findings.push(Finding { artifact, artifact_type, reports: Vec::new(), nested });
        }
        self.subjects[subject].reference = opened.reference;
        self.subjects[subject].left_out = opened.left_out;
        Ok(findings)
    }
}

async fn open(
    executor: &Executor,
    parameters: &VerifyParameters,
    observe: Observe<'_>,
    reference: Reference,
    is_nested: bool,
) -> Result<Opened> {
    let descriptor = executor.resolve(&reference, &parameters.context, observe).await?;
    let reference = reference.with_digest(descriptor.digest.clone());
    let every_type = ["*".to_owned()];
    let judged = match executor.counts_every_artifact() {
        true => Vec::new(),
        false => judged_types(&executor.verifiers),
    };
    let types = if is_nested { &every_type[..] } else { &parameters.reference_types };
    let lists = join_all(executor.stores.iter().map(|store| async {
        let types = if store.lists_what_is_judged() { &judged } else { types };
        let all = list(executor, store.as_ref(), &reference, &descriptor, types, parameters);
        let span = trace::list(store.name());
        let page = guarded(all).instrument(span.clone()).await;
        trace::listed(&span, &page);
        let page = page.map_err(|error| {
            ErrorCode::ListReferrersFailure
                .error()
                .with_source(error)
                .from_component(ComponentType::ReferrerStore, store.name())
        })?;
        Ok((Arc::clone(store), page))
    }));
    let lists: Result<Vec<_>> = lists.await.into_iter().collect();
    let (mut listed, mut left_out) = (Vec::new(), Vec::new());
    for (store, page) in lists? {
        listed.extend(page.referrers.into_iter().map(|referrer| (Arc::clone(&store), referrer)));
        let clause = |clause: String| format!("in the store {}, {clause}", store.name());
        left_out.extend(page.left_out.into_iter().map(clause));
    }
    Ok(Opened { reference, descriptor: Arc::new(descriptor), listed, left_out })
}

/// The types that any verifier judges, each once; none where one may judge any type.
fn judged_types(verifiers: &[Arc<dyn Verifier>]) -> Vec<String> {
    let mut judged = Vec::new();
    for verifier in verifiers {
        let Some(types) = verifier.artifact_types() else { return Vec::new() };
        for type_ in types {
            if !judged.contains(type_) {
                judged.push(type_.clone());
            }
        }
    }
    judged
}

/// All pages of one store's list, as one.
async fn list(
    executor: &Executor,
    store: &dyn ReferrerStore,
    subject: &Reference,
    descriptor: &Descriptor,
    types: &[String],
    parameters: &VerifyParameters,
) -> Result<ReferrerPage> {
    let limits = executor.limits;
    let mut all = ReferrerPage::default();
    let mut token = String::new();
    for _ in 0..limits.pages {
        let page =
            store.list_referrers(subject, descriptor, types, &token, &parameters.context).await?;
        all.referrers.extend(page.referrers);
        all.left_out.extend(page.left_out);
        if all.referrers.len() > limits.referrers {
            let (name, limit) = (store.name(), limits.referrers);
            return Err(too_many(format!("store {name} lists more than {limit} artifacts")));
        }
        if page.next_token.is_empty() {
            return Ok(all);
        }
        if page.next_token == token {
            let name = store.name();
            return Err(too_many(format!("store {name} gives the same page again and again")));
        }
        token = page.next_token;
    }
    let (name, limit) = (store.name(), limits.pages);
    Err(too_many(format!("the list of store {name} has more than {limit} pages")))
}

/// Binds an artifact to its subject once, and asks all its verifiers.
async fn judge(
    question: Question,
    parameters: &VerifyParameters,
    observe: Observe<'_>,
    span: Span,
) -> Judged {
    let Question { subject, resolved, store, referrer, verifiers, doors, looks_further, .. } =
        question;
    let descriptor = &referrer.descriptor;
    let finish = |verifier: &dyn Verifier, mut report: VerifierReport| {
        report = report.named(verifier.name(), verifier.type_());
        report.subject = subject.to_string();
        report.reference_digest = descriptor.digest.to_string();
        report.artifact_type.clone_from(&descriptor.artifact_type);
        report
    };
    let context = &parameters.context;
    let binding = trace::bind();
    let bound = guarded(bind::bind(store.as_ref(), &subject, &referrer, context));
    let bound = bound.instrument(binding.clone()).await;
    trace::failed(&binding, &bound);
    let manifest = match bound {
        Ok(manifest) => manifest,
        Err(error) => {
            let failed = |verifier: &Arc<dyn Verifier>| {
                finish(verifier.as_ref(), VerifierReport::from_error(&error))
            };
            let reports = verifiers.iter().map(failed).collect();
            let artifact = descriptor.digest.clone();
            observe(Notice::NotBound { artifact, error });
            return Judged { reports, nested: None, span };
        }
    };
    let host = StoreHost::new(Arc::clone(&store), context.clone())
        .with_doors(doors)
        .with_manifest(descriptor.digest.clone(), manifest);
    let request = Request::new(
        subject.clone(),
        resolved,
        Arc::clone(&referrer),
        context.clone(),
        store.config().clone(),
        Arc::new(host),
    );
    let answers = verifiers.iter().map(|verifier| async {
        let span = trace::verify(verifier.as_ref());
        let answer = guarded(async { verifier.verify(&request).await });
        let report = match answer.instrument(span.clone()).await {
            Ok(report) => {
                trace::reported(&span, &report, None);
                report
            }
            Err(error) => {
                let outer = ErrorCode::VerifyReferenceFailure.error().with_source(error);
                let report = VerifierReport::from_error(&outer);
                trace::reported(&span, &report, Some(&outer));
                report
            }
        };
        finish(verifier.as_ref(), report)
    });
    let reports = join_all(answers).await;
    let looks_further = looks_further || verifiers.iter().any(|one| one.verifies_nested());
    let nested = looks_further.then(|| subject.sibling(&descriptor.digest));
    Judged { reports, nested, span }
}

fn too_many(what: String) -> Error {
    ErrorCode::ListReferrersFailure.detail(format!("{what}; part of a list proves nothing"))
}

fn panicked(panic: &Box<dyn Any + Send>) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    ErrorCode::ExecutorFailure
        .detail("a part of Ratify panicked while it worked on this")
        .with_source(crate::capped_line(text, 200))
}
