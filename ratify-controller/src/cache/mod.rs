//! [`VerdictCache`]: verdicts that were reached a moment ago, for who asks the same again.
//!
//! A verdict is kept under all that it rests on: what decides (`fingerprint`), the namespace, and
//! the image as it was asked for. It is kept only where it is a decision: not where it was late,
//! partial, or failed for a reason that may pass; and no longer than the first of what it rests on.
//! `options` says what the command line means, `memory` keeps, `shared` is what replicas know of
//! each other, `counters` count.

mod address;
mod counters;
mod fingerprint;
mod memory;
mod options;
#[cfg(feature = "redis")]
mod shared;
#[cfg(not(feature = "redis"))]
#[path = "unshared.rs"]
mod shared;

use std::{fmt, sync::Arc, time::Duration};

use ratify_core::{Certainty, Reference, Standing};

use crate::{
    gatekeeper::verdict::Verdict,
    plugin::rules::{Rules, RulesInForce},
    state::View,
};
use memory::Memory;
use shared::Shared;

pub use address::{SharedAddress, SharedOptions};
pub use counters::{Counters, Counts, LinkStanding};
pub(crate) use fingerprint::{Fingerprint, Memo};
pub(crate) use memory::{Now, Until};
pub use options::{CacheError, CacheOptions, Ttl};
#[cfg(feature = "redis")]
#[doc(hidden)]
pub use shared::fuzzing;

/// So much of a fingerprint is shown.
const SHOWN_BYTES: usize = 8;
/// What may change by itself is kept no longer than this, whatever is configured: a denial, since
/// somebody may be at work to end its reason, and what a tag stands for. It is v1's default.
const SHORT: Duration = Duration::from_secs(10);

/// Connects to what replicas share, as [`VerdictCache::shared`] does, asks for a sign of life and hangs
/// up.
///
/// # Errors
/// Says what is wrong, without secrets.
pub(crate) async fn probe(options: &SharedOptions) -> Result<(), String> {
    shared::probe(options).await
}

/// Keeps verdicts. Clones are the same cache; the default one keeps nothing.
#[derive(Clone, Default)]
pub struct VerdictCache(Option<Arc<Kept>>);

impl fmt::Debug for VerdictCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("VerdictCache").field(&self.counts()).finish()
    }
}

struct Kept {
    memory: Memory,
    ttl: Duration,
    rules: RulesInForce,
    counters: Arc<Counters>,
    shared: Option<Shared>,
}

/// The questions of one request. They are about few views.
pub(crate) struct LookUps<'a> {
    cache: Option<(&'a Arc<Kept>, Arc<Rules>)>,
    now: Now,
    latest: Option<(&'a View, Option<Fingerprint>)>,
    /// The latest key, whose room serves the next one.
    key: Vec<u8>,
}

/// What is known of a question.
pub(crate) enum Found {
    /// A verdict.
    Verdict(Arc<Verdict>),
    /// Nothing; here its verdict belongs.
    Nothing(Place),
}

/// Where the verdict of one question belongs.
pub(crate) struct Place(Option<Empty>);

struct Empty {
    cache: Arc<Kept>,
    fingerprint: Fingerprint,
    key: Vec<u8>,
    is_pinned: bool,
}

impl VerdictCache {
    /// A cache as configured, under the rules in force whenever it is asked.
    pub fn new(options: &CacheOptions, rules: RulesInForce) -> Self {
        Self::with(options, rules, |_| None)
    }

    /// The same, shared with other replicas. It must be called within a runtime.
    pub fn shared(options: &CacheOptions, shared: SharedOptions, rules: RulesInForce) -> Self {
        Self::with(options, rules, |counters| Some(Shared::open(shared, counters)))
    }

    fn with(
        options: &CacheOptions,
        rules: RulesInForce,
        share: impl FnOnce(Arc<Counters>) -> Option<Shared>,
    ) -> Self {
        let counters = Arc::<Counters>::default();
        let (memory, shared) = (Memory::new(options.bytes), share(Arc::clone(&counters)));
        Self(Some(Arc::new(Kept { memory, ttl: options.ttl, rules, counters, shared })))
    }

    /// Looks up all that one request asks, at one moment and under the rules of that moment.
    pub(crate) fn look_up(&self) -> LookUps<'_> {
        let cache = self.0.as_ref().map(|cache| (cache, cache.rules.now()));
        LookUps { cache, now: Now::read(), latest: None, key: Vec::new() }
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// How the link to Redis stands, where verdicts are shared.
    pub fn link(&self) -> Option<LinkStanding> {
        self.0.as_ref()?.shared.as_ref().map(Shared::standing)
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.0.as_ref().map(|cache| cache.counts()).unwrap_or_default()
    }
}

impl<'a> LookUps<'a> {
    /// What was decided in a view for a namespace, about a subject that was asked for in the same
    /// words.
    pub(crate) fn find(&mut self, view: &'a View, namespace: &str, subject: &str) -> Found {
        let Some((cache, rules)) = &self.cache else { return Found::Nothing(Place(None)) };
        let fingerprint = match self.latest {
            Some((latest, fingerprint)) if std::ptr::eq(latest, view) => fingerprint,
            _ => Fingerprint::of(view, rules),
        };
        self.latest = Some((view, fingerprint));
        let Some(fingerprint) = fingerprint else { return Found::Nothing(Place(None)) };
        write_key(fingerprint, namespace, subject, &mut self.key);
        if let Some(verdict) = cache.memory.get(&self.key, self.now) {
            cache.counters.hits.add();
            return Found::Verdict(verdict);
        }
        let (cache, key) = (Arc::clone(cache), std::mem::take(&mut self.key));
        Found::Nothing(Place(Some(Empty { cache, fingerprint, key, is_pinned: false })))
    }
}

impl Kept {
    fn counts(&self) -> Counts {
        let (counters, size) = (&self.counters, self.memory.size());
        Counts {
            hits: counters.hits.get(),
            misses: counters.misses.get(),
            stored: counters.stored.get(),
            passing: counters.passing.get(),
            changed: counters.changed.get(),
            shared_hits: counters.shared_hits.get(),
            shared_misses: counters.shared_misses.get(),
            shared: counters.shared.get(),
            unshared: counters.unshared.get(),
            refused: counters.refused.get(),
            shared_errors: counters.shared_errors.get(),
            entries: size.entries,
            bytes: size.bytes,
        }
    }
}

impl Place {
    /// The same for a verdict about what this refers to, which is to be found out.
    pub(crate) fn of(mut self, subject: &Reference) -> Self {
        if let Some(empty) = &mut self.0 {
            empty.cache.counters.misses.add();
            empty.is_pinned = subject.digest().is_some();
        }
        self
    }

    /// What another replica decided, for an image by its digest. It takes a tenth of a second at
    /// most.
    pub(crate) async fn of_others(&self) -> Option<Arc<Verdict>> {
        let Empty { cache, key, is_pinned, .. } = self.0.as_ref()?;
        let shared = cache.shared.as_ref().filter(|_| *is_pinned)?;
        let (verdict, now) = (Arc::new(shared.get(key).await?), Now::read());
        let until = Until::after(cache.ttl, verdict.ends, now);
        cache.memory.put(key.clone(), Arc::clone(&verdict), until, now);
        Some(verdict)
    }

    /// Keeps a verdict that was reached in a view, where it may be kept.
    pub(crate) fn keep(&self, view: &View, verdict: &Arc<Verdict>, standing: Standing) {
        let Some(Empty { cache, fingerprint, key, is_pinned }) = &self.0 else { return };
        if standing.certainty != Certainty::Decided {
            return cache.counters.passing.add();
        }
        // While it was reached, a file may have come to say something else.
        if Fingerprint::now(view, &cache.rules.now()) != Some(*fingerprint) {
            return cache.counters.changed.add();
        }
        let lifetime = lifetime(cache.ttl, verdict.is_success, *is_pinned);
        let now = Now::read();
        let until = Until::after(lifetime, standing.valid_until, now);
        if cache.memory.put(key.clone(), Arc::clone(verdict), until, now) {
            cache.counters.stored.add();
        }
        let Some(shared) = cache.shared.as_ref().filter(|_| *is_pinned) else { return };
        if verdict.is_success {
            let ends = now.wall + lifetime;
            let ends = standing.valid_until.map_or(ends, |first| first.min(ends));
            shared.put(key, verdict, now.wall, ends);
        } else {
            // Another replica may have allowed it, and would be believed when this is over.
            shared.withdraw(key);
        }
    }
}

/// What decides in a view, in a few letters: the same in replicas that decide alike. `None` where not
/// all of it is known.
pub(crate) fn fingerprint_of(view: &View, rules: &Arc<Rules>) -> Option<String> {
    Fingerprint::of(view, rules).map(|fingerprint| hex::encode(&fingerprint.0[..SHOWN_BYTES]))
}

/// For how long a verdict is kept: an allow of a digest as long as is configured.
fn lifetime(configured: Duration, is_success: bool, is_pinned: bool) -> Duration {
    if is_success && is_pinned { configured } else { configured.min(SHORT) }
}

/// The length of the namespace is in it, so that no other pair has the same key.
fn write_key(fingerprint: Fingerprint, namespace: &str, subject: &str, to: &mut Vec<u8>) {
    to.clear();
    to.reserve(32 + 8 + namespace.len() + subject.len());
    to.extend_from_slice(&fingerprint.0);
    to.extend_from_slice(&(namespace.len() as u64).to_le_bytes());
    to.extend_from_slice(namespace.as_bytes());
    to.extend_from_slice(subject.as_bytes());
}

#[cfg(test)]
mod tests;
