//! Gathers what there is on this machine and in registries, each within its time, and has it judged.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use ratify_core::config::{Config, PluginSource, StorePluginConfig, VerifierPluginConfig};
use ratify_store_oras::{Client, LAYOUT_STORE, OrasStore, RetryPolicy, auth::SecretScope};

use super::{
    cluster::Cluster,
    finding::{Finding, shown},
    plugins::{self, Named},
    registries::{self, Asked},
    targets::{By, Target},
};
use crate::{
    k8s::{entry, kind::Role},
    plugin::inventory::Kind,
    runtime::Runtime,
};

/// How many registries are asked at once.
const AT_ONCE: usize = 6;
/// How long all registries may take together.
const PATIENCE: Duration = Duration::from_secs(16);

/// Who judges and where artifacts are: the entries of a file, or what custom resources come to.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    pub(super) stores: Vec<StorePluginConfig>,
    pub(super) plugins: Vec<Named>,
    pub(super) sources: Vec<PluginSource>,
}

impl Entries {
    /// The entries of a file that can be read; the others are findings of the configuration.
    pub(super) fn of_file(config: &Config, runtime: &Runtime) -> Self {
        let mut entries = Self::default();
        let default = runtime.environment.default_plugin_dir();
        let paths = |dirs: &Option<Vec<String>>| {
            dirs.iter().flatten().map(PathBuf::from).collect::<Vec<_>>()
        };
        for section in config.store.iter() {
            let mut dirs = paths(&section.plugin_bin_dirs);
            dirs.push(default.clone());
            let dirs = runtime.environment.with_shipped(dirs);
            for raw in &section.plugins {
                let Ok(entry) = StorePluginConfig::from_entry(raw, &section.version) else {
                    continue;
                };
                entries.add_store(entry, &dirs, runtime);
            }
        }
        for section in config.verifier.iter() {
            let mut dirs = paths(&section.plugin_bin_dirs);
            if dirs.is_empty() {
                dirs.push(default.clone());
            }
            let dirs = runtime.environment.with_shipped(dirs);
            for raw in &section.plugins {
                let entry = VerifierPluginConfig::from_entry(raw, &section.version);
                let Ok(entry) = entry else { continue };
                entries.add_verifier(entry, &dirs, runtime);
            }
        }
        entries
    }

    /// What the cluster's resources come to, those of namespaces left out. What one cannot be made of is
    /// told by its status.
    pub(super) fn of_cluster(cluster: &Cluster, runtime: &Runtime) -> Self {
        let mut entries = Self::default();
        let resources = cluster.resources.iter().filter_map(|(_, read)| read.seen()).flatten();
        for resource in resources.filter(|resource| !resource.key.kind.namespaced) {
            let program = resource.plugin_status().and_then(|status| status.program);
            let pinned = program.and_then(|program| program.parse().ok());
            let before = entries.plugins.len();
            match resource.key.kind.role {
                Role::Store => {
                    let Ok(made) = entry::store(resource) else { continue };
                    let dirs = dirs_of(made.address, runtime);
                    entries.add_store(made.entry, &dirs, runtime);
                }
                Role::Verifier => {
                    let Ok(made) = entry::verifier(resource) else { continue };
                    let dirs = dirs_of(made.address, runtime);
                    entries.add_verifier(made.entry, &dirs, runtime);
                }
                _ => {}
            }
            for plugin in entries.plugins.iter_mut().skip(before) {
                // The records of a directory are by the resource's name.
                plugin.name.clone_from(&resource.key.name);
                plugin.pinned.clone_from(&pinned);
            }
        }
        entries
    }

    fn add_store(&mut self, entry: StorePluginConfig, dirs: &[PathBuf], runtime: &Runtime) {
        if entry.name != "oras" && entry.name != LAYOUT_STORE {
            let source = entry.source.clone().filter(|_| runtime.environment.dynamic_plugins());
            self.plugins.push(Named {
                kind: Kind::Store,
                name: entry.name.clone(),
                type_: entry.name.clone(),
                source: source.as_ref().map(|source| source.artifact.clone()),
                pinned: None,
                dirs: dirs.to_vec(),
            });
            self.sources.extend(source);
        }
        self.stores.push(entry);
    }

    fn add_verifier(&mut self, entry: VerifierPluginConfig, dirs: &[PathBuf], runtime: &Runtime) {
        let source = entry.source.clone().filter(|_| runtime.environment.dynamic_plugins());
        // What is built in needs no program, but may bring a plugin of its own.
        let is_needed = match crate::built_in::is_built_in(&entry) {
            true => crate::built_in::takes_source(&entry) && source.is_some(),
            false => true,
        };
        if !is_needed {
            return;
        }
        self.plugins.push(Named {
            kind: Kind::Verifier,
            name: entry.name.clone(),
            type_: entry.binary_name().to_owned(),
            source: source.as_ref().map(|source| source.artifact.clone()),
            pinned: None,
            dirs: dirs.to_vec(),
        });
        self.sources.extend(source);
    }
}

/// Where the program of a resource is searched.
fn dirs_of(address: Option<String>, runtime: &Runtime) -> Vec<PathBuf> {
    let own = address.map(PathBuf::from);
    let first = own.unwrap_or_else(|| runtime.environment.default_plugin_dir());
    runtime.environment.with_shipped(vec![first])
}

/// Looks at plugins and their directories.
pub(super) async fn plugins(
    named: Vec<Named>,
    directory: PathBuf,
    is_elsewhere: bool,
) -> Vec<Finding> {
    if is_elsewhere {
        let why = "they are in the pod: kubectl exec deploy/ratify -- ratify doctor looks at them";
        return vec![Finding::not_checked("plugin.found", "", why)];
    }
    let looking = tokio::task::spawn_blocking(move || {
        let mut findings = Vec::new();
        for one in &named {
            findings.extend(plugins::judge(one, &plugins::look(one)));
        }
        let is_written = named.iter().any(|one| one.source.is_some());
        let mut directories: Vec<_> =
            named.iter().filter_map(|one| one.dirs.first().cloned()).collect();
        directories.push(directory);
        directories.sort();
        directories.dedup();
        let volume = |path: &PathBuf| plugins::judge_volume(&plugins::volume(path), is_written);
        findings.extend(directories.iter().map(volume));
        findings
    });
    looking.await.unwrap_or_else(|error| {
        vec![Finding::not_checked("plugin.found", "", shown(&error.to_string()))]
    })
}

/// Asks registries, some at once. For whom no time is left is told as such.
pub(super) async fn registries(targets: Vec<Target>, runtime: &Arc<Runtime>) -> Vec<Finding> {
    let end = tokio::time::Instant::now() + PATIENCE;
    let asked = targets.into_iter().map(|target| async move {
        match tokio::time::timeout_at(end, registry(&target, runtime)).await {
            Ok(findings) => findings,
            Err(_) => {
                let why = format!("all registries took longer than {} s", PATIENCE.as_secs());
                vec![Finding::not_checked("registry.connect", &target.on, why)]
            }
        }
    });
    let findings: Vec<Vec<Finding>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    findings.into_iter().flatten().collect()
}

async fn registry(target: &Target, runtime: &Arc<Runtime>) -> Vec<Finding> {
    let registry = target.reference.registry();
    let client = match client(&target.by, runtime) {
        Ok(client) => client,
        Err(error) => {
            let finding =
                Finding::failure("registry.credentials", &target.on, shown(&error.to_string()))
                    .why("nothing is asked of the registry")
                    .fix("mend authProvider or authProviders, as docs/registries.md tells");
            return vec![finding];
        }
    };
    let places = client.probe(&target.reference, target.depth).await;
    let asked = Asked { on: &target.on, registry, now: Timestamp::now() };
    match places {
        Err(error) => vec![registries::nowhere(asked, &error.to_string())],
        Ok(places) => places.iter().flat_map(|facts| registries::judge(asked, facts)).collect(),
    }
}

/// A client as the store or the source has it, that asks each thing once.
fn client(by: &By, runtime: &Arc<Runtime>) -> ratify_core::Result<Client> {
    let mut once = RetryPolicy::default();
    once.max_retries = 0;
    match by {
        By::Store(entry) => {
            let mut options = runtime.oras_options(&SecretScope::Cluster);
            options.retry = once;
            OrasStore::client(entry, &options)
        }
        By::Source(source) => {
            let mut options = runtime.plugin_options(Some(source), &SecretScope::Cluster)?;
            options.retry = once;
            Ok(Client::new(options)?)
        }
    }
}

/// The directories below a directory of `hosts.toml` files, as registries are written.
pub(super) fn hosts_in(directory: Option<&PathBuf>) -> Vec<String> {
    let entries = directory.and_then(|path| std::fs::read_dir(path).ok());
    let names = entries.into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| !name.starts_with(['.', '_'])).map(|name| as_written(&name)).collect();
    names.sort();
    names.truncate(64);
    names
}

/// containerd writes `host_5000_` where a colon cannot be in a name.
fn as_written(name: &str) -> String {
    let ported = name.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
    match ported {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{host}:{port}")
        }
        _ => name.to_owned(),
    }
}
