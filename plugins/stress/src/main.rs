//! The enemy: a verifier that misbehaves as its parameter `misbehave` says, a name or a list of
//! names done in order. With none it accepts everything. Never published, never installed.
//!
//! What a name does is in [`deeds`]; where it must be known before standard input is read, it is
//! taken from the environment variable `STRESS_MISBEHAVE` or from the subject, which then has a
//! tag or a last path component of that name.
//!
//! It speaks the wire by hand, since the SDK would not let it break the rules.

mod answers;
mod deeds;
mod processes;
mod snooping;

use std::{
    env,
    io::{self, Read},
    process::ExitCode,
};

use ratify_plugin_sdk::{
    Result, Store, Subject, VerifierConfig, VerifierPlugin, VerifierReport,
    protocol::{VerifyInput, environment},
};
use serde_json::{Map, Value};

/// What a plugin of good manners would have been told, and a few knobs.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    misbehave: Names,
    /// How long `slow` takes, and how long left-over processes live.
    seconds: u64,
    /// How much to flood or to eat.
    bytes: u64,
    /// How many processes `fork_bomb_small` starts.
    count: u32,
    /// The file `rewrite_file` writes.
    path: String,
    /// What `rewrite_file` writes.
    content: String,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

/// The SDK's own plugin, for the deed that its panic hook is about.
struct Panicking;

impl Default for Parameters {
    fn default() -> Self {
        Self {
            misbehave: Names::Many(Vec::new()),
            seconds: 60,
            bytes: 1 << 30,
            count: 50,
            path: String::new(),
            content: String::new(),
        }
    }
}

impl Names {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        }
    }
}

impl VerifierPlugin for Panicking {
    type Parameters = Map<String, Value>;

    fn new(_: Self::Parameters, _: &VerifierConfig) -> Result<Self> {
        Ok(Self)
    }

    fn verify(&self, _: &Subject, _: &Store) -> Result<VerifierReport> {
        panic!("stress panics within the SDK")
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(role) = arguments.first() {
        return processes::play(role, &arguments[1..]);
    }
    if asked_before_reading("sdk_panic") {
        return ratify_plugin_sdk::run::<Panicking>();
    }
    if asked_before_reading("never_read_stdin") {
        return answers::success("never_read_stdin");
    }
    if asked_before_reading("close_stdin") {
        return processes::close_stdin();
    }
    match read_input() {
        Ok((stdin, input)) => deeds::run(&stdin, input),
        Err(error) => {
            eprintln!("WARN: stress cannot read its input: {error}");
            ExitCode::FAILURE
        }
    }
}

fn asked_before_reading(name: &str) -> bool {
    let subject = env::var(environment::VERIFIER_SUBJECT).unwrap_or_default();
    let repository = subject.split('@').next().unwrap_or_default();
    env::var("STRESS_MISBEHAVE").is_ok_and(|value| value == name)
        || repository.rsplit(['/', ':']).take(2).any(|part| part == name)
}

fn read_input() -> Result<(Vec<u8>, VerifyInput)> {
    let mut stdin = Vec::new();
    io::stdin().read_to_end(&mut stdin)?;
    let input = serde_json::from_slice(&stdin)?;
    Ok((stdin, input))
}
