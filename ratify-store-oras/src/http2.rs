//! HTTP/2: offered to registries over TLS, and how much of our memory a connection may take.
//!
//! A server decides in the handshake (ALPN); one that knows HTTP/1.1 alone is spoken to as ever,
//! and plain HTTP is always HTTP/1.1. One connection carries many requests then. What bounds their
//! number is the limiter, which counts requests and not connections.

use std::time::Duration;

use reqwest::ClientBuilder;
use rustls::ClientConfig;

/// What is offered, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How much of one body may be under way, or wait for whoever reads it: what a registry 20 ms away
/// needs for 50 MB a second.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same for all bodies of a connection. It is what a server can make us hold.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// All headers of an answer. Those of real registries have a few KiB, signed locations included.
const HEADERS: u32 = 64 << 10;
/// A connection whose other end is gone looks like one that waits, and would be given to each next
/// request. While it has requests it is asked for a sign of life so often, and given so long.
const ASK_ALIVE_EVERY: Duration = Duration::from_secs(15);
const ALIVE_WITHIN: Duration = Duration::from_secs(15);

/// Offers HTTP/2 in the handshake, and bounds what its connections take. No window grows by itself:
/// it would be the server that says how far.
pub(crate) fn offered(
    mut tls: ClientConfig,
    builder: ClientBuilder,
) -> (ClientConfig, ClientBuilder) {
    tls.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    let builder = builder
        .http2_adaptive_window(false)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(HEADERS)
        .http2_keep_alive_interval(ASK_ALIVE_EVERY)
        .http2_keep_alive_timeout(ALIVE_WITHIN);
    (tls, builder)
}
