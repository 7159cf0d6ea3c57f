//! A place whose API has a path: what a repository is called there is what tokens are asked for,
//! what rules and providers are asked about, and where a blob is taken from.

use std::{
    fs::File,
    sync::{Arc, Mutex},
};

use ratify_core::{BoxFuture, Descriptor, Reference};
use ratify_store_oras::{
    AuthProvider, BlobPush, Client, CredentialUse, Granted, OrasError, Section,
    auth::{self, Asked, Environment},
};
use serde_json::json;

use crate::{
    fake::{Content, Fake, Reply, Seen, basic},
    mirrors::{Directory, REGISTRY, image},
};

/// Remembers for what it was asked.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl AuthProvider for Noted {
    fn name(&self) -> &str {
        "noted"
    }

    fn credential<'a>(
        &'a self,
        asked: &'a Asked<'a>,
    ) -> BoxFuture<'a, ratify_core::Result<Granted>> {
        self.0.lock().unwrap().push(asked.repository.to_owned());
        Box::pin(std::future::ready(Ok(Granted { credential: basic(), good_until: None })))
    }
}

/// A registry that has others behind it, below `/v2/hub` and `/v2/quay`. It opens a repository to
/// tokens for just that one, which its token service gives for a password.
async fn proxy() -> Fake {
    let content = Content::new();
    Fake::start(move |seen: &Seen| {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if path == "/token" {
            assert_eq!(seen.header("authorization"), Some("Basic dXNlcjpodW50ZXIy"));
            let scopes = pairs.iter().filter(|(key, _)| key == "scope");
            let scopes: Vec<&str> = scopes.map(|(_, scope)| scope.as_str()).collect();
            return Reply::ok(json!({"token": scopes.join(";"), "expires_in": 300}).to_string());
        }
        let end = ["/manifests/", "/blobs/", "/referrers/"].iter().find_map(|part| path.find(part));
        let name = path[..end.unwrap()].strip_prefix("/v2/").unwrap();
        let shown = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let opens = |name: &str| shown.unwrap_or("").contains(&format!("repository:{name}:pull"));
        if !opens(name) {
            let host = seen.header("host").unwrap();
            let scope = format!("repository:{name}:pull,push");
            let challenge = format!(r#"Bearer realm="http://{host}/token",scope="{scope}""#);
            return Reply::error(401, "UNAUTHORIZED").with("www-authenticate", &challenge);
        }
        match pairs.iter().find(|(key, _)| key == "from") {
            Some((_, from)) => Reply::new(if opens(from) { 201 } else { 202 }),
            None if name.ends_with("/other") => Reply::error(404, "BLOB_UNKNOWN"),
            None => content.answer(seen),
        }
    })
    .await
}

fn behind(fake: &Fake, folder: &str) -> Directory {
    let directory = Directory::new();
    let server = format!("server = \"http://{}/v2/{folder}\"", fake.registry());
    directory.put(REGISTRY, &format!("{server}\noverride_path = true\n"));
    directory
}

async fn resolve(client: &Client, image: &Reference) -> Result<Descriptor, OrasError> {
    client.resolve(image, None).await
}

#[tokio::test]
async fn tokens_and_credentials_are_asked_for_what_a_repository_is_called_there() {
    let content = Content::new();
    let proxy = proxy().await;
    let noted = Arc::new(Noted::default());
    for folder in ["hub", "quay"] {
        let hosts = behind(&proxy, folder);
        let client = hosts.client(noted.clone());
        let before = proxy.seen().len();
        assert_eq!(resolve(&client, &image("team/app:1")).await.unwrap(), content.subject);
        let subject = &content.subject.digest;
        let listed = client.referrers(&image("team/app:1"), subject, None).await.unwrap();
        assert_eq!(listed[0].digest, content.manifest.digest);
        let token = format!("GET /token?scope=repository%3A{folder}%2Fteam%2Fapp%3Apull");
        assert_eq!(proxy.lines()[before + 1], token);
        assert_eq!(proxy.lines().len(), before + 4, "one token is enough");
        assert_eq!(noted.0.lock().unwrap().pop().unwrap(), format!("{folder}/team/app"));
    }
}

#[tokio::test]
async fn a_blob_is_taken_from_what_the_other_repository_is_called_there() {
    let content = Content::new();
    let proxy = proxy().await;
    let hosts = behind(&proxy, "hub");
    let client = hosts.client(Arc::new(Noted::default()));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "the signature").unwrap();
    let section = Section::whole(File::open(file.path()).unwrap()).unwrap();
    let pushed = client.push_file(&image("other:1"), &content.blob, section, Some("app")).await;
    assert_eq!(pushed.unwrap(), BlobPush::Mounted);
    assert!(proxy.lines().last().unwrap().contains("&from=hub%2Fapp"), "{:?}", proxy.lines());
}

#[tokio::test]
async fn rules_are_about_what_a_repository_is_called_there() {
    let proxy = proxy().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let auths = json!({"auths": {proxy.registry(): {"username": "user", "password": "hunter2"}}});
    std::fs::write(&file, auths.to_string()).unwrap();
    let docker = json!({"name": "dockerConfig", "configPath": file});
    for (folder, expected) in [("hub", true), ("quay", false)] {
        let scope = format!("{}/hub/*", proxy.registry());
        let rules = json!([{"match": [scope], "provider": docker}]);
        let hosts = behind(&proxy, folder);
        let environment = Environment::default();
        let provider = auth::from_entry(None, Some(&rules), &environment, &Default::default());
        let mut options = hosts.options(provider.unwrap());
        options.credential_use = CredentialUse::ByRule;
        let client = Client::new(options).unwrap();
        let resolved = resolve(&client, &image("app:1")).await;
        assert_eq!(resolved.is_ok(), expected, "{resolved:?}");
    }
}
