//! A server that is told to end while it is asked, and something around it fails just then: whatever
//! was asked is answered, an image that is refused is allowed by nobody's absence, each answer that
//! does not allow says why, and the server ends in time and leaves no plugin behind.

use std::{fs, path::Path};

use futures_util::future::join_all;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::net::TcpStream;

use super::{disk::Disk, policy::endless, *};
use crate::{
    parity::machines::Machines,
    serve::redis::{self, False, Mischief, Redis},
};

/// How long an answer may take; the end makes it shorter.
const ANSWER_MS: u64 = 60_000;
/// How long the end may take: it answers everything within six seconds.
const END: Duration = Duration::from_secs(20);

/// Leaves a line for each call, waits for a file to go and accepts what is not called bad; about what
/// is called hang it never says anything.
fn judge(home: &Home) -> String {
    let [calls, hold, pid] =
        ["calls", "hold", "pid"].map(|name| home.path().join(name).display().to_string());
    let hang = format!("*/hang*) echo $$ > {pid}; exec sleep 600");
    let waits = format!("while [ -e {hold} ]; do sleep 0.05; done");
    format!(
        r#"echo x >> {calls}; case "$RATIFY_VERIFIER_SUBJECT" in {hang};; esac; {waits}; {NOT_BAD}"#
    )
}

fn file() -> Value {
    let mut file = config(&verifier("judge"));
    file["executor"] = json!({"verificationRequestTimeout": ANSWER_MS});
    file
}

/// A home whose plugin waits.
fn held() -> Home {
    let home = Home::new();
    home.script_plugin("judge", &judge(&home));
    home.write("hold", "");
    home.configure(&file());
    home
}

/// Images, with whether they may be allowed. What a tag stands for is shared with nobody.
async fn images(registry: &RunningRegistry, home: &Home, names: &[&str]) -> Vec<(String, bool)> {
    let mut images = Vec::new();
    for name in names {
        let image = put(registry, name);
        let digest = home.must(&["resolve", "--subject", &image]).await;
        images
            .push((image.replace(":v1", &format!("@{}", digest.trim())), name.starts_with("app")));
    }
    images
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Asks about all, tells the server to end when so many calls of the plugin are under way, has
/// something fail when nobody is let in any more, and then lets the plugin answer.
async fn end_amid(
    home: &Home,
    mut server: Server,
    images: &[(String, bool)],
    calls: usize,
    strike: impl FnOnce(),
) -> Vec<Value> {
    let pid = Pid::from_raw(server.process.id().unwrap().cast_signed()).unwrap();
    let address = server.url().split('/').nth(2).unwrap().to_owned();
    let asked = join_all(images.iter().map(|(image, _)| server.ask(image)));
    let ending = async {
        let made = home.path().join("calls");
        until_so("under way", &server, || lines(&made) >= calls).await;
        kill_process(pid, Signal::TERM).unwrap();
        for look in 0.. {
            if TcpStream::connect(&address).await.is_err() {
                break;
            }
            assert!(look < LOOKS, "it still lets in: {}", server.log());
            tokio::time::sleep(INTERVAL).await;
        }
        strike();
        drop(fs::remove_file(home.path().join("hold")));
    };
    let (said, ()) = tokio::join!(asked, ending);
    for (said, (image, may_be)) in said.iter().zip(images) {
        assert!(!allows(said) || *may_be, "{image}: {said}");
    }
    let ended = tokio::time::timeout(END, server.process.wait()).await;
    let ended = ended.unwrap_or_else(|_| panic!("it does not end: {}", server.log()));
    assert_eq!(ended.unwrap().code(), Some(0), "{}", server.log());
    assert!(!server.log().contains("panicked"), "{}", server.log());
    said
}

/// A server that shares its verdicts by way of a Redis, under the seal of the key in its home.
async fn sharing(home: &Home, address: &str, flags: &[&str]) -> Server {
    let address = format!("--cache-address=redis://{address}");
    let line =
        ["serve", "--http", "127.0.0.1:0", "--cache-enabled", "--cache-type=redis", &address];
    let line = [&line[..], &["--cache-key-file=key"], flags].concat();
    Server::run(home.command(&line)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_goes_while_the_server_ends() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    for mischief in [Mischief::HangUp, Mischief::Silence, Mischief::Flood] {
        let home = held();
        let images = images(&registry, &home, &["app1", "app2", "bad"]).await;
        let redis = False::start(Mischief::Nothing).await;
        home.write("key", [7; 32]);
        let server = sharing(&home, &redis.address, &[]).await;
        let said = end_amid(&home, server, &images, 3, || redis.does(mischief)).await;
        assert!(said.iter().zip(&images).all(|(said, (_, may_be))| allows(said) == *may_be));
    }
}

/// The verdicts that it would have been told are what the server still owes an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_redis_is_killed_while_the_server_ends() {
    let Some(machines) = Machines::find() else { return };
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let home = held();
    let images = images(&registry, &home, &["first", "app1", "app2", "bad"]).await;
    let redis = Redis::start(&machines, home.path(), false).await;
    let user = format!("--cache-username={}", redis::USER);
    let flags = [&user, "--cache-password-file=password"];
    let server = sharing(&home, &redis.server.address, &flags).await;
    let ((first, _), rest) = images.split_first().unwrap();
    fs::remove_file(home.path().join("hold")).unwrap();
    until(&server, first, true).await;
    let mut admin = redis.admin().await;
    for look in 0.. {
        if !redis::names(&mut admin).await.is_empty() {
            break;
        }
        assert!(look < LOOKS, "it shares nothing: {}", server.log());
        tokio::time::sleep(INTERVAL).await;
    }
    home.write("hold", "");
    let said = end_amid(&home, server, rest, 1 + rest.len(), || drop(redis)).await;
    assert!(said.iter().zip(rest).all(|(said, (_, may_be))| allows(said) == *may_be));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_hang_while_the_server_ends() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let home = held();
    let images = images(&registry, &home, &["app", "hang", "bad"]).await;
    let server = Server::start(&home).await;
    let said = end_amid(&home, server, &images, 3, || ()).await;
    assert!(allows(&said[0]), "{}", said[0]);
    let why = said[1]["error"].as_str().unwrap();
    assert!(why.contains("ask again for "), "{why}");
    let hanging = fs::read_to_string(home.path().join("pid")).unwrap();
    let hanging = Pid::from_raw(hanging.trim().parse().unwrap()).unwrap();
    let is_gone = || test_kill_process(hanging).is_err();
    for _ in 0..LOOKS {
        if is_gone() {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    panic!("the plugin is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_computes_without_end_while_the_server_ends() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let home = held();
    let mut endless = endless();
    endless["executor"] = file()["executor"].clone();
    fs::remove_file(home.path().join("hold")).unwrap();
    home.configure(&endless);
    let images = images(&registry, &home, &["app1", "app2", "app3", "app4", "bad"]).await;
    let server = Server::start(&home).await;
    let said = end_amid(&home, server, &images, images.len(), || ()).await;
    assert!(!said.iter().any(allows));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_full_while_the_server_ends() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    // Where blobs are kept, and where plugins have their directories.
    for name in ["blobs", "tmp"] {
        let mut home = held();
        let images = images(&registry, &home, &["app1", "app2", "bad"]).await;
        let Some(place) = Disk::mount(&mut home, name, "size=1m,nr_inodes=60").await else {
            return;
        };
        let mut file = file();
        match name {
            "blobs" => file["store"]["plugins"][0]["localCachePath"] = json!(place),
            _ => home.set("TMPDIR", place.to_str().unwrap()),
        }
        home.configure(&file);
        let server = Server::start(&home).await;
        let disk = Disk::of(&server, &place);
        // Whoever was begun has what it needs.
        let said = end_amid(&home, server, &images, 3, || disk.fill()).await;
        assert!(said.iter().zip(&images).all(|(said, (_, may_be))| allows(said) == *may_be));
    }
}
