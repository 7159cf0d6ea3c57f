//! `cargo xtask image`: the images `ratify` and `ratify-crds`, for every platform, without a
//! container engine. Both have the same layers and differ in what they run.
//!
//! - `base`: what lies below the programs; `archive`: files become a layer;
//! - `layout`: layers become an OCI image layout; `programs`: what is built.

mod archive;
mod base;
mod layout;
mod programs;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build_plugins::{self, plugin};
use crate::process;
use crate::workspace::{self, Platform};
use archive::{Layer, Tree};
use layout::{Image, Labels, Layout, Nothing, Run};
pub(crate) use programs::{BUDGET, within_budget};

/// What `cargo xtask image` is told.
#[derive(Args)]
pub(crate) struct Options {
    /// Push the image to this reference, and `ratify-crds` to the repository `<this>-crds`
    #[arg(long, value_name = "REGISTRY/REPO:TAG", value_parser = crds_reference)]
    pub(crate) push: Option<Pushed>,
    /// Platforms to build for
    #[arg(long, value_delimiter = ',', default_values = ["linux/amd64", "linux/arm64"])]
    pub(crate) platform: Vec<Platform>,
}

/// Where the two images are pushed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pushed {
    image: String,
    crds: String,
}

/// The two images as layouts.
struct Layouts {
    image: Layout,
    crds: Layout,
}

/// Runs the command.
///
/// # Errors
/// When something does not build, or cannot be written or pushed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut platforms = options.platform.clone();
    platforms.sort_by_key(|platform| platform.folder());
    platforms.dedup();
    let ratify = programs::build(&platforms)?;
    let layouts = layouts(&ratify, &platforms)?;
    for (folder, layout) in [(folder()?, layouts.image), (crds_folder()?, layouts.crds)] {
        layout.write(&folder)?;
        println!("{}", folder.display());
    }
    let Some(pushed) = &options.push else { return Ok(()) };
    for (folder, reference) in [(folder()?, &pushed.image), (crds_folder()?, &pushed.crds)] {
        let mut push = Command::new(&ratify);
        push.args(["dev", "push-layout"]).arg(folder).arg(reference);
        process::run(&mut push)?;
    }
    Ok(())
}

/// Makes both layouts again, of what is built already, and fails unless every byte is the same.
///
/// # Errors
/// When a file differs; the text names it.
pub(crate) fn check_same(platforms: &[Platform]) -> Result<()> {
    let ratify = programs::build(platforms)?;
    let (one, other) = (layouts(&ratify, platforms)?, layouts(&ratify, platforms)?);
    let differing = one.image.differences(&other.image);
    let differing = [differing, one.crds.differences(&other.crds)].concat();
    if !differing.is_empty() {
        bail!("two builds of the image differ in {}", differing.join(", "));
    }
    Ok(())
}

/// The layout of `ratify`.
///
/// # Errors
/// When there is no target folder.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(workspace::metadata()?.target_directory.join("image").into_std_path_buf())
}

/// The layout of `ratify-crds`, beside the other.
fn crds_folder() -> Result<PathBuf> {
    Ok(folder()?.with_file_name("image-crds"))
}

fn layouts(ratify: &Path, platforms: &[Platform]) -> Result<Layouts> {
    let time = time_of_source()?;
    let root = workspace::root()?;
    let base = base::tree(&root)?.layer("accounts, certificate authorities, time zones", time)?;
    let definitions = definitions(ratify)?;
    let mut own: Vec<(Platform, [Layer; 2])> = Vec::new();
    for platform in platforms {
        let plugins = plugins(*platform)?.layer("plugins", time)?;
        let programs = programs::tree(*platform, &definitions)?;
        let programs = programs.layer("ratify, and the definitions of its resources", time)?;
        own.push((*platform, [plugins, programs]));
    }
    let mut all: Vec<(Platform, Vec<&Layer>)> = Vec::new();
    for (platform, [plugins, programs]) in &own {
        all.push((*platform, vec![&base, plugins, programs]));
    }
    let layout = |title, run| Layout::new(&image(time, title, run)?, &all);
    Ok(Layouts { image: layout("ratify", server())?, crds: layout("ratify-crds", hook())? })
}

/// The plugins that are for anyone and not built in, where `ratify` looks beside itself.
fn plugins(platform: Platform) -> Result<Tree> {
    let metadata = workspace::metadata()?;
    let mut tree = Tree::default();
    tree.folder("app/plugins", 0o755, archive::ROOT);
    for plugin in plugin::all(&metadata)?.iter().filter(|plugin| plugin.is_in_image) {
        let folder = build_plugins::folder(&metadata).join(plugin.folder());
        let path = folder.join(platform.folder()).join(&plugin.kind);
        tree.file(&format!("app/plugins/{}", plugin.kind), 0o755, read(&path)?);
    }
    Ok(tree)
}

/// The definitions of the custom resources by their files' names, as this build prints them.
fn definitions(ratify: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = folder()?.with_file_name(format!("image-definitions-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let printed = process::run(Command::new(ratify).args(["crds", "print", "-o"]).arg(&folder));
    let read_all = || {
        let mut definitions = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            definitions.insert(name, read(&path)?);
        }
        Ok(definitions)
    };
    let definitions = printed.and_then(|()| read_all());
    // What is left behind lies in target/, where nobody looks for anything.
    let _ = fs::remove_dir_all(&folder);
    definitions
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Serves as v1's image does: by a configuration file, unless the arguments say otherwise.
fn server() -> Run {
    Run {
        exposed_ports: [("6001/tcp", Nothing {}), ("8888/tcp", Nothing {})].into(),
        entrypoint: vec!["/app/ratify"],
        cmd: vec!["serve", "--http", ":6001"],
        ..ratify()
    }
}

/// Takes the arguments that v1's hook gives to kubectl: `apply -f crds/`.
fn hook() -> Run {
    Run { entrypoint: vec!["/app/ratify", "crds"], ..ratify() }
}

fn ratify() -> Run {
    Run {
        user: "65532:65532",
        exposed_ports: BTreeMap::new(),
        env: vec![
            "PATH=/app:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "RATIFY_CONFIG=/.ratify/",
        ],
        entrypoint: Vec::new(),
        cmd: Vec::new(),
        working_dir: "/",
    }
}

fn image(time: u64, title: &str, run: Run) -> Result<Image> {
    let created = jiff::Timestamp::from_second(i64::try_from(time)?)?.to_string();
    let version = env!("CARGO_PKG_VERSION");
    let described = match title {
        "ratify" => "Verifies what proves that a container image may be trusted",
        _ => "Applies the definitions of Ratify's custom resources",
    };
    let mut labels = Labels::from([
        ("org.opencontainers.image.created", created.clone()),
        ("org.opencontainers.image.description", described.to_owned()),
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
        ("org.opencontainers.image.title", title.to_owned()),
        ("org.opencontainers.image.version", version.to_owned()),
    ]);
    // A tree that did not come from git has no revision, and one that was changed says so.
    if let Ok(mut revision) = git(&["rev-parse", "HEAD"]) {
        if !git(&["status", "--porcelain"])?.is_empty() {
            revision.push_str("-changed");
        }
        labels.insert("org.opencontainers.image.revision", revision);
    }
    Ok(Image { name: version.to_owned(), created, labels, run })
}

/// The time that every file of the image has: `SOURCE_DATE_EPOCH`, or else the commit's.
fn time_of_source() -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => git(&["log", "-1", "--format=%ct"])
            .context("set SOURCE_DATE_EPOCH: this tree does not come from git")?,
    };
    text.parse().with_context(|| format!("{text:?} is no number of seconds since 1970"))
}

fn git(arguments: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(workspace::root()?);
    Ok(process::capture(&mut git)?.trim().to_owned())
}

/// Where `ratify-crds` goes when `ratify` goes to this reference: v1's names.
fn crds_reference(image: &str) -> Result<Pushed> {
    let (registry, name) = image.rsplit_once('/').context("write it as REGISTRY/REPO:TAG")?;
    let (repository, tag) = name.split_once(':').context("it needs a tag: REGISTRY/REPO:TAG")?;
    if registry.is_empty() || repository.is_empty() || tag.is_empty() || image.contains('@') {
        bail!("write it as REGISTRY/REPO:TAG");
    }
    let crds = format!("{registry}/{repository}-crds:{tag}");
    Ok(Pushed { image: image.to_owned(), crds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_image_is_pushed_beside_the_first_under_the_same_tag() {
        let pushed = crds_reference("127.0.0.1:5000/ratify/ratify:v1").unwrap();
        assert_eq!(pushed.crds, "127.0.0.1:5000/ratify/ratify-crds:v1");
        for text in ["ratify:v1", "127.0.0.1:5000/ratify", "h/r:", "h/:v1", "h/r@sha256:0", "/r:1"]
        {
            assert!(crds_reference(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_containerfile_runs_as_the_images_do() {
        let text = include_str!("../../../ratify-controller/Containerfile");
        let mut expected = vec![format!("USER {}", ratify().user)];
        expected.push(format!("WORKDIR {}", ratify().working_dir));
        expected.extend(ratify().env.iter().map(|variable| format!("ENV {variable}")));
        expected.extend(server().exposed_ports.keys().map(|port| format!("EXPOSE {port}")));
        let list = |words: &[&str]| serde_json::to_string(words).unwrap();
        expected.push(format!("ENTRYPOINT {}", list(&server().entrypoint)));
        expected.push(format!("CMD {}", list(&server().cmd)));
        expected.push(format!("ENTRYPOINT {}", list(&hook().entrypoint)));
        for line in expected {
            assert!(text.lines().any(|one| one == line), "{line}");
        }
    }

    #[test]
    fn an_image_is_written_down_the_same_each_time_and_says_how_it_runs() {
        let image =
            Image { name: "1".into(), created: "t".into(), labels: Labels::new(), run: server() };
        let mut tree = Tree::default();
        tree.file("app/ratify", 0o755, b"program".to_vec());
        let (one, other) = (tree.layer("a", 7).unwrap(), tree.layer("a", 7).unwrap());
        let layout = |layer| Layout::new(&image, &[(Platform::Amd64, vec![layer])]).unwrap();
        assert_eq!(layout(&one).differences(&layout(&other)), [""; 0]);
        let later = tree.layer("a", 8).unwrap();
        assert_ne!(layout(&one).differences(&layout(&later)), [""; 0]);
    }
}
