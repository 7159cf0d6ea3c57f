//! What a plugin may use, with the launcher and without it.

use ratify_controller::plugin::process::{End, PluginHost, ProcessError};

use super::{MIB, launch, launcher, options, script, stdout};

const SHOW: &str = "sleep 0.2; ulimit -c; ulimit -d; ulimit -n; ulimit -f; grep -o 'NoNewPrivs.*' /proc/self/status";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_set_before_the_plugin_runs_or_else_after() {
    let dir = tempfile::tempdir().unwrap();
    let show = script(dir.path(), "show", SHOW);
    // dash counts data in KiB and file sizes in blocks of 512 bytes.
    for (launcher, privileges) in [(Some(launcher()), "NoNewPrivs:\t1"), (None, "NoNewPrivs:\t0")] {
        let mut options = options();
        options.launcher = launcher;
        let finished = PluginHost::new(options).unwrap().run(launch(&show)).await.unwrap();
        assert_eq!(stdout(&finished), format!("0\n262144\n1024\n2097152\n{privileges}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_eats_memory_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = script(dir.path(), "bomb", "a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done");
    let mut options = options();
    options.limits = options.limits.with_data_bytes(64 * MIB);
    let host = PluginHost::new(options).unwrap();
    let finished = host.run(launch(&bomb)).await.unwrap();
    assert!(matches!(finished.end, End::Exited(status) if !status.success()), "{:?}", finished.end);
    let fine = script(dir.path(), "fine", "echo fine");
    assert_eq!(stdout(&host.run(launch(&fine)).await.unwrap()), "fine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launcher_that_fails_is_told_from_a_plugin_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let fails = script(dir.path(), "l", "echo 'ratify-launch: limit of data: 1' >&2; exit 125");
    let plugin = script(dir.path(), "p", "exit 125");
    let mut with_failing = options();
    with_failing.launcher = Some(fails);
    let error = PluginHost::new(with_failing).unwrap().run(launch(&plugin)).await.unwrap_err();
    assert!(matches!(error, ProcessError::Launcher { .. }));
    insta::assert_snapshot!(error, @"the launcher failed at limit of data: operation not permitted");
    let finished = PluginHost::new(options()).unwrap().run(launch(&plugin)).await.unwrap();
    assert!(matches!(finished.end, End::Exited(status) if status.code() == Some(125)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_forks_gets_no_more_memory_than_one_that_does_not() {
    let dir = tempfile::tempdir().unwrap();
    // Each of twelve has 16 MiB, below the limit of a process.
    let body = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        (a=xxxxxxxxxxxxxxxx; while [ ${#a} -lt 16777216 ]; do a=$a$a; done; exec 1>&-; read x < $0.fifo) &
    done; wait";
    let bomb = script(dir.path(), "bomb", body);
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("bomb.fifo"), 0o600.into()).unwrap();
    let mut options = options();
    options.limits = options.limits.with_data_bytes(96 * MIB);
    let host = PluginHost::new(options).unwrap();
    let mut launch = launch(&bomb);
    launch.give_up_at = super::in_ms(20_000);
    assert_eq!(host.run(launch).await.unwrap().end, End::TooMuchMemory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_does_nothing_but_fork_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = script(dir.path(), "bomb", "while :; do sleep 60 & done");
    let host = PluginHost::new(options()).unwrap();
    let mut launch = launch(&bomb);
    launch.give_up_at = super::in_ms(20_000);
    assert_eq!(host.run(launch).await.unwrap().end, End::TooManyProcesses);
}
