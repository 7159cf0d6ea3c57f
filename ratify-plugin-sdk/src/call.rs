//! A call, decided: from variables and standard input to the bytes of standard output. The order
//! of the checks and the texts are v1's. Nothing here touches the process.

use std::{error::Error as StdError, io::Read};

use ratify_core::{Reference, go_json};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    OpenStore, Result, Store, StorePlugin, Subject, VerifierConfig, VerifierPlugin, log,
    parameters,
    protocol::{
        PluginError, PluginKind, StoreArgs, StoreCommand, VerifierCommand, VerifyInput,
        environment as env, store_parameters, version,
    },
};

/// The most a host may write to standard input.
const MAX_STDIN: u64 = 16 << 20;
/// v1's host loses a line from this length on, the line break included.
const V1_MAX_LINE: usize = 64 << 10;

/// What a process is given.
pub(crate) struct Call<'a> {
    /// Reads an environment variable; empty where it is missing.
    pub(crate) variable: &'a dyn Fn(&str) -> String,
    /// Standard input.
    pub(crate) stdin: &'a mut dyn Read,
}

/// Answers a host that runs a verifier.
pub(crate) fn answer_verifier<P: VerifierPlugin>(
    call: &mut Call<'_>,
    open: Option<OpenStore>,
) -> Result<Vec<u8>, PluginError> {
    let kind = PluginKind::Verifier;
    let variables = [env::VERIFIER_COMMAND, env::VERIFIER_VERSION, env::VERIFIER_SUBJECT];
    let ([command, asked, subject], stdin) = call.begin(variables, |_| false)?;
    let reference = parse_subject(&subject)?;
    let reference = resolved(reference, &(call.variable)(env::VERIFIER_SUBJECT_DIGEST))?;
    check_version(P::VERSIONS, &asked)?;

    let input = parse_object(kind, &stdin)?;
    let entry = input.get("config").and_then(Value::as_object);
    let name = name_of(kind, entry)?.to_owned();
    let input: VerifyInput = serde_json::from_value(Value::Object(input))
        .map_err(|error| PluginError::config_parsing(kind, &error))?;

    let Some(command) = VerifierCommand::parse(&command) else {
        return Err(PluginError::unknown_command(env::VERIFIER_COMMAND, &command));
    };
    let parameters = parameters::of_verifier(&input.config)
        .map_err(|reason| PluginError::invalid_config(kind, reason))?;
    let config = VerifierConfig::new(&name, &asked, input.config);
    let verifier = P::new(parameters, &config).map_err(|error| creation_error(kind, error))?;
    let store = Store::on_demand(reference.clone(), input.store_config, open);
    let mut report = verifier
        .verify(&Subject::new(reference, input.reference_desc), &store)
        .map_err(|error| command_error(&command, error))?;
    if report.name.is_empty() {
        report.name = config.name;
    }
    if report.type_.is_empty() {
        report.type_ = config.type_;
    }
    line(&report)
}

/// Answers a host that runs a store.
pub(crate) fn answer_store<S: StorePlugin>(call: &mut Call<'_>) -> Result<Vec<u8>, PluginError> {
    let kind = PluginKind::Store;
    let variables = [env::STORE_COMMAND, env::STORE_VERSION, env::STORE_SUBJECT, env::STORE_ARGS];
    let may_lack_args =
        |command: &str| StoreCommand::parse(command) == Some(StoreCommand::GetSubjectDescriptor);
    let ([command, asked, subject, args], stdin) = call.begin(variables, may_lack_args)?;
    let reference = parse_subject(&subject)?;
    check_version(S::VERSIONS, &asked)?;

    let entry = store_parameters(parse_object(kind, &stdin)?);
    name_of(kind, Some(&entry))?;
    let Some(command) = StoreCommand::parse(&command) else {
        return Err(PluginError::unknown_command(env::STORE_COMMAND, &command));
    };
    let args = StoreArgs::parse(command, &args)?;
    let parameters =
        parameters::of_store(&entry).map_err(|reason| PluginError::invalid_config(kind, reason))?;
    let store = S::new(parameters).map_err(|error| creation_error(kind, error))?;
    run_command(&store, command, &reference, &args)
}

fn run_command<S: StorePlugin>(
    store: &S,
    command: StoreCommand,
    subject: &Reference,
    args: &StoreArgs,
) -> Result<Vec<u8>, PluginError> {
    let failed = |error| command_error(&command, error);
    match (command, args) {
        (StoreCommand::ListReferrers, StoreArgs::List { next_token, artifact_types }) => {
            line(&store.list_referrers(subject, artifact_types, next_token).map_err(failed)?)
        }
        (StoreCommand::GetReferenceManifest, StoreArgs::Digest(digest)) => {
            line(&store.manifest(subject, digest).map_err(failed)?)
        }
        (StoreCommand::GetBlob, StoreArgs::Digest(digest)) => {
            store.blob(subject, digest).map(Into::into).map_err(failed)
        }
        (StoreCommand::GetSubjectDescriptor, _) => {
            line(&store.descriptor(subject).map_err(failed)?)
        }
        // The arguments were read for this very command.
        (_, _) => Err(PluginError::unknown_command(env::STORE_COMMAND, command.as_str())),
    }
}

impl Call<'_> {
    /// The variables, in v1's order, and standard input to its end. The last variable may be
    /// missing where `may_lack_last` says so of the first.
    fn begin<const N: usize>(
        &mut self,
        names: [&'static str; N],
        may_lack_last: impl Fn(&str) -> bool,
    ) -> Result<([String; N], Vec<u8>), PluginError> {
        let values = names.map(|name| (self.variable)(name));
        let may_lack_last = values.first().is_some_and(|command| may_lack_last(command));
        let missing: Vec<&str> = names
            .into_iter()
            .zip(&values)
            .enumerate()
            .filter(|(at, (_, value))| value.is_empty() && !(may_lack_last && *at == N - 1))
            .map(|(_, (name, _))| name)
            .collect();
        if !missing.is_empty() {
            return Err(PluginError::missing_environment(&missing));
        }
        Ok((values, self.read_stdin()?))
    }

    fn read_stdin(&mut self) -> Result<Vec<u8>, PluginError> {
        let mut bytes = Vec::new();
        self.stdin
            .take(MAX_STDIN + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| PluginError::reading_stdin(&error))?;
        if bytes.len() as u64 > MAX_STDIN {
            let reason = format!("it has more than {MAX_STDIN} bytes");
            return Err(PluginError::reading_stdin(&reason));
        }
        Ok(bytes)
    }
}

fn parse_subject(text: &str) -> Result<Reference, PluginError> {
    Reference::parse(text).map_err(|_| PluginError::subject(text))
}

/// The subject with the digest that the host found, which v1's does not say.
fn resolved(subject: Reference, digest: &str) -> Result<Reference, PluginError> {
    if digest.is_empty() {
        return Ok(subject);
    }
    match digest.parse() {
        Ok(digest) if subject.digest().is_none_or(|own| *own == digest) => {
            Ok(subject.with_digest(digest))
        }
        _ => Err(PluginError::subject(&format!("{subject} of the digest {digest}"))),
    }
}

fn check_version(supported: &[&str], asked: &str) -> Result<(), PluginError> {
    if version::is_supported(supported, asked) {
        return Ok(());
    }
    Err(PluginError::version_not_supported(asked))
}

fn parse_object(kind: PluginKind, stdin: &[u8]) -> Result<Map<String, Value>, PluginError> {
    serde_json::from_slice(stdin).map_err(|error| PluginError::config_parsing(kind, &error))
}

fn name_of(kind: PluginKind, entry: Option<&Map<String, Value>>) -> Result<&str, PluginError> {
    entry
        .and_then(|entry| entry.get("name")?.as_str())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| PluginError::missing_name(kind))
}

/// One compact line, as v1's host needs it.
fn line(answer: &impl Serialize) -> Result<Vec<u8>, PluginError> {
    let mut line =
        go_json::to_string(answer).map_err(|error| PluginError::writing_output(&error))?;
    line.push('\n');
    if line.len() >= V1_MAX_LINE {
        log::warn(format_args!(
            "the answer has {} bytes; a host of Ratify v1 takes less than {V1_MAX_LINE} and loses it",
            line.len()
        ));
    }
    Ok(line.into_bytes())
}

fn creation_error(kind: PluginKind, error: Box<dyn StdError + Send + Sync>) -> PluginError {
    own_error(error).unwrap_or_else(|text| PluginError::invalid_config(kind, text))
}

fn command_error(
    command: &dyn std::fmt::Display,
    error: Box<dyn StdError + Send + Sync>,
) -> PluginError {
    own_error(error).unwrap_or_else(|text| PluginError::command(command, text))
}

/// The plugin's own error where it is one; else its text, causes included.
fn own_error(error: Box<dyn StdError + Send + Sync>) -> Result<PluginError, String> {
    error.downcast::<PluginError>().map(|error| *error).map_err(|error| {
        let mut text = error.to_string();
        // It says its causes itself.
        if error.is::<ratify_core::Error>() {
            return text;
        }
        let mut next = error.source();
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            next = cause.source();
        }
        text
    })
}
