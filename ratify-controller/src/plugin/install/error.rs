//! Why a plugin is not installed: [`InstallError`].

use std::path::PathBuf;

use jiff::Timestamp;
use ratify_core::{ReferenceError, config::Denial};
use ratify_store_oras::OrasError;

use super::PlanError;
use crate::plugin::{
    inventory::{InventoryError, Record},
    trust::Distrust,
};

/// What went wrong on the way from a reference to a proven program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The artifact's reference is none. The texts are v1's where v1 has one.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The type cannot name a file.
    #[error("the plugin type {0:?} must have 1 to 255 bytes, no separator and no leading dot")]
    Type(String),
    /// The registry failed or lied, or the credentials could not be had. As text: the code of an
    /// inner error would otherwise be the one shown, where v1 shows `DOWNLOAD_PLUGIN_FAILURE`.
    #[error("{0}")]
    Registry(String),
    /// Somebody outside of registries did not say what is needed to know whether it is signed, such as
    /// a responder or who has a list of revoked certificates.
    #[error("whether it is signed was not found out: {0}")]
    Unasked(String),
    /// A rule of the administrators forbids it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// What the reference stands for is no plugin of this platform.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The program is none that this node can run.
    #[error("the file is refused: {0}")]
    Distrust(#[from] Distrust),
    /// The plugin directory.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// Nobody could tell later that it was loaded.
    #[error("it is not loaded, for its load cannot be recorded: {0}")]
    NotRecorded(InventoryError),
    /// The time given is over.
    #[error("gave up, the time for it is over")]
    GaveUp,
    /// Something that must be here is not, and no registry may be asked.
    #[error("a part of the plugin is not here")]
    Incomplete,
    /// A step on another thread ended abnormally.
    #[error("an inner step failed: {0}")]
    Task(String),
}

impl Record {
    /// Whether what it was admitted by counts though it was not found out again, for this reason. What
    /// nobody outside of registries says counts until the last answer ends; that a registry is away says
    /// nothing about signatures.
    pub(crate) fn is_admitted_in_spite_of(&self, cause: &InstallError, now: Timestamp) -> bool {
        match cause {
            InstallError::Unasked(_) => self.admitted_until.is_none_or(|until| now < until),
            _ => true,
        }
    }
}

impl InstallError {
    /// Why the bytes of a file did not come, or could not be written.
    pub(super) fn receiving(error: OrasError, path: PathBuf) -> Self {
        match error {
            // Not the registry's fault: the disk is full, or the directory is gone.
            OrasError::Sink { source, .. } => {
                InventoryError::Io { doing: "writing", path, source }.into()
            }
            other => other.into(),
        }
    }
}

impl From<OrasError> for InstallError {
    fn from(error: OrasError) -> Self {
        Self::Registry(error.to_string())
    }
}
