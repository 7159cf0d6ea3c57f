//! Artifacts that are listed by the type of an empty configuration, as cosign 2.6 lists them: their own
//! manifests say what they are.

use ratify_core::{
    Algorithm, Context, Descriptor, Digest, Error, ReferrerStore, config::StorePluginConfig,
    media_type,
};
use ratify_store_oras::{OrasStore, OrasStoreOptions, RetryPolicy, digest_of};
use serde_json::json;

use crate::fake::{Content, Fake, Reply, Seen, digest, index};

/// The types that a store lists, of a registry without the API that lists these, and answers to a question
/// for a manifest as told.
async fn types(
    listed: Vec<Descriptor>,
    manifest: impl Fn() -> Option<Reply> + Send + Sync + 'static,
) -> Result<Vec<String>, Error> {
    types_of(Content::new().manifest.digest, listed, manifest).await
}

async fn types_of(
    artifact: Digest,
    listed: Vec<Descriptor>,
    manifest: impl Fn() -> Option<Reply> + Send + Sync + 'static,
) -> Result<Vec<String>, Error> {
    let content = Content::new();
    let subject = content.subject.clone();
    let tag = subject.digest.as_str().replace(':', "-");
    let fake = Fake::start(move |seen: &Seen| {
        if seen.path.contains("/referrers/") {
            return Reply::error(404, "NOT_FOUND");
        }
        if seen.path.ends_with(&tag) {
            let listed: Vec<&Descriptor> = listed.iter().collect();
            return Reply::ok(index(&listed)).with("content-type", media_type::OCI_INDEX);
        }
        let is_manifest = seen.path.ends_with(artifact.as_str());
        let reply = if is_manifest { manifest() } else { None };
        reply.unwrap_or_else(|| content.answer(seen))
    })
    .await;
    let cache = tempfile::tempdir().unwrap();
    let entry = json!({"name": "oras", "useHttp": true, "localCachePath": cache.path()});
    let entry = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
    let mut options = OrasStoreOptions::default();
    options.retry = RetryPolicy::fast(1);
    let store = OrasStore::new(&entry, options).unwrap();
    let image = fake.reference("app:1").with_digest(subject.digest.clone());
    let page = store.list_referrers(&image, &subject, &[], "", &Context::default()).await?;
    Ok(page.referrers.into_iter().map(|one| one.descriptor.artifact_type).collect())
}

/// The artifact, by the type of its configuration.
fn untyped() -> Descriptor {
    Content::new().manifest.with_artifact_type(media_type::OCI_EMPTY)
}

#[tokio::test]
async fn a_manifest_says_what_is_listed_as_nothing() {
    let named =
        Descriptor::new(media_type::OCI_MANIFEST, digest("02"), 7).with_artifact_type("a/x");
    let listed = types(vec![named, untyped()], || None).await.unwrap();
    assert_eq!(listed, ["a/x", "application/x"], "and of the other no manifest is read");
}

#[tokio::test]
async fn what_is_not_there_stays_what_it_is_listed_as_and_what_cannot_be_read_is_an_error() {
    let absent = || Some(Reply::error(404, "MANIFEST_UNKNOWN"));
    assert_eq!(types(vec![untyped()], absent).await.unwrap(), [media_type::OCI_EMPTY]);
    let refused = async |listed: Descriptor, reply: fn() -> Reply, is_transient: bool| {
        let error = types(vec![listed], move || Some(reply())).await.unwrap_err();
        assert_eq!(error.is_transient(), is_transient, "{error}");
        assert!(error.to_string().contains("could not tell what sha256:"), "{error}");
        error.to_string()
    };
    let other = || Reply::ok("{}").with("content-type", media_type::OCI_MANIFEST);
    refused(untyped(), other, false).await;
    refused(untyped(), || Reply::error(403, "DENIED"), false).await;
    refused(untyped(), || Reply::new(503), true).await;
    let too_large = Descriptor { size: 1 << 40, ..untyped() };
    let why = refused(too_large, other, false).await;
    assert!(why.contains("is larger than the limit of"), "{why}");
    let no_manifest = Descriptor { media_type: media_type::OCI_INDEX.into(), ..untyped() };
    refused(no_manifest, other, false).await;
}

/// What core holds against the type that something is listed by (`Manifest::listed_type`).
#[tokio::test]
async fn it_is_listed_by_the_type_that_binds_it_and_one_without_stays_as_it_is() {
    let config = |type_: &str| Descriptor::new(type_, digest("03"), 2);
    for (config, declared, expected) in [
        (config("application/vnd.unknown.config.v1+json"), "a/declared", "a/declared"),
        (
            config("application/vnd.unknown.config.v1+json"),
            "",
            "application/vnd.unknown.config.v1+json",
        ),
        (config(media_type::OCI_EMPTY), "a/declared", "a/declared"),
        (config(media_type::OCI_EMPTY), "", media_type::OCI_EMPTY),
    ] {
        let mut manifest = json!({"schemaVersion": 2, "config": config, "layers": []});
        if !declared.is_empty() {
            manifest["artifactType"] = declared.into();
        }
        let bytes = manifest.to_string();
        let of = digest_of(Algorithm::Sha256, bytes.as_bytes());
        let listed = Descriptor::new(media_type::OCI_MANIFEST, of.clone(), bytes.len() as u64)
            .with_artifact_type(media_type::OCI_EMPTY);
        let answer =
            move || Some(Reply::ok(bytes.clone()).with("content-type", media_type::OCI_MANIFEST));
        assert_eq!(types_of(of, vec![listed], answer).await.unwrap(), [expected]);
    }
}

#[tokio::test]
async fn no_more_than_a_hundred_manifests_are_read_for_that() {
    let many = (0..101).map(|number: u8| {
        let digest = digest(&format!("{number:02x}"));
        Descriptor::new(media_type::OCI_MANIFEST, digest, 7)
            .with_artifact_type(media_type::OCI_EMPTY)
    });
    let error = types(many.collect(), || None).await.unwrap_err();
    assert!(error.to_string().contains("at most 100 manifests are read"), "{error}");
}
