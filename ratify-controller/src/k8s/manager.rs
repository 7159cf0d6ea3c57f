//! The manager: watches the nine kinds and keeps what is in force as they say. One task owns the
//! state; jobs build and write beside it, so that a slow registry holds up no other resource.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::bail;
use jiff::Timestamp;
use kube::{Client, api::Patch};
use ratify_core::{Digest, Error, ErrorCode};
use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
};

use super::{
    Once,
    build::{self, Built, Shared, api, by_us, within},
    crd::PluginStatus,
    events,
    follow::Tag,
    kind::{Kind, Role},
    log,
    parts::{Composition, Parts},
    queue::Queue,
    resource::{Key, Pin, Resource},
    status::{self, Outcome, Standing},
    tried::Tried,
    volume,
    watch::{self, Seen},
};
use crate::{
    health::Check,
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
    /// Is set when everything was listed and tried once.
    pub readiness: Check,
}

/// What a job ended with.
enum Step {
    /// With the rules that it was built by.
    Built(Box<(Resource, Built, Arc<Rules>)>),
    /// What a tag stands for now.
    Looked(Resource, ratify_core::Result<Digest>),
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
    /// Whether what is in force is what its spec says.
    is_active: bool,
    /// Whether it is as its spec says, or cannot be.
    settled: bool,
    /// The rules that it was tried by.
    rules: Arc<Rules>,
    pin: Option<Pin>,
    plugin: Option<PluginStatus>,
    tag: Option<Tag>,
    /// What the tag stands for, where that is not what runs.
    moved_to: Option<Digest>,
    /// When the tag is looked up next.
    next_look: Option<Instant>,
    /// Where its plugin is recorded.
    directory: Option<PathBuf>,
}

/// What came of a try, for the status.
#[derive(Default)]
struct News {
    error: Option<Error>,
    was_in_force: bool,
    retry: bool,
    /// The plugin that was in force until now.
    ran_before: Option<PluginStatus>,
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
    tried: Tried,
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
        watches.spawn(watch::watch(client.clone(), kind, sender.clone()));
    }
    drop(sender);
    let ManagerOptions { runtime, active, composition, identity, readiness } = options;
    let mut rules = runtime.rules.changes();
    let (events_forbidden, status_pruned) = (Once::default(), Once::default());
    let shared = Shared { client, runtime, identity, events_forbidden, status_pruned };
    let mut manager = Manager {
        shared: Arc::new(shared),
        active,
        composition,
        queue: Queue::default(),
        resources: BTreeMap::new(),
        done: BTreeMap::new(),
        parts: Parts::default(),
        unlisted: Kind::ALL.into_iter().collect(),
        tried: Tried::new(readiness),
        jobs: JoinSet::new(),
        of_job: HashMap::new(),
    };
    let mut collect = tokio::time::interval(volume::COLLECT_INTERVAL);
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
            _ = collect.tick() => manager.on_volume(volume::collect),
        }
    }
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
                if self.unlisted.remove(&kind) && self.unlisted.is_empty() {
                    let live = self.resources.keys().cloned().collect();
                    self.on_volume(move |plugins| volume::sweep(plugins, &live));
                }
                self.tried.listed(&self.unlisted, self.resources.keys());
            }
        }
    }

    /// The rules are others now: everything is tried again by them. What they deny does not run
    /// meanwhile, since who starts it asks for the rules itself.
    fn obey(&mut self, rules: &Rules) {
        tracing::info!(
            "the rules of the configuration file changed: all resources are tried again"
        );
        self.composition.tighten_only = rules.namespaces.tighten_only;
        self.active.swap(self.parts.snapshot(self.composition));
        let now = Instant::now();
        for key in self.resources.keys() {
            self.queue.push(key.clone(), now);
        }
    }

    /// Works on the plugin directory, beside everything else.
    fn on_volume(&self, work: impl FnOnce(&Path) + Send + 'static) {
        let plugins = self.shared.runtime.environment.default_plugin_dir();
        tokio::task::spawn_blocking(move || work(&plugins));
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
                Some(resource) if self.is_settled(&resource) => self.look_if_due(key, resource),
                Some(resource) => {
                    log::start(&key);
                    self.build(key, resource);
                }
            }
        }
    }

    fn build(&mut self, key: Key, resource: Resource) {
        // v1 takes the pin out of the status, and v1's definitions have no room for it.
        let known = self.done.get(&key).and_then(|done| done.pin.clone());
        let known =
            known.filter(|pin| pin.uid == resource.uid && pin.generation == resource.generation);
        let pin = resource.pin().or(known);
        let shared = Arc::clone(&self.shared);
        self.spawn(key, async move {
            let rules = shared.runtime.rules.now();
            let built = build::build(&shared, &rules.plugins, &resource, pin).await;
            Step::Built(Box::new((resource, built, rules)))
        });
    }

    /// Nothing changed; but what its tag stands for may have.
    fn look_if_due(&mut self, key: Key, resource: Resource) {
        let next_look = self.done.get(&key).and_then(|done| done.next_look);
        let is_due = next_look.is_some_and(|at| at <= Instant::now());
        let tag = self.done.get(&key).and_then(|done| done.tag.clone()).filter(|_| is_due);
        let Some(tag) = tag else { return self.queue.succeeded(&key, next_look) };
        let shared = Arc::clone(&self.shared);
        self.spawn(key, async move {
            let digest = tag.resolve(&shared, &resource).await;
            Step::Looked(resource, digest)
        });
    }

    /// Follows a tag that moved where that is asked for, and otherwise says that it moved.
    fn looked(&mut self, resource: Resource, found: ratify_core::Result<Digest>) {
        let key = resource.key.clone();
        let Some(done) = self.done.get_mut(&key) else {
            return self.queue.succeeded(&key, None);
        };
        let (Some(tag), Some(pin)) = (&done.tag, done.pin.clone()) else {
            return self.queue.succeeded(&key, None);
        };
        done.next_look = tag.next_look(Instant::now(), false);
        let next_look = done.next_look;
        let found = match found {
            Ok(digest) => digest,
            Err(error) => {
                let error = ratify_core::capped_line(&error.to_string(), 500);
                tracing::warn!("what {} stands for was not found out: {error}", tag.reference);
                return self.queue.succeeded(&key, next_look);
            }
        };
        let moved_to = (found != pin.digest).then_some(found);
        if let (Some(digest), true) = (&moved_to, tag.interval.is_some()) {
            tracing::info!("{key} follows {} from {} to {digest}", tag.reference, pin.digest);
            let (shared, digest) = (Arc::clone(&self.shared), digest.clone());
            return self.spawn(key, async move {
                let rules = shared.runtime.rules.now();
                let built = build::follow(&shared, &rules.plugins, &resource, digest, pin).await;
                Step::Built(Box::new((resource, built, rules)))
            });
        }
        if !done.is_active {
            return self.build(key, resource);
        }
        if std::mem::replace(&mut done.moved_to, moved_to.clone()) == moved_to {
            return self.queue.succeeded(&key, next_look);
        }
        if let Some(digest) = &moved_to {
            tracing::warn!(
                "{} of {key} stands for {digest} now; {} runs",
                tag.reference,
                pin.digest
            );
        }
        let news = News { ran_before: done.plugin.clone(), ..News::default() };
        self.tell(resource, news);
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
        self.tried.tried(&key);
        match ended {
            Ok((_, Step::Built(step))) => {
                let (resource, built, rules) = *step;
                self.apply(resource, built, rules);
            }
            Ok((_, Step::Looked(resource, found))) => self.looked(resource, found),
            Ok((_, Step::Written { again: false })) => {
                let next_look = self.done.get(&key).and_then(|done| done.next_look);
                self.queue.succeeded(&key, next_look);
            }
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
        // What is denied is not kept as the last good one.
        let is_denied = built.part.as_ref().is_err_and(rules::is_denial);
        let was_in_force = before.is_some_and(|done| done.in_force) && !is_denied;
        let Built { part, stand_in, retry, pin, plugin, tag, directory } = built;
        let is_first = before.is_none();
        let ran_before = before.and_then(|done| done.plugin.clone());
        let (kept_plugin, kept_directory) =
            before.map(|done| (done.plugin.clone(), done.directory.clone())).unwrap_or_default();
        let error = match part {
            Ok(part) => {
                if let Some(part) = part {
                    self.parts.insert(&key.namespace, &key.name, part);
                    self.swap(&key);
                    log::added(&resource);
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
        // A plugin that moved elsewhere, or is named no more.
        let is_left = error.is_none() && kept_directory != directory;
        let left_directory = kept_directory.clone().filter(|_| is_left);
        let directory = if error.is_none() { directory } else { directory.or(kept_directory) };
        // A pin that this process did not make may be old.
        let is_old_pin = is_first && resource.pin().is_some() && resource.pin() == pin;
        let done = Done {
            uid: resource.uid.clone(),
            generation: resource.generation,
            in_force: error.is_none() || was_in_force,
            is_active: error.is_none(),
            settled: !retry,
            rules,
            next_look: tag.as_ref().and_then(|tag| tag.next_look(Instant::now(), is_old_pin)),
            pin,
            plugin: if error.is_none() { plugin } else { kept_plugin },
            tag,
            moved_to: None,
            directory,
        };
        if let Some(left) = left_directory {
            volume::forget(&key, left);
        }
        self.done.insert(key, done);
        self.tell(resource, News { error, was_in_force, retry, ran_before });
    }

    /// Says in the status how a resource stands.
    fn tell(&mut self, resource: Resource, news: News) {
        let News { error, was_in_force, retry, ran_before } = news;
        let key = resource.key.clone();
        // The latest status counts: the claim changed it meanwhile.
        let resource = self
            .resources
            .get(&key)
            .filter(|now| now.uid == resource.uid && now.generation == resource.generation)
            .cloned()
            .unwrap_or(resource);
        let done = self.done.get(&key);
        let moved_to = done.and_then(|done| done.moved_to.clone());
        let plugin = done.and_then(|done| done.plugin.clone()).filter(|_| error.is_none());
        let shared = Arc::clone(&self.shared);
        self.spawn(key, async move {
            let outcome = match &error {
                None => Outcome::Active,
                Some(error) if was_in_force => Outcome::KeptLastGood(error),
                Some(error) => Outcome::Refused(error),
            };
            let standing = Standing { outcome, remark: None, plugin, moved_to };
            let is_written = write(&shared, &resource, &standing, ran_before.as_ref()).await;
            Step::Written { again: retry || !is_written }
        });
    }

    fn remove(&mut self, key: &Key) {
        log::removal(key);
        self.tried.tried(key);
        if let Some(directory) = self.done.remove(key).and_then(|done| done.directory) {
            volume::forget(key, directory);
        }
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
async fn write(
    shared: &Shared,
    resource: &Resource,
    standing: &Standing<'_>,
    ran_before: Option<&PluginStatus>,
) -> bool {
    let Some(body) = status::patch(resource, standing, Timestamp::now()) else { return true };
    let key = &resource.key;
    let api = api(&shared.client, key.kind, &key.namespace);
    let why = match within(api.patch_status(&key.name, &by_us(), &Patch::Merge(&body))).await {
        Ok(Ok(_)) => {
            let notes = events::notes(resource, standing, ran_before);
            events::publish(shared, resource, notes).await;
            return true;
        }
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
