//! The store against a scripted fake that checks what it is sent, and against real registries.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod attaching;
mod cache_processes;
mod credentials;
mod fake;
mod layouts;
mod listing;
mod programs;
mod pushing;
mod reading;
mod real;
mod rules;
mod secrets;
mod ssrf;
mod store;
mod transport;
mod uploads;
