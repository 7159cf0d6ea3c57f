//! `ratify serve` over TLS as a process, met by the real `openssl` as its client.
//!
//! - `handshakes`: who comes in and who does not; `keys`: every form of a key; `http2`: either version;
//! - `reload`: files change under connections, in halves, late, or to nothing;
//! - `connections`: who stays and who leaves when the authorities of clients change.

// Helpers of tests count as tests.
#![allow(clippy::unwrap_used)]

mod connections;
mod handshakes;
mod http2;
mod keys;
pub(crate) mod parts;
mod reload;
