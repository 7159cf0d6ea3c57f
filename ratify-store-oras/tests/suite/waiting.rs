//! Servers that do not answer, fall silent, or send so little that it comes to no end: each wait
//! has a bound of its own, and the error says which it was.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use ratify_core::{
    Algorithm, Descriptor, Reference,
    config::{Config, RegistryTimeouts},
};
use ratify_store_oras::{
    Client, ConnectionRules, Connections, OrasError, RetryPolicy, TlsRoots, Transport, digest_of,
};
use tokio::net::TcpListener;

use crate::fake::{Content, Fake, Reply, Seen, options};

const BLOB: &[u8] = &[7; 1000];

/// What the section `timeouts` of a configuration says.
pub(crate) fn timeouts(section: &str) -> RegistryTimeouts {
    let config = format!(r#"{{"registries":{{"timeouts":{section}}}}}"#);
    Config::from_json(config.as_bytes()).unwrap().registries.timeouts
}

/// A client that waits so long, and asks once.
pub(crate) fn client(section: &str, transport: Transport) -> Client {
    let timeouts = timeouts(section);
    let mut options = options();
    options.transport = transport;
    options.retry = RetryPolicy::fast(0);
    options.connections = Connections::with_rules(TlsRoots::default(), move || {
        let mut rules = ConnectionRules::default();
        rules.timeouts = timeouts;
        rules
    });
    Client::new(options).unwrap()
}

const SHORT: &str = r#"{"connect":"300ms","silence":"300ms"}"#;

fn blob() -> Descriptor {
    let digest = digest_of(Algorithm::Sha256, BLOB);
    Descriptor::new("text/plain", digest, BLOB.len() as u64)
}

/// Sends so many bytes at once, and then one at a time.
fn drip(first: usize, every: Duration) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |_: &Seen| {
        let bytes = stream::iter(first..BLOB.len()).then(move |at| async move {
            tokio::time::sleep(every).await;
            Ok::<_, std::io::Error>(Bytes::from_static(&BLOB[at..=at]))
        });
        let body = stream::iter([Ok(Bytes::from_static(&BLOB[..first]))]).chain(bytes);
        Reply { body: Body::from_stream(body), ..Reply::new(200) }
            .with("content-length", &BLOB.len().to_string())
            .with("content-type", "text/plain")
    }
}

/// Reads the blob in each way there is: into memory, into a sink, and as a manifest.
async fn read(fake: &Fake, section: &str) -> [Result<(), OrasError>; 3] {
    let (image, blob) = (fake.reference("app:1"), blob());
    let client = || client(section, Transport::PlainHttp);
    let in_memory = client().blob_bytes(&image, &blob.digest, Some(blob.size), None).await;
    let sink = client().blob_into(&image, &blob, Vec::new(), &mut |_| {}, None).await;
    let manifest = client().manifest_bytes(&image, &blob, None).await;
    [in_memory.map(drop), sink.map(drop), manifest.map(drop)]
}

#[tokio::test]
async fn a_body_of_a_byte_now_and_then_comes_to_an_end() {
    // Each byte is well within the time of silence.
    let fake = Fake::start(drip(1, Duration::from_millis(100))).await;
    let begun = Instant::now();
    for read in read(&fake, SHORT).await {
        let error = read.unwrap_err();
        let OrasError::TooSlow { received: 1..6, least: 1024, .. } = error else {
            panic!("{error}")
        };
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(fake.seen().len(), 3, "what is too slow was asked for again");
}

#[tokio::test]
async fn a_slow_body_that_keeps_the_pace_arrives() {
    let fake = Fake::start(drip(900, Duration::from_millis(10))).await;
    let section = r#"{"connect":"300ms","silence":"300ms","minBytesPerSecond":600}"#;
    let client = client(section, Transport::PlainHttp);
    let blob = blob();
    let read =
        client.blob_bytes(&fake.reference("app:1"), &blob.digest, Some(blob.size), None).await;
    assert_eq!(read.unwrap(), BLOB);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let fake = Fake::start(drip(500, Duration::from_secs(3600))).await;
    for read in read(&fake, SHORT).await {
        let error = read.unwrap_err().to_string();
        assert!(error.ends_with(": the server was silent for 0.3 seconds"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_takes_a_request_and_says_nothing_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let image = Reference::parse(&format!("{address}/app:1")).unwrap();
    let error = client(SHORT, Transport::PlainHttp).resolve(&image, None).await.unwrap_err();
    assert!(matches!(error, OrasError::Unreachable { timed_out: true, .. }), "{error}");
}

#[tokio::test]
async fn a_connection_has_a_time_of_its_own() {
    // It takes the connection, and says nothing to the handshake.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image = format!("{}/app:1", listener.local_addr().unwrap());
    let image = Reference::parse(&image).unwrap();
    let section = r#"{"connect":"300ms","silence":"10m"}"#;
    let begun = Instant::now();
    let error = client(section, Transport::Https).resolve(&image, None).await.unwrap_err();
    assert!(matches!(error, OrasError::Unreachable { timed_out: true, .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // An answer may take longer than a connection.
    let content = Arc::new(Content::new());
    let fake = Fake::start(move |seen: &Seen| {
        std::thread::sleep(Duration::from_millis(600));
        content.answer(seen)
    })
    .await;
    let client = client(section, Transport::PlainHttp);
    client.resolve(&fake.reference("app:1"), None).await.unwrap();
}
