//! An API server for the demo, the real one over a real etcd, on loopback; and the commands that are
//! run against it. Both programs end with the [`Cluster`].

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::cluster::NAMESPACE;
use crate::process;
use crate::tools::Paths;

/// How long anything may take to come to be.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked for.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// A process that ends with this value; its output goes to a file.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(super) fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| process::line(command))?;
        Ok(Self { child, log })
    }

    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An error with the end of the log when the process has ended.
    pub(super) fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = self.said();
            let end = said.lines().rev().take(10).collect::<Vec<_>>();
            let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
            bail!("{} ended ({status}):\n{end}", self.log.display());
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The API server, its store, and who has a token for it.
pub(super) struct Cluster {
    // In the order in which they end.
    api_server: Running,
    _etcd: Running,
    tools: Paths,
    folder: PathBuf,
}

impl Cluster {
    /// Starts one in this folder, for users by name of the kubeconfig and name to the server.
    ///
    /// # Errors
    /// When a program is missing, or the API server is not ready in time.
    pub(super) fn start(tools: Paths, folder: &Path, users: &[(&str, &str)]) -> Result<Self> {
        let tool = |name: &str| find(&tools, name).map(Command::new);
        let [client, peer, api] = [free_port()?, free_port()?, free_port()?];
        let store = format!("http://127.0.0.1:{client}");
        let mut etcd = tool("etcd")?;
        etcd.args(etcd_arguments(folder, &store, peer));
        let etcd = Running::start(&mut etcd, folder.join("etcd.log"))?;
        write_credentials(folder, users, api)?;
        let keys = ["genrsa", "-traditional", "-out", "accounts.key", "2048"];
        let mut keys_of_accounts = tool("openssl")?;
        keys_of_accounts.args(keys).current_dir(folder).stderr(Stdio::null());
        process::run(&mut keys_of_accounts)?;
        let mut server = tool("kube-apiserver")?;
        server.args(api_server_arguments(folder, &store, api));
        let api_server = Running::start(&mut server, folder.join("kube-apiserver.log"))?;
        let mut cluster = Self { api_server, _etcd: etcd, tools, folder: folder.to_owned() };
        cluster.wait()?;
        Ok(cluster)
    }

    fn wait(&mut self) -> Result<()> {
        let started = Instant::now();
        let mut ready = self.kubectl()?;
        ready.args(["get", "--raw", "/readyz"]).stdout(Stdio::null()).stderr(Stdio::null());
        while !ready.status().context("cannot start kubectl")?.success() {
            self.api_server.must_run()?;
            if started.elapsed() > PATIENCE {
                bail!("the API server is not ready; {}", self.api_server.log.display());
            }
            thread::sleep(INTERVAL);
        }
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    pub(super) fn tool(&self, name: &str) -> Result<PathBuf> {
        find(&self.tools, name)
    }

    /// A tool, run in the folder with nothing of the user's own configuration.
    pub(super) fn command(&self, tool: &str) -> Result<Command> {
        let mut command = Command::new(self.tool(tool)?);
        command.current_dir(&self.folder).env("HOME", &self.folder);
        command.env("KUBECONFIG", self.kubeconfig("admin"));
        Ok(command)
    }

    pub(super) fn kubectl(&self) -> Result<Command> {
        self.command("kubectl")
    }

    pub(super) fn kubectl_shown(&self, arguments: &[&str]) -> Result<()> {
        self.shown(self.kubectl()?.args(arguments))
    }

    /// An object, of the namespace where its kind has one.
    pub(super) fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let mut kubectl = self.kubectl()?;
        kubectl.args(["get", kind, name, "-n", NAMESPACE, "-o", "json"]);
        serde_json::from_str(&process::capture(&mut kubectl)?).context("kubectl prints no JSON")
    }

    /// The command line as a person would type it who has the programs on PATH.
    pub(super) fn line(&self, command: &Command) -> String {
        let program = Path::new(command.get_program()).file_name().unwrap_or_default();
        let line = process::line(command);
        let arguments = line.strip_prefix(&*command.get_program().to_string_lossy());
        format!("{}{}", program.to_string_lossy(), arguments.unwrap_or_default())
    }

    /// Runs what is shown with all that it prints.
    pub(super) fn shown(&self, command: &mut Command) -> Result<()> {
        println!("$ {}", self.line(command));
        process::run(command)
    }

    /// Runs what is shown, and returns what it prints.
    pub(super) fn captured(&self, command: &mut Command) -> Result<String> {
        println!("$ {}", self.line(command));
        process::capture(command)
    }

    /// Runs what is shown without what it says meanwhile.
    pub(super) fn run(&self, command: &mut Command) -> Result<()> {
        println!("$ {}", self.line(command));
        let output = command.output().with_context(|| process::line(command))?;
        if !output.status.success() {
            bail!("{}: {}", self.line(command), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

fn find(tools: &Paths, name: &str) -> Result<PathBuf> {
    let path = tools.get(name);
    path.cloned().with_context(|| format!("there is no {name}; run `cargo xtask tools` first"))
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

fn etcd_arguments(folder: &Path, url: &str, peer: u16) -> Vec<String> {
    let peer = format!("http://127.0.0.1:{peer}");
    vec![
        format!("--data-dir={}/etcd", folder.display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn api_server_arguments(folder: &Path, store: &str, port: u16) -> Vec<String> {
    let folder = folder.display();
    vec![
        format!("--etcd-servers={store}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        // It makes a certificate there, which the kubeconfig files name.
        format!("--cert-dir={folder}"),
        format!("--token-auth-file={folder}/tokens.csv"),
        format!("--service-account-key-file={folder}/accounts.key"),
        format!("--service-account-signing-key-file={folder}/accounts.key"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        // Nobody makes the accounts and endpoints that these would wait for.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
    ]
}

/// A token and a kubeconfig for each user; the first may do everything.
fn write_credentials(folder: &Path, users: &[(&str, &str)], port: u16) -> Result<()> {
    let mut tokens = String::new();
    for (index, (handle, name)) in users.iter().enumerate() {
        let group = if index == 0 { "system:masters" } else { "system:serviceaccounts" };
        tokens.push_str(&format!("token-of-{handle},{name},{handle},{group}\n"));
        let authority = folder.join("apiserver.crt");
        let server = format!("https://127.0.0.1:{port}");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "demo",
                "cluster": {"server": server, "certificate-authority": authority}}],
            "users": [{"name": handle, "user": {"token": format!("token-of-{handle}")}}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": handle}}],
            "current-context": "demo",
        });
        fs::write(folder.join(format!("{handle}.kubeconfig")), config.to_string())?;
    }
    fs::write(folder.join("tokens.csv"), tokens).context("cannot write tokens")
}
