//! etcd and kube-apiserver on loopback, in a folder of their own; both end with the [`Cluster`].

use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use rcgen::KeyPair;
use serde_json::json;

use crate::parity::machines::{Machines, certificates};

/// The user who may do everything.
pub(crate) const ADMIN: &str = "admin";

/// How long a program may take until it answers; a busy machine takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(20);

/// A running API server and what it stores in. Dropping it ends both at once, and removes every
/// file.
pub(crate) struct Cluster {
    // In the order in which they end.
    api_server: Option<Process>,
    _etcd: Process,
    etcd_url: String,
    port: u16,
    users: Vec<User>,
    client: reqwest::Client,
    machines: Machines,
    folder: tempfile::TempDir,
}

/// What differs from a cluster that only [`ADMIN`] uses.
#[derive(Default)]
pub(crate) struct ClusterOptions {
    /// Who else has a token. What they may do is up to RBAC.
    pub(crate) users: Vec<User>,
}

/// Somebody with a token.
pub(crate) struct User {
    /// What tests call them: [`Cluster::token`], [`Cluster::kubeconfig`].
    pub(crate) handle: &'static str,
    /// Who they are to RBAC, such as `system:serviceaccount:gatekeeper-system:ratify-admin`.
    pub(crate) name: &'static str,
    /// The groups that they are in.
    pub(crate) groups: &'static [&'static str],
}

/// A program that ends with this value. Its output goes to a file.
struct Process {
    child: Child,
    log: PathBuf,
}

impl User {
    pub(crate) fn new(
        handle: &'static str,
        name: &'static str,
        groups: &'static [&'static str],
    ) -> Self {
        Self { handle, name, groups }
    }

    fn token(&self) -> String {
        format!("token-of-{}", self.handle)
    }
}

impl Cluster {
    /// Starts one and waits until it is ready; `None`, said aloud, where its programs were not
    /// brought.
    pub(crate) async fn start(options: ClusterOptions) -> Option<Self> {
        let machines = Machines::find()?;
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let mut users = options.users;
        users.push(User::new(ADMIN, ADMIN, &["system:masters"]));
        write_credentials(folder.path(), &users);
        let (etcd, etcd_url) = start_etcd(&machines, folder.path()).await;
        let client = client(&folder.path().join("ca.pem"));
        let port = quiet_port();
        let mut cluster =
            Self { api_server: None, _etcd: etcd, etcd_url, port, users, client, machines, folder };
        for user in &cluster.users {
            cluster.write_kubeconfig(user);
        }
        cluster.start_api_server().await;
        Some(cluster)
    }

    /// Starts the API server where it was before, with what it knew, and waits until it is ready.
    pub(crate) async fn start_api_server(&mut self) {
        assert!(self.api_server.is_none(), "the API server runs already");
        let mut command = Command::new(self.machines.tool("kube-apiserver"));
        command.args(self.arguments());
        let mut process = Process::start(&mut command, self.path("kube-apiserver.log"));
        let asked = || self.client.get(self.url() + "/readyz").bearer_auth(self.token(ADMIN));
        let is_ready = async || match asked().send().await {
            Ok(response) => response.status().is_success(),
            Err(_) => false,
        };
        process.wait_until(is_ready).await;
        self.api_server = Some(process);
    }

    /// Ends the API server without a goodbye, as a node does that loses its power.
    pub(crate) fn stop_api_server(&mut self) {
        assert!(self.api_server.take().is_some(), "the API server is stopped already");
    }

    /// Makes the store forget all but the present: what a watch has missed is lost for good.
    pub(crate) async fn compact(&self) {
        let ask = async |path: &str, body: serde_json::Value| {
            let request = self.client.post(format!("{}{path}", self.etcd_url));
            let answer = request.body(body.to_string()).send().await.unwrap();
            assert!(answer.status().is_success(), "{path}");
            serde_json::from_slice::<serde_json::Value>(&answer.bytes().await.unwrap()).unwrap()
        };
        let now = ask("/v3/kv/range", json!({"key": "AA==", "count_only": true})).await;
        let revision = &now["header"]["revision"];
        ask("/v3/kv/compaction", json!({"revision": revision, "physical": true})).await;
    }

    /// Where the API server is, or was: `https://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The token of [`ADMIN`] or of one of the options' users.
    pub(crate) fn token(&self, handle: &str) -> String {
        let user = self.users.iter().find(|user| user.handle == handle);
        user.unwrap_or_else(|| panic!("the test cluster knows no {handle}")).token()
    }

    /// A client that trusts the API server, and is nobody yet.
    pub(crate) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    /// The certificate of the authority that the API server's own comes from.
    pub(crate) fn ca_path(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A kubeconfig file for [`ADMIN`] or one of the options' users.
    pub(crate) fn kubeconfig(&self, handle: &str) -> PathBuf {
        let path = self.path(&format!("{handle}.kubeconfig"));
        assert!(path.is_file(), "the test cluster knows no {handle}");
        path
    }

    /// Where everything of this cluster is, for what a test adds to it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The program of this name.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.machines.tool(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self) -> Vec<String> {
        let folder = self.folder.path().display();
        vec![
            format!("--etcd-servers={}", self.etcd_url),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={folder}"),
            format!("--tls-cert-file={folder}/cert.pem"),
            format!("--tls-private-key-file={folder}/key.pem"),
            format!("--token-auth-file={folder}/tokens.csv"),
            format!("--service-account-key-file={folder}/accounts.pub"),
            format!("--service-account-signing-key-file={folder}/accounts.key"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            // Nobody makes the accounts and endpoints that these would wait for.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            // Volumes that are images, as every cluster has them from 1.35 on.
            "--feature-gates=ImageVolume=true".to_owned(),
        ]
    }

    fn write_kubeconfig(&self, user: &User) {
        let cluster = json!({"server": self.url(), "certificate-authority": self.ca_path()});
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user.handle, "user": {"token": user.token()}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user.handle}}],
            "current-context": "test",
        });
        fs::write(self.path(&format!("{}.kubeconfig", user.handle)), config.to_string()).unwrap();
    }
}

impl Process {
    fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log }
    }

    /// Fails, with the end of the program's output, when it ends or takes too long.
    async fn wait_until(&mut self, is_ready: impl AsyncFn() -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.child.try_wait().unwrap().is_none() {
                // Asked after the program was seen to run: nobody else answers in its place.
                if is_ready().await {
                    return true;
                }
                tokio::time::sleep(INTERVAL).await;
            }
            false
        });
        let is_ready = waited.await.unwrap_or(false);
        assert!(is_ready, "the program ended or is not ready:\n{}", self.last_lines());
    }

    fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only where the program has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn start_etcd(machines: &Machines, folder: &Path) -> (Process, String) {
    let [address, peer] = [(); 2].map(|()| format!("127.0.0.1:{}", quiet_port()));
    let [url, peer] = [&address, &peer].map(|address| format!("http://{address}"));
    let mut command = Command::new(machines.tool("etcd"));
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    command.args(["--unsafe-no-fsync", "--log-level", "warn"]);
    let mut process = Process::start(&mut command, folder.join("etcd.log"));
    process.wait_until(async || TcpStream::connect(&address).is_ok()).await;
    (process, url)
}

/// A client that trusts this authority only.
fn client(authority: &Path) -> reqwest::Client {
    // Another test of this binary may have been first: the provider is the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let authority = reqwest::Certificate::from_pem(&fs::read(authority).unwrap()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]);
    client.timeout(Duration::from_secs(5)).build().unwrap()
}

/// Everybody's token, and the key that tokens of service accounts are signed with.
fn write_credentials(folder: &Path, users: &[User]) {
    let lines = users.iter().map(|user| {
        format!(
            "{},{},{}-uid,\"{}\"\n",
            user.token(),
            user.name,
            user.handle,
            user.groups.join(",")
        )
    });
    fs::write(folder.join("tokens.csv"), lines.collect::<String>()).unwrap();
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join("accounts.key"), key.serialize_pem()).unwrap();
    fs::write(folder.join("accounts.pub"), key.public_key_pem()).unwrap();
}

/// A port that nothing listens on and that the kernel gives to nobody who asks for any port: the
/// API server has to find it free again after an outage.
pub(crate) fn quiet_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of the suite at the same time begins elsewhere.
    let start = (std::process::id().wrapping_mul(127) % u32::from(COUNT)) as u16;
    let mut ports = (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port is free")
}
