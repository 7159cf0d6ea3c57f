//! `ratify plugin save`: a plugin artifact goes from a registry into an OCI image layout, with all
//! of its platforms, under its whole name.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Context as _;
use clap::Args;
use ratify_store_oras::{LayoutWriter, Origin, Tree};

use super::{PATIENCE, PluginContext, reference};
use crate::cli::output;

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Save {
    /// The plugin: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "REF")]
    reference: String,
    /// The directory of the layout: a new one, or one that gets another entry
    #[arg(value_name = "LAYOUT")]
    layout: PathBuf,
}

impl Save {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let reference = reference(&self.reference)?;
        let give_up_at = Some(Instant::now() + PATIENCE);
        let origin = Origin::from(context.client()?);
        let root = origin.resolve(&reference, give_up_at).await?;
        let tree = Tree::read(&origin, &reference, &root, give_up_at).await?;
        let cannot_write = || format!("cannot save into {}", self.layout.display());
        let mut layout = LayoutWriter::open(&self.layout).with_context(cannot_write)?;
        let name = reference.to_string();
        tree.save(&origin, &reference, &mut layout, &name, give_up_at)
            .await
            .with_context(cannot_write)?;
        output::print_line(&format!("saved {reference} {}", root.digest))?;
        Ok(ExitCode::SUCCESS)
    }
}
