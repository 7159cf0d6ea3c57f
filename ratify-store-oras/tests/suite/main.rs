//! The store against a scripted fake that checks what it is sent, and against real registries.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod attaching;
mod cache_processes;
#[cfg(any(feature = "alibaba", feature = "aws", feature = "azure"))]
mod cloud;
mod counting;
mod credentials;
mod fake;
mod forgetting;
mod guarded;
#[cfg(feature = "http2")]
mod http2;
mod ipv6;
mod kubelet;
mod layouts;
mod listing;
mod lookups;
mod mirrors;
mod network;
mod page;
#[cfg(feature = "blocking")]
mod passed;
mod paths;
mod programs;
mod proxies;
mod pushing;
mod reading;
mod real;
mod remembered;
mod results;
mod resume;
mod rules;
mod secrets;
mod selecting;
mod sharing;
mod ssrf;
mod store;
mod throttling;
mod transport;
mod trees;
mod untyped;
mod uploads;
mod waiting;
