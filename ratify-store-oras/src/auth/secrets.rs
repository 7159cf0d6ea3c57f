//! [`SecretSource`]: where the secrets of a cluster are read, and whose may be read. This crate
//! knows no Kubernetes; the controller reads them from the API server, tests from a map.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::{Duration, Instant},
};

use ratify_core::{BoxFuture, capped_line};
use tokio::sync::Mutex;

/// Longer names and namespaces are none (RFC 1123, as Kubernetes has it).
const MAX_NAME_BYTES: usize = 253;
const MAX_NAMESPACE_BYTES: usize = 63;
/// How long what was read is good for. v1 keeps credentials for 12 hours.
const LIFETIME: Duration = Duration::from_secs(60);
/// More slots than this and those that nobody uses are dropped: a service account may name other
/// secrets each time.
const MAX_SLOTS: usize = 1024;

/// Reads single objects of a cluster, each time anew.
pub trait SecretSource: Send + Sync {
    /// A secret; `None` where there is none of that name.
    fn secret<'a>(
        &'a self,
        at: &'a ObjectName,
    ) -> BoxFuture<'a, Result<Option<ClusterSecret>, SecretError>>;

    /// The names in a service account's `imagePullSecrets`, in their order; `None` where there is
    /// no such account.
    fn service_account<'a>(
        &'a self,
        at: &'a ObjectName,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, SecretError>>;
}

/// The place of a namespaced object. Both parts are names as Kubernetes allows them, so that
/// neither can lead a URL elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectName {
    namespace: String,
    name: String,
}

/// A secret of a cluster. `Debug` shows its type alone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ClusterSecret {
    /// Its `type`: `kubernetes.io/dockerconfigjson`.
    pub kind: String,
    /// Its `data`, decoded.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// Why a source could not be read: a clause that holds neither a secret nor the body of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

/// Whose secrets a provider may read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SecretScope {
    /// Those of any namespace that the configuration names: a cluster's resource, or a file.
    #[default]
    Cluster,
    /// Those of this namespace alone: a resource of a namespace.
    Namespace(String),
}

impl SecretScope {
    /// Whose work is done in this scope; empty for the cluster's.
    pub fn tenant(&self) -> Arc<str> {
        match self {
            Self::Cluster => "".into(),
            Self::Namespace(name) => name.as_str().into(),
        }
    }
}

impl ObjectName {
    /// The name of an object in a namespace.
    ///
    /// # Errors
    /// When either is no name that Kubernetes allows.
    pub fn new(namespace: &str, name: &str) -> Result<Self, SecretError> {
        let is_namespace = namespace.len() <= MAX_NAMESPACE_BYTES && is_label(namespace);
        if !is_namespace {
            let namespace = capped_line(namespace, 100);
            return Err(SecretError::new(format!("{namespace:?} is no name of a namespace")));
        }
        if name.len() > MAX_NAME_BYTES || !name.split('.').all(is_label) {
            let name = capped_line(name, 100);
            return Err(SecretError::new(format!("{name:?} is no name of an object")));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClusterSecret")
            .field("kind", &self.kind)
            .field("data", &format_args!("<redacted>"))
            .finish()
    }
}

impl SecretError {
    /// An error that says why, in one line of at most 300 bytes.
    pub fn new(why: impl AsRef<str>) -> Self {
        Self(capped_line(why.as_ref(), 300))
    }
}

/// What was read of one kind of object, kept for [`LIFETIME`]. A slot's lock is the single flight:
/// who finds it taken gets what the other one reads, be it a failure. Failures are kept for nobody
/// else.
pub(super) struct Kept<T>(StdMutex<HashMap<ObjectName, Slot<T>>>);

type Slot<T> = Arc<Mutex<Option<Read<T>>>>;

struct Read<T> {
    begun: Instant,
    ended: Instant,
    result: Result<Option<T>, SecretError>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(StdMutex::default())
    }
}

impl<T: Clone> Kept<T> {
    /// What is kept, else what `read` finds.
    pub(super) async fn get(
        &self,
        at: &ObjectName,
        read: impl Future<Output = Result<Option<T>, SecretError>>,
    ) -> Result<Option<T>, SecretError> {
        let asked = Instant::now();
        let slot = self.slot(at);
        let mut kept = slot.lock().await;
        if let Some(known) = kept.as_ref().filter(|known| known.answers(asked, Instant::now())) {
            return known.result.clone();
        }
        let begun = Instant::now();
        let result = read.await;
        *kept = Some(Read { begun, ended: Instant::now(), result: result.clone() });
        result
    }

    /// Forgets what was read before an instant. What is being read stays: it is as good as new.
    pub(super) fn forget(&self, before: Instant) {
        let is_newer = |slot: &Slot<T>| match slot.try_lock() {
            Ok(kept) => kept.as_ref().is_some_and(|known| known.begun >= before),
            Err(_) => true,
        };
        self.slots().retain(|_, slot| is_newer(slot));
    }

    fn slot(&self, at: &ObjectName) -> Slot<T> {
        let mut slots = self.slots();
        if slots.len() >= MAX_SLOTS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(at.clone()).or_default().clone()
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectName, Slot<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Read<T> {
    /// Whether this is an answer to who asked at `asked`: it came while that one was waiting, or
    /// it is young and no failure.
    fn answers(&self, asked: Instant, now: Instant) -> bool {
        let is_young = now.saturating_duration_since(self.begun) < LIFETIME;
        self.ended >= asked || (is_young && self.result.is_ok())
    }
}

/// A label of RFC 1123: lower-case letters, digits, and dashes within.
fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn at(name: &str) -> ObjectName {
        ObjectName::new("team", name).unwrap()
    }

    #[test]
    fn a_name_cannot_lead_a_url_elsewhere() {
        assert_eq!(at("regcred.v2-a").to_string(), "team/regcred.v2-a");
        let long = "a".repeat(254);
        for name in ["", ".", "..", "../x", "a/b", "a?b", "a#b", "a%2fb", "A", "-a", "a-", &long] {
            assert!(ObjectName::new("team", name).is_err(), "{name}");
        }
        let long = "a".repeat(64);
        for namespace in ["", "..", "a.b", "team/secrets/x", "team?", "T", &long] {
            assert!(ObjectName::new(namespace, "a").is_err(), "{namespace}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let data = BTreeMap::from([(".dockercfg".to_owned(), b"hunter2".to_vec())]);
        let secret = ClusterSecret { kind: "kubernetes.io/dockercfg".into(), data };
        assert_eq!(
            format!("{secret:?}"),
            r#"ClusterSecret { kind: "kubernetes.io/dockercfg", data: <redacted> }"#
        );
    }

    #[test]
    fn what_was_read_is_good_for_a_minute_and_a_failure_only_for_who_waited() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let read = |result| Read { begun: second(10), ended: second(12), result };
        let found: Read<u8> = read(Ok(Some(1)));
        assert!(found.answers(second(11), second(12)));
        assert!(found.answers(second(30), second(69)));
        assert!(!found.answers(second(30), second(70)));
        assert!(read(Ok(None)).answers(second(30), second(69)));
        let failed = read(Err(SecretError::new("no")));
        assert!(failed.answers(second(11), second(12)));
        assert!(!failed.answers(second(13), second(13)));
    }

    #[tokio::test]
    async fn many_at_once_read_once_and_what_is_forgotten_is_read_again() {
        let kept = Kept::<u32>::default();
        let reads = AtomicU32::new(0);
        let name = at("a");
        let read = || async {
            tokio::task::yield_now().await;
            Ok(Some(reads.fetch_add(1, Ordering::Relaxed)))
        };
        let all = (0..30).map(|_| kept.get(&name, read()));
        for result in futures_util::future::join_all(all).await {
            assert_eq!(result, Ok(Some(0)));
        }
        kept.forget(Instant::now());
        let begun_before = Instant::now();
        assert_eq!(kept.get(&name, read()).await, Ok(Some(1)));
        kept.forget(begun_before);
        assert_eq!(kept.get(&name, read()).await, Ok(Some(1)), "it was read after that instant");
    }

    #[tokio::test]
    async fn a_failure_is_shared_by_those_who_wait_and_then_tried_again() {
        let kept = Kept::<u32>::default();
        let reads = AtomicU32::new(0);
        let name = at("a");
        let read = || async {
            tokio::task::yield_now().await;
            reads.fetch_add(1, Ordering::Relaxed);
            Err(SecretError::new("down"))
        };
        let both = futures_util::future::join(kept.get(&name, read()), kept.get(&name, read()));
        assert!(matches!(both.await, (Err(_), Err(_))));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        assert_eq!(kept.get(&name, async { Ok(Some(7)) }).await, Ok(Some(7)));
    }

    #[tokio::test]
    async fn the_number_of_slots_is_bounded() {
        let kept = Kept::<u32>::default();
        for index in 0..5000 {
            kept.slot(&at(&format!("a{index}")));
        }
        assert!(kept.slots().len() <= MAX_SLOTS);
    }
}
