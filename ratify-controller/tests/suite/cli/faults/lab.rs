//! A cluster, a registry and replicas of the controller, and how a test looks at them.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use ratify_core::{Algorithm, Digest};
use serde_json::{Value, json};

use super::{
    super::{Home, put_app, server::Server},
    Proxy,
};
use crate::{
    cluster::server::{ADMIN, Cluster, ClusterOptions},
    parity::machines::free_address,
};

const GROUP: &str = "apis/config.ratify.deislabs.io/v1beta1";
/// How long a state is waited for; a busy machine takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a test lasts: this, or with `RATIFY_SOAK` as many seconds as that says, five minutes
/// where it is `1`.
pub(super) fn soak(usual: Duration) -> Duration {
    let Some(text) = std::env::var_os("RATIFY_SOAK") else { return usual };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 1);
    Duration::from_secs(seconds.unwrap_or(300))
}

/// A cluster that knows our kinds, with a store and a policy, and a registry with an image.
pub(super) struct Lab {
    pub(super) cluster: Cluster,
    pub(super) registry: RunningRegistry,
    client: reqwest::Client,
}

/// A plugin in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pushed {
    /// The digest of its manifest.
    pub(super) root: String,
    /// The digest of its program.
    pub(super) program: String,
}

/// One controller, in a home of its own.
pub(super) struct Replica {
    pub(super) home: Home,
    name: &'static str,
    kubeconfig: PathBuf,
    server: Option<Server>,
    probes: String,
}

/// A program that accepts everything and says this; so long that it comes in many pieces.
pub(super) fn program(says: &str, length: usize) -> Vec<u8> {
    let mut script = format!(
        "#!/bin/sh\ncat >/dev/null\necho '{{\"isSuccess\":true,\"message\":\"{says}\"}}'\nexit 0\n"
    )
    .into_bytes();
    script.resize(script.len().max(length), b'#');
    script
}

impl Lab {
    /// `None`, said aloud, where the cluster's programs were not brought.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(RegistryOptions::default()).await
    }

    /// The same with another registry.
    pub(super) async fn start_with(options: RegistryOptions) -> Option<Self> {
        let lab = Self::with(options).await?;
        lab.define().await;
        lab.fill().await;
        Some(lab)
    }

    /// Our definitions of the kinds come in force.
    pub(super) async fn define(&self) {
        let home = Home::new();
        let mut definitions = home.command(&["crds", "apply"]);
        definitions.env("KUBECONFIG", self.cluster.kubeconfig(ADMIN));
        assert!(definitions.stdout(std::process::Stdio::null()).status().await.unwrap().success());
    }

    /// The same with v1's definitions of the kinds.
    pub(super) async fn start_with_v1s_definitions(options: RegistryOptions) -> Option<Self> {
        let lab = Self::with(options).await?;
        let definitions = lab.cluster.tool("ratify-v1-module").join("charts/ratify/crds");
        let apply = ["apply", "--server-side", "-f", definitions.to_str().unwrap()];
        lab.cluster.must(&apply).await;
        lab.fill().await;
        Some(lab)
    }

    async fn with(options: RegistryOptions) -> Option<Self> {
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        let registry = RunningRegistry::start(options).await.unwrap();
        put_app(&registry);
        let authority = std::fs::read(cluster.ca_path()).unwrap();
        let authority = reqwest::Certificate::from_pem(&authority).unwrap();
        // Another test of this binary may have been first: the provider is the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]);
        let client = client.timeout(Duration::from_secs(20)).build().unwrap();
        Some(Self { cluster, registry, client })
    }

    /// Waits for our kinds; a store and a policy come to be.
    async fn fill(&self) {
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        self.cluster.must(&established).await;
        let is_plain = self.registry.ca_pem().is_none();
        let store = json!({"name": "oras", "parameters": {"useHttp": is_plain}});
        self.apply("stores", "store-oras", &store).await;
        let rule = json!({"artifactVerificationPolicies": {"default": "all"}});
        let policy = json!({"type": "config-policy", "parameters": rule});
        self.apply("policies", "ratify-policy", &policy).await;
    }

    pub(super) fn image(&self) -> String {
        format!("{}/app:v1", self.registry.host())
    }

    /// Pushes a plugin as v1's guide does: a manifest with one layer.
    pub(super) fn push(&self, tag: &str, program: &[u8]) -> Pushed {
        let layer = self.registry.put_blob("plugins/judge", program.to_vec()).unwrap();
        let config = self.registry.put_blob("plugins/judge", "{}").unwrap();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer, "size": program.len(),
            }],
        });
        let type_ = "application/vnd.oci.image.manifest.v1+json";
        let manifest = Bytes::from(manifest.to_string());
        let put = self.registry.put_manifest("plugins/judge", Some(tag), type_, manifest);
        Pushed { root: put.unwrap().digest.to_string(), program: layer.to_string() }
    }

    /// The reference of a plugin by way of a host, the registry or a proxy before it.
    pub(super) fn plugin(&self, host: &str, tag: &str) -> String {
        format!("{host}/plugins/judge:{tag}")
    }

    /// A verifier that judges everything by a plugin.
    pub(super) fn judge(&self, artifact: &str) -> Value {
        json!({"name": "judge", "artifactTypes": "*", "source": {"artifact": artifact}})
    }

    fn path(&self, plural: &str, name: &str) -> String {
        format!("{}/{GROUP}/{plural}/{name}", self.cluster.url())
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request.bearer_auth(self.cluster.token(ADMIN)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    /// Makes the spec of a resource of the cluster this one; the object is returned.
    pub(super) async fn apply(&self, plural: &str, name: &str, spec: &Value) -> Value {
        let kind = match plural {
            "verifiers" => "Verifier",
            "stores" => "Store",
            "policies" => "Policy",
            other => panic!("{other}"),
        };
        let object = json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": kind,
            "metadata": {"name": name}, "spec": spec,
        });
        let url = self.path(plural, name) + "?fieldManager=test&force=true";
        let request = self.client.patch(url).header("content-type", "application/apply-patch+yaml");
        let (status, object) = self.send(request.body(object.to_string())).await;
        assert!((200..300).contains(&status), "{name}: {object}");
        object
    }

    /// Creates an object of any shape; the API server's answer is returned.
    pub(super) async fn try_create(&self, plural: &str, object: &Value) -> u16 {
        let namespace = object["metadata"]["namespace"].as_str();
        let namespace = namespace.map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        let url = format!("{}/{GROUP}{namespace}/{plural}", self.cluster.url());
        let request = self.client.post(url).header("content-type", "application/json");
        self.send(request.body(object.to_string())).await.0
    }

    pub(super) async fn get(&self, plural: &str, name: &str) -> Value {
        let (status, object) = self.send(self.client.get(self.path(plural, name))).await;
        assert_eq!(status, 200, "{name}: {object}");
        object
    }

    pub(super) async fn list(&self, plural: &str) -> Vec<Value> {
        let url = format!("{}/{GROUP}/{plural}", self.cluster.url());
        let (status, list) = self.send(self.client.get(url)).await;
        assert_eq!(status, 200, "{list}");
        list["items"].as_array().unwrap().clone()
    }

    pub(super) async fn delete(&self, plural: &str, name: &str) {
        let (status, answer) = self.send(self.client.delete(self.path(plural, name))).await;
        assert_eq!(status, 200, "{name}: {answer}");
    }

    /// Replaces a whole status, as v1 does.
    pub(super) async fn put_status(&self, plural: &str, name: &str, new: &Value) {
        for _ in 0..50 {
            let mut object = self.get(plural, name).await;
            object["status"] = new.clone();
            let request = self.client.put(self.path(plural, name) + "/status");
            let request = request.header("content-type", "application/json");
            match self.send(request.body(object.to_string())).await {
                (409, _) => {}
                (200, _) => return,
                (status, answer) => panic!("{status} {answer}"),
            }
        }
        panic!("others write the status of {name} all the time");
    }

    /// Changes part of a status by a merge patch.
    pub(super) async fn patch_status(&self, plural: &str, name: &str, part: &Value) {
        let request = self.client.patch(self.path(plural, name) + "/status");
        let request = request.header("content-type", "application/merge-patch+json");
        let body = json!({"status": part}).to_string();
        let (status, answer) = self.send(request.body(body)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Waits until a resource is as wanted; it is returned.
    pub(super) async fn until(
        &self,
        plural: &str,
        name: &str,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let object = self.get(plural, name).await;
            if is_wanted(&object) {
                return object;
            }
            assert!(std::time::Instant::now() < end, "{name} never was as wanted: {object}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Nobody writes to any resource of these kinds for this long.
    pub(super) async fn is_quiet(&self, plurals: &[&str], time: Duration) {
        let before = self.versions(plurals).await;
        tokio::time::sleep(time).await;
        assert_eq!(self.versions(plurals).await, before);
    }

    /// Waits until nobody writes any more.
    pub(super) async fn settle(&self, plurals: &[&str]) {
        let end = std::time::Instant::now() + PATIENCE;
        let mut before = self.versions(plurals).await;
        loop {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let now = self.versions(plurals).await;
            if now == before {
                return;
            }
            assert!(
                std::time::Instant::now() < end,
                "there is no end of writes: {before:?} {now:?}"
            );
            before = now;
        }
    }

    async fn versions(&self, plurals: &[&str]) -> Vec<(String, String)> {
        let mut versions = Vec::new();
        for plural in plurals {
            versions.extend(self.list(plural).await.iter().map(|object| {
                let text = |key: &str| object["metadata"][key].as_str().unwrap().to_owned();
                (text("name"), text("resourceVersion"))
            }));
        }
        versions
    }

    /// A kubeconfig of the administrator, for the API server at this URL.
    pub(super) fn kubeconfig(&self, folder: &std::path::Path, url: &str) -> PathBuf {
        let cluster = json!({"server": url, "certificate-authority": self.cluster.ca_path()});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": self.cluster.token(ADMIN)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let path = folder.join("kubeconfig.json");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// A replica that is not started yet.
    pub(super) fn replica(&self, name: &'static str) -> Replica {
        self.replica_by(name, &self.cluster.url())
    }

    /// The same, by way of a proxy before the API server.
    pub(super) fn replica_by(&self, name: &'static str, url: &str) -> Replica {
        let mut home = Home::new();
        home.allow_sources();
        home.configure(&json!({}));
        if self.registry.ca_pem().is_some() {
            let ca = home.path().join("registry.pem");
            self.registry.write_ca(&ca).unwrap();
            home.set("SSL_CERT_FILE", ca.display().to_string());
        }
        let kubeconfig = self.kubeconfig(home.path(), url);
        Replica { home, name, kubeconfig, server: None, probes: free_address() }
    }

    /// The same as v1.4.0 itself.
    pub(super) fn v1_by(&self, url: &str) -> Replica {
        let mut replica = self.replica_by("v1", url);
        replica.home.program = self.cluster.tool("ratify-v1");
        replica
    }

    /// A proxy before the API server.
    pub(super) async fn api_proxy(&self) -> Proxy {
        let api = self.cluster.url().replace("https://", "");
        Proxy::over_tls(&api, self.cluster.folder()).await
    }
}

impl Replica {
    /// Starts and waits until it listens.
    pub(super) async fn start(&mut self) {
        assert!(self.server.is_none());
        let address = free_address();
        let arguments = ["serve", "--enable-crd-manager", "--http", &address];
        let mut command = self.home.command(&arguments);
        command.args(["--health-port", &self.probes]);
        command.env("KUBECONFIG", &self.kubeconfig).env("HOSTNAME", self.name);
        command.stdout(std::process::Stdio::null());
        self.server = Some(Server::run(command).await);
        // v1 says so before it listens.
        let end = std::time::Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(std::time::Instant::now() < end, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the kubelet would have it asked.
    pub(super) async fn is_ready(&self) -> bool {
        let answer = reqwest::get(format!("http://{}/readyz", self.probes)).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until it is.
    pub(super) async fn until_ready(&self) {
        let end = std::time::Instant::now() + PATIENCE;
        while !self.is_ready().await {
            assert!(std::time::Instant::now() < end, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it without a goodbye, as a node does that loses its power. What it said is returned.
    pub(super) async fn kill(&mut self) -> String {
        let mut server = self.server.take().unwrap();
        server.process.kill().await.unwrap();
        server.log()
    }

    /// Ends it as a pod is ended that has a while for it.
    pub(super) async fn terminate(&mut self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
        let mut server = self.server.take().unwrap();
        let ended = tokio::time::timeout(PATIENCE, server.process.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {}", server.log())).unwrap();
    }

    pub(super) fn pid(&self) -> rustix::process::Pid {
        let id = self.server.as_ref().unwrap().process.id().unwrap();
        rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap()
    }

    pub(super) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// What it said, apart from what it says about each request.
    pub(super) fn log(&self) -> String {
        let log = self.server().log();
        let is_said = |line: &&str| {
            line.starts_with("time=")
                && !line.contains("trace-id=")
                && !line.contains("verification response")
        };
        log.lines().filter(is_said).map(|line| format!("{line}\n")).collect()
    }

    /// What the verifier `judge` says about an image; `Err` with the item where it does not accept.
    pub(super) async fn says(&self, image: &str) -> Result<String, Value> {
        let item = self.server().ask(image).await;
        let reports = &item["value"]["verifierReports"];
        match (&item["value"]["isSuccess"], reports[0]["message"].as_str()) {
            (Value::Bool(true), Some(message)) => Ok(message.to_owned()),
            _ => Err(item),
        }
    }

    /// Waits until the verifier says this.
    pub(super) async fn until_says(&self, image: &str, wanted: &str) {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let said = self.says(image).await;
            if said.as_deref() == Ok(wanted) {
                return;
            }
            assert!(std::time::Instant::now() < end, "{said:?}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What [`programs_in`] says of its plugin directory.
    pub(super) fn programs(&self) -> (Vec<String>, Vec<String>) {
        programs_in(&self.home.plugins())
    }

    /// A number of `/proc/<pid>/status`, in KiB.
    pub(super) fn memory(&self, key: &str) -> u64 {
        let id = self.server().process.id().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap()
    }
}

/// The installed programs by their digests, each of which is that of its bytes, and the names of what
/// is there besides.
pub(super) fn programs_in(plugins: &std::path::Path) -> (Vec<String>, Vec<String>) {
    let (mut whole, mut others) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(plugins.join(".store/sha256")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match format!("sha256:{name}").parse::<Digest>() {
            Err(_) => others.push(name),
            Ok(digest) => {
                let bytes = std::fs::read(&path).unwrap();
                let found = ratify_store_oras::digest_of(Algorithm::Sha256, &bytes);
                assert_eq!(found, digest, "{} bytes", bytes.len());
                whole.push(digest.to_string());
            }
        }
    }
    (whole, others)
}

/// An object's status says that it is in force as its spec says, now.
pub(super) fn is_active(object: &Value) -> bool {
    let (status, generation) = (&object["status"], &object["metadata"]["generation"]);
    status["issuccess"] == true && status["observedGeneration"] == *generation
}

/// Why a status says that something is or is not in force.
pub(super) fn reason(object: &Value) -> &str {
    object["status"]["conditions"][0]["reason"].as_str().unwrap_or_default()
}
