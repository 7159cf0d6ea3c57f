//! CNCF distribution on loopback, over HTTPS or in clear. Its access log says how many bytes it sent.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::certificates::Certificates;
use super::registry::end;
use super::server::free_address;
use crate::process;

const PATIENCE: Duration = Duration::from_secs(30);

/// The running registry; it ends with this value.
pub(super) struct Distribution {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
    /// None where it serves in clear.
    authority: Option<PathBuf>,
    folder: PathBuf,
}

impl Distribution {
    /// Starts it with an empty store in this folder; without certificates it serves in clear.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(
        program: &Path,
        certificates: Option<&Certificates>,
        folder: &Path,
    ) -> Result<Self> {
        let address = free_address()?;
        // What is JSON is YAML.
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": folder.join("registry")}},
            "http": {"addr": address, "secret": "bench"},
        });
        if let Some(certificates) = certificates {
            config["http"]["tls"] =
                json!({"certificate": certificates.certificate(), "key": certificates.key()});
        }
        let path = folder.join("registry.yml");
        fs::write(&path, config.to_string())?;
        let log = folder.join("registry.log");
        let file = File::create(&log)?;
        let mut command = Command::new(program);
        command.arg("serve").arg(path).env("OTEL_TRACES_EXPORTER", "none");
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process = command.spawn().context("cannot start the registry")?;
        let authority = certificates.map(Certificates::authority);
        let folder = folder.to_owned();
        let registry = Self { process, address, log, authority, folder };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > PATIENCE {
                bail!("the registry answers nothing; its log is {}", registry.log.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pushes a plugin, or any file, as v1's guide does, by oras: a manifest with one layer. The
    /// reference comes back.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn push_by_oras(&self, oras: &Path, program: &Path, name: &str) -> Result<String> {
        let reference = format!("{}/plugins/{name}:v1", self.address);
        let file = program.file_name().context("the plugin has no name")?;
        let mut command = Command::new(oras);
        command.args(["push", "--no-tty"]);
        match &self.authority {
            Some(authority) => command.arg("--ca-file").arg(authority),
            None => command.arg("--plain-http"),
        };
        command.arg(&reference).arg(file).current_dir(program.parent().unwrap_or(program));
        process::capture(command.env("HOME", &self.folder))?;
        Ok(reference)
    }

    /// Pushes a plugin for this machine's platform by `ratify plugin push`: an index of platforms.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn push_by_ratify(
        &self,
        ratify: &Path,
        program: &Path,
        name: &str,
        platform: &str,
    ) -> Result<String> {
        let reference = format!("{}/plugins/{name}:v1", self.address);
        let mut command = Command::new(ratify);
        command.args(["plugin", "push", &reference, "--type", "sample", "--version", "1.0.0"]);
        command.arg("--platform").arg(format!("{platform}={}", program.display()));
        command.envs(self.authority.as_ref().map(|file| ("SSL_CERT_FILE", file)));
        process::capture(command.env("HOME", &self.folder))?;
        Ok(reference)
    }

    /// How many bytes of bodies it has sent until now.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub(super) fn sent(&self) -> Result<u64> {
        let log = fs::read_to_string(&self.log).context("cannot read the registry's log")?;
        Ok(log.lines().filter_map(sent).sum())
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// The bytes of one line of the access log, which is in Apache's combined form.
fn sent(line: &str) -> Option<u64> {
    let (_, request) = line.split_once("] \"")?;
    let (request, rest) = request.split_once("\" ")?;
    // A question whether anyone is there is answered by two bytes, and pulls nothing.
    let is_pull = request.contains("/blobs/") || request.contains("/manifests/");
    (is_pull && request.starts_with("GET ")).then_some(())?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_of_what_is_fetched() {
        let line = |method: &str| {
            format!(
                "127.0.0.1 - - [25/Nov/2026:14:00:00 +0000] \"{method} /v2/a/blobs/b HTTP/2.0\" \
                 200 43 \"\" \"ratify\""
            )
        };
        assert_eq!(sent(&line("GET")), Some(43));
        assert_eq!(sent(&line("HEAD")), None);
        assert_eq!(sent("time=\"x\" level=error msg=\"200 43\""), None);
    }
}
