//! Ratify in a cluster: the custom resources, and the manager that turns them into what is in
//! force.
//!
//! What is decided is decided on values: `resource` reads an object of the API server, `entry`
//! makes an entry of a configuration of its spec, `parts` makes a snapshot of what was built, and
//! `status` says how a resource stands. `queue` says what is to be done next; `manager` does it.

use anyhow::Context as _;

mod build;
pub mod crd;
pub mod entry;
pub mod kind;
pub mod manager;
pub mod parts;
pub mod queue;
mod refused;
pub mod resource;
pub mod secrets;
pub mod status;
mod tenant;

/// Who owns the fields we write.
pub const FIELD_MANAGER: &str = "ratify";

/// A client of the cluster this runs in, or of the one that `KUBECONFIG` names.
///
/// # Errors
/// When there is neither.
pub async fn client() -> anyhow::Result<kube::Client> {
    kube::Client::try_default().await.context("cannot reach a cluster")
}
