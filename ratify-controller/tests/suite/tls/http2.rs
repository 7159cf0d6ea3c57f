//! Either version of HTTP over TLS, as the client likes.

use http::Version;
use serde_json::json;

use super::parts::{Authority, Site};

#[tokio::test]
async fn who_knows_http_2_gets_it_and_who_does_not_does_not() {
    let servers = Authority::new("servers");
    let Some(site) = Site::start(&servers.issue(), |_| {}).await else { return };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let port = site.address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/ratify/gatekeeper/v1/verify");
    let client = || {
        let trusted = reqwest::Certificate::from_pem(servers.pem().as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([trusted])
    };
    let body = json!({"request": {"keys": ["A/B"]}}).to_string();
    for (client, version) in
        [(client(), Version::HTTP_2), (client().http1_only(), Version::HTTP_11)]
    {
        let client = client.build().unwrap();
        for _ in 0..3 {
            let answer = client.post(&url).body(body.clone()).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
            let document: serde_json::Value =
                serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            assert_eq!(document["response"]["items"][0]["key"], "A/B");
        }
        let large = client.post(&url).body(vec![b' '; (4 << 20) + 1]).send().await;
        // A client that is still writing may see the end before it sees the answer.
        assert!(large.is_err() || large.is_ok_and(|answer| answer.status() == 413));
        let answer = client.post(&url).body("{").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (400, version));
    }
    // Who offers nothing, as Gatekeeper does, speaks HTTP/1.1.
    assert!(site.answers(&servers, None).await);
}
