//! `ratify plugin log`: which plugin was loaded when, for whom, and from where, from the record
//! that each plugin directory has; those of namespaces too. `ratify plugin log verify`: whether the
//! records are as they were written.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::bail;
use clap::{Args, Subcommand};
use ratify_core::{Digest, capped_line};

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
    #[command(subcommand)]
    command: Option<Command>,
    /// The plugin directory [default: the user's own]
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    /// The form of the result
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that no line of the records was changed, taken out or put in
    Verify {
        /// The hash of a line that must be there: of the last one when it was looked before
        #[arg(long, value_name = "DIGEST")]
        head: Option<Digest>,
    },
}

impl Log {
    pub(super) async fn run(self, context: &PluginContext) -> anyhow::Result<ExitCode> {
        let directory =
            self.dir.unwrap_or_else(|| context.runtime.environment.default_plugin_dir());
        let root = directory.clone();
        if let Some(Command::Verify { head }) = self.command {
            return tokio::task::spawn_blocking(move || verify(&root, head.as_ref())).await?;
        }
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

/// Looks at the record of a directory and of the namespaces below it, and says what each comes to.
fn verify(root: &Path, known_head: Option<&Digest>) -> anyhow::Result<ExitCode> {
    let (mut faults, mut has_known_head) = (0, false);
    for directory in [root.to_owned()].into_iter().chain(Confinement::all(root)) {
        let chain = Inventory::of(&directory).check_loads(known_head)?;
        let shown = directory.display();
        for fault in &chain.faults {
            output::print_line(&format!(
                "{shown}: {} line {}: {}",
                fault.file, fault.line, fault.what
            ))?;
        }
        faults += chain.faults.len();
        has_known_head |= chain.has_known_head;
        let told = match &chain.head {
            Some(head) => format!("{} loads, the last is {head}", chain.lines),
            None => "no load is recorded".to_owned(),
        };
        output::print_line(&format!("{shown}: {told}"))?;
    }
    if faults > 0 {
        bail!(
            "the record is not as it was written: {faults} of its lines were changed, or stand beside lines that were"
        );
    }
    if let Some(head) = known_head
        && !has_known_head
    {
        bail!("no record has the line {head}: one was cut off, or written anew");
    }
    Ok(ExitCode::SUCCESS)
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
