//! The chart `charts/ratify`, rendered by the real `helm` beside v1's own.
//!
//! - `keys`: each key of v1's values is flipped in both charts, and the objects are compared;
//!   `cases` says how each is flipped, and `intended` what differs on purpose and why;
//! - `additions`: what v1's chart has not; `values`: what operators give, right and wrong;
//! - `cluster`: a real API server accepts what is rendered, and `helm` upgrades v1's release there;
//!   `rights`: what is granted; `role`: the controller works with exactly that, and with v1's rights;
//! - `site`: an installation, and what a node does for it;
//! - `whole`: from an empty API server to a verdict, as the document has it;
//! - `policy`: its Rego text, judged by v1;
//! - `documents`: what `docs/INSTALL.md` says;
//! - `helm`: how charts are rendered; `compare`: what makes two objects the same.

// Helpers of tests count as tests.
#![allow(clippy::unwrap_used)]

mod additions;
mod cases;
pub(crate) mod cluster;
mod compare;
pub(crate) mod documents;
pub(crate) mod helm;
mod intended;
mod keys;
mod policy;
mod rights;
pub(crate) mod role;
pub(crate) mod site;
mod values;
mod whole;
