//! An issuer of tokens for distribution's token authentication: it checks who asks, grants what
//! they may, and signs with ES256. The registry knows its key by a key set (`jwks`), or by the
//! certificate that each token brings (`x5c`).

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header::AUTHORIZATION},
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::fake::TlsListener;

/// Whom the tokens are for, and whose they are, as the registry is configured.
pub(super) const SERVICE: &str = "registry.example.com";
pub(super) const NAME: &str = "issuer of the tests";
/// What a client shows that has no password.
pub(super) const REFRESH: &str = "a-refresh-token";

/// The service, ended with the test.
pub(super) struct Issuer {
    pub(super) realm: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// A key in PKCS 8, and a certificate for it.
pub(super) struct Certified {
    pub(super) key: Vec<u8>,
    pub(super) certificate: Vec<u8>,
}

struct Shared {
    key: EcdsaKeyPair,
    /// What tokens bring along; without one they name the key.
    certificate: Option<Vec<u8>>,
    /// What was granted to whom: `user repository:a/app:pull`.
    granted: Mutex<Vec<String>>,
}

impl Issuer {
    pub(super) async fn start(
        host: &str,
        acceptor: tokio_rustls::TlsAcceptor,
        certified: Option<Certified>,
    ) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = match &certified {
            Some(certified) => EcdsaKeyPair::from_pkcs8(algorithm, &certified.key).unwrap(),
            None => EcdsaKeyPair::generate(algorithm).unwrap(),
        };
        let certificate = certified.map(|certified| certified.certificate);
        let shared = Arc::new(Shared { key, certificate, granted: Mutex::default() });
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let realm = format!("https://{}/token", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let listener = TlsListener { listener, acceptor };
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { realm, shared, task }
    }

    /// Writes the key set that the registry trusts.
    pub(super) fn write_keys(&self, path: &Path) {
        // An uncompressed point: a byte that says so, and the two coordinates.
        let point = self.shared.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "test",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        std::fs::write(path, json!({"keys": [key]}).to_string()).unwrap();
    }

    pub(super) fn granted(&self) -> Vec<String> {
        self.shared.granted.lock().unwrap().clone()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A GET with user and password, or a POST with a refresh token (distribution's token
/// specification and its OAuth2 form).
async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let (user, asked) = match method {
        Method::GET => (by_password(&headers), pairs(uri.query().unwrap_or_default())),
        _ => {
            let form = pairs(std::str::from_utf8(&body).unwrap());
            (by_refresh_token(&form), form)
        }
    };
    let Some(user) = user else {
        return (StatusCode::UNAUTHORIZED, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#.into());
    };
    assert_eq!(asked["service"], [SERVICE]);
    let scopes = asked["scope"].iter().flat_map(|scopes| scopes.split(' '));
    let access: Vec<Value> = scopes.map(|scope| shared.grant(user, scope)).collect();
    (StatusCode::OK, json!({"token": shared.token(user, &access), "expires_in": 300}).to_string())
}

fn by_password(headers: &HeaderMap) -> Option<&'static str> {
    let shown = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    match &STANDARD.decode(shown).ok()?[..] {
        b"user:hunter2" => Some("user"),
        b"reader:hunter2" => Some("reader"),
        _ => None,
    }
}

fn by_refresh_token(form: &BTreeMap<String, Vec<String>>) -> Option<&'static str> {
    let is = |key: &str, value: &str| form.get(key).is_some_and(|values| values == &[value]);
    (is("grant_type", "refresh_token") && is("refresh_token", REFRESH)).then_some("user")
}

fn pairs(query: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        all.entry(key.into_owned()).or_default().push(value.into_owned());
    }
    all
}

impl Shared {
    /// What a user may do of what a scope asks for: the reader only reads.
    fn grant(&self, user: &str, scope: &str) -> Value {
        let (rest, actions) = scope.rsplit_once(':').unwrap();
        let name = rest.strip_prefix("repository:").unwrap();
        let may = |action: &&str| user == "user" || *action == "pull";
        let actions: Vec<&str> = actions.split(',').filter(may).collect();
        let granted = format!("{user} repository:{name}:{}", actions.join(","));
        self.granted.lock().unwrap().push(granted);
        json!({"type": "repository", "name": name, "actions": actions})
    }

    fn token(&self, user: &str, access: &[Value]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = match &self.certificate {
            Some(der) => json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(der)]}),
            None => json!({"typ": "JWT", "alg": "ES256", "kid": "test"}),
        };
        let claims = json!({
            "iss": NAME, "sub": user, "aud": SERVICE, "iat": now, "nbf": now - 1, "exp": now + 300,
            "jti": format!("{now}-{}", self.granted.lock().unwrap().len()), "access": access,
        });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
