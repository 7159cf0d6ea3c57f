//! Slow clients, in a time that stands still but where it is waited for.

use axum::{
    Router,
    routing::{get, post},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const LARGE: usize = 1 << 20;

/// A client's end of a connection to a server that takes 8 seconds to answer.
fn connected(protocol: Protocol) -> (DuplexStream, watch::Sender<()>) {
    let (client, server) = tokio::io::duplex(1 << 12);
    let (ending, end) = watch::channel(());
    let slow = get(|| async {
        sleep(8 * SECOND).await;
        "done"
    });
    let router = Router::new()
        .route("/", slow)
        .route("/at-once", get(|| async { "done" }))
        .route("/large", get(|| async { "x".repeat(LARGE) }))
        .route("/echo", post(|body: Bytes| async move { body }));
    let (patience, room) = (Patience::default(), Arc::new(Room::default()));
    tokio::spawn(connection(server, protocol, None, router, end, patience, room));
    (client, ending)
}

/// Reads until the server closes; how long that took.
async fn until_closed(client: &mut DuplexStream) -> (Duration, String) {
    let began = Instant::now();
    let mut text = String::new();
    timeout(600 * SECOND, client.read_to_string(&mut text)).await.unwrap().unwrap();
    (began.elapsed(), text)
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_not_sent_or_only_in_part_ends_the_connection() {
    for part in ["", "GET / HTTP/1.1\r\nHost:"] {
        let (mut client, _ending) = connected(Protocol::Http1);
        client.write_all(part.as_bytes()).await.unwrap();
        let (took, text) = until_closed(&mut client).await;
        assert!(took.abs_diff(HEAD_TIMEOUT) < SECOND && text.is_empty(), "{took:?} {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_longer_than_a_head_and_then_the_connection_may_be_idle() {
    let (mut client, _ending) = connected(Protocol::Http1);
    client.write_all(GET).await.unwrap();
    let (took, text) = until_closed(&mut client).await;
    assert!(text.ends_with("done"), "{text}");
    assert!(took.abs_diff(8 * SECOND + IDLE_TIMEOUT) < 2 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_head_in_part_is_not_taken_for_being_idle() {
    let (mut client, _ending) = connected(Protocol::Http1);
    client.write_all(GET).await.unwrap();
    let mut some = [0; 1024];
    assert!(client.read(&mut some).await.unwrap() > 0);
    client.write_all(b"GET / HTT").await.unwrap();
    let (took, _) = until_closed(&mut client).await;
    assert!(took.abs_diff(HEAD_TIMEOUT) < 2 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_the_answer_is_left() {
    let (mut client, _ending) = connected(Protocol::Http1);
    client.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(2 * WRITE_TIMEOUT + SECOND).await;
    let (_, text) = until_closed(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.len() < LARGE, "{}", text.len());
    // Who is slow and reads gets it all.
    let (mut client, _ending) = connected(Protocol::Http1);
    client.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut read, mut buffer) = (0, [0; 1 << 16]);
    loop {
        let count = client.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        read += count;
        sleep(SECOND / 10).await;
    }
    assert!(read > LARGE, "{read}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_ends_an_idle_connection_at_once() {
    let (mut client, ending) = connected(Protocol::Http1);
    client.write_all(b"GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(SECOND).await;
    ending.send(()).unwrap();
    let (took, text) = until_closed(&mut client).await;
    assert!(text.ends_with("done"), "{text}");
    assert!(took < SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_just_come_in_when_the_server_ends_is_answered_once() {
    let (mut client, ending) = connected(Protocol::Http1);
    ending.send(()).unwrap();
    sleep(GRACE / 2).await;
    client.write_all(GET).await.unwrap();
    let (_, text) = until_closed(&mut client).await;
    assert!(text.contains("connection: close") && text.ends_with("done"), "{text}");
    let (mut client, ending) = connected(Protocol::Http1);
    ending.send(()).unwrap();
    let (took, _) = until_closed(&mut client).await;
    assert!(took.abs_diff(GRACE) < SECOND / 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn each_phase_has_its_own_patience() {
    let now = Instant::now();
    let left = |doing: Doing, after: Duration| {
        let state = State { protocol: Protocol::Http1, doing, stuck: None, is_touched: true };
        state.left(Patience::default(), now + after)
    };
    assert_eq!(left(Doing::ReadingHead(now), SECOND), 4 * SECOND);
    assert_eq!(left(Doing::ReadingHead(now), 6 * SECOND), Duration::ZERO);
    assert_eq!(left(Doing::Idle(now), 6 * SECOND), SECOND);
    assert_eq!(left(Doing::Idle(now), 89 * SECOND), SECOND);
    assert_eq!(left(Doing::Idle(now), 91 * SECOND), Duration::ZERO);
    assert_eq!(left(Doing::Answering(1), 1000 * SECOND), HEAD_TIMEOUT);
    let stuck = State {
        protocol: Protocol::Http2,
        doing: Doing::Answering(3),
        stuck: Some(now),
        is_touched: true,
    };
    assert_eq!(stuck.left(Patience::default(), now + 9 * SECOND), SECOND);
    assert_eq!(stuck.left(Patience::default(), now + 10 * SECOND), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_is_idle_makes_room_in_a_crowd_and_where_there_are_no_descriptors() {
    let patience = Patience::default();
    assert_eq!(patience.among(false).idle, IDLE_TIMEOUT);
    assert_eq!(patience.among(true).idle, IDLE_TIMEOUT_IN_A_CROWD);
    let ends_soon = async |room: &Room| {
        let phase = Phase::new(Protocol::Http1);
        phase.change(|state| state.doing = Doing::Idle(Instant::now()));
        timeout(2 * SECOND, phase.expired(patience, room)).await.is_ok()
    };
    assert!(ends_soon(&Room::of(MAX_CONNECTIONS / 4 - 1)).await);
    let room = Room::of(MAX_CONNECTIONS / 4);
    assert!(!ends_soon(&room).await);
    room.starve();
    assert!(ends_soon(&room).await);
    sleep(STARVED_FOR).await;
    assert!(!ends_soon(&room).await, "that is over");
}

type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http2(client: DuplexStream) -> (Http2, tokio::task::JoinHandle<hyper::Result<()>>) {
    let (sender, driving) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(client))
        .await
        .unwrap();
    (sender, tokio::spawn(driving))
}

fn request(path: &str, body: &'static [u8]) -> http::Request<Full<Bytes>> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let uri = format!("http://x{path}");
    http::Request::builder().method(method).uri(uri).body(Full::from(body)).unwrap()
}

async fn text(response: http::Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn http2_answers_many_at_once_and_is_idle_for_as_long() {
    let (client, _ending) = connected(Protocol::Http2);
    let (mut sender, driving) = http2(client).await;
    let (slow, fast) = (sender.send_request(request("/", b"")), request("/echo", b"body"));
    let fast = sender.send_request(fast).await.unwrap();
    assert_eq!((fast.status(), text(fast).await.as_str()), (StatusCode::OK, "body"));
    assert_eq!(text(slow.await.unwrap()).await, "done");
    let began = Instant::now();
    // The connection is closed, or ends with an error, as soon as it was idle for too long.
    let _ = timeout(600 * SECOND, driving).await.unwrap();
    assert!(began.elapsed().abs_diff(IDLE_TIMEOUT) < 2 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_lets_http2_finish_what_it_is_about() {
    let (client, ending) = connected(Protocol::Http2);
    let (mut sender, driving) = http2(client).await;
    let slow = tokio::spawn(sender.send_request(request("/", b"")));
    sleep(SECOND).await;
    ending.send(()).unwrap();
    sleep(SECOND).await;
    assert!(sender.send_request(request("/at-once", b"")).await.is_err(), "nothing new");
    assert_eq!(text(slow.await.unwrap().unwrap()).await, "done");
    timeout(SECOND, driving).await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_of_http2_is_bounded() {
    let (client, _ending) = connected(Protocol::Http2);
    let (mut sender, _driving) = http2(client).await;
    let mut large = request("/at-once", b"");
    let value = "x".repeat(MAX_HEADER_LIST_BYTES as usize);
    large.headers_mut().insert("x-large", value.parse().unwrap());
    // The client knows the bound from the server, or the server refuses.
    let refused = sender.send_request(large).await;
    assert!(refused.is_err_and(|error| !error.is_closed()) || !sender.is_closed());
    let small = sender.send_request(request("/at-once", b"")).await.unwrap();
    assert_eq!(text(small).await, "done");
}

/// Frames as they are on the wire (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `GET`, `http`, `/` and the authority `x`, by HPACK's static table.
const FIELDS: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'x'];

/// What the server says last of all: the error code of its GOAWAY frame; `None` for none.
fn goaway(mut bytes: &[u8]) -> Option<u32> {
    let mut code = None;
    while bytes.len() >= 9 {
        let length =
            usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let payload = bytes.get(9..9 + length)?;
        if bytes[3] == 7 {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        bytes = &bytes[9 + length..];
    }
    code
}

/// Sends frames of an attack until the server closes, and reads what it said.
async fn attack(first: &[u8], again: impl Fn(u32) -> Vec<u8>) -> (u32, Option<u32>) {
    let (client, _ending) = connected(Protocol::Http2);
    let (mut reads, mut writes) = tokio::io::split(client);
    let reading = tokio::spawn(async move {
        let mut said = Vec::new();
        let _ = reads.read_to_end(&mut said).await;
        said
    });
    writes.write_all(&[PREFACE, &frame(4, 0, 0, &[]), first].concat()).await.unwrap();
    let mut sent = 0;
    while sent < 100_000 && writes.write_all(&again(sent)).await.is_ok() {
        sent += 1;
    }
    drop(writes);
    (sent, goaway(&reading.await.unwrap()))
}

const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test(start_paused = true)]
async fn streams_that_are_begun_and_taken_back_end_the_connection() {
    // HEADERS that end their head, and the stream stays open; RST_STREAM at once.
    let reset = |index: u32| {
        let stream = 2 * index + 1;
        let cancel = frame(3, 0, stream, &8_u32.to_be_bytes());
        [frame(1, 4, stream, FIELDS), cancel].concat()
    };
    let (sent, code) = attack(&[], reset).await;
    assert!(sent < 10_000, "{sent}");
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(start_paused = true)]
async fn a_head_without_an_end_ends_the_connection() {
    // HEADERS without an end, and CONTINUATION for ever (CVE-2024-27316 and its kin).
    let first = frame(1, 0, 1, FIELDS);
    let field = [&[0x00, 0x03][..], b"x-a", &[0x7f, 0x81, 0x07], &[b'y'; 1024]].concat();
    let (sent, code) = attack(&first, |_| frame(9, 0, 1, &field)).await;
    assert!(sent < 10_000, "{sent}");
    assert!(code.is_some());
}
