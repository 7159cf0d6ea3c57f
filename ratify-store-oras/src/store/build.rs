//! How an [`OrasStore`] comes about: of an entry of a configuration, or over a client that is there.

use std::{path::Path, sync::Arc};

use ratify_core::{ErrorCode, Result, StoreConfig, config::StorePluginConfig};

use super::{OrasStore, STORE_NAME, of_store};
use crate::{
    BlobCache, Client, ClientOptions, CredentialUse, OrasStoreOptions, Transport, auth, keys::Keys,
    options::DEFAULT_CACHE_BYTES, selection::Selection,
};

const DEFAULT_CACHE: &str = ".ratify/local_oras_cache";

impl OrasStore {
    /// Builds the store and creates its cache's directory. Nothing is connected.
    ///
    /// # Errors
    /// With v1's texts: a key of the wrong type, an unknown auth provider, a cache directory that
    /// cannot be created.
    pub fn new(config: &StorePluginConfig, options: OrasStoreOptions) -> Result<Self> {
        let keys = Keys::from_entry(&config.raw)?;
        let client = client_of(&keys, &options)?;
        let (mut own_path, mut own_cap) = (keys.local_cache_path, keys.local_cache_bytes);
        if options.shares_cache
            && matches!(options.environment.scope, auth::SecretScope::Namespace(_))
            && (own_path.is_some() || own_cap.is_some())
        {
            tracing::warn!(
                "the cache is everybody's: localCachePath and localCacheBytes of a namespace's store have no effect"
            );
            (own_path, own_cap) = (None, None);
        }
        let path = own_path.unwrap_or_else(|| {
            options.environment.home.clone().unwrap_or_else(|| "/".into()).join(DEFAULT_CACHE)
        });
        let cap = own_cap.unwrap_or(options.cache_bytes);
        let cache = open_cache(&path, cap)?;
        let tenant = options.environment.scope.tenant();
        let results = keys
            .results_lifetime
            .map(|lifetime| options.results.of_store(tenant.clone(), lifetime));
        let config = StoreConfig::new(config.version.clone(), None, config.raw.clone())
            .of_borrower(options.environment.is_borrower());
        let cosign_enabled = keys.cosign_enabled;
        let flights = Arc::default();
        Ok(Self {
            config: Arc::new(config),
            cosign_enabled,
            selection: keys.selection,
            client,
            tenant,
            cache,
            results,
            flights,
        })
    }

    /// A store over a client that is there: it reads what is attached to plugins, caches it for those
    /// of the client's tenant alone, and knows cosign's tags.
    ///
    /// # Errors
    /// Where the cache's directory, the default one below a home, cannot be made.
    pub fn over(client: Client, home: &Path) -> Result<Self> {
        let cache = open_cache(&home.join(DEFAULT_CACHE), DEFAULT_CACHE_BYTES)?;
        let entry = serde_json::json!({"name": STORE_NAME}).as_object().cloned();
        let config = StoreConfig::new("1.0.0", None, entry.unwrap_or_default());
        Ok(Self {
            config: Arc::new(config),
            cosign_enabled: true,
            selection: Selection::default(),
            tenant: client.tenant(),
            client,
            cache,
            results: None,
            flights: Arc::default(),
        })
    }

    /// The client that a store of this configuration asks registries with. Unlike the store itself it
    /// has no cache, so that nothing is written.
    ///
    /// # Errors
    /// As [`OrasStore::new`], but for the cache.
    pub fn client(config: &StorePluginConfig, options: &OrasStoreOptions) -> Result<Client> {
        client_of(&Keys::from_entry(&config.raw)?, options)
    }
}

fn open_cache(path: &Path, cap: u64) -> Result<BlobCache> {
    BlobCache::open(path, cap).map_err(|error| {
        let path = path.display();
        of_store(ErrorCode::PluginInitFailure)
            .with_detail(format!("could not create local oras cache at path: {path}"))
            .with_source(error)
    })
}

fn client_of(keys: &Keys, options: &OrasStoreOptions) -> Result<Client> {
    let auth_provider = keys.auth_provider.as_ref();
    let auth_providers = keys.auth_providers.as_ref();
    let credential_use = match auth_providers {
        Some(_) => CredentialUse::ByRule,
        None => CredentialUse::BestEffort,
    };
    let (environment, connections) = (&options.environment, &options.connections);
    let auth = auth::from_entry(auth_provider, auth_providers, environment, connections);
    let auth = auth.map_err(|error| {
        of_store(ErrorCode::PluginInitFailure)
            .with_detail("failed to create auth provider from configuration")
            .with_source(error)
    })?;
    let transport = if keys.use_http { Transport::PlainHttp } else { Transport::Https };
    let client = Client::new(ClientOptions {
        user_agent: options.user_agent.clone(),
        transport,
        auth,
        credential_use,
        connections: options.connections.clone(),
        retry: options.retry,
        limits: options.limits,
        tenant: options.environment.scope.tenant(),
    });
    client.map_err(|error| of_store(ErrorCode::PluginInitFailure).with_source(error))
}
