//! Pushing: what is sent, and where it is not.

use bytes::Bytes;
use ratify_core::{Algorithm, media_type};
use ratify_store_oras::{OrasError, digest_of};

use crate::fake::{Fake, Reply, Seen, basic, client, client_with, digest};

#[tokio::test]
async fn a_blob_is_uploaded_unless_it_is_there() {
    let bytes = Bytes::from_static(b"hello");
    let expected = digest_of(Algorithm::Sha256, &bytes);
    let stored = expected.clone();
    let fake = Fake::start(move |seen: &Seen| match seen.method.as_str() {
        "HEAD" if seen.path.contains("/there/") => Reply::new(200),
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).with("location", "/upload/1?state=x"),
        _ => {
            assert_eq!(seen.body, "hello");
            Reply::new(201).with("docker-content-digest", stored.as_str())
        }
    })
    .await;
    for repository in ["there", "app"] {
        let reference = fake.reference(&format!("{repository}:1"));
        let digest = client().push_blob(&reference, bytes.clone()).await.unwrap();
        assert_eq!(digest, expected);
    }
    let escaped = expected.as_str().replace(':', "%3A");
    assert_eq!(
        fake.lines(),
        [
            format!("HEAD /v2/there/blobs/{expected}"),
            format!("HEAD /v2/app/blobs/{expected}"),
            "POST /v2/app/blobs/uploads/".into(),
            format!("PUT /upload/1?state=x&digest={escaped}"),
        ]
    );
}

#[tokio::test]
async fn an_upload_elsewhere_gets_no_credentials() {
    let storage = Fake::start(|seen: &Seen| {
        assert_eq!(seen.header("authorization"), None);
        Reply::new(201)
    })
    .await;
    let elsewhere = format!("http://{}/u", storage.registry());
    let fake = Fake::start(move |seen: &Seen| match seen.method.as_str() {
        _ if seen.header("authorization").is_none() => {
            Reply::new(401).with("www-authenticate", "Basic")
        }
        "HEAD" => Reply::new(404),
        _ => Reply::new(202).with("location", &elsewhere),
    })
    .await;
    let reference = fake.reference("app:1");
    client_with(basic()).push_blob(&reference, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(storage.seen().len(), 1);
}

#[tokio::test]
async fn a_manifest_is_put_under_its_tag_with_its_type() {
    let fake = Fake::start(|seen: &Seen| {
        assert_eq!(seen.header("content-type"), Some(media_type::OCI_MANIFEST));
        Reply::new(201)
    })
    .await;
    let body = Bytes::from_static(b"{}");
    let reference = fake.reference("app:1");
    let digest =
        client().push_manifest(&reference, media_type::OCI_MANIFEST, body.clone()).await.unwrap();
    assert_eq!(digest, digest_of(Algorithm::Sha256, &body));
    assert_eq!(fake.lines(), ["PUT /v2/app/manifests/1"]);
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_not_sent_and_one_stored_otherwise_is_an_error() {
    let fake = Fake::start(|_: &Seen| {
        Reply::new(201).with("docker-content-digest", digest("aa").as_str())
    })
    .await;
    let body = Bytes::from_static(b"{}");
    let pinned = fake.reference("app:1").sibling(&digest("bb"));
    let client = client();
    let error = client.push_manifest(&pinned, "m", body.clone()).await.unwrap_err();
    assert!(matches!(error, OrasError::Digest { .. }), "{error}");
    assert!(fake.seen().is_empty());
    let error = client.push_manifest(&fake.reference("app:1"), "m", body).await.unwrap_err();
    assert!(matches!(error, OrasError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn refusals_are_errors_on_every_step() {
    for refused in ["HEAD", "POST", "PUT"] {
        let fake = Fake::start(move |seen: &Seen| match seen.method.as_str() {
            method if method == refused => Reply::error(403, "DENIED"),
            "HEAD" => Reply::new(404),
            "POST" => Reply::new(202).with("location", "/u"),
            _ => Reply::new(201),
        })
        .await;
        let reference = fake.reference("app:1");
        let error = client().push_blob(&reference, Bytes::from_static(b"x")).await.unwrap_err();
        assert!(matches!(error, OrasError::Denied { status: 403, .. }), "{refused}: {error}");
    }
    let fake = Fake::start(|seen: &Seen| match seen.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::new(202),
    })
    .await;
    let reference = fake.reference("app:1");
    let error = client().push_blob(&reference, Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, OrasError::Invalid { .. }), "{error}");
}
