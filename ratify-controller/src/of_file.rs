//! What becomes of the plugins that a configuration file names while they run: [`watch`] asks again who
//! signed them, as the manager does of those of resources, and what may not run any more is replaced by a
//! stand-in that denies with the reason. The file itself is watched by `reload`.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use ratify_core::{Error, capped_line, config::PluginSource};
use ratify_store_oras::auth::SecretScope;

use crate::{
    plugin::{
        in_force::Brought,
        inventory::{InstalledPlugin, Inventory, Record},
        rules::is_denial,
        trusted::{Running, SOON, Still},
    },
    runtime::Runtime,
    state::{Active, Snapshot},
};

/// How many plugins are asked about at once.
const AT_ONCE: usize = 4;
/// Why one ends is cut to this in the log.
const MAX_WHY: usize = 1000;

/// Where a plugin stands in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among the verifiers.
    Verifier(usize),
    /// Among the stores.
    Store(usize),
}

/// A plugin that was installed from a source in a configuration file.
#[derive(Debug)]
pub(crate) struct FromFile {
    pub(crate) place: Place,
    source: PluginSource,
    plugin: Arc<InstalledPlugin>,
    /// Where it is recorded.
    directory: PathBuf,
}

/// The plugins of one configuration, and what is known of them.
struct Plugins {
    /// As the configuration was built, all plugins in force.
    base: Arc<Snapshot>,
    known: Vec<Known>,
    /// Why which of them may not run any more.
    ended: BTreeMap<usize, Error>,
}

struct Known {
    running: Running,
    /// How soon it is asked about again after it was ended.
    soon: Duration,
    /// When it is asked about again.
    next: Option<Instant>,
}

impl FromFile {
    /// What was installed for an entry, if it was.
    pub(crate) fn of(
        place: Place,
        source: Option<PluginSource>,
        plugin: Option<Arc<InstalledPlugin>>,
        dirs: &[PathBuf],
    ) -> Option<Self> {
        let (source, plugin) = source.zip(plugin)?;
        Some(Self { place, source, plugin, directory: dirs.first()?.clone() })
    }

    /// The plugin as something that is brought.
    pub(crate) fn brought(&self) -> Brought {
        let name = self.plugin.record().name.clone();
        Brought { namespace: String::new(), name, plugin: Arc::clone(&self.plugin) }
    }
}

/// Asks again and again who signed what runs of the configuration in force, and at once where a changed one
/// was not taken: its rules hold already. Runs until it is dropped.
pub(crate) async fn watch(runtime: Arc<Runtime>, active: Arc<Active>) {
    let mut changes = active.watch();
    let mut failures = active.changes().failures;
    let mut plugins = Plugins::of(&runtime, active.snapshot());
    loop {
        let next = plugins.known.iter().filter_map(|known| known.next).min();
        tokio::select! {
            // The sender is ours and lives as long.
            _ = changes.changed() => {}
            () = sleep_until(next) => {}
        }
        let (seen, now) = (active.snapshot(), Instant::now());
        if !plugins.are_of(&seen) {
            plugins = Plugins::of(&runtime, seen);
            continue;
        }
        let failures_now = active.changes().failures;
        if failures_now != failures {
            failures = failures_now;
            plugins.known.iter_mut().for_each(|known| known.next = Some(now));
        }
        let due: Vec<_> = plugins.due(now);
        let asking = due.into_iter().map(|place| plugins.ask(&runtime, place));
        let asked: Vec<_> = stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
        // Of a configuration that is no more nothing counts.
        let seen = active.snapshot();
        if plugins.are_of(&seen) && plugins.take(&runtime, asked) {
            active.swap_if(&seen, plugins.base.without(&plugins.ended));
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

impl Plugins {
    fn of(runtime: &Runtime, base: Arc<Snapshot>) -> Self {
        runtime.loaded.end(Vec::new());
        let now = Instant::now();
        let known = base.plugins().iter().map(|plugin| {
            let (source, record) = (plugin.source.clone(), plugin.plugin.record().clone());
            let running = Running { source, record };
            let interval = running.interval(runtime, &SecretScope::Cluster, &who(runtime, plugin));
            let next = interval.and_then(|interval| now.checked_add(interval));
            Known { running, soon: interval.map_or(SOON, |interval| interval.min(SOON)), next }
        });
        Self { known: known.collect(), base: Arc::clone(&base), ended: BTreeMap::new() }
    }

    /// Whether these are the plugins of a snapshot.
    fn are_of(&self, snapshot: &Snapshot) -> bool {
        Arc::ptr_eq(self.base.plugins(), snapshot.plugins())
    }

    /// Whose turn it is.
    fn due(&self, now: Instant) -> Vec<usize> {
        let is_due = |place: &usize| {
            self.known.get(*place).and_then(|known| known.next).is_some_and(|next| next <= now)
        };
        (0..self.known.len()).filter(is_due).collect()
    }

    async fn ask(&self, runtime: &Runtime, place: usize) -> Option<(usize, Still)> {
        let (known, plugin) = self.known.get(place).zip(self.base.plugins().get(place))?;
        let who = who(runtime, plugin);
        let of = format!("the {} {}", known.running.record.kind, known.running.record.name);
        Some((place, known.running.ask(runtime, &SecretScope::Cluster, &who, &of).await))
    }

    /// Keeps what was found out; whether others may run than before.
    fn take(&mut self, runtime: &Runtime, asked: Vec<Option<(usize, Still)>>) -> bool {
        let mut is_other = false;
        for (place, still) in asked.into_iter().flatten() {
            let Some(known) = self.known.get_mut(place) else { continue };
            let record = &mut known.running.record;
            let of = format!("the {} {}", record.kind, record.name);
            let soon = match still {
                Still::Runs(now, soon) => {
                    *record = *now;
                    if self.ended.remove(&place).is_some() {
                        tracing::info!("{of} is in force again: its plugin may run");
                        is_other = true;
                    }
                    soon
                }
                Still::Ends(error) => {
                    // Nothing but a signature brings it back.
                    record.admitted_by = None;
                    let is_new = !self.ended.contains_key(&place);
                    if is_new {
                        let why = capped_line(&error.to_string(), MAX_WHY);
                        tracing::error!("{of} is out of force: {why}");
                        runtime.loaded.count_denial();
                    }
                    if is_new || is_denial(&error) {
                        is_other = true;
                        self.ended.insert(place, error);
                    }
                    Some(known.soon)
                }
            };
            known.next = soon.and_then(|soon| Instant::now().checked_add(soon));
            self.record(place);
        }
        let held = self.ended.keys().filter_map(|place| self.base.plugins().get(*place));
        runtime.loaded.end(held.map(|plugin| Arc::downgrade(&plugin.plugin)).collect());
        is_other
    }

    /// What is known of a plugin outlives this process, so that a start while nobody answers knows it.
    fn record(&self, place: usize) {
        let known = self.known.get(place).zip(self.base.plugins().get(place));
        let Some((known, plugin)) = known else { return };
        let (record, directory): (Record, _) =
            (known.running.record.clone(), plugin.directory.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = Inventory::of(directory).note_admission(&record) {
                let name = &record.name;
                tracing::warn!("what {name} was admitted by is not recorded: {error}");
            }
        });
    }
}

/// Tells one that asks about one plugin from all others.
fn who(runtime: &Runtime, plugin: &FromFile) -> String {
    let record = plugin.plugin.record();
    format!("{} {} {}", runtime.environment.host_name, record.kind, record.name)
}
