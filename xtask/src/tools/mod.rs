//! `cargo xtask tools`: the real parts that tests run against, in the user's cache, where every
//! clone of this tree finds them. It can be run again at any time: what is there and whole is
//! not touched.
//!
//! The table of parts is `parts.rs`; the commands that bring them are `go.rs`, `crates.rs`, `debian.rs` and
//! `targets.rs`; what is found is proven by `cache.rs`.

mod cache;
mod crates;
mod debian;
mod go;
mod parts;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::steps::seconds;
use cache::Cache;

/// What `cargo xtask tools` is told.
#[derive(Args)]
pub(crate) struct Options {
    /// Print the map from a part's name to its path as JSON, and bring nothing
    #[arg(long)]
    print: bool,
}

/// The paths of the parts, by name, and the file that holds this map.
pub(crate) type Paths = BTreeMap<String, PathBuf>;

/// Runs the command.
///
/// # Errors
/// When a part cannot be had; the text says which, and what to do.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.print {
        return bring();
    }
    let file = Cache::open()?.map_file();
    let text = fs::read_to_string(&file).with_context(|| not_there(&file))?;
    print!("{text}");
    Ok(())
}

/// Brings every part that is missing and writes the file that names them all.
///
/// # Errors
/// As [`run`].
pub(crate) fn bring() -> Result<()> {
    let started = Instant::now();
    let cache = Cache::open()?;
    let _alone = cache.lock()?;
    let mut paths = Paths::new();
    debian::bring(&parts::DEBIAN, &cache.folder().join("apt-get.log"))?;
    for part in &parts::DEBIAN {
        if let Some(path) = debian::find(part.proof) {
            say(part.package, "present", None);
            paths.insert(part.name.to_owned(), path);
        }
    }
    targets::bring(&parts::RUST_TARGETS)?;
    go::check_version()?;
    for module in &parts::MODULES {
        paths.insert(module.name.to_owned(), go::module(&cache, module)?);
    }
    for part in &parts::CRATES {
        paths.insert(part.name.to_owned(), crates::source(part)?);
    }
    for part in &parts::GO {
        paths.insert(part.name.to_owned(), go::bring(&cache, part)?);
    }
    let file = cache.map_file();
    write_map(&file, &paths)?;
    println!("{} parts in {}: {}", paths.len(), seconds(started.elapsed()), file.display());
    Ok(())
}

/// The parts that are there, by name.
///
/// # Errors
/// When none were brought yet.
pub(crate) fn known() -> Result<Paths> {
    let file = Cache::open()?.map_file();
    let text = fs::read_to_string(&file).with_context(|| not_there(&file))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", file.display()))
}

fn not_there(file: &Path) -> String {
    format!("{} is not there; run `cargo xtask tools` first", file.display())
}

/// The file that maps each part's name to its path, whether or not it is there yet.
///
/// # Errors
/// When there is no cache folder.
pub(crate) fn map_file() -> Result<PathBuf> {
    Ok(Cache::open()?.map_file())
}

/// The map as the tests read it.
fn write_map(file: &Path, paths: &Paths) -> Result<()> {
    let mut text = serde_json::to_string_pretty(paths)?;
    text.push('\n');
    cache::write_whole(file, &text)
}

/// One line for one part.
fn say(name: &str, what: &str, since: Option<Instant>) {
    match since {
        Some(since) => println!("{name:<28} {what} in {}", seconds(since.elapsed())),
        None => println!("{name:<28} skipped: {what}"),
    }
}
