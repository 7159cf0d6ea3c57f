//! The store against a scripted fake that checks what it is sent, and against real registries.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod cache_processes;
mod credentials;
mod fake;
mod listing;
mod programs;
mod pushing;
mod reading;
mod real;
mod rules;
mod secrets;
mod store;
mod transport;
