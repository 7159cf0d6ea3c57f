//! Verifiers that are built in: by which type a configuration names them, and how they are made of an
//! entry and of what this process is told. No program takes the place of one.

use std::sync::Arc;

use ratify_core::{Error, Result, Verifier, config::VerifierPluginConfig};
use ratify_verifier_cosign::CosignVerifier;
use ratify_verifier_notation::{ListCache, NotationVerifier, VerificationPlugins};

use crate::env::Environment;

/// The type of the verifier of Notary Project signatures.
const NOTATION: &str = "notation";
const COSIGN: &str = CosignVerifier::TYPE;

/// Whether an entry is of a verifier that is built in, and names no program.
pub(crate) fn is_built_in(entry: &VerifierPluginConfig) -> bool {
    [NOTATION, COSIGN].contains(&entry.binary_name())
}

/// Whether the `source` of an entry is pulled: not that of what is built in, but for a plugin of Notation.
pub(crate) fn takes_source(entry: &VerifierPluginConfig) -> bool {
    !is_built_in(entry) || entry.binary_name() == NOTATION
}

/// What built-in verifiers take from around them, beside what their host gives them.
#[derive(Clone)]
pub(crate) struct BuiltIns {
    pub(crate) environment: Environment,
    /// The revocation lists of this process.
    pub(crate) lists: Arc<ListCache>,
}

impl BuiltIns {
    /// Builds the verifier of an entry; `None` where it is a program's. A namespace's reads no files.
    /// Where no plugins of Notation are given, it runs none.
    pub(crate) fn verifier(
        &self,
        entry: &VerifierPluginConfig,
        is_of_namespace: bool,
        plugins: Option<Arc<dyn VerificationPlugins>>,
    ) -> Option<Result<Arc<dyn Verifier>>> {
        let entry = entry.clone();
        match entry.binary_name() {
            NOTATION => {
                let mut told = ratify_verifier_notation::Environment::new(&self.environment.home);
                told.is_tenants = is_of_namespace;
                told.lists = Arc::clone(&self.lists);
                told.plugins = plugins;
                Some(NotationVerifier::new(entry, told).map(|verifier| Arc::new(verifier) as _))
            }
            COSIGN => {
                let told = of_cosign(&self.environment, is_of_namespace);
                Some(CosignVerifier::new(entry, &told).map(|verifier| Arc::new(verifier) as _))
            }
            _ => None,
        }
    }
}

/// Whether the entry of a built-in verifier asks that somebody signed, and not who.
pub(crate) fn accepts_anyone(entry: &VerifierPluginConfig) -> bool {
    entry.binary_name() == COSIGN && CosignVerifier::accepts_anyone(entry)
}

/// What the verifier `cosign` is told.
fn of_cosign(
    environment: &Environment,
    is_of_namespace: bool,
) -> ratify_verifier_cosign::Environment {
    let mut told = ratify_verifier_cosign::Environment::default();
    told.home.clone_from(&environment.home);
    told.is_of_namespace = is_of_namespace;
    told.with_variables(|name| environment.sigstore.get(name).cloned())
}

/// What is wrong with the entry of a built-in verifier, if anything is, for who has this environment.
/// Nothing is looked up.
pub(crate) fn error(
    entry: &VerifierPluginConfig,
    is_of_namespace: bool,
    environment: &Environment,
) -> Option<Error> {
    match entry.binary_name() {
        NOTATION => {
            let mut told = ratify_verifier_notation::Environment::new("/");
            told.is_tenants = is_of_namespace;
            NotationVerifier::new(entry.clone(), told).err()
        }
        COSIGN => CosignVerifier::check(entry, &of_cosign(environment, is_of_namespace)).err(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_clusters_names_files_and_servers() {
        let entry = json!({"name": "c", "type": "cosign", "artifactTypes": "a", "rekorURL": "http://10.0.0.1", "key": "/nowhere"});
        let entry = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
        let error =
            |entry: &_, is_of_namespace| error(entry, is_of_namespace, &Environment::default());
        assert!(is_built_in(&entry) && error(&entry, false).is_none());
        assert!(!takes_source(&entry));
        let refused = error(&entry, true).unwrap().to_string();
        assert!(refused.contains("a namespace may not choose"), "{refused}");
        assert!(!accepts_anyone(&entry));
        let mut other = entry.clone();
        other.raw.remove("key");
        assert!(accepts_anyone(&other));
        other.raw.insert("trustPolicies".to_owned(), json!([{}]));
        assert!(!accepts_anyone(&other), "wrong, and said elsewhere");
        "sbom".clone_into(&mut other.type_);
        assert!(!is_built_in(&other) && error(&other, true).is_none());
        assert!(takes_source(&other));
        NOTATION.clone_into(&mut other.type_);
        assert!(is_built_in(&other) && takes_source(&other), "a plugin of Notation");
    }
}
