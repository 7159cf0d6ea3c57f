//! The verifier as a plugin: [`NotationVerifier`] on v1's wire. It has no keys of key management providers
//! and fetches nothing, so that certificates are files here and revocation is unknown.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use ratify_core::config::VerifierPluginConfig;
use ratify_plugin_sdk::{
    Host, Result, Store, StoreConfig, Subject, VerifierConfig, VerifierPlugin, VerifierReport,
    external, judge_by, log,
};
use ratify_store_oras::blocking;
use ratify_verifier_notation::{Environment, NotationVerifier};
use serde_json::{Map, Value};

struct Plugin(NotationVerifier);

impl VerifierPlugin for Plugin {
    /// The library reads the whole entry itself.
    type Parameters = Map<String, Value>;

    fn new(_: Self::Parameters, config: &VerifierConfig) -> Result<Self> {
        let entry = VerifierPluginConfig::from_entry(&config.entry, &config.version)?;
        let home = std::env::var_os("HOME").unwrap_or_default();
        let mut environment = Environment::new(PathBuf::from(home));
        // A host that does not say whose entry it is, as v1's, has an administrator's.
        environment.is_tenants = blocking::passed_rules()?.is_of_namespace;
        Ok(Self(NotationVerifier::new(entry, environment)?))
    }

    fn verify(&self, subject: &Subject, store: &Store) -> Result<VerifierReport> {
        judge_by(&self.0, subject, store)
    }
}

fn open(config: &StoreConfig) -> ratify_core::Result<Arc<dyn Host>> {
    external::open_unless_built_in(config, &blocking::STORES, blocking::open_with_environment)
}

fn main() -> ExitCode {
    log::take_tracing();
    ratify_plugin_sdk::run_with::<Plugin>(open)
}
