//! `ratify plugin`: install, list, lock, log, inspect, verify, push, sign, save, load and try
//! plugins. Ours; v1 has no such command.
//!
//! The feature flag of dynamic plugins governs `source` of a configuration in `verify` and
//! `serve`: who types one of these commands has decided already.

mod inspect;
mod install;
mod list;
mod load;
mod lock;
mod log;
mod progress;
mod push;
mod run;
mod save;
mod sign;
mod verify;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use ratify_core::{
    Reference,
    config::{Config, PluginSource},
};
use ratify_store_oras::{Client, auth::SecretScope};

use crate::{plugin::inventory::Kind, reload::ConfigFile, runtime::Runtime};

/// How long a command waits for a registry or a plugin's arrival.
const PATIENCE: Duration = Duration::from_secs(300);

/// `ratify plugin`.
#[derive(Debug, Args)]
pub struct PluginCommand {
    #[command(subcommand)]
    command: Command,
}

/// What the commands need: the environment as values, connections, and what runs plugins.
#[derive(Clone)]
pub struct PluginContext {
    /// Shared by the whole process.
    pub runtime: Arc<Runtime>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pull a plugin, prove it, and put it into the plugin directory
    Install(install::Install),
    /// List what is installed, and whether it is still whole
    List(list::List),
    /// Write down which digests the references of plugins stand for
    Lock(lock::Lock),
    /// Print which plugin was loaded when, for whom, and from where
    Log(log::Log),
    /// Show what a reference stands for, without installing or running it
    Inspect(inspect::Inspect),
    /// Tell who signed plugins, and whether the trust policies of a configuration let them run
    Verify(verify::Verify),
    /// Push a plugin for one or several platforms
    Push(push::Push),
    /// Sign a plugin with a key, as cosign or notation does
    Sign(sign::Sign),
    /// Copy a plugin from a registry into an OCI image layout, for a machine without a network
    Save(save::Save),
    /// Install a plugin from an OCI image layout, or push it from there to a registry
    Load(load::Load),
    /// Run a plugin once, and show what it was asked and what it answered
    Run(run::Run),
}

/// The form of a result on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A plugin's kind, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindName {
    /// It judges artifacts
    Verifier,
    /// It lists and reads them
    Store,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Verifier => Self::Verifier,
            KindName::Store => Self::Store,
        }
    }
}

impl PluginCommand {
    /// Does what was typed.
    ///
    /// # Errors
    /// When it cannot be done; the text says what to do next.
    pub async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Install(command) => command.run(context).await,
            Command::List(command) => command.run(context).await,
            Command::Lock(command) => command.run(context).await,
            Command::Log(command) => command.run(context).await,
            Command::Inspect(command) => command.run(context).await,
            Command::Verify(command) => command.run(context).await,
            Command::Push(command) => command.run(context).await,
            Command::Sign(command) => command.run(context).await,
            Command::Save(command) => command.run(context).await,
            Command::Load(command) => command.run(context).await,
            Command::Run(command) => command.run(context).await,
        }
    }
}

impl PluginContext {
    /// A client with the credentials of Docker's configuration.
    fn client(&self) -> anyhow::Result<Client> {
        Ok(self.runtime.plugin_client(None, &SecretScope::Cluster)?)
    }

    /// A client with the credentials that a source names.
    fn client_for(&self, source: &PluginSource) -> ratify_core::Result<Client> {
        self.runtime.plugin_client(Some(source), &SecretScope::Cluster)
    }
}

/// Reads a configuration file. The texts are v1's.
fn read_config(file: &Path) -> anyhow::Result<Config> {
    Ok(ConfigFile::read(&file.to_string_lossy(), file)?.config)
}

/// A reference with everything in it, as `source.artifact` is.
fn reference(text: &str) -> anyhow::Result<Reference> {
    Reference::parse_exact(text).with_context(|| {
        let text = ratify_core::capped_line(text, 200);
        format!("{text:?} must be REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST")
    })
}

/// The type a reference suggests: what `build-plugins` pushes is at REGISTRY/.../TYPE:VERSION.
fn suggested_type(reference: &Reference) -> &str {
    reference.repository().rsplit('/').next().unwrap_or_default()
}

/// Rows of cells, each column as wide as its widest cell.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).filter_map(width).collect();
    let text = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Bytes as a person reads them.
fn human_size(bytes: u64) -> String {
    const STEP: u64 = 1000;
    match bytes {
        0..STEP => format!("{bytes} B"),
        STEP..1_000_000 => format!("{} kB", bytes / STEP),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_the_last_part_of_the_repository() {
        let reference = reference("registry.example.com/ratify/plugins/sample:1.0.0").unwrap();
        assert_eq!(suggested_type(&reference), "sample");
    }

    #[test]
    fn sizes_are_for_people() {
        let cases = [(999, "999 B"), (1000, "1 kB"), (600_000, "600 kB"), (54_250_000, "54.2 MB")];
        for (bytes, expected) in cases {
            assert_eq!(human_size(bytes), expected);
        }
    }
}
