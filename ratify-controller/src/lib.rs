//! Ratify as a program: the command line, the server that Gatekeeper asks, and the host of
//! plugins. The binary `ratify` is this library and a few lines.
//!
//! - [`cli`]: what a person types; [`gatekeeper`]: what the cluster asks; [`cache`]: what it was
//!   answered a moment ago.
//! - [`assemble`]: a configuration becomes an executor. The only place that knows every
//!   implementation by name.
//! - `built_in`: verifiers that need no program.
//! - [`plugin`]: finding, installing, proving and running plugins.
//! - [`state`]: the snapshot a request sees; [`reload`]: a changed file becomes the next one.
//! - [`health`]: whether this process is alive and ready, and who is told.
//! - [`env`](mod@env): every variable; [`runtime`]: what the process shares; [`telemetry`]: the log, and spans.
//! - `policy_file`: the file that a policy may be in.
//! - `x509`: what a certificate says of itself.
//! - [`dev`]: the embedded registry, for development and tests.

pub mod assemble;
mod built_in;
pub mod cache;
pub mod cli;
pub mod dev;
pub mod env;
mod fetch;
pub mod gatekeeper;
pub mod health;
pub mod k8s;
pub mod keys;
pub mod metrics;
mod of_file;
pub mod plugin;
mod policy_file;
mod refused;
pub mod reload;
pub mod runtime;
pub mod state;
pub mod telemetry;
mod timestamp;
mod x509;
