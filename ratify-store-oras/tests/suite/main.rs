//! The store against a scripted fake that checks what it is sent, and against real registries.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod attaching;
mod cache_processes;
mod counting;
mod credentials;
mod fake;
mod layouts;
mod listing;
mod pushing;
mod reading;
mod real;
mod secrets;
mod sharing;
mod ssrf;
mod store;
mod throttling;
mod transport;
mod uploads;
