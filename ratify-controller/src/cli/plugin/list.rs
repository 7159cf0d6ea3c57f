//! `ratify plugin list`: what is installed in a directory, and whether it is still whole.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use ratify_core::capped_line;
use serde::Serialize;

use super::{Output, PluginContext, columns, human_size};
use crate::{
    cli::output,
    plugin::inventory::{Inventory, InventoryError, Record},
};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct List {
    /// The plugin directory [default: the user's own]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The form of the result
    #[arg(short, long, default_value = "text")]
    output: Output,
}

/// One row.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    record: Record,
    path: PathBuf,
    state: &'static str,
}

impl List {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let directory =
            self.dir.unwrap_or_else(|| context.runtime.environment.default_plugin_dir());
        let inventory = Inventory::of(&directory);
        let rows = tokio::task::spawn_blocking(move || rows(&inventory)).await?;
        match self.output {
            Output::Json => output::print_json(&rows)?,
            Output::Text if rows.is_empty() => output::print_line(&format!(
                "no plugin is installed in {}: `ratify plugin install REF` does so",
                directory.display()
            ))?,
            Output::Text => output::print_line(&table(&rows))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Every record, each file hashed.
fn rows(inventory: &Inventory) -> Vec<Row> {
    let row = |record: Record| Row {
        path: inventory.content_path(&record.digest),
        state: match inventory.open(&record) {
            Ok(_) => "ok",
            Err(InventoryError::Missing(_)) => "missing",
            Err(InventoryError::Changed { .. }) => "changed",
            Err(_) => "unreadable",
        },
        record,
    };
    inventory.records().into_iter().map(row).collect()
}

fn table(rows: &[Row]) -> String {
    let head = ["NAME", "KIND", "TYPE", "VERSION", "PLATFORM", "SIZE", "STATE", "DIGEST", "FROM"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(|Row { record, state, .. }| {
        [
            capped_line(&record.name, 60),
            record.kind.to_string(),
            capped_line(&record.type_, 60),
            capped_line(record.version.as_deref().unwrap_or("-"), 30),
            capped_line(&record.platform, 30),
            human_size(record.size),
            (*state).to_owned(),
            record.digest.to_string(),
            capped_line(&record.artifact, 200),
        ]
    }));
    columns(&lines)
}
