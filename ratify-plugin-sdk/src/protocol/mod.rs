//! The wire between a host and a plugin: v1's, as plain data for both sides. No I/O here.
//!
//! A call is one process. The host says what it wants in environment variables
//! ([`environment`]), what about in JSON on standard input ([`VerifyInput`], or a store's entry of
//! the configuration), and reads standard output ([`output`]). `docs/PLUGIN-PROTOCOL.md` is this
//! module in words.

pub mod environment;
pub mod output;
#[cfg(any(test, feature = "schema"))]
pub mod schema;
pub mod version;

mod args;
mod error;
mod input;
mod log;

pub use args::{ArgsError, StoreArgs};
pub use environment::{StoreCommand, VerifierCommand};
pub use error::{PluginError, PluginKind, code};
pub use input::{ListReferrersOutput, VerifyInput, store_parameters};
