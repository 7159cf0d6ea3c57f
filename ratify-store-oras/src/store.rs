//! [`OrasStore`]: the built-in `oras` referrer store, with v1's configuration and error texts.

use std::{path::PathBuf, sync::Arc, time::Instant};

use bytes::Bytes;
use ratify_core::{
    Binding, BoxFuture, ComponentType, Context, Descriptor, Digest, Error, ErrorCode, Manifest,
    ManifestError, Reference, Referrer, ReferrerPage, ReferrerStore, Result, StoreConfig,
    config::StorePluginConfig, media_type,
};
use serde_json::{Map, Value};

use crate::{
    BlobCache, Client, ClientOptions, Connections, CredentialUse, Limits, OrasError, RetryPolicy,
    Transport, auth, flights::Flights, patience::within,
};

const STORE_NAME: &str = "oras";
const DEFAULT_CACHE: &str = ".ratify/local_oras_cache";
const DECODING_ADVICE: &str = "Please check if the artifact metadata was created correctly.";
/// As many bytes as a cache directory holds unless told otherwise.
const DEFAULT_CACHE_BYTES: u64 = 512 << 20;

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
}

/// The built-in referrer store.
///
/// The result cache of v1 (`cacheEnabled`, `ttl`) is not here: the keys are accepted and do
/// nothing.
#[derive(Clone)]
pub struct OrasStore {
    config: Arc<StoreConfig>,
    cosign_enabled: bool,
    client: Client,
    /// Whose rights it has: what it caches is for those alone.
    tenant: Arc<str>,
    cache: BlobCache,
    flights: Arc<UnderWay>,
}

/// What is being asked of registries with this store's rights.
#[derive(Default)]
struct UnderWay {
    resolved: Flights<Reference, Shared<Descriptor>>,
    listed: Flights<ListOf, Shared<Arc<[Referrer]>>>,
    /// By what a descriptor says and is checked: media type, digest, size.
    manifests: Flights<(Reference, String, Digest, u64), Shared<Bytes>>,
    blobs: Flights<(Reference, Digest, Option<u64>), Shared<Bytes>>,
}

/// A subject, its digest, and the one type that is looked at; empty for all.
type ListOf = (Reference, Digest, String);

/// A failure is everybody's who waits for it.
type Shared<T> = std::result::Result<T, Arc<OrasError>>;

/// The keys of the store's entry.
#[derive(Debug, Default, PartialEq)]
struct Keys {
    use_http: bool,
    cosign_enabled: bool,
    auth_provider: Option<Map<String, Value>>,
    auth_providers: Option<Value>,
    local_cache_path: Option<PathBuf>,
    /// Ours; v1's cache has no bound.
    local_cache_bytes: Option<u64>,
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
        }
    }
}

impl OrasStore {
    /// Builds the store and creates its cache's directory. Nothing is connected.
    ///
    /// # Errors
    /// With v1's texts: a key of the wrong type, an unknown auth provider, a cache directory that
    /// cannot be created.
    pub fn new(config: &StorePluginConfig, options: OrasStoreOptions) -> Result<Self> {
        let keys = Keys::from_entry(&config.raw)?;
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
        let (mut own_path, mut own_cap) = (keys.local_cache_path, keys.local_cache_bytes);
        if matches!(options.environment.scope, auth::SecretScope::Namespace(_))
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
        let cache = BlobCache::open(&path, cap).map_err(|error| {
            let path = path.display();
            of_store(ErrorCode::PluginInitFailure)
                .with_detail(format!("could not create local oras cache at path: {path}"))
                .with_source(error)
        })?;
        let tenant = options.environment.scope.tenant();
        let transport = if keys.use_http { Transport::PlainHttp } else { Transport::Https };
        let client = Client::new(ClientOptions {
            user_agent: options.user_agent,
            transport,
            auth,
            credential_use,
            connections: options.connections,
            retry: options.retry,
            limits: options.limits,
            tenant: tenant.clone(),
        })
        .map_err(|error| of_store(ErrorCode::PluginInitFailure).with_source(error))?;
        let config = StoreConfig::new(config.version.clone(), None, config.raw.clone());
        let cosign_enabled = keys.cosign_enabled;
        let flights = Arc::default();
        Ok(Self { config: Arc::new(config), cosign_enabled, client, tenant, cache, flights })
    }

    async fn resolve_subject(&self, subject: &Reference, context: &Context) -> Result<Descriptor> {
        let flight = self.flights.resolved.join(subject.clone(), || {
            let (client, subject) = (self.client.for_request(context), subject.clone());
            Box::pin(async move { client.resolve(&subject, None).await.map_err(Arc::new) })
        });
        self.wait(subject, context.give_up_at, flight).await.map_err(|error| {
            of_store(ErrorCode::RepositoryOperationFailure)
                .with_detail(format!("Unable to resolve the reference: {subject}"))
                .with_source(error)
        })
    }

    async fn list(
        &self,
        subject: &Reference,
        descriptor: &Descriptor,
        artifact_types: &[String],
        context: &Context,
    ) -> Result<ReferrerPage> {
        // The API filters by one type only.
        let only = match artifact_types {
            [only] if only != "*" => only.as_str(),
            _ => "",
        };
        let key = (subject.clone(), descriptor.digest.clone(), only.to_owned());
        let flight = self.flights.listed.join(key, || {
            let (client, subject) = (self.client.for_request(context), subject.clone());
            let (digest, only) = (descriptor.digest.clone(), only.to_owned());
            Box::pin(async move {
                let listed = client.referrers_of_type(&subject, &digest, &only, None).await;
                let listed = listed.map_err(Arc::new)?;
                Ok(listed
                    .into_iter()
                    .map(|entry| Referrer::new(entry, Binding::Manifest))
                    .collect())
            })
        });
        // v1 passes the bare error on, which its executor shows under this code.
        let listed = self.wait(subject, context.give_up_at, flight).await;
        let listed =
            listed.map_err(|e| of_store(ErrorCode::ListReferrersFailure).with_source(e))?;
        let mut referrers = listed.to_vec();
        let is_wanted = |type_: &String| type_ == "*" || type_ == media_type::COSIGN_SIGNATURE;
        if self.cosign_enabled
            && (artifact_types.is_empty() || artifact_types.iter().any(is_wanted))
        {
            referrers.extend(self.cosign_signature(subject, context).await?);
        }
        Ok(ReferrerPage::new(referrers, ""))
    }

    async fn cosign_signature(
        &self,
        subject: &Reference,
        context: &Context,
    ) -> Result<Option<Referrer>> {
        let digest = subject.digest().ok_or_else(|| {
            of_store(ErrorCode::ReferenceInvalid).with_detail("The digest of the artifact is empty")
        })?;
        let found = self
            .client
            .for_request(context)
            .cosign_signature(subject, digest, context.give_up_at)
            .await;
        let found = found.map_err(|error| {
            of_store(ErrorCode::RepositoryOperationFailure)
                .with_detail(format!(
                    "Failed to validate existence of Cosign signature of the artifact: {subject}"
                ))
                .with_source(error)
        })?;
        Ok(found.map(|entry| Referrer::new(entry, Binding::Payload)))
    }

    async fn read_manifest(
        &self,
        subject: &Reference,
        descriptor: &Descriptor,
        context: &Context,
    ) -> Result<Manifest> {
        // v1 finds this out after the download.
        let media_type = descriptor.media_type.as_str();
        if !matches!(media_type, media_type::OCI_MANIFEST | media_type::OCI_ARTIFACT) {
            return Err(unsupported(media_type));
        }
        let repository = subject.sibling(&descriptor.digest);
        let key =
            (repository.clone(), media_type.to_owned(), descriptor.digest.clone(), descriptor.size);
        let flight = self.flights.manifests.join(key, || {
            let (client, descriptor) = (self.client.for_request(context), descriptor.clone());
            let cache = self.cache.of(&self.tenant, subject);
            let repository = repository.clone();
            Box::pin(async move {
                let (digest, size) = (&descriptor.digest, descriptor.size);
                let limit = client.limits().manifest_bytes;
                if size <= limit {
                    let cached = cache.get(digest, Some(size), limit).await;
                    client.count_blob(cached.is_some());
                    if let Some(bytes) = cached {
                        return Ok(bytes);
                    }
                }
                let read = client.manifest_bytes(&repository, &descriptor, None).await;
                let bytes = read.map_err(Arc::new)?;
                cache.put(digest, &bytes).await;
                Ok(bytes)
            })
        });
        let bytes = self.wait(subject, context.give_up_at, flight).await.map_err(fetch_failure)?;
        Manifest::from_bytes(media_type, &bytes).map_err(|error| match error {
            ManifestError::Unsupported(media_type) => unsupported(&media_type),
            error => of_store(ErrorCode::DataDecodingFailure)
                .with_detail(format!(
                    "Failed to parse artifact metadata of mediatype `{media_type}`"
                ))
                .with_source(error)
                .with_remediation(DECODING_ADVICE),
        })
    }

    async fn read_blob(
        &self,
        subject: &Reference,
        digest: &Digest,
        size: Option<u64>,
        context: &Context,
    ) -> Result<Bytes> {
        let repository = subject.sibling(digest);
        let key = (repository.clone(), digest.clone(), size);
        let flight = self.flights.blobs.join(key, || {
            let (client, digest) = (self.client.for_request(context), digest.clone());
            let cache = self.cache.of(&self.tenant, subject);
            Box::pin(async move {
                let limit = client.limits().blob_bytes;
                let cached = cache.get(&digest, size, limit).await;
                client.count_blob(cached.is_some());
                if let Some(bytes) = cached {
                    return Ok(bytes);
                }
                let read = client.blob_bytes(&repository, &digest, size, None).await;
                let bytes = read.map_err(Arc::new)?;
                cache.put(&digest, &bytes).await;
                Ok(bytes)
            })
        });
        self.wait(subject, context.give_up_at, flight).await.map_err(fetch_failure)
    }

    /// Waits for a flight as long as there is time. The flight itself lasts as long as anybody
    /// waits, so the one that has most time decides.
    async fn wait<T>(
        &self,
        subject: &Reference,
        give_up_at: Option<Instant>,
        flight: impl Future<Output = Shared<T>>,
    ) -> Shared<T> {
        let flight = async { Ok(flight.await) };
        match within(give_up_at, subject.as_str(), Box::pin(flight)).await {
            Ok(answer) => answer,
            Err(gave_up) => Err(Arc::new(gave_up)),
        }
    }
}

impl ReferrerStore for OrasStore {
    fn name(&self) -> &str {
        STORE_NAME
    }

    fn config(&self) -> &StoreConfig {
        &self.config
    }

    fn resolve<'a>(
        &'a self,
        subject: &'a Reference,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Descriptor>> {
        Box::pin(self.resolve_subject(subject, context))
    }

    fn lists_what_is_judged(&self) -> bool {
        true
    }

    /// All pages at once: `next_token` is not looked at, as v1. Other types than those asked for
    /// may be listed, too.
    fn list_referrers<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
        artifact_types: &'a [String],
        _next_token: &'a str,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<ReferrerPage>> {
        Box::pin(self.list(subject, descriptor, artifact_types, context))
    }

    fn manifest<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Manifest>> {
        Box::pin(self.read_manifest(subject, descriptor, context))
    }

    fn blob<'a>(
        &'a self,
        subject: &'a Reference,
        digest: &'a Digest,
        size: Option<u64>,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.read_blob(subject, digest, size, context))
    }
}

impl Keys {
    /// Reads the keys this store knows, in any case as v1 does; `null` is absent. The others are
    /// kept for whoever knows them.
    fn from_entry(entry: &Map<String, Value>) -> Result<Self> {
        let mut keys = Self::default();
        for (key, value) in entry.iter().filter(|(_, value)| !value.is_null()) {
            match key.to_ascii_lowercase().as_str() {
                "usehttp" => keys.use_http = boolean(key, value)?,
                "cosignenabled" => keys.cosign_enabled = boolean(key, value)?,
                "cacheenabled" => drop(boolean(key, value)?),
                "ttl" if !value.is_i64() => return Err(wrong_type(key, "an integer")),
                "authprovider" => {
                    let object = value.as_object().ok_or_else(|| wrong_type(key, "an object"))?;
                    keys.auth_provider = Some(object.clone());
                }
                "authproviders" => keys.auth_providers = Some(value.clone()),
                "localcachepath" => {
                    let path = value.as_str().ok_or_else(|| wrong_type(key, "a string"))?;
                    keys.local_cache_path = (!path.is_empty()).then(|| path.into());
                }
                "localcachebytes" => {
                    let bytes = value.as_u64();
                    let bytes = bytes.ok_or_else(|| wrong_type(key, "a whole number of bytes"))?;
                    keys.local_cache_bytes = Some(bytes);
                }
                _ => {}
            }
        }
        Ok(keys)
    }
}

fn boolean(key: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong_type(key, "true or false"))
}

fn wrong_type(key: &str, expected: &str) -> Error {
    of_store(ErrorCode::ConfigInvalid)
        .with_detail("failed to parse oras store configuration")
        .with_source(format!("{key} must be {expected}"))
}

fn fetch_failure(error: Arc<OrasError>) -> Error {
    of_store(ErrorCode::RepositoryOperationFailure)
        .with_detail("Failed to fetch the artifact metadata from the registry")
        .with_source(error)
}

fn unsupported(media_type: &str) -> Error {
    let media_type = ratify_core::capped_line(media_type, 200);
    of_store(ErrorCode::GetReferrerManifestFailure)
        .with_detail(format!("Unsupported artifact metadata of media type {media_type}"))
        .with_remediation(DECODING_ADVICE)
}

fn of_store(code: ErrorCode) -> Error {
    code.error().from_component(ComponentType::ReferrerStore, STORE_NAME)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(entry: &Value) -> Result<Keys> {
        Keys::from_entry(entry.as_object().unwrap())
    }

    #[test]
    fn reads_its_keys_in_any_case_and_leaves_the_others_alone() {
        let entry = json!({
            "name": "oras", "useHttp": true, "COSIGNENABLED": true, "cacheEnabled": true, "ttl": 10,
            "authProvider": {"name": "dockerConfig"}, "localCachePath": "/c", "localCacheBytes": 65536, "x": [1]
        });
        let expected = Keys {
            use_http: true,
            cosign_enabled: true,
            auth_provider: json!({"name": "dockerConfig"}).as_object().cloned(),
            auth_providers: None,
            local_cache_path: Some("/c".into()),
            local_cache_bytes: Some(65536),
        };
        assert_eq!(keys(&entry).unwrap(), expected);
        let absent = json!({"name": "oras", "authProvider": null, "localCachePath": ""});
        assert_eq!(keys(&absent).unwrap(), Keys::default());
    }

    #[test]
    fn a_key_of_the_wrong_type_is_refused_with_v1s_text() {
        let error = keys(&json!({"useHttp": "true"})).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"CONFIG_INVALID: failed to parse oras store configuration: useHttp must be true or false");
        for entry in [
            json!({"cosignEnabled": 1}),
            json!({"cacheEnabled": "x"}),
            json!({"ttl": 1.5}),
            json!({"authProvider": "dockerConfig"}),
            json!({"localCachePath": []}),
            json!({"localCacheBytes": -1}),
            json!({"localCacheBytes": "1Mi"}),
        ] {
            assert!(keys(&entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn construction_errors_have_v1s_texts() {
        let build = |entry: &Value| {
            let config = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0");
            match OrasStore::new(&config.unwrap(), OrasStoreOptions::default()) {
                Ok(_) => panic!("{entry} was taken"),
                Err(error) => error.to_string(),
            }
        };
        insta::assert_snapshot!(
            build(&json!({"name": "oras", "authProvider": {}})),
            @"AUTH_DENIED: failed to create auth provider from configuration: failed to find auth provider name in the auth providers config with key name"
        );
        insta::assert_snapshot!(
            build(&json!({"name": "oras", "localCachePath": "/proc/nowhere"})),
            @"PLUGIN_INIT_FAILURE: could not create local oras cache at path: /proc/nowhere: No such file or directory (os error 2)"
        );
    }
}
