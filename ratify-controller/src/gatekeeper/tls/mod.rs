//! TLS for what the cluster asks: a certificate that changes under running connections, and
//! clients who have to prove who they are as soon as there is an authority to prove it to.
//!
//! - `material`: bytes of files become what rustls serves;
//! - `keeper`: what is in force after a look at the files. Pure, and it never opens a door again;
//! - `admission`: who may come in, and whether who came in before still may;
//! - `handshake`: one client's, bounded in time, with what failed said now and then.
//!
//! The most important item is [`open`].

mod admission;
mod handshake;
mod keeper;
mod material;

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::health::Check;
use keeper::{Keeper, Noted};

pub(super) use admission::Admission;
pub(super) use handshake::shake_hands;
pub(crate) use material::pair;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// More bytes are no certificate, no key and no list of authorities.
const MAX_BYTES: u64 = 1 << 20;

/// The files that TLS is served from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// `tls.crt`: the certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// `tls.key`: its key, as PKCS#1, PKCS#8 or SEC1.
    pub key: PathBuf,
    /// The authorities of clients.
    pub client_ca: Option<PathBuf>,
    /// Whether the pair may be missing at first, since somebody is about to make it.
    pub wait: bool,
    /// How often they are looked at.
    pub interval: Duration,
}

/// What connections use. It changes when the files do.
#[derive(Clone)]
pub struct Tls {
    served: watch::Receiver<Option<Arc<Served>>>,
    open: watch::Receiver<Option<&'static str>>,
    ends: watch::Receiver<Ends>,
    failures: Arc<handshake::Failures>,
}

/// Who is told what is in force.
struct Told {
    served: watch::Sender<Option<Arc<Served>>>,
    open: watch::Sender<Option<&'static str>>,
    ends: watch::Sender<Ends>,
    check: Check,
}

/// Until when what is served is good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The certificate that is shown; `None` while there is none.
    pub(crate) certificate: Option<Timestamp>,
    /// The last of the authorities of clients; `None` where there are none.
    pub(crate) client_ca: Option<Timestamp>,
}

/// What is served at a time.
struct Served {
    /// `None` where nobody may come in.
    config: Option<Arc<rustls::ServerConfig>>,
    clients: admission::Clients,
}

/// TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("{0}")]
pub struct TlsError(String);

impl Tls {
    /// Why anybody may ask, as long as anybody may.
    pub fn open(&self) -> watch::Receiver<Option<&'static str>> {
        self.open.clone()
    }

    /// Until when what is served now is good.
    pub(crate) fn ends(&self) -> Ends {
        *self.ends.borrow()
    }
}

impl TlsFiles {
    /// v1's names in a directory, and the file that the other flag names; empty for none.
    pub fn new(cert_dir: &str, ca_cert_file: &str) -> Self {
        let directory = Path::new(cert_dir);
        Self {
            certificate: directory.join("tls.crt"),
            key: directory.join("tls.key"),
            client_ca: Some(PathBuf::from(ca_cert_file)).filter(|_| !ca_cert_file.is_empty()),
            wait: false,
            interval: INTERVAL,
        }
    }

    fn read(&self) -> keeper::Seen {
        keeper::Seen {
            certificate: read(&self.certificate),
            key: read(&self.key),
            client_ca: self.client_ca.as_deref().map(read),
        }
    }
}

/// Reads the files, and returns what connections use and what has to run to keep it as the files
/// are. `check` is told what is served.
///
/// # Errors
/// When there is no usable pair and nobody is to be waited for; the texts are v1's.
pub fn open(
    files: TlsFiles,
    check: Check,
) -> Result<(Tls, impl Future<Output = ()> + Send), TlsError> {
    tracing::info!(
        "starting server using TLS: [certFile:{}] [keyFile:{}]",
        files.certificate.display(),
        files.key.display()
    );
    let mut keeper = Keeper::new(files.clone());
    let noted = keeper.look(files.read(), Timestamp::now());
    if let Some(error) = noted.pair_error.as_ref().filter(|_| !files.wait) {
        return Err(TlsError(error.clone()));
    }
    let (served_to, served) = watch::channel(None);
    let (open_to, open) = watch::channel(None);
    let (ends_to, ends) = watch::channel(Ends::default());
    let told = Told { served: served_to, open: open_to, ends: ends_to, check };
    told.publish(&keeper, &noted);
    if keeper.is_waiting() {
        tracing::info!(
            "waiting for certificates: {}",
            noted.pair_error.as_deref().unwrap_or("there are none")
        );
    }
    tell(Noted { events: Vec::new(), pair_error: None, ..noted });
    tracing::info!("Starting TLS certificate watcher");
    let tls = Tls { served, open, ends, failures: Arc::default() };
    Ok((tls, keep(keeper, files, told)))
}

/// Looks at the files again and again.
async fn keep(mut keeper: Keeper, files: TlsFiles, told: Told) {
    let files = Arc::new(files);
    loop {
        tokio::time::sleep(files.interval).await;
        let reading = Arc::clone(&files);
        // Fails only while the process ends.
        let Ok(seen) = tokio::task::spawn_blocking(move || reading.read()).await else { return };
        let was_waiting = keeper.is_waiting();
        let noted = keeper.look(seen, Timestamp::now());
        told.publish(&keeper, &noted);
        tell(noted);
        if was_waiting && !keeper.is_waiting() {
            let directory = files.certificate.parent().unwrap_or(Path::new(""));
            tracing::info!("certs are ready in {}", directory.display());
        }
    }
}

impl Told {
    fn publish(&self, keeper: &Keeper, noted: &Noted) {
        if !noted.changed {
            return;
        }
        if let Some(config) = keeper.config() {
            let config = config.unwrap_or_else(|error| {
                // Who may come in is in doubt.
                tracing::error!("error re-reading certificates: {error}: nobody may come in");
                None
            });
            let (config, clients) = (config.map(Arc::new), keeper.clients());
            self.served.send_replace(Some(Arc::new(Served { config, clients })));
        }
        self.ends.send_replace(keeper.ends());
        let open = keeper.open();
        self.open.send_if_modified(|said| std::mem::replace(said, open) != open);
        match keeper.standing() {
            Ok(standing) => self.check.ready(standing),
            Err(why) => self.check.waiting(why),
        }
    }
}

fn tell(noted: Noted) {
    for event in noted.events {
        tracing::info!("tls certificate rotation event: {event}");
    }
    for error in noted.pair_error.into_iter().chain(noted.client_error) {
        tracing::error!("error re-reading certificates: {error}");
    }
    for remark in noted.remarks {
        tracing::warn!("{remark}");
    }
}

/// Reads a file of a bounded size. What is no file is not waited for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}
