//! A resource becomes a part: what its spec means is in `entry`, what it needs is fetched here.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use ratify_core::{
    Error, ErrorCode, Reference, Result,
    config::{PluginRules, PluginSource},
    policy::Policy,
};
use serde_json::Value;

use super::{
    FIELD_MANAGER,
    crd::PluginStatus,
    entry::{self, DEFAULT_VERSION},
    kind::{Kind, Role},
    parts::Part,
    pins::Pins,
    refused::RefusedVerifier,
    resource::{Pin, Resource},
    status,
};
use crate::{assemble, plugin::inventory::InstalledPlugin, runtime::Runtime};

/// How long a registry may take to say what a tag stands for.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(30);
/// How long one request to the API server may take.
const API_PATIENCE: Duration = Duration::from_secs(10);
/// How often a claim is tried against others.
const CLAIMS: usize = 5;
/// The folder of what namespaces have of their own. Types may not begin with a dot.
const NAMESPACES: &str = ".namespaces";

/// What every job needs.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) runtime: Arc<Runtime>,
    pub(super) rules: PluginRules,
    /// Who this is, for the status of what it loads.
    pub(super) identity: String,
    /// What each resource runs, where its status does not say so.
    pub(super) pins: Pins,
}

/// What came of a resource.
pub(super) struct Built {
    pub(super) part: Result<Option<Part>>,
    /// What takes its place where nothing of it is in force yet.
    pub(super) stand_in: Option<Part>,
    /// Whether another try may help.
    pub(super) retry: bool,
    pub(super) pin: Option<Pin>,
    pub(super) plugin: Option<PluginStatus>,
}

impl Built {
    fn failed(error: Error, retry: bool) -> Self {
        Self { part: Err(error), stand_in: None, retry, pin: None, plugin: None }
    }
}

/// Builds a resource.
pub(super) async fn build(shared: &Shared, resource: &Resource) -> Built {
    match resource.key.kind.role {
        Role::Verifier => verifier(shared, resource).await,
        Role::Store => store(shared, resource).await,
        Role::Policy => policy(resource),
        Role::Keys => Built::failed(keys_error(resource), false),
        Role::CertificateStore => Built::failed(certificates_error(resource), false),
    }
}

async fn verifier(shared: &Shared, resource: &Resource) -> Built {
    let wrap = |error: Error| {
        ErrorCode::PluginInitFailure
            .detail("Unable to create verifier from verifier CR")
            .with_source(error)
    };
    let stand_in = |error: &Error| {
        let text = |key: &str| resource.spec.get(key).and_then(Value::as_str).unwrap_or_default();
        let type_ = if text("type").is_empty() { text("name") } else { text("type") };
        // What is no list of types may have meant any.
        let types = match resource.spec.get("artifactTypes") {
            None | Some(Value::Null | Value::String(_)) => text("artifactTypes"),
            Some(_) => "*",
        };
        let refused = RefusedVerifier::new(&resource.key.name, type_, types, error);
        Some(Part::Verifier(Arc::new(refused)))
    };
    let refuse = |error: Error, retry: bool, pin: Option<Pin>| {
        let error = wrap(error);
        Built { stand_in: stand_in(&error), pin, ..Built::failed(error, retry) }
    };
    let made = match entry::verifier(resource) {
        Ok(made) => made,
        Err(error) => return refuse(error, false, None),
    };
    log_defaults(shared, made.is_default_version, made.address.as_deref(), ": ");
    let mut entry = made.entry;
    let (dirs, pin) =
        match prepare(shared, resource, made.address.as_deref(), &mut entry.source).await {
            Ok(prepared) => prepared,
            Err((error, retry)) => return refuse(error, retry, None),
        };
    match assemble::verifier(entry, &dirs, &shared.runtime).await {
        Ok((verifier, installed)) => {
            built(shared, resource, Part::Verifier(verifier), pin, installed.as_deref())
        }
        Err(error) => refuse(error, true, pin),
    }
}

async fn store(shared: &Shared, resource: &Resource) -> Built {
    let refuse = |error: Error, retry: bool, pin: Option<Pin>| {
        let error = ErrorCode::ReferrerStoreFailure
            .detail("Unable to create store from store CR")
            .with_source(error);
        Built { pin, ..Built::failed(error, retry) }
    };
    let made = match entry::store(resource) {
        Ok(made) => made,
        Err(error) => return refuse(error, false, None),
    };
    log_defaults(shared, made.is_default_version, made.address.as_deref(), " ");
    let mut entry = made.entry;
    let (dirs, pin) =
        match prepare(shared, resource, made.address.as_deref(), &mut entry.source).await {
            Ok(prepared) => prepared,
            Err((error, retry)) => return refuse(error, retry, None),
        };
    match assemble::store(&entry, &dirs, &shared.runtime).await {
        Ok((store, installed)) => {
            built(shared, resource, Part::Store(store), pin, installed.as_deref())
        }
        Err(error) => refuse(error, true, pin),
    }
}

/// What is in force from now on. What it runs is kept, so that a restart runs the same.
fn built(
    shared: &Shared,
    resource: &Resource,
    part: Part,
    pin: Option<Pin>,
    installed: Option<&InstalledPlugin>,
) -> Built {
    if let Some(pin) = &pin {
        shared.pins.keep(&resource.key, pin);
    }
    let plugin = plugin_status(shared, resource, pin.as_ref(), installed);
    Built { part: Ok(Some(part)), stand_in: None, retry: false, plugin, pin }
}

fn policy(resource: &Resource) -> Built {
    let made = entry::policy(resource)
        .and_then(|section| Policy::from_config(&section).map_err(entry::policy_error));
    match made {
        Ok(policy) => {
            tracing::info!("selected policy provider: {}", policy.name());
            Built {
                part: Ok(Some(Part::Policy(Ok(policy)))),
                stand_in: None,
                retry: false,
                pin: None,
                plugin: None,
            }
        }
        Err(error) => {
            let counts = !entry::is_misnamed_policy(resource);
            let text = ratify_core::capped_line(&error.to_string(), 1000);
            let broken = ErrorCode::PluginInitFailure.detail(text);
            let stand_in = counts.then(|| Part::Policy(Err(broken)));
            Built { stand_in, ..Built::failed(error, false) }
        }
    }
}

fn keys_error(resource: &Resource) -> Error {
    let parameters = resource.spec.get("parameters").filter(|value| !value.is_null());
    let outer = ErrorCode::KeyManagementProviderFailure
        .detail("Failed to create key management provider from CR");
    match parameters {
        None => outer.with_source("no key management provider parameters provided".to_owned()),
        Some(_) => outer.with_source(format!(
            "the key management provider {} is not part of this build of Ratify",
            ratify_core::capped_line(
                resource.spec.get("type").and_then(Value::as_str).unwrap_or_default(),
                100
            )
        )),
    }
}

fn certificates_error(resource: &Resource) -> Error {
    let provider = resource.spec.get("provider").and_then(Value::as_str).unwrap_or_default();
    ErrorCode::CertInvalid.detail(format!(
        "the certificate store provider {} is not part of this build of Ratify",
        ratify_core::capped_line(provider, 100)
    ))
}

fn log_defaults(shared: &Shared, version: bool, address: Option<&str>, colon: &str) {
    if version {
        tracing::info!("Version was empty, setting to default version: {DEFAULT_VERSION}");
    }
    if address.is_none() {
        let path = shared.runtime.environment.default_plugin_dir();
        tracing::info!("Address was empty, setting to default path{colon}{}", path.display());
    }
}

/// Where the program of a resource is, and which digest its source stands for. The error says
/// whether another try may help.
async fn prepare(
    shared: &Shared,
    resource: &Resource,
    address: Option<&str>,
    source: &mut Option<PluginSource>,
) -> Result<(Vec<PathBuf>, Option<Pin>), (Error, bool)> {
    let dirs = directories(shared, resource, address).map_err(|error| (error, false))?;
    let Some(source) = source else { return Ok((dirs, None)) };
    if resource.key.kind.namespaced && !shared.rules.namespaced_source {
        let text = "the source of a namespaced resource is not allowed: its plugin would run inside Ratify; an administrator can set plugins.namespaces.source in the configuration";
        return Err((ErrorCode::ConfigInvalid.detail(text), false));
    }
    if !shared.runtime.environment.dynamic_plugins() {
        return Ok((dirs, None));
    }
    let pin = pin(shared, resource, source).await.map_err(|error| (error, true))?;
    let is_tag = |reference: Reference| reference.digest().is_none();
    if Reference::parse_exact(&source.artifact).is_ok_and(is_tag) {
        // The digest decides, and logs still name the reference as it was written.
        source.artifact = format!("{}@{}", source.artifact, pin.digest);
    }
    Ok((dirs, Some(pin)))
}

/// The plugin directories of a resource. A namespace has one of its own, and no other place unless
/// an administrator says so.
fn directories(
    shared: &Shared,
    resource: &Resource,
    address: Option<&str>,
) -> Result<Vec<PathBuf>> {
    let default = shared.runtime.environment.default_plugin_dir();
    let key = &resource.key;
    if !key.kind.namespaced {
        return Ok(vec![address.map_or(default, PathBuf::from)]);
    }
    match address {
        None => Ok(vec![default.join(NAMESPACES).join(&key.namespace), default]),
        Some(address) if shared.rules.namespaced_any_address => Ok(vec![address.into()]),
        Some(_) => Err(ErrorCode::ConfigInvalid.detail(
            "the address of a namespaced resource is not allowed: an administrator can set plugins.namespaces.anyAddress in the configuration",
        )),
    }
}

/// The digest that a source stands for in this generation: as the status says, or else as this
/// replica knows, or else as the registry says now; which is then claimed in the status, so that
/// every replica runs it.
async fn pin(shared: &Shared, resource: &Resource, source: &PluginSource) -> Result<Pin> {
    let failed = |error: Error| {
        ErrorCode::DownloadPluginFailure
            .detail("Failed to download the plugin from the source")
            .with_source(error)
    };
    let reference = Reference::parse_exact(&source.artifact)
        .map_err(|error| failed(ErrorCode::ReferenceInvalid.detail(error.to_string())))?;
    let of = |digest| Pin { uid: resource.uid.clone(), generation: resource.generation, digest };
    // Whoever may write a status may not overrule the digest of a spec.
    if let Some(digest) = reference.digest() {
        return Ok(of(digest.clone()));
    }
    if let Some(pin) = resource.pin() {
        return Ok(pin);
    }
    if let Some(pin) = shared.pins.claimed(resource) {
        return Ok(pin);
    }
    if let Some(pin) = shared.pins.get(resource) {
        return claim(shared, resource, pin, &source.artifact).await;
    }
    let client = shared.runtime.plugin_client(source.auth_provider.as_ref()).map_err(failed)?;
    let give_up_at = Some(Instant::now() + RESOLVE_PATIENCE);
    let root = client.resolve(&reference, give_up_at).await;
    let root = root.map_err(|error| failed(error.into()))?;
    claim(shared, resource, of(root.digest), &source.artifact).await
}

/// Writes a pin against the state that was read. Where another replica was first, its pin counts.
async fn claim(shared: &Shared, resource: &Resource, pin: Pin, artifact: &str) -> Result<Pin> {
    let kind = resource.key.kind;
    let api = api(&shared.client, kind, &resource.key.namespace);
    let plugin = PluginStatus {
        digest: pin.digest.to_string(),
        generation: pin.generation,
        artifact: Some(artifact.to_owned()),
        ..PluginStatus::default()
    };
    let mut seen = resource.clone();
    for _ in 0..CLAIMS {
        let body = status::claim(&seen, &plugin);
        let error =
            match within(api.patch_status(&seen.key.name, &by_us(), &Patch::Merge(&body))).await {
                Ok(Ok(object)) => {
                    if Resource::read(kind, object).pin().is_none() {
                        shared.pins.say_that_status_keeps_none();
                    }
                    shared.pins.note_claim(&seen.key, &pin);
                    return Ok(pin);
                }
                Ok(Err(kube::Error::Api(answer))) if answer.code == 409 => None,
                // A missing right is told where the status is written, and stops nothing.
                Ok(Err(kube::Error::Api(answer))) if answer.code == 403 => return Ok(pin),
                Ok(Err(error)) => Some(error.to_string()),
                Err(late) => Some(late),
            };
        if let Some(error) = error {
            return Err(claim_error(&error));
        }
        let now = within(api.get(&seen.key.name)).await.map_err(|late| claim_error(&late))?;
        seen = Resource::read(kind, now.map_err(|error| claim_error(&error.to_string()))?);
        if seen.uid != pin.uid || seen.generation != pin.generation {
            return Err(claim_error("the resource changed meanwhile"));
        }
        if let Some(theirs) = seen.pin() {
            return Ok(theirs);
        }
    }
    Err(claim_error("others write its status all the time"))
}

fn claim_error(why: &str) -> Error {
    ErrorCode::GetClusterResourceFailure.detail(format!(
        "cannot record the plugin's digest in the status: {}",
        ratify_core::capped_line(why, 300)
    ))
}

fn plugin_status(
    shared: &Shared,
    resource: &Resource,
    pin: Option<&Pin>,
    installed: Option<&InstalledPlugin>,
) -> Option<PluginStatus> {
    let (pin, installed) = (pin?, installed?);
    let record = installed.record();
    let artifact = resource.spec.get("source").and_then(|source| source["artifact"].as_str());
    Some(PluginStatus {
        digest: pin.digest.to_string(),
        generation: pin.generation,
        artifact: Some(artifact.unwrap_or(&record.artifact).to_owned()),
        program: Some(record.digest.to_string()),
        platform: Some(record.platform.clone()),
        size: i64::try_from(record.size).ok(),
        loaded_time: None,
        loaded_by: Some(shared.identity.clone()),
    })
}

/// Where the resources of a kind are written.
pub(super) fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    let resource = kind.api_resource();
    if kind.namespaced {
        Api::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    }
}

pub(super) fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// An answer of the API server, or that there was none in time.
pub(super) async fn within<T>(answer: impl Future<Output = T>) -> Result<T, String> {
    let late = |_| format!("the API server did not answer within {} s", API_PATIENCE.as_secs());
    tokio::time::timeout(API_PATIENCE, answer).await.map_err(late)
}
