//! The controller's one integration test binary: real programs, real pipes, real registries.

mod cli;
mod common_lies;
mod host;
mod install;
mod parity;
mod registry;
mod serve;
