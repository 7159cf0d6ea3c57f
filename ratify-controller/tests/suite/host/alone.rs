//! A host with a process of its own: what plugins leave behind, what they can read of it, and
//! what it is as PID 1.

use std::{fs, path::Path};

use super::{driver::Driver, is_root, script};

/// Ways to leave something behind. `STRAY` in the environment tells it from other processes.
const LEAVERS: [(&str, &str); 6] = [
    ("in-the-group", "sleep 1000 & echo ok"),
    ("holds-the-pipes", "setsid sleep 1000 & echo ok"),
    ("daemon", "setsid sh -c 'sleep 1000 </dev/null >/dev/null 2>&1 & exit' & wait; echo ok"),
    (
        "no-environment",
        "env -i STRAY=$STRAY setsid /bin/sleep 1000 </dev/null >/dev/null 2>&1 & echo ok",
    ),
    (
        "children-of-its-own",
        "setsid sh -c 'sh -c \"sh -c \\\"sleep 1000 & wait\\\" & wait\" & wait' >/dev/null 2>&1 & echo ok",
    ),
    ("dead-already", "setsid sh -c 'setsid true & exec sleep 1000' >/dev/null 2>&1 & echo ok"),
];

/// 200 calls; 10,000 where a soak is asked for.
fn calls() -> usize {
    let total = if std::env::var_os("RATIFY_SOAK").is_some() { 10_000 } else { 200 };
    total / LEAVERS.len() + 1
}

fn leavers(dir: &Path, tag: &str) {
    for (name, body) in LEAVERS {
        script(dir, name, &format!("export STRAY={tag}\n{body}"));
    }
}

/// Processes with this tag in their environment.
fn strays(tag: &str) -> usize {
    let wanted = format!("STRAY={tag}");
    let environments = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.unwrap().path().join("environ")).ok());
    environments.filter(|text| text.split(|b| *b == 0).any(|v| v == wanted.as_bytes())).count()
}

fn tag(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[test]
fn calls_that_leave_processes_leave_none() {
    for with_launcher in [true, false] {
        let (dir, tag) = (tempfile::tempdir().unwrap(), tag("plain"));
        leavers(dir.path(), &tag);
        let driver = Driver { prefix: &[], with_launcher, calls: calls() };
        assert_eq!(driver.run("all", dir.path()), ["children="]);
        assert_eq!(strays(&tag), 0);
    }
}

#[test]
fn as_pid_1_it_leaves_no_strays_and_no_zombies() {
    if !is_root() {
        eprintln!("skipped: only root may make a PID namespace");
        return;
    }
    let (dir, tag) = (tempfile::tempdir().unwrap(), tag("pid1"));
    leavers(dir.path(), &tag);
    let prefix = ["unshare", "--pid", "--fork", "--mount-proc"];
    let driver = Driver { prefix: &prefix, with_launcher: true, calls: calls() };
    assert_eq!(driver.run("all", dir.path()), ["children="]);
    assert_eq!(driver.run("stranger", dir.path()), ["inherited=1", "children="]);
}

#[test]
fn what_a_running_call_started_is_spared_by_the_end_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let done = dir.path().join("done");
    let long = format!(
        "setsid sh -c '(sleep 1; echo helped > {0}) &' & (sleep 1; echo helped too >> {0}.2) & sleep 1.5; cat {0} {0}.2",
        done.display()
    );
    script(dir.path(), "long", &long);
    script(dir.path(), "short", "setsid sleep 1000 & true");
    let driver = Driver { prefix: &[], with_launcher: true, calls: 50 };
    let answers = driver.run("beside a long call", dir.path());
    assert_eq!(answers, ["left while it runs=0", "long=helped|helped too", "children="]);
}

#[test]
fn a_plugin_cannot_read_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let read = |file: &str| {
        format!(
            "cat /proc/$PPID/{file} >/dev/null 2>&1 && echo {file} read || echo {file} denied\n"
        )
    };
    let body: String = ["environ", "mem", "maps", "auxv", "io"].into_iter().map(read).collect();
    let body = body
        + "ls /proc/$PPID/fd >/dev/null 2>&1 && echo fd read || echo fd denied; grep ^Uid /proc/$PPID/status | cut -f2";
    script(dir.path(), "spy", &body);
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Root reads everything; the image runs as this user.
    let as_user = ["setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups"];
    let prefix: &[&str] = if is_root() { &as_user } else { &[] };
    let driver = Driver { prefix, with_launcher: true, calls: 1 };
    let said = |scenario: &str| driver.run(scenario, dir.path()).remove(0);
    let denied = "said=environ denied|mem denied|maps denied|auxv denied|io denied|fd denied|";
    assert!(said("hardened").starts_with(denied), "{}", said("hardened"));
    // The same host without the call can be read, so the call is what denies.
    assert!(said("all").starts_with("said=environ read|"), "{}", said("all"));
}
