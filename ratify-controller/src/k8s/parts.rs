//! [`Parts`]: what was built of the resources, and the snapshot it comes to. v1 keeps the same in
//! maps that requests read while they change, in random order; here a request sees one snapshot,
//! ordered by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ratify_core::{
    Error, KeyRing, KeyRings, ReferrerStore, RingCertificate, Verifier,
    executor::{Doors, Executor, Limits},
    policy::Policy,
};

use super::{
    entry::POLICY_NAME,
    kind::{Kind, Role},
};
use crate::{
    plugin::{in_force::Brought, inventory::InstalledPlugin},
    state::{Snapshot, View},
};

/// The namespace of resources that belong to the whole cluster.
const CLUSTER: &str = "";

/// What a resource was built to.
pub enum Part {
    /// What judges, and the plugin that it brings.
    Verifier(Arc<dyn Verifier>, Option<Arc<InstalledPlugin>>),
    /// Where artifacts are, and the plugin that knows.
    Store(Arc<dyn ReferrerStore>, Option<Arc<InstalledPlugin>>),
    /// What decides, or why nothing does.
    Policy(Result<Policy, Error>),
    /// What a key management provider gave, or why it gave nothing.
    Keys(Result<KeyRing, Error>),
    /// What a certificate store gave, or why it gave nothing.
    Certificates(Result<Vec<RingCertificate>, Error>),
}

/// How the parts of a namespace relate to the cluster's, and what bounds a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Composition {
    /// Whether what a namespace has only adds to the cluster's rule, which must be fulfilled by the
    /// cluster's own stores, verifiers and policy. Otherwise it takes the place of the cluster's,
    /// each kind on its own (v1).
    pub tighten_only: bool,
    /// How much one request may ask for.
    pub limits: Limits,
}

impl Composition {
    /// What is for an administrator to know of a resource of a kind that is in force: what it does
    /// to the cluster's, and of the cluster's policy why its verdict is `open` to anybody.
    pub(super) fn remark(self, kind: Kind, open: Option<&'static str>) -> Option<&'static str> {
        if !kind.namespaced {
            return open.filter(|_| kind.role == Role::Policy);
        }
        if self.tighten_only {
            return None;
        }
        match kind.role {
            Role::Verifier => Some(
                "in this namespace it takes the place of the cluster's verifiers; namespaces.tightenOnly in the configuration keeps both",
            ),
            Role::Policy => Some(
                "in this namespace it takes the place of the cluster's policy; namespaces.tightenOnly in the configuration keeps both",
            ),
            Role::Store => Some("in this namespace it takes the place of the cluster's stores"),
            Role::Keys | Role::CertificateStore => None,
        }
    }
}

/// Everything that was built.
#[derive(Default)]
pub struct Parts {
    /// By namespace and name.
    of: BTreeMap<String, OfNamespace>,
    /// What built-in verifiers may have, the keys of all namespaces among it: who may use which is
    /// asked when somebody does.
    doors: Doors,
}

/// Parts of a kind, by the names of their resources, each with the plugin that it brings.
type OfKind<T> = BTreeMap<String, (Arc<T>, Option<Arc<InstalledPlugin>>)>;

#[derive(Default)]
struct OfNamespace {
    verifiers: OfKind<dyn Verifier>,
    stores: OfKind<dyn ReferrerStore>,
    policies: BTreeMap<String, Result<Policy, Error>>,
}

impl OfNamespace {
    fn is_empty(&self) -> bool {
        self.verifiers.is_empty() && self.stores.is_empty() && self.policies.is_empty()
    }

    /// The one policy that counts: by v1's name, or else the first of v1alpha1's.
    fn policy(&self) -> Option<&Result<Policy, Error>> {
        self.policies.get(POLICY_NAME).or_else(|| self.policies.values().next())
    }
}

impl Parts {
    /// Nothing yet, where built-in verifiers may have this.
    pub fn new(doors: Doors) -> Self {
        Self { of: BTreeMap::new(), doors }
    }

    /// Puts what a resource was built to in the place of what it was before.
    pub fn insert(&mut self, namespace: &str, name: &str, part: Part) {
        let part = match part {
            Part::Keys(ring) => return self.rings().insert(resource(namespace, name), ring),
            Part::Certificates(of) => {
                return self.rings().insert_store(resource(namespace, name), of);
            }
            part => part,
        };
        let of_namespace = self.of.entry(namespace.to_owned()).or_default();
        let name = name.to_owned();
        match part {
            Part::Verifier(verifier, plugin) => {
                drop(of_namespace.verifiers.insert(name, (verifier, plugin)));
            }
            Part::Store(store, plugin) => {
                drop(of_namespace.stores.insert(name, (store, plugin)));
            }
            Part::Policy(policy) => drop(of_namespace.policies.insert(name, policy)),
            Part::Keys(_) | Part::Certificates(_) => {}
        }
    }

    /// Takes away what a key management provider gave.
    pub fn remove_keys(&mut self, namespace: &str, name: &str) {
        self.rings().remove(&resource(namespace, name));
    }

    /// Takes away what a certificate store gave.
    pub fn remove_certificates(&mut self, namespace: &str, name: &str) {
        self.rings().remove_store(&resource(namespace, name));
    }

    /// All keys there are.
    pub fn key_rings(&self) -> Arc<KeyRings> {
        Arc::clone(&self.doors.key_rings)
    }

    fn rings(&mut self) -> &mut KeyRings {
        Arc::make_mut(&mut self.doors.key_rings)
    }

    /// Takes away a verifier.
    pub fn remove_verifier(&mut self, namespace: &str, name: &str) {
        self.remove(namespace, |parts| drop(parts.verifiers.remove(name)));
    }

    /// Takes away a store.
    pub fn remove_store(&mut self, namespace: &str, name: &str) {
        self.remove(namespace, |parts| drop(parts.stores.remove(name)));
    }

    /// Takes away a policy.
    pub fn remove_policy(&mut self, namespace: &str, name: &str) {
        self.remove(namespace, |parts| drop(parts.policies.remove(name)));
    }

    fn remove(&mut self, namespace: &str, act: impl FnOnce(&mut OfNamespace)) {
        if let Some(parts) = self.of.get_mut(namespace) {
            act(parts);
            if parts.is_empty() {
                self.of.remove(namespace);
            }
        }
    }

    /// The snapshot of all parts.
    pub fn snapshot(&self, composition: Composition) -> Snapshot {
        let namespaces: BTreeSet<&String> =
            self.of.keys().filter(|name| *name != CLUSTER).collect();
        let views = namespaces.into_iter().filter_map(|namespace| {
            let view = self.view(namespace, composition)?;
            Some((namespace.clone(), Arc::new(view)))
        });
        let snapshot = Snapshot::of_views(self.cluster(composition), views.collect());
        snapshot.with_brought(self.brought())
    }

    /// The plugins that all resources bring.
    fn brought(&self) -> Vec<Brought> {
        let mut brought = Vec::new();
        for (namespace, parts) in &self.of {
            let of_verifiers = parts.verifiers.iter().map(|(name, (_, plugin))| (name, plugin));
            let of_stores = parts.stores.iter().map(|(name, (_, plugin))| (name, plugin));
            brought.extend(of_verifiers.chain(of_stores).filter_map(|(name, plugin)| {
                let (namespace, name) = (namespace.clone(), name.clone());
                Some(Brought { namespace, name, plugin: plugin.clone()? })
            }));
        }
        brought
    }

    /// The snapshot after the parts of one namespace changed. A change of the cluster's parts is
    /// seen by every namespace.
    pub fn snapshot_after(
        &self,
        previous: &Snapshot,
        changed: &str,
        composition: Composition,
    ) -> Snapshot {
        if changed == CLUSTER {
            return self.snapshot(composition);
        }
        let next = previous.clone().with_namespace(changed, self.view(changed, composition));
        next.with_brought(self.brought())
    }

    fn cluster(&self, composition: Composition) -> View {
        let nothing = OfNamespace::default();
        let cluster = self.of.get(CLUSTER).unwrap_or(&nothing);
        let executor = self.executor(&cluster.stores, &cluster.verifiers, None, composition);
        let mut view = View::new(executor);
        set_policy(&mut view, cluster.policy());
        view
    }

    /// The view of a namespace: of each kind its own parts if it has any, or else the cluster's.
    fn view(&self, namespace: &str, composition: Composition) -> Option<View> {
        let own = self.of.get(namespace)?;
        let nothing = OfNamespace::default();
        let cluster = self.of.get(CLUSTER).unwrap_or(&nothing);
        let stores = if own.stores.is_empty() { &cluster.stores } else { &own.stores };
        let verifiers = if own.verifiers.is_empty() { &cluster.verifiers } else { &own.verifiers };
        let mut view = View::new(self.executor(stores, verifiers, None, composition));
        set_policy(&mut view, own.policy().or_else(|| cluster.policy()));
        if composition.tighten_only {
            let policy = cluster.policy().and_then(|policy| policy.as_ref().ok()).cloned();
            // By the cluster's own stores: a namespace's may list what it likes.
            let (stores, verifiers) = (&cluster.stores, &cluster.verifiers);
            view.cluster_rule = Some(self.executor(stores, verifiers, policy, composition));
        }
        Some(view)
    }

    fn executor(
        &self,
        stores: &OfKind<dyn ReferrerStore>,
        verifiers: &OfKind<dyn Verifier>,
        policy: Option<Policy>,
        composition: Composition,
    ) -> Executor {
        let stores = stores.values().map(|(store, _)| Arc::clone(store)).collect();
        let verifiers = verifiers.values().map(|(verifier, _)| Arc::clone(verifier)).collect();
        Executor::new(stores, verifiers, policy)
            .with_limits(composition.limits)
            .with_doors(self.doors.clone())
    }
}

/// v1's name of what keys come from.
fn resource(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// A policy that is given and cannot be in force is no reason to fall back to a weaker one: there
/// is none then, and no verdict.
fn set_policy(view: &mut View, policy: Option<&Result<Policy, Error>>) {
    match policy {
        Some(Ok(policy)) => view.executor.policy = Some(policy.clone()),
        Some(Err(error)) => view.policy_error = Some(error.to_string()),
        None => {}
    }
}

#[cfg(test)]
mod tests;
