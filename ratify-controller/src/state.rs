//! [`Active`]: the configuration in force. A request takes one [`Snapshot`] and sees nothing else
//! until it is answered; a new configuration is swapped in whole.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::SystemTime,
};

use jiff::Timestamp;
use ratify_core::{
    Basis, Error, ErrorCode, Reports, Result, VerifyResult,
    executor::{Executor, Observe, VerifyParameters},
    policy::Policy,
};
use tokio::sync::{Semaphore, watch};
use tracing::Span;

use crate::{
    cache,
    of_file::{FromFile, Place},
    plugin::in_force::{Brought, InForce},
    refused::{RefusedStore, RefusedVerifier},
};

/// All that one configuration comes to. It never changes.
#[non_exhaustive]
#[derive(Clone)]
pub struct Snapshot {
    cluster: Arc<View>,
    /// The namespaces that have something of their own.
    namespaces: BTreeMap<String, Arc<View>>,
    /// The installed plugins that it brings.
    brought: Arc<[Brought]>,
    /// The plugins that a configuration file names.
    plugins: Arc<[FromFile]>,
}

/// What the requests of one namespace see.
#[non_exhaustive]
pub struct View {
    /// Stores, verifiers and policy.
    pub executor: Executor,
    /// Where namespaces may only add: the cluster's rule, which must be fulfilled as well.
    pub cluster_rule: Option<Executor>,
    /// Why there is no policy, where one was given and is not in force.
    pub policy_error: Option<String>,
    /// What it decides by, as a number.
    pub(crate) fingerprint: cache::Memo,
    /// How many Rego policies may compute at once.
    judges: Arc<Semaphore>,
}

/// The snapshot in force, shared by who swaps it and who reads it.
pub struct Active {
    snapshot: RwLock<Arc<Snapshot>>,
    /// What is told of the installed plugins.
    in_force: Arc<InForce>,
    changes: watch::Sender<Changes>,
}

/// Since when a snapshot is in force, and how often there was another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Since when it is as it is.
    pub since: Timestamp,
    /// How often it was swapped.
    pub swaps: u64,
    /// How often what should have been the next was none.
    pub failures: u64,
}

impl Snapshot {
    /// A snapshot of one configuration that is the same for every namespace.
    pub fn new(executor: Executor) -> Self {
        Self::of_views(View::new(executor), BTreeMap::new())
    }

    /// A snapshot with views of single namespaces beside the cluster's.
    pub fn of_views(cluster: View, namespaces: BTreeMap<String, Arc<View>>) -> Self {
        let (brought, plugins) = (Arc::default(), Arc::default());
        Self { cluster: Arc::new(cluster), namespaces, brought, plugins }
    }

    /// The same with the plugins that its configuration file names.
    #[must_use]
    pub(crate) fn with_plugins(mut self, plugins: impl Into<Arc<[FromFile]>>) -> Self {
        self.plugins = plugins.into();
        self.brought = self.plugins.iter().map(FromFile::brought).collect();
        self
    }

    /// The plugins that its configuration file names.
    pub(crate) fn plugins(&self) -> &Arc<[FromFile]> {
        &self.plugins
    }

    /// The same where some of the plugins that the file names may not run any more, by their places among
    /// those: what they would judge or list is denied with the reason.
    pub(crate) fn without(&self, ended: &BTreeMap<usize, Error>) -> Self {
        let mut executor = self.cluster.executor.clone();
        for (place, error) in ended {
            match self.plugins.get(*place).map(|plugin| plugin.place) {
                Some(Place::Verifier(at)) => {
                    for verifier in executor.verifiers.iter_mut().skip(at).take(1) {
                        *verifier = Arc::new(RefusedVerifier::of(verifier.as_ref(), error));
                    }
                }
                Some(Place::Store(at)) => {
                    for store in executor.stores.iter_mut().skip(at).take(1) {
                        *store = Arc::new(RefusedStore::new(store.name(), error));
                    }
                }
                None => {}
            }
        }
        let runs = self.plugins.iter().enumerate().filter(|(at, _)| !ended.contains_key(at));
        Self {
            cluster: Arc::new(View::new(executor)),
            namespaces: self.namespaces.clone(),
            brought: runs.map(|(_, plugin)| plugin.brought()).collect(),
            plugins: Arc::clone(&self.plugins),
        }
    }

    /// The same with the installed plugins that are in force with it.
    #[must_use]
    pub(crate) fn with_brought(mut self, brought: impl Into<Arc<[Brought]>>) -> Self {
        self.brought = brought.into();
        self
    }

    /// The view of a namespace; the empty name stands for none.
    pub fn view(&self, namespace: &str) -> &View {
        self.namespaces.get(namespace).unwrap_or(&self.cluster)
    }

    /// The same with another view of one namespace; `None` where it has nothing of its own.
    #[must_use]
    pub fn with_namespace(mut self, namespace: &str, view: Option<View>) -> Self {
        match view {
            Some(view) => self.namespaces.insert(namespace.to_owned(), Arc::new(view)),
            None => self.namespaces.remove(namespace),
        };
        self
    }
}

impl View {
    /// A view that is an executor and nothing besides.
    pub fn new(executor: Executor) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let judges = Arc::new(Semaphore::new(cores));
        let fingerprint = cache::Memo::default();
        Self { executor, cluster_rule: None, policy_error: None, fingerprint, judges }
    }

    /// Adds all that it decides by.
    pub(crate) fn add_basis(&self, basis: &mut Basis) {
        self.executor.add_basis(basis);
        if let Some(cluster_rule) = &self.cluster_rule {
            basis.add("and by the cluster's rule", "");
            cluster_rule.add_basis(basis);
        }
        if let Some(error) = &self.policy_error {
            basis.add("policy error", error);
        }
    }

    /// Decides about a subject: by the view's own rule, and by the cluster's where that must be
    /// fulfilled as well.
    ///
    /// # Errors
    /// As [`Executor::verify`], of either; and where two rules of different forms cannot be told in
    /// one answer.
    pub async fn verify(
        &self,
        parameters: &VerifyParameters,
        observe: Observe<'_>,
    ) -> Result<VerifyResult> {
        let Some(cluster_rule) = &self.cluster_rule else {
            return self.decide(&self.executor, parameters, observe).await;
        };
        let of_cluster = self.decide(cluster_rule, parameters, observe).await?;
        let of_namespace = self.decide(&self.executor, parameters, observe).await?;
        both((cluster_rule, of_cluster), (&self.executor, of_namespace))
    }

    /// Evidence is gathered here; a Rego policy computes where it keeps nobody waiting, and no more
    /// of them at once than there are cores.
    async fn decide(
        &self,
        executor: &Executor,
        parameters: &VerifyParameters,
        observe: Observe<'_>,
    ) -> Result<VerifyResult> {
        let evidence = executor.gather(parameters, observe).await?;
        if matches!(executor.policy, Some(Policy::Config(_))) {
            return executor.judge(evidence, SystemTime::now(), observe);
        }
        let broken = |error: &dyn std::fmt::Display| {
            ErrorCode::ExecutorFailure
                .detail("the policy was not asked")
                .with_source(error.to_string())
        };
        let turn =
            Arc::clone(&self.judges).acquire_owned().await.map_err(|error| broken(&error))?;
        let (executor, span) = (executor.clone(), Span::current());
        let judged = tokio::task::spawn_blocking(move || {
            let (_turn, _within) = (turn, span.enter());
            let notices = Mutex::new(Vec::new());
            let keep = |notice| notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
            let result = executor.judge(evidence, SystemTime::now(), &keep);
            (result, notices.into_inner().unwrap_or_else(PoisonError::into_inner))
        });
        let (result, notices) = judged.await.map_err(|error| broken(&error))?;
        notices.into_iter().for_each(observe);
        result
    }
}

/// The verdict where two rules must be fulfilled: those of the cluster and of a namespace. Where
/// their reports have different forms only the namespace's are told, and only of two successes.
fn both(
    (cluster_rule, cluster): (&Executor, VerifyResult),
    (own_rule, own): (&Executor, VerifyResult),
) -> Result<VerifyResult> {
    let passes_on = |rule: &Executor| rule.policy.as_ref().is_some_and(Policy::is_passthrough);
    let refused = |detail: &str| Err(ErrorCode::ExecutorFailure.detail(detail));
    match (passes_on(cluster_rule), passes_on(own_rule)) {
        (true, false) => {
            return refused(
                "the cluster's policy makes no verdict, and the namespace's must: they cannot be told together",
            );
        }
        (false, true) if !cluster.is_success => {
            return refused("the cluster's policy is not fulfilled");
        }
        _ => {}
    }
    let is_success = cluster.is_success && own.is_success;
    let reports: Reports = match (cluster.verifier_reports, own.verifier_reports) {
        (Reports::Config(mut reports), Reports::Config(own)) => {
            reports.extend(own);
            reports.into()
        }
        (Reports::Rego(mut reports), Reports::Rego(own)) => {
            reports.extend(own);
            reports.into()
        }
        (_, own) if cluster.is_success => own,
        _ => return refused("the cluster's policy is not fulfilled"),
    };
    Ok(VerifyResult::new(is_success, reports))
}

impl Active {
    /// Starts with a snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        Self::telling(snapshot, Arc::default())
    }

    /// Starts with a snapshot, and tells which installed plugins are in force with each.
    pub(crate) fn telling(snapshot: Snapshot, in_force: Arc<InForce>) -> Self {
        let changes = Changes { since: Timestamp::now(), swaps: 0, failures: 0 };
        in_force.put(Arc::clone(&snapshot.brought));
        Self {
            snapshot: RwLock::new(Arc::new(snapshot)),
            in_force,
            changes: watch::Sender::new(changes),
        }
    }

    /// The snapshot in force. Whoever holds it keeps it alive, and with it the files of its
    /// plugins.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // The lock guards one pointer, which is whole even after a panic.
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the next snapshot in force.
    pub fn swap(&self, next: Snapshot) {
        self.put(&mut self.snapshot.write().unwrap_or_else(PoisonError::into_inner), next);
    }

    /// The same where the one that was seen still is in force.
    pub(crate) fn swap_if(&self, seen: &Arc<Snapshot>, next: Snapshot) {
        let mut now = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&now, seen) {
            self.put(&mut now, next);
        }
    }

    fn put(&self, now: &mut Arc<Snapshot>, next: Snapshot) {
        // What is taken away is away before anybody is told so.
        self.in_force.put(Arc::clone(&next.brought));
        *now = Arc::new(next);
        self.changes.send_modify(|changes| {
            (changes.since, changes.swaps) = (Timestamp::now(), changes.swaps + 1);
        });
    }

    /// Notes that there should be another, which cannot be had: the one in force stays.
    pub fn note_failure(&self) {
        self.changes.send_modify(|changes| changes.failures += 1);
    }

    /// Since when it is as it is.
    pub fn changes(&self) -> Changes {
        *self.changes.borrow()
    }

    /// Told of each change from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use ratify_core::{
        NestedVerifierReport, VerifierReport, config::Config, executor::testing::MemoryStore,
    };
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> Executor {
        let mut executor = Executor::new(vec![], vec![], None);
        executor.limits.nesting = depth;
        executor
    }

    #[test]
    fn who_holds_a_snapshot_keeps_it_while_others_see_the_next() {
        let active = Active::new(Snapshot::new(nested(2)));
        let held = active.snapshot();
        active.swap(Snapshot::new(nested(1)));
        assert_eq!(active.snapshot().view("").executor.limits.nesting, 1);
        assert_eq!(held.view("").executor.limits.nesting, 2);
        active.note_failure();
        let Changes { swaps, failures, .. } = active.changes();
        assert_eq!((swaps, failures), (1, 1));
    }

    #[test]
    fn a_namespace_sees_its_own_view_and_others_the_clusters() {
        let snapshot = Snapshot::new(nested(1)).with_namespace("a", Some(View::new(nested(2))));
        assert_eq!(snapshot.view("a").executor.limits.nesting, 2);
        assert_eq!(snapshot.view("b").executor.limits.nesting, 1);
        let snapshot = snapshot.with_namespace("a", None);
        assert_eq!(snapshot.view("a").executor.limits.nesting, 1);
    }

    /// A policy that computes until its time is up keeps nobody from the thread it is asked on.
    #[tokio::test]
    async fn a_policy_computes_where_nobody_waits_for_it() {
        let loops = "package ratify.policy\nvalid { xs := [a | a := input.verifierReports[_]]; \
             xs[_]; xs[_]; xs[_]; xs[_]; xs[_]; xs[_]; xs[_]; xs[_]; xs[_]; xs[_]; xs[_]; false }";
        let plugin = json!({"name": "regopolicy", "policy": loops});
        let file = json!({"policy": {"plugin": plugin}}).to_string();
        let config = Config::from_json(file.as_bytes()).unwrap();
        let policy = Policy::from_config(&config.policy.unwrap()).unwrap();
        let image = "reg.example.com/app:v1";
        let store = (2..60).fold(MemoryStore::new("oras").image(image, 1), |store, byte| {
            store.artifact(1, byte, "a")
        });
        let view = View::new(Executor::new(vec![Arc::new(store)], Vec::new(), Some(policy)));
        let ended = Mutex::new(Vec::new());
        let parameters = VerifyParameters::new(image);
        let asked = async {
            let result = view.verify(&parameters, &|_| {}).await;
            ended.lock().unwrap().push("policy");
            result
        };
        let other = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            ended.lock().unwrap().push("other");
        };
        let (result, ()) = tokio::join!(asked, other);
        let error = result.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("time limit"), "{error}");
        assert_eq!(*ended.lock().unwrap(), ["other", "policy"]);
    }

    fn rule(passes_on: Option<bool>) -> Executor {
        let plugin = match passes_on {
            None => json!({"name": "configpolicy"}),
            Some(passes_on) => json!({
                "name": "regopolicy", "policy": "package ratify.policy\nvalid = true",
                "passthroughEnabled": passes_on,
            }),
        };
        let file = json!({"policy": {"plugin": plugin}}).to_string();
        let config = Config::from_json(file.as_bytes()).unwrap();
        let policy = Policy::from_config(&config.policy.unwrap()).unwrap();
        Executor::new(Vec::new(), Vec::new(), Some(policy))
    }

    fn list(of_artifacts: bool) -> Reports {
        match of_artifacts {
            false => vec![VerifierReport::failure("m")].into(),
            true => vec![NestedVerifierReport::default()].into(),
        }
    }

    #[test]
    fn two_rules_are_fulfilled_only_together() {
        for of_artifacts in [false, true] {
            let rule = rule(of_artifacts.then_some(false));
            for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
                let result = |is_success| VerifyResult::new(is_success, list(of_artifacts));
                let told = both((&rule, result(first)), (&rule, result(second))).unwrap();
                assert_eq!((told.is_success, told.verifier_reports.len()), (first && second, 2));
            }
        }
    }

    #[test]
    fn rules_of_two_forms_are_told_by_the_namespaces_where_the_clusters_is_fulfilled() {
        let (cluster, own) = (rule(None), rule(Some(false)));
        let told = |of_cluster: bool, of_own: bool| {
            let (first, second) = (list(false), list(true));
            let first = VerifyResult::new(of_cluster, first);
            both((&cluster, first), (&own, VerifyResult::new(of_own, second)))
        };
        assert!(told(true, true).unwrap().is_success);
        assert!(!told(true, false).unwrap().is_success);
        assert_eq!(told(true, true).unwrap().verifier_reports.of_artifacts().len(), 1);
        for of_own in [true, false] {
            let refused = told(false, of_own).unwrap_err().to_string();
            assert!(refused.contains("the cluster's policy is not fulfilled"), "{refused}");
        }
    }

    /// T19: whoever gets a bare list decides by it alone.
    #[test]
    fn no_bare_list_hides_a_rule_that_is_not_fulfilled() {
        let told = |cluster: Option<bool>, own: Option<bool>, of_cluster: bool| {
            let first = VerifyResult::new(of_cluster, list(cluster.is_some()));
            let second = VerifyResult::new(false, list(own.is_some()));
            both((&rule(cluster), first), (&rule(own), second))
        };
        for cluster in [None, Some(false)] {
            assert!(told(cluster, Some(true), false).is_err());
            assert!(!told(cluster, Some(true), true).unwrap().verifier_reports.is_empty());
        }
        for own in [None, Some(false)] {
            assert!(told(Some(true), own, false).is_err());
        }
        assert_eq!(told(Some(true), Some(true), false).unwrap().verifier_reports.len(), 2);
    }
}
