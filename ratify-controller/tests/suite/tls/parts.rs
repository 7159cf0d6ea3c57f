//! Authorities, a server that is a process, and `openssl s_client`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
};
use tokio_rustls::TlsAcceptor;

use crate::{host, parity::machines::Machines};

/// How long something may take that takes about a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// A request that any server answers, with 404.
pub(super) const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// What the answer to it ends with.
pub(super) const ANSWER: &str = "404 page not found";

/// Somebody who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A server, its files, and what it said. It ends with the test.
pub(super) struct Site {
    folder: tempfile::TempDir,
    openssl: PathBuf,
    pub(super) process: Child,
    pub(super) address: String,
}

/// A client's connection that stays open as long as the server likes.
pub(super) struct Kept {
    ask: ChildStdin,
    told: ChildStdout,
    _process: Child,
}

impl Identity {
    /// What shakes hands as this, whoever the client is.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let chain = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `localhost`, good for servers and for clients.
    pub(super) fn issue(&self) -> Identity {
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue_for(usages)
    }

    pub(crate) fn issue_for(&self, usages: Vec<ExtendedKeyUsagePurpose>) -> Identity {
        self.issue_named("localhost", usages)
    }

    /// A certificate for this name.
    pub(crate) fn issue_named(&self, name: &str, usages: Vec<ExtendedKeyUsagePurpose>) -> Identity {
        self.issue_for_names(&[name], usages)
    }

    /// A certificate for each of these names.
    pub(crate) fn issue_for_names(
        &self,
        names: &[&str],
        usages: Vec<ExtendedKeyUsagePurpose>,
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, "anybody");
        parameters.extended_key_usages = usages;
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

impl Identity {
    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("tls.crt"), &self.certificate).unwrap();
        fs::write(folder.join("tls.key"), &self.key).unwrap();
    }
}

impl Site {
    /// Starts with the pair of an identity and, where the files have been prepared so, with the
    /// authority of clients at `client/ca.crt`.
    pub(super) async fn start(identity: &Identity, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let machines = Machines::find()?;
        let folder = tempfile::tempdir().unwrap();
        identity.write(&folder.path().join("tls"));
        fs::create_dir(folder.path().join("client")).unwrap();
        prepare(folder.path());
        let mut site = Self {
            openssl: machines.tool("openssl"),
            process: serve(folder.path(), &["--ca-cert-file", "client/ca.crt"]),
            address: String::new(),
            folder,
        };
        site.until_said("Starting TLS certificate watcher").await;
        site.address = address(&site.said());
        Some(site)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn said(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits until the log has this text.
    pub(super) async fn until_said(&self, text: &str) {
        self.until_said_times(text, 1).await;
    }

    pub(super) async fn until_said_times(&self, text: &str, times: usize) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.said().matches(text).count() < times {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "{text:?} is not said {times} times: {}", self.said());
    }

    /// Puts an authority of clients in place at once.
    pub(super) fn require_clients_of(&self, authority: &Authority) {
        self.require_clients_of_all(&[authority]);
    }

    pub(super) fn require_clients_of_all(&self, authorities: &[&Authority]) {
        let bundle: String = authorities.iter().map(|authority| authority.pem()).collect();
        fs::write(self.path("client/new"), bundle).unwrap();
        fs::rename(self.path("client/new"), self.path("client/ca.crt")).unwrap();
    }

    /// A client that trusts an authority, perhaps with a certificate of its own.
    pub(super) fn client(&self, trusted: &Authority, own: Option<&Identity>) -> Command {
        let trusted = self.written("trusted.pem", &trusted.pem());
        let mut command = Command::new(&self.openssl);
        command.args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname"]);
        command.args(["localhost", "-connect", &self.address, "-CAfile"]).arg(trusted);
        if let Some(own) = own {
            let certificate = self.written("own.crt", &own.certificate);
            let key = self.written("own.key", &own.key);
            command.arg("-cert").arg(certificate).arg("-key").arg(key);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// A connection that stays open.
    pub(super) fn keep(&self, trusted: &Authority, own: Option<&Identity>) -> Kept {
        let mut process = self.client(trusted, own).spawn().unwrap();
        let (ask, told) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Kept { ask, told, _process: process }
    }

    /// What a client gets for [`REQUEST`], with all that it says of the connection.
    pub(super) async fn ask(
        &self,
        trusted: &Authority,
        own: Option<&Identity>,
        options: &[&str],
    ) -> String {
        let mut child = self.client(trusted, own).args(options).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // The server may have refused before this is written.
        drop(stdin.write_all(REQUEST.as_bytes()).await);
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let output = ended.unwrap().unwrap();
        drop(stdin);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Whether a client is answered.
    pub(super) async fn answers(&self, trusted: &Authority, own: Option<&Identity>) -> bool {
        self.ask(trusted, own, &[]).await.contains(ANSWER)
    }

    /// Waits until clients are answered, or are not.
    pub(super) async fn until_answers(
        &self,
        trusted: &Authority,
        own: Option<&Identity>,
        wanted: bool,
    ) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.answers(trusted, own).await != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(waited.await.is_ok(), "never {wanted}: {}", self.said());
    }

    /// Runs `openssl`, which has to succeed, beside the server's files.
    pub(super) fn openssl(&self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = std::process::Command::new(&self.openssl);
        let output = command.args(&words).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn written(&self, name: &str, text: &str) -> PathBuf {
        // Each client its own, since several may start at once.
        let path = self.path(&format!("{}-{name}", uuid::Uuid::new_v4()));
        fs::write(&path, text).unwrap();
        path
    }
}

impl Kept {
    /// Sends a request, or a part of one, which may be refused.
    pub(super) async fn send(&mut self, text: &str) {
        drop(self.ask.write_all(text.as_bytes()).await);
    }

    /// Sends this, and waits until the answer ends with that.
    pub(super) async fn until_told(&mut self, text: &str, end: &str) {
        self.send(text).await;
        let mut told = String::new();
        while !told.contains(end) {
            let more = self.read().await;
            assert_ne!(more, "", "the connection ended: {told}");
            told.push_str(&more);
        }
    }

    /// Sends this, and returns all that comes until the connection ends, as it has to.
    pub(super) async fn until_ended(&mut self, text: &str) -> String {
        self.send(text).await;
        let mut told = String::new();
        loop {
            let more = self.read().await;
            if more.is_empty() {
                return told;
            }
            told.push_str(&more);
        }
    }

    async fn read(&mut self) -> String {
        let mut buffer = [0; 1024];
        let read = tokio::time::timeout(PATIENCE, self.told.read(&mut buffer)).await;
        String::from_utf8_lossy(&buffer[..read.unwrap().unwrap()]).into_owned()
    }
}

/// `ratify serve` with `tls` as its directory; its log is the file `log`.
pub(super) fn serve(folder: &Path, more: &[&str]) -> Child {
    let config = json!({
        "store": {"plugins": [{"name": "oras"}]},
        "policy": {"plugin": {"name": "configPolicy"}},
        "verifier": {"plugins": [{"name": "yes", "artifactTypes": "*"}]},
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::create_dir_all(folder.join(".ratify/plugins")).unwrap();
    host::script(&folder.join(".ratify/plugins"), "yes", "exit 0");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratify"));
    command.args(["serve", "--http", "127.0.0.1:0", "--config", "config.json"]);
    command.args(["--cert-dir", "tls"]).args(more);
    command.env_clear().env("HOME", folder).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(folder.join("log")).unwrap());
    command.spawn().unwrap()
}

fn address(log: &str) -> String {
    let (_, rest) = log.split_once("starting server at ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}
