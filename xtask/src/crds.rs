//! `cargo xtask crds`: the definitions of the custom resources in the chart, a file each, as
//! `ratify crds print` writes them. With `--check` nothing is written, and a file that differs,
//! is missing or is left over fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use crate::workspace;

/// Where the chart has them. Helm installs every file of this folder.
const FOLDER: &str = "charts/ratify/crds";

/// What `cargo xtask crds` is told.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only say whether the files are as the source has them
    #[arg(long)]
    check: bool,
}

/// Files by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Runs the command.
///
/// # Errors
/// When the controller does not build, a file cannot be read or written, or, with `--check`, one
/// differs.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = workspace::root()?.join(FOLDER);
    let printed = printed()?;
    if options.check {
        return report(&differences(&read(&folder)?, &printed), printed.len());
    }
    fs::create_dir_all(&folder).with_context(|| cannot_write(&folder))?;
    for name in read(&folder)?.keys().filter(|name| !printed.contains_key(*name)) {
        let path = folder.join(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    for (name, bytes) in &printed {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| cannot_write(&path))?;
    }
    println!("{FOLDER}: {} definitions", printed.len());
    Ok(())
}

/// The check alone, for a command that runs more than this.
///
/// # Errors
/// As [`run`].
pub(crate) fn check() -> Result<()> {
    run(&Options { check: true })
}

/// What the controller prints, built from the source as it is.
fn printed() -> Result<Files> {
    let folder = empty_folder()?;
    let mut ratify = Command::new(workspace::build_ratify()?);
    ratify.env("RATIFY_LOG_LEVEL", "error").args(["crds", "print", "--output"]);
    process::run(ratify.arg(&folder))?;
    let files = read(&folder)?;
    if files.is_empty() {
        bail!("`ratify crds print` printed no definition");
    }
    Ok(files)
}

fn empty_folder() -> Result<PathBuf> {
    let folder = workspace::metadata()?.target_directory.join("crds").into_std_path_buf();
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| cannot_write(&folder))?;
    Ok(folder)
}

/// The files of a folder; none where there is no folder.
fn read(folder: &Path) -> Result<Files> {
    if !folder.exists() {
        return Ok(Files::new());
    }
    let cannot_read = |path: &Path| format!("cannot read {}", path.display());
    let mut files = Files::new();
    for entry in fs::read_dir(folder).with_context(|| cannot_read(folder))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let bytes = fs::read(&path).with_context(|| cannot_read(&path))?;
        files.insert(name.unwrap_or_default(), bytes);
    }
    Ok(files)
}

/// What is wrong with the files that there are, a line each.
fn differences(there: &Files, wanted: &Files) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, bytes) in wanted {
        match there.get(name) {
            None => lines.push(format!("{FOLDER}/{name}: is missing")),
            Some(found) if found != bytes => {
                lines.push(format!("{FOLDER}/{name}: is not what the source says"));
            }
            Some(_) => {}
        }
    }
    let left_over = there.keys().filter(|name| !wanted.contains_key(*name));
    lines.extend(left_over.map(|name| format!("{FOLDER}/{name}: defines nothing; remove it")));
    lines
}

fn report(differences: &[String], count: usize) -> Result<()> {
    for line in differences {
        println!("{line}");
    }
    if !differences.is_empty() {
        bail!("the chart's definitions are not those of the source; run: cargo xtask crds");
    }
    println!("{FOLDER}: {count} definitions, as the source has them");
    Ok(())
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_file_that_differs_is_missing_or_is_left_over_is_said_by_name() {
        let there = files(&[("a.yaml", "x"), ("b.yaml", "y"), ("old.yaml", "z")]);
        let wanted = files(&[("a.yaml", "x"), ("b.yaml", "y\n"), ("c.yaml", "w")]);
        insta::assert_snapshot!(differences(&there, &wanted).join("\n"), @r"
        charts/ratify/crds/b.yaml: is not what the source says
        charts/ratify/crds/c.yaml: is missing
        charts/ratify/crds/old.yaml: defines nothing; remove it
        ");
        assert!(report(&differences(&there, &wanted), 3).is_err());
        assert_eq!(differences(&wanted, &wanted), [""; 0]);
    }
}
