//! What is fetched once for many, and what never is: one tenant's bytes for another's request.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;
use ratify_core::{Context, ReferrerStore, config::StorePluginConfig};
use ratify_store_oras::{OrasStore, OrasStoreOptions, RetryPolicy};
use serde_json::json;

use crate::fake::{Content, Fake, Reply, Seen, soon};

/// A store of a namespace or, where that is empty, of the cluster.
fn store(cache: &Path, namespace: &str) -> OrasStore {
    let elsewhere = cache.join("elsewhere");
    let entry = match namespace.is_empty() {
        true => json!({"name": "oras", "useHttp": true}),
        // What the cache is like is not for a namespace to say.
        false => json!({
            "name": "oras", "useHttp": true, "localCachePath": elsewhere, "localCacheBytes": 1,
        }),
    };
    let config = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
    let mut options = OrasStoreOptions::default();
    options.retry = RetryPolicy::fast(1);
    options.environment.home = Some(cache.to_owned());
    if !namespace.is_empty() {
        options.environment = options.environment.for_namespace(namespace);
    }
    let store = OrasStore::new(&config, options).unwrap();
    assert!(!elsewhere.exists());
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_identical_questions_at_once_are_asked_once() {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| {
        // So long that all have asked before the first is answered.
        std::thread::sleep(Duration::from_millis(500));
        content.answer(seen)
    })
    .await;
    let cache = tempfile::tempdir().unwrap();
    let store = store(cache.path(), "");
    let content = Content::new();
    let (subject, manifest, blob) = (&content.subject, &content.manifest, &content.blob);
    let at = fake.reference("app:1").with_digest(subject.digest.clone());
    let thousand = 0..1000;
    let context = Context::default();
    let resolved = join_all(thousand.clone().map(|_| store.resolve(&at, &context))).await;
    assert!(resolved.iter().all(|found| found.as_ref().unwrap() == subject));
    let lists = thousand.clone().map(|_| store.list_referrers(&at, subject, &[], "", &context));
    for page in join_all(lists).await {
        assert_eq!(page.unwrap().referrers[0].descriptor, *manifest);
    }
    for read in join_all(thousand.clone().map(|_| store.manifest(&at, manifest, &context))).await {
        assert_eq!(read.unwrap().blobs[0], *blob);
    }
    let size = Some(blob.size);
    for read in join_all(thousand.map(|_| store.blob(&at, &blob.digest, size, &context))).await {
        assert_eq!(read.unwrap(), "the signature");
    }
    assert_eq!(fake.lines().len(), 4, "{:?}", fake.lines());
    store.resolve(&at, &context).await.unwrap();
    assert_eq!(fake.lines().len(), 5, "who asks later is told how it is then");
    let tenants = ["a", "b"].map(|tenant| Context::default().with_tenant(tenant));
    let resolved = (0..1000).map(|number| store.resolve(&at, &tenants[number % 2]));
    assert!(join_all(resolved).await.iter().all(Result::is_ok));
    assert_eq!(fake.lines().len(), 7, "one of each tenant");
}

#[tokio::test]
async fn one_without_time_does_not_end_the_work_of_one_that_has_some() {
    let content = Content::new();
    // On threads of its own: while it sleeps, the clock here goes on.
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let slow = Fake::start(move |seen: &Seen| {
        std::thread::sleep(Duration::from_millis(1500));
        content.answer(seen)
    });
    let fake = threads.spawn(slow).await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    let store = store(cache.path(), "");
    let reference = fake.reference("app:1");
    let (soon, whenever) = (Context::until(soon()), Context::default());
    let (hasty, patient) =
        tokio::join!(store.resolve(&reference, &soon), store.resolve(&reference, &whenever));
    let hasty = hasty.unwrap_err().to_string();
    assert!(hasty.ends_with("gave up, the time for it is over"), "{hasty}");
    assert_eq!(patient.unwrap(), Content::new().subject);
    assert_eq!(fake.seen().len(), 1);
    threads.shutdown_background();
}

#[tokio::test]
async fn what_one_tenant_has_fetched_serves_no_other() {
    let content = Content::new();

    let fake = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    let cache = tempfile::tempdir().unwrap();
    let content = Content::new();
    let blob = &content.blob;
    let read = |namespace: &'static str, repository: &'static str| {
        let (store, fake) = (store(cache.path(), namespace), &fake);
        async move {
            let reference = fake.reference(&format!("{repository}:1"));
            store
                .blob(&reference, &blob.digest, Some(blob.size), &Context::default())
                .await
                .unwrap();
            fake.seen().len()
        }
    };
    assert_eq!(read("a", "team/app").await, 1);
    assert_eq!(read("a", "team/app").await, 1, "its own");
    assert_eq!(read("a", "team/other").await, 2, "another repository");
    assert_eq!(read("b", "team/app").await, 3, "another namespace");
    assert_eq!(read("", "team/app").await, 4, "the cluster");
}

#[tokio::test]
async fn a_tenant_that_may_not_read_gets_nothing_of_what_another_has_fetched() {
    let content = Content::new();
    let closed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_closed = closed.clone();
    let fake = Fake::start(move |seen: &Seen| {
        if is_closed.load(std::sync::atomic::Ordering::Relaxed) {
            return Reply::error(403, "DENIED");
        }
        content.answer(seen)
    })
    .await;
    let cache = tempfile::tempdir().unwrap();
    let (a, b) = (store(cache.path(), "a"), store(cache.path(), "b"));
    let content = Content::new();
    let reference = fake.reference("app:1");
    a.blob(&reference, &content.blob.digest, None, &Context::default()).await.unwrap();
    a.manifest(&reference, &content.manifest, &Context::default()).await.unwrap();
    closed.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(b.blob(&reference, &content.blob.digest, None, &Context::default()).await.is_err());
    assert!(b.manifest(&reference, &content.manifest, &Context::default()).await.is_err());
    // Its own, as it was when it might.
    a.blob(&reference, &content.blob.digest, None, &Context::default()).await.unwrap();
}
