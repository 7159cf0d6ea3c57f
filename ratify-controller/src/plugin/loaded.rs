//! [`Loaded`]: which plugins came here, and which of them may run now, for whoever shows it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use ratify_core::{Result, capped_line};

use super::{
    install::{Installation, Outcome},
    inventory::{InstalledPlugin, Kind, LoadedFor},
    rules::is_denial,
};

/// At most so many are told apart; those beyond are not told.
const MAX_TOLD: usize = 512;
/// A longer text is cut.
const MAX_TEXT: usize = 256;

/// Of one process.
#[derive(Debug, Default)]
pub struct Loaded {
    in_force: Mutex<Vec<(Weak<InstalledPlugin>, InForce)>>,
    /// Those that somebody holds and that may not run any more.
    ended: Mutex<Vec<Weak<InstalledPlugin>>>,
    loads: [AtomicU64; LOADS.len()],
}

/// A plugin that may run, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct InForce {
    /// What it is for: `verifier` or `store`.
    pub kind: &'static str,
    /// The namespace of the resource; empty where it has none.
    pub namespace: String,
    /// The name of the resource, or of the entry in the configuration file.
    pub name: String,
    /// What its reference stood for, which is the same on all platforms.
    pub digest: String,
    /// Its own version, where its artifact says one.
    pub version: String,
    /// The reference.
    pub source: String,
    /// Who signed it, as far as they are trusted.
    pub signer: String,
}

const LOADS: [&str; 5] = ["downloaded", "present", "kept", "denied", "failed"];
const DENIED: usize = 3;

impl Loaded {
    /// An installation ended so.
    pub(crate) fn count(&self, installed: &Result<Installation>) {
        let outcome = match installed {
            Ok(Installation { outcome: Outcome::Downloaded, .. }) => 0,
            Ok(Installation { outcome: Outcome::AlreadyPresent, .. }) => 1,
            Ok(Installation { outcome: Outcome::KeptLastGood(_), .. }) => 2,
            Err(error) if is_denial(error) => DENIED,
            Err(_) => 4,
        };
        self.loads[outcome].fetch_add(1, Ordering::Relaxed);
    }

    /// A plugin that runs was denied.
    pub(crate) fn count_denial(&self) {
        self.loads[DENIED].fetch_add(1, Ordering::Relaxed);
    }

    /// These may not run any more though somebody holds them, and no others.
    pub(crate) fn end(&self, plugins: Vec<Weak<InstalledPlugin>>) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = plugins;
    }

    /// A plugin may run for a resource as long as somebody holds it.
    pub(crate) fn add(&self, plugin: &Arc<InstalledPlugin>, loaded_for: &LoadedFor, entry: &str) {
        let record = plugin.record();
        let text = |text: &str| capped_line(text, MAX_TEXT);
        let name = Some(loaded_for.name.as_str()).filter(|name| !name.is_empty());
        let in_force = InForce {
            kind: match record.kind {
                Kind::Verifier => "verifier",
                Kind::Store => "store",
            },
            namespace: text(&loaded_for.namespace),
            name: text(name.unwrap_or(entry)),
            digest: record.root.digest.to_string(),
            version: text(record.version.as_deref().unwrap_or_default()),
            source: text(&record.artifact),
            signer: text(&record.signers.join(", ")),
        };
        let mut all = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(plugin, _)| plugin.strong_count() > 0);
        all.push((Arc::downgrade(plugin), in_force));
    }

    /// The plugins that may run now.
    pub fn in_force(&self) -> BTreeSet<InForce> {
        let mut all = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(plugin, _)| plugin.strong_count() > 0);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let may_run = |plugin: &Weak<_>| !ended.iter().any(|ended| ended.ptr_eq(plugin));
        let may_run = all.iter().filter(|(plugin, _)| may_run(plugin));
        may_run.map(|(_, in_force)| in_force.clone()).take(MAX_TOLD).collect()
    }

    /// How installations ended, and how often so.
    pub fn loads(&self) -> Vec<(&'static str, u64)> {
        let counts = self.loads.iter().map(|count| count.load(Ordering::Relaxed));
        LOADS.into_iter().zip(counts).collect()
    }
}
