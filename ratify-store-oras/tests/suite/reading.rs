//! Resolving and reading: every lie on every path where it can be told is an error.

use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ratify_core::{Descriptor, Reference};
use ratify_store_oras::OrasError;

use crate::fake::{Content, Fake, Reply, Seen, client, digest, options, soon};

/// The paths on which an object is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    ResolveTag,
    ResolveTagByBody,
    ResolvePinned,
    ResolvePinnedByBody,
    Manifest,
    Blob,
    BlobStreamed,
    ListByApi,
    ListByTag,
}

const ALL: [Path; 9] = [
    Path::ResolveTag,
    Path::ResolveTagByBody,
    Path::ResolvePinned,
    Path::ResolvePinnedByBody,
    Path::Manifest,
    Path::Blob,
    Path::BlobStreamed,
    Path::ListByApi,
    Path::ListByTag,
];

struct Lie {
    name: &'static str,
    tell: fn(Reply) -> Reply,
    /// Where it is one: elsewhere the answer is allowed to be so.
    paths: &'static [Path],
}

const BODIES: &[Path] = &[
    Path::ResolveTagByBody,
    Path::ResolvePinnedByBody,
    Path::Manifest,
    Path::Blob,
    Path::BlobStreamed,
    Path::ListByTag,
];
const PROVEN_SIZES: &[Path] = &[Path::Manifest, Path::Blob, Path::BlobStreamed];

const LIES: &[Lie] = &[
    Lie { name: "another body", tell: |r| body(r, b"{\"other\":1}"), paths: BODIES },
    Lie { name: "a body with one byte changed", tell: changed, paths: BODIES },
    Lie {
        name: "a body with one byte changed, and no digest header",
        tell: |r| changed(r).without("docker-content-digest"),
        paths: &[Path::ResolvePinnedByBody, Path::Manifest, Path::Blob, Path::BlobStreamed],
    },
    Lie { name: "an empty body", tell: |r| body(r, b""), paths: BODIES },
    Lie { name: "a body one byte longer", tell: |r| chunked(r, 1), paths: PROVEN_SIZES },
    Lie { name: "a body that never ends", tell: |r| chunked(r, usize::MAX), paths: PROVEN_SIZES },
    Lie { name: "a body that breaks off", tell: truncated, paths: &ALL_BODIES },
    Lie {
        name: "a digest header of something else",
        tell: |r| r.set("docker-content-digest", digest("cc").as_str()),
        paths: &[
            Path::ResolvePinned,
            Path::ResolvePinnedByBody,
            Path::ResolveTagByBody,
            Path::Manifest,
            Path::Blob,
            Path::BlobStreamed,
            Path::ListByTag,
        ],
    },
    Lie {
        name: "a digest header that is none",
        tell: |r| r.set("docker-content-digest", "sha256:beef"),
        paths: &[
            Path::ResolveTag,
            Path::ResolvePinned,
            Path::ResolveTagByBody,
            Path::Manifest,
            Path::ListByTag,
        ],
    },
    Lie {
        name: "two digest headers",
        tell: |r| r.with("docker-content-digest", digest("cc").as_str()),
        paths: &[
            Path::ResolveTag,
            Path::ResolvePinned,
            Path::Manifest,
            Path::Blob,
            Path::BlobStreamed,
            Path::ListByTag,
        ],
    },
    Lie {
        name: "another media type",
        tell: |r| r.set("content-type", "application/vnd.oci.image.layer.v1.tar"),
        paths: &[Path::Manifest, Path::ListByTag],
    },
    Lie {
        name: "two media types",
        tell: |r| r.with("content-type", "text/html"),
        paths: &[
            Path::ResolveTag,
            Path::ResolvePinned,
            Path::Manifest,
            Path::ListByApi,
            Path::ListByTag,
        ],
    },
    Lie {
        name: "a compressed transfer",
        tell: |r| r.with("content-encoding", "gzip"),
        paths: &[
            Path::ResolveTagByBody,
            Path::ResolvePinnedByBody,
            Path::Manifest,
            Path::ListByApi,
            Path::ListByTag,
        ],
    },
    Lie { name: "403", tell: |_| Reply::error(403, "DENIED"), paths: &ALL },
    Lie { name: "401", tell: |_| Reply::error(401, "UNAUTHORIZED"), paths: &ALL },
    Lie { name: "429", tell: |_| Reply::error(429, "TOOMANYREQUESTS"), paths: &ALL },
    Lie { name: "500", tell: |_| Reply::new(500), paths: &ALL },
    Lie { name: "204", tell: |_| Reply::new(204), paths: &ALL },
    Lie { name: "206", tell: |r| Reply { status: 206, ..r }, paths: &ALL },
    Lie {
        name: "a redirect in a circle",
        tell: |_| Reply::new(307).with("location", "?again"),
        paths: &ALL,
    },
    Lie { name: "a redirect to nowhere", tell: |_| Reply::new(307), paths: &ALL },
    Lie {
        name: "a redirect to a file",
        tell: |_| Reply::new(302).with("location", "file:///etc/passwd"),
        paths: &ALL,
    },
    Lie {
        name: "not found",
        tell: |_| Reply::error(404, "NAME_UNKNOWN"),
        paths: &[
            Path::ResolveTag,
            Path::ResolvePinned,
            Path::Manifest,
            Path::Blob,
            Path::BlobStreamed,
        ],
    },
];

const ALL_BODIES: [Path; 7] = [
    Path::ResolveTagByBody,
    Path::ResolvePinnedByBody,
    Path::Manifest,
    Path::Blob,
    Path::BlobStreamed,
    Path::ListByApi,
    Path::ListByTag,
];

fn body(reply: Reply, bytes: &'static [u8]) -> Reply {
    Reply { body: Body::from(bytes), ..reply.without("content-length") }
}

/// The honest body, as long as it was, with another last byte.
fn changed(reply: Reply) -> Reply {
    let pieces = reply.body.into_data_stream().map(|piece| {
        piece.map(|bytes| {
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            Bytes::from(bytes)
        })
    });
    Reply { body: Body::from_stream(pieces), status: reply.status, headers: reply.headers }
}

/// The honest body in chunks, without a length, and more bytes behind it.
fn chunked(reply: Reply, more: usize) -> Reply {
    let honest = reply.body.into_data_stream();
    let rest = stream::repeat_with(|| Ok(Bytes::from_static(b" "))).take(more);
    let body = Body::from_stream(honest.chain(rest));
    Reply { body, status: reply.status, headers: reply.headers }.without("content-length")
}

/// Half of a body that announces its whole length.
fn truncated(reply: Reply) -> Reply {
    let length = reply.headers.iter().find(|(name, _)| name == "content-length").cloned();
    let length: u64 = length.unwrap().1.parse().unwrap();
    let half = Bytes::from(vec![b'{'; usize::try_from(length / 2).unwrap()]);
    let broken = Err(std::io::Error::other("the registry hung up"));
    Reply { body: Body::from_stream(stream::iter([Ok(half), broken])), ..reply }
}

/// Walks one path against a registry that tells one lie there.
async fn walk(path: Path, tell: fn(Reply) -> Reply) -> Result<String, OrasError> {
    let content = Content::new();
    let (subject, manifest, blob) =
        (content.subject.clone(), content.manifest.clone(), content.blob.clone());
    let fake = Fake::start(move |seen: &Seen| {
        let honest = content.answer(seen);
        let is_head = seen.method == "HEAD";
        match path {
            Path::ResolveTagByBody | Path::ResolvePinnedByBody if is_head => Reply::new(405),
            Path::ListByTag if seen.path.contains("/referrers/") => Reply::new(404),
            _ => tell(honest),
        }
    })
    .await;
    let tagged = fake.reference("app:1");
    let pinned = tagged.sibling(&subject.digest);
    let mut options = options();
    options.retry = ratify_store_oras::RetryPolicy::fast(1);
    let client = ratify_store_oras::Client::new(options).unwrap();
    let soon = Some(Instant::now() + Duration::from_secs(5));
    match path {
        Path::ResolveTag | Path::ResolveTagByBody => {
            client.resolve(&tagged, soon).await.map(|d| d.digest.to_string())
        }
        Path::ResolvePinned | Path::ResolvePinnedByBody => {
            client.resolve(&pinned, soon).await.map(|d| d.digest.to_string())
        }
        Path::Manifest => client.manifest_bytes(&tagged, &manifest, soon).await.map(text),
        Path::Blob => {
            client.blob_bytes(&tagged, &blob.digest, Some(blob.size), soon).await.map(text)
        }
        Path::BlobStreamed => {
            let sink = Bounded { bytes: Vec::new(), most: blob.size };
            let done = client.blob_into(&tagged, &blob, sink, &mut |_| {}, soon).await;
            done.map(|sink| text(sink.bytes.into()))
        }
        Path::ListByApi | Path::ListByTag => client
            .referrers(&tagged, &subject.digest, soon)
            .await
            .map(|found| format!("{} {}", found.len(), found[0].digest)),
    }
}

/// A sink that fails the test where more is written than the descriptor says.
struct Bounded {
    bytes: Vec<u8>,
    most: u64,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        assert!(self.bytes.len() as u64 <= self.most, "more is written than the descriptor says");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn an_honest_registry_is_believed_on_every_path() {
    let content = Content::new();
    for path in ALL {
        let got = walk(path, |reply| reply).await;
        let got = got.unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let expected = match path {
            Path::Manifest => {
                let (_, bytes) =
                    &content.objects[&format!("manifests/{}", content.manifest.digest)];
                text(bytes.clone())
            }
            Path::Blob | Path::BlobStreamed => "the signature".into(),
            Path::ListByApi | Path::ListByTag => format!("1 {}", content.manifest.digest),
            _ => content.subject.digest.to_string(),
        };
        assert_eq!(got, expected, "{path:?}");
    }
}

#[tokio::test]
async fn every_lie_on_every_path_is_an_error_that_repeats_no_remote_text() {
    let mut told = 0;
    for lie in LIES {
        for path in lie.paths {
            let error = match walk(*path, lie.tell).await {
                Ok(got) => panic!("{path:?}: {} was believed: {got}", lie.name),
                Err(error) => error,
            };
            let is_not_found = matches!(error, OrasError::NotFound { .. });
            assert_eq!(is_not_found, lie.name == "not found", "{path:?}: {}: {error}", lie.name);
            assert!(!matches!(error, OrasError::GaveUp { .. }), "{path:?}: {}", lie.name);
            assert!(!error.to_string().contains("REMOTE TEXT"), "{error}");
            told += 1;
        }
    }
    assert!(told > 100, "{told} lies were told");
}

#[tokio::test]
async fn a_head_without_digest_or_size_leads_to_a_get() {
    let content = Content::new();
    let expected = content.subject.clone();
    let fake = Fake::start(move |seen: &Seen| {
        let reply = content.answer(seen);
        if seen.method == "HEAD" { reply.without("docker-content-digest") } else { reply }
    })
    .await;
    let found = client().resolve(&fake.reference("app:1"), None).await.unwrap();
    assert_eq!(found, expected);
    assert_eq!(fake.lines(), ["HEAD /v2/app/manifests/1", "GET /v2/app/manifests/1"]);
}

#[tokio::test]
async fn what_is_sent_names_us_and_asks_for_no_compression() {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    client().resolve(&fake.reference("app:1"), None).await.unwrap();
    let seen = fake.seen().remove(0);
    assert_eq!(seen.header("user-agent"), Some("ratify+test (linux/amd64)"));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert_eq!(seen.header("authorization"), None);
    insta::assert_snapshot!(seen.header("accept").unwrap(), @"application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.oci.artifact.manifest.v1+json");
}

#[tokio::test]
async fn bounds_are_looked_at_before_anything_is_asked() {
    let fake = Fake::start(|_: &Seen| Reply::new(200)).await;
    let reference = fake.reference("app:1");
    let huge = Descriptor::new("m", digest("aa"), u64::MAX);
    let client = client();
    let manifest = client.manifest_bytes(&reference, &huge, None).await;
    assert!(matches!(manifest, Err(OrasError::TooLarge { .. })));
    let blob = client.blob_bytes(&reference, &huge.digest, Some(u64::MAX), None).await;
    assert!(matches!(blob, Err(OrasError::TooLarge { .. })));
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_blob_of_unknown_size_is_read_up_to_the_bound_and_no_further() {
    let fake = Fake::start(|_: &Seen| chunked(Reply::ok("x"), usize::MAX)).await;
    let mut options = options();
    options.limits.blob_bytes = 1000;
    let client = ratify_store_oras::Client::new(options).unwrap();
    let read = client.blob_bytes(&fake.reference("app:1"), &digest("aa"), None, None).await;
    assert!(matches!(read, Err(OrasError::TooLarge { limit: 1000, .. })));
}

#[tokio::test]
async fn every_method_returns_soon_after_the_time_is_over() {
    let content = Content::new();
    let (manifest, blob) = (content.manifest.clone(), content.blob.clone());
    let fake = Fake::start(move |_: &Seen| Reply {
        body: Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()),
        ..Reply::new(200).with("content-type", "application/vnd.oci.image.manifest.v1+json")
    })
    .await;
    let (client, reference) = (client(), fake.reference("app:1"));
    let started = Instant::now();
    let gave_up = [
        client.resolve(&reference, soon()).await.map(drop),
        client.manifest_bytes(&reference, &manifest, soon()).await.map(drop),
        client.blob_bytes(&reference, &blob.digest, None, soon()).await.map(drop),
        client.blob_into(&reference, &blob, Vec::new(), &mut |_| {}, soon()).await.map(drop),
        client.resolve(&reference, Some(Instant::now())).await.map(drop),
    ];
    for result in gave_up {
        assert!(matches!(result, Err(OrasError::GaveUp { .. })), "{result:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn faults_are_retried_five_times_and_refusals_are_not() {
    for (status, times) in [(503, 6), (429, 6), (408, 6), (400, 1), (403, 1), (404, 1)] {
        let fake = Fake::start(move |_: &Seen| Reply::new(status)).await;
        client().resolve(&fake.reference("app:1"), None).await.unwrap_err();
        assert_eq!(fake.seen().len(), times, "{status}");
    }
}

#[tokio::test]
async fn a_wait_that_would_go_beyond_the_time_is_not_waited() {
    let fake = Fake::start(|_: &Seen| Reply::new(503)).await;
    let mut options = options();
    options.retry = ratify_store_oras::RetryPolicy::default();
    let client = ratify_store_oras::Client::new(options).unwrap();
    let end = Instant::now() + Duration::from_millis(150);
    let result = client.resolve(&fake.reference("app:1"), Some(end)).await;
    assert!(matches!(result, Err(OrasError::Status { status: 503, .. })), "{result:?}");
    assert!(Instant::now() < end);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_an_error_with_a_reason() {
    let reference = Reference::parse("127.0.0.1:1/app:1").unwrap();
    let error = client().resolve(&reference, None).await.unwrap_err().to_string();
    assert!(error.starts_with(r#"HEAD "http://127.0.0.1:1/v2/app/manifests/1": "#), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
}
