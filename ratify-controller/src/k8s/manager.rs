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
use kube::{
    Api, Client,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use ratify_core::{Error, capped_line, config::PluginRules};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, Id, JoinSet},
};

use super::{
    build::{self, Built, Shared},
    crd::PluginStatus,
    kind::{Kind, Role},
    parts::{Composition, Parts},
    pins::Pins,
    queue::{Queue, Work},
    resource::{Key, Pin, Resource},
    status::{Outcome, Standing},
    write::write,
};
use crate::{plugin::inventory::Inventory, runtime::Runtime, state::Active};

/// What is wrong with a resource is cut to this in the log: its text is its author's.
const MAX_LOGGED: usize = 2000;
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
    /// What administrators allow of plugins.
    pub rules: PluginRules,
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
    Built(Box<(Resource, Built)>),
    Written(bool),
}

/// What is known of a resource that was tried.
struct Done {
    uid: String,
    generation: i64,
    /// Whether something of it is in force that is no stand-in.
    in_force: bool,
    /// Whether it is as its spec says, or cannot be.
    settled: bool,
    /// The digest that was tried.
    pin: Option<Pin>,
    verdict: Arc<Verdict>,
    /// Whether the status was written. What others make of it afterwards is not answered.
    told: bool,
}

/// What came of a resource, for its status.
struct Verdict {
    error: Option<Error>,
    /// Whether what was in force before still is.
    kept: bool,
    plugin: Option<PluginStatus>,
}

impl Verdict {
    fn standing(&self) -> Standing<'_> {
        let outcome = match &self.error {
            None => Outcome::Active,
            Some(error) if self.kept => Outcome::KeptLastGood(error),
            Some(error) => Outcome::Refused(error),
        };
        Standing { outcome, remark: None, plugin: self.plugin.clone(), moved_to: None }
    }

    fn is_same(&self, other: &Self) -> bool {
        let text = |verdict: &Self| verdict.error.as_ref().map(ToString::to_string);
        let same_plugin = self.plugin == other.plugin;
        same_plugin && self.kept == other.kept && text(self) == text(other)
    }
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
    /// How to end what is being done for a resource.
    running: BTreeMap<Key, AbortHandle>,
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
    let ManagerOptions { runtime, active, composition, rules, identity } = options;
    let pins = Pins::of(Inventory::of(runtime.environment.default_plugin_dir()));
    let shared = Shared { client, runtime, rules, identity, pins };
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
        running: BTreeMap::new(),
    };
    loop {
        manager.start_jobs();
        // Nothing is tried before everything was listed.
        let due = manager.queue.next_due().filter(|_| manager.unlisted.is_empty());
        tokio::select! {
            seen = events.recv() => match seen {
                Some(seen) => manager.note(seen),
                None => bail!("the custom resources are watched no more"),
            },
            Some(ended) = manager.jobs.join_next_with_id() => manager.ended(ended),
            () = sleep_until(due) => {}
        }
    }
}

/// A source is pulled from its registry, wherever it is written.
fn work(resource: &Resource) -> Work {
    let inside = resource.spec.get("parameters").and_then(|parameters| parameters.get("source"));
    let source = resource.spec.get("source").filter(|source| !source.is_null()).or(inside);
    let artifact = source.and_then(|source| source["artifact"].as_str());
    let registry = artifact.and_then(|artifact| artifact.split('/').next());
    registry.map_or(Work::Local, |registry| Work::Pull(registry.to_owned()))
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
                    let error = capped_line(&error.to_string(), 500);
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
                let key = resource.key.clone();
                // What failed is tried again in its own time, whatever others write.
                if !self.is_tried(&resource) {
                    self.queue.push(key.clone(), work(&resource), now);
                }
                let known = self.resources.insert(key.clone(), resource);
                if known.is_some_and(|known| !self.is_current(&known)) {
                    self.abandon(&key);
                }
            }
            Seen::Deleted(key) => self.remove(&key),
            Seen::Listed(kind, listed) => {
                let gone = |key: &&Key| key.kind == kind && !listed.contains(*key);
                let gone: Vec<Key> = self.resources.keys().filter(gone).cloned().collect();
                for key in gone {
                    self.remove(&key);
                }
                self.shared.pins.forget_all_but(kind, &listed);
                self.unlisted.remove(&kind);
            }
        }
    }

    /// Whether a state has the spec that its resource has now.
    fn is_current(&self, seen: &Resource) -> bool {
        self.resources
            .get(&seen.key)
            .is_some_and(|now| now.uid == seen.uid && now.generation == seen.generation)
    }

    /// Ends what is being done for a resource: it is about a spec that is no more.
    fn abandon(&self, key: &Key) {
        if let Some(job) = self.running.get(key) {
            job.abort();
        }
    }

    /// Whether this was tried: neither the spec changed since, nor the digest that was agreed on.
    fn is_tried(&self, resource: &Resource) -> bool {
        self.done.get(&resource.key).is_some_and(|done| {
            let is_same = done.uid == resource.uid && done.generation == resource.generation;
            is_same && resource.pin().is_none_or(|pin| done.pin.as_ref() == Some(&pin))
        })
    }

    /// Nothing is tried before everything was listed: a verifier may need what is listed last.
    fn start_jobs(&mut self) {
        while self.unlisted.is_empty() {
            let Some(key) = self.queue.pop(Instant::now()) else { return };
            match self.resources.get(&key).cloned() {
                None => self.queue.succeeded(&key, None),
                Some(resource) if self.is_tried(&resource) && self.done[&key].settled => {
                    self.tell(resource);
                }
                Some(resource) => {
                    log_start(&key);
                    let shared = Arc::clone(&self.shared);
                    self.spawn(key, async move {
                        let built = build::build(&shared, &resource).await;
                        Step::Built(Box::new((resource, built)))
                    });
                }
            }
        }
    }

    /// Says in the status what came of a resource, where that was not said yet.
    fn tell(&mut self, resource: Resource) {
        let key = resource.key.clone();
        let Some(done) = self.done.get(&key).filter(|done| !done.told) else {
            self.finish(&key, true);
            return;
        };
        let (shared, verdict) = (Arc::clone(&self.shared), Arc::clone(&done.verdict));
        self.spawn(key, async move {
            Step::Written(write(&shared.client, resource, &verdict.standing()).await)
        });
    }

    /// A job is over; another try follows unless all is said and done.
    fn finish(&mut self, key: &Key, is_told: bool) {
        let is_settled = self.done.get(key).is_none_or(|done| done.settled);
        if is_settled && is_told {
            self.queue.succeeded(key, None);
        } else {
            self.queue.failed(key, Instant::now());
        }
    }

    fn spawn(&mut self, key: Key, job: impl Future<Output = Step> + Send + 'static) {
        let handle = self.jobs.spawn(job);
        self.of_job.insert(handle.id(), key.clone());
        self.running.insert(key, handle);
    }

    fn ended(&mut self, ended: Result<(Id, Step), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(key) = self.of_job.remove(&id) else { return };
        self.running.remove(&key);
        match ended {
            Ok((_, Step::Built(step))) if self.is_current(&step.0) => self.apply(step.0, step.1),
            // What was built of is no more; what is instead is waiting.
            Ok((_, Step::Built(_))) => self.queue.succeeded(&key, None),
            Ok((_, Step::Written(is_told))) => {
                if let Some(done) = self.done.get_mut(&key) {
                    done.told = is_told;
                }
                self.finish(&key, is_told);
            }
            Err(error) if error.is_cancelled() => self.queue.succeeded(&key, None),
            Err(error) => {
                tracing::error!("the work on {key} broke off: {error}");
                self.queue.failed(&key, Instant::now());
            }
        }
    }

    /// Puts what was built in force, and then says so in the status.
    fn apply(&mut self, resource: Resource, built: Built) {
        let key = resource.key.clone();
        let before = self.done.remove(&key).filter(|done| done.uid == resource.uid);
        let kept = before.as_ref().is_some_and(|done| done.in_force);
        let Built { part, stand_in, retry, pin, plugin } = built;
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
                tracing::error!("{}", capped_line(&error.to_string(), MAX_LOGGED));
                match stand_in {
                    _ if kept => {}
                    Some(stand_in) => self.parts.insert(&key.namespace, &key.name, stand_in),
                    // What an earlier resource of this name left.
                    None => self.take_away(&key),
                }
                self.swap(&key);
                Some(error)
            }
        };
        let in_force = error.is_none() || kept;
        let verdict = Verdict { kept: kept && error.is_some(), error, plugin };
        // A failure is said once: what v1 makes of the status is not answered at each try.
        let told = verdict.error.is_some()
            && before.is_some_and(|before| {
                let is_same = before.generation == resource.generation && before.pin == pin;
                before.told && is_same && before.verdict.is_same(&verdict)
            });
        let done = Done {
            uid: resource.uid.clone(),
            generation: resource.generation,
            in_force,
            settled: !retry,
            pin,
            verdict: Arc::new(verdict),
            told,
        };
        self.done.insert(key.clone(), done);
        // The latest status counts: the claim changed it meanwhile.
        let resource = self.resources.get(&key).cloned().unwrap_or(resource);
        self.tell(resource);
    }

    /// What was deleted is in force no more, whatever else is being done.
    fn remove(&mut self, key: &Key) {
        log_removal(key);
        self.resources.remove(key);
        self.done.remove(key);
        self.shared.pins.forget(key);
        self.abandon(key);
        self.take_away(key);
        self.swap(key);
    }

    fn take_away(&mut self, key: &Key) {
        match key.kind.role {
            Role::Verifier => self.parts.remove_verifier(&key.namespace, &key.name),
            Role::Store => self.parts.remove_store(&key.namespace, &key.name),
            Role::Policy => self.parts.remove_policy(&key.namespace, &key.name),
            Role::Keys | Role::CertificateStore => {}
        }
    }

    fn swap(&self, changed: &Key) {
        let previous = self.active.snapshot();
        let next = self.parts.snapshot_after(&previous, &changed.namespace, self.composition);
        self.active.swap(next);
    }
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
            let name = capped_line(name, 100);
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
