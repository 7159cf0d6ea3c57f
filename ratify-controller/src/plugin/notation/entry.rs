//! [`NotationPluginEntry`]: what a verifier's resource, or entry, comes to whose type is `notation-<name>`.
//! v1 takes such a one for a verifier, and guides use that to have a plugin of Notation downloaded.

use std::sync::Arc;

use ratify_core::{
    Basis, BoxFuture, ComponentType, ErrorCode, Request, Result, Verifier, VerifierReport,
    config::VerifierPluginConfig,
};

use crate::plugin::exec::{ExecRunner, Program};

/// Keeps a plugin of Notation in force, and judges nothing: the program is never run as a verifier.
pub(crate) struct NotationPluginEntry {
    config: VerifierPluginConfig,
    program: Program,
    runner: Arc<ExecRunner>,
}

impl NotationPluginEntry {
    /// As configured. The program is there.
    pub(crate) fn new(
        config: VerifierPluginConfig,
        program: Program,
        runner: Arc<ExecRunner>,
    ) -> Self {
        Self { config, program, runner }
    }
}

impl Verifier for NotationPluginEntry {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn type_(&self) -> &str {
        &self.config.type_
    }

    fn can_verify(&self, artifact_type: &str) -> bool {
        self.config.artifact_types.as_ref().is_none_or(|types| types.cover(artifact_type))
    }

    fn artifact_types(&self) -> Option<&[String]> {
        self.config.artifact_types.as_ref()?.named()
    }

    fn verifies_nested(&self) -> bool {
        self.config.nested
    }

    fn named_keys(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }

    fn add_basis(&self, basis: &mut Basis) {
        basis.add_entry(&self.config.raw);
        self.runner.add_basis(&self.program, self.config.plugin_env, basis);
    }

    /// In v1 the program fails at what it does not understand.
    fn verify<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<VerifierReport>> {
        Box::pin(async {
            let (name, type_) = (&self.config.name, self.config.binary_name());
            let error = ErrorCode::VerifyReferenceFailure
                .detail(format!("{type_} is a plugin of Notation, which judges no artifacts by itself"))
                .with_remediation("Name an artifact type in artifactTypes that no artifact has: the verifier notation runs the plugin for the signatures that name it.")
                .from_component(ComponentType::Verifier, name.as_str());
            Ok(VerifierReport::from_error(&error).named(name, &self.config.type_))
        })
    }
}
