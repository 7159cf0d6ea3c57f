//! `ratify plugin inspect`: what a reference stands for.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use ratify_core::capped_line;

use super::{Output, PATIENCE, PluginContext, human_size, reference};
use crate::{
    cli::output,
    plugin::install::{Description, PlatformDescription, inspect},
};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The plugin: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "REF")]
    reference: String,
    /// The form of the result
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Inspect {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let reference = reference(&self.reference)?;
        let client = context.client()?;
        let give_up_at = Some(Instant::now() + PATIENCE);
        let description = Box::pin(inspect(&client, &reference, give_up_at)).await?;
        match self.output {
            Output::Json => output::print_json(&description)?,
            Output::Text => output::print_line(&text(&description))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(description: &Description) -> String {
    let mut lines = vec![
        format!("reference  {}", description.reference),
        format!("digest     {}", description.digest),
        format!("type       {}", description.media_type),
    ];
    if !description.artifact_type.is_empty() {
        lines.push(format!("artifact   {}", description.artifact_type));
    }
    for platform in &description.platforms {
        lines.extend(platform_lines(platform));
    }
    lines.join("\n")
}

fn platform_lines(platform: &PlatformDescription) -> Vec<String> {
    let name = platform.platform.as_deref().unwrap_or("any platform");
    let mut lines = vec![format!("{name}"), format!("  manifest {}", platform.manifest)];
    for file in &platform.files {
        let title = file.title.as_deref().unwrap_or("(no name)");
        let size = human_size(file.size);
        lines.push(format!("  file     {title} {size} {} {}", file.digest, file.media_type));
    }
    if let Some(config) = &platform.config {
        let protocols = capped_line(&config.protocols.join(", "), 200);
        lines.push(format!(
            "  plugin   {} {} {} ({protocols})",
            config.kind,
            capped_line(&config.name, 100),
            capped_line(&config.version, 100)
        ));
    }
    lines
}
