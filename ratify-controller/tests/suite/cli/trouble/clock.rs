//! A clock that is set while the server is asked all the time, by years, forth and back: answers stay
//! right, and what was allowed a moment ago is kept for as long as before, not for years.

use std::{
    os::unix::fs::FileExt as _,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::future::join_all;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};

use super::*;
use crate::cli::signed::notary::{LAST_YEAR, Notary, policy};

const YEAR: i64 = 365 * 24 * 3600;
/// What is put before the C library of the server alone; the machine's clock is everybody's.
const SHIFTED: &str = include_str!("clock.c");

/// The clock of a home's commands, which can be set.
struct Clock(std::fs::File);

impl Clock {
    fn of(home: &mut Home) -> Self {
        let source = home.write("clock.c", SHIFTED);
        let library = home.path().join("clock.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        assert!(compiler.status().unwrap().success());
        let page = home.write("clock", 0_i64.to_ne_bytes());
        home.set("LD_PRELOAD", library.to_str().unwrap());
        home.set("SHIFTED_CLOCK", page.to_str().unwrap());
        Self(std::fs::OpenOptions::new().write(true).open(page).unwrap())
    }

    fn set(&self, shift: i64) {
        self.0.write_all_at(&shift.to_ne_bytes(), 0).unwrap();
    }
}

/// The year of an answer.
fn year(said: &Value) -> i16 {
    let at: jiff::Timestamp = said["value"]["timestamp"].as_str().unwrap().parse().unwrap();
    at.to_zoned(jiff::tz::TimeZone::UTC).year()
}

/// Asks until it is over; each answer is a verdict, and this one.
async fn ask_on(server: &Server, key: &str, allowed: bool, is_over: &AtomicBool) -> usize {
    let mut answers = 0;
    while !is_over.load(Ordering::Relaxed) {
        let said = server.ask(key).await;
        assert!(said.get("value").is_some(), "{said}");
        assert_eq!(allows(&said), allowed, "{said}");
        answers += 1;
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_by_years_makes_nothing_wrong() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (good, bad) = (put(&registry, "app"), put(&registry, "bad"));
    for flags in [&[][..], &["--cache-enabled", "--cache-ttl=1s"]] {
        let mut home = home();
        let mut file = config(&verifier("judge"));
        file["executor"] = json!({"verificationRequestTimeout": 15_000});
        home.configure(&file);
        let clock = Clock::of(&mut home);
        let line = [&["serve", "--http", "127.0.0.1:0"], flags].concat();
        let server = Server::run(home.command(&line)).await;
        let now = year(&server.ask(&good).await);
        let is_over = AtomicBool::new(false);
        let setting = async {
            for years in [1, -10, 60, -30, 0] {
                clock.set(years * YEAR);
                tokio::time::sleep(Duration::from_millis(700)).await;
                let seen = i64::from(year(&server.ask(&good).await) - now);
                assert!((years - 1..=years + 1).contains(&seen), "{seen} years instead of {years}");
            }
            is_over.store(true, Ordering::Relaxed);
        };
        let load = [ask_on(&server, &good, true, &is_over), ask_on(&server, &bad, false, &is_over)];
        let (answers, ()) = tokio::join!(join_all(load), setting);
        assert!(answers.iter().all(|answers| *answers > 1), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_ends_although_the_clock_is_set_back() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let good = put(&registry, "app");
    let mut home = home();
    let says_no = home.path().join("says-no");
    home.script_plugin(
        "judge",
        &format!(
            "[ -e {} ] && exec echo '{{\"isSuccess\":false,\"message\":\"recalled\"}}'; {NOT_BAD}",
            says_no.display()
        ),
    );
    let clock = Clock::of(&mut home);
    let flags = ["serve", "--http", "127.0.0.1:0", "--cache-enabled", "--cache-ttl=2s"];
    let server = Server::run(home.command(&flags)).await;
    until(&server, &good, true).await;
    home.write("says-no", "");
    clock.set(-10 * YEAR);
    until(&server, &good, false).await;
    std::fs::remove_file(&says_no).unwrap();
    until(&server, &good, true).await;
}

/// A server with a clock of its own, a cache that keeps for as long as can be said, and an image that is
/// good until the certificate ends that signed it; and how far the clock is from that.
async fn signed(
    notary: &Notary,
    registry: &RunningRegistry,
    home: &mut Home,
) -> (Clock, Server, String, i64) {
    let image = registry.put_image("app", "v1", "layer").unwrap();
    let image = format!("{}/app@{}", registry.host(), image.digest);
    notary.sign(&image, "release", false).await;
    let stores = json!({"verificationCerts": [notary.root("release")]});
    let mut notation = policy("enforce", stores)["verifiers"][0].clone();
    notation["artifactTypes"] = "application/vnd.cncf.notary.signature".into();
    home.configure(&config(&notation));
    let clock = Clock::of(home);
    let flags = ["serve", "--http", "127.0.0.1:0", "--cache-enabled", "--cache-ttl=24h"];
    let server = Server::run(home.command(&flags)).await;
    let end: jiff::Timestamp = format!("{LAST_YEAR}-01-01T00:00:00Z").parse().unwrap();
    (clock, server, image, end.as_second() - jiff::Timestamp::now().as_second())
}

/// T21: no allow outlives what it rests on, here the certificate that signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_ends_with_the_certificate_that_it_rests_on() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (notary, mut home) = (Notary::new(&["release"]), Home::new());
    let (clock, server, image, end) = signed(&notary, &registry, &mut home).await;
    until(&server, &image, true).await;
    clock.set(end + YEAR);
    let expired = server.ask(&image).await;
    assert!(expired.to_string().contains("it was expired at"), "{expired}");
    assert!(!allows(&expired), "{expired}");
    clock.set(0);
    until(&server, &image, true).await;
    // Nobody can say it anew: it is kept.
    registry.shutdown().await;
    let kept = server.ask(&image).await;
    assert!(allows(&kept), "{kept}");
    clock.set(end + YEAR);
    let ended = server.ask(&image).await;
    assert!(!allows(&ended), "{ended}");
}

/// The same where the clock never gets there, since it is set back before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sets_the_clock_back_prolongs_nothing_that_is_kept() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (notary, mut home) = (Notary::new(&["release"]), Home::new());
    let (clock, server, image, end) = signed(&notary, &registry, &mut home).await;
    // Time enough to say it once, and to wait for.
    clock.set(end - 12);
    until(&server, &image, true).await;
    registry.shutdown().await;
    clock.set(0);
    let kept = server.ask(&image).await;
    assert!(allows(&kept), "{kept}");
    let mut looks = 0;
    while allows(&server.ask(&image).await) {
        looks += 1;
        assert!(looks < LOOKS, "it is kept for as long as the clock was set back");
        tokio::time::sleep(INTERVAL).await;
    }
    // Wherever the clock is set now, it is not found again.
    for shift in [end - 12, -YEAR, 0] {
        clock.set(shift);
        let said = server.ask(&image).await;
        assert!(!allows(&said), "{said}");
    }
}
