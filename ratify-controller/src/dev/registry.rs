//! [`RunningRegistry`]: start it, put things into it, look at what it was asked, end it.

use std::{
    convert::Infallible,
    io,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use ratify_core::{Algorithm, Descriptor, Digest};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    faults::{Fault, Liar},
    honest::Registry,
    route::{checked_name, checked_tag},
    server::{SeenRequest, Shared, accept},
    storage::{Full, lock},
    tls::{CertificateError, identity},
};

/// How a registry is to run. The default is plain HTTP on a free port of 127.0.0.1, with the
/// Referrers API, without a password, holding at most 1 GiB, telling no lies.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Where to listen: a loopback address; port 0 is any free port.
    pub address: SocketAddr,
    /// HTTPS, by a certificate authority made at start ([`RunningRegistry::ca_pem`]).
    pub tls: bool,
    /// What the certificate is for beside loopback names: what a hosts file may call this registry.
    pub host_names: Vec<String>,
    /// The most entries in one page of referrers or tags; at least 1.
    pub page_size: usize,
    /// Whether there is a Referrers API. Without it clients fall back to the tag schema.
    pub referrers_api: bool,
    /// The user and password every request must carry (basic authentication).
    pub credentials: Option<(String, String)>,
    /// The most bytes held in memory: blobs, manifests and uploads under way.
    pub max_bytes: u64,
    /// The lies to tell from the start.
    pub faults: Vec<Fault>,
    /// Serve so many requests a second, and answer the others with 429 and `Retry-After`.
    pub requests_per_second: Option<u32>,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            host_names: Vec::new(),
            page_size: 1000,
            referrers_api: true,
            credentials: None,
            max_bytes: 1 << 30,
            faults: Vec::new(),
            requests_per_second: None,
        }
    }
}

/// Why a registry did not start, or did not take something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The address is reachable from elsewhere.
    #[error("the registry listens on loopback addresses only, and {0} is none")]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("listening on {address} failed: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There is no certificate to serve with.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The registry serves plain HTTP and has no certificate authority.
    #[error("the registry serves plain HTTP: there is no certificate authority to write")]
    NoAuthority,
    /// The certificate authority could not be written.
    #[error("writing the certificate authority to {} failed: {source}", path.display())]
    WriteAuthority {
        /// The file asked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A name that is no repository's, or a tag that is none.
    #[error("{0:?} is no repository name or tag")]
    Name(String),
    /// The registry is full.
    #[error(transparent)]
    Full(#[from] Full),
}

/// A registry that serves until it is dropped.
pub struct RunningRegistry {
    address: SocketAddr,
    ca_pem: Option<String>,
    pub(super) shared: Arc<Shared>,
    task: JoinHandle<Infallible>,
}

impl RunningRegistry {
    /// Starts a registry on the current tokio runtime.
    ///
    /// # Errors
    /// When the address is not a loopback address or cannot be had, or no certificate can be made.
    pub async fn start(options: RegistryOptions) -> Result<Self, RegistryError> {
        let RegistryOptions { address, .. } = options;
        if !address.ip().is_loopback() {
            return Err(RegistryError::NotLoopback(address));
        }
        let identity = if options.tls { Some(identity(&options.host_names)?) } else { None };
        let (acceptor, ca_pem) = identity.map(|i| (i.acceptor, i.ca_pem)).unzip();
        let failed = |source| RegistryError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let registry = Registry::new(
            options.max_bytes,
            options.page_size,
            options.referrers_api,
            options.credentials.as_ref(),
        );
        let liar = Liar::new(options.faults);
        let shared = Arc::new(Shared::new(registry, liar, options.requests_per_second));
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Ok(Self { address, ca_pem, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The registry part of an image reference: `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:port` or `https://127.0.0.1:port`.
    pub fn url(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate authority to trust, PEM; `None` for plain HTTP.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Writes [`Self::ca_pem`] to a file, which appears whole or not at all.
    ///
    /// # Errors
    /// For plain HTTP, and when the file cannot be written.
    pub fn write_ca(&self, path: &Path) -> Result<(), RegistryError> {
        let pem = self.ca_pem.as_deref().ok_or(RegistryError::NoAuthority)?;
        write_whole(path, pem.as_bytes())
            .map_err(|source| RegistryError::WriteAuthority { path: path.to_owned(), source })
    }

    /// Keeps a blob in a repository.
    ///
    /// # Errors
    /// When the name is none or the registry is full.
    pub fn put_blob(
        &self,
        repository: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Digest, RegistryError> {
        let name = name(repository)?;
        Ok(self.shared.registry.storage.put_blob(&name, bytes.into())?)
    }

    /// Keeps any bytes as a manifest, tagged if a tag is given: unlike a push, nothing is checked.
    /// What comes back is what a listing of referrers shows for it.
    ///
    /// # Errors
    /// When the name or tag is none or the registry is full.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Descriptor, RegistryError> {
        let name = name(repository)?;
        let bad = |_| RegistryError::Name(tag.unwrap_or_default().to_owned());
        let tags = tag.map(checked_tag).transpose().map_err(bad)?.into_iter().collect::<Vec<_>>();
        let storage = &self.shared.registry.storage;
        Ok(storage.put_manifest(&name, &tags, media_type, bytes.into(), Algorithm::Sha256)?)
    }

    /// The bytes of a manifest, by tag.
    pub fn manifest(&self, repository: &str, tag: &str) -> Option<(Descriptor, Bytes)> {
        let manifest = self.shared.registry.storage.tagged(repository, tag)?;
        Some((manifest.descriptor(), manifest.bytes.clone()))
    }

    /// Removes a manifest and every tag that points to it. False when it was not there.
    pub fn delete_manifest(&self, repository: &str, digest: &Digest) -> bool {
        self.shared.registry.storage.delete_manifest(repository, digest)
    }

    /// Removes a blob from a repository. False when it was not there.
    pub fn delete_blob(&self, repository: &str, digest: &Digest) -> bool {
        self.shared.registry.storage.delete_blob(repository, digest)
    }

    /// The bytes held now.
    pub fn used_bytes(&self) -> u64 {
        self.shared.registry.storage.used()
    }

    /// Tells these lies from now on, and no others; an empty list is honesty.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.shared.liar.set(faults);
    }

    /// How often each fault of the list was told, in its order. A test that expects a refusal
    /// checks that there was something to refuse.
    pub fn lies_told(&self) -> Vec<u64> {
        self.shared.liar.told()
    }

    /// The requests since the start or since [`Self::forget_requests`]; of very many, the last.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.seen()
    }

    /// How many requests were answered with 429 because there were too many.
    pub fn throttled(&self) -> u64 {
        self.shared.throttle.as_ref().map_or(0, |throttle| lock(throttle).refused())
    }

    /// Forgets the requests seen so far.
    pub fn forget_requests(&self) {
        self.shared.forget_seen();
    }

    /// How many connections were taken since the start.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Ends the registry and its connections, and frees the port before it returns.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // The only way this task ends is the abort just asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for RunningRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn name(repository: &str) -> Result<String, RegistryError> {
    checked_name(repository).map_err(|_| RegistryError::Name(repository.to_owned()))
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
