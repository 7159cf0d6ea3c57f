//! T4: what a plugin sees of the process that runs it, which has secrets in its environment, its
//! memory and its open files. As the user of the image, since root may read everything.

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{Home, config, put_app, set_mode, verifier};
use crate::host;

const USER: &str = "65532";

/// What the plugin finds out about the shell that runs this line.
async fn read_by(home: &Home, line: &str) -> Value {
    let input = json!({
        "config": {"name": "enemy", "misbehave": "read_host_proc"},
        "storeConfig": {"version": "1.0.0", "pluginBinDirs": null, "store": {"name": "oras"}},
        "referenceDesc": {"mediaType": "m", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1},
    });
    let folder = home.path().join(".ratify");
    std::fs::write(folder.join("input"), input.to_string()).unwrap();
    let words = home.prefix.iter().map(String::as_str).chain(["sh", "-c", line]);
    let words: Vec<&str> = words.collect();
    let mut command = tokio::process::Command::new(words[0]);
    let output = command.args(&words[1..]).current_dir(folder).output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["extensions"]["read_host_proc"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_reads_nothing_of_the_process_that_runs_it() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    // A copy that this user can reach, wherever the tree is.
    let program = home.plugins().join("stress");
    std::fs::copy(host::stress(), &program).unwrap();
    let launcher = env!("CARGO_BIN_EXE_ratify-launch");
    for (from, name) in [(env!("CARGO_BIN_EXE_ratify"), "ratify"), (launcher, "ratify-launch")] {
        std::fs::copy(from, home.path().join(name)).unwrap();
        set_mode(&home.path().join(name), 0o755);
    }
    set_mode(&program, 0o755);
    let mut entry = verifier("stress");
    entry["misbehave"] = json!("read_host_proc");
    home.configure(&config(&entry));
    home.set("AWS_SECRET_ACCESS_KEY", "a-secret");
    home.program = home.path().join("ratify");
    if host::is_root() {
        let chown =
            ["-R", &format!("{USER}:{USER}"), home.path().to_str().unwrap()].map(str::to_owned);
        let owned = std::process::Command::new("chown").args(chown).status().unwrap();
        assert!(owned.success());
        let setpriv = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"];
        home.prefix = setpriv.map(str::to_owned).to_vec();
    }
    // The same plugin reads a process of its user that does not protect itself.
    let unprotected = read_by(&home, "cat input | plugins/stress").await;
    assert!(unprotected["environ"]["read"].is_u64(), "{unprotected}");
    let ran = home.verify(&put_app(&registry)).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    let verdict = ran.verdict();
    let seen = &verdict["verifierReports"][0]["extensions"]["read_host_proc"];
    let seen = seen.as_object().unwrap_or_else(|| panic!("{verdict}"));
    let looked_at: Vec<&String> = seen.keys().filter(|what| *what != "pid").collect();
    assert_eq!(looked_at, ["auxv", "cwd", "environ", "exe", "fd", "maps", "mem", "root"]);
    for what in looked_at {
        assert!(matches!(seen[what]["denied"], Value::String(_)), "{what}: {}", seen[what]);
    }
}
