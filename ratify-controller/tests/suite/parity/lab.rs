//! Both hosts side by side: a home each, the same plugins, the same registries, the same files.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    compare::normalised,
    layout::{Layout, digest_of},
    machines::{Machines, PASSWORD, Server, USER},
    notation_plugins,
    serve_cases::ServeCase,
};

/// Nothing listens on this port, which is tcpmux's (RFC 1078).
const NOBODY: &str = "127.0.0.1:1";

/// Everything a case may need; it ends with the test.
pub(super) struct Lab {
    pub(super) machines: Machines,
    pub(super) folder: PathBuf,
    /// With the Referrers API, in clear.
    pub(super) api: Server,
    /// With the Referrers API, over TLS.
    pub(super) tls: Server,
    /// Without the Referrers API, with a password.
    pub(super) tags: Server,
    documents: PathBuf,
    _temporary: tempfile::TempDir,
}

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    V1,
    Here,
}

/// One command line, and the configuration it is given.
pub(super) struct Run<'a> {
    pub(super) name: &'a str,
    pub(super) config: Option<String>,
    pub(super) arguments: Vec<String>,
    pub(super) dynamic: bool,
    /// Whether every byte of standard output counts, and not only the JSON it holds.
    pub(super) exact: bool,
}

impl Host {
    const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Here => "here",
        }
    }
}

impl Lab {
    /// Starts the registries; `None` where the tools are missing.
    pub(super) async fn start() -> Option<Self> {
        let machines = Machines::find()?;
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        let api = machines.registry_with_api(None).await;
        let tls = machines.registry_with_api(Some(&folder.join("tls"))).await;
        let tags = machines.registry_with_tags(&folder.join("tags")).await;
        let documents = documents().await;
        let lab = Self { machines, folder, api, tls, tags, documents, _temporary: temporary };
        lab.log_in();
        Some(lab)
    }

    /// Where layouts lie: the registry `layouts.example.com` of the external store.
    pub(super) fn layouts(&self) -> PathBuf {
        self.folder.join("layouts/layouts.example.com")
    }

    /// Where keys and trusted certificates of signatures are.
    pub(super) fn notary(&self) -> PathBuf {
        self.folder.join("notary")
    }

    /// A document of v1's module.
    pub(super) fn document(&self, path: &str) -> Vec<u8> {
        fs::read(self.documents.join(path)).unwrap()
    }

    /// Copies layouts with everything attached to a registry, by `oras`.
    pub(super) async fn push(&self, layouts: &[&Layout], registry: &Server) {
        let copies = layouts.iter().map(|layout| async move {
            let name = layout.folder.file_name().unwrap().to_str().unwrap();
            let mut oras = Command::new(self.machines.tool("oras"));
            oras.args(["cp", "--recursive", "--no-tty", "--to-username", USER, "--to-password"]);
            oras.arg(PASSWORD).arg("--to-ca-file").arg(self.folder.join("tls/ca.pem"));
            if registry.address != self.tls.address {
                oras.arg("--to-plain-http");
            }
            oras.arg("--from-oci-layout").arg(format!("{}:v1", layout.folder.display()));
            oras.arg(format!("{}/{name}:v1", registry.address));
            self.must(&mut oras).await;
        });
        stream::iter(copies).buffer_unordered(4).collect::<Vec<()>>().await;
    }

    /// Runs a program that has to succeed; what it prints is returned.
    pub(super) async fn must(&self, command: &mut Command) -> String {
        command.env("HOME", &self.folder);
        let output = output(command).await;
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command of a host in a fresh home, with nothing else of this machine.
    pub(super) fn command(&self, host: Host, name: &str) -> Command {
        self.furnish(host, name);
        let home = self.home(host, name);
        let mut command = match host {
            Host::V1 => Command::new(self.machines.tool("ratify-v1")),
            Host::Here => Command::new(env!("CARGO_BIN_EXE_ratify")),
        };
        command.env_clear().current_dir(&home).env("PATH", "/usr/bin:/bin");
        command.env("HOME", home).env("DOCKER_CONFIG", self.folder.join("docker"));
        command.env("SSL_CERT_FILE", self.folder.join("tls/ca.pem"));
        // What is trusted of Sigstore: Sigstore's own repository is asked by nobody.
        command.env("SIGSTORE_ROOT_FILE", self.folder.join("keys/root.pem"));
        command.env("SIGSTORE_REKOR_PUBLIC_KEY", self.folder.join("keys/log.pub"));
        command
    }

    /// Writes a configuration into the home that a command of this name has.
    fn write_config(&self, host: Host, name: &str, text: &str) -> PathBuf {
        let path = self.home(host, name).join("config.json");
        let text = self.filled(host, name, text);
        // v1 asks registries on loopback without being told to.
        let text = match serde_json::from_str(&text) {
            Ok(config) if host == Host::Here => crate::cli::with_loopback(&config).to_string(),
            _ => text,
        };
        fs::write(&path, text).unwrap();
        path
    }

    /// What a command line comes to, fit for comparison.
    pub(super) async fn outcome(&self, host: Host, run: &Run<'_>) -> Value {
        let mut command = self.command(host, run.name);
        command.args(run.arguments.iter().map(|argument| self.filled(host, run.name, argument)));
        if let Some(config) = &run.config {
            command.arg("--config").arg(self.write_config(host, run.name, config));
        }
        if run.dynamic {
            command.env("RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "1");
        }
        let output = output(&mut command).await;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if std::env::var_os("PARITY_SHOW").is_some() {
            eprintln!("{} {}: {stderr}\n{stdout}", run.name, host.name());
        }
        let error = stderr.lines().rfind(|line| line.starts_with("Error: "));
        let parsed = if run.exact { None } else { serde_json::from_str(&stdout).ok() };
        let stdout = parsed.unwrap_or(Value::String(stdout));
        let mut outcome = json!({"exit": output.status.code(), "stdout": stdout});
        if let Some(error) = error {
            outcome["error"] = error.into();
        }
        self.comparable(host, run.name, outcome)
    }

    /// What `ratify serve` answers to each body, by its number and its beginning.
    pub(super) async fn conversation(&self, host: Host, case: &ServeCase) -> Value {
        let server = self.serve(host, case.name, &case.config.to_string()).await;
        // Another test may have been faster.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let mut answers = serde_json::Map::new();
        for (number, (path, body)) in case.posts.iter().enumerate() {
            let url = format!("http://{}{path}", server.address);
            let body_here = self.filled(host, case.name, body);
            let answer = client.post(url).body(body_here).send().await.unwrap();
            let status = answer.status().as_u16();
            let kind = answer.headers().get("content-type").cloned();
            let kind = kind.map(|kind| kind.to_str().unwrap().to_owned());
            let text = answer.text().await.unwrap();
            let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
            let answer = json!({"status": status, "content-type": kind, "body": body});
            answers.insert(format!("{number:02} {path}"), answer);
        }
        self.comparable(host, case.name, Value::Object(answers))
    }

    async fn serve(&self, host: Host, name: &str, config: &str) -> Server {
        Server::listening(|address| {
            let mut command = self.command(host, name);
            let config = self.write_config(host, name, config);
            command.args(["serve", "--http", address, "--config"]).arg(config);
            command
        })
        .await
    }

    /// What a host said, fit for comparison.
    pub(super) fn comparable(&self, host: Host, name: &str, value: Value) -> Value {
        normalised(value, &self.home(host, name).to_string_lossy())
    }

    /// Puts the addresses and paths of this run into a text.
    pub(super) fn filled(&self, host: Host, name: &str, text: &str) -> String {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let one = self.digests_of_one();
        let places = [
            ("{one}", one[0].clone()),
            ("{statement}", one[1].clone()),
            ("{blob}", one[2].clone()),
            ("{api}", self.api.address.clone()),
            ("{tls}", self.tls.address.clone()),
            ("{tags}", self.tags.address.clone()),
            ("{nobody}", NOBODY.to_owned()),
            ("{layouts}", path(&self.folder.join("layouts"))),
            ("{documents}", path(&self.documents)),
            ("{notary}", path(&self.notary())),
            ("{home}", path(&self.home(host, name))),
        ];
        places.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// The image `one`, what is attached to it, and that one's blob.
    fn digests_of_one(&self) -> [String; 3] {
        let folder = self.layouts().join("one");
        let Ok(index) = fs::read(folder.join("index.json")) else { return Default::default() };
        let index: Value = serde_json::from_slice(&index).unwrap();
        let [image, artifact] = [0, 1].map(|at| digest_of(&index["manifests"][at]).to_owned());
        let manifest = fs::read(folder.join("blobs").join(artifact.replace(':', "/"))).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let blob = digest_of(&manifest["layers"][0]).to_owned();
        [image, artifact, blob]
    }

    fn home(&self, host: Host, name: &str) -> PathBuf {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let name: String = name.chars().map(letter).collect();
        self.folder.join(host.name()).join(name)
    }

    /// A home with all plugins, by links.
    fn furnish(&self, host: Host, name: &str) {
        let plugins = [
            ("sample", self.machines.plugin("sample", "sample")),
            ("reader", self.machines.plugin("sample-v1-host", "sample")),
            ("sample-store", self.machines.plugin("sample-store", "sample-store")),
            ("stress", self.machines.plugin("stress", "stress")),
            ("verify-notation", self.machines.plugin("verify-notation", "verify-notation")),
            ("verify-cosign", self.machines.plugin("verify-cosign", "verify-cosign")),
            ("go-sample", self.machines.tool("v1-sample")),
            ("go-sample-oras", self.machines.tool("v1-sample-oras")),
            ("go-store", self.machines.tool("v1-sample-store")),
            ("sbom", self.machines.tool("v1-sbom")),
            ("licensechecker", self.machines.tool("v1-licensechecker")),
            ("schemavalidator", self.machines.tool("v1-schemavalidator")),
            ("vulnerabilityreport", self.machines.tool("v1-vulnerabilityreport")),
        ];
        let folder = self.home(host, name).join(".ratify/plugins");
        fs::create_dir_all(&folder).unwrap();
        for (name, program) in &plugins {
            // A server that is started once more finds them there.
            if !folder.join(name).exists() {
                symlink(program, folder.join(name)).unwrap();
            }
        }
        for name in notation_plugins::NAMES {
            let link = folder.join(format!("notation-{name}"));
            if !link.exists() {
                symlink(self.machines.tool("notation-plugin"), link).unwrap();
            }
        }
    }

    /// Docker's configuration has the password.
    fn log_in(&self) {
        let docker = self.folder.join("docker");
        fs::create_dir_all(&docker).unwrap();
        let auths = json!({"auths": {(&self.tags.address): {"auth": "dXNlcjpodW50ZXIy"}}});
        fs::write(docker.join("config.json"), auths.to_string()).unwrap();
    }
}

/// Runs to the end, which is soon; a command that hangs fails the test.
async fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(30), command.output()).await;
    ended.unwrap_or_else(|_| panic!("{command:?} hangs")).unwrap()
}

/// Where v1's module is, with its test data.
async fn documents() -> PathBuf {
    let mut go = Command::new("go");
    let cache = output(go.args(["env", "GOMODCACHE"])).await;
    let cache = String::from_utf8(cache.stdout).unwrap();
    Path::new(cache.trim()).join("github.com/ratify-project/ratify@v1.4.0")
}
