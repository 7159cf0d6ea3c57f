//! [`open`]: the store plugin a host uses, opened again by a verifier that runs under it.
//!
//! One call is one process, as on the host's side. The bytes of a blob are proven here; a manifest
//! comes taken apart, so that nobody but the store can prove it.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use ratify_core::{
    BoxFuture, Descriptor, Error, ErrorCode, Host, Manifest, Reference, Result, StoreConfig,
    capped_line, config::StorePluginConfig, go_json,
};
use serde_json::{Map, Value};

use crate::{
    OpenStore, log, proof,
    protocol::{StoreArgs, StoreCommand, environment, output, version},
    store::not_found,
};

/// The most bytes a blob may have.
const MAX_BLOB: u64 = 64 << 20;
/// The most bytes a store may print with a manifest.
const MAX_JSON: u64 = 8 << 20;
/// So many bytes are read whatever the size of a blob, since a store that fails prints why.
const MIN_OUTPUT: u64 = 64 << 10;
/// The most bytes of a store's log that are kept.
const MAX_LOG: u64 = 256 << 10;
/// How often, and how long apart, a binary is tried that someone is still writing.
const BUSY_RETRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Opens the store plugin that a host's configuration names, for [`run_with`](crate::run_with). A
/// plugin that does not read, or reads from registries alone, is smaller by 130 kB without it.
///
/// # Errors
/// When the configuration is none of a store, or its program is in none of the directories.
pub fn open(config: &StoreConfig) -> Result<Arc<dyn Host>> {
    Ok(Arc::new(ExternalStore::find(config)?))
}

/// Opens a store by its name: a built-in one of these by a function, any other as a program.
///
/// # Errors
/// As [`open`], and those of the function.
pub fn open_unless_built_in(
    config: &StoreConfig,
    built_in: &[&str],
    open_built_in: OpenStore,
) -> Result<Arc<dyn Host>> {
    let name = config.store.get("name").and_then(Value::as_str);
    match name {
        Some(name) if built_in.contains(&name) => open_built_in(config),
        _ => open(config),
    }
}

/// A store that is a program.
struct ExternalStore {
    name: String,
    version: String,
    path: PathBuf,
    entry: Map<String, Value>,
}

struct Finished {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl ExternalStore {
    /// Finds the program in the directories the host names. v1 looks in the current directory
    /// last; here a program that someone left there is never run.
    fn find(config: &StoreConfig) -> Result<Self> {
        let version =
            if config.version.is_empty() { version::CURRENT } else { config.version.as_str() };
        let StorePluginConfig { name, .. } = StorePluginConfig::from_entry(&config.store, version)?;
        let dirs = config.plugin_bin_dirs.as_deref().unwrap_or_default();
        let path = dirs
            .iter()
            .filter(|dir| !dir.is_empty())
            .map(|dir| PathBuf::from(dir).join(&name))
            .find(|path| path.is_file());
        let path = path.ok_or_else(|| not_found(config))?;
        Ok(Self { name, version: version.to_owned(), path, entry: config.store.clone() })
    }

    fn read_manifest(&self, subject: &Reference, descriptor: &Descriptor) -> Result<Manifest> {
        let code = ErrorCode::GetReferrerManifestFailure;
        let args = StoreArgs::Digest(descriptor.digest.clone());
        let finished =
            self.run(StoreCommand::GetReferenceManifest, subject, &args, MAX_JSON, code)?;
        let output = output::read::<Manifest>(&finished.stdout, &finished.stderr);
        forward(&output.log);
        output.answer.map_err(|error| self.error(code, error.to_string()))
    }

    fn read_blob(&self, subject: &Reference, descriptor: &Descriptor) -> Result<Bytes> {
        let code = ErrorCode::GetBlobContentFailure;
        let args = StoreArgs::Digest(descriptor.digest.clone());
        let finished = self.run(StoreCommand::GetBlob, subject, &args, descriptor.size, code)?;
        forward(&output::read_log(&finished.stderr));
        let bytes = finished.stdout;
        if bytes.len() as u64 != descriptor.size {
            let (is, size) = (bytes.len(), descriptor.size);
            let reason =
                format!("the blob {} has {is} bytes, and {size} are listed", descriptor.digest);
            return Err(self.error(code, reason));
        }
        if !proof::has_digest(&bytes, &descriptor.digest) {
            let reason = format!("the bytes are not those of the blob {}", descriptor.digest);
            return Err(self.error(code, reason));
        }
        Ok(bytes.into())
    }

    /// v1's store is told the subject as asked, and no digest beside it: what a tag stands for by now
    /// may be another image than the one that is judged.
    fn read_subject(&self, subject: &Reference) -> Result<Descriptor> {
        let code = ErrorCode::RepositoryOperationFailure;
        let (command, args) = (StoreCommand::GetSubjectDescriptor, StoreArgs::None);
        let finished = self.run(command, subject, &args, MAX_JSON, code)?;
        let output = output::read::<Descriptor>(&finished.stdout, &finished.stderr);
        forward(&output.log);
        let found = output.answer.map_err(|error| self.error(code, error.to_string()))?;
        match subject.digest() {
            Some(asked) if *asked != found.digest => {
                let reason = format!("{subject} is {asked}, and {} in the store", found.digest);
                Err(self.error(code, reason))
            }
            _ => Ok(found),
        }
    }

    fn run(
        &self,
        command: StoreCommand,
        subject: &Reference,
        args: &StoreArgs,
        limit: u64,
        code: ErrorCode,
    ) -> Result<Finished> {
        let failed = |reason: String| self.error(code, reason);
        let args = args.to_text().map_err(|e| failed(e.to_string()))?;
        let stdin = go_json::to_string(&self.entry).map_err(|e| failed(e.to_string()))?;
        let mut process = Command::new(&self.path);
        process.envs(environment::of_store(command, subject.as_str(), &self.version, &args));
        let finished = finish(&mut process, stdin.as_bytes(), limit.clamp(MIN_OUTPUT, MAX_BLOB))
            .map_err(|error| failed(error.to_string()))?;
        if finished.status.success() {
            return Ok(finished);
        }
        forward(&output::read_log(&finished.stderr));
        Err(failed(reason_of_failure(&finished)))
    }

    fn error(&self, code: ErrorCode, reason: String) -> Error {
        code.detail(format!("store plugin {}", self.name)).with_source(reason)
    }
}

impl Host for ExternalStore {
    fn manifest<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Manifest>> {
        Box::pin(std::future::ready(self.read_manifest(subject, descriptor)))
    }

    fn subject<'a>(&'a self, subject: &'a Reference) -> BoxFuture<'a, Result<Descriptor>> {
        Box::pin(std::future::ready(self.read_subject(subject)))
    }

    fn blob<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(std::future::ready(self.read_blob(subject, descriptor)))
    }
}

/// Runs a program to its end. More than `limit` bytes of output end it.
fn finish(command: &mut Command, input: &[u8], limit: u64) -> io::Result<Finished> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(move || {
            // A store that does not read its configuration says so by how it ends.
            let _ = stdin.map(|mut stdin| stdin.write_all(input));
        });
        let log = scope.spawn(move || read_start(stderr, MAX_LOG));
        let read = read_all(stdout, limit);
        if read.is_err() {
            child.kill()?;
        }
        let status = child.wait()?;
        let stderr = log.join().unwrap_or_default();
        Ok(Finished { status, stdout: read?, stderr })
    })
}

fn spawn(command: &mut Command) -> io::Result<std::process::Child> {
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_RETRIES =>
            {
                tries += 1;
                thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
}

fn read_all(stream: Option<impl Read>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it printed more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads to the end and keeps the start.
fn read_start(stream: Option<impl Read>, limit: u64) -> Vec<u8> {
    let mut start = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.by_ref().take(limit).read_to_end(&mut start);
        let _ = io::copy(&mut stream, &mut io::sink());
    }
    start
}

fn reason_of_failure(finished: &Finished) -> String {
    if let Some(error) = output::read_error(&finished.stdout, &finished.stderr) {
        return capped_line(&error.to_string(), 1024);
    }
    let status = match finished.status.code() {
        Some(code) => format!("exit status {code}"),
        None => finished.status.to_string(),
    };
    let text = |bytes: &[u8]| capped_line(&String::from_utf8_lossy(bytes), 512);
    format!(
        "plugin failed with error: '{status}', msg from stError '{}', msg from stdOut '{}'",
        text(&finished.stderr),
        text(&finished.stdout)
    )
}

fn forward(log: &output::Log) {
    for line in &log.lines {
        match line.level {
            Some(output::LogLevel::Debug) => log::debug(&line.text),
            Some(output::LogLevel::Warn) => log::warn(&line.text),
            Some(output::LogLevel::Info) | None => log::info(&line.text),
        }
    }
}
