//! What the first blob of an artifact is: the shortest proof that a plugin can read.

use ratify_plugin_sdk::{Result, Store, Subject, proof};
use serde_json::{Value, json};

/// Reads the first blob and says its digest and its length.
pub(crate) fn describe(subject: &Subject, store: &Store) -> Result<Value> {
    let manifest = store.manifest(&subject.referrer)?;
    let listed = manifest.blobs.first().ok_or("the artifact has no blob")?;
    let blob = store.blob(listed)?;
    Ok(json!({"sha256": proof::sha256(&blob).hex(), "length": blob.len()}))
}
