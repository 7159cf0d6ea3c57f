//! A registry that serves so many requests a second and refuses the others: what is wasted, and
//! who waits for whom.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use ratify_core::{Context, ReferrerStore, config::StorePluginConfig};
use ratify_store_oras::{OrasStore, OrasStoreOptions};
use serde_json::json;

use crate::fake::{Content, Fake, Reply, Seen};

/// So many tokens a second, at most a second's worth; a request costs one.
struct Bucket {
    rate: f64,
    tokens: f64,
    at: Instant,
    served: u32,
    refused: u32,
}

impl Bucket {
    fn new(rate: f64) -> Arc<Mutex<Self>> {
        let (tokens, at) = (rate, Instant::now());
        Arc::new(Mutex::new(Self { rate, tokens, at, served: 0, refused: 0 }))
    }

    fn takes(&mut self) -> bool {
        let now = Instant::now();
        let filled = (now - self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + filled).min(self.rate);
        self.at = now;
        let takes = self.tokens >= 1.0;
        if takes {
            self.tokens -= 1.0;
            self.served += 1;
        } else {
            self.refused += 1;
        }
        takes
    }
}

async fn limited(bucket: Arc<Mutex<Bucket>>) -> Fake {
    let content = Content::new();
    Fake::start(move |seen: &Seen| {
        if bucket.lock().unwrap().takes() {
            return content.answer(seen);
        }
        Reply::error(429, "TOOMANYREQUESTS").with("retry-after", "1")
    })
    .await
}

fn store(cache: &Path) -> OrasStore {
    let entry = json!({"name": "oras", "useHttp": true, "localCachePath": cache});
    let config = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
    OrasStore::new(&config, OrasStoreOptions::default()).unwrap()
}

/// Reads an image and what is attached to it, as a verification does.
async fn read(store: &OrasStore, fake: &Fake, repository: &str) {
    let content = Content::new();
    let subject = fake.reference(&format!("{repository}:1"));
    let subject = subject.with_digest(content.subject.digest.clone());
    let described = store.resolve(&subject, &Context::default()).await.unwrap();
    let page =
        store.list_referrers(&subject, &described, &[], "", &Context::default()).await.unwrap();
    let manifest =
        store.manifest(&subject, &page.referrers[0].descriptor, &Context::default()).await.unwrap();
    let blob = &manifest.blobs[0];
    store.blob(&subject, &blob.digest, Some(blob.size), &Context::default()).await.unwrap();
}

/// Reads so many images at once; at most one in so many requests may be refused.
async fn read_images(images: usize, rate: f64, one_in: u32) {
    let cache = tempfile::tempdir().unwrap();
    let bucket = Bucket::new(rate);
    let fake = limited(bucket.clone()).await;
    let store = store(cache.path());
    let begun = Instant::now();
    let repositories: Vec<String> = (0..images).map(|number| format!("app{number}")).collect();
    join_all(repositories.iter().map(|name| read(&store, &fake, name))).await;
    let (took, bucket) = (begun.elapsed(), bucket.lock().unwrap());
    let (served, refused) = (bucket.served, bucket.refused);
    println!("{images} images, {rate} a second: {served} served, {refused} refused in {took:?}");
    assert!(refused > 0, "the limit was not met");
    assert!(refused * one_in <= served, "{refused} of {served} were refused");
    let at_best = (f64::from(served) - rate).max(0.0) / rate;
    assert!(took.as_secs_f64() < at_best * 2.0 + 3.0, "{took:?} for what takes {at_best} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_a_registry_with_a_limit_are_read_and_next_to_nothing_is_wasted() {
    // At five times the pace, so that the end of each pause weighs five times as much.
    read_images(500, 250.0, 20).await;
}

/// The figure as it is promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes three quarters of a minute"]
async fn five_hundred_images_of_a_registry_that_serves_fifty_requests_a_second() {
    read_images(500, 50.0, 50).await;
}

#[tokio::test]
async fn a_pause_that_is_longer_than_there_is_time_is_not_waited_for() {
    let fake =
        Fake::start(|_: &Seen| Reply::error(429, "TOOMANYREQUESTS").with("retry-after", "30"))
            .await;
    let mut options = crate::fake::options();
    options.retry = ratify_store_oras::RetryPolicy::default();
    let patient = ratify_store_oras::Client::new(options).unwrap();
    let reference = fake.reference("app:1");
    let begun = Instant::now();
    // Less than the pause, and time enough for an answer.
    let soon = || Some(begun + Duration::from_secs(25));
    for expected in ["status code 429: Too Many Requests", "status code 429: the registry asks"] {
        let error = patient.resolve(&reference, soon()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(fake.seen().len(), 1, "the second was not sent at all");
    // Another registry is asked as ever.
    let content = Content::new();
    let other = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    patient.resolve(&other.reference("app:1"), soon()).await.unwrap();
}

/// Refuses the first request, with so many seconds to wait, and serves the others.
async fn refusing_once(seconds: u64) -> Fake {
    let (content, asked) = (Content::new(), AtomicBool::new(false));
    Fake::start(move |seen: &Seen| {
        if asked.swap(true, Ordering::Relaxed) {
            return content.answer(seen);
        }
        Reply::error(429, "TOOMANYREQUESTS").with("retry-after", &seconds.to_string())
    })
    .await
}

#[tokio::test]
async fn who_has_no_time_for_a_pause_is_told_so_at_once() {
    let cache = tempfile::tempdir().unwrap();
    let fake = refusing_once(30).await;
    let store = store(cache.path());
    let begun = Instant::now();
    for repository in ["app", "other"] {
        let soon = Context::until(Some(begun + Duration::from_secs(25)));
        let subject = fake.reference(&format!("{repository}:1"));
        let error = store.resolve(&subject, &soon).await.unwrap_err().to_string();
        for part in [&fake.registry(), "429", "it may be asked again in "] {
            assert!(error.contains(part), "{error}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn who_joins_with_more_time_waits_for_the_pause_and_who_leaves_is_told_of_it() {
    let cache = tempfile::tempdir().unwrap();
    let fake = refusing_once(3).await;
    let store = store(cache.path());
    let subject = fake.reference("app:1");
    let [hasty, patient] =
        [1, 30].map(|seconds| Context::until(Some(Instant::now() + Duration::from_secs(seconds))));
    let begun = Instant::now();
    let (hasty, patient) = tokio::join!(
        async { (store.resolve(&subject, &hasty).await, begun.elapsed()) },
        store.resolve(&subject, &patient)
    );
    assert_eq!(patient.unwrap(), Content::new().subject);
    assert!(begun.elapsed() >= Duration::from_secs(3));
    let (error, took) = (hasty.0.unwrap_err().to_string(), hasty.1);
    for part in [&fake.registry(), "429", "it may be asked again in "] {
        assert!(error.contains(part), "{error}");
    }
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_with_two_images_does_not_wait_for_all_images_of_another() {
    let cache = tempfile::tempdir().unwrap();
    let bucket = Bucket::new(100.0);
    let fake = limited(bucket.clone()).await;
    let store = Arc::new(store(cache.path()));
    let resolve = |tenant: &'static str, repository: String| {
        let (store, subject) = (store.clone(), fake.reference(&format!("{repository}:1")));
        async move {
            let context = Context::default().with_tenant(tenant);
            store.resolve(&subject, &context).await.unwrap();
            context.requests.total()
        }
    };
    let many: Vec<_> =
        (0..300).map(|n| tokio::spawn(resolve("many", format!("many{n}")))).collect();
    while bucket.lock().unwrap().refused == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The last of what the other waits for is asked for in this one's own queue.
    for repository in ["few", "many299"] {
        assert!(resolve("few", repository.into()).await >= 1);
    }
    let served = bucket.lock().unwrap().served;
    assert!(served < 200, "{served} of 302 were served before the two of the other namespace");
    let sent: u64 = join_all(many).await.into_iter().map(|count| count.unwrap()).sum();
    assert!(sent >= 300, "{sent}");
}
