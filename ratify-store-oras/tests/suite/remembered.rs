//! What a registry asks for is known of it from other repositories: a token is brought with the first
//! request. What is open to everybody stays so, and nothing is shown to whom it is not for.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use ratify_core::Reference;
use ratify_store_oras::{Client, Connections, Credential, OrasError, OrasStoreOptions};
use serde_json::json;

use crate::{
    counting::{READ, Repository, executor_with, requests_for, verifier},
    fake::{Content, Fake, Reply, Seen, basic, fixed, options},
    mirrors::{Directory, REGISTRY},
};

const BASIC: &str = "Basic dXNlcjpodW50ZXIy";

fn client(credential: Credential, connections: &Connections) -> Client {
    let mut options = options();
    options.auth = fixed(credential);
    options.connections = connections.clone();
    Client::new(options).unwrap()
}

async fn resolve(client: &Client, fake: &Fake, name: &str) -> Result<(), OrasError> {
    client.resolve(&fake.reference(&format!("{name}:1")), None).await.map(drop)
}

/// The name of the repository that is asked for.
fn name(seen: &Seen) -> &str {
    seen.path.strip_prefix("/v2/").unwrap().split('/').next().unwrap()
}

/// A challenge of a token service at a path of the registry itself.
fn asks_for_token(seen: &Seen, path: &str) -> Reply {
    let realm = format!("http://{}{path}", seen.header("host").unwrap());
    let scope = format!("repository:{}:pull", name(seen));
    let challenge = format!(r#"Bearer realm="{realm}",service="s",scope="{scope}""#);
    Reply::error(401, "UNAUTHORIZED").with("www-authenticate", &challenge)
}

/// A token for the scope that is asked for.
fn token(seen: &Seen) -> Reply {
    let (_, scope) = seen.path.split_once("scope=repository%3A").unwrap();
    Reply::ok(json!({"token": scope, "expires_in": 300}).to_string())
}

fn shows_token(seen: &Seen) -> bool {
    seen.header("authorization") == Some(&format!("Bearer {}%3Apull", name(seen)))
}

#[tokio::test]
async fn the_next_repository_costs_its_token_and_nothing_more() {
    let repository = Repository::new(5, 3);
    let fake = Fake::start(move |seen: &Seen| match seen.path.starts_with("/token") {
        true => token(seen),
        false if shows_token(seen) => repository.answer(seen, true),
        false => asks_for_token(seen, "/token"),
    })
    .await;
    let mut options = OrasStoreOptions::default();
    options.connections = Connections::default();
    let cache = tempfile::tempdir().unwrap();
    // Each of a process that has nothing but its connections in common with the one before.
    let count = async |name: &str| {
        let cache = cache.path().join(name);
        let executor = executor_with(&cache, vec![verifier(READ)], json!({}), options.clone());
        requests_for(name, &fake, &executor, 5).await
    };
    let first = count("one").await;
    assert_eq!(first.len(), 2 + 2 + 2 * 5, "a refusal and a token: {first:#?}");
    for name in ["two", "three"] {
        let lines = count(name).await;
        assert_eq!(lines.len(), 1 + 2 + 2 * 5, "{lines:#?}");
        assert!(lines[0].starts_with("GET /token?"), "{lines:#?}");
    }
}

#[tokio::test]
async fn a_password_is_shown_at_once_where_the_registry_asked_for_one() {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| match seen.header("authorization") {
        Some(BASIC) => content.answer(seen),
        _ => Reply::new(401).with("www-authenticate", r#"Basic realm="r""#),
    })
    .await;
    let connections = Connections::default();
    resolve(&client(basic(), &connections), &fake, "one").await.unwrap();
    resolve(&client(basic(), &connections), &fake, "two").await.unwrap();
    assert_eq!(fake.seen().len(), 3);
    // Who has none shows none.
    let nobody = client(Credential::Anonymous, &connections);
    assert!(matches!(resolve(&nobody, &fake, "two").await, Err(OrasError::Denied { .. })));
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn a_registry_that_asks_for_nothing_is_asked_without_credentials() {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    let client = client(basic(), &Connections::default());
    for name in ["one", "two", "two"] {
        resolve(&client, &fake, name).await.unwrap();
    }
    assert_eq!(fake.seen().len(), 3);
    assert!(fake.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

/// What a token service does with questions about a repository that is open.
type Service = fn(&Seen) -> Reply;

/// Everybody may read `open`, whoever shows something is refused there by this status where it is
/// one; `mine` wants a token, and `other` one that nobody gets.
async fn mixed(service: Service, refusal: Option<u16>) -> Fake {
    let content = Content::new();
    Fake::start(move |seen: &Seen| {
        if seen.path.starts_with("/token") {
            return match seen.path.contains("mine") {
                true => token(seen),
                false => service(seen),
            };
        }
        let is_shown_something = seen.header("authorization").is_some();
        match (name(seen), refusal) {
            ("open", Some(status)) if is_shown_something && status != 401 => {
                Reply::error(status, "DENIED")
            }
            ("open", Some(_)) if is_shown_something => asks_for_token(seen, "/token"),
            ("open", _) => content.answer(seen),
            ("mine", _) if shows_token(seen) => content.answer(seen),
            _ => asks_for_token(seen, "/token"),
        }
    })
    .await
}

#[tokio::test]
async fn what_is_open_stays_so_and_what_is_not_stays_closed() {
    let refuses: Service = |_| Reply::error(401, "UNAUTHORIZED");
    let forbids: Service = |_| Reply::error(403, "DENIED");
    let fails: Service = |_| Reply::new(500);
    let garbage: Service = |_| Reply::ok("{}");
    let useless: Service = |_| Reply::ok(r#"{"token":"useless","expires_in":300}"#);
    for (service, refusal) in [
        (refuses, None),
        (forbids, None),
        (fails, None),
        (garbage, None),
        (useless, Some(401)),
        (useless, Some(403)),
    ] {
        for credential in [basic(), Credential::Anonymous] {
            let fake = mixed(service, refusal).await;
            let client = client(credential, &Connections::default());
            resolve(&client, &fake, "mine").await.unwrap();
            let all = (0..10).map(|_| resolve(&client, &fake, "open"));
            for result in futures_util::future::join_all(all).await {
                result.unwrap();
            }
            let before = fake.seen().len();
            resolve(&client, &fake, "open").await.unwrap();
            assert_eq!(fake.seen().len(), before + 1, "that it is open is known by now");
            let closed = resolve(&client, &fake, "other").await.unwrap_err();
            assert!(!closed.is_not_found(), "{closed}");
            resolve(&client, &fake, "mine").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_token_service_that_says_nothing_does_not_keep_what_is_open() {
    let hangs: Service = |_| {
        let body = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        Reply { body: axum::body::Body::from_stream(body), ..Reply::new(200) }
    };
    let fake = mixed(hangs, None).await;
    let connections = Connections::default();
    let client = client(basic(), &connections);
    resolve(&client, &fake, "mine").await.unwrap();
    let open = fake.reference("open:1");
    for _ in 0..3 {
        let by = Some(Instant::now() + Duration::from_secs(1));
        client.resolve(&open, by).await.unwrap();
    }
    // Who has more time waits for three seconds of it, and not each time.
    let other = self::client(basic(), &connections);
    let begun = Instant::now();
    for _ in 0..3 {
        other.resolve(&open, None).await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_password_that_the_token_service_refuses_is_shown_to_it_once() {
    let fake = mixed(|_| Reply::error(401, "UNAUTHORIZED"), None).await;
    let client = client(basic(), &Connections::default());
    resolve(&client, &fake, "mine").await.unwrap();
    let before = fake.seen().len();
    let refused = resolve(&client, &fake, "other").await.unwrap_err();
    assert!(refused.to_string().contains("/token"), "{refused}");
    let lines = fake.lines().split_off(before);
    assert_eq!(lines.len(), 2, "the token service, and the registry without a token: {lines:?}");
}

#[tokio::test]
async fn another_challenge_replaces_what_was_known() {
    let content = Content::new();
    let kind = Arc::new(Mutex::new("/token"));
    let current = kind.clone();
    let fake = Fake::start(move |seen: &Seen| {
        let kind = *current.lock().unwrap();
        if seen.path.starts_with(kind) && !kind.is_empty() {
            return token(seen);
        }
        match (seen.header("authorization"), kind) {
            _ if !seen.path.starts_with("/v2/") => Reply::error(403, "DENIED"),
            (Some(BASIC), "") => content.answer(seen),
            (Some(_), "/token" | "/second") if shows_token(seen) => content.answer(seen),
            (_, "") => Reply::new(401).with("www-authenticate", "Basic"),
            (_, path) => asks_for_token(seen, path),
        }
    })
    .await;
    let client = client(basic(), &Connections::default());
    resolve(&client, &fake, "a").await.unwrap();
    for (kind_now, first, second) in [("/second", "b", "c"), ("", "d", "e"), ("/token", "f", "g")] {
        *kind.lock().unwrap() = kind_now;
        resolve(&client, &fake, first).await.unwrap();
        let before = fake.seen().len();
        resolve(&client, &fake, second).await.unwrap();
        let lines = fake.lines().split_off(before);
        assert_eq!(lines.len(), if kind_now.is_empty() { 1 } else { 2 }, "{lines:?}");
        assert!(
            lines[0].contains(if kind_now.is_empty() { "/v2/" } else { kind_now }),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn a_token_service_elsewhere_is_asked_for_whom_it_was_named_to() {
    let service = Fake::start(|_: &Seen| Reply::ok(r#"{"token":"t","expires_in":300}"#)).await;
    let elsewhere = format!("http://{}/token", service.registry());
    let content = Content::new();
    // Teams are served by others behind one host; only the first of them names this service.
    let fake = Fake::start(move |seen: &Seen| match name(seen) {
        _ if seen.header("authorization").is_some() => content.answer(seen),
        "a" => {
            let repository = seen.path["/v2/".len()..].split("/manifests/").next().unwrap();
            let challenge =
                format!(r#"Bearer realm="{elsewhere}",scope="repository:{repository}:pull""#);
            Reply::error(401, "UNAUTHORIZED").with("www-authenticate", &challenge)
        }
        _ => content.answer(seen),
    })
    .await;
    let client = client(basic(), &Connections::default());
    resolve(&client, &fake, "a/one").await.unwrap();
    assert_eq!((fake.seen().len(), service.seen().len()), (2, 1));
    resolve(&client, &fake, "a/two").await.unwrap();
    assert_eq!((fake.seen().len(), service.seen().len()), (3, 2), "it is known by now");
    for other in ["b/one", "c", "aa/one"] {
        resolve(&client, &fake, other).await.unwrap();
        assert_eq!(service.seen().len(), 2, "{other}: {:?}", service.lines());
    }
}

/// A registry, or two behind one host, that notes whether anything was shown to it.
async fn silent(content: Content, shown: Arc<AtomicBool>) -> Fake {
    Fake::start(move |seen: &Seen| {
        shown.fetch_or(seen.header("authorization").is_some(), Ordering::Relaxed);
        content.answer(seen)
    })
    .await
}

#[tokio::test]
async fn what_one_place_asks_for_no_other_is_shown() {
    let asks = Fake::start({
        let content = Content::new();
        move |seen: &Seen| match seen.header("authorization") {
            Some(BASIC) if seen.path.starts_with("/v2/") => content.answer(seen),
            _ if seen.path.starts_with("/open/v2/") => {
                assert_eq!(seen.header("authorization"), None);
                content.answer(seen)
            }
            _ => Reply::new(401).with("www-authenticate", "Basic"),
        }
    })
    .await;
    let shown = Arc::new(AtomicBool::new(false));
    let other = silent(Content::new(), shown.clone()).await;
    let directory = Directory::new();
    for (registry, server) in [
        (REGISTRY, format!("http://{}", asks.registry())),
        ("other.example.com", format!("http://{}", other.registry())),
        ("path.example.com", format!("http://{}/open", asks.registry())),
    ] {
        directory.put(registry, &format!("server = \"{server}\"\n"));
    }
    let client = directory.client(fixed(basic()));
    let resolve = async |registry: &str| {
        let image = Reference::parse(&format!("{registry}/app:1")).unwrap();
        client.resolve(&image, None).await.map(drop)
    };
    resolve(REGISTRY).await.unwrap();
    resolve("other.example.com").await.unwrap();
    resolve("path.example.com").await.unwrap();
    assert!(!shown.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_challenge_from_behind_a_redirect_is_not_remembered() {
    let trap = Fake::start(|_: &Seen| Reply::new(401).with("www-authenticate", "Basic")).await;
    let elsewhere = format!("http://{}/x", trap.registry());
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| {
        assert_eq!(seen.header("authorization"), None);
        match name(seen) {
            "away" => Reply::new(307).with("location", &elsewhere),
            _ => content.answer(seen),
        }
    })
    .await;
    let client = client(basic(), &Connections::default());
    assert!(resolve(&client, &fake, "away").await.is_err());
    resolve(&client, &fake, "here").await.unwrap();
    // Only what it asks for itself it is shown, and then.
    resolve(&client, &trap, "app").await.unwrap_err();
    let shown = |seen: &Seen| seen.header("authorization").is_some();
    assert_eq!(trap.seen().iter().map(shown).collect::<Vec<_>>(), [false, false, true]);
}

#[tokio::test]
async fn many_at_once_of_the_next_repository_share_one_token() {
    let content = Content::new();
    let tokens = Arc::new(AtomicU32::new(0));
    let counter = tokens.clone();
    let fake = Fake::start(move |seen: &Seen| match seen.path.starts_with("/token") {
        true => {
            counter.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
            token(seen)
        }
        false if shows_token(seen) => content.answer(seen),
        false => asks_for_token(seen, "/token"),
    })
    .await;
    let client = client(basic(), &Connections::default());
    resolve(&client, &fake, "one").await.unwrap();
    let all = (0..30).map(|_| resolve(&client, &fake, "two"));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
    assert_eq!(tokens.load(Ordering::Relaxed), 2);
}
