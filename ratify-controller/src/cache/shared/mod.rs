//! [`Shared`]: verdicts that replicas share through Redis. It saves work and decides nothing: what
//! comes from there counts only under a seal ([`sealed`]), and where it is slow, gone, full or
//! forged each replica stands alone ([`link`]).

#[doc(hidden)]
pub mod fuzzing;
mod link;
mod sealed;
mod stream;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{LinkStanding, address::SharedOptions, counters::Counters};
use crate::gatekeeper::verdict::Verdict;
use link::Link;
use sealed::Refused;

/// So many bytes wait to be written at most; what is more is not shared.
const MOST_WAITING: u64 = 4 << 20;
/// How many entries wait to be written at most.
const MOST_ENTRIES: usize = 256;

/// What replicas share. It ends when it is dropped.
pub(super) struct Shared {
    link: Arc<Link>,
    waiting: mpsc::Sender<Write>,
    bytes_waiting: Arc<AtomicU64>,
    counters: Arc<Counters>,
    tasks: [JoinHandle<()>; 2],
}

/// An entry on its way.
struct Write {
    key: Vec<u8>,
    what: What,
    bytes: u64,
}

/// What is to be written.
enum What {
    /// A verdict, when it was reached and until when it counts.
    Allow { verdict: Arc<Verdict>, made: SystemTime, ends: SystemTime },
    /// Nothing: what was allowed before is no longer.
    Nothing,
}

/// Connects once and asks for a sign of life.
pub(super) async fn probe(options: &SharedOptions) -> Result<(), String> {
    link::probe(options).await.map_err(|error| error.to_string())
}

impl Shared {
    /// Connects in the background. It must be called within a runtime.
    pub(super) fn open(options: SharedOptions, counters: Arc<Counters>) -> Self {
        let link = Arc::new(Link::default());
        let (waiting, writes) = mpsc::channel(MOST_ENTRIES);
        let bytes_waiting = Arc::<AtomicU64>::default();
        let keeping = Arc::clone(&link);
        let keeper = tokio::spawn(async move { keeping.keep(&options).await });
        let writer = Writer {
            link: Arc::clone(&link),
            bytes_waiting: Arc::clone(&bytes_waiting),
            counters: Arc::clone(&counters),
        };
        let writer = tokio::spawn(writer.write(writes));
        Self { link, waiting, bytes_waiting, counters, tasks: [keeper, writer] }
    }

    /// How the link stands.
    pub(super) fn standing(&self) -> LinkStanding {
        LinkStanding { is_up: self.link.open().is_some(), connects: self.link.connects() }
    }

    /// What another replica decided, and until when that counts.
    pub(super) async fn get(&self, key: &[u8]) -> Option<Verdict> {
        let open = self.link.open()?;
        let entry = match self.link.read(&open, &open.seal.name(key)).await {
            Ok(Some(entry)) if !entry.is_empty() => entry,
            Ok(_) => {
                self.counters.shared_misses.add();
                return None;
            }
            Err(error) => {
                self.counters.shared_errors.add();
                tracing::debug!(component_type = "cache", "an entry was not read: {error}");
                return None;
            }
        };
        match open.seal.open(key, &entry, SystemTime::now()) {
            Ok(verdict) => {
                self.counters.shared_hits.add();
                Some(verdict)
            }
            Err(refused) => {
                self.counters.refused.add();
                self.say_refused(refused);
                None
            }
        }
    }

    /// Shares a verdict, if there is room for it on the way. It never waits.
    pub(super) fn put(
        &self,
        key: &[u8],
        verdict: &Arc<Verdict>,
        made: SystemTime,
        ends: SystemTime,
    ) {
        let verdict = Arc::clone(verdict);
        let bytes = verdict.bytes();
        self.send(key, What::Allow { verdict, made, ends }, bytes);
    }

    /// Takes back what was shared: it was decided otherwise.
    pub(super) fn withdraw(&self, key: &[u8]) {
        self.send(key, What::Nothing, 0);
    }

    fn send(&self, key: &[u8], what: What, bytes: usize) {
        let bytes = (size_of::<Write>() + key.len() + bytes) as u64;
        let has_room = |waiting: u64| Some(waiting + bytes).filter(|sum| *sum <= MOST_WAITING);
        let order = Ordering::Relaxed;
        if self.link.open().is_none()
            || self.bytes_waiting.fetch_update(order, order, has_room).is_err()
        {
            return self.counters.unshared.add();
        }
        if self.waiting.try_send(Write { key: key.to_owned(), what, bytes }).is_err() {
            self.bytes_waiting.fetch_sub(bytes, order);
            self.counters.unshared.add();
        }
    }

    /// Loud once: whoever forges one will forge many.
    fn say_refused(&self, refused: Refused) {
        let why = match refused {
            Refused::Form => "it is no entry of ours",
            Refused::Seal => "it was not sealed for this question with our key",
            Refused::Time => "it counts no more, or is of the future: look at the replicas' clocks",
        };
        if self.counters.refused.get() == 1 {
            tracing::error!(
                component_type = "cache",
                "an entry in Redis is not believed: {why}; further ones are counted and not said"
            );
        } else {
            tracing::debug!(component_type = "cache", "an entry in Redis is not believed: {why}");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Writes one entry after the other.
struct Writer {
    link: Arc<Link>,
    bytes_waiting: Arc<AtomicU64>,
    counters: Arc<Counters>,
}

impl Writer {
    async fn write(self, mut writes: mpsc::Receiver<Write>) {
        while let Some(write) = writes.recv().await {
            self.bytes_waiting.fetch_sub(write.bytes, Ordering::Relaxed);
            match self.write_one(&write).await {
                Some(Ok(())) if matches!(write.what, What::Nothing) => {}
                Some(Ok(())) => self.counters.shared.add(),
                Some(Err(error)) => {
                    self.counters.shared_errors.add();
                    tracing::debug!(component_type = "cache", "an entry was not written: {error}");
                }
                None => self.counters.unshared.add(),
            }
        }
    }

    /// `None` where it is not to be written.
    async fn write_one(&self, write: &Write) -> Option<Result<(), link::LinkError>> {
        let open = self.link.open()?;
        let (entry, lifetime) = match &write.what {
            What::Nothing => (Vec::new(), 1),
            What::Allow { verdict, made, ends } => {
                let lifetime = ends.duration_since(SystemTime::now()).ok()?.as_millis();
                let lifetime = u64::try_from(lifetime).ok().filter(|lifetime| *lifetime > 0)?;
                (open.seal.seal(&write.key, verdict, *made, *ends)?, lifetime)
            }
        };
        Some(self.link.write(&open, &open.seal.name(&write.key), &entry, lifetime).await)
    }
}
