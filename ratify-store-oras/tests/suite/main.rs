//! The store against a scripted fake that checks what it is sent, and against real registries.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod cache_processes;
#[cfg(any(feature = "alibaba", feature = "aws", feature = "azure"))]
mod cloud;
mod credentials;
mod fake;
mod listing;
#[cfg(any(feature = "alibaba", feature = "aws", feature = "azure"))]
mod network;
mod pushing;
mod reading;
mod real;
mod secrets;
mod store;
mod transport;
