//! The programs of the image: built static, and laid out under `/app`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::Tree;
use super::read;
use crate::build_plugins::{self, elf, plugin};
use crate::process;
use crate::workspace::{self, Platform};

/// The most bytes that a program of the controller may have, static and stripped. Signatures (X.509, CMS,
/// COSE, Sigstore, PKCS#12) brought 3.5 MB of it.
pub(crate) const BUDGET: usize = 26_000_000;

/// Builds every program and plugin of the image. A `ratify` that runs on this machine comes back.
///
/// # Errors
/// When something does not build, or is not static.
pub(crate) fn build(platforms: &[Platform]) -> Result<PathBuf> {
    for platform in platforms {
        check_compiler(*platform)?;
    }
    let plugins = plugin::all(&workspace::metadata()?)?;
    let shipped = plugins.into_iter().filter(|plugin| plugin.is_in_image);
    build_plugins::run(&build_plugins::Options {
        push: None,
        only: shipped.map(|plugin| plugin.kind).collect(),
        platform: platforms.to_vec(),
        plain_http: false,
    })?;
    for platform in platforms {
        static_programs(*platform)?;
    }
    match Platform::of_this_machine() {
        Ok(here) if platforms.contains(&here) => {
            let [ratify, _] = workspace::static_ratify(here)?;
            Ok(ratify)
        }
        _ => workspace::build_ratify(),
    }
}

/// TLS is partly C. Without its compiler a build ends deep in somebody else's build script.
fn check_compiler(platform: Platform) -> Result<()> {
    let (compiler, packages) = match platform {
        Platform::Amd64 => ("musl-gcc", "musl-tools"),
        Platform::Arm64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
    };
    process::capture(Command::new(compiler).arg("--version")).map(drop).with_context(|| {
        format!(
            "the image for {platform} needs {compiler} (apt-get install {packages}, or `cargo \
             xtask tools`); leave the platform out with --platform"
        )
    })
}

/// Builds `ratify` as it ships.
fn static_programs(platform: Platform) -> Result<[PathBuf; 2]> {
    let built = workspace::build_static_ratify(platform)
        .with_context(|| format!("there is no ratify for {platform}"))?;
    for program in &built {
        elf::check_static(&read(program)?, platform)
            .with_context(|| format!("{} cannot run everywhere", program.display()))?;
    }
    Ok(built)
}

/// Builds `ratify` as it ships, and holds it to its size.
///
/// # Errors
/// When it does not build, is not static, or is too large.
pub(crate) fn within_budget(platform: Platform) -> Result<()> {
    for program in static_programs(platform)? {
        let size = read(&program)?.len();
        println!("{}: {size} bytes, at most {BUDGET}", program.display());
        if size > BUDGET {
            bail!("{} is over its budget; see what the last change brought in", program.display());
        }
    }
    Ok(())
}

/// The programs, and the definitions where v1's hook looks for them.
///
/// # Errors
/// When a program cannot be read.
pub(crate) fn tree(platform: Platform, definitions: &BTreeMap<String, Vec<u8>>) -> Result<Tree> {
    let mut tree = Tree::default();
    let [ratify, launcher] = workspace::static_ratify(platform)?;
    for (name, program) in [("app/ratify", ratify), ("app/ratify-launch", launcher)] {
        tree.file(name, 0o755, read(&program)?);
    }
    for (name, definition) in definitions {
        tree.file(&format!("crds/{name}"), 0o644, definition.clone());
    }
    Ok(tree)
}
