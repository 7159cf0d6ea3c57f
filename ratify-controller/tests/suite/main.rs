//! The controller's one integration test binary: real programs, real pipes, real registries.

mod admission;
mod chart;
mod cli;
mod cluster;
mod common_lies;
mod corpora;
mod host;
mod install;
mod monitoring;
mod parity;
mod registry;
mod rego;
mod secrets;
mod serve;
mod tls;
