//! `cargo xtask demo`: the main job, end to end, on the embedded registry, with nothing but Rust
//! and a C compiler. It runs what a user runs, `ratify verify`, and shows what a user sees.
//! `cluster` is the same in a cluster, with the tools that `cargo xtask tools` brings: `server` is
//! its API server, `pod` what a node does.

mod cluster;
mod pod;
mod server;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use crate::build_plugins;
use crate::process;
use crate::workspace::{self, Platform};

/// The plugin, and where it is pushed.
const PLUGIN: &str = "sample";
const VERSION: &str = "1.0.0";
/// The type of the artifact that the plugin judges.
const ARTIFACT_TYPE: &str = "application/vnd.example.statement.v1+json";

/// What `cargo xtask demo` is told.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Delete the plugin from the registry first, and expect the demo to fail for that reason
    #[arg(long)]
    pub(crate) without_plugin: bool,
    /// Install the chart on a real API server, and ask as Gatekeeper does
    #[arg(long, conflicts_with = "without_plugin")]
    pub(crate) cluster: bool,
}

/// Runs the command.
///
/// # Errors
/// When something does not build, or the verdict is not the expected one.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.cluster {
        return cluster::run();
    }
    let Stage { ratify, folder, registry, plugin, image } = Stage::set()?;
    if options.without_plugin {
        registry.delete("plugins/sample", VERSION)?;
    }

    say("name the plugin in a configuration, and ask about the image");
    let config = folder.write("config.json", &configuration(&plugin))?;
    println!("{}", configuration(&plugin));
    let mut verify = Command::new(&ratify);
    verify.args(["verify", "--subject", &image, "--config"]).arg(&config);
    verify.env("RATIFY_CONFIG", &folder.0).env("HOME", &folder.0);
    verify.env("RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "1");
    println!("$ RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS=1 {}", process::line(&verify));
    judge(options, &mut verify)
}

/// What each way to show it needs: a built `ratify`, and a registry with the plugin and an image.
struct Stage {
    ratify: PathBuf,
    registry: Registry,
    folder: Folder,
    plugin: String,
    image: String,
}

impl Stage {
    fn set() -> Result<Self> {
        say("build `ratify`, and the plugin as a static program");
        let ratify = workspace::build_ratify()?;
        let platform = Platform::of_this_machine()?;
        build_plugins::run(&build_plugins::Options {
            push: None,
            only: vec![PLUGIN.to_owned()],
            platform: vec![platform],
            plain_http: false,
        })?;
        let folder = Folder::new()?;
        let registry = Registry::start(&ratify)?;

        say("push the plugin, and an image with an artifact attached to it");
        let plugin = format!("{}/plugins/{PLUGIN}:{VERSION}", registry.address);
        let program = build_plugins::folder(&workspace::metadata()?)
            .join(PLUGIN)
            .join(platform.folder())
            .join(PLUGIN);
        let program = format!("{platform}={}", program.display());
        let mut push = Command::new(&ratify);
        push.args(["plugin", "push", &plugin, "--type", PLUGIN, "--version", VERSION]);
        shown(push.args(["--platform", &program]))?;
        let image = format!("{}/demo/app:v1", registry.address);
        let statement = folder.write("statement.json", r#"{"says":"built from source"}"#)?;
        let attach = format!("{ARTIFACT_TYPE}={}", statement.display());
        shown(Command::new(&ratify).args(["dev", "image", &image, "--attach", &attach]))?;
        Ok(Self { ratify, registry, folder, plugin, image })
    }
}

/// What `ratify verify` says where a plugin cannot be had.
const NO_PLUGIN: &str = "DOWNLOAD_PLUGIN_FAILURE";

/// Runs `ratify verify`; its log goes to our standard error, its verdict to our standard output.
fn judge(options: &Options, verify: &mut Command) -> Result<()> {
    if options.without_plugin {
        let output = verify.stderr(Stdio::piped()).output().context("cannot start ratify")?;
        let log = String::from_utf8_lossy(&output.stderr);
        eprint!("{log}");
        check_failure(output.status.success(), &log)?;
        say(&format!("failed, as it must without its plugin ({})", output.status));
        return Ok(());
    }
    let verdict = process::capture(verify)?;
    println!("{verdict}");
    let verdict: serde_json::Value =
        serde_json::from_str(&verdict).context("the verdict is no JSON")?;
    if verdict["isSuccess"] != true {
        bail!("the verdict is not a success");
    }
    say("the image passed: the plugin was pulled, proven, run, and said yes");
    Ok(())
}

/// Another failure than for want of the plugin would prove nothing.
fn check_failure(succeeded: bool, log: &str) -> Result<()> {
    if succeeded {
        bail!("the plugin was deleted, and `ratify verify` did not fail");
    }
    if !log.contains(NO_PLUGIN) {
        bail!("`ratify verify` failed, but not for want of the plugin");
    }
    Ok(())
}

fn configuration(plugin: &str) -> String {
    let config = json!({
        "store": {"version": "1.0.0", "plugins": [{"name": "oras", "useHttp": true}]},
        "policy": {"version": "1.0.0", "plugin": {"name": "configPolicy"}},
        "registries": {"allowedAddresses": ["127.0.0.0/8"]},
        "verifier": {"version": "1.0.0", "plugins": [{
            "name": "demo",
            "type": PLUGIN,
            "artifactTypes": ARTIFACT_TYPE,
            "source": {"artifact": plugin},
        }]},
    });
    format!("{config:#}")
}

fn say(text: &str) {
    println!("\n==> {text}");
}

fn shown(command: &mut Command) -> Result<()> {
    println!("$ {}", process::line(command));
    process::run(command)
}

/// A folder for this run; removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let target = workspace::metadata()?.target_directory.into_std_path_buf();
        let folder = target.join(format!("demo-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind lies in target/, where nobody looks for anything.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `ratify dev registry`, ended with the demo.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start(ratify: &Path) -> Result<Self> {
        let mut command = Command::new(ratify);
        command.args(["dev", "registry", "--address", "127.0.0.1:0"]);
        command.env("RATIFY_LOG_LEVEL", "warn").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("cannot start the registry")?;
        let mut address = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut address)?;
        }
        let registry = Self { process, address: address.trim().to_owned() };
        if registry.address.is_empty() {
            bail!("the registry did not say where it listens");
        }
        Ok(registry)
    }

    fn delete(&self, repository: &str, tag: &str) -> Result<()> {
        let mut stream = TcpStream::connect(&self.address).context("cannot reach the registry")?;
        let host = &self.address;
        write!(
            stream,
            "DELETE /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 202") {
            bail!(
                "the registry did not delete {repository}:{tag}: {}",
                answer.lines().next().unwrap_or_default()
            );
        }
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_for_want_of_the_plugin_is_the_expected_one() {
        let error = "Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download the plugin: not found";
        assert!(check_failure(false, error).is_ok());
        assert!(check_failure(true, error).is_err());
        assert!(check_failure(false, "Error: CONFIG_INVALID: no store").is_err());
    }
}
