//! Stores for a plugin that reads on the exec wire, where the host gives it nothing to read by: the
//! plugin opens the store itself.

use std::{process::ExitCode, sync::Arc};

use ratify_plugin_sdk::{Error, Host, Result, StoreConfig, VerifierPlugin, external};
use ratify_store_oras::blocking;

/// Runs a verifier that may read.
pub(crate) fn run<P: VerifierPlugin>() -> ExitCode {
    ratify_plugin_sdk::run_with::<P>(open)
}

/// Opens the store that the host's `storeConfig` describes: a built-in one, or a program.
fn open(config: &StoreConfig) -> Result<Arc<dyn Host>, Error> {
    external::open_unless_built_in(config, &blocking::STORES, blocking::open_with_environment)
}
