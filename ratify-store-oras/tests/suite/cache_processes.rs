//! The blob cache under 32 processes that are killed at random.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ratify_core::{Algorithm, Digest, Reference};
use ratify_store_oras::{BlobCache, digest_of};

const CHILD: &str = "RATIFY_TEST_CACHE_CHILD";
const CAP: u64 = 1 << 20;
const PROCESSES: usize = 32;
const BLOBS: u64 = 150;

/// The bytes of a number: up to 40 KB, so that all of them are three times the cap.
fn blob(number: u64) -> (Digest, Bytes) {
    let length = usize::try_from(1 + number * 7919 % 40_000).unwrap();
    let bytes: Vec<u8> = number.to_le_bytes().iter().copied().cycle().take(length).collect();
    (digest_of(Algorithm::Sha256, &bytes), bytes.into())
}

/// Not a test of its own: what each of the processes below does.
#[test]
#[ignore = "started by the test below"]
fn child() {
    let directory = std::env::var_os(CHILD).unwrap();
    let cache = BlobCache::open(Path::new(&directory), CAP).unwrap();
    let mut number = 0;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut state = u64::from(std::process::id()) | 1;
    runtime.block_on(async {
        for _ in 0..400 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (digest, bytes) = blob((state >> 33) % BLOBS);
            // So many repositories that their directories come and go as well.
            number += 1;
            let repository = format!("r.example.com/app{}:1", number % 20);
            let cache = cache.of("", &Reference::parse(&repository).unwrap());
            match cache.get(&digest, Some(bytes.len() as u64), 1 << 20).await {
                Some(cached) => assert_eq!(cached, bytes),
                None => cache.put(&digest, &bytes).await,
            }
        }
    });
}

fn start(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cache_processes::child", "--ignored", "--quiet"])
        .env(CHILD, directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The bytes of all files; one that goes away meanwhile counts nothing.
fn total(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => total(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// No more than the bytes that a directory ever had at once: a walk counts files that come while it goes on
/// beside such as went meanwhile, so of several the least is taken.
fn held(directory: &Path) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..20 {
        least = least.min(total(directory));
        if least <= CAP {
            break;
        }
    }
    least
}

#[test]
fn thirty_two_processes_killed_at_random_leave_right_bytes_and_stay_under_the_cap() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut children: Vec<Child> = (0..PROCESSES).map(|_| start(path)).collect();
    let end = Instant::now() + Duration::from_secs(4);
    let (mut killed, mut finished) = (0, 0);
    let mut victim = 0;
    while Instant::now() < end {
        let held = held(path);
        assert!(held <= CAP, "{held} bytes");
        victim = (victim + 7) % PROCESSES;
        match children[victim].try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "a process read wrong bytes");
                finished += 1;
            }
            None => {
                children[victim].kill().unwrap();
                children[victim].wait().unwrap();
                killed += 1;
            }
        }
        children[victim] = start(path);
        std::thread::sleep(Duration::from_millis(5));
    }
    for mut child in children {
        assert!(child.wait().unwrap().success(), "a process read wrong bytes");
    }
    assert!(killed > 10, "{killed} were killed, {finished} ended by themselves");
    assert!(total(path) <= CAP, "{} bytes", total(path));
    assert!(whole_blobs(path).unwrap() > 10, "next to nothing was kept");
}

/// How many blobs there are; each must be what its name says.
fn whole_blobs(path: &Path) -> io::Result<usize> {
    let mut count = 0;
    for partition in fs::read_dir(path.join(".ratify/blobs"))? {
        for entry in fs::read_dir(partition?.path())? {
            let entry = entry?;
            let digest = digest_of(Algorithm::Sha256, &fs::read(entry.path())?);
            let name = format!("sha256-{}", digest.hex());
            assert_eq!(name, entry.file_name().to_str().unwrap());
            count += 1;
        }
    }
    Ok(count)
}
