//! [`Alibaba`]: the provider `alibabacloudAcrBasic`. The service account's token becomes keys of a
//! role (RRSA), and these a user and a password of an instance of Alibaba Cloud's registry.

mod api;
mod host;
mod sign;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result, capped_line, link};
use serde_json::{Map, Value};

use super::{
    Asked, AuthProvider, Credential, Environment, Granted, RegistryHost, Secret,
    cloud::{CloudAnswer, CloudCall, CloudHttp, clock, token_file},
    kept::Kept,
    keys::{take, take_text},
};
use api::{Api, Role, RoleKeys};
use host::AcrHost;

/// The name in `authProvider.name`.
pub(super) const NAME: &str = "alibabacloudAcrBasic";
/// So long before its end something is renewed.
const AHEAD: Duration = Duration::from_secs(300);
/// More than any configuration has.
const MAX_INSTANCES: usize = 256;

/// Exchanges this process's service account for credentials of Alibaba Cloud's registries.
pub(super) struct Alibaba {
    instances: Instances,
    role: std::result::Result<Role, String>,
    api: Api,
    keys: Kept<(), RoleKeys, String>,
    logins: Kept<Instance, Login, String>,
}

/// The instances that the configuration names, and the one for all others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Instances {
    by_name: BTreeMap<String, String>,
    default: Option<String>,
}

/// An instance of the registry, which is what there are credentials for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Instance {
    region: String,
    id: String,
}

#[derive(Clone)]
struct Login {
    username: String,
    password: Secret,
    good_until: Instant,
}

impl Alibaba {
    /// A provider. Nothing is read or asked before the first request.
    ///
    /// # Errors
    /// With v1's texts: a key of the wrong type, or no instance at all.
    pub(super) fn new(
        config: &Map<String, Value>,
        environment: &Environment,
        http: CloudHttp,
    ) -> Result<Self> {
        let set = |name: &str| environment.lookup.get(name).filter(|v| !v.is_empty()).cloned();
        let mut instances = Instances::from_config(config).map_err(|why| {
            error(ErrorCode::ConfigInvalid)
                .with_detail("failed to parse alibaba cloud auth provider configuration")
                .with_source(why)
                .with_remediation(link::AUTH_PROVIDER)
        })?;
        instances.default = instances.default.or_else(|| set("ALIBABA_CLOUD_ACR_INSTANCE_ID"));
        if instances.default.is_none() && instances.by_name.is_empty() {
            return Err(error(ErrorCode::EnvNotSet).with_detail(
                "no instance ID provided and ALIBABA_CLOUD_ACR_INSTANCE_ID environment variable \
                 is empty",
            ));
        }
        instances.check().map_err(|why| error(ErrorCode::ConfigInvalid).with_detail(why))?;
        let api = Api::new(http, set("ALIBABA_CLOUD_STS_REGION").as_deref())
            .map_err(|why| error(ErrorCode::ConfigInvalid).with_detail(why))?;
        Ok(Self {
            instances,
            role: role(set),
            api,
            keys: Kept::renewed_ahead(AHEAD),
            logins: Kept::renewed_ahead(AHEAD),
        })
    }

    async fn find(&self, asked: &Asked<'_>) -> Result<Granted> {
        let failed = |why: Error| {
            let artifact = capped_line(asked.artifact, 500);
            error(ErrorCode::AuthDenied)
                .with_detail(format!("could not get ACR auth token for {artifact}"))
                .with_source(why)
        };
        let denied = |why: String| error(ErrorCode::AuthDenied).with_detail(why);
        let role = self.role.as_ref().map_err(|why| failed(denied(why.clone())))?;
        let instance = self.instance(asked.host).map_err(failed)?;
        let login = self.logins.get(&instance, self.login(role, &instance, asked)).await;
        let Login { username, password, good_until } = login.map_err(|why| failed(denied(why)))?;
        let credential = Credential::Basic { username, password };
        Ok(Granted { credential, good_until: Some(good_until) })
    }

    fn instance(&self, host: &RegistryHost) -> Result<Instance> {
        let text = host.to_string();
        let parsed = AcrHost::parse(&text)
            .map_err(|why| error(ErrorCode::AlibabaCloudImageInvalid).with_detail(why))?;
        let id = self.instances.id(parsed.instance).ok_or_else(|| {
            error(ErrorCode::AuthDenied).with_detail("no instance id found for the given artifact")
        })?;
        Ok(Instance { region: parsed.region.to_owned(), id: id.to_owned() })
    }

    async fn login(
        &self,
        role: &Role,
        instance: &Instance,
        asked: &Asked<'_>,
    ) -> std::result::Result<(Login, Option<Instant>), String> {
        let Instance { region, id } = instance;
        let (artifact, registry) = (capped_line(asked.artifact, 500), asked.host);
        tracing::info!(
            "Alibaba Cloud ACR basic artifact={artifact}, registry={registry}, region={region}, \
             instance={id}"
        );
        let keys = self.keys.get(&(), self.api.assume(role)).await?;
        let begun = Instant::now();
        let login = self.api.login(&keys, region, id).await.map_err(|refusal| {
            if refusal.is_about_the_keys {
                self.keys.forget(&(), begun);
            }
            refusal.why
        })?;
        tracing::debug!("successfully refreshed ACR auth token for {artifact}");
        let good_until = login.good_until;
        Ok((login, Some(good_until)))
    }
}

impl AuthProvider for Alibaba {
    fn name(&self) -> &str {
        NAME
    }

    fn credential<'a>(&'a self, asked: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(self.find(asked))
    }

    fn forget(&self, host: &RegistryHost, before: Instant) -> bool {
        if let Ok(instance) = self.instance(host) {
            self.logins.forget(&instance, before);
        }
        true
    }
}

impl Instances {
    fn from_config(config: &Map<String, Value>) -> std::result::Result<Self, String> {
        let listed = match take(config, "acrInstancesConfig")? {
            None => &[],
            Some(Value::Array(entries)) => entries.as_slice(),
            Some(_) => return Err("acrInstancesConfig must be an array of objects".into()),
        };
        if listed.len() > MAX_INSTANCES {
            let number = listed.len();
            return Err(format!("{number} instances, and {MAX_INSTANCES} are the most"));
        }
        let by_name = listed.iter().map(Self::entry).collect::<std::result::Result<_, _>>()?;
        Ok(Self { by_name, default: take_text(config, "defaultInstanceId")? })
    }

    fn entry(entry: &Value) -> std::result::Result<(String, String), String> {
        let entry = entry.as_object().ok_or("an instance must be an object")?;
        let name = take_text(entry, "instanceName")?.unwrap_or_default().to_ascii_lowercase();
        Ok((name, take_text(entry, "instanceId")?.unwrap_or_default()))
    }

    /// Whether the ids are such that no escape is needed where they are sent.
    fn check(&self) -> std::result::Result<(), String> {
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_id = |id: &&String| id.len() <= 255 && id.bytes().all(is_inner);
        match self.by_name.values().chain(&self.default).find(|id| !is_id(id)) {
            None => Ok(()),
            Some(id) => Err(format!("{:?} is no id of an instance", capped_line(id, 100))),
        }
    }

    /// The id for a host's instance. A host of the personal edition names none.
    fn id(&self, name: Option<&str>) -> Option<&str> {
        let own = self.by_name.get(name.unwrap_or_default()).or(self.default.as_ref());
        own.map(String::as_str).filter(|id| !id.is_empty())
    }
}

/// What the webhook of Alibaba Cloud's RRSA sets.
fn role(set: impl Fn(&str) -> Option<String>) -> std::result::Result<Role, String> {
    let names = [
        "ALIBABA_CLOUD_ROLE_ARN",
        "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
    ];
    let [arn, provider_arn, token_file] = names.map(|name| set(name).unwrap_or_default());
    if arn.is_empty() || provider_arn.is_empty() || token_file.is_empty() {
        let values = [&arn, &provider_arn, &token_file].map(|value| capped_line(value, 255));
        let pairs: Vec<_> =
            names.iter().zip(&values).map(|(name, value)| format!("{name}: {value}")).collect();
        return Err(format!("required environment variables not set, {}", pairs.join(", ")));
    }
    Ok(Role { arn, provider_arn, token_file: PathBuf::from(token_file) })
}

fn error(code: ErrorCode) -> Error {
    code.error().from_component(ComponentType::AuthProvider, NAME)
}
