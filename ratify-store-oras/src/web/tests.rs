//! What is read, and from whom not: servers that answer too much, too late or never to an end.

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{AddressRules, ConnectionRules, TlsRoots};

/// Answers every request with this, and keeps what it was sent.
async fn server(
    answer: impl Into<String>,
) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let (told, asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let _ = told.send(String::from_utf8_lossy(&request[..read]).into_owned());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (at, asked)
}

/// How an answer goes on once its bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rest {
    Ends,
    Stops,
    Drips,
}

/// Answers a request with so many bytes of a body that has `announced`, or is in chunks.
async fn streaming(announced: Option<usize>, length: usize, rest: Rest) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        // Whoever has read enough hangs up.
        let _ = stream_to(&mut stream, announced, length, rest).await;
    });
    at
}

async fn stream_to(
    stream: &mut TcpStream,
    announced: Option<usize>,
    length: usize,
    rest: Rest,
) -> std::io::Result<()> {
    let way = match announced {
        Some(length) => format!("content-length: {length}"),
        None => "transfer-encoding: chunked".into(),
    };
    stream.write_all(format!("HTTP/1.1 200 OK\r\n{way}\r\n\r\n").as_bytes()).await?;
    let (mut left, bytes) = (length, vec![b'x'; 1 << 16]);
    while left > 0 {
        let some = &bytes[..left.min(bytes.len())];
        if announced.is_none() {
            stream.write_all(format!("{:x}\r\n", some.len()).as_bytes()).await?;
        }
        stream.write_all(some).await?;
        if announced.is_none() {
            stream.write_all(b"\r\n").await?;
        }
        left -= some.len();
    }
    match rest {
        Rest::Ends if announced.is_none() => stream.write_all(b"0\r\n\r\n").await,
        Rest::Ends => Ok(()),
        Rest::Stops => std::future::pending().await,
        Rest::Drips => loop {
            stream.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        },
    }
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn anybodys() -> Web {
    let rules = || ConnectionRules::new(AddressRules::for_anybody(Arc::default()));
    Web::new(Connections::with_rules(TlsRoots::default(), rules), "test/1")
}

fn web() -> Web {
    Web::new(Connections::default(), "test/1")
}

fn written(url: &str) -> WebRequest {
    let request = WebRequest::new(url, 10, Duration::from_secs(10));
    WebRequest { is_written: true, ..request }
}

#[tokio::test]
async fn reads_what_is_there_and_sends_what_it_is_given() {
    let (at, mut asked) = server(ok("0123456789")).await;
    assert_eq!(web().read(&written(&at)).await.unwrap(), "0123456789");
    let told = asked.recv().await.unwrap().to_ascii_lowercase();
    assert!(told.starts_with("get / http/1.1\r\n") && told.contains("user-agent: test/1"));
    let question = WebRequest { body: Some(("application/x", "abc".into())), ..written(&at) };
    web().read(&question).await.unwrap();
    let told = asked.recv().await.unwrap();
    assert!(told.starts_with("POST /") && told.ends_with("\r\n\r\nabc"), "{told}");
    assert!(told.to_ascii_lowercase().contains("content-type: application/x"));
}

#[tokio::test]
async fn what_is_longer_than_asked_for_is_no_answer_announced_or_not() {
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n01234567890";
    let unannounced = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n01234567890";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\n01234567890\r\n";
    for answer in [announced, unannounced, chunked] {
        let (at, _asked) = server(answer).await;
        let error = web().read(&written(&at)).await.unwrap_err();
        assert!(matches!(error, OrasError::TooLarge { limit: 10, .. }), "{error}");
    }
}

#[tokio::test]
async fn the_longest_answer_is_read_whole_and_a_byte_more_is_none_announced_or_in_chunks() {
    const LONGEST: usize = 32 << 20;
    for length in [LONGEST, LONGEST + 1] {
        for announced in [Some(length), None] {
            let at = streaming(announced, length, Rest::Ends).await;
            let request = WebRequest { max_bytes: LONGEST as u64, ..written(&at) };
            let request = WebRequest { timeout: Duration::from_secs(60), ..request };
            let read = web().read(&request).await;
            if length == LONGEST {
                assert_eq!(read.unwrap().len(), LONGEST);
                continue;
            }
            let error = read.unwrap_err();
            assert!(matches!(error, OrasError::TooLarge { limit: 0x200_0000, .. }), "{error}");
            assert!(error.to_string().contains("33554432 bytes"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_answer_takes_no_more_room_than_it_has_bytes() {
    for length in [10, LONG + 1] {
        let at = streaming(None, length, Rest::Ends).await;
        let request = WebRequest { max_bytes: 2 << 20, ..written(&at) };
        let read = web().read(&request).await.unwrap();
        assert_eq!(Vec::from(read).capacity(), length);
    }
}

#[tokio::test]
async fn a_long_answer_that_never_ends_is_given_up_in_time_and_gives_its_place_back() {
    let gives_up = async |announced, rest| {
        let web = web();
        let at = streaming(announced, LONG + 1, rest).await;
        let long = WebRequest {
            max_bytes: 32 << 20,
            timeout: Duration::from_secs(2),
            tenant: "a".into(),
            ..written(&at)
        };
        let places = web.connections.long_answers();
        let _other = places.enter(&long.tenant).await;
        let place_is_back = async {
            while places.enter(&long.tenant).now_or_never().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            places.enter(&long.tenant).await
        };
        let both = async { tokio::join!(web.read(&long), place_is_back) };
        let both = tokio::time::timeout(Duration::from_secs(30), both).await;
        let (read, _place) = both.expect("it took no place, or keeps it");
        let error = read.unwrap_err();
        assert!(matches!(error, OrasError::GaveUp { .. }), "{rest:?}: {error}");
    };
    tokio::join!(
        gives_up(Some(32 << 20), Rest::Stops),
        gives_up(None, Rest::Stops),
        gives_up(Some(32 << 20), Rest::Drips),
    );
}

#[tokio::test]
async fn few_long_answers_are_read_at_once_and_short_ones_do_not_wait() {
    let web = web();
    let (at, _asked) = server(ok(&"x".repeat(LONG + 1))).await;
    let long = WebRequest {
        max_bytes: 2 << 20,
        timeout: Duration::from_millis(500),
        tenant: "a".into(),
        ..written(&at)
    };
    let places = web.connections.long_answers();
    let mut taken = vec![places.enter(&long.tenant).await, places.enter(&long.tenant).await];
    let late = web.read(&long).await.unwrap_err();
    assert!(matches!(late, OrasError::GaveUp { .. }), "{late}");
    let (short, _asked) = server(ok("x")).await;
    let short = WebRequest { tenant: "a".into(), ..written(&short) };
    assert_eq!(web.read(&short).await.unwrap(), "x");
    let patient = Duration::from_secs(30);
    let of_another = WebRequest { tenant: "b".into(), timeout: patient, ..long.clone() };
    assert_eq!(web.read(&of_another).await.unwrap().len(), LONG + 1);
    taken.pop();
    let again = WebRequest { timeout: patient, ..long };
    assert_eq!(web.read(&again).await.unwrap().len(), LONG + 1);
}

#[tokio::test]
async fn each_answer_that_is_no_success_is_an_error_of_its_kind() {
    let status = |line: &str| format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n");
    let (at, _asked) = server(status("404 Not Found")).await;
    assert!(web().read(&written(&at)).await.unwrap_err().is_not_found());
    for (line, is_passing) in [("503 Busy", true), ("403 Forbidden", false), ("204 Nothing", false)]
    {
        let (at, _asked) = server(status(line)).await;
        let error = web().read(&written(&at)).await.unwrap_err();
        assert_eq!(error.is_transient(), is_passing, "{error}");
    }
    let (at, _asked) = server("").await;
    let hung_up = web().read(&written(&at)).await.unwrap_err();
    assert!(matches!(hung_up, OrasError::Unreachable { .. }), "{hung_up}");
}

#[tokio::test]
async fn who_does_not_answer_is_waited_for_no_longer_than_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}/crl?secret=hunter2", listener.local_addr().unwrap());
    let request = WebRequest { timeout: Duration::from_millis(200), ..written(&at) };
    let error = web().read(&request).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn follows_redirects_to_where_it_may_and_not_for_ever() {
    let (end, _asked) = server(ok("end")).await;
    let to = |location: &str| {
        format!(
            "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
    };
    let (at, _asked) = server(to(&end)).await;
    assert_eq!(web().read(&written(&at)).await.unwrap(), "end");
    for location in ["/", "ftp://x/", "http://u:p@127.0.0.1/", "http://169.254.169.254/"] {
        let (at, _asked) = server(to(location)).await;
        let error = web().read(&written(&at)).await.unwrap_err();
        assert!(matches!(error, OrasError::Forbidden { .. }), "{location}: {error}");
    }
    let (at, _asked) = server(to(&end)).await;
    let question = WebRequest { body: Some(("a/b", Bytes::new())), ..written(&at) };
    let error = web().read(&question).await.unwrap_err();
    assert!(matches!(error, OrasError::Status { status: 302, .. }), "{error}");
}

#[tokio::test]
async fn a_document_does_not_make_this_machine_be_asked_and_an_operator_may() {
    let (at, mut asked) = server(ok("x")).await;
    let of_document = WebRequest { is_written: false, ..written(&at) };
    for web in [web(), anybodys()] {
        let error = web.read(&of_document).await.unwrap_err();
        assert!(error.to_string().contains("registries.allowedAddresses"), "{error}");
    }
    let error = anybodys().read(&written(&at)).await.unwrap_err();
    assert!(matches!(error, OrasError::Forbidden { .. }), "{error}");
    for url in [
        "http://169.254.169.254/",
        "https://metadata.google.internal/",
        "file:///etc/passwd",
        "http://",
        "x",
    ] {
        let error = web().read(&written(url)).await.unwrap_err();
        assert!(matches!(error, OrasError::Forbidden { .. }), "{url}: {error}");
    }
    assert!(asked.try_recv().is_err(), "it was asked");
}

#[tokio::test]
async fn nobody_is_asked_when_the_time_is_over() {
    let (at, mut asked) = server(ok("x")).await;
    let request = WebRequest { timeout: Duration::ZERO, ..written(&at) };
    let error = web().read(&request).await.unwrap_err();
    assert!(matches!(error, OrasError::GaveUp { .. }), "{error}");
    // Whoever is asked next is the first.
    assert_eq!(web().read(&written(&format!("{at}/next"))).await.unwrap(), "x");
    assert!(asked.recv().await.unwrap().starts_with("GET /next "));
}
