//! One call: its streams, its bounds, and its end with everything it started.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use ratify_controller::plugin::{
    process::{End, PluginHost, ProcessError, Stream},
    sandbox::leaking_descriptors,
};
use rustix::process::{Pid, Signal, kill_process};

use super::{host, in_ms, launch, lives, options, script, soon, stdout};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_stay_apart_and_the_environment_is_what_was_given() {
    let dir = temporary();
    let plugin =
        script(dir.path(), "p", "cat; echo log >&2; env | grep -v -e ^PWD= -e ^_= | sort; exit 3");
    let mut launch = launch(plugin);
    launch.environment.push(("A".into(), "1".into()));
    launch.stdin = "in\n".into();
    let finished = host().run(launch).await.unwrap();
    assert_eq!(stdout(&finished), "in\nA=1\nPATH=/usr/bin:/bin");
    assert_eq!(finished.stderr, b"log\n");
    let End::Exited(status) = finished.end else { panic!("{:?}", finished.end) };
    assert_eq!(status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_sees_the_name_it_is_given_and_three_descriptors_only() {
    let _open = fs::File::open("/dev/null").unwrap();
    for launcher in [Some(super::launcher()), None] {
        let mut options = options();
        options.launcher = launcher;
        let host = PluginHost::new(options).unwrap();
        let mut launch = launch("/bin/sh");
        launch.argv0 = Some("/plugins/sample".into());
        launch.stdin =
            "echo $0; for n in /proc/$$/fd/*; do [ -e $n ] && echo ${n##*/}; done".into();
        let finished = host.run(launch).await.unwrap();
        let mut expected: Vec<String> =
            [0, 1, 2].into_iter().chain(leaking_descriptors()).map(|n| n.to_string()).collect();
        expected.sort_unstable();
        assert_eq!(stdout(&finished), format!("/plugins/sample\n{}", expected.join("\n")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_ends_the_whole_tree() {
    let dir = temporary();
    let plugin = script(dir.path(), "p", "sleep 60 & echo $!; sh -c 'sleep 60 & echo $!; wait' ");
    let mut launch = launch(plugin);
    launch.give_up_at = in_ms(300);
    let start = Instant::now();
    let finished = host().run(launch).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    assert_eq!(finished.end, End::Deadline);
    let pids = stdout(&finished);
    assert_eq!(pids.lines().count(), 2, "what was written before is kept: {pids}");
    soon("both are gone", || !pids.lines().any(lives));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stops_waiting_ends_the_whole_tree() {
    let dir = temporary();
    let pids = dir.path().join("pids");
    let body = format!(
        "sleep 60 & echo $! > {0}.tmp; echo $$ >> {0}.tmp; mv {0}.tmp {0}; wait",
        pids.display()
    );
    let launch = launch(script(dir.path(), "p", &body));
    let host = host();
    let call = tokio::spawn(async move { host.run(launch).await });
    while !pids.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    call.abort();
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    soon("both are gone, and reaped", || {
        !pids.lines().any(|pid| fs::exists(format!("/proc/{pid}")).unwrap())
    });
}

#[test]
fn a_runtime_that_is_shut_down_ends_its_children() {
    let dir = temporary();
    let pid = dir.path().join("pid");
    let body = format!("echo $$ > {0}.tmp; mv {0}.tmp {0}; sleep 60", pid.display());
    let launch = launch(script(dir.path(), "p", &body));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let host = host();
    runtime.spawn(async move { host.run(launch).await });
    soon("it runs", || pid.exists());
    drop(runtime);
    assert!(!fs::exists(format!("/proc/{}", fs::read_to_string(pid).unwrap().trim())).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_over_the_cap_is_the_end() {
    let dir = temporary();
    for (redirect, stream) in [("", Stream::Stdout), (">&2", Stream::Stderr)] {
        let body = format!("printf %0100d 0 {redirect}; sleep 60");
        let mut flood = launch(script(dir.path(), "p", &body));
        (flood.most_stdout, flood.most_stderr) = (99, 99);
        let finished = host().run(flood).await.unwrap();
        assert_eq!(finished.end, End::TooMuch(stream));
        assert_eq!(finished.stdout.len() + finished.stderr.len(), 99);
    }
    let mut exact = launch(script(dir.path(), "p", "printf %0100d 0"));
    exact.most_stdout = 100;
    let finished = host().run(exact).await.unwrap();
    assert!(matches!(finished.end, End::Exited(status) if status.success()));
    assert_eq!(finished.stdout.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_does_not_delay_the_deadline() {
    let dir = temporary();
    let mut flood = launch(script(dir.path(), "p", "exec yes"));
    flood.most_stdout = usize::MAX / 2;
    flood.give_up_at = in_ms(200);
    let start = Instant::now();
    assert_eq!(host().run(flood).await.unwrap().end, End::Deadline);
    assert!(start.elapsed() < Duration::from_secs(40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_is_fed_to_a_slow_reader_and_may_be_left_unread() {
    let dir = temporary();
    let input = vec![b'x'; 3 << 20];
    let mut slow = launch(script(dir.path(), "slow", "sleep 0.2; wc -c"));
    slow.stdin = input.clone().into();
    assert_eq!(stdout(&host().run(slow).await.unwrap()), "3145728");
    let mut rude = launch(script(dir.path(), "rude", "exec <&-; echo done"));
    rude.stdin = input.into();
    assert_eq!(stdout(&host().run(rude).await.unwrap()), "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_keeps_the_pipes_open_does_not_keep_the_host_waiting() {
    let dir = temporary();
    // In the group: it is ended. Out of the group: this host lets it go, but waits no longer.
    for body in ["sleep 60 & echo $!", "setsid sleep 60 & echo $!"] {
        let start = Instant::now();
        let finished = host().run(launch(script(dir.path(), "p", body))).await.unwrap();
        let child = stdout(&finished).parse().unwrap();
        assert!(start.elapsed() < Duration::from_secs(40), "{body}: {:?}", start.elapsed());
        // The first is gone already.
        let _ = kill_process(Pid::from_raw(child).unwrap(), Signal::KILL);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_being_written_is_tried_again() {
    for launcher in [Some(super::launcher()), None] {
        let dir = temporary();
        let plugin = dir.path().join("true");
        fs::copy("/bin/true", &plugin).unwrap();
        let mut options = options();
        options.launcher = launcher;
        let host = PluginHost::new(options).unwrap();
        let writer = fs::OpenOptions::new().append(true).open(&plugin).unwrap();
        let error = host.run(launch(&plugin)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("fork/exec {}: text file busy", plugin.display()));
        let release = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(40)).await;
            drop(writer);
        });
        let finished = host.run(launch(&plugin)).await.unwrap();
        assert!(matches!(finished.end, End::Exited(status) if status.success()));
        release.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_executed_says_so_in_v1s_words() {
    let dir = temporary();
    let no_program = dir.path().join("text");
    fs::File::create(&no_program).unwrap().write_all(b"\x7fELF nonsense").unwrap();
    let not_executable = script(dir.path(), "plain", "true");
    fs::set_permissions(&not_executable, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&no_program, fs::Permissions::from_mode(0o755)).unwrap();
    let cases = [
        (dir.path().join("missing"), "no such file or directory"),
        (not_executable, "permission denied"),
        (no_program, "exec format error"),
    ];
    for launcher in [Some(super::launcher()), None] {
        let mut options = options();
        options.launcher = launcher;
        let host = PluginHost::new(options).unwrap();
        for (path, reason) in &cases {
            let error = host.run(launch(path)).await.unwrap_err();
            assert_eq!(error.to_string(), format!("fork/exec {}: {reason}", path.display()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_do_not_mix() {
    let dir = temporary();
    let plugin = script(dir.path(), "p", "cat; cat /proc/$$/status >/dev/null; echo end");
    let host = host();
    let calls = (0..200).map(|number| {
        let (host, mut launch) = (host.clone(), launch(&plugin));
        launch.stdin = format!("{number} ").into();
        tokio::spawn(async move { (number, stdout(&host.run(launch).await.unwrap())) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (number, said) = call.await.unwrap();
        assert_eq!(said, format!("{number} end"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_shared_out_and_who_waits_too_long_is_told() {
    let dir = temporary();
    let mut options = options();
    options.memory_bytes = 2 * options.limits.data_bytes;
    let host = std::sync::Arc::new(PluginHost::new(options).unwrap());
    let plugin = script(dir.path(), "p", "sleep 0.5");
    let running: Vec<_> = (0..2)
        .map(|_| {
            let (host, launch) = (host.clone(), launch(&plugin));
            tokio::spawn(async move { host.run(launch).await.unwrap() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut third = launch(&plugin);
    third.give_up_at = in_ms(100);
    let error = host.run(third).await.unwrap_err();
    assert!(matches!(error, ProcessError::NoRoom { needed_mib: 256, total_mib: 512, .. }));
    for call in running {
        call.await.unwrap();
    }
    host.run(launch(&plugin)).await.unwrap();
}
