//! Programs built by Go, one after another, each in a folder of its own that is renamed into
//! place when it is whole. Always without cgo and stripped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::cache::{self, Cache};
use super::parts::{GoPart, GoSource};
use super::say;
use crate::process;
use crate::sha256;
use crate::workspace;

/// The oldest Go whose modules all parts build with.
const OLDEST: (u32, u32) = (1, 26);
/// Flags of every build.
const FLAGS: [&str; 2] = ["-ldflags", "-s -w"];

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

fn build(part: &GoPart, draft: &Path, log: &Path) -> Result<()> {
    match &part.source {
        GoSource::Published { package, version } => {
            let mut install = go(draft);
            install.env("GOBIN", draft).arg("install").args(FLAGS);
            process::run_logged(install.arg(format!("{package}@{version}")), log, part.name)
        }
        GoSource::Ours => {
            for (name, content) in our_files(part.name)? {
                fs::write(draft.join(&name), content)?;
            }
            process::run_logged(go(draft).args(["mod", "tidy"]), log, part.name)?;
            let mut build = go(draft);
            build.arg("build").args(FLAGS).args(["-o", part.binary, "."]);
            process::run_logged(&mut build, log, part.name)
        }
    }
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
    let mut text = format!("{} {}\n", part.binary, FLAGS.join(" "));
    match &part.source {
        GoSource::Published { package, version } => text.push_str(&format!("{package}@{version}")),
        GoSource::Ours => {
            for (name, content) in our_files(part.name)? {
                text.push_str(&format!("{name}\n{content}"));
            }
        }
    }
    Ok(sha256::of_bytes(text.as_bytes()))
}

/// Our source of this part: names and contents, sorted.
fn our_files(name: &str) -> Result<Vec<(String, String)>> {
    let folder = workspace::root()?.join("xtask/go").join(name);
    let read = |name: &str| {
        let path = folder.join(name);
        let content =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((name.to_owned(), content))
    };
    ["go.mod", "main.go"].into_iter().map(read).collect()
}

/// Major and minor of what `go version` prints: `go version go1.26.8 linux/amd64`.
fn version(printed: &str) -> Option<(u32, u32)> {
    let word = printed.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let minor = word.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((1, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_says_its_version_in_several_ways() {
        assert_eq!(version("go version go1.26.8 linux/amd64\n"), Some((1, 26)));
        assert_eq!(version("go version go1.27rc1 linux/arm64"), Some((1, 27)));
        assert_eq!(version("go version go1.19 linux/amd64"), Some((1, 19)));
        assert_eq!(version("gccgo (Debian 12.2.0)"), None);
    }
}
