//! The host of plugins against programs that misbehave.
//!
//! - `process`: one call and its bounds, in this process; `limits`: what the launcher sets.
//! - `driver`: this test binary run once more as a host of its own, for what concerns a whole
//!   process; `alone`: what is asked of it.
//! - `denied`: what the administrators' rules do to what runs.
//! - `verifier`, `store`: the seams of the core over real programs; `enemy`: the plugin that
//!   misbehaves on request, one misbehaviour after the other; `real`: the sample verifier over the sample store;
//!   `scope`: verifiers as programs, told whose entry they have.

// Helpers of tests count as tests.
#![allow(clippy::unwrap_used)]

mod alone;
mod credentials;
mod denied;
mod driver;
mod enemy;
mod inherited;
mod limits;
mod process;
mod real;
mod scope;
mod store;
mod verifier;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use ratify_controller::plugin::{
    exec::{Environment, ExecRunner},
    process::{Finished, HostOptions, Launch, Orphans, PluginHost},
    sandbox::MemoryBudget,
};
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

const MIB: u64 = 1024 * 1024;

/// The launcher that cargo built for this test.
fn launcher() -> PathBuf {
    env!("CARGO_BIN_EXE_ratify-launch").into()
}

/// Options of a host within a process that has other children.
fn options() -> HostOptions {
    let budget = MemoryBudget { per_plugin: 256 * MIB, total: 8192 * MIB };
    HostOptions::new(Some(launcher()), budget, Orphans::LetGo)
}

fn host() -> Arc<PluginHost> {
    Arc::new(PluginHost::new(options()).unwrap())
}

/// Writes a shell script that can be run.
pub(crate) fn script(dir: &Path, name: &str, body: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A launch with a search path, so that scripts find their tools.
fn launch(program: impl Into<PathBuf>) -> Launch {
    let mut launch = Launch::new(program);
    launch.environment = vec![("PATH".into(), "/usr/bin:/bin".into())];
    launch
}

fn in_ms(milliseconds: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(milliseconds))
}

fn stdout(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stdout).trim_end().to_owned()
}

/// Whether a process lives; a zombie does not.
fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}

/// Waits until something is so, or fails with what it was.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up_at = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < give_up_at, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// A runner whose host's environment has a secret in it.
fn runner() -> Arc<ExecRunner> {
    let variables = [("PATH", "/usr/bin:/bin"), ("HOME", "/h"), ("AWS_SECRET", "secret")];
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    Arc::new(ExecRunner::new(host(), Environment::new(variables)))
}

/// What a test sees of the log: level and message of each event, from now on, on this thread.
fn watch_log() -> (Arc<Mutex<Vec<String>>>, tracing::subscriber::DefaultGuard) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let subscriber = tracing_subscriber::registry().with(Watcher(Arc::clone(&seen)));
    (seen, tracing::subscriber::set_default(subscriber))
}

struct Watcher(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Watcher {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(format!("{} {}", event.metadata().level(), message.0));
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// A real plugin: what xtask built, or else what cargo builds now. `built` is the name of its
/// folder there; `arguments` are cargo's beside `build`.
pub(crate) fn plugin(type_: &str, built: &str, arguments: &[&str]) -> PathBuf {
    if let Some(plugins) = std::env::var_os("RATIFY_PLUGINS") {
        let platform = if cfg!(target_arch = "aarch64") { "linux-arm64" } else { "linux-amd64" };
        return Path::new(&plugins).join(built).join(platform).join(type_);
    }
    let tests = std::env::current_exe().unwrap();
    let shared = tests.ancestors().nth(3).unwrap();
    // With other features it needs a folder of its own, or two builds replace each other's file.
    let own = shared.join("tests-plugins").join(built);
    let target = if built == type_ { shared } else { &own };
    let status = std::process::Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--target-dir"])
        .arg(target)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.unwrap().success());
    target.join("debug").join(type_)
}

pub(crate) fn stress() -> &'static Path {
    static STRESS: LazyLock<PathBuf> =
        LazyLock::new(|| plugin("stress", "stress", &["--package", "ratify-verifier-stress"]));
    &STRESS
}
