//! This test binary, run once more as a host of its own: what concerns a whole process (its
//! children, its memory, its being PID 1) cannot be tried beside other tests.
//!
//! [`Driver::run`] starts it with a scenario in a variable; [`driver`] is the test that acts on
//! it, and does nothing without one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use ratify_controller::plugin::{
    process::{End, HostOptions, Orphans, PluginHost},
    sandbox::{self, MemoryBudget},
};

use super::{MIB, launch, launcher, stdout};

/// Which scenario, and what it works on.
const SCENARIO: &str = "RATIFY_TEST_SCENARIO";
const DIRECTORY: &str = "RATIFY_TEST_DIRECTORY";
const CALLS: &str = "RATIFY_TEST_CALLS";
/// What every answer of a scenario begins with.
const ANSWER: &str = "answer: ";

/// How the host is started.
pub(super) struct Driver<'a> {
    /// The program and arguments in front of it, such as `unshare -p -f --mount-proc`.
    pub(super) prefix: &'a [&'a str],
    /// The launcher, or none.
    pub(super) with_launcher: bool,
    /// How many calls.
    pub(super) calls: usize,
}

impl Driver<'_> {
    /// Runs a scenario on a directory of scripts and returns its answers, a line each.
    pub(super) fn run(&self, scenario: &str, directory: &Path) -> Vec<String> {
        let this = std::env::current_exe().unwrap();
        let this = this.to_str().unwrap();
        let test = ["--exact", "host::driver::driver", "--nocapture", "--test-threads=1"];
        let mut words = self.prefix.iter().copied().chain([this]).chain(test);
        let output = Command::new(words.next().unwrap())
            .args(words)
            .env(SCENARIO, scenario)
            .env(DIRECTORY, directory)
            .env(CALLS, self.calls.to_string())
            .env("RATIFY_TEST_LAUNCHER", if self.with_launcher { "yes" } else { "" })
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
        text.lines().filter_map(|line| Some(line.split_once(ANSWER)?.1.to_owned())).collect()
    }
}

/// Not a test by itself: the host that the tests of this folder start.
#[test]
fn driver() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let calls: usize = std::env::var(CALLS).unwrap().parse().unwrap();
    let with_launcher = !std::env::var("RATIFY_TEST_LAUNCHER").unwrap().is_empty();
    let budget = MemoryBudget { per_plugin: 128 * MIB, total: 1024 * MIB };
    let options = HostOptions::new(with_launcher.then(launcher), budget, Orphans::Adopt);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if scenario == "hardened" {
        sandbox::harden_self().unwrap();
    }
    runtime.block_on(async {
        let host = Arc::new(PluginHost::new(options).unwrap());
        match scenario.as_str() {
            "all" | "hardened" => run_each_script(&host, &directory, calls).await,
            "beside a long call" => beside_a_long_call(&host, &directory, calls).await,
            "stranger" => stranger(&host).await,
            other => panic!("no scenario {other}"),
        }
        report("children", children().join(" "));
    });
}

/// Each script of the directory so many times, four at once; their output is the answer where it
/// is run once.
async fn run_each_script(host: &Arc<PluginHost>, directory: &Path, calls: usize) {
    for script in scripts(directory) {
        let running: Vec<_> = (0..4.min(calls))
            .map(|worker| {
                let (host, script) = (Arc::clone(host), script.clone());
                tokio::spawn(async move {
                    for _ in (worker..calls).step_by(4) {
                        let finished = host.run(launch(&script)).await.unwrap();
                        let End::Exited(status) = finished.end else { panic!("{finished:?}") };
                        if calls == 1 {
                            report("said", stdout(&finished).replace('\n', "|"));
                        } else {
                            assert!(status.success(), "{finished:?}");
                        }
                    }
                })
            })
            .collect();
        for worker in running {
            worker.await.unwrap();
        }
    }
}

/// `long` runs while `short` runs many times.
async fn beside_a_long_call(host: &Arc<PluginHost>, directory: &Path, calls: usize) {
    let (long, short) = (directory.join("long"), directory.join("short"));
    let beside = Arc::clone(host);
    let long = tokio::spawn(async move { stdout(&beside.run(launch(long)).await.unwrap()) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..calls {
        host.run(launch(&short)).await.unwrap();
    }
    let left = children().into_iter().filter(|child| child.contains("(sleep)")).count();
    report("left while it runs", left);
    report("long", long.await.unwrap().replace('\n', "|"));
}

/// A process that this one inherits from a child that is none of the host's.
async fn stranger(host: &Arc<PluginHost>) {
    let reaper = Arc::clone(host);
    tokio::spawn(async move { reaper.reap_strangers().await.unwrap() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut foreign = Command::new("/bin/sh").args(["-c", "sleep 0.3 &"]).spawn().unwrap();
    foreign.wait().unwrap();
    report("inherited", children().len());
    tokio::time::sleep(Duration::from_millis(1000)).await;
}

fn scripts(directory: &Path) -> Vec<PathBuf> {
    let mut scripts: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort_unstable();
    scripts
}

/// The state and name of each child of this process, zombies included.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let stats = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("stat")).ok());
    let is_child = |stat: &String| {
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.split_whitespace().nth(1) == Some(&own))
    };
    stats.filter(is_child).map(|stat| stat.split_whitespace().take(3).collect()).collect()
}

fn report(name: &str, answer: impl std::fmt::Display) {
    println!("{ANSWER}{name}={answer}");
}
