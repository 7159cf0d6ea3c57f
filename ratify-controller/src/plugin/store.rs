//! [`ExecStore`]: a referrer store that is a program, as the executor sees it.
//!
//! What an external store lists is taken on the administrator's word ([`Binding::Store`]), since
//! the wire carries manifests parsed; the bytes of its blobs are proven here.

use std::sync::Arc;

use bytes::Bytes;
use ratify_core::{
    Basis, Binding, BoxFuture, ComponentType, Context, Descriptor, Digest, Error, ErrorCode,
    Manifest, Reference, Referrer, ReferrerPage, ReferrerStore, Result, StoreConfig, capped_line,
    config::{PluginEnv, StorePluginConfig},
    go_json,
};
use ratify_plugin_sdk::protocol::{
    ListReferrersOutput, StoreArgs, StoreCommand, environment,
    output::{self, Answer},
};
use ratify_store_oras::digest_of;

use super::exec::{Call, ExecRunner, Program, ProgramError, Written, log_lines};

/// The most a store may print where JSON is expected.
const MOST_JSON: usize = 8 << 20;
/// The most bytes of an error about what it printed.
const MOST_ERROR: usize = 4096;
/// The largest blob that is taken.
const MOST_BLOB: u64 = 64 << 20;

/// A store that runs a program for each command.
pub struct ExecStore {
    name: String,
    config: StoreConfig,
    plugin_env: PluginEnv,
    program: Program,
    runner: Arc<ExecRunner>,
}

impl ExecStore {
    /// A store as configured. `bin_dirs` is what verifier plugins are told: where they find it.
    pub fn new(
        config: &StorePluginConfig,
        bin_dirs: Vec<String>,
        program: Program,
        runner: Arc<ExecRunner>,
    ) -> Self {
        Self {
            name: config.name.clone(),
            config: StoreConfig::new(config.version.clone(), Some(bin_dirs), config.raw.clone()),
            plugin_env: config.plugin_env,
            program,
            runner,
        }
    }

    /// The same for a namespace, which may not use the credentials of this process where that is so.
    #[must_use]
    pub fn of_borrower(mut self, is_borrowers: bool) -> Self {
        self.config = self.config.of_borrower(is_borrowers);
        self
    }

    async fn run(
        &self,
        command: StoreCommand,
        subject: &Reference,
        args: &StoreArgs,
        most_stdout: usize,
        context: &Context,
    ) -> Result<Written> {
        let program = self.runner.open(&self.program).map_err(|error| match error {
            ProgramError::Find(error) => self.error(ErrorCode::PluginNotFound).with_source(error),
            ProgramError::Denied(denial) => self.failure(command).with_source(denial),
            error => self.failure(command).with_source(error),
        })?;
        let args = args.to_text().map_err(|error| self.failure(command).with_source(error))?;
        let variables =
            environment::of_store(command, subject.as_str(), &self.config.version, &args);
        let mut call = Call::new(program, &self.name, &variables);
        call.plugin_env = self.plugin_env;
        call.is_borrowers = self.config.is_borrowers;
        call.stdin = go_json::to_string(&self.config.store)
            .map_err(|error| self.error(ErrorCode::ConfigInvalid).with_source(error))?;
        call.give_up_at = context.give_up_at;
        call.tenant = Arc::clone(&context.tenant);
        call.most_stdout = most_stdout;
        self.runner.call(call).await.map_err(|error| {
            let is_transient = error.is_transient();
            self.failure(command).with_source(error).passing(is_transient)
        })
    }

    async fn ask<T: Answer>(
        &self,
        command: StoreCommand,
        subject: &Reference,
        args: &StoreArgs,
        context: &Context,
    ) -> Result<T> {
        let written = self.run(command, subject, args, MOST_JSON, context).await?;
        let output = output::read::<T>(&written.stdout, &written.stderr);
        log_lines(&self.name, &output.log);
        // What a plugin printed may stand in the error, as long as it likes.
        output.answer.map_err(|error| {
            self.failure(command).with_source(capped_line(&error.to_string(), MOST_ERROR))
        })
    }

    /// What v1 returns bare; a code tells what failed.
    fn failure(&self, command: StoreCommand) -> Error {
        self.error(match command {
            StoreCommand::ListReferrers => ErrorCode::ListReferrersFailure,
            StoreCommand::GetBlob => ErrorCode::GetBlobContentFailure,
            StoreCommand::GetReferenceManifest => ErrorCode::GetReferrerManifestFailure,
            StoreCommand::GetSubjectDescriptor => ErrorCode::GetSubjectDescriptorFailure,
            _ => ErrorCode::ReferrerStoreFailure,
        })
    }

    fn error(&self, code: ErrorCode) -> Error {
        code.error().from_component(ComponentType::ReferrerStore, self.name.clone())
    }

    async fn find_subject(&self, subject: &Reference, context: &Context) -> Result<Descriptor> {
        let command = StoreCommand::GetSubjectDescriptor;
        let found: Descriptor = self.ask(command, subject, &StoreArgs::None, context).await?;
        match subject.digest() {
            Some(asked) if *asked != found.digest => Err(self.failure(command).with_detail(
                format!("store {} was asked for {asked} and describes {}", self.name, found.digest),
            )),
            _ => Ok(found),
        }
    }

    async fn list(
        &self,
        subject: &Reference,
        artifact_types: &[String],
        next_token: &str,
        context: &Context,
    ) -> Result<ReferrerPage> {
        let command = StoreCommand::ListReferrers;
        let args = StoreArgs::List {
            next_token: next_token.to_owned(),
            artifact_types: artifact_types.to_vec(),
        };
        let page: ListReferrersOutput = self.ask(command, subject, &args, context).await?;
        if !page.next_token.is_empty() && page.next_token == next_token {
            return Err(self.failure(command).with_detail(format!(
                "the list of store {} does not advance: page {:?} names itself as the next one",
                self.name,
                capped_line(next_token, 100)
            )));
        }
        let referrers = page.referrers.into_iter();
        let referrers = referrers.map(|found| Referrer::new(found, Binding::Store)).collect();
        Ok(ReferrerPage::new(referrers, page.next_token))
    }

    async fn read_blob(
        &self,
        subject: &Reference,
        asked: &Digest,
        size: Option<u64>,
        context: &Context,
    ) -> Result<Bytes> {
        let command = StoreCommand::GetBlob;
        let refuse = |why: String| {
            self.failure(command).with_detail(format!("blob {asked} of store {}: {why}", self.name))
        };
        let most = size.unwrap_or(MOST_BLOB);
        if most > MOST_BLOB {
            return Err(refuse(format!("it has {most} bytes, and at most {MOST_BLOB} are taken")));
        }
        // One byte more than there should be is enough to see that it is another one.
        let most = usize::try_from(most + 1).unwrap_or(usize::MAX);
        let args = StoreArgs::Digest(asked.clone());
        let written = self.run(command, subject, &args, most, context).await?;
        log_lines(&self.name, &output::read_log(&written.stderr));
        prove(&written.stdout, asked, size).map_err(refuse)?;
        Ok(Bytes::from(written.stdout))
    }
}

impl ReferrerStore for ExecStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn config(&self) -> &StoreConfig {
        &self.config
    }

    fn add_basis(&self, basis: &mut Basis) {
        self.config.add_basis(basis);
        self.runner.add_basis(&self.program, self.plugin_env, basis);
    }

    fn resolve<'a>(
        &'a self,
        subject: &'a Reference,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Descriptor>> {
        Box::pin(self.find_subject(subject, context))
    }

    fn list_referrers<'a>(
        &'a self,
        subject: &'a Reference,
        _: &'a Descriptor,
        artifact_types: &'a [String],
        next_token: &'a str,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<ReferrerPage>> {
        Box::pin(self.list(subject, artifact_types, next_token, context))
    }

    fn manifest<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Manifest>> {
        Box::pin(async move {
            let args = StoreArgs::Digest(descriptor.digest.clone());
            self.ask(StoreCommand::GetReferenceManifest, subject, &args, context).await
        })
    }

    fn blob<'a>(
        &'a self,
        subject: &'a Reference,
        digest: &'a Digest,
        size: Option<u64>,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.read_blob(subject, digest, size, context))
    }
}

/// Proves that bytes are what a digest, and a size where it is known, stand for.
fn prove(bytes: &[u8], asked: &Digest, size: Option<u64>) -> Result<(), String> {
    if let Some(size) = size
        && size != bytes.len() as u64
    {
        return Err(format!("the store gave {} bytes where {size} are listed", bytes.len()));
    }
    let found = digest_of(asked.algorithm(), bytes);
    if found == *asked {
        return Ok(());
    }
    Err(format!("the store gave other bytes, of digest {found}"))
}

#[cfg(test)]
mod tests {
    use ratify_core::Algorithm;

    use super::*;

    #[test]
    fn a_blob_is_proven_by_each_algorithm_and_by_its_size() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            let asked = digest_of(algorithm, b"\0\xffblob");
            assert_eq!(prove(b"\0\xffblob", &asked, Some(6)), Ok(()));
            assert_eq!(prove(b"\0\xffblob", &asked, None), Ok(()));
            assert!(prove(b"\0\xffblob", &asked, Some(5)).unwrap_err().contains("5 are listed"));
            assert!(prove(b"\0\xffblob\n", &asked, None).unwrap_err().contains("other bytes"));
            assert!(prove(b"", &asked, None).is_err());
        }
    }
}
