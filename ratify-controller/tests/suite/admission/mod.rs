//! The whole way of an admission: `kubectl`, the API server, Gatekeeper, Ratify and a registry, each of
//! them the real one, put together as `docs/GATEKEEPER.md` tells, whose commands are typed.
//!
//! - `lab`: all of it, running; `gatekeeper`: its pods; `page`: how the document is typed;
//! - `whole`: what an operator sees, from the first pod to the last fault: what an `audit` finds that was
//!   there before, what is `signed`, `forms` of workloads and containers, v1's `stock` of templates, `reports` that are
//!   passed on, what is `late` behind a closed `gate`, and `faults`;
//! - `templates`: the constraint templates, ours and those of v1's `library`, over a `provider` that gives
//!   any of the `answers`, by a `judge` without Ratify.

// Helpers of tests count as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod audit;
mod faults;
mod forms;
mod gate;
mod gatekeeper;
mod judge;
mod lab;
mod late;
mod library;
mod page;
mod provider;
mod reports;
mod signed;
mod stock;
mod templates;
mod whole;

/// What operators are told.
const PAGE: &str = include_str!("../../../../docs/GATEKEEPER.md");
