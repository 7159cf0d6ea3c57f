//! Credentials: the token flow, and that nothing is shown to whom it is not for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ratify_core::{Descriptor, media_type};
use ratify_store_oras::{Client, Credential, CredentialUse, OrasError, Secret};

use crate::fake::{Content, Fake, Reply, Seen, basic, client, client_failing, client_with};

const BASIC: &str = "Basic dXNlcjpodW50ZXIy";

/// A registry that wants the token of its own token service at `/token`.
async fn bearer_registry(
    content: Content,
    token: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    accepts: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Fake {
    Fake::start(move |seen: &Seen| {
        if seen.path.starts_with("/token") {
            return token(seen);
        }
        let host = seen.header("host").unwrap();
        match seen.header("authorization") {
            Some(header) if accepts(header) => content.answer(seen),
            _ => Reply::error(401, "UNAUTHORIZED").with(
                "www-authenticate",
                &format!(r#"Bearer realm="http://{host}/token",service="s s",scope="repository:app:pull,push""#),
            ),
        }
    })
    .await
}

fn granted(token: &str) -> Reply {
    Reply::ok(format!(r#"{{"token":"{token}","expires_in":300}}"#))
}

async fn resolve(client: &Client, fake: &Fake) -> Result<(), OrasError> {
    client.resolve(&fake.reference("app:1"), None).await.map(drop)
}

#[tokio::test]
async fn a_token_is_fetched_once_with_user_and_password_and_used_until_it_expires() {
    let fake = bearer_registry(
        Content::new(),
        |seen| {
            assert_eq!(seen.header("authorization"), Some(BASIC));
            granted("T")
        },
        |header| header == "Bearer T",
    )
    .await;
    let client = client_with(basic());
    resolve(&client, &fake).await.unwrap();
    resolve(&client, &fake).await.unwrap();
    insta::assert_snapshot!(fake.lines().join("\n"), @r"
    HEAD /v2/app/manifests/1
    GET /token?service=s+s&scope=repository%3Aapp%3Apull
    HEAD /v2/app/manifests/1
    HEAD /v2/app/manifests/1
    ");
}

#[tokio::test]
async fn an_anonymous_token_is_fetched_without_credentials() {
    let fake = bearer_registry(
        Content::new(),
        |seen| {
            assert_eq!(seen.header("authorization"), None);
            granted("T")
        },
        |header| header == "Bearer T",
    )
    .await;
    resolve(&client(), &fake).await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_is_posted() {
    let fake = bearer_registry(
        Content::new(),
        |seen| {
            assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/token"));
            assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
            assert_eq!(
                std::str::from_utf8(&seen.body).unwrap(),
                "grant_type=refresh_token&refresh_token=r%26t&client_id=ratify&scope=repository%3Aapp%3Apull&service=s+s"
            );
            Reply::ok(r#"{"access_token":"T"}"#)
        },
        |header| header == "Bearer T",
    )
    .await;
    resolve(&client_with(Credential::RefreshToken(Secret::new("r&t"))), &fake).await.unwrap();
}

#[tokio::test]
async fn many_at_once_share_one_token_request() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let fake = bearer_registry(
        Content::new(),
        move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
            granted("T")
        },
        |header| header == "Bearer T",
    )
    .await;
    let client = client_with(basic());
    let all = (0..30).map(|_| resolve(&client, &fake));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let number = AtomicU32::new(0);
    let uses = AtomicU32::new(0);
    let fake = bearer_registry(
        Content::new(),
        move |_| granted(&format!("T{}", number.fetch_add(1, Ordering::Relaxed))),
        // The first token is good for one use, as if it had been revoked.
        move |header| header == "Bearer T1" || uses.fetch_add(1, Ordering::Relaxed) == 0,
    )
    .await;
    let client = client_with(basic());
    resolve(&client, &fake).await.unwrap();
    resolve(&client, &fake).await.unwrap();
    let tokens = fake.lines().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(tokens, 2);
}

#[tokio::test]
async fn a_registry_that_never_agrees_is_asked_twice_and_no_more() {
    let fake = bearer_registry(Content::new(), |_| granted("T"), |_| false).await;
    let error = resolve(&client_with(basic()), &fake).await.unwrap_err();
    assert!(matches!(error, OrasError::Denied { status: 401, .. }), "{error}");
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn user_and_password_are_sent_where_basic_is_asked_for() {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| match seen.header("authorization") {
        Some(BASIC) => content.answer(seen),
        _ => Reply::new(401).with("www-authenticate", r#"Basic realm="r""#),
    })
    .await;
    let client = client_with(basic());
    resolve(&client, &fake).await.unwrap();
    resolve(&client, &fake).await.unwrap();
    assert_eq!(fake.seen().len(), 3);
    let without = resolve(&crate::fake::client(), &fake).await.unwrap_err();
    assert!(matches!(without, OrasError::Denied { status: 401, .. }), "{without}");
}

#[tokio::test]
async fn a_token_service_that_fails_is_an_error_and_never_a_missing_artifact() {
    for (name, reply) in [
        ("404", (|| Reply::new(404)) as fn() -> Reply),
        ("401", || Reply::error(401, "UNAUTHORIZED")),
        ("500", || Reply::new(500)),
        ("no token", || Reply::ok("{}")),
        ("a header in it", || Reply::ok(r#"{"token":"a\r\nx: y"}"#)),
        ("a redirect", || Reply::new(302).with("location", "/token2")),
        ("too much", || Reply::ok(format!(r#"{{"token":"{}"}}"#, "x".repeat(200_000)))),
    ] {
        let fake = bearer_registry(Content::new(), move |_| reply(), |_| true_never()).await;
        let error = resolve(&client_with(basic()), &fake).await.unwrap_err();
        assert!(!error.is_not_found(), "{name}: {error}");
        assert!(!error.to_string().contains("REMOTE TEXT"), "{error}");
        assert!(fake.lines().iter().all(|line| !line.contains("token2")), "{name}");
    }
}

fn true_never() -> bool {
    false
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let content = Content::new();
    let blob = content.blob.clone();
    let storage_content = Content::new();
    let storage = Fake::start(move |seen: &Seen| {
        assert_eq!(seen.header("authorization"), None);
        storage_content.answer(seen)
    })
    .await;
    let elsewhere = format!("http://{}", storage.registry());
    let fake = Fake::start(move |seen: &Seen| match seen.header("authorization") {
        Some(BASIC) => {
            Reply::new(307).with("location", &format!("{elsewhere}{}?signature=s", seen.path))
        }
        _ => Reply::new(401).with("www-authenticate", "Basic"),
    })
    .await;
    let client = client_with(basic());
    let reference = fake.reference("app:1");
    let bytes = client.blob_bytes(&reference, &blob.digest, Some(blob.size), None).await.unwrap();
    assert_eq!(bytes, "the signature");
    assert_eq!(storage.seen().len(), 1);
}

#[tokio::test]
async fn nothing_is_shown_on_the_next_page_of_a_list_that_was_redirected() {
    let entry = |byte: &str| {
        Descriptor::new(media_type::OCI_MANIFEST, crate::fake::digest(byte), 7)
            .with_artifact_type("a/x")
    };
    for asks_for_a_password in [false, true] {
        let elsewhere = Fake::start(move |seen: &Seen| {
            let page = |byte: &str| {
                Reply::ok(crate::fake::index(&[&entry(byte)]))
                    .with("content-type", media_type::OCI_INDEX)
            };
            match seen.path.contains("page=2") {
                true if asks_for_a_password => Reply::new(401).with("www-authenticate", "Basic"),
                true => page("02"),
                false => page("01").with("link", "<?page=2>; rel=next"),
            }
        })
        .await;
        let there = format!("http://{}", elsewhere.registry());
        let fake = Fake::start(move |seen: &Seen| match seen.header("authorization") {
            Some(BASIC) => Reply::new(307).with("location", &format!("{there}{}", seen.path)),
            _ => Reply::new(401).with("www-authenticate", "Basic"),
        })
        .await;
        let client = client_with(basic());
        let subject = crate::fake::digest("00");
        let listed = client.referrers(&fake.reference("app:1"), &subject, None).await;
        assert_eq!(listed.is_err(), asks_for_a_password, "{listed:?}");
        let seen = elsewhere.seen();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|seen| seen.header("authorization").is_none()));
    }
}

#[tokio::test]
async fn a_challenge_of_the_host_behind_a_redirect_is_not_answered() {
    let trap = Fake::start(|seen: &Seen| {
        assert_eq!(seen.header("authorization"), None);
        Reply::new(401).with("www-authenticate", "Basic")
    })
    .await;
    let elsewhere = format!("http://{}/x", trap.registry());
    let fake = Fake::start(move |_: &Seen| Reply::new(307).with("location", &elsewhere)).await;
    let error = resolve(&client_with(basic()), &fake).await.unwrap_err();
    assert!(matches!(error, OrasError::Denied { status: 401, .. }), "{error}");
    assert_eq!((trap.seen().len(), fake.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_provider_that_fails_is_a_warning_or_the_end_as_configured() {
    let content = Content::new();
    let open = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    let best_effort = client_failing(CredentialUse::BestEffort);
    resolve(&best_effort, &open).await.unwrap();
    let fake = bearer_registry(Content::new(), |_| granted("T"), |_| true).await;
    resolve(&best_effort, &fake).await.unwrap();
    let required = client_failing(CredentialUse::Required);
    let error = resolve(&required, &open).await.unwrap_err();
    assert_eq!(error.to_string(), "auth provider failed with err, AUTH_DENIED: no identity yet");
}
