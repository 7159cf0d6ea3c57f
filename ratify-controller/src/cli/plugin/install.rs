//! `ratify plugin install`: one plugin by reference, or every `source` of a configuration.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::{anyhow, bail};
use clap::Args;
use ratify_core::{
    Error, Reference, capped_line,
    config::{Config, PluginSource},
};
use ratify_store_oras::{LAYOUT_STORE, Layout, Limits, OrasError, Origin, auth::SecretScope};

use super::{
    KindName, PATIENCE, PluginContext, progress::Meter, read_config, reference, suggested_type,
};
use crate::{
    cli::output,
    plugin::{
        install::{
            InstallError, InstallOptions, InstallRequest, Installation, Outcome, PlanError, install,
        },
        inventory::{GRACE_PERIOD, Inventory, Kind, LoadedFor},
        rules::Rules,
    },
    runtime::Runtime,
};

/// The stores that are built in: their `source` is never used.
const BUILT_IN_STORES: [&str; 2] = ["oras", LAYOUT_STORE];

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Install {
    /// The plugin: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "REF", required_unless_present = "config", conflicts_with = "config")]
    reference: Option<String>,
    /// What the plugin is called [default: the last part of the repository]
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "config")]
    type_: Option<String>,
    /// What the plugin does [default: what its artifact says, or else verifier]
    #[arg(long, conflicts_with = "config")]
    kind: Option<KindName>,
    /// Install every plugin that has a source in this configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The plugin directory [default: the configuration's, or else the user's own]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The layout that takes the registries' place: `plugin load`
    #[arg(skip)]
    layout: Option<PathBuf>,
}

/// One plugin to install.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    kind: Kind,
    /// Whether the kind was said, not guessed.
    kind_is_certain: bool,
    name: String,
    type_: String,
    source: PluginSource,
    directory: PathBuf,
}

impl Install {
    /// The same from a layout.
    pub(super) fn of_layout(
        layout: PathBuf,
        reference: Option<String>,
        config: Option<PathBuf>,
        said: (Option<String>, Option<KindName>, Option<PathBuf>),
    ) -> Self {
        let (type_, kind, dir) = said;
        Self { reference, type_, kind, config, dir, layout: Some(layout) }
    }

    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let default_dir = context.runtime.environment.default_plugin_dir();
        let wanted = match (&self.config, &self.reference) {
            (Some(file), _) => {
                let config = read_config(file)?;
                context.runtime.rules.put(Rules::of(&config));
                let wanted = of_config(&config, self.dir.as_deref(), &default_dir)?;
                if wanted.is_empty() {
                    bail!(
                        "no plugin of {} has a source: there is nothing to install",
                        file.display()
                    );
                }
                wanted
            }
            (None, Some(text)) => vec![self.of_reference(text, &default_dir)?],
            (None, None) => bail!("give a reference, or --config FILE"),
        };
        let mut failed = 0;
        for one in &wanted {
            if let Err(error) = install_one(one, self.layout.as_deref(), context).await {
                if wanted.len() == 1 {
                    return Err(error);
                }
                failed += 1;
                eprintln!("Error: {}: {}", capped_line(&one.name, 100), output::error_text(&error));
            }
        }
        collect(&wanted);
        match failed {
            0 => Ok(ExitCode::SUCCESS),
            _ => bail!("{failed} of {} plugins were not installed", wanted.len()),
        }
    }

    fn of_reference(&self, text: &str, default_dir: &Path) -> anyhow::Result<Wanted> {
        let reference = reference(text)?;
        let suggested = suggested_type(&reference);
        let type_ = self.type_.clone().unwrap_or_else(|| suggested.to_owned());
        Ok(Wanted {
            kind: self.kind.map_or(Kind::Verifier, Into::into),
            kind_is_certain: self.kind.is_some(),
            name: type_.clone(),
            type_,
            source: source_of(text)?,
            directory: self.dir.clone().unwrap_or_else(|| default_dir.to_owned()),
        })
    }
}

/// A source without an auth provider of its own.
pub(super) fn source_of(artifact: &str) -> anyhow::Result<PluginSource> {
    let entry = serde_json::json!({"source": {"artifact": artifact}});
    let source = entry.as_object().map(PluginSource::from_entry).transpose()?.flatten();
    source.ok_or_else(|| anyhow!("{artifact} is no source"))
}

/// Every entry with a source, in the directories that `verify` and `serve` use.
fn of_config(
    config: &Config,
    dir: Option<&Path>,
    default_dir: &Path,
) -> anyhow::Result<Vec<Wanted>> {
    let directory = |dirs: Option<&Vec<String>>| match (dir, dirs.and_then(|dirs| dirs.first())) {
        (Some(dir), _) => dir.to_owned(),
        (None, Some(first)) => PathBuf::from(first),
        (None, None) => default_dir.to_owned(),
    };
    let mut wanted = Vec::new();
    if let Some(section) = &config.store {
        let directory = directory(section.plugin_bin_dirs.as_ref());
        for entry in section.entries()? {
            let Some(source) = entry.source.clone() else { continue };
            if BUILT_IN_STORES.contains(&entry.name.as_str()) {
                tracing::warn!("source was specified for {}, which is built in", entry.name);
                continue;
            }
            let (name, type_) = (entry.name.clone(), entry.name);
            let (kind, directory) = (Kind::Store, directory.clone());
            wanted.push(Wanted { kind, kind_is_certain: true, name, type_, source, directory });
        }
    }
    if let Some(section) = &config.verifier {
        let directory = directory(section.plugin_bin_dirs.as_ref());
        for entry in section.entries()? {
            let type_ = entry.binary_name().to_owned();
            let Some(source) = entry.source else { continue };
            let (kind, name, directory) = (Kind::Verifier, entry.name, directory.clone());
            wanted.push(Wanted { kind, kind_is_certain: true, name, type_, source, directory });
        }
    }
    Ok(wanted)
}

async fn install_one(
    wanted: &Wanted,
    layout: Option<&Path>,
    context: &PluginContext,
) -> anyhow::Result<()> {
    let mut result = attempt(wanted, wanted.kind, layout, context).await;
    if let Err(error) = &result
        && let Some(said) = kind_in(error).filter(|_| !wanted.kind_is_certain)
    {
        result = attempt(wanted, said, layout, context).await;
    }
    let Installation { plugin, outcome, .. } = result?;
    let (type_, digest) = (&wanted.type_, plugin.digest());
    match outcome {
        Outcome::KeptLastGood(cause) => Err(anyhow!(cause).context(format!(
            "{type_} is not installed anew; the one of {} is kept ({digest})",
            plugin.record().installed_at
        ))),
        Outcome::Downloaded => said("installed", &plugin),
        Outcome::AlreadyPresent => said("present", &plugin),
    }
}

fn said(what: &str, plugin: &crate::plugin::inventory::InstalledPlugin) -> anyhow::Result<()> {
    let record = plugin.record();
    let version = record.version.as_deref().map(|version| format!(" {version}"));
    output::print_line(&format!(
        "{what} {} {}{} {} {} {}",
        record.kind,
        record.type_,
        capped_line(&version.unwrap_or_default(), 100),
        record.platform,
        record.digest,
        plugin.argv0().display(),
    ))
}

async fn attempt(
    wanted: &Wanted,
    kind: Kind,
    layout: Option<&Path>,
    context: &PluginContext,
) -> Result<Installation, Error> {
    let request = InstallRequest {
        kind,
        name: &wanted.name,
        type_: &wanted.type_,
        source: &wanted.source,
        directory: &wanted.directory,
        pin: None,
        ran: None,
    };
    let give_up_at = Some(Instant::now() + PATIENCE);
    let rules = Arc::clone(&context.runtime.rules.now().plugins);
    let who = context.runtime.environment.host_name.clone();
    let loaded_for = LoadedFor { who, ..LoadedFor::default() };
    let (of_cluster, lock) = (rules.trust_policy.as_ref(), Runtime::lock(&rules)?);
    let signatures = context.runtime.signatures(&wanted.source, of_cluster, &SecretScope::Cluster);
    let options = InstallOptions {
        give_up_at,
        rules,
        loaded_for,
        signatures,
        lock,
        by_command: true,
        ..InstallOptions::default()
    };
    let connect = |source: &PluginSource| match layout {
        None => context.client_for(source).map(Origin::from),
        Some(path) => Ok(open_layout(path, &source.artifact)?.into()),
    };
    let mut meter = Meter::new(&wanted.type_);
    let mut progress = |received, total| meter.tell(received, total);
    Box::pin(install(&request, &options, &connect, &mut progress)).await
}

/// A layout, in which the repository of an artifact is looked for.
fn open_layout(path: &Path, artifact: &str) -> Result<Layout, OrasError> {
    let repository = Reference::parse_exact(artifact).ok().map(|named| named.path().to_owned());
    Layout::open(path, repository, Limits::default())
}

/// The kind that the artifact says it is, where it was not the one asked for.
fn kind_in(error: &Error) -> Option<Kind> {
    match error.find() {
        Some(InstallError::Plan(PlanError::Kind { found, .. })) => Some(*found),
        _ => None,
    }
}

/// What nothing needs any longer goes. That it cannot is no failure of the installation.
fn collect(wanted: &[Wanted]) {
    let mut directories: Vec<&PathBuf> = wanted.iter().map(|one| &one.directory).collect();
    directories.dedup();
    for directory in directories {
        let now = std::time::SystemTime::now();
        if let Err(error) = Inventory::of(directory).collect(now, GRACE_PERIOD) {
            tracing::warn!("old plugins are not removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_of_a_configuration_is_wanted_where_v1_would_put_it() {
        let config = Config::from_json(
            br#"{"store":{"plugins":[{"name":"oras","source":{"artifact":"r.io/oras:1"}},
                    {"name":"files","source":{"artifact":"r.io/files:1"}}]},
                "verifier":{"pluginBinDirs":["/a","/b"],"plugins":[{"name":"n","type":"t",
                    "source":{"artifact":"r.io/t:1"}},{"name":"notation"}]}}"#,
        )
        .unwrap();
        let wanted = |dir: Option<&Path>| {
            let wanted = of_config(&config, dir, Path::new("/default")).unwrap();
            let line =
                |w: &Wanted| format!("{} {} {} {}", w.kind, w.name, w.type_, w.directory.display());
            wanted.iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(wanted(None), ["store files files /default", "verifier n t /a"]);
        assert_eq!(wanted(Some(Path::new("/d"))), ["store files files /d", "verifier n t /d"]);
    }
}
