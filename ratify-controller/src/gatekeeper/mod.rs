//! What the cluster asks: Gatekeeper's external data protocol over HTTP.
//!
//! - `wire`: the JSON of a request and of an answer, byte for byte v1's; `verdict`: what of it is
//!   written once, and kept;
//! - [`service`]: each key on its own, under two times: when to answer, and when to give up;
//! - `config`: how long and how much; [`times`]: how long an answer may take, where others wait;
//! - `verification`: what an image comes to; `mutation`: what a tag stands for;
//! - `asked`: one key: taken apart, spoken of in the log, turned into its answer;
//! - `flights`: the work behind the keys: shared between requests, bounded, fair to each tenant;
//! - `routes`: paths, methods and statuses; `body`: how much is read;
//! - [`listen`]: connections and the end of the server; [`tls`]: who may connect, by what certificate.

mod asked;
mod body;
mod config;
pub(crate) mod flights;
pub mod listen;
mod mutation;
mod routes;
pub mod service;
pub mod times;
pub mod tls;
pub(crate) mod verdict;
mod verification;
mod wire;

pub use body::Readable;
pub use config::ServiceConfig;
pub use listen::{serve, serve_router, serve_tls};
pub use routes::Endpoints;
pub use service::Service;
