//! What is asked for again after a refusal, and what is not: passwords of that host alone, not those
//! read just now, and none where it was a token or nothing that was refused.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use ratify_core::{BoxFuture, Result};
use ratify_store_oras::{
    AuthProvider, Client, Connections, Credential, Granted, OrasError,
    auth::{self, Asked, RegistryHost},
};
use serde_json::{Value, json};

use crate::{
    fake::{Content, Fake, Reply, Seen, basic, options},
    programs::{self, Programs, answering, docker, kubelet},
    secrets::{self, Cluster},
};

/// Longer than what was read just now is kept whatever is refused.
const PAUSE: Duration = Duration::from_millis(1100);

/// Notes of what it is told to forget.
struct Noted {
    credential: Credential,
    forgotten: Mutex<Vec<String>>,
}

impl AuthProvider for Noted {
    fn name(&self) -> &str {
        "noted"
    }

    fn credential<'a>(&'a self, _: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        let credential = self.credential.clone();
        Box::pin(std::future::ready(Ok(Granted { credential, good_until: None })))
    }

    fn forget(&self, host: &RegistryHost, before: Instant) -> bool {
        assert!(before.elapsed() >= Duration::from_secs(1), "what was read just now stays");
        self.forgotten.lock().unwrap().push(host.to_string());
        true
    }
}

fn noted(credential: Credential) -> (Arc<Noted>, Client) {
    let noted = Arc::new(Noted { credential, forgotten: Mutex::default() });
    (noted.clone(), client(noted))
}

fn client(auth: Arc<dyn AuthProvider>) -> Client {
    let mut options = options();
    options.auth = auth;
    options.connections = Connections::default();
    Client::new(options).unwrap()
}

async fn resolve(client: &Client, fake: &Fake) -> std::result::Result<(), OrasError> {
    client.resolve(&fake.reference("app:1"), None).await.map(drop)
}

fn bearer(seen: &Seen) -> Reply {
    let realm = format!("http://{}/token", seen.header("host").unwrap());
    let challenge = format!(r#"Bearer realm="{realm}""#);
    Reply::error(401, "UNAUTHORIZED").with("www-authenticate", &challenge)
}

#[tokio::test]
async fn a_token_that_ends_early_leaves_the_password_and_a_refused_password_does_not_stay() {
    let (number, refuses) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (current, refusing, content) = (number.clone(), refuses.clone(), Content::new());
    let fake = Fake::start(move |seen: &Seen| {
        let token = format!("T{}", current.load(Ordering::Relaxed));
        match seen.path.starts_with("/token") {
            true if refusing.load(Ordering::Relaxed) > 0 => Reply::new(401),
            true => Reply::ok(json!({"token": token, "expires_in": 300}).to_string()),
            false if seen.header("authorization") == Some(&format!("Bearer {token}")) => {
                content.answer(seen)
            }
            false => bearer(seen),
        }
    })
    .await;
    let (noted, client) = noted(basic());
    for round in 0..3 {
        number.store(round, Ordering::Relaxed);
        resolve(&client, &fake).await.unwrap();
    }
    assert_eq!(*noted.forgotten.lock().unwrap(), [""; 0]);
    refuses.store(1, Ordering::Relaxed);
    number.store(9, Ordering::Relaxed);
    resolve(&client, &fake).await.unwrap_err();
    assert_eq!(*noted.forgotten.lock().unwrap(), [fake.registry()]);
}

#[tokio::test]
async fn a_refusal_of_nothing_or_from_elsewhere_drops_nothing() {
    let elsewhere = Fake::start(|_: &Seen| Reply::error(403, "DENIED")).await;
    let away = format!("http://{}/x", elsewhere.registry());
    // A password that is taken, and then the storage refuses.
    let basic_away = Fake::start(move |seen: &Seen| match seen.header("authorization") {
        Some(_) => Reply::new(307).with("location", &away),
        None => Reply::new(401).with("www-authenticate", "Basic"),
    });
    // Tokens for nobody, and they are refused.
    let tokens = Fake::start(|seen: &Seen| match seen.path.starts_with("/token") {
        true => Reply::ok(r#"{"token":"t","expires_in":300}"#),
        false => bearer(seen),
    });
    let refusing = Fake::start(|seen: &Seen| match seen.path.starts_with("/token") {
        true => Reply::new(401),
        false => bearer(seen),
    });
    let closed = Fake::start(|_: &Seen| Reply::new(401).with("www-authenticate", "Basic"));
    for (fake, credential) in [
        (basic_away.await, basic()),
        (tokens.await, Credential::Anonymous),
        (refusing.await, Credential::Anonymous),
        (closed.await, Credential::Anonymous),
    ] {
        let (noted, client) = noted(credential);
        for _ in 0..3 {
            resolve(&client, &fake).await.unwrap_err();
        }
        assert_eq!(*noted.forgotten.lock().unwrap(), [""; 0]);
    }
}

fn forget(provider: &dyn AuthProvider, host: &str) {
    assert!(provider.forget(&RegistryHost::parse(host).unwrap(), Instant::now()));
}

#[tokio::test]
async fn what_helpers_and_programs_said_is_forgotten_of_one_host() {
    let directory = tempfile::tempdir().unwrap();
    let helper =
        |_: &auth::ProgramCall| (true, json!({"Username": "u", "Secret": "p"}).to_string());
    let programs = Arc::new(Programs::default().with("docker-credential-h", helper));
    let provider = docker(directory.path(), &json!({"credsStore": "h"}), &programs);
    let ask_all = async |provider: &dyn AuthProvider| {
        for image in ["a.example.com/x", "b.example.com/x", "docker.io/x"] {
            programs::password(provider, image).await;
        }
    };
    ask_all(&*provider).await;
    programs.calls();
    forget(&*provider, "a.example.com");
    ask_all(&*provider).await;
    assert_eq!(programs.calls(), ["docker-credential-h get < a.example.com"]);
    forget(&*provider, "registry-1.docker.io");
    ask_all(&*provider).await;
    assert_eq!(programs.calls().len(), 1);
    for key_type in ["Image", "Registry", "Global"] {
        let programs = Arc::new(Programs::default().with("p", answering(key_type, json!("1h"))));
        let provider = kubelet(&programs, &["p"]);
        ask_all(&*provider).await;
        programs.calls();
        forget(&*provider, "other.example.net");
        ask_all(&*provider).await;
        assert_eq!(programs.calls().len(), 0, "{key_type}");
        forget(&*provider, "b.example.com");
        ask_all(&*provider).await;
        assert_eq!(programs.calls().len(), 1, "{key_type}");
    }
}

#[tokio::test]
async fn of_the_secrets_those_are_read_again_that_may_know_the_host() {
    let cluster = Arc::new(Cluster::default());
    let kind = "kubernetes.io/dockerconfigjson";
    for (name, host) in [("a", "a.example.com"), ("b", "b.example.com"), ("all", "*.example.com")] {
        cluster.put_password(&format!("ratify/{name}"), kind, host, "p");
    }
    cluster.put_account("ratify/default", &["a", "b", "late", "all"]);
    let rules: Value = json!([
        {"match": ["*.example.com"], "provider": {"name": "k8Secrets"}},
        {"match": ["c.example.net"], "provider": {"name": "k8Secrets", "serviceAccountName": "c"}},
    ]);
    let environment = secrets::environment(&cluster);
    let provider = auth::from_entry(None, Some(&rules), &environment, &Connections::default());
    let provider = provider.unwrap();
    // In which all are looked into.
    let ask = async || programs::password(&*provider, "x.example.com/app").await;
    assert_eq!(ask().await, "p");
    cluster.asked();
    forget(&*provider, "a.example.com");
    assert_eq!(ask().await, "p");
    assert_eq!(cluster.asked(), "sa:ratify/default ratify/a ratify/late ratify/all");
    forget(&*provider, "c.example.net");
    assert_eq!(ask().await, "p");
    assert_eq!(cluster.asked(), "");
}

#[tokio::test]
async fn a_flood_of_refusals_is_no_flood_of_logins() {
    let fake = Fake::start(|_: &Seen| {
        Reply::error(401, "UNAUTHORIZED").with("www-authenticate", r#"Basic realm="r""#)
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let helper =
        |_: &auth::ProgramCall| (true, json!({"Username": "u", "Secret": "p"}).to_string());
    let programs = Arc::new(Programs::default().with("docker-credential-h", helper));
    let client = client(docker(directory.path(), &json!({"credsStore": "h"}), &programs));
    for _ in 0..2 {
        let begun = Instant::now();
        for _ in 0..20 {
            let all = (0..20).map(|_| resolve(&client, &fake));
            for result in futures_util::future::join_all(all).await {
                result.unwrap_err();
            }
        }
        let most = 1 + begun.elapsed().as_secs() as usize;
        let logins = programs.calls().len();
        assert!((1..=most).contains(&logins), "{logins} of at most {most}");
        tokio::time::sleep(PAUSE).await;
    }
}
