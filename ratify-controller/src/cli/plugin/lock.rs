//! `ratify plugin lock`: what the references of plugins stand for, written down for
//! `plugins.lockFile`.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use ratify_core::config::{Config, PluginSource};

use super::{PATIENCE, PluginContext, install::source_of, read_config, reference};
use crate::{
    cli::output,
    plugin::lock::{LockFile, Locked},
};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Lock {
    /// Plugins: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "REF", required_unless_present = "config")]
    references: Vec<String>,
    /// Every plugin with a source in this configuration, as it is named there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file to write, in place of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Lock {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let mut sources = Vec::new();
        if let Some(file) = &self.config {
            sources = sources_of(&read_config(file)?)?;
            if sources.is_empty() {
                bail!("no plugin of {} has a source: there is nothing to lock", file.display());
            }
        }
        for text in &self.references {
            sources.push(source_of(text)?);
        }
        let mut locked = Vec::new();
        for source in sources {
            let named = reference(&source.artifact)?;
            let give_up_at = Some(Instant::now() + PATIENCE);
            let root = context.client_for(&source)?.resolve(&named, give_up_at).await?;
            locked.push(Locked { artifact: source.artifact, digest: root.digest });
        }
        let lock = LockFile::new(locked);
        if let Some(path) = &self.output {
            lock.write(path).with_context(|| format!("cannot write {}", path.display()))?;
        } else {
            output::print_line(lock.to_text()?.trim_end())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is downloaded of a configuration.
pub(super) fn sources_of(config: &Config) -> anyhow::Result<Vec<PluginSource>> {
    let mut sources = Vec::new();
    if let Some(section) = &config.store {
        sources.extend(section.entries()?.into_iter().filter_map(|entry| entry.source));
    }
    if let Some(section) = &config.verifier {
        sources.extend(section.entries()?.into_iter().filter_map(|entry| entry.source));
    }
    Ok(sources)
}
