//! `ratify serve` in hard times: a registry that answers late or never, more connections than there
//! are descriptors, and an end while much is under way, with descriptors and without.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, response::Response};
use futures_util::future::join_all;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Home, STATEMENT, Server, YES, config, verifier};

/// Before a registry: what is asked about `dead/…` is never answered, what is asked about `slow/…`
/// after a while.
struct Front {
    host: String,
    registry: RunningRegistry,
    slow_asked: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Front {
    async fn start(slowness: Duration) -> Self {
        let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let (client, url) = (reqwest::Client::new(), registry.url());
        let slow_asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&slow_asked);
        let router = Router::new().fallback(move |request: Request| {
            let (client, url, counted) = (client.clone(), url.clone(), Arc::clone(&counted));
            async move {
                let path = request.uri().path_and_query().unwrap().as_str().to_owned();
                if path.starts_with("/v2/dead/") {
                    std::future::pending::<()>().await;
                }
                if path.starts_with("/v2/slow/") {
                    counted.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(slowness).await;
                }
                let method = request.method().clone();
                let mut onward = client.request(method, format!("{url}{path}"));
                if let Some(accept) = request.headers().get("accept") {
                    onward = onward.header("accept", accept);
                }
                let answer = onward.send().await.unwrap();
                let mut response = Response::builder().status(answer.status());
                for (name, value) in answer.headers() {
                    response = response.header(name, value);
                }
                response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { host, registry, slow_asked, serving }
    }

    /// An image of its own with one attachment.
    fn put(&self, repository: &str, tag: &str) -> String {
        let image = self.registry.put_image(repository, tag, format!("layer {tag}")).unwrap();
        let blob = ("application/json", bytes::Bytes::from(format!("{{\"of\":{tag:?}}}")));
        self.registry.put_artifact(repository, &image, STATEMENT, &[blob]).unwrap();
        format!("{}/{repository}:{tag}", self.host)
    }
}

fn home(timeout_ms: u64) -> Home {
    let home = Home::new();
    home.script_plugin("judge", YES);
    let mut config = config(&verifier("judge"));
    config["executor"] = json!({"verificationRequestTimeout": timeout_ms});
    home.configure(&config);
    home
}

/// Status and document of an answer.
async fn ask(server: &Server, keys: &[String]) -> (u16, Value) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
    let body = json!({"request": {"keys": keys}}).to_string();
    let answer = client.post(server.url()).body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let document = serde_json::from_str(&text);
    (status, document.unwrap_or_else(|error| panic!("not one document: {error}: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_namespaces_with_five_thousand_dead_images_make_no_other_late() {
    let front = Front::start(Duration::ZERO).await;
    let images: Vec<_> = (0..40).map(|image| front.put("app", &format!("v{image}"))).collect();
    let home = home(5000);
    let server = Server::start(&home).await;
    let dead = async {
        for _ in 0..2 {
            let requests = (0..5).map(|request| {
                let whose = if request < 3 { "a" } else { "c" };
                let key = |image| format!("[{whose}]{}/dead/r{request}-{image}:v1", front.host);
                let keys: Vec<_> = (0..1000).map(key).collect();
                let server = &server;
                async move { ask(server, &keys).await }
            });
            for (status, document) in join_all(requests).await {
                assert_eq!(status, 500, "{document}");
                assert!(document["response"].get("items").is_none(), "{document}");
            }
        }
    };
    let living = async {
        for image in &images {
            let (status, document) = ask(&server, &[format!("[b]{image}")]).await;
            let item = &document["response"]["items"][0];
            assert_eq!((status, &item["value"]["isSuccess"]), (200, &json!(true)), "{document}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::join!(dead, living);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_whose_plugins_hang_makes_no_other_late() {
    let front = Front::start(Duration::ZERO).await;
    let stuck: Vec<_> = (0..150).map(|tag| front.put("stuck", &format!("v{tag}"))).collect();
    let image = front.put("app", "v1");
    let home = home(5000);
    let hangs = r#"case "$RATIFY_VERIFIER_SUBJECT" in */stuck:*|*/stuck@*) exec sleep 600;; esac"#;
    home.script_plugin("judge", &format!("cat >/dev/null; {hangs}; echo '{{\"isSuccess\":true}}'"));
    let server = Server::start(&home).await;
    let keys: Vec<_> = stuck.iter().map(|image| format!("[a]{image}")).collect();
    let hanging = async {
        for _ in 0..2 {
            let (status, document) = ask(&server, &keys).await;
            assert_eq!(status, 500, "{document}");
            assert!(document["response"].get("items").is_none(), "{document}");
        }
    };
    let living = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (status, document) = ask(&server, &[format!("[b]{image}")]).await;
            let item = &document["response"]["items"][0];
            assert_eq!((status, &item["value"]["isSuccess"]), (200, &json!(true)), "{document}");
        }
    };
    tokio::join!(hanging, living);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_too_late_is_a_hit_when_it_is_asked_for_again() {
    let front = Front::start(Duration::from_millis(700)).await;
    let (slow, fast) = (front.put("slow/app", "v1"), front.put("app", "v1"));
    let home = home(1000);
    let server = Server::start(&home).await;
    let (status, document) = ask(&server, &[slow.clone(), fast.clone()]).await;
    assert_eq!(status, 500, "{document}");
    let response = &document["response"];
    let error = "operation failed with error operation timed out after duration 1s: ask again for ";
    assert_eq!(response["systemError"], format!("{error}{slow}"));
    assert_eq!(response["items"].as_array().unwrap().len(), 1);
    assert_eq!(response["items"][0]["key"], fast, "{document}");
    let asked = Instant::now();
    while !server.log().contains(&format!("the answer about {slow} came too late")) {
        assert!(asked.elapsed() < Duration::from_secs(30), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let requests = front.slow_asked.load(Ordering::SeqCst);
    for _ in 0..2 {
        let (status, document) = ask(&server, std::slice::from_ref(&slow)).await;
        let item = &document["response"]["items"][0];
        assert_eq!((status, &item["value"]["isSuccess"]), (200, &json!(true)), "{document}");
    }
    assert_eq!(front.slow_asked.load(Ordering::SeqCst), requests, "nothing was asked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_answers_all_that_is_under_way_and_waits_for_nothing_else() {
    let front = Front::start(Duration::from_millis(300)).await;
    // It takes three answers of the registry.
    let slow = front.put("slow/app", "v1");
    // What hangs would be waited for until then.
    let home = home(30_000);
    let mut server = Server::start(&home).await;
    let dead = format!("{}/dead/app:v1", front.host);
    let keys = [slow.clone(), dead.clone()];
    let load = (0..20).map(|_| ask(&server, &keys));
    let (answers, told) = tokio::join!(join_all(load), end_amid(&front, &server, 1, |_| ()));
    let took = told.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    for (status, document) in answers {
        assert_eq!(status, 500, "{document}");
        assert_eq!(document["response"]["items"][0]["value"]["isSuccess"], true, "{document}");
        let why = document["response"]["systemError"].as_str().unwrap();
        assert!(why.ends_with(&format!("ask again for {dead}")), "{why}");
    }
    has_ended(&mut server).await;
    assert!(TcpStream::connect(address(&server)).await.is_err());
}

/// There is none left to ask the registry by; or only none to start a plugin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_without_descriptors_answers_all_that_is_under_way_with_the_reason() {
    tokio::join!(end_without_descriptors(1), end_without_descriptors(13));
}

/// They are gone when the registry was asked so often, in all, about six images.
async fn end_without_descriptors(requests: usize) {
    let front = Front::start(Duration::from_millis(300)).await;
    let home = home(30_000);
    let mut server = Server::start(&home).await;
    let slow = (0..6).map(|image| front.put("slow/app", &format!("v{image}")));
    let keys: Vec<_> = slow.chain([format!("{}/dead/app:v1", front.host)]).collect();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let strike = |pid| assert!(prlimit(Some(pid), Resource::Nofile, none).is_ok());
    let ending = end_amid(&front, &server, requests, strike);
    let ((status, document), told) = tokio::join!(ask(&server, &keys), ending);
    let took = told.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert_eq!(status, 500, "{document}");
    assert!(document["response"].get("items").is_none(), "{document}");
    let why = document["response"]["systemError"].as_str().unwrap();
    for key in &keys {
        let of_key = why.split("; ").find(|why| why.contains(key.as_str()));
        let why = of_key.unwrap_or_else(|| panic!("{key}: {why}"));
        // Of a tag that no store could resolve the log says more, as in v1.
        let reasons = ["too many open files", "for a subject from any stores", "ask again for "];
        assert!(reasons.iter().any(|reason| why.to_lowercase().contains(reason)), "{why}");
    }
    has_ended(&mut server).await;
    assert!(server.log().contains("Too many open files"), "{}", server.log());
}

/// Waits until the registry was asked so often for the slow ones, has something happen to the server
/// and tells it to end.
async fn end_amid(
    front: &Front,
    server: &Server,
    requests: usize,
    strike: impl FnOnce(Pid),
) -> Instant {
    let asked = Instant::now();
    while front.slow_asked.load(Ordering::SeqCst) < requests {
        assert!(asked.elapsed() < Duration::from_secs(30), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = Pid::from_raw(server.process.id().unwrap().cast_signed()).unwrap();
    strike(pid);
    kill_process(pid, Signal::TERM).unwrap();
    Instant::now()
}

/// It ends by itself, and at peace.
async fn has_ended(server: &mut Server) {
    let ended = tokio::time::timeout(Duration::from_secs(20), server.process.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(0), "{}", server.log());
    assert!(!server.log().contains("failed to shutdown"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_descriptors_answers_again_when_there_are_some() {
    let front = Front::start(Duration::ZERO).await;
    let image = front.put("app", "v1");
    let mut home = home(2900);
    home.prefix = ["sh", "-c", r#"ulimit -n 48 && exec "$@""#, "sh"].map(str::to_owned).to_vec();
    let server = Server::start(&home).await;
    let connect = || TcpStream::connect(address(&server));
    let crowd = join_all((0..100).map(|_| connect())).await;
    let asked = Instant::now();
    while !server.log().contains("cannot accept connections: ") {
        assert!(asked.elapsed() < Duration::from_secs(30), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(crowd);
    // What was not to be had for the lack of them is no verdict.
    let asked = Instant::now();
    loop {
        let (status, document) = ask(&server, std::slice::from_ref(&image)).await;
        if status == 200 {
            let item = &document["response"]["items"][0];
            assert_eq!(item["value"]["isSuccess"], true, "{document}");
            break;
        }
        assert!(document["response"].get("items").is_none(), "{document}");
        assert!(asked.elapsed() < Duration::from_secs(30), "{document} {}", server.log());
    }
}

fn address(server: &Server) -> SocketAddr {
    let url = server.url().strip_prefix("http://").unwrap();
    url.split('/').next().unwrap().parse().unwrap()
}
