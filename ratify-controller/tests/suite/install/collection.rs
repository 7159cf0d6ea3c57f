//! What an installation leaves, and what a collection takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use ratify_controller::plugin::inventory::GRACE_PERIOD;

use super::*;

#[tokio::test]
async fn after_a_tag_moved_only_what_runs_or_is_recorded_stays() {
    let fixture = Fixture::new().await;
    fixture.push_as_ours("1", &program("a")).await;
    let old = fixture.install(&fixture.by_tag("1")).await.unwrap();
    fixture.push_as_ours("1", &program("b")).await;
    fixture.install(&fixture.by_tag("1")).await.unwrap();
    let inventory = fixture.inventory();
    let later = SystemTime::now() + Duration::from_secs(5);

    // The old index and manifest go (the configuration is shared); the old program is in use.
    assert_eq!(inventory.collect(later, Duration::ZERO).unwrap().files, 2);
    old.plugin.open_for_run().unwrap();
    drop(old);
    assert_eq!(inventory.collect(later, Duration::ZERO).unwrap().files, 1);
    let again = fixture.install(&fixture.by_tag("1")).await.unwrap();
    assert_eq!(again.plugin.digest(), &sha256(&program("b")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collecting_beside_installations_never_takes_what_they_need() {
    let fixture = Fixture::new().await;
    for n in 0..3 {
        fixture.push_as_v1(&n.to_string(), &program(&n.to_string()));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, inventory) = (Arc::clone(&stop), fixture.inventory());
    let collector = std::thread::spawn(move || {
        let mut collected = 0;
        while !stopped.load(Ordering::Relaxed) {
            collected += inventory.collect(SystemTime::now(), GRACE_PERIOD).unwrap().files;
        }
        collected
    });
    for round in 0..60 {
        let n = (round % 3).to_string();
        let installed = fixture.install(&fixture.by_tag(&n)).await.unwrap();
        let run = installed.plugin.open_for_run().unwrap();
        assert_eq!(fs::read(&run.path).unwrap(), program(&n), "round {round}");
        age(&fixture);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(collector.join().unwrap() > 0, "something was collected meanwhile");
}

/// Makes every file as old as if it had been installed yesterday.
fn age(fixture: &Fixture) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    let seconds = yesterday.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let at = Timespec { tv_sec: i64::try_from(seconds).unwrap(), tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    for name in fixture.files() {
        // The collector may have been faster.
        let _ = utimensat(CWD, fixture.directory().join(name), &times, AtFlags::SYMLINK_NOFOLLOW);
    }
}
