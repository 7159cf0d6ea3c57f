//! Azure's two providers: on loopback, and under the true names and addresses in a network of a
//! test's own.

mod servers;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ratify_core::{ErrorCode, Reference};
use ratify_store_oras::{
    AuthProvider, AzureCall, Client, Connections, Credential, CredentialUse, Granted, Transport,
    auth::{AzureVault, Environment, RegistryHost},
};
use serde_json::json;

use self::servers::{AUTHORITY, CLIENT, REGISTRY, Servers, TENANT, TrueServers, USER, VAULT};
use super::{Lines, granted, on_the_page, provider};
use crate::{fake::options, network};

fn client(provider: Arc<dyn AuthProvider>, connections: &Connections) -> Client {
    let mut options = options();
    options.transport = Transport::Https;
    options.credential_use = CredentialUse::Required;
    options.auth = provider;
    options.connections = connections.clone();
    Client::new(options).unwrap()
}

/// Resolves a tag of the registry under its true name.
async fn resolve(servers: &TrueServers, provider: Arc<dyn AuthProvider>) {
    let client = client(provider, &servers.connections);
    let reference = Reference::parse(&format!("{REGISTRY}/app:1")).unwrap();
    client.resolve(&reference, None).await.unwrap();
}

/// The text of an error, with what varies replaced.
fn said(error: &ratify_core::Error, servers: &Servers) -> String {
    let (entra, registry) = (servers.entra.registry(), servers.registry.registry());
    let file = servers.azure.token_file.display().to_string();
    error.to_string().replace(&entra, "ENTRA").replace(&registry, "REGISTRY").replace(&file, "FILE")
}

/// A failure answers all who ask within a second.
async fn after_the_failure() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

#[tokio::test]
async fn workload_identity_opens_a_registry_and_tells_no_secret() {
    let (lines, _guard) = Lines::watch();
    let servers = Servers::start().await;
    let client = client(servers.provider(), &Connections::default());
    for _ in 0..2 {
        client.resolve(&servers.registry.reference("app:1"), None).await.unwrap();
    }
    assert_eq!(servers.azure.counts(), (1, 1));
    let text = lines.text();
    assert!(text.contains("successfully refreshed AAD token"), "{text}");
    let metrics = format!("ms, Host={}", servers.registry.registry());
    assert!(text.contains("Metrics Report: Duration=") && text.contains(&metrics), "{text}");
    let basic = BASE64_STANDARD.encode(format!("{USER}:REFRESH-1"));
    lines.assert_silent_about(&["the-service-account", "AAD-1", "REFRESH-1", "ACCESS-1", &basic]);
}

#[tokio::test]
async fn the_password_is_the_registrys_token_and_good_for_as_long_as_entras() {
    let servers = Servers::start().await;
    let host = servers.registry.registry();
    for (life, least, most) in [(3599, 3590, 3599), (1, 55, 60), (90_000, 10_490, 10_500)] {
        servers.azure.life.store(life, Relaxed);
        let Granted { credential, good_until, .. } =
            granted(&*servers.provider(), &host).await.unwrap();
        let Credential::Basic { username, password } = credential else { panic!("no password") };
        let number = servers.azure.exchanges.load(Relaxed);
        assert_eq!((username.as_str(), password.reveal()), (USER, &*format!("REFRESH-{number}")));
        let life = good_until.unwrap().duration_since(std::time::Instant::now()).as_secs();
        assert!((least..=most).contains(&life), "{life}");
    }
}

#[tokio::test]
async fn a_thousand_at_once_make_one_token_and_one_exchange_per_registry_and_none_elsewhere() {
    let servers = Servers::start().await;
    let other = Servers::registry(&servers.azure).await;
    let elsewhere = Servers::registry(&servers.azure).await;
    let mut config = servers.config();
    config["endpoints"] = json!([servers.registry.registry(), other.registry()]);
    let connections = Connections::default();
    let provider = provider(&config, &servers.environment(), &connections).unwrap();
    let hosts = [servers.registry.registry(), other.registry(), elsewhere.registry()];
    let all = (0..1002).map(|index| granted(&*provider, &hosts[index % 3]));
    for (index, result) in futures_util::future::join_all(all).await.into_iter().enumerate() {
        let Err(error) = result else { continue };
        assert_eq!((index % 3, error.code()), (2, ErrorCode::HostNameInvalid), "{error}");
        let expected = format!(
            "HOST_NAME_INVALID: the artifact host {} is not in the scope of the store auth provider",
            hosts[2]
        );
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(servers.azure.counts(), (1, 2));
    // v1's metrics of both, by scope and by host.
    let counted = connections.counters().azure_calls().into_iter().map(|(series, took)| {
        let count = took.buckets().iter().map(|(_, count)| count).sum::<u64>();
        (series.call, series.of.to_string(), count)
    });
    let mut expected =
        vec![(AzureCall::Aad, "https://containerregistry.azure.net/.default".to_owned(), 1)];
    let mut of_registries = hosts[..2].to_vec();
    of_registries.sort();
    expected.extend(of_registries.into_iter().map(|host| (AzureCall::Acr, host, 1)));
    assert_eq!(counted.collect::<Vec<_>>(), expected);
    assert_eq!((servers.registry.seen().len(), other.seen().len()), (1, 1));
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_refused_password_is_exchanged_anew_and_a_refused_token_is_asked_for_anew() {
    let servers = Servers::start().await;
    let (provider, host) = (servers.provider(), servers.registry.registry());
    granted(&*provider, &host).await.unwrap();
    let parsed = RegistryHost::parse(&host).unwrap();
    assert!(provider.forget(&parsed, std::time::Instant::now()));
    granted(&*provider, &host).await.unwrap();
    assert_eq!(servers.azure.counts(), (1, 2));
    // The service account's token is replaced, and the registry takes Entra's no more.
    std::fs::write(&servers.azure.token_file, "the-next-one").unwrap();
    servers.azure.refuses_exchange.store(1, Relaxed);
    provider.forget(&parsed, std::time::Instant::now());
    let error = granted(&*provider, &host).await.unwrap_err();
    insta::assert_snapshot!(said(&error, &servers), @"AUTH_DENIED: failed to get refresh token for container registry: https://REGISTRY/oauth2/exchange: response status code 401: Unauthorized: https://learn.microsoft.com/en-us/azure/aks/workload-identity-overview");
    after_the_failure().await;
    granted(&*provider, &host).await.unwrap();
    assert_eq!(servers.azure.counts(), (2, 3));
}

#[tokio::test]
async fn a_token_file_may_appear_late_and_may_be_wrong_for_a_while() {
    let servers = Servers::start().await;
    std::fs::remove_file(&servers.azure.token_file).unwrap();
    let (provider, host) = (servers.provider(), servers.registry.registry());
    let error = granted(&*provider, &host).await.unwrap_err();
    insta::assert_snapshot!(said(&error, &servers), @"AUTH_DENIED: could not refresh AAD token: the token file FILE: No such file or directory (os error 2): https://learn.microsoft.com/en-us/azure/aks/workload-identity-overview");
    assert!(servers.entra.seen().is_empty());
    std::fs::write(&servers.azure.token_file, "the-late-one").unwrap();
    after_the_failure().await;
    granted(&*provider, &host).await.unwrap();
    assert_eq!(servers.azure.counts(), (1, 1));
}

#[tokio::test]
async fn what_entra_refuses_is_an_error_with_its_number_and_without_its_text() {
    let servers = Servers::start().await;
    let mut config = servers.config();
    config["clientID"] = json!("another");
    let provider = provider(&config, &servers.environment(), &Connections::default()).unwrap();
    let error = granted(&*provider, &servers.registry.registry()).await.unwrap_err();
    insta::assert_snapshot!(said(&error, &servers), @"AUTH_DENIED: could not refresh AAD token: response status code 400, AADSTS9002313: https://learn.microsoft.com/en-us/azure/aks/workload-identity-overview");
    assert!(servers.registry.seen().is_empty());
}

#[tokio::test]
async fn the_configurations_client_wins_over_the_environments_in_workload_identity() {
    let servers = Servers::start().await;
    *servers.azure.client.lock().unwrap() = "of-the-configuration".into();
    let mut config = servers.config();
    config["clientId"] = json!("of-the-configuration");
    let provider = provider(&config, &servers.environment(), &Connections::default()).unwrap();
    granted(&*provider, &servers.registry.registry()).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_said_with_v1s_texts() {
    let servers = Servers::start().await;
    let text = |name: &str, without: &[&str], more: serde_json::Value| {
        let mut environment = servers.environment();
        environment.lookup.retain(|name, _| !without.contains(&name.as_str()));
        let mut config = json!({"name": name});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = provider(&config, &environment, &Connections::default());
        made.err().map_or_else(|| "made".into(), |error| said(&error, &servers))
    };
    let (workload, managed) = ("azureWorkloadIdentity", "azureManagedIdentity");
    let (tenant, client) = (["AZURE_TENANT_ID"], ["AZURE_CLIENT_ID"]);
    let variables = ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"];
    let texts = [
        text(workload, &tenant, json!({})),
        text(workload, &client, json!({})),
        text(workload, &client, json!({"clientID": "x"})),
        text(workload, &variables, json!({})),
        text(workload, &variables[1..], json!({})),
        text(workload, &[], json!({"clientID": 1})),
        text(workload, &[], json!({"endpoints": "*.azurecr.io"})),
        text(workload, &[], json!({"endpoints": ["*azurecr.io"]})),
        text(managed, &tenant, json!({})),
        text(managed, &client, json!({})),
        text(managed, &client, json!({"clientID": "x"})),
        text(managed, &variables, json!({})),
        text(managed, &[], json!({"endpoints": [1]})),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r"
    ENV_NOT_SET: azure tenant id environment variable is empty
    ENV_NOT_SET: no client ID provided and AZURE_CLIENT_ID environment variable is empty
    made
    AUTH_DENIED: required environment variables not set, AZURE_FEDERATED_TOKEN_FILE: , AZURE_AUTHORITY_HOST: : https://learn.microsoft.com/en-us/azure/aks/workload-identity-overview
    AUTH_DENIED: required environment variables not set, AZURE_FEDERATED_TOKEN_FILE: FILE, AZURE_AUTHORITY_HOST: : https://learn.microsoft.com/en-us/azure/aks/workload-identity-overview
    CONFIG_INVALID: failed to parse auth provider configuration: clientID must be a string
    CONFIG_INVALID: failed to parse auth provider configuration: endpoints must be an array of strings
    CONFIG_INVALID: invalid wildcard domain name: *azurecr.io, it must start with '*.'
    ENV_NOT_SET: AZURE_TENANT_ID environment variable is empty
    ENV_NOT_SET: AZURE_CLIENT_ID environment variable is empty
    made
    made
    CONFIG_INVALID: failed to parse azure managed identity auth provider configuration.: endpoints must be an array of strings: https://learn.microsoft.com/en-us/azure/active-directory/managed-identities-azure-resources/overview
    ");
}

#[tokio::test]
async fn a_namespace_shows_a_lent_identity_to_azures_registries_only() {
    let servers = Servers::start().await;
    let text = |lends: bool, endpoints: &[&str]| {
        let lent = Environment { lends_credentials: lends, ..servers.environment() };
        let config = json!({"name": "azureWorkloadIdentity", "endpoints": endpoints});
        let made = provider(&config, &lent.for_namespace("team"), &Connections::default());
        made.err().map_or_else(|| "made".into(), |error| error.to_string())
    };
    let texts = [
        text(false, &[]),
        text(true, &[]),
        text(true, &["team.azurecr.io"]),
        text(true, &["team.azurecr.io", "*.example.com"]),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r"
    AUTH_DENIED: a namespace may not use azureWorkloadIdentity, which has Ratify's own credentials, only k8Secrets of its own
    made
    made
    AUTH_DENIED: a resource of namespace team may not show Ratify's identity to *.example.com: only to registries of Azure
    ");
}

/// Runs a test in a network of its own, where the names are.
fn in_own_network<F: Future<Output = ()>>(test: &str, run: impl FnOnce() -> F) {
    if network::is_own(&format!("cloud::azure::{test}"), &[AUTHORITY, REGISTRY, VAULT]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run());
    }
}

#[test]
fn workload_identity_opens_a_registry_of_azure() {
    in_own_network("workload_identity_opens_a_registry_of_azure", || async {
        let servers = TrueServers::start().await;
        let config = on_the_page("azureWorkloadIdentity");
        let provider = provider(&config, &servers.variables(), &servers.connections).unwrap();
        resolve(&servers, provider.clone()).await;
        assert_eq!((servers.azure.counts(), servers.machine.seen().len()), ((1, 1), 0));
        let asked = servers.https.seen().len();
        for host in ["a.b.azurecr.io", "azurecr.io", "team.azurecr.io:444", AUTHORITY] {
            granted(&*provider, host).await.unwrap_err();
        }
        granted(&*provider, "TEAM.azurecr.io:443").await.unwrap();
        assert_eq!(servers.https.seen().len(), asked);
    });
}

#[test]
fn managed_identity_opens_a_registry_of_azure() {
    in_own_network("managed_identity_opens_a_registry_of_azure", || async {
        let (lines, _guard) = Lines::watch();
        let servers = TrueServers::start().await;
        let config = on_the_page("azureManagedIdentity");
        let made = provider(&config, &servers.variables(), &servers.connections).unwrap();
        resolve(&servers, made.clone()).await;
        let all = (0..1000).map(|_| granted(&*made, REGISTRY));
        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
        assert_eq!((servers.azure.counts(), servers.machine.seen().len()), ((1, 1), 1));
        let text = lines.text();
        assert!(text.contains("successfully refreshed azure managed identity token"), "{text}");
        lines.assert_silent_about(&["AAD-1", "REFRESH-1", "ACCESS-1"]);

        // The environment's client wins.
        let mut variables = servers.variables();
        variables.lookup.insert("AZURE_CLIENT_ID".into(), "is-not-assigned".into());
        let other = provider(&config, &variables, &servers.connections).unwrap();
        let error = granted(&*other, REGISTRY).await.unwrap_err();
        insta::assert_snapshot!(error, @"AUTH_DENIED: could not refresh azure managed identity token: response status code 400: https://learn.microsoft.com/en-us/azure/active-directory/managed-identities-azure-resources/overview");
        *servers.azure.client.lock().unwrap() = "is-not-assigned".into();
        let other = provider(&config, &variables, &servers.connections).unwrap();
        resolve(&servers, other).await;
    });
}

#[test]
fn workload_identity_opens_a_key_vault_of_azure() {
    in_own_network("workload_identity_opens_a_key_vault_of_azure", || async {
        let (lines, _guard) = Lines::watch();
        let servers = TrueServers::start().await;
        let (variables, connections) = (servers.variables(), &servers.connections);
        let uri = format!("https://{VAULT}/");
        let vault = AzureVault::new(&uri, TENANT, CLIENT, &variables, connections).unwrap();
        let latest = vault.get(&["secrets", "release", ""]).await.unwrap();
        assert_eq!((latest.status, &latest.body[..]), (200, &br#"{"value":"latest"}"#[..]));
        let first = vault.get(&["secrets", "release", "1f30"]).await.unwrap();
        assert_eq!(&first.body[..], br#"{"value":"first"}"#);
        assert_eq!(servers.azure.counts(), (1, 0), "one token serves all");

        let off = vault.get(&["secrets", "off", ""]).await.unwrap();
        let body = String::from_utf8(off.body.to_vec()).unwrap();
        assert!(off.status == 403 && body.contains("SecretDisabled"), "{body}");
        let absent = vault.get(&["secrets", "absent", ""]).await.unwrap();
        insta::assert_snapshot!(absent.reason, @"https://team.vault.azure.net/secrets/absent: response status code 404: SecretNotFound");
        // A name is one part of the path, whatever it is.
        let climbing = vault.get(&["secrets", "../keys/release", ""]).await.unwrap();
        assert_eq!(climbing.status, 404);
        // v1's metric has what was had.
        let [(series, took)] = connections.counters().azure_calls().try_into().unwrap();
        let told = (series.call, &*series.of, &*series.tenant);
        assert_eq!(told, (AzureCall::Akv, "release", ""));
        assert_eq!(took.buckets().iter().map(|(_, count)| count).sum::<u64>(), 2);
        let text = lines.text();
        assert!(text.contains(VAULT), "{text}");
        for secret in ["the-service-account", "VAULT-1", r#"{"value""#, "REMOTE TEXT"] {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }

        *servers.azure.client.lock().unwrap() = "another".into();
        let refused = AzureVault::new(&uri, TENANT, CLIENT, &variables, connections).unwrap();
        let why = refused.get(&["secrets", "release", ""]).await.unwrap_err();
        insta::assert_snapshot!(why, @"response status code 400, AADSTS9002313");
    });
}
