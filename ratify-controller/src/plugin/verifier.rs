//! [`ExecVerifier`]: a verifier that is a program, as the executor sees it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ratify_core::{
    Basis, BoxFuture, ComponentType, Error, ErrorCode, Request, Result, StoreConfig, Verifier,
    VerifierReport, capped_line, config::VerifierPluginConfig,
};
use ratify_plugin_sdk::protocol::{VerifyInput, environment, output};
use serde_json::{Value, json};

use super::call_directory::{CallDirectories, CallDirectory};
use super::exec::{
    Call, ExecRunner, PluginFailure, Program, ProgramError, Written, joined_lines, log_lines,
};

/// The most a verifier may print: an answer of 4 MiB, and its log.
const MOST_STDOUT: usize = 8 << 20;
/// The most of a report's texts that is kept.
const MOST_TEXT: usize = 16 * 1024;
/// The key of the built-in store's entry that says where it caches blobs.
const LOCAL_CACHE_PATH: &str = "localCachePath";

/// A verifier that runs a program for each artifact.
pub struct ExecVerifier {
    config: VerifierPluginConfig,
    is_of_namespace: bool,
    program: Program,
    runner: Arc<ExecRunner>,
    directories: Arc<CallDirectories>,
}

impl ExecVerifier {
    /// A verifier as configured. Each call gets a private directory below `runtime_dir`, which
    /// must exist.
    pub fn new(
        config: VerifierPluginConfig,
        program: Program,
        runner: Arc<ExecRunner>,
        runtime_dir: PathBuf,
    ) -> Self {
        let directories = CallDirectories::new(runtime_dir);
        Self { config, is_of_namespace: false, program, runner, directories }
    }

    /// The same, told that its entry is a namespace's where that is so.
    #[must_use]
    pub fn of_namespace(mut self, is_of_namespace: bool) -> Self {
        self.is_of_namespace = is_of_namespace;
        self
    }

    async fn judge(&self, request: &Request) -> Result<VerifierReport> {
        let program = self.runner.open(&self.program);
        let program = program.map_err(|error| self.no_program(error))?;
        let (store, directory) = self.private_store(&request.store)?;
        let store_is_borrowers = store.is_borrowers;
        let input =
            VerifyInput::new(self.config.raw.clone(), store, request.referrer.descriptor.clone());
        let variables = environment::of_verifier(&request.subject, &self.config.version);
        let mut call = Call::new(program, &self.config.name, &variables);
        call.plugin_env = self.config.plugin_env;
        call.is_borrowers = store_is_borrowers;
        call.is_of_namespace = self.is_of_namespace;
        call.stdin = input
            .to_json()
            .map_err(|error| self.error(ErrorCode::ConfigInvalid).with_source(error))?;
        call.give_up_at = request.context.give_up_at;
        call.tenant = Arc::clone(&request.context.tenant);
        call.most_stdout = MOST_STDOUT;
        call.keep = directory.map(|directory| Box::new(directory) as _);
        match self.runner.call(call).await {
            Ok(written) => Ok(self.read(&written)),
            Err(failure) => Ok(self.failed(failure)),
        }
    }

    /// v1's plugins keep blobs in a directory with an index that they all rewrite. Each call gets
    /// its own one, so that two of them do not race; what is in it goes with the plugin. Where there
    /// is no room for one, nothing is found out about the image. An external store is told what is
    /// configured.
    fn private_store(
        &self,
        configured: &StoreConfig,
    ) -> Result<(StoreConfig, Option<CallDirectory>)> {
        let mut store = configured.clone();
        if store.plugin_bin_dirs.is_some() {
            return Ok((store, None));
        }
        let directory = self.directories.take().map_err(|error| {
            let detail = "failed to create a directory for the plugin's cache";
            let error = self.error(ErrorCode::VerifyPluginFailure).with_source(error);
            error.with_detail(detail).passing(true)
        })?;
        cache_in(&mut store, directory.path());
        Ok((store, Some(directory)))
    }

    fn read(&self, written: &Written) -> VerifierReport {
        let output = output::read::<VerifierReport>(&written.stdout, &written.stderr);
        log_lines(&self.config.name, &output.log);
        match output.answer {
            Ok(report) => report_from(report),
            Err(error) => self.report_of(&self.verify_failure(error)),
        }
    }

    /// A report of a plugin that failed, as v1's executor makes it of the error, with the plugin's
    /// own error beside it.
    fn failed(&self, failure: PluginFailure) -> VerifierReport {
        let plugin_error = failure.plugin_error().map(|error| {
            json!({"pluginError": {
                "code": error.code,
                "msg": capped_line(&error.msg, MOST_TEXT),
                "details": capped_line(&error.details, MOST_TEXT),
            }})
        });
        let is_transient = failure.is_transient();
        self.report_of(&self.verify_failure(failure).passing(is_transient))
            .with_extensions(plugin_error.unwrap_or(Value::Null))
    }

    fn verify_failure(&self, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
        let failure = self.error(ErrorCode::VerifyPluginFailure).with_source(cause);
        self.error(ErrorCode::VerifyReferenceFailure).with_source(failure)
    }

    /// What a plugin printed may stand in the error, as long as it likes.
    fn report_of(&self, error: &Error) -> VerifierReport {
        let text = fit(&error.to_string());
        tracing::error!(component_type = "verifier", plugin = self.config.name, "{text}");
        let mut report = VerifierReport::from_error(error);
        report.error_reason = fit(&report.error_reason);
        report
    }

    fn no_program(&self, error: ProgramError) -> Error {
        match error {
            ProgramError::Find(error) => self.error(ErrorCode::PluginNotFound).with_source(error),
            ProgramError::Denied(denial) => {
                self.error(ErrorCode::VerifyPluginFailure).with_source(denial)
            }
            error => self.error(ErrorCode::VerifyPluginFailure).with_source(error),
        }
    }

    fn error(&self, code: ErrorCode) -> Error {
        code.error().from_component(ComponentType::Verifier, self.config.name.clone())
    }
}

impl Verifier for ExecVerifier {
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

    /// A program is given no keys.
    fn named_keys(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }

    fn add_basis(&self, basis: &mut Basis) {
        // Whatever else the entry says is made of what is written there.
        basis.add("version", &self.config.version);
        basis.add("is a namespace's", [u8::from(self.is_of_namespace)]);
        basis.add_entry(&self.config.raw);
        self.runner.add_basis(&self.program, self.config.plugin_env, basis);
    }

    fn verify<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<VerifierReport>> {
        Box::pin(async move {
            let report = self.judge(request).await?;
            Ok(report.named(&self.config.name, &self.config.type_))
        })
    }
}

/// Names the directory a store caches in. The key is read in any case, so another spelling of it
/// must not stay beside it.
fn cache_in(store: &mut StoreConfig, directory: &Path) {
    store.store.retain(|key, _| !key.eq_ignore_ascii_case(LOCAL_CACHE_PATH));
    store.store.insert(LOCAL_CACHE_PATH.into(), directory.to_string_lossy().into_owned().into());
}

/// What is kept of a plugin's report: its verdict and its words, bounded and without control
/// characters. Whom it is from and what about is not the plugin's to say.
fn report_from(said: VerifierReport) -> VerifierReport {
    let mut report = if said.is_success {
        VerifierReport::success(fit(&said.message))
    } else {
        VerifierReport::failure(fit(&said.message))
    };
    // Only whether it names a type counts; which one is configured.
    report.type_ = said.type_;
    report.error_reason = fit(&said.error_reason);
    report.remediation = fit(&said.remediation);
    report.extensions = said.extensions;
    let is_silent = report.message.is_empty() && report.error_reason.is_empty();
    if !report.is_success && is_silent {
        report.error_reason = "the plugin says no and gives no reason".to_owned();
    }
    report
}

fn fit(text: &str) -> String {
    capped_line(&joined_lines(text), MOST_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_keeps_its_verdict_and_words_and_nothing_about_who_it_is() {
        let said: VerifierReport = serde_json::from_value(json!({
            "isSuccess": true, "subject": "other", "name": "notation", "type": "notation",
            "verifierName": "notation", "referenceDigest": "x", "artifactType": "y",
            "message": "a\u{1b}[2Jb\nc", "errorReason": "r", "remediation": "do",
            "extensions": {"k": [1]}, "nestedResults": [{"isSuccess": true}]
        }))
        .unwrap();
        let report = report_from(said).named("configured", "sbom");
        insta::assert_snapshot!(serde_json::to_string(&report).unwrap(), @r#"{"isSuccess":true,"name":"configured","verifierName":"configured","type":"sbom","verifierType":"sbom","message":"a�[2Jb c","errorReason":"r","remediation":"do","extensions":{"k":[1]}}"#);
    }

    #[test]
    fn no_spelling_of_the_configured_cache_reaches_a_plugin() {
        for key in ["localCachePath", "localcachepath", "LOCALCACHEPATH", "LocalCachePath"] {
            let entry = json!({"name": "oras", key: "/of/the/host", "useHttp": true});
            let entry = entry.as_object().unwrap().clone();
            let mut store = StoreConfig::new("1.0.0", None, entry);
            cache_in(&mut store, Path::new("/private"));
            let expected = json!({"name": "oras", "useHttp": true, "localCachePath": "/private"});
            assert_eq!(Value::Object(store.store), expected);
        }
    }

    #[test]
    fn a_no_without_words_gets_a_reason() {
        let report = report_from(VerifierReport::failure(""));
        assert_eq!(report.error_reason, "the plugin says no and gives no reason");
        assert_eq!(report_from(VerifierReport::failure("m")).error_reason, "");
    }

    #[test]
    fn a_report_is_bounded() {
        let report = report_from(VerifierReport::success("x".repeat(100_000)));
        assert_eq!(report.message.len(), MOST_TEXT);
    }
}
