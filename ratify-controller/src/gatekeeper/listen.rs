//! Connections: how many, and how they end. The most important item is [`serve`].
//!
//! - `connection`: one of them, in either version of HTTP, and how slow it may be;
//! - `accept`: what happens where none can be accepted.

mod accept;
mod connection;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use futures_util::FutureExt as _;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Service,
    routes::router,
    tls::{Tls, shake_hands},
};
use accept::{Failed, Pause};
use connection::{GRACE, HEAD_TIMEOUT, Patience, Place, Protocol, Room, connection};

/// Requests in progress have this long to finish when the server ends (v1).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);
/// What is not finished is answered so long before that, as late.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    let mut door = Door::new(tls, router(Arc::clone(&service)), end);
    tokio::select! {
        never = door.accept(&listener) => match never {},
        () = shutdown => {}
    }
    tracing::info!("shutting down ratify server...");
    // Who is here already is answered; who comes later finds another server.
    door.accept_those_waiting(&listener);
    drop(listener);
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
struct Door {
    tls: Option<Tls>,
    router: Router,
    end: watch::Receiver<()>,
    room: Arc<Room>,
    connections: JoinSet<()>,
}

impl Door {
    fn new(tls: Option<Tls>, router: Router, end: watch::Receiver<()>) -> Self {
        Self { tls, router, end, room: Arc::default(), connections: JoinSet::new() }
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

    /// Those that the kernel has let in already, as long as there is room.
    fn accept_those_waiting(&mut self, listener: &TcpListener) {
        while let Some(place) = Room::place(&self.room).now_or_never()
            && let Some(Ok((stream, peer))) = listener.accept().now_or_never()
        {
            self.let_in(stream, peer, place);
        }
    }

    fn let_in(&mut self, stream: TcpStream, peer: SocketAddr, place: Place) {
        while self.connections.try_join_next().is_some() {}
        // Only a delay of small answers, should it fail.
        let _ = stream.set_nodelay(true);
        let (router, end) = (self.router.clone(), self.end.clone());
        let (tls, room) = (self.tls.clone(), Arc::clone(&self.room));
        self.connections.spawn(async move {
            let _place = place;
            let patience = Patience::default();
            let Some(tls) = tls else {
                let protocol = Protocol::Http1;
                return connection(stream, protocol, None, router, end, patience, room).await;
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
                connection(stream, protocol, admission, router, end, patience, room).await;
            }
        });
    }
}
