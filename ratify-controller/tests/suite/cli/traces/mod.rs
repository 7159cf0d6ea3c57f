//! `ratify serve` with a collector of traces: from Gatekeeper's request down to each call of a registry
//! and each process of a plugin, and back in the log; and what a collector that is away costs.

mod collector;
mod receiver;
mod schema;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, http::request::Parts, response::Response};
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Home, STATEMENT, Server, YES, config, sample, verifier};
use collector::Collector;
use receiver::{Got, Receiver};

const PASSWORD: &str = "correct-horse-battery";
const TOKEN: &str = "token-of-the-registry";
/// A machine that does much else is slow, which is not what these tests are about.
const PATIENCE_MS: u64 = 100_000;
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A registry that wants a token, which its own service gives for a password.
struct Guarded {
    host: String,
    registry: RunningRegistry,
    /// What `x-request-id` it was sent.
    ids: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Guarded {
    async fn start() -> Self {
        let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let (client, url) = (reqwest::Client::new(), registry.url());
        let ids = Arc::<Mutex<Vec<String>>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (seen, of_host) = (Arc::clone(&ids), host.clone());
        let router = Router::new().fallback(move |request: Request| {
            let (client, url, host) = (client.clone(), url.clone(), of_host.clone());
            if let Some(id) = request.headers().get("x-request-id") {
                seen.lock().unwrap().push(id.to_str().unwrap().to_owned());
            }
            async move { answer(&client, &url, &host, &request.into_parts().0).await }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { host, registry, ids, serving }
    }

    fn put_app(&self) -> String {
        let image = self.registry.put_image("app", "v1", "layer").unwrap();
        let blob = ("application/json", bytes::Bytes::from_static(b"{}"));
        self.registry.put_artifact("app", &image, STATEMENT, &[blob]).unwrap();
        format!("{}/app:v1", self.host)
    }
}

async fn answer(client: &reqwest::Client, url: &str, host: &str, request: &Parts) -> Response {
    let shown = request.headers.get("authorization").map(|value| value.to_str().unwrap());
    let path = request.uri.path_and_query().unwrap().as_str();
    if path.starts_with("/token") {
        assert!(shown.unwrap().starts_with("Basic "));
        return Response::new(Body::from(json!({"token": TOKEN}).to_string()));
    }
    if shown != Some(&format!("Bearer {TOKEN}")) {
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
        let refused = Response::builder().status(401).header("www-authenticate", challenge);
        return refused.body(Body::empty()).unwrap();
    }
    let mut onward = client.request(request.method.clone(), format!("{url}{path}"));
    if let Some(accept) = request.headers.get("accept") {
        onward = onward.header("accept", accept);
    }
    let answer = onward.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// Asks with headers; the answer's status and items.
async fn ask(server: &Server, keys: &[&str], headers: &[(&str, &str)]) -> (u16, Value) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build().unwrap();
    let body = json!({"request": {"keys": keys}}).to_string();
    let mut request = client.post(server.url()).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let mut document: Value = answer.json().await.unwrap();
    (status, document["response"]["items"].take())
}

async fn terminate(server: &mut Server) -> Duration {
    let pid = Pid::from_raw(server.process.id().unwrap().cast_signed()).unwrap();
    let began = Instant::now();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), server.process.wait()).await;
    let status = ended.unwrap_or_else(|_| panic!("it does not end: {}", server.log()));
    assert_eq!(status.unwrap().code(), Some(0), "{}", server.log());
    began.elapsed()
}

/// What differs from run to run.
fn settled(text: &str, guarded: &Guarded) -> String {
    let (host, port) = guarded.host.split_once(':').unwrap();
    let text =
        text.replace(&guarded.host, "<registry>").replace(host, "<host>").replace(port, "<port>");
    let mut settled = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("sha256:") {
        let end = at + "sha256:".len();
        settled.push_str(&rest[..end]);
        settled.push_str("<hex>");
        rest = rest[end..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    settled + rest
}

/// Drops `name=number, ` from lists of attributes: what took no time is not there at all.
fn without(text: &str, name: &str) -> String {
    let name = format!("{name}=");
    let mut parts = text.split(&name);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        kept = match rest.strip_prefix(", ") {
            Some(rest) => kept + rest,
            None => kept.trim_end_matches(", ").to_owned() + rest,
        };
    }
    kept
}

/// Asks for an image within somebody's trace, for the same, and for one that is not there. What the
/// server said.
async fn three_requests(
    guarded: &Guarded,
    collector: &[(&'static str, String)],
) -> (String, String) {
    let mut home = Home::new();
    home.link_plugin("sample", &sample());
    home.log_in(&guarded.host, "user", PASSWORD);
    let mut config = config(&verifier("sample"));
    config["executor"] = json!({"verificationRequestTimeout": PATIENCE_MS});
    config["logger"] = json!({"requestHeaders": {"traceIDHeaderName": ["x-request-id"]}});
    home.configure(&config);
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collectors"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_SERVICE_NAME", "gate"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb"),
        ("HOSTNAME", "pod-1"),
    ] {
        home.set(name, value);
    }
    for (name, value) in collector {
        home.set(name, value);
    }
    let image = guarded.put_app();
    let mut server =
        Server::run(home.command(&["serve", "--http", "127.0.0.1:0", "--cache-enabled"])).await;
    let parent = [("traceparent", TRACEPARENT)];
    let (status, items) = ask(&server, &[&image], &parent).await;
    assert_eq!((status, &items[0]["value"]["isSuccess"]), (200, &json!(true)), "{items}");
    assert_eq!(items[0]["value"]["traceID"], TRACE_ID);
    let (_, items) = ask(&server, &[&image], &[("x-request-id", "id-7")]).await;
    assert_eq!(items[0]["value"]["traceID"], "id-7");
    let absent = format!("[team]{}", image.replace(":v1", ":none"));
    ask(&server, &[&absent], &[("x-request-id", "id-8")]).await;
    terminate(&mut server).await;
    (image, server.log())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_leads_from_the_request_to_each_call_of_a_registry_and_to_the_plugin() {
    let (guarded, receiver) = (Guarded::start().await, Receiver::start().await);
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url.clone())];
    let (image, log) = three_requests(&guarded, &endpoint).await;
    let got = receiver.got();
    leads_down(&got, &guarded);
    is_from_ratify(&got);
    assert!(got.headers.iter().all(|headers| {
        headers["authorization"] == "Bearer collectors"
            && headers["content-type"] == "application/x-protobuf"
    }));
    has_no_secret(&got.bodies, &log);
    the_log_knows_the_trace(&log, &image);
    let ids = guarded.ids.lock().unwrap();
    assert!(ids.iter().any(|id| id == TRACE_ID) && ids.iter().any(|id| id == "id-8"), "{ids:?}");
    assert!(!ids.iter().any(|id| id == "id-7"), "what is kept asks nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_collectors_own_receiver_reads_the_same_from_who_shows_a_certificate() {
    let Some(collector) = Collector::start().await else { return };
    let guarded = Guarded::start().await;
    let (_, log) = three_requests(&guarded, &collector.variables(false)).await;
    let lost = format!("the last spans are lost: {}/v1/traces has not taken them", collector.url());
    assert!(log.contains(&lost), "{log}");
    assert!(collector.got().spans.is_empty(), "nothing of whom it does not know");
    three_requests(&guarded, &collector.variables(true)).await;
    let got = collector.got();
    leads_down(&got, &guarded);
    is_from_ratify(&got);
}

/// The three traces: of what was judged, of what was kept, and of what failed.
fn leads_down(got: &Got, guarded: &Guarded) {
    let trace_id = hex::decode(TRACE_ID).unwrap();
    let tree = got.tree(&trace_id, &hex::decode("00f067aa0ba902b7").unwrap());
    let tree = without(&without(&tree, "ratify.waited_ms"), "ratify.plugin.stdout_bytes");
    insta::allow_duplicates!(insta::assert_snapshot!(settled(&tree, guarded), @r#"
    POST /ratify/gatekeeper/v1/verify [server] {http.request.method=POST, http.response.status_code=200, http.route=/ratify/gatekeeper/v1/verify, ratify.keys=1, ratify.trace_id=4bf92f3577b34da6a3ce929d0e0e4736}
      key {ratify.digest=sha256:<hex>, ratify.from=work, ratify.key=<registry>/app:v1, ratify.success=true}
        verify {namespace=, ratify.subject=<registry>/app:v1, ratify.success=true, trace_id=4bf92f3577b34da6a3ce929d0e0e4736}
          subject {ratify.subject=<registry>/app:v1}
            resolve {ratify.digest=sha256:<hex>, ratify.store=oras, ratify.subject=<registry>/app:v1}
              HEAD manifest [client] {http.request.method=HEAD, http.response.status_code=401, ratify.endpoint=manifest, server.address=<host>, server.port=<port>, url.path=/v2/app/manifests/v1, url.scheme=http}
              token {server.address=<host>}
                GET other [client] {http.request.method=GET, http.response.body.size=33, http.response.status_code=200, ratify.endpoint=other, server.address=<host>, server.port=<port>, url.path=/token, url.scheme=http}
              HEAD manifest [client] {http.request.method=HEAD, http.response.status_code=200, ratify.endpoint=manifest, server.address=<host>, server.port=<port>, url.path=/v2/app/manifests/v1, url.scheme=http}
            list {ratify.artifacts=1, ratify.store=oras}
              GET referrers [client] {http.request.method=GET, http.response.body.size=299, http.response.status_code=200, ratify.endpoint=referrers, server.address=<host>, server.port=<port>, url.path=/v2/app/referrers/sha256:<hex>, url.scheme=http}
            artifact {ratify.artifact.digest=sha256:<hex>, ratify.artifact.type=application/vnd.example.statement.v1+json}
              bind {}
                GET manifest [client] {http.request.method=GET, http.response.body.size=585, http.response.status_code=200, ratify.endpoint=manifest, server.address=<host>, server.port=<port>, url.path=/v2/app/manifests/sha256:<hex>, url.scheme=http}
              verify {ratify.message=Sample verification success, ratify.success=true, ratify.verifier.name=sample-1, ratify.verifier.type=sample}
                plugin {process.executable.name=sample, process.exit.code=0, ratify.plugin.digest=sha256:<hex>, ratify.plugin.name=sample-1, ratify.plugin.stderr_bytes=34}
          policy {ratify.policy=configpolicy, ratify.success=true}
    "#));
    let spans = got.spans.iter().filter(|span| span.trace_id == trace_id).count();
    assert_eq!(spans, tree.lines().count(), "each is in its place");

    let others: Vec<_> = got.spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    let ids = others.iter().map(|span| span.attributes["ratify.trace_id"].as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["id-7", "id-8"]);
    let [cached, failed] = [0, 1].map(|of| got.tree(&others[of].trace_id, &others[of].span_id));
    insta::allow_duplicates!(
        insta::assert_snapshot!(settled(&cached, guarded), @"key {ratify.digest=sha256:<hex>, ratify.from=memory, ratify.key=<registry>/app:v1, ratify.success=true}")
    );
    let failed = without(&failed, "ratify.waited_ms");
    insta::allow_duplicates!(insta::assert_snapshot!(settled(&failed, guarded), @r#"
    key {ratify.digest=, ratify.from=work, ratify.key=[team]<registry>/app:none, ratify.success=false}
      verify {namespace=team, ratify.subject=<registry>/app:none, ratify.success=false, trace_id=id-8}
        subject Error(REFERRER_STORE_FAILURE: could not resolve descriptor for a subject from any stores) {error.type=REFERRER_STORE_FAILURE, ratify.subject=<registry>/app:none}
          resolve Error(REPOSITORY_OPERATION_FAILURE: Unable to resolve the reference: <registry>/app:none: <registry>/app:none: not found) {error.type=REPOSITORY_OPERATION_FAILURE, ratify.store=oras, ratify.subject=<registry>/app:none}
            HEAD manifest [client] {http.request.method=HEAD, http.response.status_code=404, ratify.endpoint=manifest, server.address=<host>, server.port=<port>, url.path=/v2/app/manifests/none, url.scheme=http}
        policy {ratify.policy=configpolicy, ratify.success=false}
    "#));
}

/// Who sent it, and how.
fn is_from_ratify(got: &Got) {
    let version = env!("CARGO_PKG_VERSION");
    assert!(got.scopes.iter().all(|scope| *scope == ("ratify".to_owned(), version.to_owned())));
    let resource: Vec<_> =
        got.resources[0].iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        resource,
        [
            "host.name=pod-1",
            "service.name=gate",
            &format!("service.version={version}"),
            "team=a,b",
            "telemetry.sdk.language=rust",
            "telemetry.sdk.name=opentelemetry",
        ]
    );
}

fn has_no_secret(bodies: &[bytes::Bytes], log: &str) {
    // user:correct-horse-battery.
    for secret in [PASSWORD, TOKEN, "dXNlcjpjb3JyZWN0LWhvcnNlLWJhdHRlcnk", "collectors", "Bearer "]
    {
        let is_in =
            |body: &bytes::Bytes| body.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!bodies.iter().any(is_in), "{secret} is in a trace");
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// One line a verdict, and the same id on what the plugin said.
fn the_log_knows_the_trace(log: &str, image: &str) {
    let of = |id: &str| {
        let end = format!("trace-id={id}");
        let is_meant = |line: &&str| line.contains(&end) && line.contains("level=info");
        log.lines().filter(is_meant).collect::<Vec<_>>()
    };
    let verdicts = |id: &str| {
        let is_verdict = |line: &&&str| line.contains("msg=verified subject");
        of(id).iter().filter(is_verdict).map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    let (first, second) = (verdicts(TRACE_ID), verdicts("id-7"));
    assert_eq!((first.len(), second.len()), (1, 1), "{log}");
    for (line, from) in [(&first[0], "work"), (&second[0], "memory")] {
        for part in [
            &format!("msg=verified subject {image} "),
            "component-type=server",
            "digest=sha256:",
            &format!(" from={from} "),
            " isSuccess=true ",
            " namespace= ",
            " took=",
            " verifiers=sample-1:true",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    let plugins = of(TRACE_ID).iter().filter(|line| line.contains("component-type=plugin")).count();
    assert!(plugins > 0, "{log}");
    assert!(!log.contains("verification response"), "{log}");
    let refused = verdicts("id-8");
    assert_eq!(refused.len(), 1, "{log}");
    assert!(refused[0].contains(" isSuccess=false namespace=team "), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_or_hangs_costs_no_verdict_and_the_end_waits_two_seconds_for_it() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let image = super::put_app(&registry);
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let away = free.local_addr().unwrap();
    drop(free);
    for (collector, says) in [(away, true), (hanging.local_addr().unwrap(), false)] {
        let mut home = Home::new();
        home.script_plugin("judge", YES);
        let mut config = config(&verifier("judge"));
        config["executor"] = json!({"verificationRequestTimeout": PATIENCE_MS});
        home.configure(&config);
        home.set("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
        home.set("OTEL_BSP_SCHEDULE_DELAY", "10");
        home.set("OTEL_BSP_MAX_QUEUE_SIZE", "8");
        let flags = ["serve", "--http", "127.0.0.1:0", "--metrics-enabled", "--metrics-port", "0"];
        let mut server = Server::run(home.command(&flags)).await;
        let began = Instant::now();
        for _ in 0..10 {
            let (status, items) = ask(&server, &[&image], &[]).await;
            assert_eq!((status, &items[0]["value"]["isSuccess"]), (200, &json!(true)), "{items}");
        }
        let says_so = || server.log().contains("the collector of traces at http://127.0.0.1:");
        while missing(&server).await == 0 || says && !says_so() {
            assert!(began.elapsed() < Duration::from_secs(200), "{}", server.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let took = terminate(&mut server).await;
        assert!(took < Duration::from_secs(60), "{took:?}");
        let said = server.log().matches("the collector of traces at http://127.0.0.1:").count();
        // Once a minute.
        let most = usize::try_from(1 + began.elapsed().as_secs() / 60).unwrap();
        assert!(said <= most && (said > 0 || !says), "{}", server.log());
    }
}

/// How many spans were lost or dropped.
async fn missing(server: &Server) -> u64 {
    let log = server.log();
    let (_, address) = log.split_once("metrics backend: prometheus on ").unwrap();
    let address = address.split_whitespace().next().unwrap();
    let text =
        reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let count = |result: &str| {
        let name = format!("ratify_trace_export_spans_total{{result=\"{result}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse::<u64>().unwrap()
    };
    assert_eq!(count("sent"), 0);
    count("lost") + count("dropped")
}

#[tokio::test]
async fn a_variable_that_means_nothing_ends_the_server_with_its_name() {
    let mut home = Home::new();
    home.script_plugin("judge", YES);
    home.configure(&config(&verifier("judge")));
    home.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    home.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let ran = home.run(&["serve", "--http", "127.0.0.1:0"]).await;
    insta::assert_snapshot!(ran.shown(&home), @r#"[1] Error: OTEL_EXPORTER_OTLP_PROTOCOL is "grpc": only http/protobuf is spoken here (port 4318 of most collectors)"#);
    // Only a server sends traces.
    assert_eq!(home.run(&["version"]).await.code, Some(0));
}
