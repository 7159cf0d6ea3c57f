//! [`Active`]: the configuration in force. A request takes one [`Snapshot`] and sees nothing else
//! until it is answered; a new configuration is swapped in whole.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use ratify_core::{
    Basis, Result, VerifyResult,
    executor::{Executor, Observe, VerifyParameters},
};

use crate::cache;

/// All that one configuration comes to. It never changes.
#[non_exhaustive]
#[derive(Clone)]
pub struct Snapshot {
    cluster: Arc<View>,
    /// The namespaces that have something of their own.
    namespaces: BTreeMap<String, Arc<View>>,
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
}

/// The snapshot in force, shared by who swaps it and who reads it.
pub struct Active(RwLock<Arc<Snapshot>>);

impl Snapshot {
    /// A snapshot of one configuration that is the same for every namespace.
    pub fn new(executor: Executor) -> Self {
        Self::of_views(View::new(executor), BTreeMap::new())
    }

    /// A snapshot with views of single namespaces beside the cluster's.
    pub fn of_views(cluster: View, namespaces: BTreeMap<String, Arc<View>>) -> Self {
        Self { cluster: Arc::new(cluster), namespaces }
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
        let fingerprint = cache::Memo::default();
        Self { executor, cluster_rule: None, policy_error: None, fingerprint }
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
    /// As [`Executor::verify`], of either.
    pub async fn verify(
        &self,
        parameters: &VerifyParameters,
        observe: Observe<'_>,
    ) -> Result<VerifyResult> {
        let Some(cluster_rule) = &self.cluster_rule else {
            return self.executor.verify(parameters, observe).await;
        };
        let of_cluster = cluster_rule.verify(parameters, observe).await?;
        let of_namespace = self.executor.verify(parameters, observe).await?;
        Ok(both(of_cluster, of_namespace))
    }
}

/// The verdict where two rules must be fulfilled.
fn both(mut first: VerifyResult, second: VerifyResult) -> VerifyResult {
    first.is_success &= second.is_success;
    first.verifier_reports.extend(second.verifier_reports);
    first
}

impl Active {
    /// Starts with a snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(RwLock::new(Arc::new(snapshot)))
    }

    /// The snapshot in force. Whoever holds it keeps it alive, and with it the files of its
    /// plugins.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // The lock guards one pointer, which is whole even after a panic.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the next snapshot in force.
    pub fn swap(&self, next: Snapshot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn a_namespace_sees_its_own_view_and_others_the_clusters() {
        let snapshot = Snapshot::new(nested(1)).with_namespace("a", Some(View::new(nested(2))));
        assert_eq!(snapshot.view("a").executor.limits.nesting, 2);
        assert_eq!(snapshot.view("b").executor.limits.nesting, 1);
        let snapshot = snapshot.with_namespace("a", None);
        assert_eq!(snapshot.view("a").executor.limits.nesting, 1);
    }

    #[test]
    fn two_rules_are_fulfilled_only_together() {
        let result = |is_success| VerifyResult::new(is_success, vec![]);
        for (first, second) in [(true, false), (false, true), (false, false)] {
            assert!(!both(result(first), result(second)).is_success);
        }
        assert!(both(result(true), result(true)).is_success);
    }
}
