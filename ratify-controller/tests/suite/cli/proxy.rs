//! A proxy before a registry or an API server. It sees every request, and a test says what becomes
//! of each: passed on, answered otherwise, held back, or cut off after so many bytes.

use std::{
    future::pending,
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A request as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    /// The path with its query.
    pub(super) path: String,
    pub(super) body: String,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Pass,
    /// This response, and the server is not asked.
    Answer(String),
    /// The connection ends, and the server is not asked.
    Cut,
    /// The server is not asked, and the client waits.
    Hold,
    /// The same until it is told to go on; then the server is asked.
    Until(Arc<Notify>),
    /// So many bytes of the response arrive, and the client waits for more.
    After(u64),
    /// Its head and so many bytes of its body do, and the client waits for more.
    InBody(usize),
    /// It arrives a byte at a time.
    Drip,
}

/// How long after one byte the next arrives, of what arrives a byte at a time.
const DRIP: Duration = Duration::from_millis(100);

type Rule = Box<dyn FnMut(&Asked) -> Fate + Send>;

/// Ends with the test.
pub(super) struct Proxy {
    address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    server: String,
    tls: Option<(TlsAcceptor, TlsConnector)>,
    rule: Mutex<Rule>,
    /// Something was held back.
    held: Notify,
    /// Counts up when all connections are to end.
    cut: watch::Sender<u64>,
}

impl Proxy {
    /// Before a server that speaks plain HTTP.
    pub(super) async fn plain(server: &str) -> Self {
        Self::start(server, None).await
    }

    /// Before a server with the certificates of a folder: `ca.pem`, `cert.pem` and `key.pem`.
    pub(super) async fn over_tls(server: &str, folder: &Path) -> Self {
        // Another test of this binary may have been first: the provider is the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let certificate = |name: &str| CertificateDer::from_pem_file(folder.join(name)).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
        let acceptor = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate("cert.pem")], key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let connector =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tls = (Arc::new(acceptor).into(), Arc::new(connector).into());
        Self::start(server, Some(tls)).await
    }

    async fn start(server: &str, tls: Option<(TlsAcceptor, TlsConnector)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            tls,
            rule: Mutex::new(Box::new(|_| Fate::Pass)),
            held: Notify::new(),
            cut: watch::Sender::new(0),
        });
        let kept = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut cut = shared.cut.subscribe();
                    tokio::select! {
                        // A connection may break at any time: that is what this is for.
                        _ = shared.connection(stream) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, shared, task }
    }

    /// `127.0.0.1:port`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What becomes of requests from now on.
    pub(super) fn rule(&self, rule: impl FnMut(&Asked) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// Every connection ends now.
    pub(super) fn cut(&self) {
        self.shared.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Waits until something was held back.
    pub(super) async fn held(&self) {
        self.shared.held.notified().await;
    }

    /// Forgets that something was held back.
    pub(super) fn forget_held(&self) {
        self.shared.held.notify_one();
        let notified = self.shared.held.notified();
        let _ = futures_util::FutureExt::now_or_never(notified);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Shared {
    async fn connection(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let server = TcpStream::connect(&self.server).await?;
        server.set_nodelay(true)?;
        match &self.tls {
            None => self.relay(client, server).await,
            Some((acceptor, connector)) => {
                let name = ServerName::try_from("127.0.0.1").unwrap();
                let server = connector.connect(name, server).await?;
                self.relay(acceptor.accept(client).await?, server).await
            }
        }
    }

    /// Requests go one way and responses the other; a response that is not done when a request
    /// comes does not occur in HTTP/1.1 without pipelining, which no client here does.
    async fn relay<C, S>(&self, client: C, server: S) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite,
        S: AsyncRead + AsyncWrite,
    {
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let (say, fates) = watch::channel(Fate::Pass);
        let (reply, replies) = mpsc::channel::<String>(1);
        let requests = async {
            let mut read = Vec::new();
            while let Some((bytes, asked)) = request(&mut from_client, &mut read).await? {
                let fate = (self.rule.lock().unwrap())(&asked);
                say.send_replace(fate.clone());
                match fate {
                    Fate::Pass | Fate::After(_) | Fate::InBody(_) | Fate::Drip => {
                        to_server.write_all(&bytes).await?;
                    }
                    Fate::Answer(response) => drop(reply.send(response).await),
                    Fate::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
                    Fate::Hold => {
                        self.held.notify_one();
                        pending::<()>().await;
                    }
                    Fate::Until(told) => {
                        self.held.notify_one();
                        told.notified().await;
                        to_server.write_all(&bytes).await?;
                    }
                }
            }
            io::Result::Ok(())
        };
        let responses = self.responses(&mut from_server, &mut to_client, fates, replies);
        tokio::select! {
            ended = requests => ended,
            ended = responses => ended,
        }
    }

    /// What arrives of each response is what its request's fate says.
    async fn responses(
        &self,
        from_server: &mut (impl AsyncRead + Unpin),
        to_client: &mut (impl AsyncWrite + Unpin),
        mut fates: watch::Receiver<Fate>,
        mut replies: mpsc::Receiver<String>,
    ) -> io::Result<()> {
        let mut chunk = vec![0; 8192];
        let (mut left, mut drips) = (usize::MAX, false);
        loop {
            let read = tokio::select! {
                Some(response) = replies.recv() => {
                    to_client.write_all(response.as_bytes()).await?;
                    continue;
                }
                read = from_server.read(&mut chunk) => read?,
            };
            if read == 0 {
                return Ok(());
            }
            if fates.has_changed().unwrap_or(false) {
                (left, drips) = match *fates.borrow_and_update() {
                    Fate::After(count) => (usize::try_from(count).unwrap(), false),
                    Fate::InBody(count) => (head(&chunk[..read]).unwrap() + count, false),
                    Fate::Drip => (usize::MAX, true),
                    _ => (usize::MAX, false),
                };
            }
            if drips {
                self.held.notify_one();
                for byte in &chunk[..read] {
                    to_client.write_all(&[*byte]).await?;
                    to_client.flush().await?;
                    tokio::time::sleep(DRIP).await;
                }
                continue;
            }
            let passed = read.min(left);
            to_client.write_all(&chunk[..passed]).await?;
            to_client.flush().await?;
            if left != usize::MAX {
                left -= passed;
                if left == 0 {
                    // What arrived is dealt with, and nothing more comes.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    self.held.notify_one();
                    pending::<()>().await;
                }
            }
        }
    }
}

/// How many bytes the head has that is at the start.
fn head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The next request, with its body; `None` where the client is done.
async fn request(
    client: &mut (impl AsyncRead + Unpin),
    read: &mut Vec<u8>,
) -> io::Result<Option<(Vec<u8>, Asked)>> {
    let mut chunk = vec![0; 8192];
    loop {
        if read.first().is_some_and(|first| !first.is_ascii_uppercase()) {
            // A client that tries whether this is TLS: the server has to say that it is not.
            let (method, path, body) = Default::default();
            let asked = Asked { method, path, body };
            return Ok(Some((std::mem::take(read), asked)));
        }
        if let Some((length, asked)) = whole(read) {
            let bytes = read.drain(..length).collect();
            return Ok(Some((bytes, asked)));
        }
        match client.read(&mut chunk).await? {
            0 => return Ok(None),
            length => read.extend_from_slice(&chunk[..length]),
        }
    }
}

/// The length of the request at the start, and what it is, if it is all there.
fn whole(bytes: &[u8]) -> Option<(usize, Asked)> {
    let head = head(bytes)?;
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let lines = lines.filter_map(|line| line.split_once(": "));
    let mut length = 0;
    for (name, value) in lines {
        assert!(!name.eq_ignore_ascii_case("transfer-encoding"), "{text}");
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let body = bytes.get(head..head + length)?;
    let body = String::from_utf8_lossy(body).into_owned();
    Some((head + length, Asked { method, path, body }))
}
