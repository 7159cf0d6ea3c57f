//! Ratify in a cluster: the custom resources, and the manager that turns them into what is in
//! force.
//!
//! What is decided is decided on values: `resource` reads an object of the API server, `entry`
//! makes an entry of a configuration of its spec, `parts` makes a snapshot of what was built, and
//! `status` says how a resource stands, which `write` writes, with the Events of `events`. `queue`
//! says what is to be done next; `manager` does what `watch` saw, by the jobs in `build`; `tried`
//! says when it has done so once. `pins` and `claim` settle which digest runs, `known` what ran, `follow` looks after
//! tags, `trusted` asks again who signed what runs, `keys` gets keys and certificates, `volume` looks after what is left. `rotation` makes the certificates that the server shows, `waits`
//! sees how long others wait for its answers.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

mod build;
mod claim;
pub mod crd;
pub mod entry;
mod events;
mod follow;
mod keys;
pub mod kind;
mod known;
mod log;
pub mod manager;
pub mod parts;
mod pins;
pub mod queue;
mod refused;
pub mod resource;
pub mod resource_counts;
pub mod rotation;
pub mod secrets;
pub mod status;
mod tenant;
mod tried;
mod volume;
pub mod waits;
mod watch;
mod write;

/// Who owns the fields we write.
pub const FIELD_MANAGER: &str = "ratify";

/// Something that is said once in the life of a process.
#[derive(Debug, Default)]
pub(crate) struct Once(AtomicBool);

impl Once {
    /// Whether it was not said yet.
    pub(crate) fn first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// A client of the cluster this runs in, or of the one that `KUBECONFIG` names.
///
/// # Errors
/// When there is neither.
pub async fn client() -> anyhow::Result<kube::Client> {
    kube::Client::try_default().await.context("cannot reach a cluster")
}
