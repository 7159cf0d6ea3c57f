//! The listener of the embedded registry: connections, TLS, the log of requests, and the order in
//! which a request meets the password, the lies and the honest registry.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{Method, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{
    answer::Refusal, faults::Liar, honest::Registry, route::Route, storage::lock,
    throttle::Throttle,
};

/// A client has this long to send a request's head, and to shake hands.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How many connections may be open at once; more wait.
const MAXIMUM_CONNECTIONS: usize = 1024;
/// How many requests are remembered; older ones are forgotten.
const MAXIMUM_SEEN: usize = 100_000;

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenRequest {
    /// The method: `GET`.
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// The query, empty where there is none.
    pub query: String,
    /// Whether it carried an `Authorization` header.
    pub with_credentials: bool,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) registry: Registry,
    pub(super) liar: Liar,
    pub(super) connections: AtomicU64,
    /// None where every request is served.
    pub(super) throttle: Option<Mutex<Throttle>>,
    seen: Mutex<VecDeque<SeenRequest>>,
}

/// The answer is no answer: the connection ends.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is dropped on purpose")]
pub(super) struct Dropped;

impl Shared {
    pub(super) fn new(registry: Registry, liar: Liar, requests_per_second: Option<u32>) -> Self {
        let throttle = requests_per_second.map(|rate| Throttle::new(rate, Instant::now()).into());
        Self { registry, liar, connections: AtomicU64::new(0), throttle, seen: Mutex::default() }
    }

    /// Whether a request may pass: there are not too many, and it has the credentials.
    fn admit(&self, request: &Request<Body>) -> Result<(), Refusal> {
        if let Some(throttle) = &self.throttle {
            lock(throttle).admit(Instant::now())?;
        }
        self.registry.authenticate(request.headers())
    }

    pub(super) fn seen(&self) -> Vec<SeenRequest> {
        lock(&self.seen).iter().cloned().collect()
    }

    pub(super) fn forget_seen(&self) {
        lock(&self.seen).clear();
    }

    async fn serve(&self, request: Request<Body>) -> Result<Response<Body>, Dropped> {
        self.note(&request);
        let is_head = request.method() == Method::HEAD;
        let mut response = match self.admit(&request) {
            Err(refusal) => refusal.into_response(),
            Ok(()) => match Route::parse(request.uri().path()) {
                Err(refusal) => refusal.into_response(),
                Ok(route) => self.liar.answer(&self.registry, route, request).await?,
            },
        };
        if is_head {
            *response.body_mut() = Body::empty();
        }
        Ok(response)
    }

    fn note(&self, request: &Request<Body>) {
        let mut seen = lock(&self.seen);
        if seen.len() == MAXIMUM_SEEN {
            seen.pop_front();
        }
        seen.push_back(SeenRequest {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            with_credentials: request.headers().contains_key(header::AUTHORIZATION),
        });
    }
}

/// Takes connections until the task is aborted; its connections end with it.
pub(super) async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) -> Infallible {
    let room = Arc::new(Semaphore::new(MAXIMUM_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a client gone again: neither passes by asking at once.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let _permit = permit;
            if let Err(error) = connection(stream, acceptor, shared).await {
                tracing::debug!("dev registry: a connection ended: {error}");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match acceptor {
        None => requests(stream, shared).await,
        Some(acceptor) => {
            requests(timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await??, shared).await
        }
    }
}

async fn requests<S>(stream: S, shared: Arc<Shared>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { shared.serve(request.map(Body::new)).await }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}
