//! `ratify serve --enable-crd-manager`, ours or v1's, on the same API server.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::Site;
use crate::bench::http::{self, Request};
use crate::bench::registry::end;
use crate::bench::server::{Host, free_address};
use crate::process;

const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(1);
/// v1.4.0's metrics are always there, whatever it is told.
const V1_METRICS: (&str, u16) = ("0.0.0.0", 8080);
/// How long a question may take; in milliseconds.
const REQUEST_TIMEOUT_MS: u64 = 1_000;

/// A running controller; it is killed with this value.
pub(super) struct Controller {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Controller {
    /// Starts one and does not wait. What `home` holds from before is kept.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(host: Host<'_>, site: &Site<'_>, home: &Path) -> Result<Self> {
        let folder = home.join(".ratify");
        fs::create_dir_all(folder.join("plugins"))?;
        let config = json!({
            "executor": {"verificationRequestTimeout": REQUEST_TIMEOUT_MS},
            "registries": {"allowedAddresses": ["127.0.0.0/8", "::1"]},
        });
        fs::write(folder.join("config.json"), config.to_string())?;
        wait("port 8080 to become free", || TcpListener::bind(V1_METRICS).is_ok())?;
        let (address, probes) = (free_address()?, free_address()?);
        let mut command = Command::new(host.program);
        command.args(["serve", "--enable-crd-manager", "--http", &address.to_string()]);
        command.args(["--health-port", &probes.to_string()]).env_clear().current_dir(home);
        command.env("HOME", home).env("TMPDIR", home).env("PATH", "/usr/bin:/bin");
        command.env("KUBECONFIG", site.api.kubeconfig()).env("HOSTNAME", "pod-1");
        command.env("SSL_CERT_FILE", site.certificates.authority());
        command.env("RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "1");
        let log = home.join("serve.log");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process =
            command.spawn().with_context(|| format!("cannot start {} serve", host.name))?;
        Ok(Self { process, address, log })
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// When it ends or never does.
    pub(super) fn until_it_listens(&mut self) -> Result<()> {
        let address = self.address;
        self.until("listens", |_| TcpStream::connect(address).is_ok())
    }

    /// Waits until it has said this.
    ///
    /// # Errors
    /// When it ends or never does.
    pub(super) fn until_it_says(&mut self, text: &str) -> Result<()> {
        self.until(text, |log| fs::read_to_string(log).is_ok_and(|said| said.contains(text)))
    }

    /// Fails where it has ended.
    ///
    /// # Errors
    /// As said.
    pub(super) fn is_alive(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the controller ended ({status}): {}", self.last_lines()),
        }
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to end while it is about an image; the time from its answer, or from the signal where
    /// that came later, until it has ended.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) fn end_while_asked_about(mut self, image: &str) -> Result<Duration> {
        let question = json!({
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
            "kind": "ProviderRequest",
            "request": {"keys": [image]},
        });
        let (address, body) = (self.address, question.to_string());
        let asking = thread::spawn(move || {
            let request = Request {
                method: "POST",
                path: "/ratify/gatekeeper/v1/verify",
                content_type: "application/json",
                body: body.as_bytes(),
            };
            // v1.4.0 may end without an answer: then this is when the connection ended.
            let _ = http::send(address, &request);
            Instant::now()
        });
        thread::sleep(Duration::from_millis(200));
        self.is_alive()?;
        // std has no way to send another signal than SIGKILL.
        let kill = format!("kill -TERM {}", self.id());
        process::capture(Command::new("sh").args(["-c", &kill]))?;
        let asked = Instant::now();
        while self.process.try_wait()?.is_none() {
            if asked.elapsed() > PATIENCE {
                bail!("the controller does not end; its log is {}", self.log.display());
            }
            thread::sleep(POLL);
        }
        let ended = Instant::now();
        let answered = asking.join().map_err(|_| anyhow::anyhow!("asking panicked"))?;
        Ok(ended.saturating_duration_since(answered.max(asked)))
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Path) -> bool) -> Result<()> {
        let started = Instant::now();
        while !is_so(&self.log) {
            self.is_alive()?;
            if started.elapsed() > PATIENCE {
                bail!("the controller never {what}: {}", self.last_lines());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn wait(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > PATIENCE {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
