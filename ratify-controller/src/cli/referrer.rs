//! `ratify referrer show-blob` and `show-manifest`: one object of a store, on stdout.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use ratify_core::{Digest, Reference, ReferrerStore};

use super::{Context, flag, output, verify::warn_of_tag};
use crate::assemble;

#[derive(Debug, Args)]
pub(crate) struct Referrer {
    #[command(subcommand)]
    command: Option<Show>,
}

#[derive(Debug, Subcommand)]
enum Show {
    /// show blob at a digest
    ShowBlob(Object),
    /// show reference manifest at a digest
    ShowManifest(Object),
}

/// `-d` is the digest here, not `--debug`; v1 panics on the clash of the two.
#[derive(Debug, Args)]
struct Object {
    #[command(flatten)]
    question: flag::Question,
    /// blob digest
    #[arg(short, long, default_value = "")]
    digest: String,
    /// store name
    #[arg(long, default_value = "")]
    store: String,
    /// Log at level debug.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = flag::go_bool)]
    debug: bool,
}

impl Referrer {
    pub(super) fn debug(&self) -> bool {
        matches!(&self.command, Some(Show::ShowBlob(object) | Show::ShowManifest(object)) if object.debug)
    }

    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.command {
            None => {
                use clap::CommandFactory as _;
                let mut command = super::Arguments::command();
                command.build();
                if let Some(referrer) = command.find_subcommand_mut("referrer") {
                    referrer.print_help()?;
                }
            }
            Some(Show::ShowBlob(object)) => object.show_blob(context).await?,
            Some(Show::ShowManifest(object)) => object.show_manifest(context).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Object {
    async fn show_blob(self, context: &Context) -> anyhow::Result<()> {
        let (subject, digest, store) = self.open(context).await?;
        let bytes = store.blob(&subject, &digest, None, &self.question.work()).await?;
        output::print_bytes(&bytes)
    }

    async fn show_manifest(self, context: &Context) -> anyhow::Result<()> {
        let (subject, digest, store) = self.open(context).await?;
        warn_of_tag(&subject);
        let work = self.question.work();
        let descriptor = store.resolve(&subject.sibling(&digest), &work).await;
        let descriptor = descriptor.context("failed to resolve subject descriptor from store")?;
        let manifest = store.manifest(&subject, &descriptor, &work).await;
        let manifest = manifest
            .with_context(|| format!("failed to fetch manifest for reference {subject}"))?;
        output::print_json(&manifest)
    }

    async fn open(
        &self,
        context: &Context,
    ) -> anyhow::Result<(Reference, Digest, Arc<dyn ReferrerStore>)> {
        let subject = assemble::parse_subject(&self.question.subject)?;
        if self.digest.is_empty() {
            bail!("digest parameter is required");
        }
        if self.store.is_empty() {
            bail!("store name parameter is required");
        }
        let digest = self.digest.parse().with_context(|| {
            let shown = ratify_core::capped_line(&self.digest, 100);
            format!("the digest of the subject is invalid {shown}")
        })?;
        let config = context.load_config(&self.question.config)?;
        let stores = assemble::stores(&config, &context.runtime).await?;
        let found = stores.into_iter().find(|store| store.name() == self.store);
        let store = found.with_context(|| format!("cannot find store with name {}", self.store))?;
        Ok((subject, digest, store))
    }
}
