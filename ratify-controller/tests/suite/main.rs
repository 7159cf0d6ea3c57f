//! The controller's one integration test binary: real programs, real pipes, real registries.

mod host;
mod registry;
mod serve;
