//! `cargo xtask tidy`: the rules that only this tree has. Each rule is a pure function from
//! values to findings, with a test that shows it failing; this file reads the values and prints
//! what was found.

mod dependencies;
mod functions;
mod licences;
mod manifests;
mod protocol;
mod sources;
mod table;
mod text;

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use crate::readme;
use crate::workspace;

/// What `cargo xtask tidy` is told.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Write the hash of the protocol's source into its document, once the document says what
    /// the source does
    #[arg(long)]
    bless_protocol: bool,
    /// Show the sample plugin in the README as it is compiled
    #[arg(long)]
    bless_readme: bool,
}

/// One broken rule: where, what is wrong, and what to do.
pub(crate) type Finding = String;

/// Runs the command.
///
/// # Errors
/// When a rule is broken, or what the rules read cannot be read.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = workspace::root()?;
    if options.bless_protocol {
        return protocol::bless(&root);
    }
    if options.bless_readme {
        return readme::bless(&root);
    }
    let metadata = workspace::metadata()?;
    let files = tracked_files()?;
    let texts = text::read(&root, &files)?;
    let target = "--target=x86_64-unknown-linux-musl";
    let controller = ["--package=ratify-controller", "--edges=normal,no-proc-macro", target];
    let sdk = ["--package=ratify-plugin-sdk", "--edges=normal,build", target];
    let every = ["--workspace", "--all-features", "--target=all"];
    let (controller, sdk, every) = (cargo_tree(controller)?, cargo_tree(sdk)?, cargo_tree(every)?);
    let findings: Vec<Finding> = [
        manifests::directions(&manifests::links(&metadata)),
        manifests::lints(&texts),
        manifests::budgets(&metadata),
        sources::root_entries(&files),
        texts.iter().flat_map(sources::text_rules).collect(),
        protocol::check(&root)?,
        readme::check(&root)?,
        dependencies::count("ratify-plugin-sdk", &sdk, dependencies::SDK_LIMIT),
        dependencies::duplicates(&controller, &table::DUPLICATES),
        dependencies::refused(&every),
        licences::check(&licences::declared(&metadata)),
    ]
    .concat();
    report(&findings, files.len())
}

fn report(findings: &[Finding], files: usize) -> Result<()> {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: {files} files, nothing to say"),
        1 => bail!("tidy found one thing"),
        count => bail!("tidy found {count} things"),
    }
    Ok(())
}

/// What git tracks or would track: new files count before they are added, ignored ones never.
fn tracked_files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(workspace::root()?);
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let printed =
        process::capture(&mut git).context("tidy asks git which files belong to the tree")?;
    let mut files: Vec<String> =
        printed.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// The crates that a build needs, as `name vVERSION`, with the features that this very build has
/// (a workspace's metadata has every member's features at once, and crates of features that
/// nobody turns on).
fn cargo_tree(selection: [&str; 3]) -> Result<Vec<String>> {
    let mut cargo = workspace::cargo()?;
    cargo.arg("tree").args(selection).args(["--prefix=none", "--no-dedupe", "--format={p}"]);
    Ok(dependencies::crates(&process::capture(&mut cargo)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_fails_the_command_and_none_does_not() {
        report(&[], 3).unwrap();
        let error = report(&["a: too long".to_owned()], 3).unwrap_err();
        assert_eq!(error.to_string(), "tidy found one thing");
    }
}
