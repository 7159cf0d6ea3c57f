//! [`K8Secrets`]: credentials from the cluster's secrets, in v1's order: the listed ones, then the
//! `imagePullSecrets` of the service account. The first that knows the host wins, and in it the
//! most specific key.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result, capped_line};
use serde_json::{Map, Value};

use super::{
    Asked, AuthProvider, ClusterSecret, Credential, Environment, Granted, ObjectName, RegistryHost,
    SecretError, SecretScope, SecretSource,
    docker_config::{Auths, Found},
    kept::Kept,
    keys,
};

/// The name in `authProvider.name`.
pub(super) const NAME: &str = "k8Secrets";
/// v1's `serviceAccountName` where none is given.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";
/// More secrets than this are not asked, neither listed nor of a service account.
const MAX_SECRETS: usize = 256;
/// How long what was read is good for. v1 keeps credentials for 12 hours.
const LIFETIME: Duration = Duration::from_secs(60);

/// Reads the secrets that its configuration names, and those of a service account.
pub(super) struct K8Secrets {
    source: Arc<dyn SecretSource>,
    listed: Vec<Listed>,
    /// Where the service account is and its secrets are.
    namespace: String,
    service_account: String,
    secrets: Kept<ObjectName, Option<Arc<ClusterSecret>>, SecretError>,
    accounts: Kept<ObjectName, Option<Vec<String>>, SecretError>,
}

/// What the configuration of `k8Secrets` names.
#[derive(Debug, Default, PartialEq)]
pub struct NamedSecrets {
    service_account: Option<String>,
    /// The secrets, each with the namespace that it is said to be in.
    pub secrets: Vec<(Option<String>, String)>,
}

/// A secret that the configuration names. The names are checked when they are looked up: v1 builds
/// a provider whatever they are.
#[derive(Debug, PartialEq)]
struct Listed {
    namespace: String,
    name: String,
}

/// The forms in which a secret holds credentials.
#[derive(Clone, Copy)]
enum Form {
    /// A whole `config.json`.
    DockerConfigJson,
    /// Its map `auths` alone, as docker had it before 2014.
    DockerCfg,
}

impl K8Secrets {
    /// A provider over the environment's secrets.
    ///
    /// # Errors
    /// With v1's texts: a key of the wrong type, no cluster, no `RATIFY_NAMESPACE`. And when a
    /// resource of a namespace names a secret of another one.
    pub(super) fn new(config: &Map<String, Value>, environment: &Environment) -> Result<Self> {
        let keys = NamedSecrets::from_config(config)?;
        let namespace = match &environment.scope {
            SecretScope::Namespace(namespace) => Some(namespace),
            SecretScope::Cluster => environment.ratify_namespace.as_ref().filter(|n| !n.is_empty()),
        };
        refuse_others(&keys, &environment.scope)?;
        let source = environment.secrets.clone().ok_or_else(|| {
            of_provider(ErrorCode::ConfigInvalid)
                .with_detail("failed to generate cluster configuration")
                .with_source("unable to load in-cluster configuration")
        })?;
        let namespace = namespace.cloned().ok_or_else(|| {
            of_provider(ErrorCode::EnvNotSet)
                .with_detail("environment variable RATIFY_NAMESPACE not set")
        })?;
        let service_account = keys.service_account().to_owned();
        let listed = keys.secrets.into_iter().map(|(own, name)| Listed {
            namespace: own.unwrap_or_else(|| namespace.clone()),
            name,
        });
        Ok(Self {
            source,
            listed: listed.collect(),
            service_account,
            namespace,
            // Read again when their time is over and not before: the API server is not to be asked
            // more often than that.
            secrets: Kept::renewed_ahead(Duration::ZERO),
            accounts: Kept::renewed_ahead(Duration::ZERO),
        })
    }

    /// The first secret that has the host itself wins, as in v1, or a path of it that covers the
    /// repository; where none has, the first in which another key covers it.
    async fn find(&self, asked: &Asked<'_>) -> Result<Credential> {
        let host = asked.host.as_written();
        tracing::debug!("attempting to resolve credentials for registry hostname: {host}");
        let mut covering = None;
        check_number(self.listed.len(), "the configuration lists")?;
        for Listed { namespace, name } in &self.listed {
            let Some((at, secret)) = self.secret(namespace, name).await? else {
                let (namespace, name) = (capped_line(namespace, 100), capped_line(name, 300));
                tracing::debug!("secret {name} not found in namespace {namespace}");
                continue;
            };
            let form = Form::of(&secret.kind).ok_or_else(|| unsupported(&secret.kind, &at))?;
            match found_in(&secret, form, &at, asked)? {
                Some(found) if found.is_of_its_own() => return Ok(found.credential()),
                other => covering = covering.or(other),
            }
        }
        for name in self.pull_secrets().await? {
            let Some((at, secret)) = self.secret(&self.namespace, &name).await? else {
                let (name, namespace) = (capped_line(&name, 300), &self.namespace);
                tracing::debug!("image pull secret {name} not found in namespace {namespace}");
                continue;
            };
            let Some(form) = Form::of(&secret.kind) else {
                let (name, kind) = (at.name(), capped_line(&secret.kind, 100));
                tracing::debug!("image pull secret {name} of type {kind} not supported");
                continue;
            };
            match found_in(&secret, form, &at, asked)? {
                Some(found) if found.is_of_its_own() => return Ok(found.credential()),
                other => covering = covering.or(other),
            }
        }
        if let Some(found) = covering {
            return Ok(found.credential());
        }
        let artifact = capped_line(asked.artifact, 500);
        Err(of_provider(ErrorCode::NoMatchingCredential)
            .with_detail(format!("could not find credentials for {artifact}")))
    }

    async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<(ObjectName, Arc<ClusterSecret>)>> {
        let failed = |why: SecretError| {
            let name = capped_line(name, 300);
            of_provider(ErrorCode::GetClusterResourceFailure)
                .with_detail(format!("failed to pull secret {name} from cluster."))
                .with_source(why)
        };
        let at = ObjectName::new(namespace, name).map_err(failed)?;
        let read = async {
            let good_until = Instant::now() + LIFETIME;
            Ok((self.source.secret(&at).await?.map(Arc::new), Some(good_until)))
        };
        let found = self.secrets.get(&at, read).await.map_err(failed)?;
        Ok(found.map(|secret| (at, secret)))
    }

    /// The names of the service account's `imagePullSecrets`.
    async fn pull_secrets(&self) -> Result<Vec<String>> {
        let failed =
            |why: SecretError| of_provider(ErrorCode::GetClusterResourceFailure).with_source(why);
        let at = ObjectName::new(&self.namespace, &self.service_account).map_err(failed)?;
        let read = async {
            let good_until = Instant::now() + LIFETIME;
            Ok((self.source.service_account(&at).await?, Some(good_until)))
        };
        let found = self.accounts.get(&at, read).await;
        let names = found.map_err(failed)?.ok_or_else(|| {
            let (name, namespace) = (at.name(), at.namespace());
            failed(SecretError::new(format!(
                "serviceaccounts \"{name}\" not found in namespace {namespace}"
            )))
        })?;
        check_number(names.len(), &format!("the service account {at} has"))?;
        Ok(names)
    }
}

impl AuthProvider for K8Secrets {
    fn name(&self) -> &str {
        NAME
    }

    fn credential<'a>(&'a self, asked: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(async { Ok(Granted { credential: self.find(asked).await?, good_until: None }) })
    }

    /// The secrets that know the host are read again, those that were not there or cannot be read,
    /// and which of them there are; not those of other hosts alone.
    fn forget(&self, host: &RegistryHost, before: Instant) -> bool {
        self.secrets.forget_those(before, |_, secret| {
            secret.as_ref().is_none_or(|secret| may_know(secret, host))
        });
        self.accounts.forget_those(before, |_, _| true);
        true
    }
}

impl NamedSecrets {
    /// Whether an auth provider of this name is the one that is configured so.
    pub fn is_of(provider: &str) -> bool {
        provider == NAME
    }

    /// The service account whose secrets are read as well.
    pub fn service_account(&self) -> &str {
        self.service_account.as_deref().unwrap_or(DEFAULT_SERVICE_ACCOUNT)
    }

    /// Reads the keys, in any case as v1 does; `null` and an empty text are absent.
    ///
    /// # Errors
    /// Where one is of another type than it has to be.
    pub fn from_config(config: &Map<String, Value>) -> Result<Self> {
        let secrets = match take(config, "secrets")? {
            None => Vec::new(),
            Some(Value::Array(entries)) => {
                entries.iter().map(Self::secret).collect::<Result<_>>()?
            }
            Some(_) => return Err(parse_failure("secrets must be an array of objects")),
        };
        Ok(Self { service_account: take_text(config, "serviceAccountName")?, secrets })
    }

    fn secret(entry: &Value) -> Result<(Option<String>, String)> {
        let entry = entry.as_object().ok_or_else(|| parse_failure("a secret must be an object"))?;
        let name = take_text(entry, "secretName")?.unwrap_or_default();
        Ok((take_text(entry, "namespace")?, name))
    }
}

impl Form {
    fn of(kind: &str) -> Option<Self> {
        match kind {
            "kubernetes.io/dockerconfigjson" => Some(Self::DockerConfigJson),
            "kubernetes.io/dockercfg" => Some(Self::DockerCfg),
            _ => None,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::DockerConfigJson => ".dockerconfigjson",
            Self::DockerCfg => ".dockercfg",
        }
    }

    /// The credentials in a secret of this form; `None` where it has not the form's key.
    fn auths(self, secret: &ClusterSecret) -> Option<Result<Auths>> {
        let bytes = secret.data.get(self.key())?;
        Some(match self {
            Self::DockerConfigJson => Auths::of_file(bytes),
            Self::DockerCfg => Auths::of_bare_map(bytes),
        })
    }
}

/// A resource of a namespace may name none but its own.
fn refuse_others(keys: &NamedSecrets, scope: &SecretScope) -> Result<()> {
    let SecretScope::Namespace(own) = scope else { return Ok(()) };
    let is_foreign = |named: &Option<String>| named.as_ref().is_some_and(|named| named != own);
    let Some((foreign, name)) = keys.secrets.iter().find(|(named, _)| is_foreign(named)) else {
        return Ok(());
    };
    let foreign = capped_line(foreign.as_deref().unwrap_or_default(), 100);
    let name = capped_line(name, 300);
    Err(of_provider(ErrorCode::AuthDenied).with_detail(format!(
        "a resource of namespace {own} may not read the secret {name} of namespace {foreign}: \
         only secrets of its own namespace"
    )))
}

/// Whether a secret has a key of a host, or cannot be read.
fn may_know(secret: &ClusterSecret, host: &RegistryHost) -> bool {
    match Form::of(&secret.kind).and_then(|form| form.auths(secret)) {
        Some(Ok(auths)) => auths.knows(host),
        Some(Err(_)) | None => true,
    }
}

/// What a secret has for a repository; `None` where it does not know its host.
fn found_in(
    secret: &ClusterSecret,
    form: Form,
    at: &ObjectName,
    asked: &Asked<'_>,
) -> Result<Option<Found>> {
    let auths = form.auths(secret).ok_or_else(|| {
        of_provider(ErrorCode::ConfigInvalid)
            .with_detail("could not extract auth configs from docker config")
            .with_source(format!("the secret {at} has no key {}", form.key()))
    })?;
    let of_secret = |error: Error| {
        of_provider(ErrorCode::ConfigInvalid)
            .with_detail(format!("the secret {at}"))
            .with_source(error)
    };
    let auths = auths.map_err(of_secret)?;
    let found = auths.find(asked.host, asked.repository).map_err(of_secret)?;
    if found.is_none() {
        let (host, name, hosts) = (asked.host.as_written(), at.name(), auths.hosts());
        tracing::debug!("host name {host} not found in image pull secret {name}");
        tracing::debug!("list of host names in image pull secret {name}: [{hosts}]");
    }
    Ok(found)
}

fn check_number(number: usize, whose: &str) -> Result<()> {
    if number <= MAX_SECRETS {
        return Ok(());
    }
    Err(of_provider(ErrorCode::ConfigInvalid)
        .with_detail(format!("{whose} {number} secrets, and {MAX_SECRETS} are asked at most")))
}

fn unsupported(kind: &str, at: &ObjectName) -> Error {
    let kind = capped_line(kind, 100);
    of_provider(ErrorCode::ConfigInvalid)
        .with_detail(format!("secret with unsupported type {kind} provided in config"))
        .with_source(format!("the secret {at}"))
}

fn take<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Value>> {
    keys::take(object, key).map_err(|why| parse_failure(&why))
}

fn take_text(object: &Map<String, Value>, key: &str) -> Result<Option<String>> {
    keys::take_text(object, key).map_err(|why| parse_failure(&why))
}

fn parse_failure(why: &str) -> Error {
    of_provider(ErrorCode::ConfigInvalid)
        .with_detail("failed to parse authentication provider configuration")
        .with_source(why)
}

fn of_provider(code: ErrorCode) -> Error {
    code.error().from_component(ComponentType::AuthProvider, NAME)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(config: &Value) -> Result<NamedSecrets> {
        NamedSecrets::from_config(config.as_object().unwrap())
    }

    #[test]
    fn keys_are_read_in_any_case_and_null_and_empty_are_absent() {
        let read = keys(&json!({"name": "k8Secrets", "ServiceAccountName": "sa", "other": 1,
            "secrets": [{"secretname": "a", "Namespace": "n"}, {"secretName": "b", "namespace": ""},
                {"secretName": null}]}));
        let secrets =
            vec![(Some("n".into()), "a".into()), (None, "b".into()), (None, String::new())];
        assert_eq!(read.unwrap(), NamedSecrets { service_account: Some("sa".into()), secrets });
        let empty = keys(&json!({"serviceAccountName": "", "secrets": null})).unwrap();
        assert_eq!(empty, NamedSecrets::default());
    }

    #[test]
    fn keys_of_the_wrong_type_are_refused_with_v1s_text() {
        for (config, why) in [
            (json!({"serviceAccountName": 1}), "serviceAccountName must be a string"),
            (json!({"secrets": {}}), "secrets must be an array of objects"),
            (json!({"secrets": ["a"]}), "a secret must be an object"),
            (json!({"secrets": [{"secretName": 1}]}), "secretName must be a string"),
            (json!({"secrets": [{"namespace": []}]}), "namespace must be a string"),
            (
                json!({"secrets": [{"namespace": "team", "Namespace": "other"}]}),
                "namespace is given in two spellings",
            ),
        ] {
            let expected = format!(
                "CONFIG_INVALID: failed to parse authentication provider configuration: {why}"
            );
            assert_eq!(keys(&config).unwrap_err().to_string(), expected);
        }
    }
}
