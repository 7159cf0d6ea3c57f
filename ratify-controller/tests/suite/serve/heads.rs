//! What is no request of HTTP/1.1, or more of one than is taken.

use std::{fmt::Write as _, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, timeout},
};

use super::parts::{SIGNED, Server, VERIFY, read, request};

const BODY: &str = r#"{"request":{"keys":[]}}"#;

/// What comes of bytes: the status and the beginning of the body, or that there is neither.
async fn sent(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may have heard enough before all is written.
    let _ = stream.write_all(bytes).await;
    let answer = timeout(Duration::from_secs(30), read(stream)).await.unwrap();
    let why = answer.body.split("systemError\":\"operation failed with error ").nth(1);
    let why = why.map_or("", |why| why.split('"').next().unwrap());
    format!("{} {why}", answer.status).trim_end().to_owned()
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_harms_nobody() {
    let server = Server::usual().await;
    let post = |more: &str, body: &str| {
        format!("POST {VERIFY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n{body}")
    };
    let length = format!("Content-Length: {}\r\n", BODY.len());
    let many: String = (0..101).fold(String::new(), |mut all, index| {
        write!(all, "x-{index}: y\r\n").unwrap();
        all
    });
    let chunked = "Transfer-Encoding: chunked\r\n";
    let table = [
        ("a request", post(&length, BODY)),
        ("no line", "hello\r\n\r\n".to_owned()),
        ("no version", format!("POST {VERIFY}\r\n\r\n")),
        ("another version", format!("POST {VERIFY} HTTP/3.0\r\n\r\n")),
        ("HTTP/2 in clear", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("TLS in clear", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned()),
        ("a NUL in the path", format!("POST {VERIFY}\0 HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("a space before the colon", post("a : b\r\n", "")),
        ("a folded header", post("a: b\r\n c\r\n", "")),
        ("a control character in a header", post("a: b\u{1}\r\n", "")),
        ("101 headers more", post(&many, "")),
        ("a header of 300 KiB", post(&format!("a: {}\r\n", "b".repeat(300 << 10)), "")),
        ("two lengths", post(&format!("{length}Content-Length: 1\r\n"), BODY)),
        ("a length that is none", post("Content-Length: x\r\n", BODY)),
        ("a negative length", post("Content-Length: -1\r\n", BODY)),
        ("a length beyond u64", post("Content-Length: 99999999999999999999\r\n", BODY)),
        ("5 MiB announced", post("Content-Length: 5242880\r\n", "")),
        ("an unknown coding", post("Transfer-Encoding: gzip\r\n", BODY)),
        ("a chunk size that is none", post(chunked, "xyz\r\n")),
        ("a chunk size beyond u64", post(chunked, "fffffffffffffffff\r\n")),
        ("no length and no body", post("", "")),
    ];
    let mut shown = String::new();
    for (name, bytes) in &table {
        writeln!(shown, "{name}: {}", sent(&server, bytes.as_bytes()).await).unwrap();
    }
    insta::assert_snapshot!(shown, @r"
    a request: 200
    no line: 400
    no version: 400
    another version: 400
    HTTP/2 in clear: 0
    TLS in clear: 400
    a NUL in the path: 400
    a space before the colon: 400
    a folded header: 400
    a control character in a header: 400
    101 headers more: 431
    a header of 300 KiB: 431
    two lengths: 400
    a length that is none: 400
    a negative length: 400
    a length beyond u64: 400
    5 MiB announced: 413 unable to read request body: it has more than 4194304 bytes
    an unknown coding: 400
    a chunk size that is none: 400 unable to read request body: error reading a body from connection
    a chunk size beyond u64: 400 unable to read request body: error reading a body from connection
    no length and no body: 400 unable to unmarshal request body: EOF while parsing a value at line 1 column 0
    ");
    assert_eq!(server.verify(&[SIGNED]).await.items().len(), 1, "the server lives");
}

/// A body that is longer than was said is no second request in disguise (a length beside chunks).
#[tokio::test]
async fn one_length_counts_and_no_other() {
    let server = Server::usual().await;
    let smuggled = format!("POST {VERIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}");
    let bytes = format!(
        "POST {VERIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let began = Instant::now();
    let answer = timeout(Duration::from_secs(30), read(stream)).await.unwrap();
    assert!(
        answer.body.matches("HTTP/1.1 ").count() == 0,
        "one answer, and the end: {}",
        answer.body
    );
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// Of a body that is too long nothing is waited for.
#[tokio::test]
async fn an_announced_length_is_believed_at_once() {
    let server = Server::usual().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST {VERIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: 4194305\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = timeout(Duration::from_secs(10), read(stream)).await.unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(
        answer.json()["response"]["systemError"],
        "operation failed with error unable to read request body: it has more than 4194304 bytes"
    );
    let whole = request(&[SIGNED]);
    assert_eq!(server.post(VERIFY, &whole).await.status, 200);
}
