//! [`KubeSecrets`]: secrets and service accounts from the API server, one live `get` each. Nothing
//! is watched, listed or kept here, so a role needs no more than `get` on what is named.

use std::{error::Error as StdError, time::Duration};

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::{Api, Client};
use ratify_core::{BoxFuture, capped_line};
use ratify_store_oras::auth::{ClusterSecret, ObjectName, SecretError, SecretSource};
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

/// How long one `get` may take, with what the client asks again after a 429, 503 or 504.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads what it is asked for, each time anew.
#[derive(Clone)]
pub struct KubeSecrets {
    client: OnceCell<Client>,
    patience: Duration,
}

impl KubeSecrets {
    /// A source over a client of the cluster.
    pub fn new(client: Client) -> Self {
        Self { client: OnceCell::new_with(Some(client)), patience: PATIENCE }
    }

    /// A source that connects to the cluster this runs in when it is first asked.
    pub fn of_this_cluster() -> Self {
        Self { client: OnceCell::new(), patience: PATIENCE }
    }

    async fn get<K>(&self, at: &ObjectName, resource: &str) -> Result<Option<K>, SecretError>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        let client = self.client.get_or_try_init(super::client).await;
        let client =
            client.map_err(|error| SecretError::new(capped_line(&format!("{error:#}"), 300)))?;
        let api: Api<K> = Api::namespaced(client.clone(), at.namespace());
        match tokio::time::timeout(self.patience, api.get_opt(at.name())).await {
            Ok(found) => found.map_err(|error| why(&error, at, resource)),
            Err(_) => {
                let seconds = self.patience.as_secs();
                let text = format!("the API server did not answer within {seconds} s");
                Err(SecretError::new(text))
            }
        }
    }
}

impl SecretSource for KubeSecrets {
    fn secret<'a>(
        &'a self,
        at: &'a ObjectName,
    ) -> BoxFuture<'a, Result<Option<ClusterSecret>, SecretError>> {
        Box::pin(async move {
            let found: Option<Secret> = self.get(at, "secrets").await?;
            Ok(found.map(cluster_secret))
        })
    }

    fn service_account<'a>(
        &'a self,
        at: &'a ObjectName,
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, SecretError>> {
        Box::pin(async move {
            let found: Option<ServiceAccount> = self.get(at, "serviceaccounts").await?;
            Ok(found.map(pull_secrets))
        })
    }
}

fn cluster_secret(secret: Secret) -> ClusterSecret {
    let data = secret.data.unwrap_or_default();
    let data = data.into_iter().map(|(key, value)| (key, value.0)).collect();
    ClusterSecret { kind: secret.type_.unwrap_or_default(), data }
}

fn pull_secrets(account: ServiceAccount) -> Vec<String> {
    account.image_pull_secrets.unwrap_or_default().into_iter().map(|named| named.name).collect()
}

/// Why a `get` failed, in words of ours: an answer that cannot be read may quote a secret, and what
/// authenticates us may quote a token.
fn why(error: &kube::Error, at: &ObjectName, resource: &str) -> SecretError {
    let namespace = at.namespace();
    let text = match error {
        kube::Error::Api(status) if status.is_forbidden() => format!(
            "{resource} {at} may not be read: the service account of Ratify needs the verb get on \
             {resource} in namespace {namespace}"
        ),
        kube::Error::Api(status) => {
            let reason = capped_line(&status.reason, 60);
            format!("the API server answered {} {reason}", status.code)
        }
        kube::Error::SerdeError(_) => format!("the API server's answer is none of {resource}"),
        other => match io_error(other) {
            Some(cause) => format!("the API server cannot be reached: {cause}"),
            None => "the request to the API server failed".to_owned(),
        },
    };
    SecretError::new(text.trim_end())
}

/// The system's error behind another one.
fn io_error(error: &kube::Error) -> Option<String> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.raw_os_error().map(|_| io.to_string());
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Router, extract::Request, http::StatusCode};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;

    /// An API server that gives one answer; what it was asked.
    async fn source(code: u16, body: Value) -> (KubeSecrets, Arc<Mutex<Vec<String>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let router = Router::new().fallback(move |request: Request| {
            log.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            let body = body.to_string();
            async move { (StatusCode::from_u16(code).unwrap(), body) }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (at_address(&address.to_string()), seen)
    }

    fn at_address(address: &str) -> KubeSecrets {
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        KubeSecrets::new(Client::try_from(config).unwrap())
    }

    fn name() -> ObjectName {
        ObjectName::new("team", "reg.cred").unwrap()
    }

    fn status(code: u16, reason: &str) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "reason": reason, "message": "hunter2"})
    }

    async fn failure(code: u16, body: Value) -> String {
        let (source, _) = source(code, body).await;
        source.secret(&name()).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn one_secret_is_asked_for_and_decoded() {
        let (source, seen) = source(
            200,
            json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "reg.cred"},
                "type": "kubernetes.io/dockercfg", "data": {".dockercfg": "e30="}}),
        )
        .await;
        let secret = source.secret(&name()).await.unwrap().unwrap();
        assert_eq!(secret.kind, "kubernetes.io/dockercfg");
        assert_eq!(secret.data[".dockercfg"], b"{}");
        assert_eq!(*seen.lock().unwrap(), ["GET /api/v1/namespaces/team/secrets/reg.cred"]);
    }

    #[tokio::test]
    async fn a_service_accounts_pull_secrets_keep_their_order() {
        let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {},
            "imagePullSecrets": [{"name": "b"}, {"name": "a"}], "secrets": [{"name": "c"}]});
        let (asked, seen) = source(200, account).await;
        assert_eq!(asked.service_account(&name()).await.unwrap().unwrap(), ["b", "a"]);
        assert_eq!(*seen.lock().unwrap(), ["GET /api/v1/namespaces/team/serviceaccounts/reg.cred"]);
        let none = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {}});
        let (asked, _) = source(200, none).await;
        assert_eq!(asked.service_account(&name()).await.unwrap().unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_does_not_exist_is_none() {
        let (source, _) = source(404, status(404, "NotFound")).await;
        assert_eq!(source.secret(&name()).await, Ok(None));
        assert_eq!(source.service_account(&name()).await, Ok(None));
    }

    #[tokio::test]
    async fn a_missing_right_is_named_and_nothing_of_an_answer_shows() {
        let answers = [
            failure(403, status(403, "Forbidden")).await,
            failure(401, status(401, "Unauthorized")).await,
            failure(500, status(500, "InternalError")).await,
            failure(502, json!("hunter2")).await,
            failure(200, json!({"data": "hunter2"})).await,
            failure(200, json!({"data": {".dockercfg": "hunter2!"}})).await,
        ];
        let text = answers.join("\n");
        assert!(!text.contains("hunter2"), "{text}");
        insta::assert_snapshot!(text, @r"
        secrets team/reg.cred may not be read: the service account of Ratify needs the verb get on secrets in namespace team
        the API server answered 401 Unauthorized
        the API server answered 500 InternalError
        the API server answered 502 Failed to parse error data
        the API server's answer is none of secrets
        the API server's answer is none of secrets
        ");
    }

    #[tokio::test]
    async fn a_server_that_is_away_or_silent_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut silent = at_address(&address);
        silent.patience = Duration::from_millis(50);
        let error = silent.secret(&name()).await.unwrap_err().to_string();
        assert_eq!(error, "the API server did not answer within 0 s");
        drop(listener);
        let error = at_address(&address).secret(&name()).await.unwrap_err().to_string();
        assert_eq!(error, "the API server cannot be reached: Connection refused (os error 111)");
    }
}
