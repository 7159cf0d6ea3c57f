//! Many `ratify verify` processes on one cache directory with a small cap, killed at random: each
//! verdict that comes is right, and the directory is under its cap once they have ended.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use ratify_core::Descriptor;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    task::JoinHandle,
};

use super::{Home, STATEMENT, YES, config, verifier};

const PROCESSES: u64 = 32;
const IMAGES: usize = 12;
/// Twelve images with six manifests each do not fit by far.
const CAP: u64 = 96 << 10;
const LENGTH: Duration = Duration::from_secs(5);

/// The same numbers each time; which of the processes gets which is up to the machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// The artifacts of each image.
fn fill(registry: &RunningRegistry) -> Vec<Vec<Descriptor>> {
    let attach = |name: &str, image: &Descriptor, number: usize| {
        let blob = Bytes::from(format!("{number} of {name} {}", "x".repeat(2000)));
        registry.put_artifact(name, image, STATEMENT, &[("text/plain", blob)]).unwrap()
    };
    let images = (0..IMAGES).map(|number| {
        let name = format!("app-{number}");
        let image = registry.put_image(&name, "v1", name.clone()).unwrap();
        (0..6).map(|number| attach(&name, &image, number)).collect()
    });
    images.collect()
}

/// Bytes of all files below, in whole blocks of 4 KiB as the cache counts.
fn used(folder: &Path) -> u64 {
    let sizes = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() { used(&entry.path()) } else { metadata.size().next_multiple_of(4096) }
    });
    sizes.sum()
}

/// A success that rests on all artifacts of the image and on nothing else.
fn is_right(verdict: &Value, artifacts: &[Descriptor]) -> bool {
    let reports = verdict["verifierReports"].as_array().unwrap();
    let mut judged: Vec<&str> =
        reports.iter().map(|report| report["referenceDigest"].as_str().unwrap()).collect();
    let mut attached: Vec<&str> =
        artifacts.iter().map(|artifact| artifact.digest.as_str()).collect();
    judged.sort_unstable();
    attached.sort_unstable();
    verdict["isSuccess"] == true && judged == attached
}

/// A verdict, or nothing where the process is killed after the life it is given.
async fn verify(home: &Home, subject: &str, life: Option<Duration>) -> Option<Value> {
    let mut command = home.command(&["verify", "-s", subject]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let patience = life.unwrap_or(Duration::from_secs(60));
    let Ok(status) = tokio::time::timeout(patience, child.wait()).await else {
        assert!(life.is_some(), "{subject} hangs");
        child.kill().await.unwrap();
        return None;
    };
    let (stdout, stderr) = (stdout.await.unwrap(), stderr.await.unwrap());
    assert!(status.unwrap().success(), "{}", String::from_utf8_lossy(&stderr));
    Some(serde_json::from_slice(&stdout).unwrap())
}

fn read(pipe: Option<impl AsyncRead + Send + Unpin + 'static>) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        pipe.unwrap().read_to_end(&mut bytes).await.unwrap();
        bytes
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_killed_at_random_leave_a_cache_that_is_right_and_under_its_cap() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let images = fill(&registry);
    let home = Home::new();
    home.script_plugin("judge", YES);
    let cache = home.path().join("cache");
    let mut config = config(&verifier("judge"));
    config["store"]["plugins"][0]["localCachePath"] = json!(cache);
    config["store"]["plugins"][0]["localCacheBytes"] = json!(CAP);
    home.configure(&config);

    let end = Instant::now() + LENGTH;
    let host = registry.host();
    let typical = AtomicU64::new(300);
    let workers = (0..PROCESSES).map(|number| {
        let (home, images, host, typical) = (&home, &images, &host, &typical);
        async move {
            let mut dice = Dice(number);
            let (mut killed, mut right) = (0_u32, 0_u32);
            while Instant::now() < end || right == 0 {
                let image = usize::try_from(dice.below(IMAGES as u64)).unwrap();
                // Two of three are killed, each at another moment of its life.
                let is_doomed = dice.below(3) > 0 && Instant::now() < end;
                let life = is_doomed.then(|| dice.below(typical.load(Ordering::Relaxed)));
                let started = Instant::now();
                let subject = format!("{host}/app-{image}:v1");
                match verify(home, &subject, life.map(Duration::from_millis)).await {
                    Some(verdict) => {
                        assert!(is_right(&verdict, &images[image]), "{verdict}");
                        let took = u64::try_from(started.elapsed().as_millis()).unwrap();
                        typical.store(took.max(1), Ordering::Relaxed);
                        right += 1;
                    }
                    None => killed += 1,
                }
            }
            (killed, right)
        }
    });
    let counts = futures_util::future::join_all(workers).await;
    let killed: u32 = counts.iter().map(|(killed, _)| killed).sum();
    let right: u32 = counts.iter().map(|(_, right)| right).sum();
    assert!(u64::from(killed) > PROCESSES && u64::from(right) >= PROCESSES, "{killed} {right}");
    println!("{killed} processes were killed, {right} came to a verdict");
    let used = used(&cache);
    assert!(used <= CAP, "{used} bytes");
    // It was used, and what is left in it is what it says.
    let repositories = fs::read_dir(cache.join(".ratify/blobs")).unwrap();
    let blobs = repositories.flat_map(|at| fs::read_dir(at.unwrap().path()).unwrap());
    let blobs: Vec<_> = blobs.collect();
    assert!(blobs.len() > 5, "{} blobs", blobs.len());
    for blob in blobs {
        let blob = blob.unwrap();
        let digest = crate::parity::layout::sha256(&fs::read(blob.path()).unwrap());
        assert_eq!(blob.file_name().display().to_string(), digest.replace(':', "-"));
    }
}
