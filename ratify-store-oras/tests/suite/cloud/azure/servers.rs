//! Entra, the machine's metadata endpoint and a registry of Azure, which exchange tokens as the real
//! ones do, and refuse whatever is not asked as they want it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ratify_store_oras::{AuthProvider, Connections, TlsRoots, auth::Environment};
use serde_json::json;

use super::super::{environment, form, provider, query};
use crate::{
    fake::{Content, Fake, Reply, Seen},
    network,
};

pub(super) const TENANT: &str = "7b795fb9-09d3-42f4-a494-38864f99ba3c";
pub(super) const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const USER: &str = "00000000-0000-0000-0000-000000000000";

/// What the servers know and count.
#[derive(Default)]
pub(super) struct Azure {
    pub(super) token_file: PathBuf,
    pub(super) client: Mutex<String>,
    /// The life that tokens of Entra are said to have, in seconds.
    pub(super) life: AtomicU32,
    pub(super) tokens: AtomicU32,
    pub(super) exchanges: AtomicU32,
    pub(super) refuses_exchange: AtomicU32,
}

impl Azure {
    pub(super) fn new(directory: &Path) -> Arc<Self> {
        let token_file = directory.join("token");
        std::fs::write(&token_file, "the-service-account\n").unwrap();
        Arc::new(Self {
            token_file,
            client: Mutex::new(CLIENT.into()),
            life: AtomicU32::new(3599),
            ..Self::default()
        })
    }

    /// Entra's answer to the client credentials flow.
    pub(super) fn entra(&self, seen: &Seen) -> Reply {
        let form = form(seen);
        let assertion = std::fs::read_to_string(&self.token_file).unwrap();
        let is_for_vaults = form.get("scope").is_some_and(|scope| scope == VAULTS);
        let scope = if is_for_vaults { VAULTS } else { REGISTRIES };
        let expected = BTreeMap::from(
            [
                ("client_assertion", assertion.trim()),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_id", &self.client.lock().unwrap()),
                ("grant_type", "client_credentials"),
                ("scope", scope),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        if seen.method != "POST"
            || seen.path != format!("/{TENANT}/oauth2/v2.0/token")
            || form != expected
        {
            let body = json!({"error": "invalid_request", "error_codes": [9002313],
                "error_description": "REMOTE TEXT", "timestamp": "", "trace_id": "", "correlation_id": ""});
            return Reply { status: 400, ..Reply::ok(body.to_string()) };
        }
        let number = self.tokens.fetch_add(1, Relaxed) + 1;
        let life = self.life.load(Relaxed);
        let body = json!({"token_type": "Bearer", "expires_in": life, "ext_expires_in": life,
            "access_token": format!("{}-{number}", if is_for_vaults { "VAULT" } else { "AAD" })});
        Reply::ok(body.to_string()).with("content-type", "application/json")
    }

    /// A key vault: one secret, one that is disabled, and nothing else.
    pub(super) fn vault(&self, seen: &Seen) -> Reply {
        let token = format!("Bearer VAULT-{}", self.tokens.load(Relaxed));
        if seen.method != "GET" || seen.header("authorization") != Some(&token) {
            return Reply::error(401, "Unauthorized");
        }
        let refusal = |status, code: &str, inner: &str| {
            let error =
                json!({"code": code, "message": "REMOTE TEXT", "innererror": {"code": inner}});
            Reply { status, ..Reply::ok(json!({"error": error}).to_string()) }
        };
        match seen.path.strip_suffix("?api-version=7.4") {
            Some("/secrets/release") => Reply::ok(r#"{"value":"latest"}"#),
            Some("/secrets/release/1f30") => Reply::ok(r#"{"value":"first"}"#),
            Some("/secrets/off") => refusal(403, "Forbidden", "SecretDisabled"),
            _ => refusal(404, "SecretNotFound", ""),
        }
    }

    /// The metadata endpoint of a machine.
    pub(super) fn machine(&self, seen: &Seen) -> Reply {
        let client = self.client.lock().unwrap().clone();
        let expected = [
            ("api-version", "2019-08-01"),
            ("client_id", &client),
            ("resource", "https://containerregistry.azure.net"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let is_right = seen.method == "GET"
            && seen.path.starts_with("/metadata/identity/oauth2/token?")
            && seen.header("metadata") == Some("true")
            && seen.header("x-forwarded-for").is_none()
            && query(seen) == BTreeMap::from(expected);
        if !is_right {
            return Reply { status: 400, ..Reply::ok(r#"{"error":"REMOTE TEXT"}"#) };
        }
        let number = self.tokens.fetch_add(1, Relaxed) + 1;
        let life = u64::from(self.life.load(Relaxed));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let body = json!({"access_token": format!("AAD-{number}"), "token_type": "Bearer",
            "expires_in": life.to_string(), "expires_on": (now.as_secs() + life).to_string(),
            "not_before": "0", "resource": "https://containerregistry.azure.net", "client_id": client});
        Reply::ok(body.to_string()).with("content-type", "application/json")
    }

    /// The registry: the exchange, its token service, and what it holds.
    pub(super) fn registry(&self, content: &Content, seen: &Seen) -> Reply {
        let host = seen.header("host").unwrap();
        let number = self.exchanges.load(Relaxed);
        if seen.path.starts_with("/oauth2/exchange") {
            return self.exchange(host, seen);
        }
        if seen.path.starts_with("/oauth2/token?") {
            let password = format!("{USER}:REFRESH-{number}");
            let basic = format!("Basic {}", BASE64_STANDARD.encode(password));
            let query = query(seen);
            let is_right = seen.header("authorization") == Some(&basic)
                && query.get("service").map(String::as_str) == Some(host)
                && query.get("scope").map(String::as_str) == Some("repository:app:pull");
            if !is_right {
                return Reply::error(401, "UNAUTHORIZED");
            }
            return Reply::ok(format!(r#"{{"access_token":"ACCESS-{number}"}}"#));
        }
        if seen.header("authorization") == Some(&format!("Bearer ACCESS-{number}")) {
            return content.answer(seen);
        }
        Reply::error(401, "UNAUTHORIZED").with(
            "www-authenticate",
            &format!(r#"Bearer realm="https://{host}/oauth2/token",service="{host}",scope="repository:app:pull""#),
        )
    }

    pub(super) fn exchange(&self, host: &str, seen: &Seen) -> Reply {
        let expected = [
            ("access_token", format!("AAD-{}", self.tokens.load(Relaxed))),
            ("grant_type", "access_token".into()),
            ("service", host.to_owned()),
            ("tenant", TENANT.into()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let is_right = seen.method == "POST"
            && seen.path == "/oauth2/exchange?api-version=2021-07-01"
            && seen.header("content-type") == Some("application/x-www-form-urlencoded")
            && seen.header("authorization").is_none()
            && form(seen) == BTreeMap::from(expected);
        let refuses = self.refuses_exchange.load(Relaxed);
        if !is_right || refuses > 0 {
            self.refuses_exchange.store(refuses.saturating_sub(1), Relaxed);
            return Reply::error(401, "UNAUTHORIZED");
        }
        let number = self.exchanges.fetch_add(1, Relaxed) + 1;
        Reply::ok(format!(r#"{{"refresh_token":"REFRESH-{number}"}}"#))
    }

    pub(super) fn counts(&self) -> (u32, u32) {
        (self.tokens.load(Relaxed), self.exchanges.load(Relaxed))
    }
}

/// Entra and a registry on loopback, and what they know.
pub(super) struct Servers {
    pub(super) azure: Arc<Azure>,
    pub(super) entra: Fake,
    pub(super) registry: Fake,
    _directory: tempfile::TempDir,
}

impl Servers {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let azure = Azure::new(directory.path());
        let known = azure.clone();
        let entra = Fake::start_tls(move |seen| known.entra(seen)).await;
        let registry = Self::registry(&azure).await;
        Self { azure, entra, registry, _directory: directory }
    }

    pub(super) async fn registry(azure: &Arc<Azure>) -> Fake {
        let (known, content) = (azure.clone(), Content::new());
        Fake::start_tls(move |seen| known.registry(&content, seen)).await
    }

    pub(super) fn environment(&self) -> Environment {
        environment([
            ("AZURE_TENANT_ID", TENANT),
            ("AZURE_CLIENT_ID", CLIENT),
            ("AZURE_FEDERATED_TOKEN_FILE", self.azure.token_file.to_str().unwrap()),
            ("AZURE_AUTHORITY_HOST", &format!("https://{}", self.entra.registry())),
        ])
    }

    pub(super) fn config(&self) -> serde_json::Value {
        json!({"name": "azureWorkloadIdentity", "endpoints": [self.registry.registry()]})
    }

    pub(super) fn provider(&self) -> Arc<dyn AuthProvider> {
        provider(&self.config(), &self.environment(), &Connections::default()).unwrap()
    }
}

/// The names that the page's configurations are about, in a network of the test's own.
pub(super) const AUTHORITY: &str = "login.microsoftonline.com";
pub(super) const REGISTRY: &str = "team.azurecr.io";
pub(super) const VAULT: &str = "team.vault.azure.net";
/// What tokens are for.
const REGISTRIES: &str = "https://containerregistry.azure.net/.default";
const VAULTS: &str = "https://vault.azure.net/.default";

/// Entra, a registry, a key vault and a machine's metadata endpoint where they truly are.
pub(super) struct TrueServers {
    pub(super) azure: Arc<Azure>,
    pub(super) machine: Fake,
    pub(super) https: Fake,
    pub(super) connections: Connections,
    _directory: tempfile::TempDir,
}

impl TrueServers {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let azure = Azure::new(directory.path());
        let known = azure.clone();
        let metadata = format!("{}:80", network::METADATA);
        let machine = Fake::start_at(&metadata, move |seen| known.machine(seen)).await;
        let (known, content) = (azure.clone(), Content::new());
        let answer = move |seen: &Seen| match seen.header("host") {
            Some(AUTHORITY) => known.entra(seen),
            Some(REGISTRY) => known.registry(&content, seen),
            Some(VAULT) => known.vault(seen),
            _ => Reply::error(400, "HOST"),
        };
        let address = format!("{}:443", network::ADDRESS);
        let (https, pem) =
            Fake::start_tls_at(&address, &[AUTHORITY, REGISTRY, VAULT], answer).await;
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        let connections = Connections::new(TlsRoots { file: Some(file), directories: vec![] });
        Self { azure, machine, https, connections, _directory: directory }
    }

    pub(super) fn variables(&self) -> Environment {
        environment([
            ("AZURE_TENANT_ID", TENANT),
            ("AZURE_FEDERATED_TOKEN_FILE", self.azure.token_file.to_str().unwrap()),
            ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"),
        ])
    }
}
