//! Blobs whose connection is cut on the way: the rest is asked for, and what comes is proven whole.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use ratify_core::{Algorithm, Descriptor, Reference};
use ratify_store_oras::{
    Client, ConnectionRules, Connections, OrasError, TlsRoots, Transport, digest_of,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    fake::{Fake, Reply, Seen, basic, client, client_over, options},
    real,
};

const SIZE: usize = 700_001;

/// What a registry answers to the request for the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rest {
    Part,
    Whole,
    OtherPart,
    NoRange,
    OtherBytes,
    NotSatisfiable,
    CutAgain,
    /// More than it says, and it is cut again.
    TooMuch,
}

fn blob() -> Bytes {
    (0..SIZE).map(|n| u8::try_from((n * 31 + n / 251) % 256).unwrap()).collect()
}

/// Some bytes, and then the connection ends though more were announced.
fn cut(bytes: Bytes, announced: usize) -> Reply {
    // What is sent has arrived by then.
    let end = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("cut"))
    };
    let pieces = stream::iter([Ok(bytes)]).chain(stream::once(end));
    Reply { body: Body::from_stream(pieces), ..Reply::new(200) }
        .with("content-length", &announced.to_string())
}

/// Cuts the first answer at an offset.
fn cutting(at: usize, rest: Rest) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let blob = blob();
    move |seen: &Seen| {
        let Some(range) = seen.header("range") else {
            // Without a single byte there is no rest to ask for.
            static NONE: AtomicUsize = AtomicUsize::new(0);
            if at == 0 && NONE.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
                return Reply::ok(blob.clone());
            }
            return cut(blob.slice(..at), SIZE);
        };
        let from: usize =
            range.strip_prefix("bytes=").unwrap().split_once('-').unwrap().0.parse().unwrap();
        let part = |bytes: Bytes, from: usize| {
            let told = format!("bytes {from}-{}/{SIZE}", SIZE - 1);
            let length = bytes.len().to_string();
            let reply = Reply { status: 206, ..Reply::ok(bytes) };
            reply.with("content-range", &told).with("content-length", &length)
        };
        match rest {
            Rest::Part => part(blob.slice(from..), from),
            Rest::Whole => Reply::ok(blob.clone()),
            Rest::OtherPart => part(blob.slice(from - 1..), from - 1),
            Rest::NoRange => part(blob.slice(from..), from).without("content-range"),
            Rest::OtherBytes => part(vec![7; SIZE - from].into(), from),
            Rest::NotSatisfiable => Reply::new(416),
            Rest::TooMuch => {
                Reply { status: 206, ..cut(blob.clone(), 0).without("content-length") }
                    .with("content-range", &format!("bytes {from}-{}/{SIZE}", SIZE - 1))
            }
            Rest::CutAgain => {
                let reply = cut(blob.slice(from..=from), SIZE - from);
                Reply { status: 206, ..reply }
                    .with("content-range", &format!("bytes {from}-{}/{SIZE}", SIZE - 1))
            }
        }
    }
}

fn descriptor() -> Descriptor {
    let blob = blob();
    Descriptor::new("text/plain", digest_of(Algorithm::Sha256, &blob), blob.len() as u64)
}

/// Where a blob goes.
#[derive(Clone, Copy, Debug)]
enum To {
    Sink,
    Memory,
    /// What the registry announces is its size.
    MemoryUnsized,
}

const EVERYWHERE: [To; 3] = [To::Sink, To::Memory, To::MemoryUnsized];

async fn pull(image: &Reference, client: &Client, to: To) -> Result<Bytes, OrasError> {
    let blob = descriptor();
    let size = match to {
        To::Sink => {
            let mut told = Vec::new();
            let progress = &mut |n| told.push(n);
            let pulled = client.blob_into(image, &blob, Vec::new(), progress, None).await;
            assert!(told.is_sorted(), "progress goes back");
            return pulled.map(Bytes::from);
        }
        To::Memory => Some(blob.size),
        To::MemoryUnsized => None,
    };
    client.blob_bytes(image, &blob.digest, size, None).await
}

#[tokio::test]
async fn a_cut_at_any_offset_is_followed_by_the_rest() {
    let mut at: usize = 1;
    let mut offsets = vec![0, 1, SIZE - 1];
    for _ in 0..14 {
        at = (at * 48_271) % 2_147_483_647;
        offsets.push(at % SIZE);
    }
    for (at, to) in offsets.into_iter().flat_map(|at| EVERYWHERE.map(|to| (at, to))) {
        for rest in [Rest::Part, Rest::Whole] {
            let fake = Fake::start(cutting(at, rest)).await;
            let pulled = pull(&fake.reference("app:1"), &client(), to).await;
            assert_eq!(pulled.unwrap(), blob(), "{rest:?} {at} {to:?}");
            let seen = fake.seen();
            assert_eq!(seen.len(), 2, "{rest:?} {at} {to:?}");
            let range = (at > 0).then(|| format!("bytes={at}-{}", SIZE - 1));
            assert_eq!(seen[1].header("range"), range.as_deref(), "{rest:?} {to:?}");
        }
    }
}

#[tokio::test]
async fn what_is_not_the_rest_is_an_error_and_the_asking_ends() {
    for (rest, requests) in [
        (Rest::OtherPart, 2),
        (Rest::NoRange, 2),
        (Rest::OtherBytes, 2),
        (Rest::NotSatisfiable, 2),
        (Rest::CutAgain, 6),
        (Rest::TooMuch, 2),
    ] {
        for to in EVERYWHERE {
            let fake = Fake::start(cutting(1000, rest)).await;
            let error = pull(&fake.reference("app:1"), &client(), to).await.unwrap_err();
            let is_expected = match rest {
                Rest::OtherPart | Rest::NoRange => matches!(error, OrasError::Invalid { .. }),
                Rest::OtherBytes => matches!(error, OrasError::Digest { .. }),
                Rest::TooMuch => matches!(error, OrasError::Size { .. }),
                Rest::NotSatisfiable => matches!(error, OrasError::Status { status: 416, .. }),
                _ => matches!(error, OrasError::Unreachable { .. }),
            };
            assert!(is_expected, "{rest:?} {to:?}: {error}");
            assert_eq!(fake.seen().len(), requests, "{rest:?} {to:?}");
        }
    }
}

/// Passes connections on to a registry, and cuts its answers after some bytes while told to.
async fn cutter(registry: String, after: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&registry).await.unwrap();
            let after = Arc::clone(&after);
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                });
                let mut buffer = vec![0; 16 << 10];
                let mut passed = 0;
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    passed += read;
                    if passed > after.load(Ordering::SeqCst) {
                        after.store(usize::MAX, Ordering::SeqCst);
                        return;
                    }
                    if to_client.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn real_registries_send_the_rest() {
    for registry in [real::with_api(false), real::with_tag_schema(false)] {
        let Some(registry) = registry else { return };
        let client = client_over(Transport::PlainHttp, basic());
        let image = Reference::parse(&format!("{}/a/app:1", registry.address)).unwrap();
        client.push_blob(&image, blob()).await.unwrap();
        let after = Arc::new(AtomicUsize::new(usize::MAX));
        let address = cutter(registry.address.clone(), Arc::clone(&after)).await;
        let through = Reference::parse(&format!("{address}/a/app:1")).unwrap();
        for (at, to) in [200_000, 400_000, 699_000].into_iter().zip(EVERYWHERE) {
            let client = client_over(Transport::PlainHttp, basic());
            after.store(at, Ordering::SeqCst);
            assert_eq!(pull(&through, &client, to).await.unwrap(), blob(), "{at} {to:?}");
            assert_eq!(after.load(Ordering::SeqCst), usize::MAX, "nothing was cut at {at}");
        }
    }
}

/// Sends a byte more each time it is asked on, and takes its time for each.
#[tokio::test]
async fn cuts_buy_no_time() {
    let blob = blob();
    let fake = Fake::start(move |seen: &Seen| {
        let from = seen.header("range").map_or(0, |range| {
            range.strip_prefix("bytes=").unwrap().split_once('-').unwrap().0.parse().unwrap()
        });
        let byte = blob.slice(from..=from);
        let late = async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(byte)
        };
        let cut = stream::once(late).chain(stream::once(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(std::io::Error::other("cut"))
        }));
        let length = (SIZE - from).to_string();
        let reply = Reply { body: Body::from_stream(cut), ..Reply::new(200) };
        match from {
            0 => reply.with("content-length", &length),
            _ => Reply { status: 206, ..reply }
                .with("content-length", &length)
                .with("content-range", &format!("bytes {from}-{}/{SIZE}", SIZE - 1)),
        }
    })
    .await;
    let mut options = options();
    let timeouts = crate::waiting::timeouts(r#"{"silence":"500ms"}"#);
    options.connections = Connections::with_rules(TlsRoots::default(), move || {
        let mut rules = ConnectionRules::default();
        rules.timeouts = timeouts;
        rules
    });
    let client = Client::new(options).unwrap();
    for to in EVERYWHERE {
        let error = pull(&fake.reference("app:1"), &client, to).await.unwrap_err();
        assert!(matches!(error, OrasError::TooSlow { received: 2..4, .. }), "{to:?}: {error}");
    }
}
