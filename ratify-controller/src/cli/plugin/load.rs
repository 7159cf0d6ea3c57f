//! `ratify plugin load`: what `save`, or another tool, put into an OCI image layout becomes an
//! installed plugin, or goes to another registry. No network is needed for the former.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use ratify_core::Reference;
use ratify_store_oras::{Layout, Limits, Origin, Tree};

use super::{KindName, PluginContext, install::Install, reference};
use crate::cli::output;

/// The annotation that names an entry (OCI image specification, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// The layout: a directory or a tar archive
    #[arg(value_name = "LAYOUT")]
    layout: PathBuf,
    /// Which plugin of it, by the name that a configuration gives as its source [default: the only
    /// one that has a whole name]
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// Push it here, in place of installing it: REGISTRY/REPOSITORY:TAG
    #[arg(long, value_name = "REF", conflicts_with_all = ["type_", "kind", "config", "dir"])]
    to: Option<String>,
    /// What the plugin is called [default: the last part of the repository]
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "config")]
    type_: Option<String>,
    /// What the plugin does [default: what its artifact says, or else verifier]
    #[arg(long, conflicts_with = "config")]
    kind: Option<KindName>,
    /// Load every plugin that has a source in this configuration file
    #[arg(short, long, value_name = "FILE", conflicts_with = "reference")]
    config: Option<PathBuf>,
    /// The plugin directory [default: the configuration's, or else the user's own]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Load {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let name = match (&self.reference, &self.config) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(only_name(&self.layout)?),
        };
        if let (Some(to), Some(name)) = (&self.to, &name) {
            return push(&self.layout, &reference(name)?, &reference(to)?, context).await;
        }
        let said = (self.type_, self.kind, self.dir);
        Box::pin(Install::of_layout(self.layout, name, self.config, said).run(context)).await
    }
}

async fn push(
    path: &Path,
    name: &Reference,
    to: &Reference,
    context: &PluginContext,
) -> anyhow::Result<ExitCode> {
    let cannot_push = || format!("cannot push from the layout {}", path.display());
    let layout = Layout::open(path, Some(name.path().to_owned()), Limits::default());
    let layout = layout.with_context(cannot_push)?;
    let origin = Origin::from(layout.clone());
    let root = origin.resolve(name, None).await.with_context(cannot_push)?;
    let tree = Tree::read(&origin, name, &root, None).await.with_context(cannot_push)?;
    tree.push(&layout, &context.client()?, to).await.with_context(cannot_push)?;
    output::print_line(&format!("pushed {to} {}", root.digest))?;
    Ok(ExitCode::SUCCESS)
}

/// The one entry that says by itself what it is.
fn only_name(path: &Path) -> anyhow::Result<String> {
    let cannot_load = || format!("cannot load from the layout {}", path.display());
    let layout = Layout::open(path, None, Limits::default()).with_context(cannot_load)?;
    let mut names = layout.entries().with_context(cannot_load)?;
    names.retain(|entry| entry.annotations.contains_key(REF_NAME));
    let whole = |name: &&String| Reference::parse_exact(name).is_ok();
    let names: Vec<_> =
        names.iter().filter_map(|entry| entry.annotations.get(REF_NAME)).filter(whole).collect();
    match names.as_slice() {
        [name] => Ok((*name).clone()),
        names => bail!(
            "{} holds {} plugins that say what they are: give a REF",
            path.display(),
            names.len()
        ),
    }
}
