//! The `oras` store as the executor sees it: v1's texts, bindings, the cache.

use std::path::Path;

use ratify_core::{
    Binding, Context, Descriptor, Reference, ReferrerStore, config::StorePluginConfig, media_type,
};
use ratify_store_oras::{OrasStore, OrasStoreOptions, RetryPolicy};
use serde_json::json;

use crate::fake::{Content, Fake, Reply, Seen, digest};

fn config(cache: &Path) -> StorePluginConfig {
    let entry = json!({
        "name": "oras", "useHttp": true, "cosignEnabled": true, "localCachePath": cache, "x": 1
    });
    StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap()
}

fn store(cache: &Path) -> OrasStore {
    let mut options = OrasStoreOptions::default();
    options.retry = RetryPolicy::fast(1);
    OrasStore::new(&config(cache), options).unwrap()
}

struct Setting {
    fake: Fake,
    store: OrasStore,
    subject: Reference,
    content: Content,
    cache: tempfile::TempDir,
}

async fn setting() -> Setting {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    let cache = tempfile::tempdir().unwrap();
    let content = Content::new();
    let subject = fake.reference("app:1").with_digest(content.subject.digest.clone());
    Setting { store: store(cache.path()), fake, subject, content, cache }
}

/// The path of an object in the cache, where only one repository was read.
fn cached(cache: &Path, descriptor: &Descriptor) -> std::path::PathBuf {
    let mut partitions = std::fs::read_dir(cache.join(".ratify/blobs")).unwrap();
    let partition = partitions.next().unwrap().unwrap().path();
    assert!(partitions.next().is_none());
    partition.join(descriptor.digest.as_str().replace(':', "-"))
}

/// Replaces the address of a fake, which differs each time.
fn without_address(fake: &Fake, error: &ratify_core::Error) -> String {
    error.to_string().replace(&fake.registry(), "R").replace(&digest("aa").to_string(), "D")
}

#[tokio::test]
async fn a_subject_is_resolved_listed_and_read_and_the_second_time_from_the_cache() {
    let Setting { fake, store, subject, content, cache: _cache } = setting().await;
    assert_eq!(store.name(), "oras");
    assert_eq!(store.config().version, "1.0.0");
    assert_eq!(store.config().plugin_bin_dirs, None);
    assert_eq!(store.config().store["x"], 1);
    let descriptor = store.resolve(&subject, &Context::default()).await.unwrap();
    assert_eq!(descriptor, content.subject);
    let page =
        store.list_referrers(&subject, &descriptor, &[], "", &Context::default()).await.unwrap();
    assert_eq!(page.next_token, "");
    assert_eq!(page.referrers.len(), 1);
    assert_eq!(page.referrers[0].binding, Binding::Manifest);
    assert_eq!(page.referrers[0].descriptor, content.manifest);
    for _ in 0..2 {
        let manifest =
            store.manifest(&subject, &content.manifest, &Context::default()).await.unwrap();
        assert_eq!(manifest.artifact_type, "application/x");
        assert_eq!(manifest.subject.unwrap().digest, content.subject.digest);
        let blob = &manifest.blobs[0];
        let bytes =
            store.blob(&subject, &blob.digest, Some(blob.size), &Context::default()).await.unwrap();
        assert_eq!(bytes, "the signature");
    }
    let gets = fake.lines().iter().filter(|line| line.starts_with("GET")).count();
    assert_eq!(gets, 3, "{:?}", fake.lines());
}

#[tokio::test]
async fn cosigns_signature_is_listed_and_bound_by_its_payload() {
    let cache = tempfile::tempdir().unwrap();
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| {
        if seen.path.ends_with(".sig") {
            return Reply::described(&digest("aa"), 9);
        }
        content.answer(seen)
    })
    .await;
    let content = Content::new();
    let subject = fake.reference("app:1").with_digest(content.subject.digest.clone());
    let store = store(cache.path());
    let page = store
        .list_referrers(&subject, &content.subject, &[], "", &Context::default())
        .await
        .unwrap();
    assert_eq!(page.referrers.len(), 2);
    assert_eq!(page.referrers[1].binding, Binding::Payload);
    assert_eq!(page.referrers[1].descriptor.artifact_type, media_type::COSIGN_SIGNATURE);
    let unresolved = fake.reference("app:1");
    let error = store
        .list_referrers(&unresolved, &content.subject, &[], "", &Context::default())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "REFERENCE_INVALID: The digest of the artifact is empty");
}

#[tokio::test]
async fn a_cached_blob_that_was_changed_is_fetched_again() {
    let Setting { fake, store, subject, content, cache } = setting().await;
    let blob = &content.blob;
    store.blob(&subject, &blob.digest, None, &Context::default()).await.unwrap();
    let path = cached(cache.path(), blob);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "the signaturE").unwrap();
    let bytes =
        store.blob(&subject, &blob.digest, Some(blob.size), &Context::default()).await.unwrap();
    assert_eq!(bytes, "the signature");
    assert_eq!(std::fs::read(&path).unwrap(), b"the signature");
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_cached_manifest_that_was_changed_is_fetched_again() {
    let Setting { fake: _fake, store, subject, content, cache } = setting().await;
    store.manifest(&subject, &content.manifest, &Context::default()).await.unwrap();
    let path = cached(cache.path(), &content.manifest);
    let other = std::fs::read_to_string(&path).unwrap().replace("application/x", "application/y");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, other).unwrap();
    let manifest = store.manifest(&subject, &content.manifest, &Context::default()).await.unwrap();
    assert_eq!(manifest.artifact_type, "application/x");
}

#[tokio::test]
async fn a_wrong_size_is_refused_also_where_the_right_bytes_are_cached() {
    let Setting { fake: _fake, store, subject, content, cache: _cache } = setting().await;
    let blob = &content.blob;
    store.blob(&subject, &blob.digest, Some(blob.size), &Context::default()).await.unwrap();
    assert!(
        store.blob(&subject, &blob.digest, Some(blob.size + 1), &Context::default()).await.is_err()
    );
    let mut manifest = content.manifest.clone();
    store.manifest(&subject, &manifest, &Context::default()).await.unwrap();
    manifest.size -= 1;
    assert!(store.manifest(&subject, &manifest, &Context::default()).await.is_err());
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_never_stops_a_read() {
    let Setting { fake: _fake, store, subject, content, cache } = setting().await;
    for entry in std::fs::read_dir(cache.path()).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    std::fs::write(cache.path().join(".ratify"), "in the way").unwrap();
    let blob = &content.blob;
    let bytes =
        store.blob(&subject, &blob.digest, Some(blob.size), &Context::default()).await.unwrap();
    assert_eq!(bytes, "the signature");
}

#[tokio::test]
async fn errors_have_v1s_texts() {
    let cache = tempfile::tempdir().unwrap();
    let fake = Fake::start(|seen: &Seen| match seen.path.as_str() {
        path if path.contains("/manifests/sha256-") => Reply::error(403, "DENIED"),
        path if path.contains("/gone/") => Reply::error(404, "MANIFEST_UNKNOWN"),
        _ => Reply::error(401, "UNAUTHORIZED"),
    })
    .await;
    let store = store(cache.path());
    let subject = fake.reference("app:1").with_digest(digest("aa"));
    let text = |error| without_address(&fake, &error);
    insta::assert_snapshot!(
        text(store.resolve(&fake.reference("gone/app:1"), &Context::default()).await.unwrap_err()),
        @"REPOSITORY_OPERATION_FAILURE: Unable to resolve the reference: R/gone/app:1: R/gone/app:1: not found"
    );
    insta::assert_snapshot!(
        text(store.resolve(&fake.reference("app:1"), &Context::default()).await.unwrap_err()),
        @r#"REPOSITORY_OPERATION_FAILURE: Unable to resolve the reference: R/app:1: HEAD "http://R/v2/app/manifests/1": response status code 401: Unauthorized"#
    );
    let descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest("aa"), 3);
    insta::assert_snapshot!(
        text(store.list_referrers(&subject, &descriptor, &[], "", &Context::default()).await.unwrap_err()),
        @r#"LIST_REFERRERS_FAILURE: GET "http://R/v2/app/referrers/D": response status code 401: unauthorized"#
    );
    insta::assert_snapshot!(
        text(store.manifest(&subject, &descriptor, &Context::default()).await.unwrap_err()),
        @r#"REPOSITORY_OPERATION_FAILURE: Failed to fetch the artifact metadata from the registry: GET "http://R/v2/app/manifests/D": response status code 401: unauthorized"#
    );
    insta::assert_snapshot!(
        text(store.blob(&subject, &digest("aa"), None, &Context::default()).await.unwrap_err()),
        @r#"REPOSITORY_OPERATION_FAILURE: Failed to fetch the artifact metadata from the registry: GET "http://R/v2/app/blobs/D": response status code 401: unauthorized"#
    );
    let layer = Descriptor::new("text/plain", digest("aa"), 3);
    insta::assert_snapshot!(
        text(store.manifest(&subject, &layer, &Context::default()).await.unwrap_err()),
        @"GET_REFERRER_MANIFEST_FAILURE: Unsupported artifact metadata of media type text/plain: Please check if the artifact metadata was created correctly."
    );
}

#[tokio::test]
async fn a_manifest_that_is_also_an_index_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let body = r#"{"config":{},"layers":[],"manifests":[]}"#;
    let fake =
        Fake::start(move |_: &Seen| Reply::ok(body).with("content-type", media_type::OCI_MANIFEST))
            .await;
    let found = ratify_store_oras::digest_of(ratify_core::Algorithm::Sha256, body.as_bytes());
    let descriptor = Descriptor::new(media_type::OCI_MANIFEST, found, body.len() as u64);
    let store = store(cache.path());
    let error = store
        .manifest(&fake.reference("app:1"), &descriptor, &Context::default())
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"DATA_DECODING_FAILURE: Failed to parse artifact metadata of mediatype `application/vnd.oci.image.manifest.v1+json`: the document is ambiguous: it has the fields config and manifests, of a manifest and of an index: Please check if the artifact metadata was created correctly.");
}

#[cfg(feature = "blocking")]
#[test]
fn a_plugin_opens_the_store_and_its_futures_are_ready_at_once() {
    use std::{future::Future, pin::pin, task::Poll};

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Setting { subject, content, cache, fake, .. } = runtime.block_on(setting());
    let options = OrasStoreOptions::default();
    let config = ratify_core::StoreConfig::new("1.0.0", None, config(cache.path()).raw);
    let host = ratify_store_oras::blocking::open(&config, options, None).unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(manifest) = pin!(host.manifest(&subject, &content.manifest)).poll(&mut context)
    else {
        panic!("not ready")
    };
    let Poll::Ready(blob) =
        pin!(host.blob(&subject, &manifest.unwrap().blobs[0])).poll(&mut context)
    else {
        panic!("not ready")
    };
    assert_eq!(blob.unwrap(), "the signature");
    drop(fake);
}
