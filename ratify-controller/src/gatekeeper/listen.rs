//! Connections: how many, and how they end. The most important item is [`serve`].
//!
//! - `connection`: one of them, in either version of HTTP, and how slow it may be;
//! - `accept`: what happens where none can be accepted;
//! - `threads`: where questions of Gatekeeper's are answered.

mod accept;
mod connection;
mod threads;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use futures_util::FutureExt as _;
use http::Request;
use hyper::body::Incoming;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower::Service as _;

use super::{
    Service,
    routes::Endpoints,
    tls::{Tls, shake_hands},
};
use accept::{Failed, Pause};
use connection::{GRACE, HEAD_TIMEOUT, Patience, Place, Protocol, Room, connection};
use threads::Threads;

/// Requests in progress have this long to finish when the server ends (v1).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);
/// What is not finished is answered so long before that, as late.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who answers requests.
pub(super) trait Answers: Clone + Send + Sync + 'static {
    /// The answer to one.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response> + Send;
}

impl Answers for Router {
    async fn answer(&self, request: Request<Incoming>) -> Response {
        match self.clone().call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

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
    Door::new(None, router, end).accept(&listener).await
}

async fn serve_maybe_tls(
    listener: TcpListener,
    tls: Option<Tls>,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
) {
    let (ending, end) = watch::channel(());
    let mut door = Door::new(tls, Endpoints::new(Arc::clone(&service)), end);
    match Threads::start() {
        Ok(threads) => door.threads = Some(threads),
        // It is answered where everything else is done.
        Err(error) => tracing::warn!("no threads of their own for connections: {error}"),
    }
    tokio::select! {
        never = door.accept(&listener) => match never {},
        () = shutdown => {}
    }
    tracing::info!("shutting down ratify server...");
    // Who is here already is answered; who comes later finds another server.
    door.accept_those_waiting(listener);
    service.hurry(Instant::now() + DRAIN_TIMEOUT - LAST_WORDS);
    // Each connection holds a receiver, so that this reaches all of them.
    let _ = ending.send(());
    let mut connections = door.connections;
    let drained =
        timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::error!("failed to shutdown ratify server: context deadline exceeded");
    }
    tracing::info!("ratify server shutdown complete");
}

/// Lets connections in.
struct Door<A> {
    /// Without them a connection is served on the threads for everything.
    threads: Option<Threads>,
    tls: Option<Tls>,
    answers: A,
    end: watch::Receiver<()>,
    room: Arc<Room>,
    connections: JoinSet<()>,
}

impl<A: Answers> Door<A> {
    fn new(tls: Option<Tls>, answers: A, end: watch::Receiver<()>) -> Self {
        let (room, connections) = (Arc::default(), JoinSet::new());
        Self { threads: None, tls, answers, end, room, connections }
    }

    async fn accept(&mut self, listener: &TcpListener) -> Infallible {
        if let Some(tls) = &self.tls {
            tls.ready().await;
        }
        let mut pause = Pause::default();
        loop {
            let place = Room::place(&self.room).await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    pause.over();
                    self.let_in(stream, peer, place);
                }
                Err(error) if Failed::of(&error) == Failed::Client => {}
                Err(error) => {
                    self.room.starve();
                    sleep(pause.next(&error, Instant::now())).await;
                }
            }
        }
    }

    /// Those that the kernel has let in already, as long as there is room. The kernel is asked, since
    /// the runtime may not have heard of the last of them.
    fn accept_those_waiting(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Some(place) = Room::place(&self.room).now_or_never()
            && let Ok((stream, peer)) = listener.accept()
            && stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            self.let_in(stream, peer, place);
        }
    }

    fn let_in(&mut self, stream: TcpStream, peer: SocketAddr, place: Place) {
        while self.connections.try_join_next().is_some() {}
        // Only a delay of small answers, should it fail.
        let _ = stream.set_nodelay(true);
        let serving = Serving {
            peer,
            tls: self.tls.clone(),
            answers: self.answers.clone(),
            end: self.end.clone(),
            room: Arc::clone(&self.room),
            _place: place,
        };
        let Some(seat) = self.threads.as_ref().and_then(Threads::seat) else {
            self.connections.spawn(serving.serve(stream));
            return;
        };
        // It is taken from the poll of this thread and given to that of the other.
        let Ok(stream) = stream.into_std() else { return };
        let there = seat.handle.clone();
        let serving = async move {
            let _seat = seat;
            if let Ok(stream) = TcpStream::from_std(stream) {
                serving.serve(stream).await;
            }
        };
        self.connections.spawn_on(serving, &there);
    }
}

/// A connection that is let in.
struct Serving<A> {
    peer: SocketAddr,
    tls: Option<Tls>,
    answers: A,
    end: watch::Receiver<()>,
    room: Arc<Room>,
    _place: Place,
}

impl<A: Answers> Serving<A> {
    async fn serve(self, stream: TcpStream) {
        let Self { peer, tls, answers, end, room, _place } = self;
        let patience = Patience::default();
        let Some(tls) = tls else {
            return connection(stream, Protocol::Http1, None, answers, end, patience, room).await;
        };
        let is_over = async {
            let mut end = end.clone();
            let _ = end.changed().await;
            sleep(GRACE).await;
        };
        let shaken = tokio::select! {
            shaken = shake_hands(&tls, stream, peer, HEAD_TIMEOUT) => shaken,
            // Whoever is not in by then is not waited for.
            () = is_over => None,
        };
        if let Some((stream, admission)) = shaken {
            let protocol = Protocol::agreed(stream.get_ref().1.alpn_protocol());
            let admission = Some(admission);
            connection(stream, protocol, admission, answers, end, patience, room).await;
        }
    }
}
