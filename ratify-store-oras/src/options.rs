//! [`ClientOptions`] and [`OrasStoreOptions`]: how a client and a store work, and [`Limits`], how
//! much is read at most.

use std::sync::Arc;

use crate::{
    AuthProvider, Connections, CredentialUse, ResultCache, RetryPolicy, Transport,
    auth::{self, DockerConfig},
};

/// As many bytes as a cache directory holds unless told otherwise.
pub(crate) const DEFAULT_CACHE_BYTES: u64 = 512 << 20;

/// How a [`Client`](crate::Client) works.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// By which scheme registries are spoken to.
    pub transport: Transport,
    /// Where credentials come from.
    pub auth: Arc<dyn AuthProvider>,
    /// What happens when the provider fails.
    pub credential_use: CredentialUse,
    /// The connection pools; clients made with clones of one share them.
    pub connections: Connections,
    /// Which requests are repeated.
    pub retry: RetryPolicy,
    /// How much is read at most.
    pub limits: Limits,
    /// Whose work it is, a namespace's or, empty, the cluster's: what waits for a busy registry is
    /// let go in turn.
    pub tenant: Arc<str>,
}

/// How much a client reads at most. Reaching a bound is an error, never a shorter answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one manifest or index.
    pub manifest_bytes: u64,
    /// Bytes of a blob that is read into memory.
    pub blob_bytes: u64,
    /// Pages of one list of referrers.
    pub referrer_pages: u32,
    /// Entries of one list of referrers.
    pub referrers: usize,
    /// Bytes of all pages of one list of referrers.
    pub referrer_bytes: u64,
}

/// What a store needs besides its configuration.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OrasStoreOptions {
    /// The `User-Agent` header: v1's is `ratify+<version> (<os>/<arch>)`.
    pub user_agent: String,
    /// The parts of the environment that are read.
    pub environment: auth::Environment,
    /// The connection pools, shared by all stores of a process.
    pub connections: Connections,
    /// Which requests are repeated.
    pub retry: RetryPolicy,
    /// How much is read at most.
    pub limits: Limits,
    /// How many bytes the blob cache's directory may hold where the entry's `localCacheBytes` does
    /// not say.
    pub cache_bytes: u64,
    /// Whether other stores keep their blobs in the same place: a namespace's store has no say in it
    /// then.
    pub shares_cache: bool,
    /// Where answers are kept (`cacheEnabled`), shared by all stores of a process.
    pub results: ResultCache,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            user_agent: "ratify".into(),
            transport: Transport::default(),
            auth: Arc::new(DockerConfig::new(None, &auth::Environment::default())),
            credential_use: CredentialUse::default(),
            connections: Connections::default(),
            retry: RetryPolicy::default(),
            limits: Limits::default(),
            tenant: "".into(),
        }
    }
}

impl Default for OrasStoreOptions {
    fn default() -> Self {
        Self {
            user_agent: "ratify".into(),
            environment: auth::Environment::default(),
            connections: Connections::default(),
            retry: RetryPolicy::default(),
            limits: Limits::default(),
            cache_bytes: DEFAULT_CACHE_BYTES,
            shares_cache: true,
            results: ResultCache::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            blob_bytes: 256 << 20,
            referrer_pages: 1000,
            referrers: 10_000,
            referrer_bytes: 64 << 20,
        }
    }
}
