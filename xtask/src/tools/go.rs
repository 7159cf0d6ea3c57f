//! Programs built by Go, one after another, each in a folder of its own that is renamed into
//! place when it is whole. Always without cgo and stripped. Modules whose files are only read
//! stay in Go's own cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::cache::{self, Cache};
use super::parts::{GoModule, GoPart, GoSource};
use super::say;
use crate::process;
use crate::sha256;
use crate::workspace;

/// The oldest Go whose modules all parts build with.
const OLDEST: (u32, u32) = (1, 26);
/// Linker flags of every build.
const STRIPPED: &str = "-s -w";

/// What `go mod download -json` prints, as far as it is needed.
#[derive(Deserialize)]
struct Downloaded {
    #[serde(rename = "Dir")]
    folder: PathBuf,
}

/// Says what to install when Go is missing or too old.
///
/// # Errors
/// Exactly then.
pub(crate) fn check_version() -> Result<()> {
    let (major, minor) = OLDEST;
    let needed = format!("the tools need Go {major}.{minor} or newer on PATH");
    let printed =
        process::capture(Command::new("go").arg("version")).with_context(|| needed.clone())?;
    match version(&printed) {
        Some(found) if found >= OLDEST => Ok(()),
        _ => bail!("{needed}; `go version` says: {}", printed.trim()),
    }
}

/// Brings one part, unless it is there and whole, and returns the path of its program.
///
/// # Errors
/// When Go cannot build it; the end of Go's output is in the text.
pub(crate) fn bring(cache: &Cache, part: &GoPart) -> Result<PathBuf> {
    let started = Instant::now();
    let folder = cache.folder().join(format!("{}-{}", part.name, part.version));
    let program = folder.join(part.binary);
    let recipe = recipe(part)?;
    if cache.holds(&folder, part.binary, &recipe) {
        say(part.name, "present", None);
        return Ok(program);
    }
    println!("{:<28} building {}, about {} cold", part.name, part.version, part.cold);
    let draft = cache.folder().join(format!("{}-{}.draft", part.name, part.version));
    cache::remove(&draft)?;
    fs::create_dir_all(&draft).with_context(|| format!("cannot make {}", draft.display()))?;
    let log = cache.folder().join(format!("{}-{}.log", part.name, part.version));
    build(part, &draft, &log)
        .with_context(|| format!("cannot build {} {}", part.name, part.version))?;
    cache.put(&draft, &folder, part.binary, &recipe)?;
    fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
    say(part.name, "built", Some(started));
    Ok(program)
}

/// Downloads a module, unless it is there, and returns the folder of its source. Go checks what
/// it downloads.
///
/// # Errors
/// When Go cannot have it, or names no folder.
pub(crate) fn module(cache: &Cache, module: &GoModule) -> Result<PathBuf> {
    let started = Instant::now();
    let folder = download(cache.folder(), module.module, module.version)?;
    say(module.name, "downloaded or present", Some(started));
    Ok(folder)
}

/// The folder of a module's source in Go's cache, read-only; downloaded where it is not there.
fn download(at: &Path, module: &str, version: &str) -> Result<PathBuf> {
    let wanted = format!("{module}@{version}");
    // Asked for JSON, Go would keep the reason of a failure from the person who waits.
    process::run(go(at).args(["mod", "download", &wanted]))?;
    let printed = process::capture(go(at).args(["mod", "download", "-json", &wanted]))?;
    let Downloaded { folder } = serde_json::from_str(&printed)
        .with_context(|| format!("`go mod download -json {wanted}` printed: {printed}"))?;
    Ok(folder)
}

fn build(part: &GoPart, draft: &Path, log: &Path) -> Result<()> {
    let (linker, tags) = (linker_flags(part), part.tags.join(","));
    let flags = ["-ldflags", &linker, "-tags", &tags];
    match &part.source {
        GoSource::Published { package, version } => {
            let mut install = go(draft);
            install.env("GOBIN", draft).arg("install").args(flags);
            process::run_logged(install.arg(format!("{package}@{version}")), log, part.name)
        }
        GoSource::Copied { module, version, package } => {
            let copy = draft.join("source");
            copy_folder(&download(draft, module, version)?, &copy)?;
            let mut build = go(&copy);
            build.arg("build").args(flags).arg("-o").arg(draft.join(part.binary));
            process::run_logged(build.arg(format!("./{package}")), log, part.name)?;
            cache::remove(&copy)
        }
        GoSource::Ours { module, package } => {
            fs::create_dir_all(draft.join(package))?;
            for (name, content) in our_files(module, package)? {
                fs::write(draft.join(&name), content)
                    .with_context(|| format!("cannot write {name} to {}", draft.display()))?;
            }
            process::run_logged(go(draft).args(["mod", "tidy"]), log, part.name)?;
            let mut build = go(draft);
            build.arg("build").args(flags).args(["-o", part.binary]);
            process::run_logged(build.arg(format!("./{package}")), log, part.name)
        }
    }
}

/// Copies a folder of files and folders, as ones that may be written to.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let cannot = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(cannot)?;
    for entry in fs::read_dir(from).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let target = to.join(entry.file_name());
        if entry.file_type().with_context(cannot)?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            let content = fs::read(entry.path()).with_context(cannot)?;
            fs::write(&target, content).with_context(cannot)?;
        }
    }
    Ok(())
}

fn linker_flags(part: &GoPart) -> String {
    let stamps = part.stamps.iter().map(|stamp| format!(" -X {stamp}"));
    STRIPPED.to_owned() + &stamps.collect::<String>()
}

/// Go in this folder, whatever workspace or platform the user's environment names.
fn go(folder: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(folder).env("CGO_ENABLED", "0").env("GOWORK", "off");
    command.env_remove("GOOS").env_remove("GOARCH").env("GOFLAGS", "-buildvcs=false");
    command
}

/// A hash of everything that decides what a part becomes.
fn recipe(part: &GoPart) -> Result<String> {
    let mut text = format!("{} -ldflags {}\n", part.binary, linker_flags(part));
    if !part.tags.is_empty() {
        text.push_str(&format!("-tags {}\n", part.tags.join(",")));
    }
    match &part.source {
        GoSource::Published { package, version } => text.push_str(&format!("{package}@{version}")),
        GoSource::Copied { module, version, package } => {
            text.push_str(&format!("{module}@{version} {package}"));
        }
        GoSource::Ours { module, package } => {
            for (name, content) in our_files(module, package)? {
                text.push_str(&format!("{name}\n{content}"));
            }
        }
    }
    Ok(sha256::of_bytes(text.as_bytes()))
}

/// Our source of a package: names in the module's folder, and contents.
fn our_files(module: &str, package: &str) -> Result<Vec<(String, String)>> {
    let folder = workspace::root()?.join("xtask/go").join(module);
    let read = |name: String| {
        let path = folder.join(&name);
        let content =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((name, content))
    };
    ["go.mod".to_owned(), format!("{package}/main.go")].into_iter().map(read).collect()
}

/// Major and minor of what `go version` prints: `go version go1.26.8 linux/amd64`.
fn version(printed: &str) -> Option<(u32, u32)> {
    let word = printed.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let minor = word.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((1, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::parts;
    use super::*;

    #[test]
    fn a_stamp_is_a_flag_of_the_linker_and_changes_the_recipe() {
        let with = |stamps| GoPart {
            name: "a",
            version: "1",
            source: GoSource::Published { package: "example.com/a", version: "v1" },
            binary: "a",
            stamps,
            tags: &[],
            cold: "a second",
        };
        assert_eq!(linker_flags(&with(&[])), "-s -w");
        assert_eq!(linker_flags(&with(&["p.v=1", "p.w=2"])), "-s -w -X p.v=1 -X p.w=2");
        assert_ne!(recipe(&with(&[])).unwrap(), recipe(&with(&["p.v=1"])).unwrap());
        let tagged = GoPart { tags: &["without_much"], ..with(&[]) };
        assert_ne!(recipe(&with(&[])).unwrap(), recipe(&tagged).unwrap());
    }

    #[test]
    fn the_source_of_each_program_of_ours_is_in_this_tree_and_no_folder_takes_its_name() {
        for part in &parts::GO {
            let GoSource::Ours { module, package } = part.source else { continue };
            assert_eq!(our_files(module, package).unwrap().len(), 2, "{}", part.name);
            let first = package.split('/').next();
            assert_ne!(first, Some(part.binary), "`go build -o` would write into the folder");
        }
    }

    #[test]
    fn go_says_its_version_in_several_ways() {
        assert_eq!(version("go version go1.26.8 linux/amd64\n"), Some((1, 26)));
        assert_eq!(version("go version go1.27rc1 linux/arm64"), Some((1, 27)));
        assert_eq!(version("go version go1.19 linux/amd64"), Some((1, 19)));
        assert_eq!(version("gccgo (Debian 12.2.0)"), None);
    }
}
