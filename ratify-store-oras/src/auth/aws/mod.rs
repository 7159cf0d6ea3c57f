//! [`AwsEcrBasic`]: passwords for registries of ECR, for the identity that AWS gives to the pod.
//!
//! `keys` finds out who the pod is and gets keys for it, `ecr` gets the password with them, `host`
//! says which hosts are shown one.

mod ecr;
mod host;
mod keys;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result, capped_line};
use url::Url;

use super::{
    Asked, AuthProvider, Environment, Granted, RegistryHost,
    cloud::{CloudError, CloudHttp},
    kept::Kept,
};
use ecr::{Outcome, Service};
use host::EcrHost;
use keys::{Identity, Keys};

/// The name in `authProvider.name`.
pub(super) const NAME: &str = "awsEcrBasic";
/// v1's time before the end of a password at which it gets a new one.
const AHEAD: Duration = Duration::from_secs(300);

/// Gets passwords of ECR, and keeps them and the keys for them until shortly before they end.
pub(super) struct AwsEcrBasic {
    http: CloudHttp,
    identity: Identity,
    endpoints: Endpoints,
    keys: Kept<(), Arc<Keys>, AwsError>,
    granted: Kept<String, Granted, AwsError>,
}

/// Where ECR is, apart from where it is by itself.
#[derive(Debug)]
struct Endpoints {
    /// v1's override, for one region.
    of_region: Option<Override>,
    /// The SDKs' own variable.
    of_all: Option<String>,
}

#[derive(Debug)]
struct Override {
    region: String,
    endpoint: String,
    partition: String,
}

/// Why there is no password.
#[derive(Debug, Clone, thiserror::Error)]
enum AwsError {
    /// Nothing says who the pod is.
    #[error("{0}")]
    Environment(String),
    /// The pod's identity, or an endpoint, cannot be used.
    #[error("{0}")]
    Setup(String),
    /// There are no keys.
    #[error("could not retrieve ECR auth token collection: {0}")]
    Cloud(#[from] CloudError),
    /// ECR gave no token.
    #[error("could not retrieve ECR auth token collection: {0}")]
    Collection(CloudError),
    /// ECR gave something that is none.
    #[error("could not decode ECR auth token: {0}")]
    Decoding(CloudError),
}

impl AwsEcrBasic {
    /// A provider for what the environment says. As v1's it is built whatever that is: files and
    /// identities may come later.
    pub(super) fn new(environment: &Environment, http: CloudHttp) -> Self {
        let variables = Variables(&environment.lookup);
        Self {
            http,
            identity: variables.identity(),
            endpoints: variables.endpoints(),
            keys: Kept::renewed_ahead(AHEAD),
            granted: Kept::renewed_ahead(AHEAD),
        }
    }

    async fn find(&self, asked: &Asked<'_>) -> Result<Granted> {
        let artifact = capped_line(asked.artifact, 500);
        let host = EcrHost::parse(asked.host).ok_or_else(|| {
            of_provider(ErrorCode::HostNameInvalid)
                .with_detail(format!("could not get ECR auth token for {artifact}"))
                .with_source(format!(
                    "failed to get region from image: {} is no registry of ECR",
                    asked.host
                ))
        })?;
        let (registry, region) = (asked.host, &host.region);
        tracing::debug!("AWS ECR basic artifact={artifact}, registry={registry}, region={region}");
        let found = self.granted.get(&asked.host.to_string(), self.ask(&host)).await;
        found.map_err(|error| {
            let (code, detail) = match &error {
                AwsError::Environment(_) => (ErrorCode::EnvNotSet, "could not get ECR auth token"),
                AwsError::Decoding(_) => {
                    (ErrorCode::AuthDenied, "could not retrieve ECR credentials")
                }
                _ => (ErrorCode::AuthDenied, "could not get ECR auth token"),
            };
            of_provider(code).with_detail(format!("{detail} for {artifact}")).with_source(error)
        })
    }

    /// Asks ECR, and once more where the time or the keys were not right.
    async fn ask(&self, host: &EcrHost) -> Result<(Granted, Option<Instant>), AwsError> {
        let service = self.endpoints.service(host)?;
        let begun = Instant::now();
        let keys = self.current_keys().await?;
        let first = ecr::ask(&self.http, &service, &keys, SystemTime::now()).await?;
        let second = match first {
            Outcome::Granted(granted) => return Ok(with_end(granted)),
            Outcome::Skewed(date) => {
                tracing::warn!("the clock of this machine is not that of AWS: using theirs");
                ecr::ask(&self.http, &service, &keys, date).await?
            }
            Outcome::NeedsKeys(_) => {
                self.keys.forget(&(), begun);
                // Who came in between has got new ones already.
                let keys = self.current_keys().await?;
                ecr::ask(&self.http, &service, &keys, SystemTime::now()).await?
            }
        };
        match second {
            Outcome::Granted(granted) => Ok(with_end(granted)),
            Outcome::NeedsKeys(refused) => Err(AwsError::Collection(refused)),
            Outcome::Skewed(_) => {
                Err(AwsError::Setup("AWS refuses the time that it says itself".into()))
            }
        }
    }

    async fn current_keys(&self) -> Result<Arc<Keys>, AwsError> {
        let read = async {
            let keys = self.identity.keys(&self.http).await?;
            let good_until = keys.good_until;
            Ok((Arc::new(keys), Some(good_until)))
        };
        Box::pin(self.keys.get(&(), read)).await
    }
}

impl AuthProvider for AwsEcrBasic {
    fn name(&self) -> &str {
        NAME
    }

    fn credential<'a>(&'a self, asked: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(self.find(asked))
    }

    fn forget(&self, host: &RegistryHost, before: Instant) -> bool {
        self.granted.forget(&host.to_string(), before);
        true
    }
}

impl Endpoints {
    fn service(&self, host: &EcrHost) -> Result<Service, AwsError> {
        let by_override = self.of_region.as_ref().filter(|known| known.region == host.region);
        if let Some(Override { region, endpoint, partition }) = by_override {
            tracing::info!("AWS ECR basic auth using custom endpoint resolver...");
            tracing::info!("AWS ECR basic auth API override endpoint: {endpoint}");
            tracing::info!("AWS ECR basic auth API override partition: {partition}");
            tracing::info!("AWS ECR basic auth API override region: {region}");
        }
        let of_all = self.of_all.as_ref();
        let chosen = by_override.map(|known| &known.endpoint).or(of_all).unwrap_or(&host.endpoint);
        let url = parse_url(chosen, "the endpoint of ECR").map_err(AwsError::Setup)?;
        Ok(Service { url, region: host.region.clone() })
    }
}

/// The variables of the environment; an empty one is not set.
struct Variables<'a>(&'a BTreeMap<String, String>);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn identity(&self) -> Identity {
        let region = self.get("AWS_REGION");
        let (role, file) = (self.get("AWS_ROLE_ARN"), self.get("AWS_WEB_IDENTITY_TOKEN_FILE"));
        if let (Some(region), Some(role), Some(file)) = (region, role, file) {
            let given = self.get("AWS_ENDPOINT_URL_STS").or_else(|| self.get("AWS_ENDPOINT_URL"));
            let endpoint = given.map(Into::into).or_else(|| host::sts_endpoint(region));
            let endpoint = endpoint
                .ok_or_else(|| format!("AWS_REGION is no region: {:?}", capped_line(region, 100)))
                .and_then(|endpoint| parse_url(&endpoint, "the endpoint of STS"));
            return Identity::Role { endpoint, role: role.to_owned(), token_file: file.into() };
        }
        if let Some(uri) = self.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            let token_file = self.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from);
            let uri = parse_url(uri, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
            return Identity::Pod { uri, token_file };
        }
        let text = |value: Option<&str>| capped_line(value.unwrap_or_default(), 300);
        Identity::Nobody(format!(
            "required environment variables not set, AWS_REGION: {}, AWS_ROLE_ARN: {}, \
             AWS_WEB_IDENTITY_TOKEN_FILE: {}",
            text(region),
            text(role),
            text(file)
        ))
    }

    fn endpoints(&self) -> Endpoints {
        let of_region = || {
            Some(Override {
                region: self.get("AWS_API_OVERRIDE_REGION")?.to_owned(),
                endpoint: self.get("AWS_API_OVERRIDE_ENDPOINT")?.to_owned(),
                partition: self.get("AWS_API_OVERRIDE_PARTITION").unwrap_or_default().to_owned(),
            })
        };
        let of_all = self.get("AWS_ENDPOINT_URL_ECR").or_else(|| self.get("AWS_ENDPOINT_URL"));
        Endpoints { of_region: of_region(), of_all: of_all.map(Into::into) }
    }
}

fn parse_url(text: &str, what: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| format!("{what} is no URL: {error}"))
}

fn with_end(granted: Granted) -> (Granted, Option<Instant>) {
    let end = granted.good_until;
    (granted, end)
}

fn of_provider(code: ErrorCode) -> Error {
    code.error().from_component(ComponentType::AuthProvider, NAME)
}
