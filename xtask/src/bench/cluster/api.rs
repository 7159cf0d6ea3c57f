//! One API server for both: etcd, kube-apiserver, and `kubectl proxy`, by which this program, that
//! speaks no TLS, writes and watches custom resources.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::bench::certificates::Certificates;
use crate::bench::http::{self, Request};
use crate::bench::registry::end;
use crate::bench::server::free_address;
use crate::process;

const GROUP: &str = "/apis/config.ratify.deislabs.io/v1beta1";
const TOKEN: &str = "token-of-admin";
/// How long a program may take until it answers; a busy machine takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
const INTERVAL: Duration = Duration::from_millis(20);

/// The programs that an API server needs.
pub(super) struct Machines<'a> {
    pub(super) etcd: &'a Path,
    pub(super) api_server: &'a Path,
    pub(super) kubectl: &'a Path,
}

/// The running API server; everything ends with it.
pub(super) struct Api {
    // In the order in which they end.
    _proxy: Program,
    _api_server: Program,
    _etcd: Program,
    kubeconfig: PathBuf,
    address: SocketAddr,
}

/// A program that ends with this value.
struct Program(Child);

/// Everything that happens to the resources of one kind from now on.
pub(super) struct Watch(Box<dyn Iterator<Item = std::io::Result<String>>>);

impl Api {
    /// Starts one that stores in this folder, and waits until it is ready.
    ///
    /// # Errors
    /// When one of the programs does not start.
    pub(super) fn start(
        machines: &Machines<'_>,
        certificates: &Certificates,
        folder: &Path,
    ) -> Result<Self> {
        let store = free_address()?;
        let etcd = start_etcd(machines.etcd, store, folder)?;
        wait("etcd", || TcpStream::connect(store).is_ok())?;
        let server = free_address()?;
        let api_server =
            start_api_server(machines.api_server, store, server, certificates, folder)?;
        wait("kube-apiserver", || TcpStream::connect(server).is_ok())?;
        let kubeconfig = write_kubeconfig(server, certificates, folder)?;
        let (proxy, address) = start_proxy(machines.kubectl, &kubeconfig)?;
        let api = Self { _proxy: proxy, _api_server: api_server, _etcd: etcd, kubeconfig, address };
        wait("kube-apiserver", || api.send("GET", "/readyz", "").is_ok())?;
        Ok(api)
    }

    /// Puts our definitions of the kinds on it; v1.4.0 reads the same.
    ///
    /// # Errors
    /// When they are refused.
    pub(super) fn define(&self, ratify: &Path, kubectl: &Path) -> Result<()> {
        let mut apply = Command::new(ratify);
        process::capture(apply.args(["crds", "apply"]).env("KUBECONFIG", &self.kubeconfig))?;
        let mut wait = Command::new(kubectl);
        wait.args(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
        process::capture(wait.env("KUBECONFIG", &self.kubeconfig))?;
        Ok(())
    }

    /// Who may do everything.
    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Creates a resource of the cluster.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn create(&self, kind: &Kind, name: &str, spec: &Value) -> Result<()> {
        let object = json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": kind.name,
            "metadata": {"name": name}, "spec": spec,
        });
        self.send("POST", &format!("{GROUP}/{}", kind.plural), &object.to_string()).map(|_| ())
    }

    /// Deletes all of a kind, and waits until none is left.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn delete_all(&self, kind: &Kind) -> Result<()> {
        let path = format!("{GROUP}/{}", kind.plural);
        self.send("DELETE", &path, "")?;
        wait("the deletion", || {
            let list = self.send("GET", &format!("{path}?limit=1"), "");
            list.is_ok_and(|list| list["items"].as_array().is_some_and(Vec::is_empty))
        })
    }

    /// Watches a kind from now on.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn watch(&self, kind: &Kind) -> Result<Watch> {
        let path = format!("{GROUP}/{}", kind.plural);
        let list = self.send("GET", &format!("{path}?limit=1"), "")?;
        let now =
            list["metadata"]["resourceVersion"].as_str().context("the list has no version")?;
        let path = format!("{path}?watch=true&resourceVersion={now}");
        Ok(Watch(Box::new(http::stream(self.address, &path)?.lines())))
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let request =
            Request { method, path, content_type: "application/json", body: body.as_bytes() };
        let answer = http::send(self.address, &request)?;
        if !(200..300).contains(&answer.status) {
            let text = String::from_utf8_lossy(&answer.body);
            bail!("the API server answered {} to {method} {path}: {text}", answer.status);
        }
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }
}

impl Watch {
    /// Waits for the next version of an object.
    ///
    /// # Errors
    /// When the watch ends, or nothing happens for a minute.
    pub(super) fn next(&mut self) -> Result<Value> {
        let line = self.0.next().context("the watch has ended")?.context("the watch broke off")?;
        let mut event: Value = serde_json::from_str(&line).context("the event is no JSON")?;
        if event["type"] == "ERROR" {
            bail!("the watch failed: {line}");
        }
        Ok(event["object"].take())
    }
}

/// A kind of custom resource.
pub(super) struct Kind {
    name: &'static str,
    plural: &'static str,
}

pub(super) const STORE: Kind = Kind { name: "Store", plural: "stores" };
pub(super) const POLICY: Kind = Kind { name: "Policy", plural: "policies" };
pub(super) const VERIFIER: Kind = Kind { name: "Verifier", plural: "verifiers" };

impl Program {
    fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self(command.spawn().with_context(|| process::line(command))?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

fn start_etcd(program: &Path, address: SocketAddr, folder: &Path) -> Result<Program> {
    let (url, peer) = (format!("http://{address}"), format!("http://{}", free_address()?));
    let mut command = Command::new(program);
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    command.args(["--unsafe-no-fsync", "--log-level", "warn"]);
    Program::start(&mut command, &folder.join("etcd.log"))
}

fn start_api_server(
    program: &Path,
    store: SocketAddr,
    address: SocketAddr,
    certificates: &Certificates,
    folder: &Path,
) -> Result<Program> {
    let tokens = folder.join("tokens.csv");
    fs::write(&tokens, format!("{TOKEN},admin,admin-uid,\"system:masters\"\n"))?;
    let [signing, public] = certificates.accounts();
    let mut command = Command::new(program);
    command.arg(format!("--etcd-servers=http://{store}"));
    command.arg(format!("--secure-port={}", address.port()));
    for (flag, path) in [
        ("--cert-dir", folder),
        ("--tls-cert-file", &certificates.certificate()),
        ("--tls-private-key-file", &certificates.key()),
        ("--token-auth-file", &tokens),
        ("--service-account-key-file", &public),
        ("--service-account-signing-key-file", &signing),
    ] {
        command.arg(flag).arg(path);
    }
    command.args([
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        // Nobody makes the accounts and endpoints that these would wait for.
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
    ]);
    Program::start(&mut command, &folder.join("kube-apiserver.log"))
}

fn write_kubeconfig(
    server: SocketAddr,
    certificates: &Certificates,
    folder: &Path,
) -> Result<PathBuf> {
    let authority = certificates.authority();
    let cluster =
        json!({"server": format!("https://{server}"), "certificate-authority": authority});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": cluster}],
        "users": [{"name": "bench", "user": {"token": TOKEN}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    });
    let path = folder.join("kubeconfig.json");
    fs::write(&path, config.to_string())?;
    Ok(path)
}

/// It says where it serves: `Starting to serve on 127.0.0.1:40001`.
fn start_proxy(kubectl: &Path, kubeconfig: &Path) -> Result<(Program, SocketAddr)> {
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(kubeconfig).args(["proxy", "--port=0"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut program = Program(command.spawn().context("cannot start kubectl proxy")?);
    let mut line = String::new();
    let stdout = program.0.stdout.take().context("kubectl proxy has no output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let address = line.split_whitespace().last().and_then(|word| word.parse().ok());
    Ok((program, address.with_context(|| format!("kubectl proxy serves at `{line}`"))?))
}

fn wait(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > PATIENCE {
            bail!("{what} takes more than {} s", PATIENCE.as_secs());
        }
        thread::sleep(INTERVAL);
    }
    Ok(())
}
