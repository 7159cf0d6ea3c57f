//! The embedded registry over real connections: what it answers, what it refuses and when it ends.
//! Beneath: the OCI conformance suite run against it, and every lie it can tell.

// What a test's helper cannot do fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conformance;
mod lies;

use bytes::Bytes;
use ratify_controller::dev::{RegistryError, RegistryOptions, RunningRegistry};
use ratify_core::{Descriptor, media_type};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response};
use serde_json::Value;

/// Starts a registry with the defaults.
async fn started() -> RunningRegistry {
    RunningRegistry::start(RegistryOptions::default()).await.unwrap()
}

/// A client that follows no redirect, uses no proxy and trusts nobody yet.
fn client_builder() -> ClientBuilder {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Another test of this binary may have been first: the provider is the same.
    let _ = provider.install_default();
    let none = reqwest::redirect::Policy::none();
    Client::builder().no_proxy().redirect(none).tls_certs_only([])
}

fn request(registry: &RunningRegistry, method: &str, path: &str) -> RequestBuilder {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    client_builder().build().unwrap().request(method, format!("{}{path}", registry.url()))
}

async fn send(registry: &RunningRegistry, method: &str, path: &str) -> Response {
    request(registry, method, path).send().await.unwrap()
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn sbom(text: &'static str) -> [(&'static str, Bytes); 1] {
    [("application/spdx+json", Bytes::from_static(text.as_bytes()))]
}

fn attach(registry: &RunningRegistry, subject: &Descriptor, text: &'static str) -> Descriptor {
    registry.put_artifact("app", subject, "application/spdx+json", &sbom(text)).unwrap()
}

#[tokio::test]
async fn listens_on_loopback_only() {
    let address = "0.0.0.0:0".parse().unwrap();
    let options = RegistryOptions { address, ..RegistryOptions::default() };
    let error = RunningRegistry::start(options).await.err().unwrap();
    insta::assert_snapshot!(error, @"the registry listens on loopback addresses only, and 0.0.0.0:0 is none");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let first = started().await;
    let options = RegistryOptions { address: first.address(), ..RegistryOptions::default() };
    let error = RunningRegistry::start(options).await.err().unwrap().to_string();
    assert!(error.starts_with(&format!("listening on {} failed: ", first.address())), "{error}");
}

#[tokio::test]
async fn the_port_is_free_once_the_registry_is_shut_down_and_connections_are_closed() {
    let registry = started().await;
    let address = registry.address();
    let client = client_builder().build().unwrap();
    client.get(registry.url() + "/v2/").send().await.unwrap();
    registry.shutdown().await;
    tokio::net::TcpListener::bind(address).await.unwrap();
    assert!(client.get(format!("http://{address}/v2/")).send().await.is_err());
}

#[tokio::test]
async fn serves_https_by_an_authority_of_its_own() {
    let options = RegistryOptions { tls: true, ..RegistryOptions::default() };
    let registry = RunningRegistry::start(options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    registry.write_ca(&file).unwrap();
    let pem = std::fs::read(&file).unwrap();
    assert_eq!(Some(std::str::from_utf8(&pem).unwrap()), registry.ca_pem());
    let authority = reqwest::Certificate::from_pem(&pem).unwrap();
    let trusting = client_builder().tls_certs_only([authority]).build().unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}/v2/", registry.address().port());
        assert_eq!(trusting.get(url).send().await.unwrap().status(), 200);
    }
    let other = RunningRegistry::start(RegistryOptions { tls: true, ..RegistryOptions::default() });
    let other = other.await.unwrap();
    assert!(trusting.get(other.url() + "/v2/").send().await.is_err(), "another run's authority");
    let missing = folder.path().join("missing/ca.pem");
    assert!(matches!(registry.write_ca(&missing), Err(RegistryError::WriteAuthority { .. })));
    assert!(matches!(started().await.write_ca(&missing), Err(RegistryError::NoAuthority)));
}

#[tokio::test]
async fn a_password_is_asked_for_on_every_path() {
    let credentials = Some(("user".to_owned(), "word".to_owned()));
    let options = RegistryOptions { credentials, ..RegistryOptions::default() };
    let registry = RunningRegistry::start(options).await.unwrap();
    registry.put_image("app", "v1", "layer").unwrap();
    for path in ["/v2/", "/v2/app/manifests/v1", "/v2/app/tags/list", "/nothing"] {
        let refused = send(&registry, "GET", path).await;
        assert_eq!(refused.status(), 401, "{path}");
        assert_eq!(header(&refused, "www-authenticate"), "Basic realm=\"ratify dev registry\"");
        assert_eq!(json(refused).await["errors"][0]["code"], "UNAUTHORIZED");
    }
    // user:word, then user:wrong, then another scheme, then no base64.
    let sent = [
        "Basic dXNlcjp3b3Jk",
        "basic dXNlcjp3b3Jk",
        "Basic dXNlcjp3cm9uZw==",
        "Bearer dXNlcjp3b3Jk",
        "Basic",
    ];
    for (header, status) in sent.into_iter().zip([200, 200, 401, 401, 401]) {
        let asked = request(&registry, "GET", "/v2/").header("authorization", header);
        assert_eq!(asked.send().await.unwrap().status(), status, "{header}");
    }
    let seen = registry.requests();
    assert!(!seen[0].with_credentials && seen[4].with_credentials);
}

#[tokio::test]
async fn a_manifest_is_had_by_tag_and_digest_with_its_headers() {
    let registry = started().await;
    let image = registry.put_image("team/app", "v1", "layer").unwrap();
    for reference in ["v1", image.digest.as_str(), &image.digest.as_str().replace(':', "%3A")] {
        for method in ["GET", "HEAD"] {
            let path = format!("/v2/team/app/manifests/{reference}");
            let response = send(&registry, method, &path).await;
            assert_eq!(response.status(), 200, "{method} {path}");
            assert_eq!(header(&response, "content-type"), media_type::OCI_MANIFEST);
            assert_eq!(header(&response, "docker-content-digest"), image.digest.as_str());
            assert_eq!(header(&response, "content-length"), image.size.to_string());
            let length = response.bytes().await.unwrap().len() as u64;
            assert_eq!(length, if method == "GET" { image.size } else { 0 });
        }
    }
    let unknown = send(&registry, "GET", "/v2/team/app/manifests/v2").await;
    assert_eq!(
        (unknown.status().as_u16(), json(unknown).await["errors"][0]["code"].clone()),
        (404, "MANIFEST_UNKNOWN".into())
    );
    assert!(registry.delete_manifest("team/app", &image.digest));
    assert_eq!(send(&registry, "GET", "/v2/team/app/manifests/v1").await.status(), 404);
}

#[tokio::test]
async fn parts_of_a_blob_are_had_by_range() {
    let registry = started().await;
    let digest = registry.put_blob("app", "0123456789").unwrap();
    let path = format!("/v2/app/blobs/{digest}");
    let cases = [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-2", 206, "bytes 8-9/10", "89"),
        ("lines=1-2", 200, "", "0123456789"),
        ("bytes=10-", 416, "bytes */10", ""),
    ];
    for (range, status, content_range, expected) in cases {
        let response =
            request(&registry, "GET", &path).header("range", range).send().await.unwrap();
        assert_eq!(response.status(), status, "{range}");
        assert_eq!(header(&response, "content-range"), content_range, "{range}");
        let body = response.text().await.unwrap();
        assert!(status == 416 || body == expected, "{range}: {body}");
    }
}

#[tokio::test]
async fn tags_come_in_order_and_in_pages() {
    let registry = started().await;
    for tag in ["b", "a", "d", "c"] {
        registry.put_image("app", tag, "layer").unwrap();
    }
    let first = send(&registry, "GET", "/v2/app/tags/list?n=3").await;
    let link = header(&first, "link").to_owned();
    assert_eq!(link, "</v2/app/tags/list?n=3&last=c>; rel=\"next\"");
    assert_eq!(json(first).await["tags"], serde_json::json!(["a", "b", "c"]));
    let last = send(&registry, "GET", "/v2/app/tags/list?n=3&last=c").await;
    assert_eq!(header(&last, "link"), "");
    assert_eq!(json(last).await["tags"], serde_json::json!(["d"]));
    assert_eq!(send(&registry, "GET", "/v2/app/tags/list?n=x").await.status(), 400);
    assert_eq!(send(&registry, "GET", "/v2/none/tags/list").await.status(), 404);
}

#[tokio::test]
async fn referrers_are_filtered_and_come_in_pages() {
    let options = RegistryOptions { page_size: 2, ..RegistryOptions::default() };
    let registry = RunningRegistry::start(options).await.unwrap();
    let image = registry.put_image("app", "v1", "layer").unwrap();
    let mut expected: Vec<_> =
        ["1", "2", "3", "4", "5"].map(|text| attach(&registry, &image, text)).into();
    let other = registry.put_artifact("app", &image, "other/type", &sbom("6")).unwrap();
    expected.sort_by(|a, b| a.digest.cmp(&b.digest));
    let start = format!("/v2/app/referrers/{}", image.digest);
    let mut next = format!("{start}?artifactType=application%2Fspdx%2Bjson");
    let mut found: Vec<Descriptor> = Vec::new();
    let mut pages = 0;
    while !next.is_empty() {
        let page = send(&registry, "GET", &next).await;
        assert_eq!(header(&page, "oci-filters-applied"), "artifactType");
        assert_eq!(header(&page, "content-type"), media_type::OCI_INDEX);
        let link = header(&page, "link");
        next = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
        let entries = json(page).await["manifests"].take();
        found.extend(serde_json::from_value::<Vec<Descriptor>>(entries).unwrap());
        pages += 1;
    }
    assert_eq!((pages, &found), (3, &expected));
    let unfiltered = send(&registry, "GET", &format!("{start}?last={}", found[4].digest)).await;
    assert_eq!(header(&unfiltered, "oci-filters-applied"), "");
    let nothing = send(&registry, "GET", &format!("/v2/app/referrers/{}", other.digest)).await;
    assert_eq!(nothing.status(), 200);
    assert_eq!(json(nothing).await["manifests"], serde_json::json!([]));
}

#[tokio::test]
async fn without_the_referrers_api_the_list_is_under_the_fallback_tag() {
    let options = RegistryOptions { referrers_api: false, ..RegistryOptions::default() };
    let registry = RunningRegistry::start(options).await.unwrap();
    let image = registry.put_image("app", "v1", "layer").unwrap();
    let artifact = attach(&registry, &image, "{}");
    let path = format!("/v2/app/referrers/{}", image.digest);
    assert_eq!(send(&registry, "GET", &path).await.status(), 404);
    let tag = image.digest.as_str().replace(':', "-");
    let list = json(send(&registry, "GET", &format!("/v2/app/manifests/{tag}")).await).await;
    assert_eq!(list["manifests"], serde_json::json!([artifact]));
    let body = registry.manifest("app", &tag).unwrap().1;
    let pushed = request(&registry, "PUT", "/v2/app/manifests/again")
        .header("content-type", media_type::OCI_INDEX)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!((pushed.status().as_u16(), header(&pushed, "oci-subject")), (201, ""));
}

#[tokio::test]
async fn a_full_registry_says_so_and_takes_more_after_a_deletion() {
    let options = RegistryOptions { max_bytes: 4096, ..RegistryOptions::default() };
    let registry = RunningRegistry::start(options).await.unwrap();
    let digest = registry.put_blob("app", vec![1; 3000]).unwrap();
    let other = "sha256:c49fea75dc5d0e0a7fc2ec8c6ed6ed1fc4d1ba0a9a8a3db5b0e9b2df0ea11c0a";
    let path = format!("/v2/app/blobs/uploads/?digest={other}");
    let refused = request(&registry, "POST", &path).body(vec![2; 3000]).send().await.unwrap();
    assert_eq!(refused.status(), 413);
    let error = json(refused).await["errors"][0].take();
    assert_eq!(error["code"], "STORAGE_FULL");
    assert!(error["message"].as_str().unwrap().contains("of 4096 are used"), "{error}");
    assert!(registry.put_blob("app", vec![2; 3000]).is_err());
    assert!(registry.delete_blob("app", &digest));
    assert_eq!(registry.used_bytes(), 0);
    registry.put_blob("app", vec![2; 3000]).unwrap();
}

#[tokio::test]
async fn a_push_that_does_not_have_its_digest_leaves_nothing_behind() {
    let registry = started().await;
    let wrong = format!("sha256:{}", "0".repeat(64));
    let path = format!("/v2/app/blobs/uploads/?digest={wrong}");
    let refused = request(&registry, "POST", &path).body("bytes").send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let path = format!("/v2/app/manifests/{wrong}");
    let put = request(&registry, "PUT", &path).header("content-type", media_type::OCI_MANIFEST);
    let refused = put.body("{}").send().await.unwrap();
    assert_eq!(json(refused).await["errors"][0]["code"], "DIGEST_INVALID");
    let huge = request(&registry, "PUT", "/v2/app/manifests/v1")
        .header("content-type", media_type::OCI_MANIFEST)
        .body(vec![b' '; (4 << 20) + 1]);
    assert_eq!(huge.send().await.unwrap().status(), 413);
    assert_eq!(registry.used_bytes(), 0);
}
