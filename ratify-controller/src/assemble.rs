//! A configuration becomes an executor. This is the only place that knows every implementation by
//! name: built-in stores and verifiers, external ones, and where a plugin comes from.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use anyhow::bail;
use ratify_core::{
    ComponentType, Context, Descriptor, Digest, Error, ErrorCode, Reference, ReferrerStore, Result,
    Verifier,
    config::{Config, PluginEnv, PluginSource, StorePluginConfig, VerifierPluginConfig},
    executor::{Executor, Notice},
    policy::Policy,
};
use ratify_store_oras::{LAYOUT_STORE, LayoutStore, Limits, OrasStore, auth::SecretScope};

use crate::{
    built_in,
    metrics::measured,
    of_file::{FromFile, Place},
    plugin::{
        confined::Confinement,
        exec::{Program, ProgramError},
        find::FindError,
        install::{InstallRequest, Ran, disabled_warning},
        inventory::{GRACE_PERIOD, InstalledPlugin, Inventory, Kind, LoadedFor},
        notation::{NotationPluginEntry, NotationPlugins, is_notation_plugin},
        rules::Rules,
        store::ExecStore,
        verifier::ExecVerifier,
    },
    policy_file,
    runtime::Runtime,
    state::Snapshot,
};

/// The built-in store of registries.
const ORAS: &str = "oras";

/// The subject of a command line.
///
/// # Errors
/// When there is none, or it is no reference.
pub fn parse_subject(text: &str) -> anyhow::Result<Reference> {
    if text.is_empty() {
        bail!("subject parameter is required");
    }
    Ok(Reference::parse_subject(text)?)
}

/// Finds out what a subject's tag stands for, and logs what stores had to say.
///
/// # Errors
/// When no store knows it by then.
pub async fn resolve(
    stores: &[Arc<dyn ReferrerStore>],
    subject: &Reference,
    context: &Context,
) -> Result<Descriptor> {
    let warn = |notice: Notice| {
        if notice.is_warning() {
            log_notice(notice);
        }
    };
    Executor::new(stores.to_vec(), Vec::new(), None).resolve(subject, context, &warn).await
}

/// Writes to the log what happens on the way to a verdict.
pub fn log_notice(notice: Notice) {
    let text = ratify_core::capped_line(&notice.to_string(), 4096);
    if notice.is_error() {
        tracing::error!(component_type = "policyProvider", "{text}");
    } else if notice.is_warning() {
        tracing::warn!(component_type = "referrerStore", "{text}");
    } else {
        tracing::info!(component_type = "executor", "{text}");
    }
}

/// Builds everything a configuration names.
///
/// # Errors
/// When a section is missing or wrong, or a plugin cannot be had; the texts are v1's.
pub async fn executor(config: &Config, runtime: &Runtime) -> Result<Executor> {
    let (stores, mut plugins) = stores_of(config, runtime).await?;
    let (verifiers, of_verifiers) = verifiers(config, runtime).await?;
    plugins.extend(of_verifiers);
    let executor = Executor::new(stores, verifiers, Some(policy(config)?));
    runtime.in_force.put(plugins.iter().map(FromFile::brought).collect());
    Ok(executor.with_doors(runtime.doors()))
}

fn policy(config: &Config) -> Result<Policy> {
    let section = config.policy.clone().unwrap_or_default();
    let policy = Policy::from_config_and_files(&section, &policy_file::read)?;
    tracing::info!("selected policy provider: {}", policy.name());
    Ok(policy)
}

/// Builds what a request sees of a configuration, and logs v1's lines about it.
///
/// # Errors
/// As [`executor`], with v1's words about the section in front.
pub async fn snapshot(config: &Config, runtime: &Runtime) -> Result<Snapshot, SnapshotError> {
    let stores = stores_of(config, runtime).await.map_err(SnapshotError::Stores)?;
    let (stores, mut plugins) = stores;
    tracing::info!("stores successfully created. number of stores {}", stores.len());
    let made = verifiers(config, runtime).await.map_err(SnapshotError::Verifiers)?;
    let (verifiers, of_verifiers) = made;
    plugins.extend(of_verifiers);
    tracing::info!("verifiers successfully created. number of verifiers {}", verifiers.len());
    let policy = policy(config).map_err(SnapshotError::Policy)?;
    tracing::info!("policies successfully created.");
    collect_unused(config, runtime);
    let executor = Executor::new(stores, verifiers, Some(policy));
    let snapshot = Snapshot::new(executor.with_doors(runtime.doors()));
    Ok(snapshot.with_plugins(plugins))
}

/// Removes installed plugins that nothing names and nobody runs. What fails here costs space only.
fn collect_unused(config: &Config, runtime: &Runtime) {
    let of_verifiers =
        config.verifier.as_ref().and_then(|section| section.plugin_bin_dirs.as_deref());
    let of_stores = config.store.as_ref().and_then(|section| section.plugin_bin_dirs.as_deref());
    for dirs in [of_verifiers, of_stores] {
        let first = paths(dirs).into_iter().next();
        let directory = first.unwrap_or_else(|| runtime.environment.default_plugin_dir());
        if let Err(error) = Inventory::of(directory).collect(SystemTime::now(), GRACE_PERIOD) {
            tracing::warn!("unused plugins were not removed: {error}");
        }
    }
}

/// Which section of a configuration could not be built. The texts are v1's.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The stores.
    #[error("failed to load store from config: {0}")]
    Stores(Error),
    /// The verifiers.
    #[error("failed to load verifiers from config: {0}")]
    Verifiers(Error),
    /// The policy.
    #[error("failed to load policy provider from config: {0}")]
    Policy(Error),
}

/// Where an entry's program is looked for, and whose secrets it may be fetched with.
pub(crate) struct Site<'a> {
    pub(crate) dirs: &'a [PathBuf],
    pub(crate) scope: &'a SecretScope,
    /// The digest that a custom resource's source was resolved to.
    pub(crate) pin: Option<&'a Digest>,
    /// What its status says that ran.
    pub(crate) ran: Option<&'a Ran>,
    /// The directory of a namespace, which its programs may not lead out of.
    pub(crate) own: Option<&'a Confinement>,
    /// For whom a plugin is loaded; of a file's entry only who loads it is known.
    pub(crate) loaded_for: LoadedFor,
    pub(crate) runtime: &'a Runtime,
}

impl<'a> Site<'a> {
    /// The site of the entries of a configuration file.
    fn of_file(dirs: &'a [PathBuf], runtime: &'a Runtime) -> Self {
        let who = runtime.environment.host_name.clone();
        let loaded_for = LoadedFor { who, ..LoadedFor::default() };
        let scope = &SecretScope::Cluster;
        Self { dirs, scope, pin: None, ran: None, own: None, loaded_for, runtime }
    }

    /// The plugins of Notation that an entry's verifier may run.
    fn notation_plugins(
        &self,
        entry: &VerifierPluginConfig,
        of_entry: Option<Arc<InstalledPlugin>>,
    ) -> NotationPlugins {
        // Who writes a resource of a namespace has not what opens Ratify's services to Ratify.
        let lends = self.runtime.rules.now().namespaces.cluster_credentials;
        let plugin_env = match self.scope {
            SecretScope::Namespace(_) if !lends => PluginEnv::Minimal,
            _ => entry.plugin_env,
        };
        NotationPlugins {
            runner: Arc::clone(&self.runtime.runner),
            dirs: self.dirs.to_vec(),
            own: self.own.cloned(),
            of_entry,
            plugin_env,
        }
    }
}

/// Builds the stores. What the configuration forbids is forbidden from here on.
///
/// # Errors
/// As [`executor`].
pub async fn stores(config: &Config, runtime: &Runtime) -> Result<Vec<Arc<dyn ReferrerStore>>> {
    Ok(stores_of(config, runtime).await?.0)
}

/// The same, and which plugins were installed for them.
async fn stores_of(
    config: &Config,
    runtime: &Runtime,
) -> Result<(Vec<Arc<dyn ReferrerStore>>, Vec<FromFile>)> {
    runtime.rules.put(Rules::of(config));
    let section = config.store.clone().unwrap_or_default();
    let entries = section.entries()?;
    // v1 looks for stores in the default directory as well, wherever else it looks.
    let mut dirs = paths(section.plugin_bin_dirs.as_deref());
    dirs.push(runtime.environment.default_plugin_dir());
    let dirs = runtime.environment.with_shipped(dirs);
    let site = Site::of_file(&dirs, runtime);
    let mut stores: Vec<Arc<dyn ReferrerStore>> = Vec::new();
    let mut plugins = Vec::new();
    for entry in &entries {
        let (store, plugin) = store(entry, &site).await?;
        let place = Place::Store(stores.len());
        plugins.extend(FromFile::of(place, entry.source.clone(), plugin, &dirs));
        stores.push(store);
    }
    Ok((stores, plugins))
}

/// Builds one store, and says which plugin was installed for it.
///
/// # Errors
/// As [`executor`].
pub(crate) async fn store(
    entry: &StorePluginConfig,
    site: &Site<'_>,
) -> Result<(Arc<dyn ReferrerStore>, Option<Arc<InstalledPlugin>>)> {
    let plugin = Plugin { kind: Kind::Store, resource: &entry.name, type_: &entry.name, site };
    if entry.name == ORAS {
        plugin.refuse_source_of_built_in(entry.source.as_ref());
        return Ok((Arc::new(OrasStore::new(entry, site.runtime.oras_options(site.scope))?), None));
    }
    if entry.name == LAYOUT_STORE {
        plugin.refuse_source_of_built_in(entry.source.as_ref());
        check_layout_scope(site.scope)?;
        return Ok((Arc::new(LayoutStore::new(entry, Limits::default())?), None));
    }
    let program = plugin.program(entry.source.as_ref()).await.map_err(|error| match error {
        Missing::Download(error) => error,
        Missing::Find(cause) => ErrorCode::PluginNotFound
            .detail("plugin not found")
            .with_source(cause)
            .from_component(ComponentType::ReferrerStore, entry.name.as_str()),
    })?;
    let told = site.dirs.iter().map(|dir| dir.to_string_lossy().into_owned()).collect();
    let installed = installed(&program);
    let is_borrowers = site.runtime.oras_options(site.scope).environment.is_borrower();
    let store = ExecStore::new(entry, told, program, Arc::clone(&site.runtime.runner))
        .of_borrower(is_borrowers);
    Ok((Arc::new(store), installed))
}

/// A layout is one of this process's files, of which some are other namespaces'.
fn check_layout_scope(scope: &SecretScope) -> Result<()> {
    match scope {
        SecretScope::Cluster => Ok(()),
        SecretScope::Namespace(_) => Err(ErrorCode::ConfigInvalid
            .detail("the store oci-layout reads files of Ratify's, and is not for namespaces")
            .from_component(ComponentType::ReferrerStore, LAYOUT_STORE)),
    }
}

/// Builds the verifiers, and says which plugins were installed for them. What the configuration forbids
/// is forbidden from here on.
async fn verifiers(
    config: &Config,
    runtime: &Runtime,
) -> Result<(Vec<Arc<dyn Verifier>>, Vec<FromFile>)> {
    runtime.rules.put(Rules::of(config));
    runtime.revocation_lists.keep(config.crl_cache_enabled);
    let section = config.verifier.clone().unwrap_or_default();
    let entries = section.entries()?;
    let mut dirs = paths(section.plugin_bin_dirs.as_deref());
    if dirs.is_empty() {
        dirs.push(runtime.environment.default_plugin_dir());
        tracing::info!("defaultPluginPath set to {}", dirs[0].display());
    }
    let dirs = runtime.environment.with_shipped(dirs);
    let site = Site::of_file(&dirs, runtime);
    let mut verifiers: Vec<Arc<dyn Verifier>> = Vec::new();
    let mut plugins = Vec::new();
    for entry in entries {
        let source = entry.source.clone();
        let verifier = verifier(entry, &site).await;
        let (verifier, installed) =
            verifier.map_err(|error| ErrorCode::PluginInitFailure.error().with_source(error))?;
        let place = Place::Verifier(verifiers.len());
        plugins.extend(FromFile::of(place, source, installed, &dirs));
        verifiers.push(verifier);
    }
    Ok((verifiers, plugins))
}

/// Builds one verifier, and says which plugin was installed for it.
///
/// # Errors
/// As [`executor`].
pub(crate) async fn verifier(
    entry: VerifierPluginConfig,
    site: &Site<'_>,
) -> Result<(Arc<dyn Verifier>, Option<Arc<InstalledPlugin>>)> {
    let type_ = entry.binary_name().to_owned();
    let plugin = Plugin { kind: Kind::Verifier, resource: &entry.name, type_: &type_, site };
    let is_of_namespace = matches!(site.scope, SecretScope::Namespace(_));
    if built_in::is_built_in(&entry) {
        let of_entry = plugin.of_built_in(&entry).await?;
        let plugins = Arc::new(site.notation_plugins(&entry, of_entry.clone()));
        let built_ins = site.runtime.built_ins();
        if let Some(verifier) = built_ins.verifier(&entry, is_of_namespace, Some(plugins)) {
            return Ok((measured(verifier?, &site.runtime.measures), of_entry));
        }
    }
    let program = plugin.program(entry.source.as_ref()).await.map_err(|error| match error {
        Missing::Download(error) => error,
        Missing::Find(cause) => ErrorCode::PluginNotFound
            .detail(format!("Verifier plugin {type_} not found"))
            .with_source(cause)
            .with_remediation("Please ensure that the correct type is specified for the built-in Verifier configuration or the custom Verifier plugin is configured."),
    })?;
    let runner = Arc::clone(&site.runtime.runner);
    let installed = installed(&program);
    let verifier: Arc<dyn Verifier> = match is_notation_plugin(&type_) {
        true => Arc::new(NotationPluginEntry::new(entry, program, runner)),
        false => {
            let private_dir = site.runtime.private_dir()?;
            let verifier = ExecVerifier::new(entry, program, runner, private_dir);
            Arc::new(verifier.of_namespace(is_of_namespace))
        }
    };
    Ok((measured(verifier, &site.runtime.measures), installed))
}

/// The installed plugin that a program is, if it is one.
fn installed(program: &Program) -> Option<Arc<InstalledPlugin>> {
    match program {
        Program::Installed(plugin) => Some(Arc::clone(plugin)),
        _ => None,
    }
}

/// An entry of the configuration that names a program.
struct Plugin<'a> {
    kind: Kind,
    resource: &'a str,
    type_: &'a str,
    site: &'a Site<'a>,
}

/// Why an entry has no program.
enum Missing {
    /// It could not be had, or may not run.
    Download(Error),
    Find(FindError),
}

impl Plugin<'_> {
    /// The program of an entry: installed from its source where downloads are allowed, or else
    /// searched for by name.
    async fn program(&self, source: Option<&PluginSource>) -> Result<Program, Missing> {
        let Site { dirs, own, runtime, .. } = self.site;
        if let Some(source) = source
            && let Some(installed) = self.installed(source).await.map_err(Missing::Download)?
        {
            return Ok(Program::Installed(installed));
        }
        let (name, dirs) = (self.type_.to_owned(), dirs.to_vec());
        let program = match own {
            None => Program::Search { name, dirs },
            Some(own) => Program::Confined { name, dirs, own: Confinement::clone(own) },
        };
        match runtime.runner.open(&program) {
            Err(ProgramError::Find(error)) => Err(Missing::Find(error)),
            // What brings it may be built after this. It is asked again at each call.
            Err(ProgramError::NotInForce(_)) => Ok(program),
            Err(error) => Err(Missing::Download(
                ErrorCode::PluginInitFailure
                    .detail(format!("the plugin {} may not run", self.type_))
                    .with_source(error),
            )),
            Ok(_) => Ok(program),
        }
    }

    /// What is installed from a source; `None`, and a warning, where downloads are not allowed.
    async fn installed(&self, source: &PluginSource) -> Result<Option<Arc<InstalledPlugin>>> {
        let Site { dirs, scope, pin, ran, loaded_for, runtime, .. } = self.site;
        if !runtime.environment.dynamic_plugins() {
            tracing::warn!("{}", disabled_warning(self.kind, self.type_));
            return Ok(None);
        }
        if pin.is_none() && source.refresh_interval.is_some() {
            tracing::warn!(
                "source.refreshInterval of {} has no effect in a configuration file: its tag is asked for at each start and each change of the file",
                self.resource
            );
        }
        // Two resources may configure the same store.
        let name = Some(loaded_for.name.as_str()).filter(|name| !name.is_empty());
        let request = InstallRequest {
            kind: self.kind,
            name: name.unwrap_or(self.resource),
            type_: self.type_,
            source,
            directory: &dirs[0],
            pin: *pin,
            ran: *ran,
        };
        let installed = runtime.install(&request, loaded_for.clone(), scope).await;
        let installed = Arc::new(installed?);
        installed.prove_soon();
        runtime.loaded.add(&installed, loaded_for, self.resource);
        Ok(Some(installed))
    }

    /// The plugin of Notation that the entry of a built-in verifier brings, if it does.
    async fn of_built_in(
        &self,
        entry: &VerifierPluginConfig,
    ) -> Result<Option<Arc<InstalledPlugin>>> {
        if !built_in::takes_source(entry) {
            self.refuse_source_of_built_in(entry.source.as_ref());
            return Ok(None);
        }
        let Some(source) = &entry.source else { return Ok(None) };
        self.installed(source).await
    }

    /// v1 downloads the source of a built-in and never uses it.
    fn refuse_source_of_built_in(&self, source: Option<&PluginSource>) {
        if source.is_some() {
            tracing::warn!(
                "source was specified for {}, which is built in: it is not downloaded",
                self.type_
            );
        }
    }
}

fn paths(dirs: Option<&[String]>) -> Vec<PathBuf> {
    dirs.unwrap_or_default().iter().map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_reads_no_layout() {
        assert!(check_layout_scope(&SecretScope::Cluster).is_ok());
        let refused = check_layout_scope(&SecretScope::Namespace("team".into())).unwrap_err();
        assert!(refused.to_string().contains("is not for namespaces"), "{refused}");
    }
}
