//! Servers that use HTTP/2 against whoever asks: each ends in an error, soon, and in little memory.
//! They write frames by hand, for no library would.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use ratify_core::{Descriptor, Reference};
use ratify_store_oras::{Client, OrasError, Transport};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;

use crate::{transport::acceptor_of, waiting};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// `:status: 200` and `:status: 103` in HPACK.
const OK: &[u8] = &[0x88];
const EARLY: &[u8] = &[0x08, 3, b'1', b'0', b'3'];
/// What the whole of it may add to the memory of the process.
const MEMORY: u64 = 48 << 20;

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trick {
    /// It does not even say what it can.
    NoSettings,
    NoAnswer,
    NoStreams,
    NoWindow,
    Refuse,
    Reset,
    HeadersWithoutEnd,
    GiantHeaders,
    EarlyHints,
    EmptyData,
    TinyData,
    BeyondTheWindow,
    Pings,
    Settings,
    Pushes,
    Resets,
    WindowUpdates,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Must {
    Fail,
    /// That a server has a blob already, so that none is pushed, is said by headers alone.
    Succeed,
    /// As the headers come before the trick is seen through, or after.
    Either,
}

const FAIL: [Must; 4] = [Must::Fail; 4];
const PUSHED: [Must; 4] = [Must::Fail, Must::Fail, Must::Succeed, Must::Fail];
const EITHER: [Must; 4] = [Must::Fail, Must::Fail, Must::Either, Must::Fail];

/// What must come of a blob in memory, a blob into a sink, a push, and a tag.
const TRICKS: [(Trick, [Must; 4]); 17] = [
    (Trick::NoSettings, FAIL),
    (Trick::NoAnswer, FAIL),
    (Trick::NoStreams, FAIL),
    (Trick::NoWindow, FAIL),
    (Trick::Refuse, FAIL),
    (Trick::Reset, FAIL),
    (Trick::HeadersWithoutEnd, FAIL),
    (Trick::GiantHeaders, FAIL),
    (Trick::EarlyHints, FAIL),
    (Trick::EmptyData, PUSHED),
    (Trick::TinyData, PUSHED),
    (Trick::BeyondTheWindow, EITHER),
    (Trick::Pings, FAIL),
    (Trick::Settings, FAIL),
    (Trick::Pushes, FAIL),
    (Trick::Resets, FAIL),
    (Trick::WindowUpdates, FAIL),
];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header of so many bytes, as HPACK writes it literally and without an index.
fn header(name: u8, bytes: usize) -> Vec<u8> {
    // A length of 127 and more goes on in groups of seven bits.
    let mut header = vec![0, 3, b'x', b'-', name, 0x7f];
    let mut rest = bytes - 127;
    while rest >= 128 {
        header.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    header.push(u8::try_from(rest).unwrap());
    header.resize(header.len() + bytes, b'v');
    header
}

impl Trick {
    fn settings(self) -> Option<Vec<u8>> {
        let setting = |id: u8, value: u32| [&[0, id][..], &value.to_be_bytes()].concat();
        let payload = match self {
            Self::NoSettings => return None,
            Self::NoStreams => setting(3, 0),
            Self::NoWindow => setting(4, 0),
            _ => Vec::new(),
        };
        Some(frame(SETTINGS, 0, 0, &payload))
    }

    /// What is sent to a request once, and what again and again.
    fn answer(self, stream: u32) -> (Vec<u8>, Vec<u8>) {
        let head = || frame(HEADERS, END_HEADERS, stream, OK);
        let reset = |code: u32| frame(RESET, 0, stream, &code.to_be_bytes());
        let none = Vec::new;
        match self {
            Self::NoSettings | Self::NoAnswer | Self::NoStreams | Self::NoWindow => {
                (none(), none())
            }
            Self::Refuse => (reset(7), none()),
            Self::Reset => (reset(2), none()),
            Self::HeadersWithoutEnd => {
                (frame(HEADERS, 0, stream, OK), frame(CONTINUATION, 0, stream, &header(b'a', 9000)))
            }
            Self::GiantHeaders => {
                let mut all = frame(HEADERS, 0, stream, OK);
                for _ in 0..100 {
                    all.extend(frame(CONTINUATION, 0, stream, &header(b'a', 9000)));
                }
                all.extend(frame(CONTINUATION, END_HEADERS, stream, &header(b'b', 200)));
                (all, none())
            }
            Self::EarlyHints => {
                let hint = [EARLY, &header(b'a', 4000)].concat();
                (none(), frame(HEADERS, END_HEADERS, stream, &hint))
            }
            Self::EmptyData => (head(), frame(DATA, 0, stream, &[])),
            Self::TinyData => (head(), frame(DATA, 0, stream, &[7])),
            Self::BeyondTheWindow => (head(), frame(DATA, 0, stream, &[7; 16_384])),
            Self::Pings => (none(), frame(PING, 0, 0, &[7; 8])),
            Self::Settings => (none(), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
            Self::Pushes => {
                let promised = [&2_u32.to_be_bytes()[..], OK].concat();
                (none(), frame(PUSH, END_HEADERS, stream, &promised))
            }
            Self::Resets => (none(), reset(8)),
            Self::WindowUpdates => (none(), frame(WINDOW, 0, 0, &[0, 0, 0, 1])),
        }
    }
}

/// Answers until the client has enough.
async fn serve(mut stream: TlsStream<TcpStream>, trick: Trick) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    if let Some(settings) = trick.settings() {
        stream.write_all(&settings).await?;
        stream.flush().await?;
    }
    let (mut reader, mut writer) = tokio::io::split(stream);
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        reader.read_exact(&mut payload).await?;
        if head[3] != HEADERS {
            continue;
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (once, again) = trick.answer(stream);
        writer.write_all(&once).await?;
        writer.flush().await?;
        if again.is_empty() {
            continue;
        }
        // What the client says meanwhile is read, and not heeded.
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let many = again.repeat(16_384 / again.len() + 1);
        loop {
            writer.write_all(&many).await?;
        }
    }
}

/// Its address, and how often it was connected to.
async fn start(trick: Trick) -> (String, Arc<AtomicUsize>) {
    let (acceptor, _) = acceptor_of(&["registry.test"], &[b"h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ended = serve(stream, trick).await;
                }
            });
        }
    });
    (address, connections)
}

/// Takes its time for each piece.
struct SlowSink;

impl std::io::Write for SlowSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::thread::sleep(Duration::from_millis(300));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn ask(client: &Client, image: &Reference, blob: &Descriptor) -> [Result<(), OrasError>; 4] {
    let in_memory = client.blob_bytes(image, &blob.digest, Some(blob.size), None).await;
    let sink = client.blob_into(image, blob, SlowSink, &mut |_| {}, None).await;
    let pushed = client.push_blob(image, Bytes::from_static(b"blob")).await;
    let resolved = client.resolve(image, None).await;
    [in_memory.map(drop), sink.map(drop), pushed.map(drop), resolved.map(drop)]
}

/// The whole table, alone in a process, so that its memory is that of this.
#[test]
fn a_server_that_plays_tricks_with_http_2_costs_an_error_and_little_memory() {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "http2::hostile::alone"])
        .output()
        .unwrap();
    let [said, errors] = [ran.stdout, ran.stderr].map(|s| String::from_utf8_lossy(&s).into_owned());
    println!("{said}");
    assert!(ran.status.success() && said.contains("1 passed"), "{said}\n{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test above"]
async fn alone() {
    let blob = Descriptor::new("text/plain", crate::fake::digest("0a"), 20 << 20);
    let client = || {
        let section = r#"{"connect":"500ms","silence":"500ms","minBytesPerSecond":1000000}"#;
        waiting::client(section, Transport::Https)
    };
    let before = memory("VmRSS");
    for (trick, expected) in TRICKS {
        let (address, connections) = start(trick).await;
        let image = Reference::parse(&format!("{address}/app:1")).unwrap();
        let begun = Instant::now();
        let answers = ask(&client(), &image, &blob).await;
        let grown = memory("VmHWM").saturating_sub(before) >> 20;
        let connections = connections.load(Ordering::SeqCst);
        println!("{trick:?}: {:?}, {grown} MiB, {connections} connections", begun.elapsed());
        for (answer, must) in answers.iter().zip(expected) {
            println!("    {answer:?}");
            let is_as_expected = match must {
                Must::Fail => answer.is_err(),
                Must::Succeed => answer.is_ok(),
                Must::Either => true,
            };
            assert!(is_as_expected, "{trick:?}: {answer:?} and not {must:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{trick:?}: {:?}", begun.elapsed());
        assert!(connections <= 16, "{trick:?}: {connections} connections");
    }
    let grown = memory("VmHWM").saturating_sub(before);
    assert!(grown < MEMORY, "{} MiB more", grown >> 20);
}

/// A figure of this process, in bytes.
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}
