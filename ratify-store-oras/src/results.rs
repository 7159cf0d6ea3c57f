//! [`ResultCache`]: what stores were answered a moment ago; and [`Results`], one store's part of it.
//!
//! An answer serves the store that got it and no other, for it was given to that store's
//! credentials: not another tenant's, and not another store of the same tenant. What a tag stands
//! for is never kept. What is absent is kept shortly: it can only deny, and may be there a second
//! later. Pure: the time comes in.

use std::{
    collections::{BTreeMap, HashMap},
    mem::size_of,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ratify_core::{Descriptor, Digest, Reference, Referrer};

use crate::{OrasError, auth::RegistryHost};

/// As many bytes as the answers of all stores of a process take.
const DEFAULT_BYTES: u64 = 16 << 20;
/// One answer may take this part of all.
const LARGEST_PART: u64 = 8;
/// What the maps add to an entry, about.
const ENTRY_BYTES: usize = 256;
/// How long it is known that something is absent, at most.
const ABSENCE: Duration = Duration::from_secs(2);
/// No answer is kept for longer, whatever the configuration says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Of so many registries it is known when they refused a store.
const MAX_REFUSING: usize = 256;
/// How often answers that have ended are looked for.
const SWEEP_AFTER: Duration = Duration::from_secs(5);

/// The answers that all stores of a process keep, bounded in bytes. When it is full, the tenant
/// that has most gives away what it used least recently, so that none can take all from another.
#[derive(Debug, Clone)]
pub struct ResultCache(Arc<Mutex<Shelves>>);

/// The answers of one store. When it goes, they go.
#[derive(Debug)]
pub(crate) struct Results {
    cache: ResultCache,
    tenant: Arc<str>,
    store: u64,
    lifetime: Duration,
    refusals: Mutex<Refusals>,
}

/// When registries refused a store, as a count of all refusals.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    /// Each registry's last.
    last: HashMap<String, u64>,
    /// The last of one that is in the map no more: any other may be it.
    forgotten: u64,
}

/// What a registry was asked, save where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether a digest is there.
    Subject(Digest),
    /// What is attached to it, of one type or, where that is empty, of all.
    Referrers(Digest, String),
    /// Whether cosign keeps a signature of it.
    CosignSignature(Digest),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    Listed(Arc<[Referrer]>),
    Described(Box<Descriptor>),
    Absent,
}

/// A question that is under way, whose answer is to be kept.
#[derive(Debug)]
pub(crate) struct Pending {
    results: Arc<Results>,
    key: Key,
    asked: Instant,
    /// How many refusals there had been by then.
    refusals: u64,
}

#[derive(Debug)]
struct Shelves {
    capacity: u64,
    bytes: u64,
    stores: u64,
    /// Counts uses.
    clock: u64,
    swept: Option<Instant>,
    tenants: HashMap<Arc<str>, Shelf>,
    hits: u64,
    misses: u64,
}

/// What was found so far, and how much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResultCounts {
    /// Questions whose answer was known.
    pub hits: u64,
    /// Those whose answer was not.
    pub misses: u64,
    /// How many answers are kept, those included that have ended and were not removed yet.
    pub entries: u64,
    /// How many bytes they take.
    pub bytes: u64,
}

/// What one tenant's stores keep.
#[derive(Debug, Default)]
struct Shelf {
    bytes: u64,
    entries: BTreeMap<Arc<Key>, Entry>,
    /// The same by their last use.
    by_use: BTreeMap<u64, Arc<Key>>,
}

/// In this order, for all that a store keeps of a registry is removed at once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    store: u64,
    /// The registry, however it is spelt.
    host: String,
    /// As it is spelt.
    registry: String,
    repository: String,
    question: String,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    ends: Instant,
    bytes: u64,
    used: u64,
}

impl Default for ResultCache {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl ResultCache {
    /// A cache of so many bytes, keys and all.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(Shelves {
            capacity: bytes,
            bytes: 0,
            stores: 0,
            clock: 0,
            swept: None,
            tenants: HashMap::new(),
            hits: 0,
            misses: 0,
        })))
    }

    /// What was counted so far.
    pub fn counts(&self) -> ResultCounts {
        let shelves = self.lock();
        let entries = shelves.tenants.values().map(|shelf| shelf.entries.len() as u64).sum();
        ResultCounts { hits: shelves.hits, misses: shelves.misses, entries, bytes: shelves.bytes }
    }

    /// The part of a new store, which is empty.
    pub(crate) fn of_store(&self, tenant: Arc<str>, lifetime: Duration) -> Arc<Results> {
        let store = {
            let mut shelves = self.lock();
            shelves.stores += 1;
            shelves.stores
        };
        let lifetime = lifetime.min(LONGEST);
        let (cache, refusals) = (self.clone(), Mutex::default());
        Arc::new(Results { cache, tenant, store, lifetime, refusals })
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Results {
    /// The answer to a question about a repository, if it is known still. The lines in the log are
    /// v1's.
    pub(crate) fn get(&self, at: &Reference, question: &Question, now: Instant) -> Option<Known> {
        let key = self.key(at, question);
        let found = {
            let mut shelves = self.cache.lock();
            let found = shelves.get(&self.tenant, &key, now);
            *(if found.is_some() { &mut shelves.hits } else { &mut shelves.misses }) += 1;
            found
        };
        let name = question.name();
        match found {
            Some(_) => tracing::debug!("cache hit for {name}"),
            None => tracing::debug!("{name} cache miss for value: {at}"),
        }
        found
    }

    /// To be called before a registry is asked.
    pub(crate) fn asking(
        self: &Arc<Self>,
        at: &Reference,
        question: &Question,
        now: Instant,
    ) -> Pending {
        let (key, refusals) = (self.key(at, question), self.refusals().count);
        Pending { results: self.clone(), key, asked: now, refusals }
    }

    /// Looks at a failure: one that says that the store has no rights at a registry takes with it
    /// what it was answered there.
    pub(crate) fn note(&self, at: &Reference, error: &OrasError) {
        if matches!(error, OrasError::Denied { .. } | OrasError::Credentials { .. }) {
            let host = host_of(at);
            self.refusals().add(&host);
            self.cache.lock().forget(&self.tenant, self.store, Some(host));
        }
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, at: &Reference, question: &Question) -> Key {
        Key {
            store: self.store,
            host: host_of(at),
            registry: at.registry().to_owned(),
            repository: at.repository().to_owned(),
            question: match question {
                Question::Subject(digest) => format!("subject {digest}"),
                Question::Referrers(digest, only) => format!("referrers {digest} {only}"),
                Question::CosignSignature(digest) => format!("cosign {digest}"),
            },
        }
    }
}

impl Pending {
    /// Keeps the answer, from the moment on at which it was asked for. It is not kept where the
    /// store was refused there meanwhile: it may have been given to rights that are no more.
    pub(crate) fn answer(self, known: Known, now: Instant) {
        let Self { results, key, asked, refusals } = self;
        let lifetime = match &known {
            Known::Absent => results.lifetime.min(ABSENCE),
            Known::Listed(listed) if listed.is_empty() => results.lifetime.min(ABSENCE),
            Known::Listed(_) | Known::Described(_) => results.lifetime,
        };
        let Some(ends) = asked.checked_add(lifetime).filter(|ends| *ends > now) else { return };
        let mut shelves = results.cache.lock();
        if results.refusals().last_of(&key.host) <= refusals {
            shelves.put(&results.tenant, key, known, ends, now);
        }
    }
}

impl Refusals {
    fn add(&mut self, host: &str) {
        self.count += 1;
        self.last.insert(host.to_owned(), self.count);
        if self.last.len() > MAX_REFUSING
            && let Some(oldest) = self.last.iter().min_by_key(|(_, last)| **last)
        {
            let (host, last) = (oldest.0.clone(), *oldest.1);
            self.last.remove(&host);
            self.forgotten = last;
        }
    }

    fn last_of(&self, host: &str) -> u64 {
        self.last.get(host).copied().unwrap_or(self.forgotten)
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        self.cache.lock().forget(&self.tenant, self.store, None);
    }
}

impl Question {
    fn name(&self) -> &'static str {
        match self {
            Self::Subject(_) => "subject descriptor",
            Self::Referrers(..) => "list referrers",
            Self::CosignSignature(_) => "cosign signature",
        }
    }
}

impl Shelves {
    fn get(&mut self, tenant: &str, key: &Key, now: Instant) -> Option<Known> {
        let shelf = self.tenants.get_mut(tenant)?;
        let entry = shelf.entries.get_mut(key)?;
        if entry.ends <= now {
            self.bytes -= shelf.remove(key);
            return None;
        }
        self.clock += 1;
        let known_as = shelf.by_use.remove(&entry.used)?;
        entry.used = self.clock;
        shelf.by_use.insert(self.clock, known_as);
        Some(entry.known.clone())
    }

    fn put(&mut self, tenant: &Arc<str>, key: Key, known: Known, ends: Instant, now: Instant) {
        self.sweep(now);
        let bytes = (ENTRY_BYTES + tenant.len() + key.bytes() + known.bytes()) as u64;
        let shelf = self.tenants.entry(tenant.clone()).or_default();
        self.bytes -= shelf.remove(&key);
        if bytes <= self.capacity / LARGEST_PART {
            self.clock += 1;
            let (key, used) = (Arc::new(key), self.clock);
            shelf.by_use.insert(used, key.clone());
            shelf.entries.insert(key, Entry { known, ends, bytes, used });
            shelf.bytes += bytes;
            self.bytes += bytes;
        }
        while self.bytes > self.capacity {
            let Some(largest) = self.tenants.values_mut().max_by_key(|shelf| shelf.bytes) else {
                return;
            };
            self.bytes -= largest.remove_oldest();
        }
    }

    /// Removes what a store keeps, of one registry or at all.
    fn forget(&mut self, tenant: &str, store: u64, host: Option<String>) {
        let Some(shelf) = self.tenants.get_mut(tenant) else { return };
        let first = Key {
            store,
            host: host.clone().unwrap_or_default(),
            registry: String::new(),
            repository: String::new(),
            question: String::new(),
        };
        let is_meant =
            |key: &Key| key.store == store && host.as_ref().is_none_or(|host| key.host == *host);
        let range = shelf.entries.range(Arc::new(first)..);
        let meant: Vec<Arc<Key>> =
            range.map(|(key, _)| key.clone()).take_while(|key| is_meant(key)).collect();
        for key in meant {
            self.bytes -= shelf.remove(&key);
        }
        if shelf.entries.is_empty() {
            self.tenants.remove(tenant);
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_AFTER) {
            return;
        }
        self.swept = Some(now);
        for shelf in self.tenants.values_mut() {
            let ended = shelf.entries.iter().filter(|(_, entry)| entry.ends <= now);
            let ended: Vec<Arc<Key>> = ended.map(|(key, _)| key.clone()).collect();
            for key in ended {
                self.bytes -= shelf.remove(&key);
            }
        }
        self.tenants.retain(|_, shelf| !shelf.entries.is_empty());
    }
}

impl Shelf {
    /// How many bytes are free then.
    fn remove(&mut self, key: &Key) -> u64 {
        let Some(entry) = self.entries.remove(key) else { return 0 };
        self.by_use.remove(&entry.used);
        self.bytes -= entry.bytes;
        entry.bytes
    }

    fn remove_oldest(&mut self) -> u64 {
        match self.by_use.first_key_value().map(|(_, key)| key.clone()) {
            Some(key) => self.remove(&key),
            None => 0,
        }
    }
}

impl Key {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.host.len()
            + self.registry.len()
            + self.repository.len()
            + self.question.len()
    }
}

impl Known {
    fn bytes(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Described(descriptor) => bytes_of(descriptor),
            Self::Listed(listed) => listed
                .iter()
                .map(|one| {
                    size_of::<Referrer>() - size_of::<Descriptor>() + bytes_of(&one.descriptor)
                })
                .sum(),
        }
    }
}

/// A registry, however it is spelt: by its name in lower case and its port, unless that is one
/// that need not be written. In clear and over TLS these are two; to forget too much is no harm.
fn host_of(at: &Reference) -> String {
    let written = at.registry();
    let host = RegistryHost::parse(written)
        .map_or_else(|_| written.to_ascii_lowercase(), |host| host.to_string());
    match host.strip_suffix(":80") {
        Some(name) => name.to_owned(),
        None => host,
    }
}

/// What a descriptor takes, with all that hangs on it.
fn bytes_of(descriptor: &Descriptor) -> usize {
    // A string of a list or a map has a place of its own there.
    const TEXT: usize = size_of::<String>() + 16;
    let urls = descriptor.urls.iter().map(|url| TEXT + url.len());
    let annotations =
        descriptor.annotations.iter().map(|(key, value)| 2 * TEXT + key.len() + value.len());
    let platform = descriptor.platform.as_ref().map_or(0, |platform| {
        let more = platform.os_features.iter().map(|feature| TEXT + feature.len());
        let optional = [&platform.os_version, &platform.variant];
        platform.architecture.len()
            + platform.os.len()
            + optional.into_iter().flatten().map(String::len).sum::<usize>()
            + more.sum::<usize>()
    });
    size_of::<Descriptor>()
        + descriptor.media_type.len()
        + descriptor.digest.as_str().len()
        + descriptor.artifact_type.len()
        + descriptor.data.as_ref().map_or(0, String::len)
        + urls.sum::<usize>()
        + annotations.sum::<usize>()
        + platform
}

#[cfg(test)]
mod tests;
