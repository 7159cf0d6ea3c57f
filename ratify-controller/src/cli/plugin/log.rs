//! `ratify plugin log`: which plugin was loaded when, for whom, and from where, from the record
//! that each plugin directory has; those of namespaces too.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::bail;
use clap::Args;
use ratify_core::capped_line;

use super::{Output, PluginContext, columns, human_size};
use crate::{
    cli::output,
    plugin::{
        confined::Confinement,
        inventory::{Inventory, Load, Loads},
    },
};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Log {
    /// The plugin directory [default: the user's own]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The form of the result
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Log {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let directory =
            self.dir.unwrap_or_else(|| context.runtime.environment.default_plugin_dir());
        let root = directory.clone();
        let Loads { loads, unreadable, .. } =
            tokio::task::spawn_blocking(move || all(&root)).await??;
        match self.output {
            Output::Json => output::print_json(&loads)?,
            Output::Text if loads.is_empty() => output::print_line(&format!(
                "no load is recorded in {}: `ratify plugin install REF` makes the first",
                directory.display()
            ))?,
            Output::Text => output::print_line(&table(&loads))?,
        }
        if unreadable > 0 {
            bail!("{unreadable} lines of the record cannot be read: somebody else wrote them");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The loads of a directory and of the namespaces below it, oldest first.
fn all(root: &Path) -> anyhow::Result<Loads> {
    let mut all = Inventory::of(root).loads()?;
    for directory in Confinement::all(root) {
        let of_namespace = Inventory::of(directory).loads()?;
        all.loads.extend(of_namespace.loads);
        all.unreadable += of_namespace.unreadable;
    }
    all.loads.sort_by(|one, other| one.time.cmp(&other.time));
    Ok(all)
}

fn table(loads: &[Load]) -> String {
    let head = ["TIME", "OUTCOME", "FOR", "TYPE", "PLATFORM", "SIZE", "PROGRAM", "BY", "FROM"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(loads.iter().map(|load| {
        let separator = if load.namespace.is_empty() { "" } else { "/" };
        let whom = format!("{} {}{separator}{}", load.kind, load.namespace, load.name);
        [
            capped_line(&load.time, 30),
            capped_line(&load.outcome, 20),
            capped_line(&whom, 120),
            capped_line(&load.type_, 60),
            capped_line(&load.platform, 30),
            human_size(load.size),
            load.program.to_string(),
            capped_line(&load.who, 60),
            capped_line(&load.artifact, 200),
        ]
    }));
    columns(&rows)
}
