//! Programs that are not ours: where they are, how they start, and that they end with the test.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::cluster::server::quiet_port;

/// User and password of the registry that asks for them.
pub(crate) const USER: &str = "user";
pub(crate) const PASSWORD: &str = "hunter2";

/// What certificates are for beside loopback, whose certificates v1 does not check.
pub(crate) const NAME: &str = "registry.example.com";

/// The tools and the plugins that `cargo xtask test` brings.
pub(crate) struct Machines {
    tools: serde_json::Value,
    plugins: PathBuf,
}

/// A process that listens; it ends with the test.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

impl Machines {
    /// What there is, or `None` and a loud line.
    pub(crate) fn find() -> Option<Self> {
        let paths = ["RATIFY_TOOLS", "RATIFY_PLUGINS"].map(|name| (name, std::env::var_os(name)));
        for (name, path) in &paths {
            if path.is_none() {
                assert!(std::env::var_os("CI").is_none(), "{name} is not set, and this is CI");
                eprintln!("SKIPPED: {name} is not set; run `cargo xtask test`");
                return None;
            }
        }
        let [tools, plugins] = paths.map(|(_, path)| PathBuf::from(path.unwrap()));
        let tools = serde_json::from_slice(&std::fs::read(tools).unwrap()).unwrap();
        Some(Self { tools, plugins })
    }

    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        let path = self.tools[name].as_str();
        path.unwrap_or_else(|| panic!("RATIFY_TOOLS has no {name}")).into()
    }

    /// One of our plugins, built for this machine.
    pub(crate) fn plugin(&self, folder: &str, program: &str) -> PathBuf {
        let path = self.plugins.join(folder).join("linux-amd64").join(program);
        assert!(path.is_file(), "{} is missing; run `cargo xtask test`", path.display());
        path
    }

    /// go-containerregistry's registry, with the Referrers API; over TLS where a folder is given,
    /// which gets `ca.pem`.
    pub(crate) async fn registry_with_api(&self, tls: Option<&Path>) -> Server {
        let mut command = Command::new(self.tool("registry-referrers"));
        if let Some(folder) = tls {
            certificates(folder);
            command.arg("-cert").arg(folder.join("cert.pem"));
            command.arg("-key").arg(folder.join("key.pem"));
        }
        let mut process = start(command.stdout(Stdio::piped()));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.next_line().await.unwrap().expect("the registry says its address");
        Server { process, address }
    }

    /// distribution's registry: no Referrers API, and a password.
    pub(crate) async fn registry_with_tags(&self, folder: &Path) -> Server {
        self.registry_with_tags_and(folder, false).await
    }

    /// The same over TLS, with `ca.pem` in the folder.
    pub(crate) async fn registry_with_tags_over_tls(&self, folder: &Path) -> Server {
        certificates(folder);
        self.registry_with_tags_and(folder, true).await
    }

    async fn registry_with_tags_and(&self, folder: &Path, is_tls: bool) -> Server {
        std::fs::create_dir_all(folder).unwrap();
        let hashed = Command::new(self.tool("htpasswd"))
            .args(["-Bbn", "-C", "4", USER, PASSWORD])
            .output()
            .await
            .unwrap();
        std::fs::write(folder.join("htpasswd"), hashed.stdout).unwrap();
        let path = folder.display();
        let tls = if is_tls {
            format!("  tls:\n    certificate: {path}/cert.pem\n    key: {path}/key.pem\n")
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n  formatter: json\nstorage:\n  filesystem:\n    \
             rootdirectory: {path}/data\nhttp:\n  addr: 127.0.0.1:0\n{tls}auth:\n  htpasswd:\n    \
             realm: r\n    path: {path}/htpasswd\n"
        );
        std::fs::write(folder.join("config.yml"), config).unwrap();
        let mut command = Command::new(self.tool("registry"));
        command.arg("serve").arg(folder.join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
        let mut process = start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("the registry says its address");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([',', '"']).next().unwrap().to_owned();
            }
        };
        // Its log goes on; nobody reading it would end it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Server { process, address }
    }
}

impl Server {
    /// Starts a command that is told its address, and waits until it listens. Somebody else may
    /// take the address first; then the command ends at once and gets another one.
    pub(crate) async fn listening(command: impl Fn(&str) -> Command) -> Self {
        for _ in 0..3 {
            let address = free_address();
            let mut command = command(&address);
            let process = start(command.stdout(Stdio::null()).stderr(Stdio::null()));
            if let Some(server) = Self::awaited(process, address).await {
                return server;
            }
        }
        panic!("the server ended at once, three times");
    }

    /// Starts a command at an address that was had before, and waits until it listens.
    pub(crate) async fn listening_at(address: &str, mut command: Command) -> Self {
        let process = start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let server = Self::awaited(process, address.to_owned()).await;
        server.unwrap_or_else(|| panic!("the server at {address} ended at once"))
    }

    /// Ends it at once, and waits until it has ended.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    async fn awaited(mut process: Child, address: String) -> Option<Self> {
        for _ in 0..500 {
            let listens = TcpStream::connect(&address).await.is_ok();
            if process.try_wait().unwrap().is_some() {
                return None;
            }
            if listens {
                return Some(Self { process, address });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nothing listens on {address}");
    }
}

/// An address that nothing listens on, and that nobody is given who asks for any.
pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", quiet_port())
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

/// A private authority and a certificate of it for the loopback names and [`NAME`].
pub(crate) fn certificates(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let names = ["localhost", "127.0.0.1", NAME].map(str::to_owned);
    let mut server = CertificateParams::new(names).unwrap();
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = server.signed_by(&key, &authority).unwrap();
    for (name, pem) in [
        ("ca.pem", authority.pem()),
        ("cert.pem", certificate.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), pem).unwrap();
    }
}
