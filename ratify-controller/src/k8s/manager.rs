//! The manager: watches the nine kinds and keeps what is in force as they say. One task owns the
//! state; jobs build and write beside it, so that a slow registry holds up no other resource.

mod apply;
mod count;
mod force;
mod open;
mod tags;
mod trust;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::bail;
use kube::Client;
use ratify_core::{Digest, ErrorCode};
use tokio::{
    sync::{mpsc, watch as latest},
    task::{AbortHandle, Id, JoinSet},
};

use super::{
    Once,
    build::{self, Built, Shared},
    crd::PluginStatus,
    follow::Tag,
    kind::Kind,
    log,
    parts::{Composition, Parts},
    pins::Pins,
    queue::{Queue, Work},
    refused,
    resource::{Key, Pin, Resource},
    resource_counts::ResourceCounts,
    tried::Tried,
    volume,
    watch::{self, Seen},
    write::{Verdict, write},
};
use crate::{
    health::Check,
    plugin::{
        inventory::Inventory,
        rules::Rules,
        trusted::{Again, Asked, Running, Still},
    },
    runtime::Runtime,
    state::Active,
};

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
    /// Why anybody may ask this server, as long as anybody may.
    pub open: latest::Receiver<Option<&'static str>>,
    /// Is set when everything was listed and tried once.
    pub readiness: Check,
    /// Told what comes of resources.
    pub counts: Arc<ResourceCounts>,
}

/// What a job ended with.
enum Step {
    /// With the rules that it was built by.
    Built(Box<(Resource, Built, Arc<Rules>)>),
    /// Who signed what runs, asked again.
    Asked(Resource, Again),
    /// The same of what runs of an older spec; when it was begun.
    AskedOfOlder(Resource, Instant, Still),
    /// What a tag stands for now.
    Looked(Resource, ratify_core::Result<Digest>),
    /// Whether this was said in the status.
    Written(Arc<Verdict>, bool),
}

/// What is known of a resource that was tried.
struct Done {
    uid: String,
    generation: i64,
    /// Whether something of it is in force that is no stand-in.
    in_force: bool,
    /// Whether it is as its spec says, or cannot be.
    settled: bool,
    /// The rules that it was tried by.
    rules: Arc<Rules>,
    /// The digest that was tried.
    pin: Option<Pin>,
    verdict: Arc<Verdict>,
    /// Whether the status was written. What others make of it afterwards is not answered.
    told: bool,
    /// The plugin that is in force.
    runs: Option<PluginStatus>,
    tag: Option<Tag>,
    /// When the tag is looked up next, or the keys are asked for again.
    next_look: Option<Instant>,
    /// Where its plugin is recorded.
    directory: Option<PathBuf>,
    /// What trust policies ask of its plugin.
    asked: Option<Asked>,
    /// What of it is in force that was installed.
    admitted: Option<Running>,
    /// The generation that this was built of.
    admitted_of: i64,
    /// When it is asked again who signed that.
    next_check: Option<Instant>,
    /// Why what ran of an older spec does not any more.
    ended: Option<String>,
}

struct Manager {
    shared: Arc<Shared>,
    active: Arc<Active>,
    composition: Composition,
    /// Why anybody may ask.
    open: Option<&'static str>,
    queue: Queue,
    resources: BTreeMap<Key, Resource>,
    done: BTreeMap<Key, Done>,
    parts: Parts,
    /// Kinds that were not listed yet.
    unlisted: BTreeSet<Kind>,
    tried: Tried,
    counts: Arc<ResourceCounts>,
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
        watches.spawn(watch::watch(client.clone(), kind, sender.clone()));
    }
    drop(sender);
    let ManagerOptions { runtime, active, composition, identity, mut open, readiness, counts } =
        options;
    let mut rules = runtime.rules.changes();
    let pins = Pins::of(Inventory::of(runtime.environment.default_plugin_dir()));
    let events_forbidden = Once::default();
    let shared = Shared { client, runtime, identity, pins, events_forbidden };
    let parts = Parts::new(shared.runtime.doors());
    let mut manager = Manager {
        shared: Arc::new(shared),
        active,
        composition,
        open: *open.borrow_and_update(),
        queue: Queue::default(),
        resources: BTreeMap::new(),
        done: BTreeMap::new(),
        parts,
        unlisted: Kind::ALL.into_iter().collect(),
        tried: Tried::new(readiness),
        counts,
        jobs: JoinSet::new(),
        of_job: HashMap::new(),
        running: BTreeMap::new(),
    };
    let mut collect = tokio::time::interval(volume::COLLECT_INTERVAL);
    loop {
        manager.start_jobs();
        // Nothing is tried before everything was listed.
        let due = manager.queue.next_due(Instant::now()).filter(|_| manager.unlisted.is_empty());
        tokio::select! {
            seen = events.recv() => match seen {
                Some(seen) => manager.note(seen),
                None => bail!("the custom resources are watched no more"),
            },
            Some(ended) = manager.jobs.join_next_with_id() => manager.ended(ended),
            Ok(()) = rules.changed() => manager.obey(&rules.borrow_and_update().clone()),
            Ok(()) = open.changed() => manager.say_whether_open(*open.borrow_and_update()),
            () = sleep_until(due) => {}
            _ = collect.tick() => manager.on_volume(volume::collect),
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
                let gone = self.shared.pins.forget_all_but(kind, &listed);
                self.on_volume(move |plugins| volume::forget_all(plugins, &gone));
                if self.unlisted.remove(&kind) && self.unlisted.is_empty() {
                    self.refuse_until_tried();
                }
                self.tried.listed(&self.unlisted, self.resources.keys());
            }
        }
    }

    /// What is there at the start stands in the way until it is tried: a slow registry must not
    /// leave a namespace with the cluster's verifiers, or with half of its own.
    fn refuse_until_tried(&mut self) {
        let error = ErrorCode::PluginInitFailure.detail("it was not tried yet");
        for (key, resource) in &self.resources {
            if let Some(stand_in) = refused::stand_in(resource, &error) {
                self.parts.insert(&key.namespace, &key.name, stand_in);
            }
        }
        self.active.swap(self.parts.snapshot(self.composition));
    }

    /// The rules are others now: everything is tried again by them. What they deny does not run
    /// meanwhile, since who starts it asks for the rules itself.
    fn obey(&mut self, rules: &Rules) {
        tracing::info!(
            "the rules of the configuration file changed: all resources are tried again"
        );
        self.composition.tighten_only = rules.namespaces.tighten_only;
        self.active.swap(self.parts.snapshot(self.composition));
        // What a namespace runs of a spec that is no more cannot be held against other rules.
        let is_kept = |key: &Key, done: &Done| key.kind.namespaced && done.verdict.kept;
        for (_, done) in self.done.iter_mut().filter(|(key, done)| is_kept(key, done)) {
            done.in_force = false;
        }
        let now = Instant::now();
        self.done.values_mut().for_each(|done| done.check_by(now));
        for (key, resource) in &self.resources {
            self.abandon(key);
            self.queue.push(key.clone(), work(resource), now);
        }
    }

    /// Works on the plugin directory, beside everything else.
    fn on_volume(&self, work: impl FnOnce(&Path) + Send + 'static) {
        let plugins = self.shared.runtime.environment.default_plugin_dir();
        tokio::task::spawn_blocking(move || work(&plugins));
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

    /// Whether this was tried: neither the spec changed since, nor the digest that was agreed on,
    /// nor the rules.
    fn is_tried(&self, resource: &Resource) -> bool {
        let rules = self.shared.runtime.rules.now();
        self.done.get(&resource.key).is_some_and(|done| {
            let is_same = done.uid == resource.uid && done.generation == resource.generation;
            let is_same = is_same && Arc::ptr_eq(&done.rules, &rules);
            is_same && resource.pin().is_none_or(|pin| done.pin.as_ref() == Some(&pin))
        })
    }

    /// Nothing is tried before everything was listed: a verifier may need what is listed last.
    fn start_jobs(&mut self) {
        while self.unlisted.is_empty() {
            let Some(key) = self.queue.pop(Instant::now()) else { return };
            match self.resources.get(&key).cloned() {
                None => self.queue.succeeded(&key, None),
                Some(resource) if self.asks_of_older(&key, &resource) => {}
                Some(resource) if self.is_tried(&resource) && self.done[&key].settled => {
                    self.look_after(key, resource);
                }
                Some(resource) => {
                    log::start(&key, self.resources.keys());
                    self.build(key, resource);
                }
            }
        }
    }

    fn build(&mut self, key: Key, resource: Resource) {
        let shared = Arc::clone(&self.shared);
        self.spawn(key, async move {
            let rules = shared.runtime.rules.now();
            let built = build::build(&shared, &rules.plugins, &resource).await;
            Step::Built(Box::new((resource, built, rules)))
        });
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
            let is_told = write(&shared, resource, &verdict).await;
            Step::Written(verdict, is_told)
        });
    }

    /// A job is over; another try follows unless all is said and done.
    fn finish(&mut self, key: &Key, is_told: bool) {
        let done = self.done.get(key);
        if is_told && done.is_none_or(|done| done.settled) {
            let next =
                done.and_then(|done| done.next_look.into_iter().chain(done.next_check).min());
            self.queue.succeeded(key, next);
        } else {
            self.queue.failed(key, Instant::now());
            // What runs of an older spec is asked about in its own time.
            let check = done.filter(|done| done.runs_older()).and_then(|done| done.next_check);
            if let Some((check, resource)) = check.zip(self.resources.get(key)) {
                self.queue.push(key.clone(), work(resource), check);
            }
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
            Ok((_, Step::Built(step))) if self.is_current(&step.0) => {
                self.tried.tried(&key);
                self.apply(step.0, step.1, step.2);
            }
            Ok((_, Step::Looked(resource, found))) if self.is_current(&resource) => {
                self.looked(resource, found);
            }
            Ok((_, Step::Asked(resource, again))) if self.is_current(&resource) => {
                self.was_asked_again(resource, again);
            }
            Ok((_, Step::AskedOfOlder(resource, begun, still))) if self.is_current(&resource) => {
                self.was_asked_of_older(resource, begun, still);
            }
            // What was built of is no more; what is instead is waiting.
            Ok((
                _,
                Step::Built(_) | Step::Looked(..) | Step::Asked(..) | Step::AskedOfOlder(..),
            )) => {
                self.queue.succeeded(&key, None);
            }
            Ok((_, Step::Written(verdict, is_told))) => {
                // There may be something else to be said by now.
                let is_latest = |done: &&mut Done| Arc::ptr_eq(&done.verdict, &verdict);
                if let Some(done) = self.done.get_mut(&key).filter(is_latest) {
                    done.told = is_told;
                }
                self.finish(&key, is_told);
            }
            Err(error) if error.is_cancelled() => self.queue.succeeded(&key, None),
            Err(error) => {
                tracing::error!("the work on {key} broke off: {error}");
                self.tried.tried(&key);
                self.queue.failed(&key, Instant::now());
            }
        }
    }

    /// What was deleted is in force no more, whatever else is being done.
    fn remove(&mut self, key: &Key) {
        log::removal(key);
        self.resources.remove(key);
        self.tried.tried(key);
        if let Some(directory) = self.take_done(key).and_then(|done| done.directory) {
            volume::forget(key, directory);
        }
        self.shared.pins.forget(key);
        self.abandon(key);
        self.take_away(key);
        self.swap(key);
    }
}
