//! The program as its user runs it: arguments, files, environment, exit code, stdout, stderr.
//!
//! - `main_job`: a plugin is pushed, named, pulled, proven, run, and decides, by `verify` and by
//!   `serve`; `foreign`: the same on registries and with clients that are not ours; `reload`: the
//!   plugin changes under a server that is asked all the time; `serving`: it begins and ends.
//! - `cluster`: the main job by custom resources, on a real API server; `samples`: every sample
//!   resource of v1, and v1alpha1; `faults`: the same when the API server, the registry or the
//!   process itself fails.
//! - `keys`: what keys come from, as resources.
//! - `denied`: a rule that comes into force takes what it denies out of force, and the other way;
//!   `tenants`: the attacks of a namespace administrator; `loads`: the record of what was loaded.
//! - `notation`: plugins of Notation, which the verifier `notation` asks.
//! - `signed`: plugins that must be signed; `locked`: those that a lock file names.
//! - `credentials`: several registries, several passwords, and programs that give them out;
//!   `registries`: when a change of the files about registries counts.
//! - `image`: the image, as it runs in a cluster; `layout`: a layout in place of a registry.
//! - `late`: what is judged late, under every policy; `again`: who asks again for it.
//! - `fair`: a registry that answers late or never, no descriptors, an end under load; `trouble`: what
//!   else can fail around a server, which is then right again by itself; `proxy`: what lets it fail.
//! - `lies`: a registry that lies about the image and what is attached to it, on each path.
//! - `cache`: many processes on one cache directory, killed at random; `kept`: the cache of verdicts.
//! - `words`, `files`, `names`, `directories`, `answers`: bad input, a table each.
//! - `metrics`: what a server shows of itself.
//! - `traces`: traces and the log's ids, to a collector; `explain`: a verdict as a tree.
//! - `migrate`: what is said of v1's own configurations, values and chart; `doctor`: what is said of
//!   one set-up after another, each with a fault.
//! - `secrets`: what a plugin sees of the process that runs it.

// Helpers of tests count as tests.
#![allow(clippy::unwrap_used)]

mod again;
mod answers;
mod cache;
mod cluster;
mod credentials;
mod denied;
mod directories;
mod doctor;
mod explain;
mod fair;
mod faults;
mod files;
mod foreign;
mod image;
mod kept;
mod keys;
mod late;
mod layout;
mod lies;
mod loads;
mod locked;
mod main_job;
mod metrics;
mod migrate;
mod names;
mod notation;
mod passed;
mod proxy;
mod registries;
mod reload;
mod samples;
mod secrets;
mod server;
mod serving;
pub(crate) mod signed;
mod tenants;
#[cfg(feature = "otlp")]
mod traces;
mod trouble;
mod words;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use ratify_controller::dev::{REMOTE_TEXT, RunningRegistry};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{host, parity::machines::NAME};
use server::Server;

/// The type of what is attached to the images of these tests.
const STATEMENT: &str = "application/vnd.example.statement.v1+json";
/// Accepts whatever it is asked about, so that nothing but Ratify itself refuses.
const YES: &str = r#"cat >/dev/null; echo '{"isSuccess":true,"message":"yes"}'"#;

/// A user: a home, an environment, and nothing else of this machine.
struct Home {
    folder: tempfile::TempDir,
    program: PathBuf,
    variables: Vec<(String, String)>,
    /// What is put in front of each command: `setpriv --reuid 65532`.
    prefix: Vec<String>,
}

/// What a command came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
            program: env!("CARGO_BIN_EXE_ratify").into(),
            variables: Vec::new(),
            prefix: Vec::new(),
        };
        fs::create_dir_all(home.plugins()).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The default plugin directory.
    fn plugins(&self) -> PathBuf {
        self.path().join(".ratify/plugins")
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Switches `source` of a configuration on.
    fn allow_sources(&mut self) {
        self.set("RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "1");
    }

    /// Docker's configuration gets a password.
    fn log_in(&self, registry: &str, user: &str, password: &str) {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let folder = self.path().join(".docker");
        fs::create_dir_all(&folder).unwrap();
        let auths = json!({"auths": {registry: {"auth": auth}}});
        fs::write(folder.join("config.json"), auths.to_string()).unwrap();
    }

    fn link_plugin(&self, name: &str, program: &Path) {
        symlink(program, self.plugins().join(name)).unwrap();
    }

    fn script_plugin(&self, name: &str, body: &str) {
        host::script(&self.plugins(), name, body);
    }

    /// Makes [`NAME`] mean this machine, for commands of this home: the certificates of loopback
    /// hosts are not checked, as in v1. The reason is returned where the kernel forbids it.
    async fn know_by_name(&mut self) -> Result<(), String> {
        let hosts = self.write("hosts", format!("127.0.0.1 {NAME}\n"));
        self.prefix_mounting(&format!("mount --bind {} /etc/hosts", hosts.display())).await
    }

    /// Runs each command where something else is mounted, seen by nobody else.
    async fn prefix_mounting(&mut self, mount: &str) -> Result<(), String> {
        let unshare = if host::is_root() { "-m" } else { "-rm" };
        let script = format!(r#"{mount} && exec "$@""#);
        let words = ["unshare", unshare, "sh", "-c", &script, "sh"];
        let tried = Command::new(words[0]).args(&words[1..]).arg("true").output().await;
        let tried = tried.map_err(|error| error.to_string())?;
        if !tried.status.success() {
            return Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
        }
        self.prefix = words.map(str::to_owned).to_vec();
        Ok(())
    }

    /// Writes the configuration that commands read by default. The registries of tests are on
    /// loopback, where a server asks none unless it is listed.
    fn configure(&self, config: &Value) {
        self.write(".ratify/config.json", with_loopback(config).to_string());
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = self.program.to_str().unwrap();
        let mut words = self.prefix.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(arguments).env_clear().current_dir(self.path());
        command.env("HOME", self.path()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs to the end, which is soon; a command that hangs fails the test.
    async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        let ended = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
        let output = ended.unwrap_or_else(|_| panic!("{arguments:?} hangs")).unwrap();
        let ran = Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(!ran.stderr.contains("panicked at"), "{arguments:?}: {}", ran.stderr);
        ran
    }

    /// Runs what has to succeed; its stdout is returned.
    async fn must(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        ran.stdout
    }

    async fn verify(&self, subject: &str) -> Ran {
        self.run(&["verify", "--subject", subject]).await
    }
}

impl Ran {
    /// The error, which is the last thing on stderr; empty where there is none.
    fn error(&self) -> &str {
        let at = self.stderr.rfind("\nError: ").map(|at| at + 1);
        let at = at.or_else(|| self.stderr.starts_with("Error: ").then_some(0));
        at.map(|at| self.stderr[at..].trim_end()).unwrap_or_default()
    }

    /// The verdict of `ratify verify`.
    fn verdict(&self) -> Value {
        let read = serde_json::from_str(&self.stdout);
        read.unwrap_or_else(|error| panic!("{error}: {:?} {}", self.stdout, self.stderr))
    }

    fn is_success(&self) -> bool {
        self.code == Some(0) && self.verdict()["isSuccess"] == true
    }

    /// Why the verdict is what it is: the error, or else what each report says.
    fn reason(&self) -> String {
        if self.code != Some(0) {
            return self.error().to_owned();
        }
        let verdict = self.verdict();
        let reports = verdict["verifierReports"].as_array().cloned().unwrap_or_default();
        let texts = reports.iter().map(|report| {
            let part = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
            let parts = [part("message"), part("errorReason")];
            parts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
        });
        texts.collect::<Vec<_>>().join("; ")
    }

    /// T9: nothing of what a registry wrote, and nothing that moves a cursor.
    fn has_no_text_of_the_registry(&self) {
        for text in [&self.stdout, &self.stderr] {
            assert!(!text.contains(REMOTE_TEXT), "{text}");
            assert!(!text.contains("text of the registry"), "{text}");
            assert!(!text.contains("forged"), "{text}");
            let control = text.chars().find(|&c| c.is_control() && c != '\n');
            assert_eq!(control, None, "{text:?}");
        }
    }

    /// Exit code, stdout and error, without what differs from run to run.
    fn shown(&self, home: &Home) -> String {
        let home = home.path().display().to_string();
        let (code, stdout, error) = (self.code, self.stdout.trim_end(), self.error());
        let code = code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
        let text = format!("[{code}] {stdout}{error}").replace(&home, "<home>");
        without_ports(&text)
    }
}

/// A configuration that lets a server ask the registries of tests.
pub(super) fn with_loopback(config: &Value) -> Value {
    let mut config = config.clone();
    if let Value::Object(sections) = &mut config {
        let listed = json!({"allowedAddresses": ["127.0.0.0/8", "::1"]});
        sections.entry("registries").or_insert(listed);
    }
    config
}

/// The configuration of most tests: the built-in store, and one verifier for everything.
fn config(verifier: &Value) -> Value {
    json!({
        "store": {"version": "1.0.0", "plugins": [{"name": "oras", "useHttp": true}]},
        "policy": {"version": "1.0.0", "plugin": {"name": "configPolicy"}},
        "verifier": {"version": "1.0.0", "plugins": [verifier]},
    })
}

/// A verifier's entry, for every artifact.
fn verifier(type_: &str) -> Value {
    json!({"name": format!("{type_}-1"), "type": type_, "artifactTypes": "*"})
}

/// The same with a source.
fn sourced(type_: &str, artifact: &str) -> Value {
    let mut entry = verifier(type_);
    entry["source"] = json!({"artifact": artifact});
    entry
}

/// An image with one attachment, tagged `app:v1`, put into an embedded registry.
fn put_app(registry: &RunningRegistry) -> String {
    let image = registry.put_image("app", "v1", "layer").unwrap();
    let blob = ("application/json", bytes::Bytes::from_static(br#"{"says":"built here"}"#));
    registry.put_artifact("app", &image, STATEMENT, &[blob]).unwrap();
    format!("{}/app:v1", registry.host())
}

/// The sample verifier, built.
fn sample() -> PathBuf {
    host::plugin("sample", "sample", &["--package", "ratify-verifier-sample"])
}

fn this_platform() -> String {
    format!("linux/{}", ratify_controller::plugin::trust::this_platform().architecture)
}

/// `127.0.0.1:40123` becomes `127.0.0.1:<port>`.
fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut settled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        settled.push_str(if rest.len() < part.len() { "127.0.0.1:<port>" } else { "127.0.0.1:" });
        settled.push_str(rest);
    }
    settled
}

/// A test that cannot be run here says so; in CI everything is run.
fn skipped(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}: {why}");
    eprintln!("SKIPPED: {what}: {why}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
