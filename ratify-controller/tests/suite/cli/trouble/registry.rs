//! A registry that stops speaking: before its answer, in its headers, or in the middle of its body;
//! asked for the image, for the list, or for an artifact.

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    super::proxy::{Fate, Proxy},
    *,
};

/// How many bytes the head of an answer has. Another's differs by a few, and its body has more.
async fn head_of(address: &str, path: &str) -> u64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(bytes.starts_with(b"HTTP/1.1 200") && bytes.len() > head + 100, "{path}");
    head as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_stops_speaking_allows_nothing_and_is_asked_again() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let proxy = Proxy::plain(&registry.host()).await;
    let other = put(&registry, "other");
    let home = home();
    let mut file = config(&verifier("judge"));
    file["executor"] = json!({"verificationRequestTimeout": 600, "giveUpAfter": 1200});
    home.configure(&file);
    let server = Server::start(&home).await;
    let mut case = 0;
    for (method, part) in
        [("HEAD", "/manifests/v1"), ("GET", "/referrers/"), ("GET", "/manifests/sha256:")]
    {
        for place in ["no answer", "its headers", "its body"] {
            if (method, place) == ("HEAD", "its body") {
                continue;
            }
            case += 1;
            let repository = format!("app{case}");
            let image = put(&registry, &repository);
            let image = image.replace(&registry.host(), proxy.address());
            let path = format!("/v2/{repository}/manifests/v1");
            let head = head_of(&registry.host(), &path).await;
            let fate = match place {
                "no answer" => Fate::Hold,
                "its headers" => Fate::After(head / 2),
                _ => Fate::After(head + 20),
            };
            let path = part.to_owned();
            proxy.forget_held();
            proxy.rule(move |asked| {
                let is_meant = asked.method == method && asked.path.contains(&path);
                if is_meant { fate.clone() } else { Fate::Pass }
            });
            let said = server.ask(&image).await;
            assert!(!allows(&said), "{method} {part} {place}: {said}");
            assert!(said.get("value").is_none(), "it is nothing about the image: {said}");
            // It hangs still, and nobody else does.
            until(&server, &other, true).await;
            proxy.held().await;
            proxy.rule(|_| Fate::Pass);
            until(&server, &image, true).await;
        }
    }
}
