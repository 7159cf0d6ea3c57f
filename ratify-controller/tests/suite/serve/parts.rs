//! A server on a port of its own, and a client that shows every byte.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ratify_controller::{
    cache::VerdictCache,
    gatekeeper::{Service, ServiceConfig, serve},
    state::{Active, Snapshot},
};
use ratify_core::{
    ReferrerStore, Verifier, VerifierReport,
    config::Config,
    executor::{
        Executor,
        testing::{Answer, FunctionVerifier, MemoryStore},
    },
    policy::Policy,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

pub(super) const VERIFY: &str = "/ratify/gatekeeper/v1/verify";
pub(super) const MUTATE: &str = "/ratify/gatekeeper/v1/mutate";
/// An image with one artifact of the type `good`.
pub(super) const SIGNED: &str = "localhost:5055/lab:signed";
/// An image with nothing attached.
pub(super) const UNSIGNED: &str = "localhost:5055/lab:unsigned";
/// An image whose artifact is of the type `slow`.
pub(super) const SLOW: &str = "localhost:5055/lab:slow";
/// An image whose artifact is of the type `sick`.
pub(super) const SICK: &str = "localhost:5055/lab:sick";

/// A running server; it ends with the test.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) active: Arc<Active>,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// An answer, as it came.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

pub(super) fn policy() -> Policy {
    policy_of(&serde_json::json!({}))
}

pub(super) fn policy_of(rules: &serde_json::Value) -> Policy {
    let file = serde_json::json!({"policy": {"plugin": {"name": "configPolicy", "artifactVerificationPolicies": rules}}});
    let config = Config::from_json(file.to_string().as_bytes()).unwrap();
    Policy::from_config(&config.policy.unwrap()).unwrap()
}

pub(super) fn store() -> MemoryStore {
    MemoryStore::new("oras")
        .resting_on("a test's")
        .image(SIGNED, 1)
        .image(UNSIGNED, 2)
        .image(SLOW, 3)
        .image(SICK, 4)
        .artifact(1, 11, "good")
        .artifact(3, 13, "slow")
        .artifact(4, 14, "sick")
}

/// A verifier for the type `slow` that takes its time, however long it is waited for.
pub(super) fn slow(takes: Duration) -> FunctionVerifier {
    let answer: Answer = Arc::new(move |_| {
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            Ok(VerifierReport::success("at last"))
        })
    });
    FunctionVerifier::new("slow", "slow", answer).resting_on("a test's")
}

fn sick() -> FunctionVerifier {
    let answer: Answer = Arc::new(|_| Box::pin(async { panic!("on purpose") }));
    FunctionVerifier::new("sick", "sick", answer).resting_on("a test's")
}

pub(super) fn executor(store: impl ReferrerStore + 'static, slow: FunctionVerifier) -> Executor {
    let good = FunctionVerifier::passing("good", "good").resting_on("a test's");
    let verifiers = [good, slow, sick()];
    Executor::new(
        vec![Arc::new(store)],
        verifiers.into_iter().map(|one| Arc::new(one) as Arc<dyn Verifier>).collect(),
        Some(policy()),
    )
}

/// A configuration whose requests may take this long.
pub(super) fn within(time: Duration) -> ServiceConfig {
    let mut config = ServiceConfig::default();
    config.verify_within = time;
    config.mutate_within = time;
    config
}

impl Server {
    /// The images above, with v1's times and a slow verifier that is not.
    pub(super) async fn usual() -> Self {
        let executor = executor(store(), slow(Duration::ZERO));
        Self::start(executor, within(Duration::from_secs(20))).await
    }

    pub(super) async fn start(executor: Executor, config: ServiceConfig) -> Self {
        Self::start_with(executor, config, VerdictCache::default()).await
    }

    pub(super) async fn start_with(
        executor: Executor,
        config: ServiceConfig,
        verdicts: VerdictCache,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let active = Arc::new(Active::new(Snapshot::new(executor)));
        let service = Service::new(Arc::clone(&active), config).with_cache(verdicts);
        let service = Arc::new(service);
        let (shutdown, end) = oneshot::channel();
        let task = tokio::spawn(serve(listener, service, async { drop(end.await) }));
        Self { address, active, shutdown: Some(shutdown), task }
    }

    pub(super) async fn verify(&self, keys: &[&str]) -> Answered {
        self.post(VERIFY, &request(keys)).await
    }

    pub(super) async fn mutate(&self, keys: &[&str]) -> Answered {
        self.post(MUTATE, &request(keys)).await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answered {
        self.send("POST", path, "", body.as_bytes()).await
    }

    /// Sends a request and reads until the server closes.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: ratify\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server may answer before it has read everything.
        let _ = stream.write_all(body).await;
        read(stream).await
    }

    /// Asks the server to end; ready when it has.
    pub(super) async fn end(mut self) {
        drop(self.shutdown.take());
        self.task.await.unwrap();
    }
}

/// Reads an answer until the server closes. A connection that is reset ends it too.
pub(super) async fn read(mut stream: TcpStream) -> Answered {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        bytes.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answered { status, head: head.to_lowercase(), body: body.to_owned() }
}

pub(super) fn request(keys: &[&str]) -> String {
    serde_json::json!({
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
        "kind": "ProviderRequest",
        "request": {"keys": keys},
    })
    .to_string()
}

impl Answered {
    pub(super) fn json(&self) -> serde_json::Value {
        assert!(self.body.ends_with("}\n"), "one document and a line feed: {:?}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    /// The items of an answer to all keys.
    pub(super) fn items(&self) -> Vec<serde_json::Value> {
        assert_eq!(self.status, 200, "{}", self.body);
        assert!(self.json()["response"].get("systemError").is_none(), "{}", self.body);
        self.json()["response"]["items"].as_array().cloned().unwrap_or_default()
    }

    /// The items of an answer that is none to some of the keys, and why.
    pub(super) fn partly(&self) -> (Vec<serde_json::Value>, String) {
        assert_eq!(self.status, 500, "{}", self.body);
        let response = &self.json()["response"];
        let why = response["systemError"].as_str().unwrap();
        let why = why.strip_prefix("operation failed with error ").unwrap();
        (response["items"].as_array().cloned().unwrap_or_default(), why.to_owned())
    }

    /// Why there is no item at all.
    pub(super) fn nothing(&self) -> String {
        let (items, why) = self.partly();
        assert!(items.is_empty(), "{}", self.body);
        why
    }
}
