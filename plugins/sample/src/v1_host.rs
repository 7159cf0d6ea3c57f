//! Stores for a plugin that reads on the exec wire, where the host gives it nothing to read by: the
//! plugin opens the store itself.

use std::{process::ExitCode, sync::Arc};

use ratify_plugin_sdk::{Error, Host, Result, StoreConfig, VerifierPlugin, external};
use ratify_store_oras::{LAYOUT_STORE, blocking};

/// Runs a verifier that may read.
pub(crate) fn run<P: VerifierPlugin>() -> ExitCode {
    ratify_plugin_sdk::run_with::<P>(open)
}

/// Opens the store that the host's `storeConfig` describes: a built-in one, or a program.
fn open(config: &StoreConfig) -> Result<Arc<dyn Host>, Error> {
    let is_built_in = |name: &serde_json::Value| name == "oras" || name == LAYOUT_STORE;
    if config.store.get("name").is_some_and(is_built_in) {
        blocking::open_with_environment(config)
    } else {
        external::open(config)
    }
}
