//! The server as Gatekeeper meets it: real connections, stores in memory, verifiers that are slow,
//! sick or gone.

#![allow(clippy::unwrap_used)]

mod answers;
mod heads;
mod kept;
mod parts;
pub(crate) mod redis;
mod reload;
mod rough;
mod shared;
mod time;
