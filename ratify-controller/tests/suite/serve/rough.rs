//! Clients that misbehave, and many at once.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::parts::{
    MUTATE, SIGNED, SLOW, Server, UNSIGNED, VERIFY, executor, request, slow, store, within,
};

#[tokio::test]
async fn a_body_that_is_no_request_is_a_400_with_v1s_text() {
    let server = Server::usual().await;
    let deep = format!(r#"{{"request":{}"#, "{\"request\":".repeat(10_000));
    let keys = format!(r#"{{"request":{{"keys":[{}""]}}}}"#, "\"\",".repeat(1000));
    let corpus = [
        "",
        "<html><body>502 Bad Gateway</body></html>",
        "[]",
        "7",
        "1e99999",
        "\"keys\"",
        "{\"request\":7}",
        "{\"request\":{\"keys\":{\"a\":1}}}",
        "{\"request\":{\"keys\":[1e400]}}",
        "{\"request\":{\"keys\":[12345678901234567890123456789012345678901234567890]}}",
        "{\"request\":{\"keys\":[\"a\"]},\"request\":{\"keys\":[\"b\"]}}",
        "{\"request\":{\"keys\":[\"a\"],\"keys\":[\"b\"]}}",
        "{\"request\":{\"keys\":[\"a\"]}} trailing",
        "{\"request\":{\"keys\":[\"a\"",
        "\u{0}\u{1}\u{2}",
        &deep,
        &keys,
    ];
    for body in corpus {
        let (verify, mutate) = (server.post(VERIFY, body).await, server.post(MUTATE, body).await);
        assert_eq!((verify.status, mutate.status), (400, 400), "{body:.60}");
        let text = |json: serde_json::Value| {
            assert!(json["response"].get("items").is_none());
            json["response"]["systemError"].as_str().unwrap().to_owned()
        };
        assert!(
            text(verify.json())
                .starts_with("operation failed with error unable to unmarshal request body: ")
        );
        assert!(text(mutate.json()).starts_with(
            "operation failed with error BAD_REQUEST: unable to unmarshal request body: "
        ));
        assert_eq!(mutate.json()["response"]["idempotent"], true);
    }
    let bytes = b"{\"request\":{\"keys\":[\"\xff\xfe\"]}}";
    assert_eq!(server.send("POST", VERIFY, "", bytes).await.status, 400);
    assert_eq!(server.verify(&[SIGNED]).await.items().len(), 1, "the server lives");
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused_however_it_comes() {
    let server = Server::usual().await;
    let body = vec![b' '; (4 << 20) + 1];
    let answer = server.send("POST", VERIFY, "", &body).await;
    // A client that is still writing may see the connection end before it sees the answer.
    if answer.status != 0 {
        assert_eq!(answer.status, 413);
        assert_eq!(
            answer.json()["response"]["systemError"],
            "operation failed with error unable to read request body: it has more than 4194304 bytes"
        );
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST {VERIFY} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 65536], b"\r\n".to_vec()].concat();
    let mut sent = 0;
    while sent < 100 && stream.write_all(&chunk).await.is_ok() {
        sent += 1;
    }
    let answer = super::parts::read(stream).await;
    assert!(sent < 100 || answer.status == 413, "{} after {sent} chunks", answer.status);
    assert_eq!(server.verify(&[SIGNED]).await.items().len(), 1, "the server lives");
}

#[tokio::test]
async fn a_hostile_key_is_an_error_and_echoed_as_json() {
    let server = Server::usual().await;
    let long = "a".repeat(100_000);
    let keys = ["\u{1b}[31m<b>&", "../../etc/passwd", "[ns", "[ns]", &long, "a\u{0}b"];
    let items = server.verify(&keys).await.items();
    for (key, item) in keys.iter().zip(&items) {
        assert_eq!(item["key"], *key);
        assert_eq!(item["error"], "REFERENCE_INVALID: failed to parse subject reference");
    }
    assert_eq!(items.len(), keys.len());
}

#[tokio::test]
async fn a_client_that_goes_away_takes_nothing_with_it() {
    let server = Server::start(
        executor(store(), slow(Duration::from_millis(400))),
        within(Duration::from_secs(20)),
    )
    .await;
    let body = request(&[SLOW, SIGNED]);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head =
            format!("POST {VERIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        drop(stream);
    }
    let items = server.verify(&[SLOW, SIGNED]).await.items();
    assert!(items.iter().all(|item| item["value"]["isSuccess"] == true), "{items:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_at_once_are_each_answered_right() {
    let server = Server::usual().await;
    let answers = join_all((0..100).map(|index| {
        let server = &server;
        async move {
            let namespaced = format!("[ns{index}]{SIGNED}");
            server.verify(&[SIGNED, UNSIGNED, &namespaced, "A/B"]).await.items()
        }
    }))
    .await;
    for (index, items) in answers.iter().enumerate() {
        assert_eq!(items[0]["value"]["isSuccess"], true);
        assert_eq!(items[1]["value"]["isSuccess"], false);
        assert_eq!(items[2]["key"], format!("[ns{index}]{SIGNED}"));
        assert_eq!(items[2]["value"]["isSuccess"], true);
        assert!(items[3]["error"].is_string());
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let server = Server::usual().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = request(&[SIGNED]);
    let one = |more: &str| {
        format!(
            "POST {VERIFY} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    stream.write_all(one("").as_bytes()).await.unwrap();
    stream.write_all(one("Connection: close\r\n").as_bytes()).await.unwrap();
    let answer = super::parts::read(stream).await;
    assert_eq!(answer.body.matches("\"isSuccess\":true,\"traceID\"").count(), 2, "{}", answer.body);
}
