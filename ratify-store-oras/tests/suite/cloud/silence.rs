//! Services that take a question and say nothing, or hardly anything: they are given up.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use ratify_store_oras::Connections;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{environment, granted, provider};

const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// How a service is silent.
#[derive(Debug, Clone, Copy)]
enum Silence {
    /// From the beginning.
    Whole,
    /// After the first byte of the answer's body.
    InTheBody,
    /// Between bytes, for a second each.
    BetweenBytes,
}

async fn server(silence: Silence) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(hold(stream, silence));
        }
    });
    address
}

async fn hold(mut stream: TcpStream, silence: Silence) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await?);
    }
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{";
    match silence {
        Silence::Whole => {}
        Silence::InTheBody => stream.write_all(head).await?,
        Silence::BetweenBytes => {
            stream.write_all(head).await?;
            for _ in 0..900 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stream.write_all(b" ").await?;
            }
        }
    }
    // Held until the test is over.
    std::future::pending().await
}

#[tokio::test]
async fn a_service_that_says_nothing_is_given_up_after_half_a_minute() {
    let asked = [Silence::Whole, Silence::InTheBody, Silence::BetweenBytes].map(async |silence| {
        let uri = format!("http://{}/v1/credentials", server(silence).await);
        let environment = environment([("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str())]);
        let config = json!({"name": "awsEcrBasic"});
        let provider = provider(&config, &environment, &Connections::default()).unwrap();
        let begun = Instant::now();
        // Longer than this nobody waits for the test, either.
        let asked = tokio::time::timeout(Duration::from_secs(50), granted(&*provider, HOST));
        let refused = asked.await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("gave up, the time for it is over"), "{silence:?}: {refused}");
        let seconds = begun.elapsed().as_secs();
        assert!((29..=33).contains(&seconds), "{silence:?}: {seconds}");
    });
    futures_util::future::join_all(asked).await;
}
