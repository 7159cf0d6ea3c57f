//! `ratify serve`, ours or v1's: both get the same configuration but for the folder their plugin is
//! in, an empty home, and a free port of loopback.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::folder::Place;
use super::http::{self, Request};
use super::images::ARTIFACT_TYPE;
use super::proc::{self, Cpu};
use super::registry::end;

/// How long a server may take to answer for the first time.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a server may go on working once it has answered everything.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// How often a starting server is asked. Asking costs both sides the same.
const POLL: Duration = Duration::from_millis(1);
/// v1's chart gives Gatekeeper's question this long.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(4_900);

/// Whose `ratify` it is.
#[derive(Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) name: &'static str,
    pub(super) program: &'a Path,
}

/// A plugin and the type it is configured by.
#[derive(Clone, Copy)]
pub(super) struct Plugin<'a> {
    pub(super) kind: &'a str,
    pub(super) program: &'a Path,
}

/// A running server; it is killed with this value.
pub(super) struct Server {
    process: Child,
    address: SocketAddr,
    is_tls: bool,
    log: PathBuf,
    /// From its start until its first answer.
    pub(super) ready_after: Duration,
}

impl Server {
    /// Starts a server in empty folders and waits for its first answer.
    ///
    /// # Errors
    /// When it does not start, or ends, or answers nothing for half a minute.
    pub(super) fn start(host: Host<'_>, plugin: Plugin<'_>, place: &Place) -> Result<Self> {
        Self::start_with(host, plugin, place, REQUEST_TIMEOUT)
    }

    /// The same with as long for each request.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(super) fn start_with(
        host: Host<'_>,
        plugin: Plugin<'_>,
        place: &Place,
        timeout: Duration,
    ) -> Result<Self> {
        Self::start_as(host, plugin, place, timeout, &[])
    }

    /// The same with more arguments.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(super) fn start_as(
        host: Host<'_>,
        plugin: Plugin<'_>,
        place: &Place,
        timeout: Duration,
        arguments: &[String],
    ) -> Result<Self> {
        let plugins = place.folder.join("plugins");
        fs::create_dir_all(&plugins)?;
        put(plugin.program, &plugins.join(plugin.kind))?;
        let configuration = configuration(plugin.kind, &plugins, timeout);
        Self::start_configured(host, &configuration, place, arguments)
    }

    /// Starts a server of a whole configuration.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(super) fn start_configured(
        host: Host<'_>,
        configuration: &Value,
        place: &Place,
        arguments: &[String],
    ) -> Result<Self> {
        let mut command = command(host, configuration, place)?;
        let address = free_address()?;
        command.arg(address.to_string()).args(arguments);
        let log = place.folder.join("serve.log");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let started = Instant::now();
        let process =
            command.spawn().with_context(|| format!("cannot start {} serve", host.name))?;
        let is_tls = arguments.iter().any(|argument| argument.starts_with("--cert-dir"));
        let mut server = Self { process, address, is_tls, log, ready_after: Duration::ZERO };
        server.wait_until_ready(started)?;
        Ok(server)
    }

    /// Asks about one image; the whole answer comes back.
    ///
    /// # Errors
    /// When the server does not answer, or not with JSON.
    pub(super) fn ask(&self, image: &str) -> Result<Value> {
        let question = json!({
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
            "kind": "ProviderRequest",
            "request": {"keys": [image]},
        });
        let body = question.to_string();
        let answer = http::send(
            self.address,
            &Request {
                method: "POST",
                path: "/ratify/gatekeeper/v1/verify",
                content_type: "application/json",
                body: body.as_bytes(),
            },
        )?;
        // v1 writes a second document behind the first when it is late: the first one is read.
        let mut documents = serde_json::Deserializer::from_slice(&answer.body).into_iter();
        let first = documents.next().context("the answer is empty")?;
        first.context("the answer is no JSON")
    }

    /// The CPU time of the server and of the plugins it has run.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        proc::cpu(&self.id().to_string())
    }

    /// Where it answers.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The folder's log, for a person who asks why.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until the server and its plugins do nothing any more: what it does after its answers
    /// (v1's late handlers go on) is part of what they cost.
    ///
    /// # Errors
    /// When it has ended, or never comes to rest.
    pub(super) fn settle(&self) -> Result<()> {
        let started = Instant::now();
        let mut quiet = 0;
        let mut before = self.cpu()?;
        while quiet < 4 {
            if started.elapsed() > SETTLE_LIMIT {
                bail!("the server does not come to rest; its log is {}", self.log.display());
            }
            thread::sleep(Duration::from_millis(250));
            let now = self.cpu()?;
            let at_rest = now == before && !proc::has_children(self.id());
            quiet = if at_rest { quiet + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }

    fn wait_until_ready(&mut self, started: Instant) -> Result<()> {
        let question = Request { method: "GET", path: "/", content_type: "text/plain", body: b"" };
        // Over TLS nobody answers this, but somebody listens.
        while http::send(self.address, &question).is_err() && !self.is_heard() {
            if let Some(status) = self.process.try_wait()? {
                bail!("the server ended ({status}): {}", self.last_line());
            }
            if started.elapsed() > START_LIMIT {
                bail!("the server answers nothing: {}", self.last_line());
            }
            thread::sleep(POLL);
        }
        self.ready_after = started.elapsed();
        Ok(())
    }

    /// Whether a server of TLS listens.
    fn is_heard(&self) -> bool {
        self.is_tls && TcpStream::connect(self.address).is_ok()
    }

    fn last_line(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().last().unwrap_or_default().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Everything but the address.
fn command(host: Host<'_>, configuration: &Value, place: &Place) -> Result<Command> {
    let Place { folder, home } = place;
    let config = folder.join("config.json");
    fs::write(&config, format!("{configuration:#}"))
        .with_context(|| format!("cannot write {}", config.display()))?;
    let mut command = Command::new(host.program);
    command.env_clear().env("HOME", home).env("TMPDIR", home).env("RATIFY_CONFIG", folder);
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.arg("serve").arg("--config").arg(config).arg("--http");
    Ok(command)
}

/// A hard link where the file system allows it: forty megabytes written for each start would be
/// measured, too.
///
/// # Errors
/// When neither can be made.
pub(super) fn put(program: &Path, path: &Path) -> Result<()> {
    let placed = fs::hard_link(program, path).or_else(|_| fs::copy(program, path).map(|_| ()));
    placed.with_context(|| format!("cannot copy {} to {}", program.display(), path.display()))
}

fn configuration(kind: &str, plugins: &Path, timeout: Duration) -> Value {
    json!({
        "store": {"version": "1.0.0", "plugins": [{"name": "oras", "useHttp": true}]},
        "policy": {"version": "1.0.0", "plugin": {
            "name": "configPolicy",
            "artifactVerificationPolicies": {ARTIFACT_TYPE: "all"},
        }},
        "verifier": {"version": "1.0.0", "pluginBinDirs": [plugins], "plugins": [{
            "name": kind,
            "type": kind,
            "artifactTypes": ARTIFACT_TYPE,
        }]},
        "executor": {"verificationRequestTimeout": timeout.as_millis()},
        "registries": {"allowedAddresses": ["127.0.0.0/8", "::1"]},
    })
}

/// An address that was free a moment ago; v1 takes no port 0.
///
/// # Errors
/// When none is.
pub(super) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    Ok(listener.local_addr()?)
}
