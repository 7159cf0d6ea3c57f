//! The real `stress` plugin as an exec verifier: whatever it does, the verdict is right or a deny
//! with a reason, and the host goes on.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ratify_controller::plugin::{
    exec::{Environment, ExecRunner, Program},
    inventory::Inventory,
    process::PluginHost,
    verifier::ExecVerifier,
};
use ratify_core::{Verifier, VerifierReport, config::VerifierPluginConfig};
use serde_json::{Value, json};

use super::{
    MIB,
    driver::Driver,
    in_ms, is_root, options, script, stress,
    verifier::{install, object, request},
};

/// A verifier that is the enemy, in directories of its own.
struct Enemy {
    place: tempfile::TempDir,
    runner: Arc<ExecRunner>,
}

impl Enemy {
    fn new() -> Self {
        Self::limited_to(256 * MIB)
    }

    fn limited_to(data_bytes: u64) -> Self {
        let place = tempfile::tempdir().unwrap();
        symlink(stress(), place.path().join("stress")).unwrap();
        let mut options = options();
        options.limits = options.limits.with_data_bytes(data_bytes);
        let host = Arc::new(PluginHost::new(options).unwrap());
        let environment = Environment::new([("AWS_SECRET_ACCESS_KEY".into(), "s".into())]);
        Self { place, runner: Arc::new(ExecRunner::new(host, environment)) }
    }

    async fn does(&self, misbehave: &str, more: Value) -> VerifierReport {
        let mut entry = object(json!({"name": "enemy", "type": "stress", "misbehave": misbehave}));
        entry.extend(object(more));
        let config = VerifierPluginConfig::from_entry(&entry, "1.0.0").unwrap();
        let dirs = vec![self.place.path().to_owned()];
        let program = Program::Search { name: "stress".into(), dirs };
        let runtime = self.place.path().to_owned();
        let verifier = ExecVerifier::new(config, program, Arc::clone(&self.runner), runtime);
        let mut request = request(None);
        request.context.give_up_at = in_ms(5000);
        verifier.verify(&request).await.unwrap()
    }
}

/// `allow`, or the beginning of the reason for the deny.
fn verdict(report: &VerifierReport) -> String {
    match report.is_success {
        true => "allow".to_owned(),
        false => report.error_reason.chars().take(110).collect::<String>().trim_end().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_the_enemy_is_read_right_or_denied_with_a_reason() {
    let enemy = Enemy::new();
    let mut table = String::new();
    for name in [
        "pretty",
        "json_on_stderr",
        "stderr_without_newline",
        "long_line",
        "invalid_utf8",
        "empty_json",
        "impersonate",
        "ansi",
        "no_output",
        "two_lines",
        "deep_json",
        "huge_message",
        "exit_nonzero_with_error_json",
        "exit_code_0",
        "exit_code_7",
        "flood_stdout",
        "flood_stderr",
        "crash",
    ] {
        let report = enemy.does(name, json!({})).await;
        assert_eq!((report.name.as_str(), report.type_.as_str()), ("enemy", "stress"), "{name}");
        let size = serde_json::to_string(&report).unwrap().len();
        assert!(size < 64 * 1024, "{name}: a report of {size} bytes");
        table += &format!("{name}: {}\n", verdict(&report));
    }
    insta::assert_snapshot!(table, @r#"
    pretty: allow
    json_on_stderr: allow
    stderr_without_newline: allow
    long_line: allow
    invalid_utf8: allow
    empty_json: the plugin says no and gives no reason
    impersonate: allow
    ansi: allow
    no_output: unexpected end of JSON input: the plugin printed no JSON object on a line of its own
    two_lines: the plugin printed 2 JSON objects where one answer is expected
    deep_json: the plugin printed a JSON object that cannot be read: recursion limit exceeded at line 1 column 158
    huge_message: plugin failed with error: 'signal: killed: it wrote more than 8388608 bytes to standard output, and the plugin
    exit_nonzero_with_error_json: plugin failed with error: 'exit status 1', msg from stError '', msg from stdOut '{ "code": 8, "msg": "plugin c
    exit_code_0: allow
    exit_code_7: plugin failed with error: 'exit status 7', msg from stError '', msg from stdOut '{"extensions":{},"isSuccess":
    flood_stdout: plugin failed with error: 'signal: killed: it wrote more than 8388608 bytes to standard output, and the plugin
    flood_stderr: plugin failed with error: 'signal: killed: it wrote more than 1048576 bytes to standard error, and the plugin
    crash: plugin failed with error: 'signal: aborted', msg from stError '', msg from stdOut ''
    "#);
    // How a panic ends depends on how the plugin was built.
    let report = enemy.does("panic", json!({})).await;
    assert!(!report.is_success && report.error_reason.contains("panicked"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enemy_that_stays_is_ended_in_time() {
    for name in ["hang", "ignore_sigterm"] {
        let start = Instant::now();
        let report = Enemy::new().does(name, json!({})).await;
        assert!(report.error_reason.contains("the deadline passed"), "{}", report.error_reason);
        assert!(start.elapsed() < Duration::from_secs(40), "{name}: {:?}", start.elapsed());
    }
    for name in ["orphan", "fork_bomb_small"] {
        // Who waited for what is left behind would be at the deadline.
        assert!(Enemy::new().does(name, json!({"seconds": 60, "count": 50})).await.is_success);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_one_gets_its_time() {
    assert!(Enemy::new().does("slow", json!({"seconds": 1})).await.is_success);
}

/// T6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_bomb_under_512_mib_is_refused_and_the_host_lives() {
    let enemy = Enemy::limited_to(512 * MIB);
    let report = enemy.does("eat_memory", json!({"bytes": 2048 * MIB})).await;
    // Either the allocation is refused, or the process is weighed and ended before.
    let refused = &report.extensions["eat_memory"]["refusedAfter"];
    let ate = refused.as_u64().unwrap_or(512 * MIB);
    assert!(ate <= 512 * MIB, "{report:?}");
    assert!(refused.is_u64() || report.error_reason.contains("more memory than it may"));
    assert!(enemy.does("eat_memory", json!({"bytes": 8 * MIB})).await.is_success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_sees_its_limits_and_three_descriptors() {
    let report = Enemy::new().does("report_limits", json!({})).await;
    let limits = &report.extensions["report_limits"];
    let hard = |name: &str| limits[name][1].as_str().unwrap().to_owned();
    assert_eq!(hard("Max core file size"), "0");
    assert_eq!(hard("Max data size"), (256 * MIB).to_string());
    assert_eq!(hard("Max open files"), "1024");
    assert_eq!(hard("Max file size"), (1024 * MIB).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minimal_environment_hides_the_hosts_credentials() {
    let seen = async |plugin_env: &str| {
        let report = Enemy::new().does("report_env", json!({"pluginEnv": plugin_env})).await;
        report.extensions["report_env"].to_string()
    };
    assert!(seen("inherit").await.contains("AWS_SECRET_ACCESS_KEY"));
    assert!(!seen("minimal").await.contains("AWS_SECRET_ACCESS_KEY"));
}

/// T5: the enemy overwrites another plugin, as the same user; the next call of that one is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_the_enemy_rewrote_is_not_run() {
    let enemy = Enemy::new();
    let inventory = Inventory::of(enemy.place.path().join("installed"));
    let good = b"#!/bin/sh\necho '{\"isSuccess\":false,\"message\":\"genuine\"}'\n";
    let installed = Arc::new(install(&inventory, good).await);
    let config = json!({"name": "good", "type": "good"});
    let config = VerifierPluginConfig::from_entry(&object(config), "1.0.0").unwrap();
    let program = Program::Installed(Arc::clone(&installed));
    let runtime = enemy.place.path().to_owned();
    let victim = ExecVerifier::new(config, program, Arc::clone(&enemy.runner), runtime);
    let genuine = victim.verify(&request(None)).await.unwrap();
    assert_eq!(genuine.message, "genuine");
    let content = "#!/bin/sh\necho '{\"isSuccess\":true}'\n";
    enemy.does("rewrite_file", json!({"path": installed.path(), "content": content})).await;
    assert_eq!(fs::read_to_string(installed.path()).unwrap(), content, "the enemy succeeds");
    let error = victim.verify(&request(None)).await.unwrap_err().to_string();
    assert!(error.contains("was changed since it was installed"), "{error}");
}

/// A script that becomes the enemy, with its input from a file, so that the driver can run it.
fn enemy_script(dir: &Path, misbehave: &str) {
    let input = json!({
        "config": {"name": "enemy", "misbehave": misbehave, "seconds": 1000},
        "storeConfig": {"version": "1.0.0", "pluginBinDirs": null, "store": {"name": "oras"}},
        "referenceDesc": {"mediaType": "m", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1},
    });
    let body = format!("exec {} <<'EOF'\n{input}\nEOF", stress().display());
    script(dir, misbehave, &body);
}

fn readable_directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// T4.
#[test]
fn the_enemy_reads_nothing_of_a_hardened_host() {
    let dir = readable_directory();
    enemy_script(dir.path(), "read_host_proc");
    // Root reads everything; the image runs as this user.
    let as_user = ["setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups"];
    let prefix: &[&str] = if is_root() { &as_user } else { &[] };
    let driver = Driver { prefix, with_launcher: true, calls: 1 };
    let seen = |scenario: &str| {
        let said = driver.run(scenario, dir.path()).remove(0);
        let report: Value = serde_json::from_str(said.strip_prefix("said=").unwrap()).unwrap();
        object(report["extensions"]["read_host_proc"].clone())
    };
    for (what, outcome) in seen("hardened").into_iter().filter(|(what, _)| what != "pid") {
        assert!(outcome["denied"].is_string(), "{what}: {outcome}");
    }
    let unhardened = seen("all");
    assert!(unhardened["environ"]["read"].is_u64(), "{unhardened:?}");
}

/// T6.
#[test]
fn nothing_that_the_enemy_leaves_stays() {
    let dir = readable_directory();
    for misbehave in ["orphan", "daemon", "fork_bomb_small"] {
        enemy_script(dir.path(), misbehave);
    }
    let calls = if std::env::var_os("RATIFY_SOAK").is_some() { 3334 } else { 34 };
    let driver = Driver { prefix: &[], with_launcher: true, calls };
    assert_eq!(driver.run("all", dir.path()), ["children="]);
}
