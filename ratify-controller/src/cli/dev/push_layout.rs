//! `ratify dev push-layout`: an image that lies in a layout, as `cargo xtask image` or a container
//! engine wrote it (OCI image specification, "Image Layout"), goes to a registry. Everything is
//! read and proven before anything is sent, and what names another is sent after it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, ensure};
use clap::Args;
use ratify_core::Reference;
use ratify_store_oras::{Layout, Limits, Origin, Tree, auth::SecretScope};

use super::super::{Context, output};

#[derive(Debug, Args)]
pub(super) struct PushLayout {
    /// The layout, a directory or a tar archive; it holds one image
    layout: PathBuf,
    /// Where the image goes: registry, repository and tag. Plain HTTP is spoken on loopback only
    reference: String,
}

impl PushLayout {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let reference = Reference::parse_exact(&self.reference)
            .with_context(|| format!("{} is no place for an image", self.reference))?;
        ensure!(reference.tag().is_some(), "{reference} has no tag: push to REGISTRY/REPO:TAG");
        let cannot_push = || format!("cannot push the layout {}", self.layout.display());
        let layout = Layout::open(&self.layout, None, Limits::default());
        let layout = layout.with_context(cannot_push)?;
        let entries = layout.entries().with_context(cannot_push)?;
        let [root] = entries.as_slice() else {
            let why = format!("it holds {} images, and one is pushed at a time", entries.len());
            return Err(anyhow::anyhow!(why)).with_context(cannot_push);
        };
        let origin = Origin::from(layout.clone());
        let tree = Tree::read(&origin, &reference, root, None).await.with_context(cannot_push)?;
        let client = context.runtime.plugin_client(None, &SecretScope::Cluster)?;
        tree.push(&layout, &client, &reference).await.with_context(cannot_push)?;
        output::print_line(&format!("pushed {reference} {}", root.digest))?;
        Ok(ExitCode::SUCCESS)
    }
}
