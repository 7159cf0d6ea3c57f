//! What is known of a resource's plugin before it is built, from its status and from the lock file, and
//! what its status says of it afterwards.

use ratify_core::{
    ErrorCode, Result,
    config::{PluginRules, PluginSource},
};

use super::{
    build::Shared,
    crd::PluginStatus,
    resource::{Pin, Resource},
};
use crate::{
    plugin::{install::Ran, inventory::InstalledPlugin},
    runtime::Runtime,
};

/// The version that a status says ran.
pub(super) fn ran(resource: &Resource) -> Option<Ran> {
    let PluginStatus { artifact, version, .. } = resource.plugin_status()?;
    Some(Ran { artifact: artifact?, version: version? })
}

/// What the lock file says that a source stands for, where there is one.
pub(super) fn locked(
    rules: &PluginRules,
    source: &PluginSource,
    resource: &Resource,
) -> Result<Option<Pin>> {
    let Some(lock) = Runtime::lock(rules)? else { return Ok(None) };
    let digest = lock.digest_of(&source.artifact, None).map_err(|denial| {
        ErrorCode::DownloadPluginFailure
            .detail("Failed to download the plugin from the source")
            .with_source(denial)
    })?;
    let (uid, generation) = (resource.uid.clone(), resource.generation);
    Ok(Some(Pin { uid, generation, digest: digest.clone() }))
}

/// What a status says of the plugin that was installed.
pub(super) fn plugin_status(
    shared: &Shared,
    resource: &Resource,
    pin: Option<&Pin>,
    installed: Option<&InstalledPlugin>,
) -> Option<PluginStatus> {
    let (pin, installed) = (pin?, installed?);
    let record = installed.record();
    let artifact = resource.spec.get("source").and_then(|source| source["artifact"].as_str());
    Some(PluginStatus {
        digest: pin.digest.to_string(),
        generation: pin.generation,
        artifact: Some(artifact.unwrap_or(&record.artifact).to_owned()),
        program: Some(record.digest.to_string()),
        platform: Some(record.platform.clone()),
        size: i64::try_from(record.size).ok(),
        loaded_time: None,
        loaded_by: Some(shared.identity.clone()),
        signers: Some(record.signers.clone()).filter(|signers| !signers.is_empty()),
        version: record.version.clone(),
    })
}
