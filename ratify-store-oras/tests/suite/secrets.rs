//! The provider `k8Secrets` over a map in place of a cluster: order, both types of secrets, whose
//! may be read, v1's texts, and that a changed secret is seen.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ratify_core::{BoxFuture, Result, config::StorePluginConfig};
use ratify_store_oras::{
    AuthProvider, Client, Connections, Credential, CredentialUse, OrasStore, OrasStoreOptions,
    Secret,
    auth::{self, ClusterSecret, Environment, ObjectName, RegistryHost, SecretError, SecretSource},
};
use serde_json::{Value, json};

use crate::fake::{Content, Fake, Reply, Seen, credential, options};

const JSON: &str = "kubernetes.io/dockerconfigjson";
const CFG: &str = "kubernetes.io/dockercfg";
const HOST: &str = "registry.example.com";
const PAUSE: std::time::Duration = std::time::Duration::from_millis(1100);
const ARTIFACT: &str = "registry.example.com/app:1";

/// Objects by `namespace/name`. Those whose name begins with `broken` cannot be read.
#[derive(Default)]
pub(crate) struct Cluster {
    secrets: Mutex<BTreeMap<String, ClusterSecret>>,
    accounts: Mutex<BTreeMap<String, Vec<String>>>,
    asked: Mutex<Vec<String>>,
}

impl Cluster {
    pub(crate) fn put(&self, at: &str, kind: &str, key: &str, value: impl ToString) {
        let mut secret = ClusterSecret::default();
        kind.clone_into(&mut secret.kind);
        secret.data.insert(key.to_owned(), value.to_string().into_bytes());
        self.secrets.lock().unwrap().insert(at.to_owned(), secret);
    }

    /// A secret of the new type, or of the old one.
    pub(crate) fn put_password(&self, at: &str, kind: &str, host: &str, password: &str) {
        let auths = json!({host: {"username": "user", "password": password}});
        match kind {
            JSON => self.put(at, kind, ".dockerconfigjson", json!({ "auths": auths })),
            _ => self.put(at, kind, ".dockercfg", auths),
        }
    }

    pub(crate) fn put_account(&self, at: &str, names: &[&str]) {
        let names = names.iter().map(ToString::to_string).collect();
        self.accounts.lock().unwrap().insert(at.to_owned(), names);
    }

    pub(crate) fn asked(&self) -> String {
        std::mem::take(&mut *self.asked.lock().unwrap()).join(" ")
    }

    fn ask(&self, what: &str, at: &ObjectName) -> Result<(), SecretError> {
        self.asked.lock().unwrap().push(format!("{what}{at}"));
        if at.name().starts_with("broken") {
            return Err(SecretError::new("the API server is away"));
        }
        Ok(())
    }
}

impl SecretSource for Cluster {
    fn secret<'a>(
        &'a self,
        at: &'a ObjectName,
    ) -> BoxFuture<'a, Result<Option<ClusterSecret>, SecretError>> {
        let found = self.secrets.lock().unwrap().get(&at.to_string()).cloned();
        Box::pin(std::future::ready(self.ask("", at).map(|()| found)))
    }

    fn service_account<'a>(
        &'a self,
        at: &'a ObjectName,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, SecretError>> {
        let found = self.accounts.lock().unwrap().get(&at.to_string()).cloned();
        Box::pin(std::future::ready(self.ask("sa:", at).map(|()| found)))
    }
}

pub(crate) fn environment(cluster: &Arc<Cluster>) -> Environment {
    Environment {
        secrets: Some(cluster.clone()),
        ratify_namespace: Some("ratify".into()),
        ..Environment::default()
    }
}

pub(crate) fn provider(config: &Value, environment: &Environment) -> Result<Arc<dyn AuthProvider>> {
    let mut config = config.as_object().unwrap().clone();
    config.insert("name".into(), "k8Secrets".into());
    auth::from_config(Some(&config), environment, &Connections::default())
}

/// What the provider finds for [`HOST`]: the password, or the error's text.
async fn found(config: Value, environment: &Environment) -> String {
    let provider = match provider(&config, environment) {
        Ok(provider) => provider,
        Err(error) => return format!("refused: {error}"),
    };
    match credential(&*provider, HOST, ARTIFACT).await {
        Ok(Credential::Basic { password, .. }) => password.reveal().to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

fn listed(names: &[&str]) -> Value {
    let entries: Vec<Value> = names
        .iter()
        .map(|name| match name.split_once('/') {
            Some((namespace, name)) => json!({"secretName": name, "namespace": namespace}),
            None => json!({ "secretName": name }),
        })
        .collect();
    json!({ "secrets": entries })
}

#[tokio::test]
async fn listed_secrets_come_first_and_the_first_that_knows_the_host_wins() {
    let cluster = Arc::new(Cluster::default());
    cluster.put_password("ratify/other", JSON, "elsewhere.example.com", "no");
    cluster.put_password("ratify/first", JSON, HOST, "first");
    cluster.put_password("ratify/second", JSON, HOST, "second");
    cluster.put_password("ratify/pull", JSON, HOST, "pull");
    cluster.put_account("ratify/default", &["gone", "pull"]);
    let environment = environment(&cluster);
    assert_eq!(found(listed(&["other", "gone", "first", "second"]), &environment).await, "first");
    assert_eq!(cluster.asked(), "ratify/other ratify/gone ratify/first");
    assert_eq!(found(listed(&["other"]), &environment).await, "pull");
    assert_eq!(cluster.asked(), "ratify/other sa:ratify/default ratify/gone ratify/pull");
}

#[tokio::test]
async fn a_listed_secret_may_be_in_another_namespace_and_the_service_account_has_a_name() {
    let cluster = Arc::new(Cluster::default());
    cluster.put_password("team/creds", JSON, HOST, "team's");
    cluster.put_password("ratify/pull", JSON, HOST, "pull");
    cluster.put_account("ratify/admin", &["pull"]);
    let environment = environment(&cluster);
    assert_eq!(found(listed(&["team/creds"]), &environment).await, "team's");
    assert_eq!(found(json!({"serviceAccountName": "admin"}), &environment).await, "pull");
}

#[tokio::test]
async fn both_types_of_secrets_are_read_wherever_they_are_named() {
    let cluster = Arc::new(Cluster::default());
    cluster.put_password("ratify/old", CFG, HOST, "old");
    cluster.put_password("ratify/new", JSON, HOST, "new");
    cluster.put("ratify/opaque", "Opaque", "x", "y");
    cluster.put_account("ratify/default", &["opaque", "old"]);
    let environment = environment(&cluster);
    assert_eq!(found(json!({}), &environment).await, "old");
    assert_eq!(found(listed(&["old", "new"]), &environment).await, "old");
    assert_eq!(found(listed(&["new", "old"]), &environment).await, "new");
}

#[tokio::test]
async fn an_identity_token_is_one_and_an_empty_entry_is_anonymous() {
    let cluster = Arc::new(Cluster::default());
    let auths = json!({"auths": {HOST: {"auth": "dTpw", "identitytoken": "t"}}});
    cluster.put("ratify/token", JSON, ".dockerconfigjson", auths);
    cluster.put("ratify/empty", JSON, ".dockerconfigjson", json!({"auths": {HOST: {}}}));
    let environment = environment(&cluster);
    let provider = provider(&listed(&["token"]), &environment).unwrap();
    assert_eq!(
        credential(&*provider, HOST, ARTIFACT).await.unwrap(),
        Credential::RefreshToken(Secret::new("t"))
    );
    assert_eq!(found(listed(&["empty", "token"]), &environment).await, "Anonymous");
}

#[tokio::test]
async fn the_host_itself_counts_before_any_key_for_it_without_a_path_whatever_the_order() {
    let cluster = Arc::new(Cluster::default());
    cluster.put_account("ratify/default", &["pull"]);
    let environment = environment(&cluster);
    for host in ["https://registry.example.com/v1/", "*.example.com"] {
        cluster.put_password("ratify/pull", JSON, HOST, "exact");
        cluster.put_password("ratify/first", JSON, host, "covering");
        assert_eq!(found(listed(&["first"]), &environment).await, "exact", "{host}");
        cluster.put_password("ratify/pull", JSON, host, "later");
        assert_eq!(found(listed(&["first"]), &environment).await, "covering", "{host}");
    }
    for host in ["registry.example.com:5000", "*.registry.example.com", "registry.example.com/ap"] {
        cluster.put_password("ratify/pull", JSON, host, "hunter2");
        assert_eq!(
            found(json!({}), &environment).await,
            "NO_MATCHING_CREDENTIAL: could not find credentials for registry.example.com/app:1"
        );
    }
}

#[tokio::test]
async fn what_fails_is_said_with_v1s_texts_and_without_a_secret() {
    let cluster = Arc::new(Cluster::default());
    cluster.put("ratify/opaque", "Opaque", ".dockerconfigjson", "hunter2");
    cluster.put("ratify/nokey", CFG, ".dockerconfigjson", "hunter2");
    cluster.put("ratify/nojson", JSON, ".dockerconfigjson", "hunter2");
    cluster.put("ratify/types", CFG, ".dockercfg", json!({HOST: "hunter2"}));
    let bad = json!({"auths": {HOST: {"auth": "hunter2"}}});
    cluster.put("ratify/base64", JSON, ".dockerconfigjson", bad);
    let environment = environment(&cluster);
    let mut texts = Vec::new();
    for name in ["opaque", "nokey", "nojson", "types", "base64", "broken", "../x", "", "team/../x"]
    {
        let text = found(listed(&[name, "unread"]), &environment).await;
        assert!(!text.contains("hunter2"), "{text}");
        texts.push(text);
    }
    texts.push(found(json!({"serviceAccountName": "broken"}), &environment).await);
    texts.push(found(json!({"serviceAccountName": "gone"}), &environment).await);
    cluster.put_account("ratify/default", &["broken"]);
    texts.push(found(json!({}), &environment).await);
    cluster.put_account("ratify/default", &["a"; 257]);
    texts.push(found(json!({}), &environment).await);
    insta::assert_snapshot!(texts.join("\n"), @r#"
    CONFIG_INVALID: secret with unsupported type Opaque provided in config: the secret ratify/opaque
    CONFIG_INVALID: could not extract auth configs from docker config: the secret ratify/nokey has no key .dockercfg
    CONFIG_INVALID: the secret ratify/nojson: docker's configuration is malformed at line 1 column 1
    CONFIG_INVALID: the secret ratify/types: docker's configuration is malformed at line 1 column 33
    CONFIG_INVALID: the secret ratify/base64: an auth entry is not the base64 of user:password
    GET_CLUSTER_RESOURCE_FAILURE: failed to pull secret broken from cluster.: the API server is away
    GET_CLUSTER_RESOURCE_FAILURE: failed to pull secret x from cluster.: ".." is no name of a namespace
    GET_CLUSTER_RESOURCE_FAILURE: failed to pull secret  from cluster.: "" is no name of an object
    GET_CLUSTER_RESOURCE_FAILURE: failed to pull secret ../x from cluster.: "../x" is no name of an object
    GET_CLUSTER_RESOURCE_FAILURE: the API server is away
    GET_CLUSTER_RESOURCE_FAILURE: serviceaccounts "gone" not found in namespace ratify
    GET_CLUSTER_RESOURCE_FAILURE: failed to pull secret broken from cluster.: the API server is away
    CONFIG_INVALID: the service account ratify/default has 257 secrets, and 256 are asked at most
    "#);
}

#[tokio::test]
async fn without_a_cluster_or_a_namespace_the_provider_is_refused_with_v1s_texts() {
    let outside = Environment::default();
    let cluster = Arc::new(Cluster::default());
    let nowhere = Environment { ratify_namespace: None, ..environment(&cluster) };
    let empty = Environment { ratify_namespace: Some(String::new()), ..environment(&cluster) };
    assert_eq!(
        found(json!({}), &outside).await,
        "refused: CONFIG_INVALID: failed to generate cluster configuration: unable to load in-cluster configuration"
    );
    for environment in [nowhere, empty] {
        assert_eq!(
            found(json!({}), &environment).await,
            "refused: ENV_NOT_SET: environment variable RATIFY_NAMESPACE not set"
        );
    }
}

#[tokio::test]
async fn a_resource_of_a_namespace_reads_its_own_secrets_and_its_own_service_account() {
    let cluster = Arc::new(Cluster::default());
    cluster.put_password("ratify/creds", JSON, HOST, "ratify's");
    cluster.put_password("ratify/pull", JSON, HOST, "ratify's");
    cluster.put_account("ratify/default", &["pull"]);
    let team = environment(&cluster).for_namespace("team");
    assert_eq!(
        found(listed(&["creds"]), &team).await,
        "GET_CLUSTER_RESOURCE_FAILURE: serviceaccounts \"default\" not found in namespace team"
    );
    cluster.put_password("team/pull", JSON, HOST, "team's");
    cluster.put_account("team/default", &["pull"]);
    assert_eq!(found(listed(&["team/creds", "creds"]), &team).await, "team's");
    assert!(!cluster.asked().contains("ratify/"));
}

#[tokio::test]
async fn a_store_of_a_namespace_that_names_anothers_secret_is_refused_without_a_request() {
    let cluster = Arc::new(Cluster::default());
    cluster.put_password("ratify/creds", JSON, HOST, "hunter2");
    let directory = tempfile::tempdir().unwrap();
    let mut options = OrasStoreOptions::default();
    options.environment = environment(&cluster).for_namespace("team");
    let texts = [("secrets", "namespace"), ("Secrets", "NAMESPACE")].map(|(secrets, namespace)| {
        let entry = json!({"name": "oras", "localCachePath": directory.path(), "authProvider": {
            "name": "k8Secrets",
            (secrets): [{"secretName": "own"}, {"secretName": "creds", (namespace): "ratify"}]}});
        let config = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
        OrasStore::new(&config, options.clone()).err().unwrap().to_string()
    });
    assert_eq!(texts[0], texts[1]);
    insta::assert_snapshot!(texts[0], @"AUTH_DENIED: failed to create auth provider from configuration: a resource of namespace team may not read the secret creds of namespace ratify: only secrets of its own namespace");
    assert_eq!(cluster.asked(), "");
}

#[tokio::test]
async fn the_longest_path_of_the_first_secret_that_knows_the_host_counts() {
    let cluster = Arc::new(Cluster::default());
    let put = |name: &str, keys: &[&str]| {
        let entry = |key: &&str| (key.to_string(), json!({"username": "u", "password": key}));
        let auths: serde_json::Map<String, Value> = keys.iter().map(entry).collect();
        cluster.put(&format!("ratify/{name}"), JSON, ".dockerconfigjson", json!({"auths": auths}));
    };
    put("glob", &["*.example.com"]);
    put("path", &["https://registry.example.com/app"]);
    put("elsewhere", &["registry.example.com/apps"]);
    put("host", &[HOST]);
    put("both", &[HOST, "registry.example.com/app"]);
    put("glob-path", &["*.example.com/app"]);
    for (names, expected) in [
        (&["glob", "path", "host"][..], "https://registry.example.com/app"),
        (&["glob", "elsewhere", "host"], HOST),
        (&["host", "path"], HOST),
        (&["both", "path"], "registry.example.com/app"),
        (&["glob-path", "host"], "*.example.com/app"),
        (&["glob", "elsewhere"], "*.example.com"),
    ] {
        cluster.put_account("ratify/default", names);
        assert_eq!(found(json!({}), &environment(&cluster)).await, expected, "{names:?}");
    }
}

#[tokio::test]
async fn what_was_read_serves_the_next_questions_until_it_is_forgotten() {
    let cluster = Arc::new(Cluster::default());
    cluster.put_password("ratify/pull", JSON, HOST, "old");
    cluster.put_account("ratify/default", &["pull"]);
    let provider = provider(&json!({}), &environment(&cluster)).unwrap();
    for _ in 0..3 {
        credential(&*provider, HOST, ARTIFACT).await.unwrap();
        credential(&*provider, "elsewhere.example.com", "x").await.unwrap_err();
    }
    assert_eq!(cluster.asked(), "sa:ratify/default ratify/pull");
    cluster.put_password("ratify/pull", JSON, HOST, "new");
    assert!(provider.forget(&RegistryHost::parse(HOST).unwrap(), std::time::Instant::now()));
    let credential = credential(&*provider, HOST, ARTIFACT).await.unwrap();
    let new = Credential::Basic { username: "user".into(), password: Secret::new("new") };
    assert_eq!(credential, new);
    assert!(!format!("{credential:?} {:?}", environment(&cluster)).contains("new"));
}

/// A registry that wants a password, by Basic or by a token of its own service.
async fn guarded(password: Arc<Mutex<String>>, by_token: bool) -> Fake {
    let content = Content::new();
    Fake::start(move |seen: &Seen| {
        let expected = basic_header(&password.lock().unwrap());
        let shown = seen.header("authorization").unwrap_or_default();
        let token = format!("Bearer {}", password.lock().unwrap());
        match (by_token, seen.path.starts_with("/token")) {
            (true, true) if shown == expected => {
                Reply::ok(format!(r#"{{"token":"{}"}}"#, password.lock().unwrap()))
            }
            (true, false) if shown == token => content.answer(seen),
            (false, _) if shown == expected => content.answer(seen),
            (true, false) => Reply::new(401).with(
                "www-authenticate",
                &format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap()),
            ),
            _ => Reply::new(401).with("www-authenticate", "Basic"),
        }
    })
    .await
}

fn basic_header(password: &str) -> String {
    let by_hand = match password {
        "old" => "dXNlcjpvbGQ=",
        _ => "dXNlcjpuZXc=",
    };
    format!("Basic {by_hand}")
}

fn client_of(cluster: &Arc<Cluster>, credential_use: CredentialUse) -> Client {
    let mut options = options();
    options.auth = provider(&json!({}), &environment(cluster)).unwrap();
    options.credential_use = credential_use;
    Client::new(options).unwrap()
}

#[tokio::test]
async fn a_changed_password_is_read_anew_when_the_registry_refuses_the_old_one() {
    for by_token in [false, true] {
        let password = Arc::new(Mutex::new("old".to_owned()));
        let fake = guarded(password.clone(), by_token).await;
        let cluster = Arc::new(Cluster::default());
        cluster.put_password("ratify/pull", JSON, &fake.registry(), "old");
        cluster.put_account("ratify/default", &["pull"]);
        let client = client_of(&cluster, CredentialUse::BestEffort);
        client.resolve(&fake.reference("app:1"), None).await.unwrap();
        // What was read just now would not be read again.
        tokio::time::sleep(PAUSE).await;
        "new".clone_into(&mut password.lock().unwrap());
        cluster.put_password("ratify/pull", JSON, &fake.registry(), "new");
        // A granted one that is refused; and another repository, for which none is granted yet.
        client.resolve(&fake.reference("app:1"), None).await.unwrap();
        tokio::time::sleep(PAUSE).await;
        cluster.put_password("ratify/pull", JSON, &fake.registry(), "old");
        "old".clone_into(&mut password.lock().unwrap());
        client.resolve(&fake.reference("other:1"), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_password_that_is_wrong_is_not_shown_twice_in_a_question() {
    let fake = guarded(Arc::new(Mutex::new("new".to_owned())), false).await;
    let cluster = Arc::new(Cluster::default());
    cluster.put_password("ratify/pull", JSON, &fake.registry(), "old");
    cluster.put_account("ratify/default", &["pull"]);
    let client = client_of(&cluster, CredentialUse::BestEffort);
    for _ in 0..2 {
        client.resolve(&fake.reference("app:1"), None).await.unwrap_err();
    }
    assert_eq!(fake.seen().len(), 4, "{:?}", fake.lines());
}

#[tokio::test]
async fn a_provider_without_credentials_is_anonymous_for_a_store_and_the_end_for_a_plugin() {
    let content = Content::new();
    let open = Fake::start(move |seen: &Seen| content.answer(seen)).await;
    let cluster = Arc::new(Cluster::default());
    cluster.put_account("ratify/default", &[]);
    let reference = open.reference("app:1");
    let store = client_of(&cluster, CredentialUse::BestEffort);
    store.resolve(&reference, None).await.unwrap();
    let plugin = client_of(&cluster, CredentialUse::Required);
    let error = plugin.resolve(&reference, None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "auth provider failed with err, NO_MATCHING_CREDENTIAL: could not find credentials for {reference}"
        )
    );
}
