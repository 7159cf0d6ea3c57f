//! Programs that give out credentials, answered by functions in their place: docker's helpers and
//! the kubelet's contract.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ratify_core::{BoxFuture, Result};
use ratify_store_oras::{
    AuthProvider, Client, Connections, Credential, CredentialUse,
    auth::{
        self, Asked, CredentialPrograms, CredentialProviders, Environment, ProgramCall, ProgramEnd,
        ProgramFailure, RegistryHost,
    },
};
use serde_json::{Value, json};

use crate::fake::{Content, Fake, Reply, Seen, options};

type Program = Box<dyn Fn(&ProgramCall) -> (bool, String) + Send + Sync>;

/// Programs by name, and the calls of them.
#[derive(Default)]
pub(crate) struct Programs {
    programs: BTreeMap<String, Program>,
    calls: Mutex<Vec<ProgramCall>>,
    pause: Duration,
}

impl Programs {
    pub(crate) fn with(
        mut self,
        name: &str,
        program: impl Fn(&ProgramCall) -> (bool, String) + Send + Sync + 'static,
    ) -> Self {
        self.programs.insert(name.to_owned(), Box::new(program));
        self
    }

    /// What was run and fed, one line a call.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        let line = |call: ProgramCall| {
            let stdin = String::from_utf8_lossy(&call.stdin).into_owned();
            format!("{} {} < {stdin}", call.name, call.arguments.join(" "))
        };
        calls.into_iter().map(line).collect()
    }
}

impl CredentialPrograms for Programs {
    fn run(&self, call: ProgramCall) -> BoxFuture<'_, Result<ProgramEnd, ProgramFailure>> {
        Box::pin(async move {
            assert!(call.give_up_at <= Instant::now() + Duration::from_secs(30));
            self.calls.lock().unwrap().push(call.clone());
            tokio::time::sleep(self.pause).await;
            let name = call.name.as_str();
            let program = self.programs.get(name);
            let program =
                program.ok_or_else(|| ProgramFailure::new(format!("{name} is not in PATH")))?;
            let (succeeded, stdout) = program(&call);
            Ok(ProgramEnd { succeeded, stdout: stdout.into() })
        })
    }
}

/// A helper that has one password for whatever it is asked.
fn helper(password: &str) -> impl Fn(&ProgramCall) -> (bool, String) + Send + Sync + 'static {
    let answer = json!({"ServerURL": "x", "Username": "user", "Secret": password}).to_string();
    move |_| (true, answer.clone())
}

fn nothing(_: &ProgramCall) -> (bool, String) {
    (false, "credentials not found in native keychain\n".into())
}

async fn ask(provider: &dyn AuthProvider, at: &str) -> Result<Credential> {
    let (host, repository) = at.split_once('/').unwrap();
    let host = RegistryHost::parse(host).unwrap();
    let asked = Asked { host: &host, repository, artifact: at, give_up_at: None };
    Ok(provider.credential(&asked).await?.credential)
}

/// The password for a repository, or what is said.
pub(crate) async fn password(provider: &dyn AuthProvider, at: &str) -> String {
    match ask(provider, at).await {
        Ok(Credential::Basic { password, .. }) => password.reveal().to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn docker(
    directory: &Path,
    file: &Value,
    programs: &Arc<Programs>,
) -> Arc<dyn AuthProvider> {
    let path = directory.join("config.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let environment = Environment { programs: Some(programs.clone()), ..Environment::default() };
    let config = json!({"name": "dockerConfig", "configPath": path});
    auth::from_config(config.as_object(), &environment, &Connections::default()).unwrap()
}

#[tokio::test]
async fn a_helper_is_asked_where_v1_finds_nothing_and_the_hosts_own_before_the_default_one() {
    let directory = tempfile::tempdir().unwrap();
    let programs = Programs::default()
        .with("docker-credential-default", helper("default"))
        .with("docker-credential-own", helper("own"))
        .with("docker-credential-none", nothing)
        .with("docker-credential-broken", |_| (false, "hunter2".into()));
    let programs = Arc::new(programs);
    let file = json!({
        "auths": {
            "v1.example.com": {"username": "u", "password": "v1"},
            "none.example.com": {},
            "https://b.example.com/team": {"username": "u", "password": "path"},
        },
        "credsStore": "default",
        "credHelpers": {
            "own.example.com": "own", "https://v1.example.com": "own", "v1.example.com": "own",
            "none.example.com": "none", "broken.example.com": "broken", "gone.example.com": "gone",
            "evil.example.com": "../../bin/sh",
        },
    });
    let provider = docker(directory.path(), &file, &programs);
    let found = async |at: &str| password(&*provider, at).await;
    assert_eq!(found("v1.example.com/app").await, "v1");
    assert_eq!(found("b.example.com/team/app").await, "path");
    assert!(programs.calls().is_empty());
    assert_eq!(found("own.example.com/app").await, "own");
    assert_eq!(found("b.example.com/app").await, "default");
    assert_eq!(found("docker.io/library/app").await, "default");
    assert_eq!(found("none.example.com/app").await, "Anonymous");
    insta::assert_snapshot!(programs.calls().join("\n"), @r"
    docker-credential-own get < own.example.com
    docker-credential-default get < b.example.com
    docker-credential-default get < https://index.docker.io/v1/
    docker-credential-none get < none.example.com
    ");
    insta::assert_snapshot!(
        [
            found("broken.example.com/app").await,
            found("gone.example.com/app").await,
            found("evil.example.com/app").await,
        ]
        .join("\n"),
        @r#"
    AUTH_DENIED: a credential helper of docker's configuration failed: docker-credential-broken failed
    AUTH_DENIED: a credential helper of docker's configuration failed: docker-credential-gone is not in PATH
    AUTH_DENIED: a credential helper of docker's configuration failed: "docker-credential-../../bin/sh" is no name of a program: letters, digits, dots, dashes, underscores
    "#
    );
    assert_eq!(programs.calls().len(), 2, "a name with a separator is not run");
    assert_eq!(found("own.example.com/other").await, "own");
    assert!(programs.calls().is_empty(), "an answer is kept");
    provider.forget(&RegistryHost::parse("own.example.com").unwrap(), Instant::now());
    assert_eq!(found("own.example.com/app").await, "own");
    assert_eq!(programs.calls().len(), 1);
}

#[tokio::test]
async fn a_longer_path_counts_before_a_shorter_one_whether_a_helper_has_it_or_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let programs = Programs::default()
        .with("docker-credential-own", helper("own"))
        .with("docker-credential-none", nothing);
    let programs = Arc::new(programs);
    let entry = |password: &str| json!({"username": "u", "password": password});
    let file = json!({
        "auths": {
            "a.example.com": entry("host"), "b.example.com/team": entry("path"),
            "*.example.com/deep/team": entry("pattern"),
        },
        "credHelpers": {
            "a.example.com/team": "own", "a.example.com/none": "none", "b.example.com": "own",
            "b.example.com/team/app": "own", "c.example.com/deep/team": "own",
        },
    });
    let provider = docker(directory.path(), &file, &programs);
    for (at, expected) in [
        ("a.example.com/app", "host"),
        ("a.example.com/team/app", "own"),
        ("a.example.com/none/app", "host"),
        ("b.example.com/app", "own"),
        ("b.example.com/team/x", "path"),
        ("b.example.com/team/app", "own"),
        ("b.example.com/deep/team/x", "pattern"),
        ("c.example.com/deep/team/x", "pattern"),
        ("c.example.com/app", "Anonymous"),
    ] {
        assert_eq!(password(&*provider, at).await, expected, "{at}");
    }
}

#[tokio::test]
async fn a_changed_password_of_a_helper_is_asked_for_once_after_a_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let passwords = Arc::new(Mutex::new("old"));
    let current = Arc::clone(&passwords);
    let programs = Programs::default().with("docker-credential-h", move |_| {
        let password = *current.lock().unwrap();
        (true, json!({"Username": "user", "Secret": password}).to_string())
    });
    let programs = Arc::new(programs);
    let content = Content::new();
    let accepted = Arc::clone(&passwords);
    let registry = Fake::start(move |seen: &Seen| {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let expected = BASE64_STANDARD.encode(format!("user:{}", accepted.lock().unwrap()));
        match seen.header("authorization") {
            Some(shown) if shown == format!("Basic {expected}") => content.answer(seen),
            _ => Reply::error(401, "UNAUTHORIZED").with("www-authenticate", r#"Basic realm="r""#),
        }
    })
    .await;
    let mut options = options();
    options.auth = docker(directory.path(), &json!({"credsStore": "h"}), &programs);
    options.credential_use = CredentialUse::ByRule;
    let client = Client::new(options).unwrap();
    let reference = registry.reference("app:1");
    client.resolve(&reference, None).await.unwrap();
    client.resolve(&reference, None).await.unwrap();
    assert_eq!(programs.calls().len(), 1);
    *passwords.lock().unwrap() = "new";
    // What was said just now would not be asked for again.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.resolve(&reference, None).await.unwrap();
    assert_eq!(programs.calls().len(), 1);
}

/// The configuration of programs of the kubelet's contract.
pub(crate) fn providers(names: &[&str]) -> CredentialProviders {
    let provider = |name: &&str| {
        json!({
            "name": name, "matchImages": ["*.example.com", "docker.io"],
            "defaultCacheDuration": "10m", "args": ["get"],
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "env": [{"name": "PROFILE", "value": "p"}],
        })
    };
    let document = json!({
        "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
        "providers": names.iter().map(provider).collect::<Vec<_>>(),
    });
    CredentialProviders::new(document, "/providers").unwrap()
}

pub(crate) fn kubelet(programs: &Arc<Programs>, names: &[&str]) -> Arc<dyn AuthProvider> {
    let config = providers(names);
    let environment = Environment {
        programs: Some(programs.clone()),
        credential_providers: Some(Ok(Arc::new(config))),
        ..Environment::default()
    };
    let config = json!({"name": "credentialProvider"});
    auth::from_config(config.as_object(), &environment, &Connections::default()).unwrap()
}

/// A program that answers for what it is told to, with the image it was asked about as password.
pub(crate) fn answering(
    key_type: &'static str,
    cache_duration: Value,
) -> impl Fn(&ProgramCall) -> (bool, String) + Send + Sync + 'static {
    move |call| {
        let request: Value = serde_json::from_slice(&call.stdin).unwrap();
        assert_eq!(request["apiVersion"], "credentialprovider.kubelet.k8s.io/v1");
        assert_eq!(request["kind"], "CredentialProviderRequest");
        assert_eq!(call.directory.as_deref(), Some(Path::new("/providers")));
        assert_eq!(call.environment, [("PROFILE".to_owned(), "p".to_owned())]);
        let image = &request["image"];
        let answer = json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "kind": "CredentialProviderResponse",
            "cacheKeyType": key_type, "cacheDuration": cache_duration,
            "auth": {
                "*.example.com": {"username": "u", "password": image},
                "*.example.com/team": {"username": "u", "password": format!("team {}", image.as_str().unwrap())},
                "docker.io": {"username": "u", "password": image},
            },
        });
        (true, answer.to_string())
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_what_and_for_as_long_as_it_says() {
    let images = ["a.example.com/x", "a.example.com/x", "a.example.com/y", "b.example.com/x"];
    for (key_type, duration, expected) in [
        ("Image", json!("1h"), "a.example.com/x a.example.com/x a.example.com/y b.example.com/x"),
        (
            "Registry",
            json!("1h"),
            "a.example.com/x a.example.com/x a.example.com/x b.example.com/x",
        ),
        ("Global", json!(null), "a.example.com/x a.example.com/x a.example.com/x a.example.com/x"),
        ("Global", json!("0s"), "a.example.com/x a.example.com/x a.example.com/y b.example.com/x"),
    ] {
        let programs = Arc::new(Programs::default().with("p", answering(key_type, duration)));
        let provider = kubelet(&programs, &["p"]);
        let mut found = Vec::new();
        for image in images {
            found.push(password(&*provider, image).await);
        }
        assert_eq!(found.join(" "), expected, "{key_type}");
        let calls = programs.calls().len();
        let expected = match (key_type, expected.ends_with("b.example.com/x")) {
            ("Image", _) => 3,
            ("Registry", _) => 2,
            ("Global", false) => 1,
            _ => 4,
        };
        assert_eq!(calls, expected, "{key_type}");
    }
}

#[tokio::test]
async fn an_old_answer_that_is_found_again_is_no_newer_and_is_forgotten() {
    let (registry, image) = (answering("Registry", json!("1h")), answering("Image", json!("1h")));
    let programs = Programs::default().with("p", move |call| {
        let is_a = String::from_utf8_lossy(&call.stdin).contains("a.example.com");
        if is_a { registry(call) } else { image(call) }
    });
    let programs = Arc::new(programs);
    let provider = kubelet(&programs, &["p"]);
    password(&*provider, "a.example.com/x").await;
    // From now on answers are looked for by image.
    password(&*provider, "b.example.com/x").await;
    let before = Instant::now();
    password(&*provider, "a.example.com/x").await;
    assert_eq!(programs.calls().len(), 2);
    provider.forget(&RegistryHost::parse("a.example.com").unwrap(), before);
    password(&*provider, "a.example.com/x").await;
    assert_eq!(programs.calls().len(), 1);
}

#[tokio::test]
async fn what_others_waited_for_is_not_theirs_where_it_is_for_one_image() {
    let number = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&number);
    let global = answering("Global", json!("0s"));
    let image = answering("Image", json!("1h"));
    let programs = Programs { pause: Duration::from_millis(50), ..Programs::default() };
    // At first it says that its answers are for everything, and then that they are not.
    let programs = programs.with("p", move |call| {
        let mut number = counter.lock().unwrap();
        *number += 1;
        if *number == 1 { global(call) } else { image(call) }
    });
    let programs = Arc::new(programs);
    let provider = kubelet(&programs, &["p"]);
    assert_eq!(password(&*provider, "a.example.com/x").await, "a.example.com/x");
    let (b, c) = tokio::join!(
        password(&*provider, "b.example.com/x"),
        password(&*provider, "c.example.com/x")
    );
    assert_eq!((b.as_str(), c.as_str()), ("b.example.com/x", "c.example.com/x"));
}

#[tokio::test]
async fn many_at_once_are_one_call_and_the_most_specific_key_counts() {
    let programs = Programs { pause: Duration::from_millis(50), ..Programs::default() };
    let programs = Arc::new(programs.with("p", answering("Image", json!("1h"))));
    let provider = kubelet(&programs, &["p"]);
    let all = (0..100).map(|_| password(&*provider, "a.example.com/team/x"));
    for found in futures_util::future::join_all(all).await {
        assert_eq!(found, "team a.example.com/team/x");
    }
    insta::assert_snapshot!(programs.calls().join("\n"), @r#"p get < {"apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"a.example.com/team/x","kind":"CredentialProviderRequest"}"#);
    assert_eq!(password(&*provider, "a.example.com/teams/x").await, "a.example.com/teams/x");
    assert_eq!(password(&*provider, "registry-1.docker.io/library/x").await, "docker.io/library/x");
    programs.calls();
    assert_eq!(password(&*provider, "other.test/x").await, "Anonymous");
    assert!(programs.calls().is_empty(), "it covers no such host");
}

#[tokio::test]
async fn a_program_that_fails_is_an_error_and_the_next_is_asked_only_where_it_has_nothing() {
    let bare = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderResponse", "cacheKeyType": "Registry", "auth": {},
    });
    let bare = bare.to_string();
    let programs = Programs::default()
        .with("p", answering("Registry", json!("1h")))
        .with("nothing", move |_| (true, bare.clone()))
        .with("broken", |_| (false, "hunter2".into()))
        .with("liar", |_| (true, r#"{"kind":"hunter2"}"#.into()));
    let programs = Arc::new(programs);
    let mut texts = Vec::new();
    for names in [&["nothing", "p"][..], &["nothing"], &["broken", "p"], &["liar", "p"], &["gone"]]
    {
        texts.push(password(&*kubelet(&programs, names), "a.example.com/x").await);
    }
    insta::assert_snapshot!(texts.join("\n"), @r"
    a.example.com/x
    Anonymous
    AUTH_DENIED: no credentials for a.example.com/x by broken: broken failed
    AUTH_DENIED: no credentials for a.example.com/x by liar: liar wrote no answer: line 1 column 18
    AUTH_DENIED: no credentials for a.example.com/x by gone: gone is not in PATH
    ");
}

#[test]
fn without_an_administrators_file_there_is_no_such_provider() {
    let config = json!({"name": "credentialProvider"});
    let make = |environment: &Environment| {
        auth::from_config(config.as_object(), environment, &Connections::default())
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let unreadable = Some(Err("/etc/x.yaml: no such file".to_owned()));
    let broken = Environment { credential_providers: unreadable, ..Environment::default() };
    insta::assert_snapshot!([make(&Environment::default()), make(&broken)].join("\n"), @r"
    CONFIG_INVALID: registries.credentialProviders: the configuration names no such programs
    CONFIG_INVALID: registries.credentialProviders: /etc/x.yaml: no such file
    ");
}
