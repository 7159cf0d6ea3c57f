//! [`Environment`]: what providers read from, as values.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use super::{CredentialPrograms, CredentialProviders, SecretScope, SecretSource};

/// What providers read from, as values: the environment, the cluster, and for whom they do it.
#[derive(Clone, Default)]
pub struct Environment {
    /// The home directory (`HOME`).
    pub home: Option<PathBuf>,
    /// Docker's configuration directory (`DOCKER_CONFIG`).
    pub docker_config: Option<PathBuf>,
    /// The secrets of the cluster; `None` outside of one.
    pub secrets: Option<Arc<dyn SecretSource>>,
    /// The namespace this process runs in (`RATIFY_NAMESPACE`).
    pub ratify_namespace: Option<String>,
    /// Whose secrets may be read.
    pub scope: SecretScope,
    /// Whether a namespace may use the credentials of this process, too: docker's configuration,
    /// and the identity that a cloud gives it.
    pub lends_credentials: bool,
    /// The values of [`VARIABLES`](super::VARIABLES) that are set.
    pub lookup: BTreeMap<String, String>,
    /// What runs programs that give out credentials; `None` where none are run.
    pub programs: Option<Arc<dyn CredentialPrograms>>,
    /// The administrator's programs of the kubelet's contract, or why their file cannot be used.
    pub credential_providers: Option<Result<Arc<CredentialProviders>, String>>,
}

impl Environment {
    /// The same for a resource of a namespace, which reads that namespace's secrets alone.
    #[must_use]
    pub fn for_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.scope = SecretScope::Namespace(namespace.into());
        self
    }

    /// Whether the credentials of this process are somebody else's.
    pub fn is_borrower(&self) -> bool {
        matches!(self.scope, SecretScope::Namespace(_)) && !self.lends_credentials
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("home", &self.home)
            .field("docker_config", &self.docker_config)
            .field("has_secrets", &self.secrets.is_some())
            .field("ratify_namespace", &self.ratify_namespace)
            .field("scope", &self.scope)
            .field("lends_credentials", &self.lends_credentials)
            .field("lookup", &self.lookup.keys())
            .field("runs_programs", &self.programs.is_some())
            .field("credential_providers", &self.credential_providers)
            .finish()
    }
}
