//! [`Repository`]: a TUF repository that publishes what is trusted, read through the host.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use ratify_core::{Basis, Error, ErrorCode, FetchRequest, Host, Result, UrlSource};
use sigstore_tuf::{
    MemoryStore, MetadataStore, Repository as Transport, Updater, transport::FetchFuture,
};

use crate::config::{Environment, FieldError, Fields, read_file};

/// Sigstore's own repository, and the root that its keys are proven by (version 16, as the crate
/// sigstore-trust-root ships it).
const SIGSTORE: &str = "https://tuf-repo-cdn.sigstore.dev";
const SIGSTORE_ROOT: &[u8] = include_bytes!("sigstore_root.json");
/// The document that is fetched.
const TARGET: &str = "trusted_root.json";
/// How long what was fetched is not asked for again, where the repository vouches for it as long.
const FRESH: Duration = Duration::from_secs(3600);
/// How long one document may take.
const LONGEST: Duration = Duration::from_secs(10);

/// A repository, and what was fetched from it.
pub(super) struct Repository {
    url: String,
    /// The root that is trusted from the start; `None` for Sigstore's.
    root: Option<PathBuf>,
    /// What was proven so far: nothing older is taken again.
    proven: Arc<MemoryStore>,
    fetched: Mutex<Option<Fetched>>,
}

/// A document that the repository vouches for.
#[derive(Clone)]
pub(super) struct Fetched {
    pub(super) bytes: Bytes,
    /// Until when it is vouched for.
    pub(super) valid_until: SystemTime,
    /// When to ask again.
    ask_again: jiff::Timestamp,
}

impl Repository {
    /// Sigstore's own.
    pub(super) fn sigstore() -> Self {
        Self::new(SIGSTORE.to_owned(), None)
    }

    fn new(url: String, root: Option<PathBuf>) -> Self {
        Self { url, root, proven: Arc::default(), fetched: Mutex::default() }
    }

    /// Reads `tuf`: `url` and `root`.
    ///
    /// # Errors
    /// Where one is missing, where the root cannot be used, where a namespace names them.
    pub(super) fn read(fields: &Fields<'_>, environment: &Environment) -> Result<Self> {
        let (url, root) = (fields.text("url")?, fields.text("root")?);
        let (Some(url), Some(root)) = (url, root) else {
            return Err(FieldError::new("tuf", "an object with url and root").into());
        };
        environment.check_url("tuf.url", url)?;
        environment.check_file("tuf.root", root)?;
        let repository = Self::new(url.trim_end_matches('/').to_owned(), Some(root.into()));
        if !environment.is_check {
            sigstore_tuf::TrustedMetadataSet::from_root(&repository.root()?)
                .map_err(|error| failure(&repository.url, error))?;
        }
        Ok(repository)
    }

    fn root(&self) -> Result<Vec<u8>> {
        match &self.root {
            None => Ok(SIGSTORE_ROOT.to_vec()),
            Some(path) => read_file(path).map_err(|error| super::unreadable(path, error)),
        }
    }

    /// What is trusted, as the repository has it.
    ///
    /// # Errors
    /// Where it cannot be had, or is not proven.
    pub(super) async fn trusted_root(
        &self,
        host: &Arc<dyn Host>,
        now: jiff::Timestamp,
    ) -> Result<Fetched> {
        let is_fresh = |fetched: &Fetched| now < fetched.ask_again;
        let kept = self.fetched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(fetched) = kept.filter(is_fresh) {
            return Ok(fetched);
        }
        let fetched = self.fetch(host, now).await?;
        *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) = Some(fetched.clone());
        Ok(fetched)
    }

    async fn fetch(&self, host: &Arc<dyn Host>, now: jiff::Timestamp) -> Result<Fetched> {
        let fail = |error| failure(&self.url, error);
        let transport = ThroughHost { url: self.url.clone(), host: Arc::clone(host) };
        let mut updater = Updater::new(transport, &self.root()?)
            .map_err(fail)?
            .with_store(Proven(Arc::clone(&self.proven)));
        updater.refresh(now).await.map_err(fail)?;
        let bytes = updater.get_target(TARGET, now).await.map_err(fail)?;
        let trusted = updater.trusted();
        let ends = [
            Some(trusted.root().expires),
            trusted.timestamp().map(|role| role.expires),
            trusted.snapshot().map(|role| role.expires),
            trusted.targets_role("targets").map(|role| role.expires),
        ];
        let end = ends.into_iter().flatten().min().unwrap_or(now);
        let soon = now.checked_add(FRESH).unwrap_or(now);
        Ok(Fetched { bytes: bytes.into(), valid_until: end.into(), ask_again: soon.min(end) })
    }

    pub(super) fn add_basis(&self, basis: &mut Basis) {
        basis.add("tuf repository", &self.url);
        match self.root() {
            Ok(root) => basis.add("tuf root", root),
            Err(_) => basis.add_unknown(),
        }
    }
}

/// The store that all updates share.
struct Proven(Arc<MemoryStore>);

impl MetadataStore for Proven {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        self.0.load(name)
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        self.0.store(name, bytes)
    }
}

/// Reads a repository's documents through the host.
struct ThroughHost {
    url: String,
    host: Arc<dyn Host>,
}

impl ThroughHost {
    async fn get(&self, path: String, max_bytes: u64) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let url = format!("{}/{path}", self.url);
        let request = FetchRequest::new(url, UrlSource::Configuration, max_bytes, LONGEST);
        match self.host.fetch(&request).await {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(error) if error.root().code() == ErrorCode::ResourceNotFound => Ok(None),
            Err(error) => {
                Err(sigstore_tuf::Error::transport_with_source("the document was not had", error))
            }
        }
    }
}

impl Transport for ThroughHost {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.get(name.to_owned(), max_length))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.get(format!("targets/{path}"), max_length))
    }
}

fn failure(url: &str, error: sigstore_tuf::Error) -> Error {
    let url = ratify_core::capped_line(url, 200);
    ErrorCode::VerifyPluginFailure
        .detail(format!("failed to read what is trusted from the TUF repository {url}"))
        .with_source(error)
}
