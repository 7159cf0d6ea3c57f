//! HTTP/2 by what a server offers in the handshake: real registries speak it, others are spoken to
//! as ever, and one connection carries no more than the limiter lets go.

mod hostile;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::Version;
use bytes::Bytes;
use futures_util::future::join_all;
use ratify_core::{Algorithm, Descriptor, Reference};
use ratify_store_oras::{Credential, Transport, digest_of};

use crate::{
    fake::{Content, Fake, Reply, Seen, basic, client_over},
    real,
    transport::acceptor_of,
};

/// What a registry is that answers over these protocols.
async fn speaking(protocols: &[&[u8]]) -> Fake {
    let content = Content::new();
    let (acceptor, _) = acceptor_of(&["registry.test"], protocols);
    Fake::start_tls_with(acceptor, "127.0.0.1:0", move |seen: &Seen| content.answer(seen)).await
}

#[tokio::test]
async fn the_server_chooses_and_any_choice_is_read() {
    let content = Content::new();
    for (protocols, expected) in [
        (&[b"h2" as &[u8], b"http/1.1"][..], Version::HTTP_2),
        (&[b"h2"], Version::HTTP_2),
        (&[b"http/1.1", b"h2"], Version::HTTP_11),
        (&[b"http/1.1"], Version::HTTP_11),
        // It does not know that one can choose.
        (&[], Version::HTTP_11),
    ] {
        let fake = speaking(protocols).await;
        let client = client_over(Transport::Https, basic());
        let image = fake.reference("app:1");
        let blob = &content.blob;
        client.resolve(&image, None).await.unwrap();
        client.referrers(&image, &content.subject.digest, None).await.unwrap();
        client.blob_bytes(&image, &blob.digest, Some(blob.size), None).await.unwrap();
        client.blob_into(&image, blob, Vec::new(), &mut |_| {}, None).await.unwrap();
        let seen = fake.seen();
        assert!(seen.len() >= 4 && seen.iter().all(|seen| seen.version == expected), "{seen:?}");
    }
}

#[tokio::test]
async fn a_long_blob_has_a_connection_of_its_own_where_the_server_knows_such() {
    let blob = Bytes::from(vec![7; (1 << 20) + 1]);
    let digest = digest_of(Algorithm::Sha256, &blob);
    let descriptor = Descriptor::new("text/plain", digest.clone(), blob.len() as u64);
    for (protocols, expected) in [
        (&[b"h2" as &[u8], b"http/1.1"][..], Version::HTTP_11),
        (&[b"http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
        // It refuses the handshake, and is asked in what it knows.
        (&[b"h2"], Version::HTTP_2),
    ] {
        let body = blob.clone();
        let (acceptor, _) = acceptor_of(&["registry.test"], protocols);
        let answer = move |_: &Seen| Reply::ok(body.clone());
        let fake = Fake::start_tls_with(acceptor, "127.0.0.1:0", answer).await;
        let client = client_over(Transport::Https, Credential::Anonymous);
        let image = fake.reference("app:1");
        let read = client.blob_bytes(&image, &digest, Some(descriptor.size), None).await;
        assert_eq!(read.unwrap(), blob);
        let sink = client.blob_into(&image, &descriptor, Vec::new(), &mut |_| {}, None).await;
        assert_eq!(sink.unwrap(), blob);
        let seen = fake.seen();
        assert!(seen.len() == 2 && seen.iter().all(|seen| seen.version == expected), "{seen:?}");
    }
}

#[tokio::test]
async fn real_registries_over_tls_are_spoken_to_in_http_2_and_in_clear_as_ever() {
    for (tls, expected) in [(true, "HTTP/2.0"), (false, "HTTP/1.1")] {
        let Some(registry) = real::with_tag_schema(tls) else { return };
        let transport = if tls { Transport::Https } else { Transport::PlainHttp };
        let client = client_over(transport, basic());
        let image = real::image(&registry);
        let (subject, pushed) = real::fill(&client, &image, 2).await;
        real::write_tag(&client, &image, &subject, &pushed).await;
        real::read_back(&client, &image, &subject, &pushed).await;
        // Larger than all windows together.
        let large = Bytes::from(vec![5; 9 << 20]);
        let digest = client.push_blob(&image, large.clone()).await.unwrap();
        let read = client.blob_bytes(&image, &digest, Some(large.len() as u64), None).await;
        assert_eq!(read.unwrap(), large);
        // What is long has a connection of its own.
        let mut protocols = registry.protocols();
        protocols.sort_unstable();
        assert_eq!(protocols, if tls { vec!["HTTP/1.1", expected] } else { vec![expected] });
    }
}

#[tokio::test]
async fn many_requests_of_one_connection_are_as_many_as_the_limiter_lets_go() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let content = Arc::new(Content::new());
    let (acceptor, _) = acceptor_of(&["registry.test"], &[b"h2"]);
    let (entered, peak) = (Arc::clone(&now), Arc::clone(&most));
    let answer = move |seen: &Seen| {
        tokio::task::block_in_place(|| {
            peak.fetch_max(entered.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            entered.fetch_sub(1, Ordering::SeqCst);
        });
        content.answer(seen)
    };
    // A server with threads of its own, so that as many answer at once as are asked.
    let mut server = tokio::runtime::Builder::new_multi_thread();
    let server = Server(Some(server.worker_threads(64).enable_all().build().unwrap()));
    let fake = server
        .0
        .as_ref()
        .unwrap()
        .spawn(async move { Fake::start_tls_with(acceptor, "127.0.0.1:0", answer).await });
    let fake = fake.await.unwrap();
    let client = client_over(Transport::Https, basic());
    let image = Reference::parse(&format!("{}/app:1", fake.registry())).unwrap();
    client.resolve(&image, None).await.unwrap();
    let first = most.load(Ordering::SeqCst);
    let asked = (0..300).map(|number| {
        // Each of another repository: identical ones would be one.
        let image = Reference::parse(&format!("{}/app{number}:1", fake.registry())).unwrap();
        let client = client.clone();
        async move { client.resolve(&image, None).await.map(drop) }
    });
    for resolved in join_all(asked).await {
        resolved.unwrap();
    }
    assert_eq!(fake.seen().len(), 301);
    // The window begins with 8, and is 16 at most before it has grown slowly.
    let most = most.load(Ordering::SeqCst);
    assert!(first == 1 && (2..=40).contains(&most), "{first}, then {most} at once");
}

/// A runtime that is not waited for: it has threads that sleep.
struct Server(Option<tokio::runtime::Runtime>);

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
