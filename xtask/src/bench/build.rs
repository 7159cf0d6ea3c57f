//! The programs that are measured: ours, built as they ship, and the real parts that
//! `cargo xtask tools` brings.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::say;
use crate::build_plugins;
use crate::process;
use crate::tools;
use crate::workspace::{self, Platform};

/// Where every measured program lies.
pub(super) struct Programs {
    /// Our `ratify`, static, as released.
    pub(super) ratify: PathBuf,
    /// Our launcher, beside it.
    pub(super) launcher: PathBuf,
    /// Our sample plugin.
    pub(super) sample: PathBuf,
    /// The same with the stores linked in.
    pub(super) sample_with_store: PathBuf,
    /// Ratify v1.4.0.
    pub(super) v1: PathBuf,
    /// A sample plugin in Go that links v1's oras store.
    pub(super) v1_sample: PathBuf,
    /// v1's own sbom plugin.
    pub(super) v1_sbom: PathBuf,
    /// go-containerregistry's registry, with the Referrers API.
    pub(super) registry: PathBuf,
    /// Everything else that `cargo xtask tools` brings.
    pub(super) tools: tools::Paths,
}

/// What a part needs that can be measured alone.
pub(super) struct Both<'a> {
    /// Our `ratify`.
    pub(super) ratify: &'a Path,
    /// Our sample plugin.
    pub(super) sample: &'a Path,
    /// Ratify v1.4.0.
    pub(super) v1: &'a Path,
    /// Everything that `cargo xtask tools` brings.
    pub(super) tools: &'a tools::Paths,
}

impl<'a> Both<'a> {
    /// A program that `cargo xtask tools` brings.
    ///
    /// # Errors
    /// When it did not.
    pub(super) fn tool(&self, name: &str) -> Result<&'a Path> {
        let path = self.tools.get(name).map(PathBuf::as_path);
        path.with_context(|| format!("`cargo xtask tools` brings no {name}"))
    }
}

/// Builds our program and our sample plugin, or takes this `ratify`.
///
/// # Errors
/// As [`all`].
pub(super) fn for_one_part(given: Option<&Path>) -> Result<[PathBuf; 2]> {
    let platform = Platform::of_this_machine()?;
    let ratify = match given {
        Some(path) => path.to_owned(),
        None => {
            say("build `ratify`, as it ships");
            let [ratify, _] = workspace::build_static_ratify(platform)?;
            ratify
        }
    };
    Ok([ratify, sample(platform)?])
}

/// Builds ours and finds the others.
///
/// # Errors
/// When something does not build, or `cargo xtask tools` brought no such part.
pub(super) fn all() -> Result<Programs> {
    let platform = Platform::of_this_machine()?;
    say("build `ratify` and the plugins, as they ship");
    let target = workspace::metadata()?.target_directory.into_std_path_buf();
    let [ratify, launcher] = workspace::build_static_ratify(platform)?;
    let sample_with_store = sample_with_store(&target, platform)?;
    let sample = sample(platform)?;
    let parts = parts()?;
    let part = |name: &str| {
        parts.get(name).cloned().with_context(|| format!("`cargo xtask tools` brings no {name}"))
    };
    Ok(Programs {
        ratify,
        launcher,
        sample,
        sample_with_store,
        v1: part("ratify-v1")?,
        v1_sample: part("v1-sample-oras")?,
        v1_sbom: part("v1-sbom")?,
        registry: part("registry-referrers")?,
        tools: parts,
    })
}

/// The sample plugin, as it ships.
fn sample(platform: Platform) -> Result<PathBuf> {
    build_plugins::run(&build_plugins::Options {
        push: None,
        only: vec!["sample".to_owned()],
        platform: vec![platform],
        plain_http: false,
    })?;
    let target = workspace::metadata()?.target_directory.into_std_path_buf();
    Ok(target.join("plugins/sample").join(platform.folder()).join("sample"))
}

/// The sample with feature `v1-host`. cargo gives it the plain sample's path, so it is copied away.
fn sample_with_store(target: &Path, platform: Platform) -> Result<PathBuf> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["build", "--locked", "--profile", "plugin", "--target", platform.rust_target()]);
    cargo.args(["--package", "ratify-verifier-sample", "--bin", "sample"]);
    cargo.args(["--features", "v1-host"]).args(workspace::nameless(platform)?);
    process::run(&mut cargo)?;
    let made = target.join(platform.rust_target()).join("plugin/sample");
    let folder = target.join("bench");
    let path = folder.join("sample-v1-host");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(&made, &path)
        .with_context(|| format!("cannot copy {} to {}", made.display(), path.display()))?;
    Ok(path)
}

/// The bare handler, and who asks it and the others, built as `ratify` is.
///
/// # Errors
/// When it does not build.
pub(super) fn yardstick() -> Result<PathBuf> {
    let platform = Platform::of_this_machine()?;
    let mut cargo = workspace::cargo()?;
    cargo.args(["build", "--locked", "--package", "ratify-controller", "--example", "yardstick"]);
    cargo.args(["--profile", "release", "--target", platform.rust_target()]);
    process::run(cargo.args(workspace::nameless(platform)?))?;
    let target = workspace::metadata()?.target_directory.into_std_path_buf();
    Ok(target.join(platform.rust_target()).join("release/examples/yardstick"))
}

/// What `cargo xtask tools` brought.
///
/// # Errors
/// When it did not run.
pub(super) fn parts() -> Result<tools::Paths> {
    let file = tools::map_file()?;
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no map", file.display()))
}
