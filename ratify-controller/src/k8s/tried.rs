//! [`Tried`]: whether every kind was listed, and everything that was listed then tried once. What
//! is made later counts no more, and what was listed is waited for in bounds: what is not tried yet
//! denies, so that a registry that is away need not keep a pod from answering about everything else.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{kind::Kind, resource::Key};
use crate::health::Check;

/// How long resources of the cluster are waited for: less than Helm waits for a release, 300 s.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(120);
/// How long resources of namespaces are waited for: nobody but who administers the cluster keeps a
/// pod from being ready for longer.
const TENANTS_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Tried {
    check: Check,
    /// What is still to be tried, and since when; `None` until every kind was listed.
    awaited: Option<(BTreeSet<Key>, Instant)>,
}

impl Tried {
    pub(super) fn new(check: Check) -> Self {
        check.waiting("no kind of resource is listed yet");
        Self { check, awaited: None }
    }

    /// A kind was listed; these are not, and these are the resources that there are.
    pub(super) fn listed<'a>(
        &mut self,
        unlisted: &BTreeSet<Kind>,
        resources: impl Iterator<Item = &'a Key>,
    ) {
        if self.awaited.is_some() {
            return;
        }
        if !unlisted.is_empty() {
            let names: Vec<&str> = unlisted.iter().map(|kind| kind.name()).collect();
            self.check.waiting(format!("not listed yet: {}", names.join(", ")));
            return;
        }
        self.awaited = Some((resources.cloned().collect(), Instant::now()));
        self.tell();
    }

    /// A resource was tried, or is gone.
    pub(super) fn tried(&mut self, key: &Key) {
        let is_awaited = self.awaited.as_mut().is_some_and(|(awaited, _)| awaited.remove(key));
        if is_awaited {
            self.tell();
        }
    }

    fn tell(&self) {
        let Some((awaited, since)) = &self.awaited else { return };
        let of_cluster = awaited.iter().filter(|key| key.namespace.is_empty()).count();
        if of_cluster > 0 {
            let text = format!("{of_cluster} cluster-wide resources are not tried yet");
            self.check.ready_from(*since + CLUSTER_PATIENCE, text);
        } else if awaited.is_empty() {
            self.check.ready("every kind is listed, every resource was tried");
        } else {
            let text = format!("{} resources of namespaces are not tried yet", awaited.len());
            self.check.ready_from(*since + TENANTS_PATIENCE, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Readiness;

    fn key(kind: Kind, namespace: &str, name: &str) -> Key {
        Key { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn ready_is_when_all_that_was_listed_was_tried_and_a_tenant_delays_it_in_bounds() {
        let readiness = Readiness::default();
        let mut tried = Tried::new(readiness.check("resources"));
        let [store, tenants] = [Kind::ALL[3], Kind::ALL[4]];
        let resources = [key(store, "", "one"), key(store, "", "two"), key(tenants, "team", "x")];
        tried.listed(&[store, tenants].into(), resources.iter());
        assert!(!readiness.is_ready());
        tried.listed(&BTreeSet::new(), resources.iter());
        tried.tried(&resources[0]);
        tried.tried(&key(store, "", "other"));
        assert!(!readiness.is_ready());
        tried.tried(&resources[1]);
        assert!(!readiness.is_ready());
        tried.awaited.as_mut().unwrap().1 -= TENANTS_PATIENCE;
        tried.tell();
        assert!(readiness.is_ready());
        // Later ones do not count.
        tried.listed(&BTreeSet::new(), [key(store, "", "late")].iter());
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_registry_that_is_away_keeps_a_pod_from_being_ready_in_bounds() {
        let readiness = Readiness::default();
        let mut tried = Tried::new(readiness.check("resources"));
        let slow = key(Kind::ALL[3], "", "slow");
        tried.listed(&BTreeSet::new(), [slow].iter());
        tried.awaited.as_mut().unwrap().1 -= TENANTS_PATIENCE;
        tried.tell();
        assert!(!readiness.is_ready());
        tried.awaited.as_mut().unwrap().1 -= CLUSTER_PATIENCE - TENANTS_PATIENCE;
        tried.tell();
        assert!(readiness.is_ready());
    }

    #[test]
    fn an_empty_cluster_is_ready_once_it_was_listed() {
        let readiness = Readiness::default();
        let mut tried = Tried::new(readiness.check("resources"));
        assert!(!readiness.is_ready());
        tried.listed(&BTreeSet::new(), [].iter());
        assert!(readiness.is_ready());
    }
}
