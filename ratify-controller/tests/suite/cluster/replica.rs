//! A controller on a test's cluster: ours as a process, and v1's beside it; and the parts of a node
//! that certificates need.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::server::Cluster;

/// v1 listens for metrics at an address that cannot be set, so that there is one at a time.
pub(crate) static V1: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// How long something may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// The namespace and the secret of v1's chart.
pub(super) const NAMESPACE: &str = "gatekeeper-system";
pub(super) const SECRET: &str = "ratify-tls";
/// Whoever v1's chart binds its roles to.
pub(super) const ACCOUNT: &str = "system:serviceaccount:gatekeeper-system:ratify-admin";

/// Serves what [`Replica::mount`] brings.
pub(super) const TLS: [&str; 2] = ["--cert-dir", "tls"];

/// A running controller. It ends with the test.
pub(super) struct Replica {
    pub(super) process: Child,
    folder: tempfile::TempDir,
}

impl Replica {
    /// Ours, as this user, with probes and these arguments.
    pub(super) fn start(cluster: &Cluster, user: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tls")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratify"));
        command.args(["--http", "127.0.0.1:0", "--health-port", "127.0.0.1:0"]);
        Self::run(cluster, user, folder, command, more)
    }

    /// v1.4.0. Its metrics are always on port 8080, so that one runs at a time.
    pub(super) async fn start_v1(cluster: &Cluster, user: &str) -> Self {
        for _ in 0..60 {
            let folder = tempfile::tempdir().unwrap();
            let address = crate::parity::machines::free_address();
            let mut command = Command::new(cluster.tool("ratify-v1"));
            command.args(["--http", &address, "--health-port", "127.0.0.1:0"]);
            let mut replica = Self::run(cluster, user, folder, command, &TLS);
            tokio::time::sleep(Duration::from_secs(1)).await;
            if replica.process.try_wait().unwrap().is_none() {
                return replica;
            }
            assert!(replica.said().contains("address already in use"), "{}", replica.said());
        }
        panic!("port 8080 is in use all the time");
    }

    fn run(
        cluster: &Cluster,
        user: &str,
        folder: tempfile::TempDir,
        mut command: Command,
        more: &[&str],
    ) -> Self {
        let path = folder.path();
        // v1's flags follow its command.
        let program = command.as_std().get_program().to_owned();
        let arguments: Vec<_> = command.as_std().get_args().map(ToOwned::to_owned).collect();
        command = Command::new(program);
        command.args(["serve", "--enable-crd-manager", "-c", "config.json"]);
        command.args(arguments).args(more);
        let config = json!({"store": {"plugins": [{"name": "oras"}]},
            "policy": {"plugin": {"name": "configPolicy"}},
            "verifier": {"plugins": [{"name": "none", "artifactTypes": "*"}]}});
        fs::write(path.join("config.json"), config.to_string()).unwrap();
        command.env_clear().env("HOME", path).env("KUBECONFIG", cluster.kubeconfig(user));
        command.env("RATIFY_CERT_ROTATION", "1").env("RATIFY_NAMESPACE", NAMESPACE);
        command.env("RATIFY_NAME", "ratify").env("PATH", "/usr/bin:/bin");
        command.current_dir(path).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(path.join("log")).unwrap());
        Self { process: command.spawn().unwrap(), folder }
    }

    /// Puts a file in its directory, at once.
    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    pub(super) fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(super) async fn until_said(&self, text: &str) {
        let said = async || self.said().contains(text);
        assert!(until(said).await, "{text:?} is not said: {}", self.said());
    }

    /// These lines, one after another, whatever stands between them.
    pub(super) fn assert_said_in_order(&self, lines: &[&str]) {
        let said = self.said();
        let mut rest = said.as_str();
        for line in lines {
            let at =
                rest.find(line).unwrap_or_else(|| panic!("{line} is not said in order: {said}"));
            rest = &rest[at + line.len()..];
        }
    }

    /// Where TLS is served.
    pub(super) async fn address(&self) -> String {
        self.until_said("starting server at ").await;
        self.after("starting server at ")
    }

    /// The answer to a probe.
    pub(super) async fn probe(&self, path: &str) -> (u16, String) {
        self.until_said("kind=health probe addr=").await;
        let url = format!("http://{}{path}", self.after("kind=health probe addr="));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let answer = client.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(super) async fn until_ready(&self) {
        let is_ready = async || self.probe("/readyz").await.0 == 200;
        let is_ready = until(is_ready).await;
        assert!(is_ready, "{:?} {}", self.probe("/readyz").await, self.said());
    }

    /// What the kubelet does with a mounted secret, at once: files that are links into a directory
    /// that is a link itself.
    pub(super) async fn mount(&self, cluster: &Cluster) {
        let folder = self.folder.path().join("tls");
        let secret = Parts::of_secret(cluster).await;
        let version = format!("..{}", secret.version);
        fs::create_dir_all(folder.join(&version)).unwrap();
        for (name, text) in [("tls.crt", &secret.certificate), ("tls.key", &secret.key)] {
            fs::write(folder.join(&version).join(name), text).unwrap();
            let _ = symlink(format!("..data/{name}"), folder.join(name));
        }
        symlink(&version, folder.join("..next")).unwrap();
        fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    }

    /// What `openssl` says of the server's certificate to who trusts these.
    pub(super) async fn shown_to(&self, cluster: &Cluster, trusted: &str) -> String {
        let file = self.folder.path().join(format!("{}.pem", uuid::Uuid::new_v4()));
        fs::write(&file, trusted).unwrap();
        let mut command = Command::new(cluster.tool("openssl"));
        command.args(["s_client", "-verify_hostname", "ratify.gatekeeper-system", "-connect"]);
        command.arg(self.address().await).arg("-CAfile").arg(file).stdin(Stdio::null());
        let output = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, output).await.unwrap().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(super) async fn until_verified_by(&self, cluster: &Cluster, trusted: &str) {
        let is_verified = async || {
            let shown = self.shown_to(cluster, trusted).await;
            shown.contains("Verify return code: 0 (ok)")
        };
        assert!(until(is_verified).await, "{}", self.said());
    }

    fn after(&self, text: &str) -> String {
        let said = self.said();
        let (_, rest) = said.split_once(text).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }
}

/// The secret's parts as text, and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) version: String,
    pub(super) authority: String,
    pub(super) authority_key: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Parts {
    pub(super) async fn of_secret(cluster: &Cluster) -> Self {
        let secret = cluster.get_json("secret", Some(NAMESPACE), SECRET).await;
        let part = |key: &str| decoded(&secret["data"][key]);
        Self {
            version: secret["metadata"]["resourceVersion"].as_str().unwrap().to_owned(),
            authority: part("ca.crt"),
            authority_key: part("ca.key"),
            certificate: part("tls.crt"),
            key: part("tls.key"),
        }
    }

    /// Writes them as somebody else would.
    pub(super) async fn put(&self, cluster: &Cluster) {
        let data = [
            ("ca.crt", &self.authority),
            ("ca.key", &self.authority_key),
            ("tls.crt", &self.certificate),
            ("tls.key", &self.key),
        ];
        let data: serde_json::Map<_, _> = data
            .into_iter()
            .map(|(key, text)| (key.to_owned(), json!(STANDARD.encode(text))))
            .collect();
        let patch = json!({"data": data}).to_string();
        cluster
            .must(&["patch", "secret", SECRET, "-n", NAMESPACE, "--type=merge", "-p", &patch])
            .await;
    }
}

/// What one of the Providers trusts.
pub(super) async fn bundle(cluster: &Cluster, name: &str) -> String {
    decoded(&cluster.get_json("provider", None, name).await["spec"]["caBundle"])
}

fn decoded(value: &Value) -> String {
    let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Waits until the secret's authority is what both Providers trust, and until none of them has
/// changed for this long; the secret is returned.
pub(super) async fn settled(cluster: &Cluster, quiet: Duration) -> Parts {
    let state = async || {
        let mut versions = Vec::new();
        for name in ["ratify-provider", "ratify-mutation-provider"] {
            let provider = cluster.get_json("provider", None, name).await;
            versions.push(provider["metadata"]["resourceVersion"].to_string());
            versions.push(decoded(&provider["spec"]["caBundle"]));
        }
        (Parts::of_secret(cluster).await, versions)
    };
    let waited = tokio::time::timeout(PATIENCE, async {
        let mut before = state().await;
        loop {
            tokio::time::sleep(quiet).await;
            let now = state().await;
            let is_trusted = now.1[1] == now.0.authority && now.1[3] == now.0.authority;
            if now == before && is_trusted && !now.0.authority.is_empty() {
                return now.0;
            }
            before = now;
        }
    });
    waited.await.expect("secret and Providers never settle")
}

/// Asks until it is so; false when it never is.
pub(super) async fn until(is_so: impl AsyncFn() -> bool) -> bool {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.is_ok()
}

/// Installs what v1's chart installs for an installation with rotation: definitions, roles,
/// Providers and, if wanted, the empty secret; and Gatekeeper's definition of Providers.
pub(super) async fn install(cluster: &Cluster, with_secret: bool) {
    let provider = "charts/gatekeeper/crds/provider-customresourcedefinition.yaml";
    let provider = cluster.tool("gatekeeper-module").join(provider);
    let chart = cluster.tool("ratify-v1-module").join("charts/ratify");
    cluster.must(&["apply", "-f", text(&provider), "-f", text(&chart.join("crds"))]).await;
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
    cluster.must(&["create", "namespace", NAMESPACE]).await;
    let mut templates = vec![
        "ratify-manager-role-clusterrole",
        "ratify-manager-role-role",
        "ratify-manager-rolebinding-clusterrolebinding",
        "ratify-manager-rolebinding-rolebinding",
        "provider",
    ];
    templates.extend(with_secret.then_some("secret"));
    let rendered = rendered(cluster, &chart, &templates).await;
    let file = cluster.folder().join("chart.yaml");
    fs::write(&file, rendered).unwrap();
    cluster.must(&["apply", "-n", NAMESPACE, "-f", text(&file)]).await;
}

/// The chart's empty secret, later.
pub(super) async fn install_secret(cluster: &Cluster) {
    cluster.must(&["create", "secret", "generic", SECRET, "-n", NAMESPACE]).await;
}

async fn rendered(cluster: &Cluster, chart: &Path, templates: &[&str]) -> String {
    let mut command = Command::new(cluster.tool("helm"));
    command.args(["template", "ratify", "-n", NAMESPACE]).arg(chart);
    command.args(["--set", "featureFlags.RATIFY_CERT_ROTATION=true"]);
    for template in templates {
        command.args(["-s", &format!("templates/{template}.yaml")]);
    }
    command.env_clear().env("HOME", cluster.folder()).env("PATH", "/usr/bin:/bin");
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs `openssl`, which has to succeed, in a folder.
pub(super) fn openssl(cluster: &Cluster, folder: &Path, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let openssl: PathBuf = cluster.tool("openssl");
    let output = std::process::Command::new(openssl).args(&words).current_dir(folder).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
