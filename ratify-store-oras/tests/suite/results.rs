//! What a store answers without asking (`cacheEnabled`, `ttl`): how many requests that spares, and
//! whose rights an answer never serves.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use ratify_core::{Context, Reference, ReferrerStore, config::StorePluginConfig};
use ratify_store_oras::{OrasStore, OrasStoreOptions, ResultCache, RetryPolicy};
use serde_json::json;

use crate::fake::{Content, Fake, Reply, Seen, digest};

/// What makes stores that share all there is to share.
struct Stores {
    cache: tempfile::TempDir,
    options: OrasStoreOptions,
}

impl Stores {
    fn new() -> Self {
        let mut options = OrasStoreOptions::default();
        options.retry = RetryPolicy::fast(0);
        options.results = ResultCache::default();
        Self { cache: tempfile::tempdir().unwrap(), options }
    }

    /// A store of a namespace or, where that is empty, of the cluster.
    fn store(&self, namespace: &str, more: &serde_json::Value) -> OrasStore {
        let mut entry = json!({
            "name": "oras", "useHttp": true, "cosignEnabled": true, "cacheEnabled": true,
            "authProvider": {"name": "dockerConfig", "configPath": self.file("none", "{}")},
        });
        let entry = entry.as_object_mut().unwrap();
        entry.extend(more.as_object().unwrap().clone());
        if !namespace.is_empty() {
            entry.remove("authProvider");
        }
        let config = StorePluginConfig::from_entry(entry, "1.0.0").unwrap();
        let mut options = self.options.clone();
        options.environment.home = Some(self.cache.path().to_owned());
        if !namespace.is_empty() {
            options.environment = options.environment.for_namespace(namespace);
        }
        OrasStore::new(&config, options).unwrap()
    }

    /// A store of the cluster that shows a password.
    fn with_password(&self, fake: &Fake, password: &str) -> OrasStore {
        let auths = json!({"auths": {fake.registry(): {"username": "u", "password": password}}});
        let path = self.file(password, &auths.to_string());
        self.store("", &json!({"authProvider": {"name": "dockerConfig", "configPath": path}}))
    }

    fn file(&self, folder: &str, text: &str) -> String {
        let folder = self.cache.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.json"), text).unwrap();
        let path: &Path = &folder.join("config.json");
        path.to_str().unwrap().to_owned()
    }
}

/// What a verification asks: is it there, what is attached, has cosign signed it?
async fn ask(store: &OrasStore, at: &Reference) -> ratify_core::Result<usize> {
    let subject = store.resolve(at, &Context::default()).await?;
    let at = at.with_digest(subject.digest.clone());
    let page = store.list_referrers(&at, &subject, &[], "", &Context::default()).await?;
    Ok(page.referrers.len())
}

/// The same, and how many requests that were.
async fn count(fake: &Fake, store: &OrasStore, at: &Reference) -> (Option<usize>, usize) {
    let before = fake.seen().len();
    (ask(store, at).await.ok(), fake.seen().len() - before)
}

/// An honest registry, which answers everything with a status unless that is 200.
async fn registry(status: &Arc<AtomicU16>) -> (Fake, Reference) {
    let (content, status) = (Content::new(), status.clone());
    let fake = Fake::start(move |seen: &Seen| match status.load(Ordering::Relaxed) {
        200 => content.answer(seen),
        status => Reply::error(status, "DENIED"),
    })
    .await;
    let at = fake.reference("app:1").sibling(&Content::new().subject.digest);
    (fake, at)
}

fn serving() -> Arc<AtomicU16> {
    Arc::new(AtomicU16::new(200))
}

#[tokio::test]
async fn what_was_asked_within_the_time_is_not_asked_again_and_a_tag_always_is() {
    let (fake, at) = registry(&serving()).await;
    let stores = Stores::new();
    let store = stores.store("", &json!({}));
    assert_eq!(count(&fake, &store, &at).await, (Some(1), 3));
    assert_eq!(count(&fake, &store, &at).await, (Some(1), 0));
    let tagged = fake.reference("app:1");
    assert_eq!(count(&fake, &store, &tagged).await, (Some(1), 1));
    assert_eq!(count(&fake, &store, &tagged).await, (Some(1), 1));
    assert_eq!(fake.lines().last().unwrap(), "HEAD /v2/app/manifests/1");
    let other = fake.reference("other:1").sibling(at.digest().unwrap());
    assert_eq!(count(&fake, &store, &other).await, (Some(1), 3), "another repository");
    let off = stores.store("", &json!({"cacheEnabled": false}));
    for _ in 0..2 {
        assert_eq!(count(&fake, &off, &at).await, (Some(1), 3));
    }
}

#[tokio::test]
async fn after_its_time_it_is_asked_again() {
    let (fake, at) = registry(&serving()).await;
    let store = Stores::new().store("", &json!({"ttl": 1}));
    assert_eq!(count(&fake, &store, &at).await, (Some(1), 3));
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(count(&fake, &store, &at).await, (Some(1), 3));
}

#[tokio::test]
async fn what_one_store_was_answered_serves_no_other() {
    // Who shows no password, or the wrong one, is told nothing.
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| match seen.header("authorization") {
        Some("Basic dTpyaWdodA==") => content.answer(seen),
        _ => Reply::error(401, "UNAUTHORIZED").with("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let at = fake.reference("app:1").sibling(&Content::new().subject.digest);
    let stores = Stores::new();
    let right = stores.with_password(&fake, "right");
    assert_eq!(ask(&right, &at).await.unwrap(), 1);
    assert_eq!(count(&fake, &right, &at).await, (Some(1), 0));
    for other in [
        stores.with_password(&fake, "wrong"),
        stores.store("", &json!({})),
        stores.store("team", &json!({})),
    ] {
        let (answer, requests) = count(&fake, &other, &at).await;
        assert!(answer.is_none() && requests > 0, "{answer:?} after {requests} requests");
    }
    assert_eq!(count(&fake, &right, &at).await, (Some(1), 0), "it has its rights still");
    let twin = stores.with_password(&fake, "right");
    assert!(count(&fake, &twin, &at).await.1 > 0, "an equal one asks for itself");
}

#[tokio::test]
async fn a_tenants_answers_serve_no_other_tenant() {
    let (fake, at) = registry(&serving()).await;
    let stores = Stores::new();
    for namespace in ["", "a", "b"] {
        let store = stores.store(namespace, &json!({}));
        assert_eq!(count(&fake, &store, &at).await, (Some(1), 3), "{namespace:?}");
        assert_eq!(count(&fake, &store, &at).await, (Some(1), 0), "{namespace:?}");
    }
}

#[tokio::test]
async fn a_refusal_ends_what_is_known_of_that_registry() {
    for status in [401, 403] {
        let answers = serving();
        let (fake, at) = registry(&answers).await;
        let store = Stores::new().store("", &json!({}));
        ask(&store, &at).await.unwrap();
        answers.store(status, Ordering::Relaxed);
        assert_eq!(count(&fake, &store, &at).await, (Some(1), 0), "nobody was refused yet");
        assert!(ask(&store, &fake.reference("app:1")).await.is_err());
        assert_eq!(count(&fake, &store, &at).await, (None, 1), "{status}");
        answers.store(200, Ordering::Relaxed);
        assert_eq!(count(&fake, &store, &at).await, (Some(1), 3), "nor was the refusal kept");
    }
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    for status in [429, 500, 503] {
        let answers = serving();
        let (fake, at) = registry(&answers).await;
        let store = Stores::new().store("", &json!({}));
        answers.store(status, Ordering::Relaxed);
        assert!(ask(&store, &at).await.is_err());
        answers.store(200, Ordering::Relaxed);
        assert_eq!(count(&fake, &store, &at).await, (Some(1), 3), "{status}");
    }
}

#[tokio::test]
async fn what_is_absent_is_asked_for_again_after_two_seconds() {
    // The image, what is attached to it, and its signature come later.
    let pushed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (content, is_pushed) = (Content::new(), pushed.clone());
    let fake = Fake::start(move |seen: &Seen| {
        let is_listed = seen.path.contains("/referrers/") || seen.path.contains("/sha256-");
        if !is_pushed.load(Ordering::Relaxed) && is_listed {
            return Reply::error(404, "MANIFEST_UNKNOWN");
        }
        if seen.path.ends_with(".sig") {
            return Reply::described(&digest("aa"), 9);
        }
        content.answer(seen)
    })
    .await;
    let at = fake.reference("app:1").sibling(&Content::new().subject.digest);
    let absent = fake.reference("app:1").sibling(&digest("bb"));
    let store = Stores::new().store("", &json!({"ttl": 3600}));
    assert_eq!(ask(&store, &at).await.unwrap(), 0);
    let error = store.resolve(&absent, &Context::default()).await.unwrap_err().to_string();
    pushed.store(true, Ordering::Relaxed);
    assert_eq!(count(&fake, &store, &at).await, (Some(0), 0));
    let before = fake.seen().len();
    let again = store.resolve(&absent, &Context::default()).await.unwrap_err().to_string();
    assert_eq!((again, fake.seen().len()), (error, before), "the same words, unasked");
    tokio::time::sleep(Duration::from_millis(2050)).await;
    assert_eq!(count(&fake, &store, &at).await, (Some(2), 2), "is seen two seconds later");
    assert!(store.resolve(&absent, &Context::default()).await.is_err());
    assert_eq!(fake.seen().len(), before + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cosigns_tag_is_asked_for_once_by_a_thousand_at_once() {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| {
        std::thread::sleep(Duration::from_millis(300));
        content.answer(seen)
    })
    .await;
    let content = Content::new();
    let at = fake.reference("app:1").sibling(&content.subject.digest);
    let store = Stores::new().store("", &json!({"cacheEnabled": false}));
    let context = Context::default();
    let lists = (0..1000).map(|_| store.list_referrers(&at, &content.subject, &[], "", &context));
    for page in join_all(lists).await {
        assert_eq!(page.unwrap().referrers.len(), 1);
    }
    assert_eq!(fake.lines().len(), 2, "{:?}", fake.lines());
}
