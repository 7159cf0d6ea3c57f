//! go-containerregistry's registry with the Referrers API, in memory, on a free port of loopback.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// The running registry; it ends with this value.
pub(super) struct Registry {
    process: Child,
    address: SocketAddr,
}

impl Registry {
    /// Starts it and reads from it where it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
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
