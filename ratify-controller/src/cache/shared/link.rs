//! [`Link`]: the connection to Redis. One task opens it, and again when it is lost; who asks never
//! waits for that. Where nothing comes back in time a few times in a row the connection is given up,
//! and for a while nobody asks.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, FromRedisValue, RedisConnectionInfo, RedisError,
    aio::MultiplexedConnection,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    sealed::{MAX_ENTRY_BYTES, MIN_KEY_BYTES, SealKey},
    stream::{Allowance, Metered},
};
use crate::cache::address::SharedOptions;

/// How long an entry is waited for. A verdict may need seconds, an answer of Redis less than one
/// millisecond.
const READ_PATIENCE: Duration = Duration::from_millis(100);
/// How long one may take to be written.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take to connect, TLS and password included.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// So many failures in a row are the end of a connection.
const MOST_FAILURES: u32 = 3;
/// How long nobody asks after the first loss; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A connection that lasted so long was a good one.
const LASTED: Duration = Duration::from_secs(60);
/// How often the files of secrets are looked at.
const FILES_EVERY: Duration = Duration::from_secs(5);
const MAX_FILE_BYTES: u64 = 1 << 20;
/// What an answer has besides an entry.
const ANSWER_BYTES: u64 = 1 << 10;
/// What the answers to the first words have.
const GREETING_BYTES: u64 = 64 << 10;

/// The connection, as long as there is one.
#[derive(Default)]
pub(super) struct Link {
    open: Mutex<Option<Open>>,
    connects: AtomicU64,
}

/// An open connection, and the key that what comes over it is sealed with.
#[derive(Clone)]
pub(super) struct Open {
    connection: MultiplexedConnection,
    allowance: Allowance,
    health: Arc<Health>,
    pub(super) seal: Arc<SealKey>,
}

/// How a connection does.
#[derive(Default)]
struct Health {
    /// How often in a row nothing good came back.
    failures: AtomicU32,
    given_up: Notify,
    /// What went wrong last.
    last: Mutex<String>,
    /// Whether it was said that it takes no entries.
    is_refusal_said: AtomicBool,
}

/// Why Redis is not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("cannot read {path}: {cause}")]
    File { path: String, cause: io::Error },
    #[error("{path} holds {bytes} bytes, and a key has {MIN_KEY_BYTES} at least")]
    ShortKey { path: String, bytes: usize },
    #[error("{0} holds no certificate")]
    Authorities(String),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    #[error("{}", ratify_core::capped_line(&.0.to_string(), 200))]
    Redis(#[from] RedisError),
    #[error("there was no answer in time")]
    Late,
}

/// What the files hold.
#[derive(PartialEq, Eq)]
struct Secrets {
    key: Vec<u8>,
    password: Option<Vec<u8>>,
    authorities: Option<Vec<u8>>,
}

impl Link {
    /// The connection, if there is one.
    pub(super) fn open(&self) -> Option<Open> {
        self.lock().clone()
    }

    /// How many connections were made so far.
    pub(super) fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Reads an entry.
    pub(super) async fn read(&self, open: &Open, name: &str) -> Result<Option<Vec<u8>>, LinkError> {
        let mut command = redis::cmd("GET");
        command.arg(name);
        let answer = self.ask(open, &command, READ_PATIENCE).await;
        if let Err(error @ LinkError::Redis(_)) = &answer {
            // Also one that was answered: whoever may not read has no use for the connection.
            self.note_failure(&open.health, error);
        }
        answer
    }

    /// Writes an entry that ends by itself after so many milliseconds.
    pub(super) async fn write(
        &self,
        open: &Open,
        name: &str,
        entry: &[u8],
        lifetime: u64,
    ) -> Result<(), LinkError> {
        let mut command = redis::cmd("SET");
        command.arg(name).arg(entry).arg("PX").arg(lifetime);
        let answer = self.ask(open, &command, WRITE_PATIENCE).await;
        match &answer {
            // It is full, or takes none from us. It may read all the same.
            Err(LinkError::Redis(error)) if error.code().is_some() => open.say_refusal(error),
            Err(error @ LinkError::Redis(_)) => self.note_failure(&open.health, error),
            _ => {}
        }
        answer
    }

    /// Sends a command and waits a little for its answer.
    async fn ask<T: FromRedisValue>(
        &self,
        open: &Open,
        command: &redis::Cmd,
        patience: Duration,
    ) -> Result<T, LinkError> {
        open.allowance.grant(MAX_ENTRY_BYTES as u64 + ANSWER_BYTES);
        let mut connection = open.connection.clone();
        let Ok(answer) = timeout(patience, command.query_async::<T>(&mut connection)).await else {
            self.note_failure(&open.health, &LinkError::Late);
            return Err(LinkError::Late);
        };
        if answer.is_ok() {
            open.health.failures.store(0, Ordering::Relaxed);
        }
        Ok(answer?)
    }

    /// Keeps a connection as long as it is polled.
    pub(super) async fn keep(&self, options: &SharedOptions) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            match connect(options).await {
                Ok((open, driver, secrets)) => {
                    tracing::info!(
                        component_type = "cache",
                        "verdicts are shared through {}",
                        options.address
                    );
                    let health = Arc::clone(&open.health);
                    *self.lock() = Some(open);
                    self.connects.fetch_add(1, Ordering::Relaxed);
                    let is_changed = tokio::select! {
                        () = driver => false,
                        () = health.given_up.notified() => false,
                        () = changed(options, &secrets) => true,
                    };
                    *self.lock() = None;
                    if is_changed {
                        continue;
                    }
                    say(options, &health.why());
                }
                Err(error) => say(options, &error.to_string()),
            }
            if began.elapsed() > LASTED {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// After a few failures in a row nobody asks any more.
    fn note_failure(&self, health: &Arc<Health>, error: &LinkError) {
        *health.last.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
        if health.failures.fetch_add(1, Ordering::Relaxed) + 1 < MOST_FAILURES {
            return;
        }
        let mut open = self.lock();
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(&open.health, health)) {
            *open = None;
        }
        health.given_up.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Loud once for each connection.
    fn say_refusal(&self, error: &RedisError) {
        if !self.health.is_refusal_said.swap(true, Ordering::Relaxed) {
            let why = ratify_core::capped_line(&error.to_string(), 200);
            tracing::warn!(component_type = "cache", "Redis takes no verdicts: {why}");
        }
    }
}

impl Health {
    fn why(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_str() {
            "" => "the connection was lost".to_owned(),
            last => format!("the connection was lost: {last}"),
        }
    }
}

fn say(options: &SharedOptions, why: &str) {
    tracing::warn!(
        component_type = "cache",
        "verdicts are not shared through {}, this replica stands alone: {why}",
        options.address
    );
}

/// Connects as [`Link::keep`] does, asks for an entry that is not there, and hangs up.
pub(super) async fn probe(options: &SharedOptions) -> Result<(), LinkError> {
    let (open, driver, _) = connect(options).await?;
    open.allowance.grant(ANSWER_BYTES);
    let mut connection = open.connection.clone();
    // The user of Ratify may do nothing else, as docs/CACHE.md has it; nobody writes such an entry.
    let mut get = redis::cmd("GET");
    get.arg(open.seal.name(b"doctor"));
    let asked = timeout(WRITE_PATIENCE, get.query_async::<Option<Vec<u8>>>(&mut connection));
    tokio::select! {
        answered = asked => answered.map_err(|_| LinkError::Late)?.map(drop).map_err(LinkError::from),
        () = driver => Err(LinkError::Connect(io::Error::other("the connection ended"))),
    }
}

/// What drives a connection: it is lost when this ends.
type Driver = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn connect(options: &SharedOptions) -> Result<(Open, Driver, Secrets), LinkError> {
    let secrets = Secrets::read(options).await?;
    let key = SealKey::new(&secrets.key).ok_or_else(|| LinkError::ShortKey {
        path: options.key_file.display().to_string(),
        bytes: secrets.key.len(),
    })?;
    let connecting = Box::pin(open(options, &secrets));
    let (connection, allowance, driver) =
        timeout(CONNECT_PATIENCE, connecting).await.unwrap_or(Err(LinkError::Late))?;
    let (health, seal) = (Arc::default(), Arc::new(key));
    Ok((Open { connection, allowance, health, seal }, driver, secrets))
}

async fn open(
    options: &SharedOptions,
    secrets: &Secrets,
) -> Result<(MultiplexedConnection, Allowance, Driver), LinkError> {
    let address = &options.address;
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    if !address.is_tls {
        return greet(stream, options, secrets).await;
    }
    let name = ServerName::try_from(address.host.clone())
        .map_err(|error| LinkError::Connect(io::Error::other(error)))?;
    let config = tls(options, secrets)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    greet(stream, options, secrets).await
}

async fn greet<S>(
    stream: S,
    options: &SharedOptions,
    secrets: &Secrets,
) -> Result<(MultiplexedConnection, Allowance, Driver), LinkError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let allowance = Allowance::default();
    allowance.grant(GREETING_BYTES);
    let mut info =
        RedisConnectionInfo::default().set_db(options.address.database).set_skip_set_lib_name();
    if let Some(username) = &options.username {
        info = info.set_username(username);
    }
    if let Some(password) = secrets.password() {
        info = info.set_password(password?);
    }
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let stream = Metered::new(stream, allowance.clone());
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&info, stream, config).await?;
    Ok((connection, allowance, Box::pin(driver)))
}

fn tls(options: &SharedOptions, secrets: &Secrets) -> Result<ClientConfig, LinkError> {
    let mut roots = RootCertStore::empty();
    match (&secrets.authorities, &options.ca_file) {
        (Some(pem), Some(path)) => {
            let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
            let found = read.unwrap_or_default();
            if found.is_empty() {
                return Err(LinkError::Authorities(path.display().to_string()));
            }
            for authority in found {
                roots.add(authority)?;
            }
        }
        _ => drop(roots.add_parsable_certificates(options.roots.load())),
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Ends when a file says something else.
async fn changed(options: &SharedOptions, secrets: &Secrets) {
    loop {
        sleep(FILES_EVERY).await;
        // While a file is being replaced it may not be there.
        if Secrets::read(options).await.is_ok_and(|now| now != *secrets) {
            return;
        }
    }
}

impl Secrets {
    async fn read(options: &SharedOptions) -> Result<Self, LinkError> {
        Ok(Self {
            key: read(&options.key_file).await?,
            password: read_optional(options.password_file.as_deref()).await?,
            authorities: read_optional(options.ca_file.as_deref()).await?,
        })
    }

    /// Without the line break that editors leave behind.
    fn password(&self) -> Option<Result<&str, LinkError>> {
        let bytes = self.password.as_deref()?;
        let text = std::str::from_utf8(bytes).map(|text| text.trim_end_matches(['\r', '\n']));
        Some(text.map_err(|_| LinkError::Connect(io::Error::other("the password is no text"))))
    }
}

async fn read_optional(path: Option<&Path>) -> Result<Option<Vec<u8>>, LinkError> {
    match path {
        Some(path) => read(path).await.map(Some),
        None => Ok(None),
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, LinkError> {
    let reading = async {
        let file = tokio::fs::File::open(path).await?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    reading.await.map_err(|cause| LinkError::File { path: path.display().to_string(), cause })
}
