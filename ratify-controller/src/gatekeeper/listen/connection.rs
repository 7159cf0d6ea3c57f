//! One connection: what it is doing, how long it may take for that, and its end. hyper's own timer
//! for heads also runs between requests, where v1 is patient; so the clock is ours.

#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout},
};

use super::Answers;
use crate::gatekeeper::tls::Admission;

/// A client has this long to send a request's head (v1).
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection may be without a request for this long (v1).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// The same while there is hardly room for others: Gatekeeper makes a connection a request and
/// leaves each of them open.
const IDLE_TIMEOUT_IN_A_CROWD: Duration = Duration::from_secs(1);
/// A client may leave what is written to it unread for this long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections may be open; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// Who has just come in when the server ends has this long to begin a request, which is answered.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// For how long the lack of descriptors is remembered.
const STARVED_FOR: Duration = Duration::from_secs(2);

/// How many bytes of a request's head are read.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The same of HTTP/2, where each stream may have one.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
/// How many requests one connection of HTTP/2 may have under way.
const MAX_STREAMS: u32 = 64;
/// How many streams a client may begin and take back before the connection ends (CVE-2023-44487).
const MAX_RESETS: usize = 20;
/// How many streams may be refused before the connection ends. A client may begin more than it may
/// have before it knows how many that is.
const MAX_REFUSED: usize = 256;
/// How much of what a stream brings is taken before it is read.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// How much is kept of what a client does not take.
const MAX_UNSENT_BYTES: usize = 64 << 10;
/// A client of HTTP/2 that says nothing is asked whether it is there, and has as long to say so.
const PING: Duration = Duration::from_secs(20);

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    head: Duration,
    idle: Duration,
    write: Duration,
}

/// Places for connections.
pub(super) struct Room {
    places: Arc<Semaphore>,
    is_starved: AtomicBool,
    starved_at: Mutex<Instant>,
}

/// One of them, as long as it exists.
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Protocol {
    /// What the handshake came to. Who agreed on nothing speaks HTTP/1.1, as all did with v1.
    pub(super) fn agreed(alpn: Option<&[u8]>) -> Self {
        if alpn == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::of(MAX_CONNECTIONS)
    }
}

impl Room {
    fn of(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            is_starved: AtomicBool::new(false),
            starved_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits for a place.
    pub(super) async fn place(room: &Self) -> Place {
        // The semaphore is never closed.
        Place { _permit: Arc::clone(&room.places).acquire_owned().await.ok() }
    }

    /// There are no descriptors for another one.
    pub(super) fn starve(&self) {
        *self.starved_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.is_starved.store(true, Ordering::Relaxed);
    }

    fn is_crowded(&self) -> bool {
        if self.places.available_permits() < MAX_CONNECTIONS / 4 {
            return true;
        }
        if !self.is_starved.load(Ordering::Relaxed) {
            return false;
        }
        let at = *self.starved_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_starved = at.elapsed() < STARVED_FOR;
        self.is_starved.store(is_starved, Ordering::Relaxed);
        is_starved
    }
}

impl Patience {
    fn among(self, is_crowded: bool) -> Self {
        let idle = if is_crowded { self.idle.min(IDLE_TIMEOUT_IN_A_CROWD) } else { self.idle };
        Self { idle, ..self }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: HEAD_TIMEOUT, idle: IDLE_TIMEOUT, write: WRITE_TIMEOUT }
    }
}

/// Serves one connection, for as long as its client would be let in.
pub(super) async fn connection<S, A>(
    stream: S,
    protocol: Protocol,
    admission: Option<Admission>,
    answers: A,
    mut end: watch::Receiver<()>,
    patience: Patience,
    room: Arc<Room>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Answers,
{
    let phase = Arc::new(Phase::new(protocol));
    let (during, shown) = (Arc::clone(&phase), admission.clone());
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (answers, answering) = (answers.clone(), Answering::new(&during));
        let may_ask = shown.as_ref().is_none_or(Admission::holds);
        async move {
            let _answering = answering;
            if !may_ask {
                return Ok(misdirected());
            }
            Ok::<_, Infallible>(answers.answer(request).await)
        }
    });
    let stream = TokioIo::new(Watched { stream, phase: Arc::clone(&phase) });
    let unwelcome = async {
        match admission {
            Some(admission) => admission.ended().await,
            None => std::future::pending().await,
        }
    };
    let expired = phase.expired(patience, &room);
    let ended = async {
        // The sender is gone only with the server.
        let _ = end.changed().await;
        let _ = timeout(GRACE, phase.touched()).await;
    };
    match protocol {
        Protocol::Http1 => {
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(stream, service);
            until_ended(serving, expired, unwelcome, ended).await;
        }
        Protocol::Http2 => {
            let serving = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(MAX_HEADER_LIST_BYTES)
                .max_concurrent_streams(MAX_STREAMS)
                .max_pending_accept_reset_streams(MAX_RESETS)
                .max_local_error_reset_streams(MAX_REFUSED)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(MAX_UNSENT_BYTES)
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .serve_connection(stream, service);
            until_ended(serving, expired, unwelcome, ended).await;
        }
    }
}

/// Serves until the connection ends, is ended at once, or is asked to end when it is done with what
/// it is about.
async fn until_ended<C>(
    serving: C,
    expired: impl Future<Output = ()>,
    unwelcome: impl Future<Output = ()>,
    ended: impl Future<Output = ()>,
) where
    C: GracefulConnection<Error = hyper::Error>,
{
    let (mut serving, mut expired) = (pin!(serving), pin!(expired));
    let (mut unwelcome, mut ended) = (pin!(unwelcome), pin!(ended));
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
            () = &mut ended, if !ending => {
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
    /// So many requests are under way.
    Answering(usize),
}

struct Phase {
    state: Mutex<State>,
    /// Told when the first bytes are here.
    begun: Notify,
}

#[derive(Debug, Clone, Copy)]
struct State {
    protocol: Protocol,
    doing: Doing,
    /// Since when the client takes nothing of what is written.
    stuck: Option<Instant>,
    is_touched: bool,
}

/// Counted as long as it exists.
struct Answering(Arc<Phase>);

impl Phase {
    fn new(protocol: Protocol) -> Self {
        // A client that connects and says nothing has begun a head.
        let doing = Doing::ReadingHead(Instant::now());
        let state = State { protocol, doing, stuck: None, is_touched: false };
        Self { state: Mutex::new(state), begun: Notify::new() }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ready as soon as the client has sent something.
    async fn touched(&self) {
        // One permit is kept for whoever comes later.
        if !self.change(|state| state.is_touched) {
            self.begun.notified().await;
        }
    }

    fn note_bytes(&self) {
        self.change(|state| {
            if !std::mem::replace(&mut state.is_touched, true) {
                self.begun.notify_one();
            }
            // HTTP/2 has more to say than requests. Its heads are bounded by the time of idleness.
            if let (Doing::Idle(_), Protocol::Http1) = (state.doing, state.protocol) {
                state.doing = Doing::ReadingHead(Instant::now());
            }
        });
    }

    fn note_written(&self, is_taken: bool) {
        self.change(|state| {
            state.stuck = match (is_taken, state.stuck) {
                (true, _) => None,
                (false, since) => Some(since.unwrap_or_else(Instant::now)),
            };
        });
    }

    /// Ends when the connection has tried someone's patience.
    async fn expired(&self, patience: Patience, room: &Room) {
        loop {
            let now = Instant::now();
            let left = self.change(|state| state.left(patience.among(room.is_crowded()), now));
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

impl State {
    /// How long to wait until one has to look again; zero when it is over.
    fn left(self, patience: Patience, now: Instant) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(now);
        let left = match self.doing {
            // It may get crowded meanwhile.
            Doing::Idle(since) => until(since + patience.idle).min(IDLE_TIMEOUT_IN_A_CROWD),
            Doing::ReadingHead(since) => until(since + patience.head),
            // The request has its own time.
            Doing::Answering(_) => patience.head,
        };
        let stuck = self.stuck.map(|since| until(since + patience.write));
        // Whoever gets stuck meanwhile is seen in time.
        left.min(stuck.unwrap_or(patience.write))
    }
}

impl Answering {
    fn new(phase: &Arc<Phase>) -> Self {
        phase.change(|state| {
            let others = if let Doing::Answering(count) = state.doing { count } else { 0 };
            state.doing = Doing::Answering(others + 1);
        });
        Self(Arc::clone(phase))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.doing = match state.doing {
                Doing::Answering(count @ 2..) => Doing::Answering(count - 1),
                _ => Doing::Idle(Instant::now()),
            };
        });
    }
}

/// A stream that notes when bytes arrive, and when none are taken.
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
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.phase.note_written(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.phase.note_written(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.phase.note_written(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.phase.note_written(closed.is_ready());
        closed
    }
}
