//! Connections: how many, how slow, and how they end. The most important item is [`serve`].

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower::Service as _;

use super::{
    Service,
    routes::router,
    tls::{Admission, Tls, shake_hands},
};

/// A client has this long to send a request's head (v1).
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection may be without a request for this long (v1).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// The same while there is hardly room for others: Gatekeeper makes a connection a request and
/// leaves each of them open.
const IDLE_TIMEOUT_IN_A_CROWD: Duration = Duration::from_secs(1);
/// Requests in progress have this long to finish when the server ends (v1).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);
/// How many connections may be open; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// How many bytes of a request's head are read.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Answers requests until `shutdown` is ready, then finishes those in progress.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
) {
    serve_maybe_tls(listener, None, service, shutdown).await;
}

/// The same over TLS. Nobody is let in before there is a certificate.
pub async fn serve_tls(
    listener: TcpListener,
    tls: Tls,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
) {
    serve_maybe_tls(listener, Some(tls), service, shutdown).await;
}

/// Answers requests of any kind, bounded in the same way, until it is dropped.
pub async fn serve_router(listener: TcpListener, router: Router) -> Infallible {
    let (_ending, end) = watch::channel(());
    accept(listener, None, &router, &mut JoinSet::new(), &end).await
}

async fn serve_maybe_tls(
    listener: TcpListener,
    tls: Option<Tls>,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
) {
    let (ending, end) = watch::channel(());
    let mut connections = JoinSet::new();
    let router = router(service);
    let accepting = accept(listener, tls, &router, &mut connections, &end);
    tokio::select! {
        never = accepting => match never {},
        () = shutdown => {}
    }
    tracing::info!("shutting down ratify server...");
    // Each connection holds a receiver, so that this reaches all of them.
    let _ = ending.send(());
    let drained =
        timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::error!("failed to shutdown ratify server: context deadline exceeded");
    }
    tracing::info!("ratify server shutdown complete");
}

async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    router: &Router,
    connections: &mut JoinSet<()>,
    end: &watch::Receiver<()>,
) -> Infallible {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    if let Some(tls) = &tls {
        tls.ready().await;
    }
    loop {
        // The semaphore is never closed, so this waits for a place.
        let permit = Arc::clone(&room).acquire_owned().await;
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, or a client gone again: neither passes by asking at once.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        // Only a delay of small answers, should it fail.
        let _ = stream.set_nodelay(true);
        let (router, mut end) = (router.clone(), end.clone());
        let (tls, room) = (tls.clone(), Arc::clone(&room));
        connections.spawn(async move {
            let _permit = permit;
            let Some(tls) = tls else {
                return connection(stream, None, router, end, Patience::default(), room).await;
            };
            let shaken = tokio::select! {
                shaken = shake_hands(&tls, stream, peer, HEAD_TIMEOUT) => shaken,
                // Whoever is not in yet is not waited for.
                _ = end.changed() => None,
            };
            if let Some((stream, admission)) = shaken {
                let admission = Some(admission);
                connection(stream, admission, router, end, Patience::default(), room).await;
            }
        });
    }
}

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
struct Patience {
    head: Duration,
    idle: Duration,
}

impl Patience {
    fn among(self, is_crowded: bool) -> Self {
        let idle = if is_crowded { self.idle.min(IDLE_TIMEOUT_IN_A_CROWD) } else { self.idle };
        Self { idle, ..self }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: HEAD_TIMEOUT, idle: IDLE_TIMEOUT }
    }
}

/// Serves one connection, for as long as its client would be let in. hyper's own timer for heads
/// also runs between requests, where v1 is patient; so the clock is ours.
async fn connection<S>(
    stream: S,
    admission: Option<Admission>,
    router: Router,
    mut end: watch::Receiver<()>,
    patience: Patience,
    room: Arc<Semaphore>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phase = Arc::new(Phase::new());
    let (during, shown) = (Arc::clone(&phase), admission.clone());
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (mut router, phase) = (router.clone(), Arc::clone(&during));
        let may_ask = shown.as_ref().is_none_or(Admission::holds);
        async move {
            if !may_ask {
                return Ok(misdirected());
            }
            phase.set(Doing::Answering);
            let response = router.call(request.map(Body::new)).await;
            phase.set(Doing::Idle(Instant::now()));
            response
        }
    });
    let stream = Watched { stream, phase: Arc::clone(&phase) };
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let mut expired = pin!(phase.expired(patience, &room));
    let mut unwelcome = pin!(async {
        match admission {
            Some(admission) => admission.ended().await,
            None => std::future::pending().await,
        }
    });
    let mut ending = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("a connection ended: {error}");
                }
                return;
            }
            () = &mut expired => return,
            () = &mut unwelcome, if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
            _ = end.changed(), if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The answer to who was on the way while the door closed: another connection may do (RFC 9110).
fn misdirected() -> Response {
    let text = "the authorities of clients changed: a new handshake is needed\n";
    (StatusCode::MISDIRECTED_REQUEST, [(header::CONNECTION, "close")], text).into_response()
}

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Idle(Instant),
    ReadingHead(Instant),
    Answering,
}

struct Phase(Mutex<Doing>);

impl Phase {
    fn new() -> Self {
        // A client that connects and says nothing has begun a head.
        Self(Mutex::new(Doing::ReadingHead(Instant::now())))
    }

    fn get(&self) -> Doing {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, doing: Doing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doing;
    }

    fn note_bytes(&self) {
        if let Doing::Idle(_) = self.get() {
            self.set(Doing::ReadingHead(Instant::now()));
        }
    }

    /// Ends when the connection has tried someone's patience.
    async fn expired(&self, patience: Patience, room: &Semaphore) {
        loop {
            let now = Instant::now();
            let is_crowded = room.available_permits() < MAX_CONNECTIONS / 4;
            let left = self.get().left(patience.among(is_crowded), now);
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

impl Doing {
    /// How long to wait until one has to look again; zero when it is over.
    fn left(self, patience: Patience, now: Instant) -> Duration {
        match self {
            Self::Idle(since) => {
                // It may get crowded meanwhile.
                let most = patience.head.min(IDLE_TIMEOUT_IN_A_CROWD);
                (since + patience.idle).saturating_duration_since(now).min(most)
            }
            Self::ReadingHead(since) => (since + patience.head).saturating_duration_since(now),
            // The request has its own time.
            Self::Answering => patience.head,
        }
    }
}

/// A stream that notes when bytes arrive.
struct Watched<S> {
    stream: S,
    phase: Arc<Phase>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.phase.note_bytes();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const PATIENCE: Patience =
        Patience { head: Duration::from_millis(500), idle: Duration::from_millis(600) };

    /// A client's end of a connection to a server that takes 800 ms to answer.
    fn connected(patience: Patience) -> (DuplexStream, watch::Sender<()>) {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (ending, end) = watch::channel(());
        let router = Router::new().route(
            "/",
            get(|| async {
                sleep(Duration::from_millis(800)).await;
                "done"
            }),
        );
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        tokio::spawn(connection(server, None, router, end, patience, room));
        (client, ending)
    }

    /// Reads until the server closes; how long that took.
    async fn until_closed(client: &mut DuplexStream) -> (Duration, String) {
        let began = Instant::now();
        let mut text = String::new();
        timeout(Duration::from_secs(20), client.read_to_string(&mut text)).await.unwrap().unwrap();
        (began.elapsed(), text)
    }

    #[tokio::test]
    async fn a_head_that_is_not_sent_or_only_in_part_ends_the_connection() {
        for part in ["", "GET / HTTP/1.1\r\nHost:"] {
            let (mut client, _ending) = connected(PATIENCE);
            client.write_all(part.as_bytes()).await.unwrap();
            let (took, text) = until_closed(&mut client).await;
            assert!(took < Duration::from_secs(10) && text.is_empty(), "{took:?} {text}");
        }
    }

    #[tokio::test]
    async fn an_answer_may_take_longer_than_a_head_and_then_the_connection_may_be_idle() {
        let (mut client, _ending) = connected(PATIENCE);
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (took, text) = until_closed(&mut client).await;
        assert!(text.ends_with("done"), "{text}");
        assert!(took >= Duration::from_millis(1400), "answered and idle, but ended after {took:?}");
    }

    #[tokio::test]
    async fn a_second_head_in_part_is_not_taken_for_being_idle() {
        let (mut client, _ending) = connected(Patience { idle: IDLE_TIMEOUT, ..PATIENCE });
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut some = [0; 1024];
        assert!(client.read(&mut some).await.unwrap() > 0);
        client.write_all(b"GET / HTT").await.unwrap();
        let (took, _) = until_closed(&mut client).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
    }

    #[tokio::test]
    async fn each_phase_has_its_own_patience() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let left = |doing: Doing, after: Duration| doing.left(Patience::default(), now + after);
        assert_eq!(left(Doing::ReadingHead(now), second), 4 * second);
        assert_eq!(left(Doing::ReadingHead(now), 6 * second), Duration::ZERO);
        assert_eq!(left(Doing::Idle(now), 6 * second), second);
        assert_eq!(left(Doing::Idle(now), 89 * second), second);
        assert_eq!(left(Doing::Idle(now), 91 * second), Duration::ZERO);
        assert_eq!(left(Doing::Answering, 1000 * second), HEAD_TIMEOUT);
    }

    #[tokio::test]
    async fn who_is_idle_makes_room_in_a_crowd() {
        let patience = Patience::default();
        assert_eq!(patience.among(false).idle, IDLE_TIMEOUT);
        assert_eq!(patience.among(true).idle, IDLE_TIMEOUT_IN_A_CROWD);
        let idle = Phase(Mutex::new(Doing::Idle(Instant::now())));
        let room = Semaphore::new(MAX_CONNECTIONS / 4 - 1);
        let ended = timeout(Duration::from_secs(20), idle.expired(patience, &room)).await;
        assert!(ended.is_ok());
        let room = Semaphore::new(MAX_CONNECTIONS / 4);
        let ended = timeout(Duration::from_secs(2), idle.expired(patience, &room)).await;
        assert!(ended.is_err());
    }

    #[tokio::test]
    async fn the_end_of_the_server_ends_an_idle_connection_at_once() {
        let (mut client, ending) = connected(Patience { idle: IDLE_TIMEOUT, ..PATIENCE });
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        sleep(Duration::from_millis(100)).await;
        ending.send(()).unwrap();
        let (took, text) = until_closed(&mut client).await;
        assert!(text.ends_with("done"), "{text}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}
