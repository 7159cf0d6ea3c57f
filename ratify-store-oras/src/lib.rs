//! Registries: what is in them, proven, and what is attached to what.
//!
//! [`OrasStore`] is the built-in `oras` referrer store. [`Client`] below it resolves, reads and
//! pushes; dynamic plugins are pulled with it too. [`LayoutStore`] reads an OCI image layout in
//! their place, without a network. [`auth`] finds credentials. With the feature
//! `blocking`, `blocking::open` serves a plugin that must open its own store. [`Web`] reads what is
//! outside of registries, over the same connections.
//!
//! Every byte that leaves this crate has the digest it was asked for, and the size where one was
//! known. This crate knows no Kubernetes and starts no process; environment and paths come in as
//! values. (The proxy variables are the one exception: the HTTP library reads them.)

mod addresses;
mod answer;
mod artifact;
pub mod auth;
mod blobs;
#[cfg(feature = "blocking")]
pub mod blocking;
mod cache;
mod client;
mod counters;
mod deadline;
mod error;
mod exchange;
mod failure;
mod flights;
#[doc(hidden)]
pub mod fuzzing;
mod hosts;
#[cfg(feature = "http2")]
mod http2;
mod keys;
mod layout;
mod limiter;
mod manifests;
mod options;
mod origin;
mod pace;
mod patience;
mod places;
mod probe;
mod proof;
mod push;
mod referrers;
mod registries;
mod resolver;
mod results;
mod resume;
mod retry;
mod roots;
mod route;
mod section;
mod selection;
mod standing;
mod store;
mod stream;
mod subject;
mod targets;
mod tls;
mod trace;
mod transport;
mod tree;
mod upload;
mod ways;
mod web;

pub use addresses::{AddressKind, AddressRules};
pub use artifact::{Artifact, ArtifactIndex, EMPTY_CONFIG};
pub use auth::{AuthProvider, Credential, CredentialUse, Granted, Secret};
pub use cache::{BlobCache, CacheError, Partition};
pub use client::Client;
pub use counters::{AzureCall, AzureSeries, CacheSeries, Counters, RequestSeries, Took};
pub use error::OrasError;
pub use layout::{LAYOUT_STORE, Layout, LayoutStore, LayoutWriter};
pub use options::{ClientOptions, Limits, OrasStoreOptions};
pub use origin::Origin;
pub use probe::{
    AddressFacts, AnswerFacts, ChallengeFacts, CredentialFacts, CredentialKind, Depth, PlaceFacts,
    ReferrersFacts, Step, TlsFacts, TlsVerdict,
};
pub use proof::{Hasher, digest_of};
pub use push::BlobPush;
pub use results::{ResultCache, ResultCounts};
pub use retry::RetryPolicy;
pub use section::Section;
pub use standing::{OwnStanding, RegistryStanding};
pub use store::OrasStore;
pub use subject::Changed;
pub use tls::TlsRoots;
pub use transport::{ConnectionRules, Connections, Transport};
pub use tree::Tree;
pub use web::{Web, WebRequest};
