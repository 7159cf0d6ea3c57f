//! `cargo xtask build-plugins`: every plugin as a static program for every platform, held to
//! its budget, and pushed on request by the built `ratify`.
//!
//! cargo runs once a package: features unify across one cargo run, so that a plugin built
//! beside the controller would carry the controller's features (and twice its size).

pub(crate) mod elf;
pub(crate) mod plugin;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::Metadata;
use clap::Args;

use crate::process;
use crate::sha256;
use crate::workspace::{self, Platform};
use plugin::Plugin;

/// What `cargo xtask build-plugins` is told.
#[derive(Args)]
pub(crate) struct Options {
    /// Push each plugin to REGISTRY/REPO/TYPE:VERSION
    #[arg(long, value_name = "REGISTRY/REPO")]
    pub(crate) push: Option<String>,
    /// Platforms to build for
    #[arg(long, value_delimiter = ',', default_values = ["linux/amd64", "linux/arm64"])]
    pub(crate) platform: Vec<Platform>,
    /// Build these plugins only
    #[arg(long, value_delimiter = ',', value_name = "TYPE")]
    pub(crate) only: Vec<String>,
    /// Push over plain HTTP (loopback registries only)
    #[arg(long, requires = "push")]
    pub(crate) plain_http: bool,
}

/// One plugin for one platform, as it lies in `target/plugins`.
#[derive(Debug)]
struct Built {
    kind: String,
    platform: Platform,
    path: PathBuf,
    size: u64,
    sha256: String,
    budget: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// When a plugin does not build, is not static, is over its budget, or cannot be pushed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let metadata = workspace::metadata()?;
    let mut plugins = plugin::all(&metadata)?;
    if let Some(missing) =
        options.only.iter().find(|kind| !plugins.iter().any(|p| p.kind == **kind))
    {
        bail!("there is no plugin {missing} below plugins/");
    }
    plugins.retain(|plugin| options.only.is_empty() || options.only.contains(&plugin.kind));
    let built = build_all(&metadata, &plugins, &options.platform)?;
    match &options.push {
        Some(repository) => push(&plugins, &built, repository, options.plain_http),
        None => Ok(()),
    }
}

/// Builds the variants of plugins that tests run.
///
/// # Errors
/// When one does not build, is not static, or is over its budget.
pub(crate) fn variants(platform: Platform) -> Result<()> {
    let metadata = workspace::metadata()?;
    build_all(&metadata, &plugin::variants(&metadata)?, &[platform]).map(drop)
}

fn build_all(
    metadata: &Metadata,
    plugins: &[Plugin],
    platforms: &[Platform],
) -> Result<Vec<Built>> {
    let mut built = Vec::new();
    for plugin in plugins {
        for platform in platforms {
            println!("building {} for {platform}", plugin.folder());
            built.push(build(metadata, plugin, *platform)?);
        }
    }
    println!("{}", table(&built));
    let over = over_budget(&built);
    if !over.is_empty() {
        bail!("{}", over.join("\n"));
    }
    Ok(built)
}

/// The folder that built plugins lie in: `<type>/<os>-<arch>/<type>`.
pub(crate) fn folder(metadata: &Metadata) -> PathBuf {
    metadata.target_directory.join("plugins").into_std_path_buf()
}

fn build(metadata: &Metadata, plugin: &Plugin, platform: Platform) -> Result<Built> {
    let target = platform.rust_target();
    let mut cargo = workspace::cargo()?;
    cargo.args(["build", "--quiet", "--locked", "--profile", "plugin", "--target", target]);
    cargo.args(["--package", &plugin.package, "--bin", &plugin.kind]);
    cargo.args(workspace::nameless(platform)?);
    if !plugin.features.is_empty() {
        cargo.args(["--features", &plugin.features.join(",")]);
    }
    process::run(&mut cargo)
        .with_context(|| format!("cannot build the plugin {} for {platform}", plugin.kind))?;
    let made = metadata.target_directory.join(target).join("plugin").join(&plugin.kind);
    let path = folder(metadata).join(plugin.folder()).join(platform.folder()).join(&plugin.kind);
    place(made.as_std_path(), &path)?;
    describe(plugin, platform, path)
}

/// Copies under another name and renames, so that a plugin that runs right now keeps its file.
fn place(made: &Path, path: &Path) -> Result<()> {
    let draft = path.with_extension("draft");
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(made, &draft)
        .with_context(|| format!("cannot copy {} to {}", made.display(), draft.display()))?;
    fs::rename(&draft, path).with_context(|| format!("cannot write {}", path.display()))
}

fn describe(plugin: &Plugin, platform: Platform, path: PathBuf) -> Result<Built> {
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    elf::check_static(&bytes, platform)
        .with_context(|| format!("{} cannot run everywhere", path.display()))?;
    Ok(Built {
        kind: plugin.folder(),
        platform,
        path,
        size: bytes.len() as u64,
        sha256: sha256::of_bytes(&bytes),
        budget: plugin.budget,
    })
}

fn table(built: &[Built]) -> String {
    let head =
        format!("{:<22} {:<12} {:>9} {:>9}  {}", "plugin", "platform", "bytes", "budget", "sha256");
    let rows = built.iter().map(|one| {
        let budget = one.budget.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
        let platform = one.platform.to_string();
        format!("{:<22} {platform:<12} {:>9} {budget:>9}  {}", one.kind, one.size, one.sha256)
    });
    let lines: Vec<String> = [head].into_iter().chain(rows).collect();
    lines.join("\n")
}

/// One line for each that is too large.
fn over_budget(built: &[Built]) -> Vec<String> {
    let over = built.iter().filter(|one| one.budget.is_some_and(|budget| one.size > budget));
    let line = |one: &Built| {
        format!(
            "{} for {} is {} bytes, {} over its budget; make it smaller, or raise budget-bytes \
             in its Cargo.toml and say why",
            one.kind,
            one.platform,
            one.size,
            one.size - one.budget.unwrap_or_default()
        )
    };
    over.map(line).collect()
}

/// Builds `ratify` and lets it push each plugin with all its platforms.
fn push(plugins: &[Plugin], built: &[Built], repository: &str, plain_http: bool) -> Result<()> {
    let ratify = workspace::build_ratify()?;
    for plugin in plugins {
        if !plugin.is_pushed {
            println!("{} is not for others, so it is not pushed", plugin.kind);
            continue;
        }
        let of_this = |one: &&Built| one.kind == plugin.kind;
        let files: Vec<&Built> = built.iter().filter(of_this).collect();
        let mut command = Command::new(&ratify);
        command.args(push_arguments(plugin, &files, repository, plain_http));
        process::run(&mut command)
            .with_context(|| format!("cannot push {} to {repository}", plugin.kind))?;
    }
    Ok(())
}

fn push_arguments(
    plugin: &Plugin,
    files: &[&Built],
    repository: &str,
    plain_http: bool,
) -> Vec<String> {
    let reference = format!("{repository}/{}:{}", plugin.kind, plugin.version);
    let mut arguments =
        ["plugin", "push", &reference, "--type", &plugin.kind].map(str::to_owned).to_vec();
    arguments.extend(["--version".to_owned(), plugin.version.clone()]);
    if plugin.is_store {
        arguments.extend(["--kind", "store"].map(str::to_owned));
    }
    for file in files {
        arguments.push("--platform".to_owned());
        arguments.push(format!("{}={}", file.platform, file.path.display()));
    }
    if plain_http {
        arguments.push("--plain-http".to_owned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(size: u64, budget: Option<u64>) -> Built {
        Built {
            kind: "sample".to_owned(),
            platform: Platform::Amd64,
            path: "/out/sample".into(),
            size,
            sha256: "00ff".to_owned(),
            budget,
        }
    }

    #[test]
    fn a_plugin_one_byte_over_its_budget_is_named_and_one_within_it_is_not() {
        let all = [built(600_001, Some(600_000)), built(600_000, Some(600_000)), built(9, None)];
        let over = over_budget(&all);
        assert_eq!(over.len(), 1);
        assert!(over[0].starts_with("sample for linux/amd64 is 600001 bytes, 1 over"), "{over:?}");
    }

    #[test]
    fn the_table_has_a_row_for_each_plugin_and_platform() {
        let all = [built(521_000, Some(600_000)), built(9, None)];
        insta::assert_snapshot!(table(&all), @r"
        plugin                 platform         bytes    budget  sha256
        sample                 linux/amd64     521000    600000  00ff
        sample                 linux/amd64          9      none  00ff
        ");
    }

    #[test]
    fn ratify_is_told_every_platform_and_the_version() {
        let plugin = Plugin {
            package: "ratify-verifier-sample".to_owned(),
            kind: "sample".to_owned(),
            version: "0.1.0".to_owned(),
            features: Vec::new(),
            variant: None,
            is_store: false,
            is_pushed: true,
            is_in_image: true,
            budget: None,
        };
        let one = built(1, None);
        let words = push_arguments(&plugin, &[&one], "127.0.0.1:5000/plugins", true).join(" ");
        assert_eq!(
            words,
            "plugin push 127.0.0.1:5000/plugins/sample:0.1.0 --type sample --version 0.1.0 \
             --platform linux/amd64=/out/sample --plain-http"
        );
    }
}
