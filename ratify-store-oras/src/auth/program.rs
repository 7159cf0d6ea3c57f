//! [`CredentialPrograms`]: programs that give out credentials. This crate starts no process; the
//! controller runs them with its host of plugins, tests answer in their place.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ratify_core::{BoxFuture, capped_line};

/// Whoever waits longer than this for a program does so in vain.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than this is no answer.
const MAX_ANSWER_BYTES: usize = 128 << 10;
/// Longer names of files are none on Linux.
const MAX_NAME_BYTES: usize = 255;

/// Runs programs of the administrator's.
pub trait CredentialPrograms: Send + Sync {
    /// Runs one to its end, without a shell.
    ///
    /// # Errors
    /// When it was not started, or was ended: late, or since it wrote too much.
    fn run(&self, call: ProgramCall) -> BoxFuture<'_, Result<ProgramEnd, ProgramFailure>>;
}

/// A program that is run once. `Debug` shows neither its input nor values of its environment.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramCall {
    /// Its file.
    pub name: ProgramName,
    /// Where it is; one of the directories in `PATH` where `None`.
    pub directory: Option<PathBuf>,
    /// What follows its name.
    pub arguments: Vec<String>,
    /// Variables in addition to those of this process.
    pub environment: Vec<(String, String)>,
    /// What it is fed.
    pub stdin: Bytes,
    /// The most it may write to stdout.
    pub most_stdout: usize,
    /// When it is ended.
    pub give_up_at: Instant,
}

/// How a program ended by itself. `Debug` does not show what it wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct ProgramEnd {
    /// Whether its status was 0.
    pub succeeded: bool,
    /// What it wrote to stdout.
    pub stdout: Bytes,
}

/// The name of a program's file: it leads to no other directory, and is no option of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProgramName(String);

/// Why a program gave out nothing: a clause that holds nothing it wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProgramFailure(String);

impl ProgramCall {
    /// A program without arguments that is waited for until a deadline, and 30 s at most.
    pub(super) fn new(name: ProgramName, stdin: impl Into<Bytes>, by: Option<Instant>) -> Self {
        let latest = Instant::now() + PATIENCE;
        Self {
            name,
            directory: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            stdin: stdin.into(),
            most_stdout: MAX_ANSWER_BYTES,
            give_up_at: by.map_or(latest, |by| by.min(latest)),
        }
    }
}

impl ProgramName {
    /// Reads a name.
    ///
    /// # Errors
    /// When it could lead elsewhere.
    pub fn parse(name: &str) -> Result<Self, ProgramFailure> {
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
        let is_name =
            !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_inner);
        if !is_name || name.starts_with(['.', '-']) {
            let name = capped_line(name, 100);
            return Err(ProgramFailure::new(format!(
                "{name:?} is no name of a program: letters, digits, dots, dashes, underscores"
            )));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ProgramFailure {
    /// A failure that says why, in one line of at most 300 bytes.
    pub fn new(why: impl AsRef<str>) -> Self {
        Self(capped_line(why.as_ref(), 300))
    }
}

impl fmt::Display for ProgramName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ProgramCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("ProgramCall")
            .field("name", &self.name)
            .field("directory", &self.directory)
            .field("arguments", &self.arguments)
            .field("environment", &variables)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProgramEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("ProgramEnd");
        shown.field("succeeded", &self.succeeded).field("stdout", &format_args!("<redacted>"));
        shown.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        let name = "docker-credential-ecr-login";
        assert_eq!(ProgramName::parse(name).unwrap().as_str(), name);
        let long = "a".repeat(256);
        for name in
            ["", ".", "..", "../x", "a/b", "/bin/sh", "-c", ".x", "a b", "a\0", "a\n", &long]
        {
            assert!(ProgramName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn what_is_fed_and_written_does_not_show() {
        let name = ProgramName::parse("p").unwrap();
        let mut call = ProgramCall::new(name, "hunter2", None);
        call.environment.push(("KEY".into(), "hunter2".into()));
        let end = ProgramEnd { succeeded: true, stdout: Bytes::from_static(b"hunter2") };
        let shown = format!("{call:?} {end:?}");
        assert!(shown.contains("KEY") && !shown.contains("hunter2"), "{shown}");
    }
}
