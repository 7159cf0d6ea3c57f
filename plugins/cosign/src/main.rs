//! The verifier as a plugin: [`CosignVerifier`] on v1's wire. It has no keys of key management providers
//! and asks no log: keys and what is trusted of Sigstore are files here.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use ratify_core::config::VerifierPluginConfig;
use ratify_plugin_sdk::{
    Host, Result, Store, StoreConfig, Subject, VerifierConfig, VerifierPlugin, VerifierReport,
    external, judge_by, log,
};
use ratify_store_oras::blocking;
use ratify_verifier_cosign::{CosignVerifier, Environment, initialized};
use serde_json::{Map, Value};

struct Plugin(CosignVerifier);

impl VerifierPlugin for Plugin {
    /// The library reads the whole entry itself.
    type Parameters = Map<String, Value>;

    fn new(_: Self::Parameters, config: &VerifierConfig) -> Result<Self> {
        let entry = VerifierPluginConfig::from_entry(&config.entry, &config.version)?;
        let variable = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let mut environment = Environment::default().with_variables(variable);
        environment.home = variable("HOME").unwrap_or_default();
        let tuf_root = environment.tuf_root.or_else(|| initialized(&environment.home));
        environment.tuf_root = tuf_root;
        // A host that does not say whose entry it is, as v1's, has an administrator's.
        environment.is_of_namespace = blocking::passed_rules()?.is_of_namespace;
        Ok(Self(CosignVerifier::new(entry, &environment)?))
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
