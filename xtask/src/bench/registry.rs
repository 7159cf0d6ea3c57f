//! go-containerregistry's registry with the Referrers API, in memory, on a free port of loopback. It
//! counts what is read from it, can refuse what is too much, and can be slow.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::http::{self, Request};

/// The running registry; it ends with this value.
pub(super) struct Registry {
    process: Child,
    address: SocketAddr,
}

/// How many questions it was asked, since its start. Pushes do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    pub(super) served: u64,
    /// Answered with 429.
    pub(super) refused: u64,
    /// How often the manifest or blob was read that was read most often.
    pub(super) most: u64,
}

impl Counts {
    /// What came after an earlier count. The most reads of one thing are those since the start.
    pub(super) fn since(self, before: Self) -> Self {
        let (served, refused) = (self.served - before.served, self.refused - before.refused);
        Self { served, refused, most: self.most }
    }
}

impl Registry {
    /// Starts it and reads from it where it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(program: &Path) -> Result<Self> {
        Self::run(Command::new(program))
    }

    /// Starts one that serves so many questions a second, and answers the others with 429.
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub(super) fn with_limit(program: &Path, requests_per_second: u32) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("-requests-per-second").arg(requests_per_second.to_string());
        Self::run(command)
    }

    /// Starts one that waits so long before each answer.
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub(super) fn with_delay(program: &Path, delay: Duration) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("-delay").arg(format!("{}ms", delay.as_millis()));
        Self::run(command)
    }

    fn run(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start the registry")?;
        let stdout = process.stdout.take();
        let address = stdout.context("the registry has no output").and_then(|stdout| {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line)?;
            line.trim().parse().with_context(|| format!("the registry listens at `{line}`"))
        });
        match address {
            Ok(address) => Ok(Self { process, address }),
            Err(error) => {
                end(&mut process);
                Err(error)
            }
        }
    }

    /// What it was asked until now.
    ///
    /// # Errors
    /// When it does not say.
    pub(super) fn counts(&self) -> Result<Counts> {
        let question =
            Request { method: "GET", path: "/counts", content_type: "text/plain", body: b"" };
        let answer = http::send(self.address, &question)?;
        serde_json::from_slice(&answer.body).context("the registry does not count")
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Ends a process, whether or not it has ended by itself.
pub(super) fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}
