//! The manager: watches the nine kinds and keeps what is in force as they say. One task owns the
//! state; jobs build and write beside it, so that a slow registry holds up no other resource.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::pin,
    sync::Arc,
    time::Instant,
};

use anyhow::bail;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch},
    runtime::{WatchStreamExt as _, watcher},
};
use ratify_core::ErrorCode;
use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
};

use super::{
    build::{self, Built, Shared, api, by_us, within},
    kind::{Kind, Role},
    parts::{Composition, Parts},
    queue::Queue,
    resource::{Key, Pin, Resource},
    status::{self, Outcome, Standing},
};
use crate::{
    plugin::rules::{self, Rules},
    runtime::Runtime,
    state::Active,
};

/// How many resources are worked on at once.
const AT_ONCE: usize = 8;
/// How many events may wait to be looked at; more wait at the API server.
const EVENTS: usize = 256;

/// What the manager works with.
pub struct ManagerOptions {
    /// What builds and runs plugins.
    pub runtime: Arc<Runtime>,
    /// What requests see.
    pub active: Arc<Active>,
    /// How namespaces relate to the cluster, and what bounds a request.
    pub composition: Composition,
    /// Who this is, for the status of what it loads.
    pub identity: String,
}

/// What a watch saw.
enum Seen {
    Applied(Resource),
    Deleted(Key),
    /// Everything of a kind was listed.
    Listed(Kind, BTreeSet<Key>),
}

/// What a job ended with.
enum Step {
    /// With the rules that it was built by.
    Built(Box<(Resource, Built, Arc<Rules>)>),
    Written {
        again: bool,
    },
}

/// What is known of a resource that was tried.
struct Done {
    uid: String,
    generation: i64,
    /// Whether something of it is in force that is no stand-in.
    in_force: bool,
    /// Whether it is as its spec says, or cannot be.
    settled: bool,
    pin: Option<Pin>,
    /// The rules that it was tried by.
    rules: Arc<Rules>,
}

struct Manager {
    shared: Arc<Shared>,
    active: Arc<Active>,
    composition: Composition,
    queue: Queue,
    resources: BTreeMap<Key, Resource>,
    done: BTreeMap<Key, Done>,
    parts: Parts,
    /// Kinds that were not listed yet.
    unlisted: BTreeSet<Kind>,
    jobs: JoinSet<Step>,
    of_job: HashMap<Id, Key>,
}

/// Keeps what is in force as the cluster's resources say. Runs until it is dropped.
///
/// # Errors
/// When no watch is left, which does not happen.
pub async fn manage(client: Client, options: ManagerOptions) -> anyhow::Result<()> {
    let (sender, mut events) = mpsc::channel(EVENTS);
    let mut watches = JoinSet::new();
    for kind in Kind::ALL {
        watches.spawn(watch(client.clone(), kind, sender.clone()));
    }
    drop(sender);
    let ManagerOptions { runtime, active, composition, identity } = options;
    let mut rules = runtime.rules.changes();
    let shared = Shared { client, runtime, identity };
    let mut manager = Manager {
        shared: Arc::new(shared),
        active,
        composition,
        queue: Queue::default(),
        resources: BTreeMap::new(),
        done: BTreeMap::new(),
        parts: Parts::default(),
        unlisted: Kind::ALL.into_iter().collect(),
        jobs: JoinSet::new(),
        of_job: HashMap::new(),
    };
    loop {
        manager.start_jobs();
        let due =
            manager.queue.next_due(Instant::now()).filter(|_| manager.queue.running() < AT_ONCE);
        tokio::select! {
            seen = events.recv() => match seen {
                Some(seen) => manager.note(seen),
                None => bail!("the custom resources are watched no more"),
            },
            Some(ended) = manager.jobs.join_next_with_id() => manager.ended(ended),
            Ok(()) = rules.changed() => manager.obey(&rules.borrow_and_update().clone()),
            () = sleep_until(due) => {}
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Sees all that happens to the resources of a kind. A failed watch is begun anew by itself.
async fn watch(client: Client, kind: Kind, sender: mpsc::Sender<Seen>) {
    let api: Api<DynamicObject> = Api::all_with(client, &kind.api_resource());
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    let (mut listed, mut is_failing) = (BTreeSet::new(), false);
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                let resource = Resource::read(kind, object);
                listed.insert(resource.key.clone());
                Seen::Applied(resource)
            }
            Ok(watcher::Event::Apply(object)) => Seen::Applied(Resource::read(kind, object)),
            Ok(watcher::Event::Delete(object)) => Seen::Deleted(Resource::read(kind, object).key),
            Ok(watcher::Event::InitDone) => Seen::Listed(kind, std::mem::take(&mut listed)),
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    let error = ratify_core::capped_line(&error.to_string(), 500);
                    tracing::warn!("cannot watch {}: {error}; trying again", kind.plural());
                }
                continue;
            }
        };
        is_failing = false;
        if sender.send(seen).await.is_err() {
            return;
        }
    }
}

impl Manager {
    fn note(&mut self, seen: Seen) {
        let now = Instant::now();
        match seen {
            Seen::Applied(resource) => {
                if !self.is_settled(&resource) {
                    self.queue.push(resource.key.clone(), now);
                }
                self.resources.insert(resource.key.clone(), resource);
            }
            Seen::Deleted(key) => {
                self.resources.remove(&key);
                self.queue.push(key, now);
            }
            Seen::Listed(kind, listed) => {
                let gone = |key: &&Key| key.kind == kind && !listed.contains(*key);
                let gone: Vec<Key> = self.resources.keys().filter(gone).cloned().collect();
                for key in gone {
                    self.resources.remove(&key);
                    self.queue.push(key, now);
                }
                self.unlisted.remove(&kind);
            }
        }
    }

    /// The rules are others now: everything is tried again by them. What they deny does not run
    /// meanwhile, since who starts it asks for the rules itself.
    fn obey(&mut self, rules: &Rules) {
        tracing::info!(
            "the rules about plugins and namespaces changed: every resource is tried again"
        );
        self.composition.tighten_only = rules.namespaces.tighten_only;
        self.active.swap(self.parts.snapshot(self.composition));
        let now = Instant::now();
        for key in self.resources.keys() {
            self.queue.push(key.clone(), now);
        }
    }

    /// Whether nothing is to be done: neither the spec changed, nor the digest that was agreed on,
    /// nor the rules.
    fn is_settled(&self, resource: &Resource) -> bool {
        let rules = self.shared.runtime.rules.now();
        self.done.get(&resource.key).is_some_and(|done| {
            let is_same = done.uid == resource.uid && done.generation == resource.generation;
            let is_pinned = resource.pin().is_none_or(|pin| done.pin.as_ref() == Some(&pin));
            done.settled && is_same && is_pinned && Arc::ptr_eq(&done.rules, &rules)
        })
    }

    /// Nothing is tried before everything was listed: a verifier may need what is listed last.
    fn start_jobs(&mut self) {
        while self.unlisted.is_empty() && self.queue.running() < AT_ONCE {
            let Some(key) = self.queue.pop(Instant::now()) else { return };
            match self.resources.get(&key).cloned() {
                None => {
                    self.remove(&key);
                    self.queue.succeeded(&key, None);
                }
                Some(resource) if self.is_settled(&resource) => self.queue.succeeded(&key, None),
                Some(resource) => {
                    log_start(&key);
                    let shared = Arc::clone(&self.shared);
                    self.spawn(key, async move {
                        let rules = shared.runtime.rules.now();
                        let built = build::build(&shared, &rules, &resource).await;
                        Step::Built(Box::new((resource, built, rules)))
                    });
                }
            }
        }
    }

    fn spawn(&mut self, key: Key, job: impl Future<Output = Step> + Send + 'static) {
        let id = self.jobs.spawn(job).id();
        self.of_job.insert(id, key);
    }

    fn ended(&mut self, ended: Result<(Id, Step), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(key) = self.of_job.remove(&id) else { return };
        match ended {
            Ok((_, Step::Built(step))) => {
                let (resource, built, rules) = *step;
                self.apply(resource, built, rules);
            }
            Ok((_, Step::Written { again: false })) => self.queue.succeeded(&key, None),
            Ok((_, Step::Written { again: true })) => self.queue.failed(&key, Instant::now()),
            Err(error) => {
                tracing::error!("the work on {key} broke off: {error}");
                self.queue.failed(&key, Instant::now());
            }
        }
    }

    /// Puts what was built in force, and then says so in the status.
    fn apply(&mut self, resource: Resource, built: Built, rules: Arc<Rules>) {
        let key = resource.key.clone();
        let before = self.done.get(&key).filter(|done| done.uid == resource.uid);
        let Built { part, stand_in, retry, pin, plugin } = built;
        // What is denied is not kept as the last good one.
        let is_denied = part.as_ref().is_err_and(rules::is_denial);
        let was_in_force = before.is_some_and(|done| done.in_force) && !is_denied;
        let error = match part {
            Ok(part) => {
                if let Some(part) = part {
                    self.parts.insert(&key.namespace, &key.name, part);
                    self.swap(&key);
                    log_added(&resource);
                }
                None
            }
            Err(error) => {
                tracing::error!("{error}");
                if let Some(stand_in) = stand_in.filter(|_| !was_in_force) {
                    self.parts.insert(&key.namespace, &key.name, stand_in);
                    self.swap(&key);
                }
                Some(error)
            }
        };
        let done = Done {
            uid: resource.uid.clone(),
            generation: resource.generation,
            in_force: error.is_none() || was_in_force,
            settled: !retry,
            pin,
            rules,
        };
        self.done.insert(key.clone(), done);
        // The latest status counts: the claim changed it meanwhile.
        let resource = self
            .resources
            .get(&key)
            .filter(|now| now.uid == resource.uid && now.generation == resource.generation)
            .cloned()
            .unwrap_or(resource);
        let shared = Arc::clone(&self.shared);
        self.spawn(key, async move {
            let outcome = match &error {
                None => Outcome::Active,
                Some(error) if was_in_force => Outcome::KeptLastGood(error),
                Some(error) => Outcome::Refused(error),
            };
            let standing = Standing { outcome, remark: None, plugin, moved_to: None };
            let is_written = write(&shared.client, &resource, &standing).await;
            Step::Written { again: retry || !is_written }
        });
    }

    fn remove(&mut self, key: &Key) {
        log_removal(key);
        self.done.remove(key);
        match key.kind.role {
            Role::Verifier => self.parts.remove_verifier(&key.namespace, &key.name),
            Role::Store => self.parts.remove_store(&key.namespace, &key.name),
            Role::Policy => self.parts.remove_policy(&key.namespace, &key.name),
            Role::Keys | Role::CertificateStore => return,
        }
        self.swap(key);
    }

    fn swap(&self, changed: &Key) {
        let previous = self.active.snapshot();
        let next = self.parts.snapshot_after(&previous, &changed.namespace, self.composition);
        self.active.swap(next);
    }
}

/// Says in a status how a resource stands. True unless another try is needed; a missing right is
/// told and not tried again.
async fn write(client: &Client, resource: &Resource, standing: &Standing<'_>) -> bool {
    let Some(body) = status::patch(resource, standing, Timestamp::now()) else { return true };
    let key = &resource.key;
    let api = api(client, key.kind, &key.namespace);
    let why = match within(api.patch_status(&key.name, &by_us(), &Patch::Merge(&body))).await {
        Ok(Ok(_)) => return true,
        // It was deleted meanwhile.
        Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => return true,
        Ok(Err(kube::Error::Api(answer))) if answer.code == 403 => {
            tracing::error!(
                "{}, unable to update the status of {key}: the right to patch {}/status is missing",
                ErrorCode::GetClusterResourceFailure.value(),
                key.kind.plural()
            );
            return true;
        }
        Ok(Err(error)) => error.to_string(),
        Err(late) => late,
    };
    tracing::error!(
        "unable to update the status of {key}: {}",
        ratify_core::capped_line(&why, 300)
    );
    false
}

fn log_start(key: &Key) {
    let name = key.qualified_name();
    match (key.kind.role, key.kind.namespaced) {
        (Role::Verifier, _) => tracing::info!("reconciling verifier '{}'", key.name),
        (Role::Store, false) => tracing::info!("reconciling cluster store '{}'", key.name),
        (Role::Store, true) => tracing::info!("reconciling namspaced store '{}'", key.name),
        (Role::Policy, false) => tracing::info!("Reconciling Cluster Policy {}", key.name),
        (Role::Policy, true) => tracing::info!("Reconciling Namespaced Policy {}", key.name),
        (Role::Keys, _) => tracing::info!("reconciling cluster key management provider '{name}'"),
        (Role::CertificateStore, _) => tracing::info!("reconciling certificate store '{name}'"),
    }
}

fn log_added(resource: &Resource) {
    let key = &resource.key;
    let namespace = &key.namespace;
    match key.kind.role {
        Role::Verifier => tracing::info!(
            "verifier '{}' added to verifier map in namespace: {namespace}",
            key.name
        ),
        Role::Store => {
            let name = resource.spec.get("name").and_then(|name| name.as_str()).unwrap_or_default();
            tracing::info!("store '{name}' added to store map in namespace: {namespace}");
        }
        Role::Policy | Role::Keys | Role::CertificateStore => {}
    }
}

fn log_removal(key: &Key) {
    let name = key.qualified_name();
    match key.kind.role {
        Role::Verifier => tracing::info!("delete event detected, removing verifier {}", key.name),
        Role::Store => tracing::info!("deletion detected, removing store {}", key.name),
        Role::Policy => tracing::info!("delete event detected, removing policy {}", key.name),
        Role::Keys => tracing::info!("deletion detected, removing key management provider {name}"),
        Role::CertificateStore => {
            tracing::info!("deletion detected, removing certificate store {name}");
        }
    }
}
