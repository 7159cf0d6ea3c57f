//! What everything that is assembled shares: the environment as values, what runs plugins, and the
//! directory that is private to this process. Made once, by `main`.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use ratify_core::{
    ErrorCode, KeyRings, ReferrerStore, Result,
    config::{PluginRules, PluginSource, TrustPolicy, VerifierPluginConfig},
    executor::Doors,
    link,
};
use ratify_store_oras::{
    AddressRules, Client, ClientOptions, ConnectionRules, Connections, CredentialUse, LayoutStore,
    OrasStore, OrasStoreOptions, Origin, ResultCache, Transport, Web,
    auth::{self, AzureVault, NoCredentials, SecretScope, SecretSource, VaultError},
};
use ratify_verifier_notation::ListCache;

use crate::{
    built_in::BuiltIns,
    env::Environment,
    fetch::WebFetch,
    k8s::secrets::KubeSecrets,
    metrics::Measures,
    plugin::{
        credentials::{HostPrograms, read_providers},
        exec::{self, ExecRunner},
        in_force::InForce,
        install::{InstallOptions, InstallRequest, install},
        inventory::{InstalledPlugin, LoadedFor},
        loaded::Loaded,
        lock::LockFile,
        process::{HostOptions, Orphans, PluginHost},
        rules::RulesInForce,
        sandbox::{MemoryBudget, launcher_beside},
        signatures::Signatures,
    },
};

/// How long one plugin may take to arrive. v1 allows 10 s a request, which is too short for a large
/// plugin on a slow link.
const INSTALL_PATIENCE: Duration = Duration::from_secs(300);

/// Whose words the references are that this process asks registries about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Those of the person who runs a command: they may name a registry on this machine.
    Operator,
    /// Those of whoever may ask the server, or write a resource.
    Anybody,
}

/// Shared by every store and verifier of this process.
#[non_exhaustive]
pub struct Runtime {
    /// What the environment says.
    pub environment: Environment,
    /// Starts, bounds and ends plugin processes.
    pub host: Arc<PluginHost>,
    /// Runs exec plugins on that host.
    pub runner: Arc<ExecRunner>,
    /// What administrators allow of plugins and namespaces.
    pub rules: RulesInForce,
    /// How long answers and verifiers took.
    pub measures: Arc<Measures>,
    /// Which plugins came here, and which may run.
    pub loaded: Arc<Loaded>,
    /// The installed plugins that are in force.
    pub(crate) in_force: Arc<InForce>,
    /// Lists of revoked certificates that were fetched.
    pub revocation_lists: Arc<ListCache>,
    /// The connection pools of this process.
    connections: Connections,
    /// What stores were answered a moment ago, bounded for all of them.
    results: ResultCache,
    /// What key management providers hold now.
    key_rings: Mutex<Arc<KeyRings>>,
    /// The secrets of the cluster, where there is one.
    secrets: Option<Arc<dyn SecretSource>>,
    /// Runs the programs that give out credentials.
    programs: Arc<HostPrograms>,
    /// Made when the first plugin is configured; removed when the process ends.
    private: Mutex<Option<tempfile::TempDir>>,
}

impl Runtime {
    /// Sets up this process to run plugins.
    ///
    /// # Errors
    /// When the kernel refuses what ends stray processes, or there is no place for private files.
    pub fn start(environment: Environment, asking: Asking) -> anyhow::Result<Self> {
        let launcher = std::env::current_exe().ok().and_then(|program| launcher_beside(&program));
        let options = HostOptions::new(launcher, MemoryBudget::of_this_machine(), Orphans::Adopt);
        let host =
            Arc::new(PluginHost::new(options).context("cannot adopt the orphans of plugins")?);
        let (rules, in_force) = (RulesInForce::default(), Arc::<InForce>::default());
        let runner =
            ExecRunner::new(Arc::clone(&host), exec::Environment::new(std::env::vars_os()))
                .with_rules(rules.clone(), asking == Asking::Anybody)
                .with_installed(Arc::clone(&in_force), asking == Asking::Operator);
        let roots = environment.tls_roots();
        let connections = Connections::with_rules(roots, connection_rules(rules.clone(), asking));
        let secrets = environment
            .has_cluster
            .then(|| Arc::new(KubeSecrets::of_this_cluster()) as Arc<dyn SecretSource>);
        let programs = Arc::new(HostPrograms::new(Arc::clone(&host), std::env::vars_os()));
        Ok(Self {
            environment,
            secrets,
            programs,
            host,
            runner: Arc::new(runner),
            rules,
            measures: Arc::default(),
            loaded: Arc::default(),
            in_force,
            revocation_lists: Arc::default(),
            connections,
            results: ResultCache::default(),
            key_rings: Mutex::default(),
            private: Mutex::default(),
        })
    }

    /// The directory in which those of single calls are made.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn private_dir(&self) -> Result<PathBuf> {
        let mut private = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = &*private {
            return Ok(directory.path().to_owned());
        }
        let temporary = &self.environment.temporary_dir;
        let only_ours = Permissions::from_mode(0o700);
        let mut private_directory = tempfile::Builder::new();
        private_directory.prefix("ratify-").permissions(only_ours);
        let directory = private_directory.tempdir_in(temporary).map_err(|error| {
            let place = temporary.display();
            ErrorCode::PluginInitFailure
                .detail(format!("cannot create a private directory in {place}"))
                .with_source(error)
                .with_remediation("TMPDIR names another place for temporary files")
        })?;
        let path = directory.path().to_owned();
        *private = Some(directory);
        Ok(path)
    }

    /// The connection pools of this process.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// What stores were answered a moment ago.
    pub fn results(&self) -> &ResultCache {
        &self.results
    }

    /// What a built-in store needs besides its configuration. It may read the secrets of a scope.
    pub fn oras_options(&self, scope: &SecretScope) -> OrasStoreOptions {
        let mut options = OrasStoreOptions::default();
        options.user_agent = Self::user_agent();
        options.environment = self.auth_environment(scope);
        options.connections = self.connections.clone();
        options.results = self.results.clone();
        options
    }

    /// A client for plugins: HTTPS, or plain HTTP on loopback; credentials that cannot be had are
    /// an error. Its provider may read the secrets of a scope; a namespace that names none gets no
    /// credentials.
    ///
    /// # Errors
    /// When `authProvider` names none that is known, or what the scope has no right to.
    pub fn plugin_client(
        &self,
        source: Option<&PluginSource>,
        scope: &SecretScope,
    ) -> Result<Client> {
        Ok(Client::new(self.plugin_options(source, scope)?)?)
    }

    /// How such a client works.
    ///
    /// # Errors
    /// As [`Runtime::plugin_client`].
    pub(crate) fn plugin_options(
        &self,
        source: Option<&PluginSource>,
        scope: &SecretScope,
    ) -> Result<ClientOptions> {
        let auth_provider = source.and_then(|source| source.auth_provider.as_ref());
        let auth_providers = source.and_then(|source| source.auth_providers.as_ref());
        let mut options = ClientOptions::default();
        options.user_agent = Self::user_agent();
        options.transport = Transport::HttpsOrLoopbackHttp;
        options.auth = match (auth_provider.is_some() || auth_providers.is_some(), scope) {
            // The default is Ratify's own configuration of docker, which is no namespace's.
            (false, SecretScope::Namespace(_)) => Arc::new(NoCredentials),
            _ => {
                let environment = self.auth_environment(scope);
                let connections = &self.connections;
                auth::from_entry(auth_provider, auth_providers, &environment, connections)?
            }
        };
        options.credential_use = CredentialUse::Required;
        options.connections = self.connections.clone();
        options.tenant = scope.tenant();
        Ok(options)
    }

    /// Installs the plugin of a configuration's entry, or finds that it is installed. Credentials
    /// may be in the secrets of a scope.
    ///
    /// # Errors
    /// When it cannot be had and no last good one is there.
    pub async fn install(
        &self,
        request: &InstallRequest<'_>,
        loaded_for: LoadedFor,
        scope: &SecretScope,
    ) -> Result<InstalledPlugin> {
        let rules = self.rules.now();
        let of_cluster = rules.plugins.trust_policy.as_ref();
        let options = InstallOptions {
            signatures: self.signatures(request.source, of_cluster, scope),
            lock: Self::lock(&rules.plugins)?,
            give_up_at: Some(Instant::now() + INSTALL_PATIENCE),
            rules: Arc::clone(&rules.plugins),
            loaded_for,
            ..InstallOptions::default()
        };
        let connect =
            |source: &PluginSource| self.plugin_client(Some(source), scope).map(Origin::from);
        let installation = install(request, &options, &connect, &mut |_, _| ()).await;
        self.loaded.count(&installation);
        Ok(installation?.plugin)
    }

    /// What built-in verifiers take from around them.
    pub(crate) fn built_ins(&self) -> BuiltIns {
        let (environment, lists) = (self.environment.clone(), Arc::clone(&self.revocation_lists));
        BuiltIns { environment, lists }
    }

    /// What keys verifiers and trust policies use from now on.
    pub(crate) fn put_key_rings(&self, rings: Arc<KeyRings>) {
        *self.key_rings.lock().unwrap_or_else(PoisonError::into_inner) = rings;
    }

    /// The lock file, where the rules name one.
    ///
    /// # Errors
    /// Where it cannot be told what is locked.
    pub(crate) fn lock(rules: &PluginRules) -> Result<Option<Arc<LockFile>>> {
        let path = rules.lock_file.as_deref().map(Path::new);
        let read = path.map(|path| LockFile::read(path).map(Arc::new)).transpose();
        read.map_err(|denial| {
            ErrorCode::DownloadPluginFailure
                .detail("Failed to download the plugin from the source")
                .with_source(denial)
        })
    }

    /// What a plugin of a source has to prove before it runs.
    pub(crate) fn signatures(
        &self,
        source: &PluginSource,
        of_cluster: Option<&TrustPolicy>,
        scope: &SecretScope,
    ) -> Option<Signatures> {
        let namespace = match scope {
            SecretScope::Cluster => "",
            SecretScope::Namespace(namespace) => namespace,
        };
        // A plugin is asked about every few hours, and by what is known then.
        let built_ins = BuiltIns { lists: Arc::default(), ..self.built_ins() };
        let make = move |entry: VerifierPluginConfig, is_of_namespace| {
            built_ins.verifier(&entry, is_of_namespace, None).unwrap_or_else(|| {
                let type_ = entry.binary_name();
                Err(ErrorCode::PluginNotFound.detail(format!("{type_} is not built in")))
            })
        };
        let home = self.environment.home.clone();
        let open = move |origin: &Origin| origin_store(origin, &home);
        let mut doors = self.doors();
        doors.key_rings =
            Arc::clone(&self.key_rings.lock().unwrap_or_else(PoisonError::into_inner));
        Signatures::of(source, of_cluster, namespace, Arc::new(make), Arc::new(open), doors)
    }

    /// What built-in verifiers may have besides artifacts. Keys are in it once resources gave some.
    pub fn doors(&self) -> Doors {
        let own = self.environment.namespace.clone().unwrap_or_default();
        let web = Web::new(self.connections.clone(), Self::user_agent());
        Doors::new(Arc::new(KeyRings::new(own))).with_fetch(Arc::new(WebFetch::new(web)))
    }

    /// A key vault of Azure, asked as this process by what a scope may use.
    ///
    /// # Errors
    /// With v1's text, why it cannot be asked.
    pub(crate) fn vault(
        &self,
        uri: &str,
        tenant: &str,
        client: &str,
        scope: &SecretScope,
    ) -> Result<AzureVault> {
        let environment = self.auth_environment(scope);
        let vault = AzureVault::new(uri, tenant, client, &environment, &self.connections);
        vault.map_err(|error| {
            let cause = match &error {
                VaultError::Identity(_) => ErrorCode::AuthDenied
                    .detail("failed to create workload identity credential")
                    .with_remediation(link::AZURE_WORKLOAD_IDENTITY),
                _ => ErrorCode::ConfigInvalid.error(),
            };
            ErrorCode::PluginInitFailure
                .detail("failed to create keyvault client")
                .with_source(cause.with_source(error))
        })
    }

    fn auth_environment(&self, scope: &SecretScope) -> auth::Environment {
        let rules = self.rules.now();
        let providers = rules.registries.credential_providers.as_ref();
        auth::Environment {
            home: Some(self.environment.home.clone()),
            docker_config: self.environment.docker_config.clone(),
            secrets: self.secrets.clone(),
            ratify_namespace: self.environment.namespace.clone(),
            scope: scope.clone(),
            lends_credentials: rules.namespaces.cluster_credentials,
            lookup: self.environment.clouds.clone(),
            programs: Some(self.programs.clone()),
            credential_providers: providers.map(|files| read_providers(files).map(Arc::new)),
        }
    }

    /// What registries are told about who asks.
    pub fn user_agent() -> String {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        format!("ratify+{} ({}/{architecture})", env!("CARGO_PKG_VERSION"), std::env::consts::OS)
    }
}

/// A store of where a plugin is read from, for what is attached to it.
fn origin_store(origin: &Origin, home: &Path) -> Result<Arc<dyn ReferrerStore>> {
    Ok(match origin {
        Origin::Registry(client) => Arc::new(OrasStore::over(client.clone(), home)?),
        Origin::Layout(layout) => Arc::new(LayoutStore::over(layout.clone())),
    })
}

/// Where registries are, and which addresses they may have, by the rules in force whenever it is
/// asked.
fn connection_rules(
    rules: RulesInForce,
    asking: Asking,
) -> impl Fn() -> ConnectionRules + Send + Sync {
    move || {
        let now = rules.now();
        let allowed = Arc::clone(&now.registries.allowed_addresses);
        let mut of_connections = ConnectionRules::new(match asking {
            Asking::Operator => AddressRules::for_operator(allowed),
            Asking::Anybody => AddressRules::for_anybody(allowed),
        });
        of_connections.hosts_path.clone_from(&now.registries.hosts_path);
        of_connections.timeouts = now.registries.timeouts;
        of_connections
    }
}
