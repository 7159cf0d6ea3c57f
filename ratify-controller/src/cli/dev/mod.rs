//! `ratify dev`: tools for those who write plugins.

mod image;
mod push_layout;
mod registry;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Context;

#[derive(Debug, Args)]
pub(crate) struct Dev {
    #[command(subcommand)]
    command: DevCommand,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Run an OCI registry in memory, on loopback, until interrupted
    Registry(registry::Registry),
    /// Push a small image, with artifacts attached to it, for a plugin to judge
    Image(image::Image),
    /// Push an image from an OCI image layout
    PushLayout(push_layout::PushLayout),
}

impl Dev {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.command {
            DevCommand::Registry(registry) => registry.run().await,
            DevCommand::Image(image) => image.run(context).await,
            DevCommand::PushLayout(layout) => Box::pin(layout.run(context)).await,
        }
    }
}
