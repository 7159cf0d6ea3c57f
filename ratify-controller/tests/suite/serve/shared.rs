//! Replicas that share verdicts through Redis: a real one, and one that does what it can to have a
//! forbidden image admitted or an answer late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ratify_controller::{
    cache::{CacheOptions, Counts, SharedOptions, VerdictCache},
    plugin::rules::RulesInForce,
};
use ratify_core::{
    VerifierReport,
    executor::{
        Executor,
        testing::{FunctionVerifier, MemoryStore, digest},
    },
};
use serde_json::{Value, json};

use super::{
    kept::{Asked, parts_of},
    parts::{Server, policy, policy_of, within},
    redis::{False, Mischief, Redis, Written, counted, holds, names, options},
};
use crate::parity::machines::Machines;

/// A replica: its server, its cache, and what its store was asked.
struct Replica {
    server: Server,
    verdicts: VerdictCache,
    asked: Asked,
}

fn image(byte: u8) -> String {
    format!("localhost:5055/lab@{}", digest(byte))
}

/// The first image is signed, the second forbidden, the third has nothing; the others are signed.
fn store(asked: &Asked) -> MemoryStore {
    let mut store = MemoryStore::new("oras").resting_on("a test's").hook(asked.hook());
    for byte in 1..=200 {
        store = store.image(&image(byte), byte);
        let type_ = if byte == 2 { "bad" } else { "good" };
        if byte != 3 {
            store = store.artifact(byte, byte.wrapping_add(50), type_);
        }
    }
    store
}

fn executor(asked: &Asked) -> Executor {
    let good = FunctionVerifier::passing("good", "good").resting_on("a test's");
    let bad = FunctionVerifier::failing("bad", "bad").resting_on("a test's");
    let verifiers: Vec<Arc<dyn ratify_core::Verifier>> = vec![Arc::new(good), Arc::new(bad)];
    Executor::new(vec![Arc::new(store(asked))], verifiers, Some(policy()))
}

impl Replica {
    async fn of(shared: SharedOptions, change: impl FnOnce(&mut Executor)) -> Self {
        let asked = Asked::default();
        let mut executor = executor(&asked);
        change(&mut executor);
        let options = CacheOptions::new(1 << 20, Duration::from_secs(600));
        let verdicts = VerdictCache::shared(&options, shared, RulesInForce::default());
        let config = within(Duration::from_secs(20));
        let server = Server::start_with(executor, config, verdicts.clone()).await;
        Self { server, verdicts, asked }
    }

    async fn new(shared: SharedOptions) -> Self {
        Self::of(shared, |_| ()).await
    }

    /// One whose verifier decides otherwise although it goes by the same, as one that looks
    /// something up.
    async fn revoking(shared: SharedOptions) -> Self {
        Self::of(shared, |executor| {
            let good = FunctionVerifier::failing("good", "good").resting_on("a test's");
            executor.verifiers[0] = Arc::new(good);
        })
        .await
    }

    async fn is_admitted(&self, key: &str) -> bool {
        let items = self.server.verify(&[key]).await.items();
        let verdict = &items[0]["value"]["isSuccess"];
        verdict.as_bool().unwrap_or_else(|| panic!("no verdict: {items:?}"))
    }

    /// Asks about one image that nobody asked about before after the other, until what was decided is
    /// written for the other replicas. Nothing is on its way then.
    async fn is_sharing(&self) {
        let done = |counts: &Counts| counts.shared + counts.unshared + counts.shared_errors;
        for _ in 0..2000 {
            let before = self.verdicts.counts();
            assert!(self.is_admitted(&new_key(10)).await);
            counted(&self.verdicts, |counts| done(counts) > done(&before)).await;
            if self.verdicts.counts().shared > before.shared {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing is shared: {:?}", self.verdicts.counts());
    }
}

/// A key that nobody asked for before, for an image.
fn new_key(byte: u8) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("[n{}]{}", NEXT.fetch_add(1, Ordering::Relaxed), image(byte))
}

#[tokio::test]
async fn what_one_replica_decided_another_answers_by_password_and_over_tls() {
    let Some(machines) = Machines::find() else { return };
    for is_tls in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let redis = Redis::start(&machines, folder.path(), is_tls).await;
        let (one, other) =
            (Replica::new(redis.options()).await, Replica::new(redis.options()).await);
        one.is_sharing().await;
        other.is_sharing().await;
        let (shared, asked) = (one.verdicts.counts().shared, other.asked.count());
        let first = one.server.verify(&[&image(1)]).await;
        counted(&one.verdicts, |counts| counts.shared > shared).await;
        let second = other.server.verify(&[&image(1)]).await;
        assert_eq!(parts_of(&first.body).0, parts_of(&second.body).0);
        assert_eq!(other.asked.count(), asked, "it asked no registry");
        let before = other.verdicts.counts().shared_hits;
        assert!(before > 0 && other.is_admitted(&image(1)).await);
        assert_eq!(other.verdicts.counts().shared_hits, before, "and keeps it itself now");
    }
}

#[tokio::test]
async fn a_denial_and_a_tag_are_nobody_elses_and_redis_holds_no_names_and_no_secrets() {
    let Some(machines) = Machines::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(&machines, folder.path(), false).await;
    let one = Replica::new(redis.options()).await;
    one.is_sharing().await;
    let mut admin = redis.admin().await;
    let before = names(&mut admin).await.len();
    assert!(!one.is_admitted(&image(2)).await && !one.is_admitted(&image(3)).await);
    let (shared, stored) = (one.verdicts.counts().shared, one.verdicts.counts().stored);
    assert!(one.is_admitted(&format!("[secret-team]{}", image(4))).await);
    counted(&one.verdicts, |counts| counts.shared > shared && counts.stored > stored).await;
    let names = names(&mut admin).await;
    // What was given up may have been written all the same.
    let given_up = usize::try_from(one.verdicts.counts().shared_errors).unwrap();
    let at_most = before + 1 + given_up;
    assert!((before + 1..=at_most).contains(&names.len()), "{names:?}");
    for name in names {
        let entry: Vec<u8> = redis::cmd("GET").arg(&name).query_async(&mut admin).await.unwrap();
        let ttl: i64 = redis::cmd("TTL").arg(&name).query_async(&mut admin).await.unwrap();
        assert!((1..=600).contains(&ttl), "{ttl}");
        for secret in ["secret-team", "hunter2", "lab"] {
            assert!(!name.contains(secret), "{name}");
        }
        assert!(!holds(&entry, "secret-team") && !holds(&entry, "hunter2"));
    }
}

#[tokio::test]
async fn a_replica_that_denies_takes_back_what_another_shared() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), [7; 32]).unwrap();
    let redis = False::start(Mischief::Nothing).await;
    let shared = options("redis", &redis.address, folder.path());
    let (one, other) = (Replica::new(shared.clone()).await, Replica::revoking(shared).await);
    one.is_sharing().await;
    let before = one.verdicts.counts().shared;
    assert!(one.is_admitted(&image(1)).await);
    counted(&one.verdicts, |counts| counts.shared > before).await;
    let (name, allow) = redis.written().pop().unwrap();
    assert!(!allow.is_empty());
    // Whether it is connected shows in what it writes.
    let has_written = |name: Option<&Vec<u8>>| {
        let is_it =
            |(named, entry): &Written| entry.is_empty() && name.is_none_or(|name| name == named);
        redis.written().iter().any(is_it)
    };
    while !has_written(None) {
        assert!(!other.is_admitted(&new_key(4)).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!has_written(Some(&name)) && !other.is_admitted(&image(1)).await);
    while !has_written(Some(&name)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_entry_under_another_name_is_not_believed() {
    let Some(machines) = Machines::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(&machines, folder.path(), false).await;
    let one = Replica::new(redis.options()).await;
    one.is_sharing().await;
    let shared = one.verdicts.counts().shared;
    assert!(one.is_admitted(&image(1)).await && one.is_admitted(&image(4)).await);
    counted(&one.verdicts, |counts| counts.shared >= shared + 2).await;
    let mut admin = redis.admin().await;
    let names = names(&mut admin).await;
    let mut entries: Vec<Vec<u8>> = Vec::new();
    for name in &names {
        entries.push(redis::cmd("GET").arg(name).query_async(&mut admin).await.unwrap());
    }
    entries.rotate_left(1);
    for (name, entry) in names.iter().zip(&entries) {
        let () = redis::cmd("SET").arg(name).arg(entry).query_async(&mut admin).await.unwrap();
    }
    let other = Replica::new(redis.options()).await;
    other.is_sharing().await;
    let asked = other.asked.count();
    assert!(other.is_admitted(&image(1)).await && other.is_admitted(&image(4)).await);
    assert!(other.verdicts.counts().refused >= 2 && other.asked.count() > asked);
}

#[tokio::test]
async fn a_forged_allow_admits_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), [7; 32]).unwrap();
    let redis = False::start(Mischief::Nothing).await;
    let one = Replica::new(options("redis", &redis.address, folder.path())).await;
    one.is_sharing().await;
    let allow = redis.written()[0].1.clone();
    let strangers = tempfile::tempdir().unwrap();
    std::fs::write(strangers.path().join("key"), [8; 32]).unwrap();
    let stranger = Replica::new(options("redis", &redis.address, strangers.path())).await;
    stranger.is_sharing().await;
    let of_stranger = redis.written().pop().unwrap().1;
    let mut flipped = allow.clone();
    flipped[60] ^= 1;
    let forged = [
        // Of another question.
        allow.clone(),
        of_stranger,
        flipped,
        allow[..allow.len() - 1].to_vec(),
        allow[..20].to_vec(),
        [allow.as_slice(), b" "].concat(),
        [allow.as_slice(), &vec![b' '; 300 << 10]].concat(),
        br#"{"isSuccess":true}"#.to_vec(),
        vec![0xff; 4096],
    ];
    for (number, entry) in forged.into_iter().enumerate() {
        redis.does(Mischief::Entry(entry));
        let refused = one.verdicts.counts().refused;
        for byte in [2, 3] {
            let key = format!("[n{number}]{}", image(byte));
            assert!(!one.is_admitted(&key).await, "forgery {number} admits {key}");
        }
        assert!(one.is_admitted(&format!("[n{number}]{}", image(1))).await);
        assert_eq!(one.verdicts.counts().refused, refused + 3, "forgery {number}");
    }
}

#[tokio::test]
async fn a_replica_that_decides_otherwise_neither_feeds_another_nor_is_fed() {
    let Some(machines) = Machines::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(&machines, folder.path(), false).await;
    let strict = json!({"default": "all", "signature": "all"});
    let old = Replica::new(redis.options()).await;
    let new =
        Replica::of(redis.options(), |executor| executor.policy = Some(policy_of(&strict))).await;
    let other_verifier = Replica::of(redis.options(), |executor| {
        let report = Arc::new(|_: &ratify_core::Request| {
            Box::pin(async { Ok(VerifierReport::failure("revoked")) }) as _
        });
        let verifier = FunctionVerifier::new("good", "good", report).resting_on("a newer one");
        executor.verifiers = vec![Arc::new(verifier)];
    })
    .await;
    old.is_sharing().await;
    let shared = old.verdicts.counts().shared;
    assert!(old.is_admitted(&image(1)).await);
    counted(&old.verdicts, |counts| counts.shared > shared).await;
    for replica in [&new, &other_verifier] {
        // Whether it is connected shows only in what it is asked.
        for namespace in 0..50 {
            assert!(!replica.is_admitted(&format!("[{namespace}]{}", image(1))).await);
            assert!(!replica.is_admitted(&image(1)).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let counts = replica.verdicts.counts();
        assert!(counts.shared_misses > 0 && counts.shared_hits == 0, "{counts:?}");
    }
}

#[tokio::test]
async fn without_the_right_key_or_authority_each_replica_stands_alone() {
    let Some(machines) = Machines::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(&machines, folder.path(), true).await;
    let one = Replica::new(redis.options()).await;
    one.is_sharing().await;
    let shared = one.verdicts.counts().shared;
    assert!(one.is_admitted(&image(1)).await);
    counted(&one.verdicts, |counts| counts.shared > shared).await;
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, [9; 32]).unwrap();
    let mut by_another_key = redis.options();
    by_another_key.key_file.clone_from(&wrong);
    let other = Replica::new(by_another_key).await;
    other.is_sharing().await;
    assert!(other.is_admitted(&image(1)).await);
    assert_eq!(other.verdicts.counts().shared_hits, 0);
    let mut alone = Vec::new();
    for change in [
        |options: &mut SharedOptions| options.password_file = None,
        |options: &mut SharedOptions| options.ca_file = None,
        |options: &mut SharedOptions| options.username = Some("nobody".into()),
    ] {
        let mut options = redis.options();
        change(&mut options);
        alone.push(Replica::new(options).await);
    }
    let short = folder.path().join("short");
    std::fs::write(&short, [7; 31]).unwrap();
    let mut by_short_key = redis.options();
    by_short_key.key_file.clone_from(&short);
    let late = Replica::new(by_short_key).await;
    for replica in alone.iter().chain([&late]) {
        assert!(replica.is_admitted(&image(1)).await && !replica.is_admitted(&image(2)).await);
        let counts = replica.verdicts.counts();
        assert_eq!((counts.shared_hits, counts.shared), (0, 0));
    }
    // The key comes a little later, as a Secret does.
    std::fs::write(&short, [7; 32]).unwrap();
    late.is_sharing().await;
}

#[tokio::test]
async fn redis_is_killed_under_load_and_comes_back() {
    let Some(machines) = Machines::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(&machines, folder.path(), false).await;
    let one = Replica::new(redis.options()).await;
    one.is_sharing().await;
    let load = async {
        for round in 0..20 {
            let keys: Vec<String> =
                (10..60).map(|byte| format!("[r{round}]{}", image(byte))).collect();
            let forbidden = format!("[r{round}]{}", image(2));
            let keys: Vec<&str> =
                keys.iter().map(String::as_str).chain([forbidden.as_str()]).collect();
            let items = one.server.verify(&keys).await.items();
            for (key, item) in keys.iter().zip(&items) {
                let expected = Value::Bool(*key != forbidden);
                assert_eq!(item["value"]["isSuccess"], expected, "{item}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let kill = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        redis.server.kill().await;
    };
    tokio::join!(load, kill);
    assert!(one.is_admitted(&format!("[later]{}", image(1))).await);
    redis.again().await;
    one.is_sharing().await;
}

#[tokio::test]
async fn a_full_redis_takes_nothing_more_and_is_asked_all_the_same() {
    let Some(machines) = Machines::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(&machines, folder.path(), false).await;
    let (one, other) = (Replica::new(redis.options()).await, Replica::new(redis.options()).await);
    one.is_sharing().await;
    other.is_sharing().await;
    let shared = one.verdicts.counts().shared;
    assert!(one.is_admitted(&image(1)).await);
    counted(&one.verdicts, |counts| counts.shared > shared).await;
    let mut admin = redis.admin().await;
    let mut full = redis::cmd("CONFIG");
    let () = full.arg("SET").arg("maxmemory").arg("1kb").query_async(&mut admin).await.unwrap();
    for byte in 10..30 {
        assert!(one.is_admitted(&format!("[full]{}", image(byte))).await);
    }
    counted(&one.verdicts, |counts| counts.shared_errors >= 20).await;
    let hits = other.verdicts.counts().shared_hits;
    assert!(other.is_admitted(&image(1)).await);
    assert_eq!(other.verdicts.counts().shared_hits, hits + 1);
    let mut roomy = redis::cmd("CONFIG");
    let () = roomy.arg("SET").arg("maxmemory").arg("0").query_async(&mut admin).await.unwrap();
    one.is_sharing().await;
}

#[tokio::test]
async fn whatever_is_at_the_other_end_verdicts_are_right_and_on_time() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), [7; 32]).unwrap();
    let mischief = [
        Mischief::Silence,
        Mischief::HangUp,
        Mischief::Flood,
        Mischief::Words(b"-OOM command not allowed\r\n".to_vec()),
        Mischief::Words(b"-NOAUTH Authentication required.\r\n".to_vec()),
        Mischief::Words(b":1\r\n".to_vec()),
        Mischief::Words(b"+OK\r\n+OK\r\n+OK\r\n".to_vec()),
        Mischief::Words(b"*2147483647\r\n".to_vec()),
        Mischief::Words(b"$-2\r\n".to_vec()),
        Mischief::Words(b"$99999999999999999999\r\n".to_vec()),
        Mischief::Words(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        Mischief::Words(b"*1\r\n".repeat(1000)),
        Mischief::Words(vec![0; 1000]),
    ];
    for (number, mischief) in mischief.into_iter().enumerate() {
        let redis = False::start(Mischief::Nothing).await;
        let one = Replica::new(options("redis", &redis.address, folder.path())).await;
        one.is_sharing().await;
        let before = one.verdicts.counts();
        redis.does(mischief);
        for byte in [1, 2, 3, 4, 5, 6] {
            let admitted = one.is_admitted(&image(byte)).await;
            assert_eq!(admitted, byte != 2 && byte != 3, "mischief {number}, image {byte}");
        }
        let after = one.verdicts.counts();
        assert_eq!(after.shared_hits, 0);
        let fruitless = |counts: &Counts| counts.shared_errors + counts.shared_misses;
        assert!(fruitless(&after) > fruitless(&before), "mischief {number}");
    }
}
