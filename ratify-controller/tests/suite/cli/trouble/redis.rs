//! A Redis that is none, or not ours, under a server as a process with v1's word for it.

use ratify_controller::dev::{RegistryOptions, RunningRegistry};

use super::*;
use crate::serve::redis::{False, Mischief};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_redis_says_an_image_that_is_refused_stays_so() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let home = home();
    // What a tag stands for is nobody else's business.
    let pinned = async |name: &str| {
        let image = put(&registry, name);
        let digest = home.must(&["resolve", "--subject", &image]).await;
        image.replace(":v1", &format!("@{}", digest.trim()))
    };
    let (good, bad) = (pinned("app").await, pinned("bad").await);
    let redis = False::start(Mischief::Nothing).await;
    let key = home.write("key", [7; 32]);
    let address = format!("--cache-address=redis://{}", redis.address);
    let key = format!("--cache-key-file={}", key.display());
    let flags = ["--cache-enabled", "--cache-type=redis", "--cache-ttl=1s", &address, &key];
    let line = [&["serve", "--http", "127.0.0.1:0"], &flags[..]].concat();
    let server = Server::run(home.command(&line)).await;
    until(&server, &good, true).await;
    until_so("shared", &server, || !redis.written().is_empty()).await;
    // An allow, sealed and in time, is another image's.
    let entry = redis.written().pop().unwrap().1;
    for mischief in [
        Mischief::Entry(entry),
        Mischief::Entry(b"{\"isSuccess\":true}".to_vec()),
        Mischief::Words(b"-WRONGPASS\r\n".to_vec()),
        Mischief::Words(b"*3\r\n:1\r\n:2\r\n:3\r\n".to_vec()),
        Mischief::Silence,
        Mischief::HangUp,
        Mischief::Flood,
        Mischief::Nothing,
    ] {
        redis.does(mischief);
        for _ in 0..3 {
            let (allowed, refused) = tokio::join!(server.ask(&good), server.ask(&bad));
            assert!(allows(&allowed), "{allowed}");
            assert!(!allows(&refused), "{refused}");
        }
    }
}
