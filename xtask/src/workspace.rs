//! Where the tree is, what cargo says about it, and cargo itself for each platform.

use std::env;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::process;

/// A platform that plugins and `ratify` are built for, always static.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    /// `linux/amd64`.
    Amd64,
    /// `linux/arm64`.
    Arm64,
}

impl Platform {
    /// The platform of this machine.
    ///
    /// # Errors
    /// When it is none that plugins are built for.
    pub(crate) fn of_this_machine() -> Result<Self> {
        match env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => Err(anyhow!("plugins are built for x86_64 and aarch64, and this is {other}")),
        }
    }

    /// Rust's name of the static target.
    pub(crate) fn rust_target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// The machine number in an ELF header (System V ABI: EM_X86_64, EM_AARCH64).
    pub(crate) fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }

    /// Its architecture, as Go and OCI name it.
    pub(crate) fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name of a folder for this platform: `linux-amd64`.
    pub(crate) fn folder(self) -> String {
        self.to_string().replace('/', "-")
    }
}

impl Display for Platform {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        })
    }
}

impl FromStr for Platform {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Amd64, Self::Arm64];
        all.into_iter()
            .find(|platform| platform.to_string() == text)
            .ok_or_else(|| anyhow!("no such platform; there are linux/amd64 and linux/arm64"))
    }
}

/// The root of the tree. cargo says where this package is when it runs us; by hand, the
/// current directory is taken.
///
/// # Errors
/// When there is no current directory.
pub(crate) fn root() -> Result<PathBuf> {
    match env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => Ok(Path::new(&package).parent().map(Path::to_owned).unwrap_or_default()),
        None => env::current_dir().context("there is no current directory"),
    }
}

/// cargo at the root of the tree. What cargo told us about this package is not passed on.
///
/// # Errors
/// As [`root`].
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()?);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    Ok(command)
}

/// What cargo knows about the workspace, dependencies included.
///
/// # Errors
/// When `cargo metadata` fails, most often because Cargo.lock is older than the manifests.
pub(crate) fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .current_dir(root()?)
        .exec()
        .context("cannot read the workspace; does `cargo metadata` work?")
}

/// Arguments for cargo by which programs are built of what tests are built of. Features unify over the
/// packages that are named and, where an example may be built, over what tests need: with other features
/// some forty crates, the largest of ours among them, are compiled once more.
pub(crate) const AS_FOR_TESTS: [&str; 4] = ["build", "--locked", "--workspace", "--examples"];

/// Builds the controller's programs and returns the path of `ratify`.
///
/// # Errors
/// When they do not build.
pub(crate) fn build_ratify() -> Result<PathBuf> {
    let programs = ["--bin", "ratify", "--bin", "ratify-launch"];
    process::run(cargo()?.args(AS_FOR_TESTS).args(programs))?;
    let ratify = metadata()?.target_directory.join("debug/ratify");
    Ok(ratify.into_std_path_buf())
}

/// Builds the controller's programs as they ship, static, into one folder: `ratify` for speed, and
/// the launcher, which runs before each plugin, as small as a plugin. Their paths come back.
///
/// # Errors
/// When they do not build.
pub(crate) fn build_static_ratify(platform: Platform) -> Result<[PathBuf; 2]> {
    for (program, flags) in [("ratify", &[][..]), ("ratify-launch", &SMALL[..])] {
        let mut cargo = cargo()?;
        cargo.args(["rustc", "--locked", "--package", "ratify-controller", "--bin", program]);
        cargo.args(["--profile", "release", "--target", platform.rust_target()]);
        process::run(cargo.args(nameless(platform)?).arg("--").args(flags))?;
    }
    static_ratify(platform)
}

/// What makes one program of profile `release` as small as profile `plugin` would, without building
/// everything below it a second time.
const SMALL: [&str; 4] = ["-Copt-level=s", "-Cpanic=abort", "-Clto=fat", "-Ccodegen-units=1"];

/// Arguments for cargo by which a program does not say where on this machine it was built: its
/// panics name source files, and two machines are to build the same bytes.
///
/// # Errors
/// When neither `CARGO_HOME` nor `HOME` says where cargo keeps its sources.
pub(crate) fn nameless(platform: Platform) -> Result<[String; 2]> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let sources = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let sources = sources.context("neither CARGO_HOME nor HOME is set")?;
    let flag = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let flags = [flag(&sources, "/cargo"), flag(&root()?, "/ratify")];
    // A list of strings is written the same in JSON and in TOML.
    let flags = serde_json::to_string(&flags)?;
    let setting = format!("target.{}.rustflags={flags}", platform.rust_target());
    Ok(["--config".to_owned(), setting])
}

/// Where [`build_static_ratify`] puts the controller's programs.
///
/// # Errors
/// As [`metadata`].
pub(crate) fn static_ratify(platform: Platform) -> Result<[PathBuf; 2]> {
    let target = metadata()?.target_directory.into_std_path_buf().join(platform.rust_target());
    let folder = target.join("release");
    Ok([folder.join("ratify"), folder.join("ratify-launch")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_read_as_it_is_written() {
        for platform in [Platform::Amd64, Platform::Arm64] {
            assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
        }
        assert!("linux/riscv64".parse::<Platform>().is_err());
    }
}
