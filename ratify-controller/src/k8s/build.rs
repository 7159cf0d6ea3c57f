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
    config::{Candidate, Denial, PluginRules, PluginSource},
    policy::Policy,
};
use ratify_store_oras::auth::SecretScope;
use serde_json::Value;

use super::{
    FIELD_MANAGER,
    crd::PluginStatus,
    entry::{self, DEFAULT_VERSION},
    kind::{Kind, Role},
    parts::Part,
    refused::{RefusedStore, RefusedVerifier},
    resource::{Pin, Resource},
    status, tenant,
};
use crate::{
    assemble::{self, Site},
    plugin::{
        confined::Confinement,
        inventory::{InstalledPlugin, LoadedFor},
        rules::{Rules, is_denial},
    },
    runtime::Runtime,
};

/// How long a registry may take to say what a tag stands for.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(30);
/// How long one request to the API server may take.
const API_PATIENCE: Duration = Duration::from_secs(10);
/// How often a claim is tried against others.
const CLAIMS: usize = 5;

/// What every job needs.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) runtime: Arc<Runtime>,
    /// Who this is, for the status of what it loads.
    pub(super) identity: String,
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

/// Builds a resource, by these rules.
pub(super) async fn build(shared: &Shared, rules: &Rules, resource: &Resource) -> Built {
    match resource.key.kind.role {
        Role::Verifier => verifier(shared, rules, resource).await,
        Role::Store => store(shared, rules, resource).await,
        Role::Policy => policy(resource),
        Role::Keys => Built::failed(keys_error(resource), false),
        Role::CertificateStore => Built::failed(certificates_error(resource), false),
    }
}

async fn verifier(shared: &Shared, rules: &Rules, resource: &Resource) -> Built {
    let wrap = |error: Error| {
        ErrorCode::PluginInitFailure
            .detail("Unable to create verifier from verifier CR")
            .with_source(error)
    };
    let stand_in = |error: &Error| {
        let text = |key: &str| resource.spec.get(key).and_then(Value::as_str).unwrap_or_default();
        let type_ = if text("type").is_empty() { text("name") } else { text("type") };
        let refused = RefusedVerifier::new(&resource.key.name, type_, text("artifactTypes"), error);
        Some(Part::Verifier(Arc::new(refused)))
    };
    let refuse = |error: Error, retry: bool, pin: Option<Pin>| {
        // What a rule denies, another try does not mend; other rules are tried by themselves.
        let retry = retry && !is_denial(&error);
        let error = wrap(error);
        Built { stand_in: stand_in(&error), pin, ..Built::failed(error, retry) }
    };
    let made = match entry::verifier(resource) {
        Ok(made) => made,
        Err(error) => return refuse(error, false, None),
    };
    log_defaults(shared, made.is_default_version, made.address.as_deref(), ": ");
    let mut entry = made.entry;
    let address = made.address.as_deref();
    let prepared = prepare(shared, &rules.plugins, resource, address, &mut entry.source).await;
    let Prepared { dirs, own, pin } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return refuse(error, true, None),
    };
    let scope = scope(resource);
    let loaded_for = loaded_for(shared, resource);
    let (own, runtime) = (own.as_ref(), &shared.runtime);
    let site = Site { dirs: &dirs, scope: &scope, own, loaded_for, runtime };
    match assemble::verifier(entry, &site).await {
        Ok((verifier, installed)) => Built {
            part: Ok(Some(Part::Verifier(verifier))),
            stand_in: None,
            retry: false,
            plugin: plugin_status(shared, resource, pin.as_ref(), installed.as_deref()),
            pin,
        },
        Err(error) => refuse(error, true, pin),
    }
}

async fn store(shared: &Shared, rules: &Rules, resource: &Resource) -> Built {
    let refuse = |error: Error, retry: bool| {
        let is_denied = is_denial(&error);
        let error = ErrorCode::ReferrerStoreFailure
            .detail("Unable to create store from store CR")
            .with_source(error);
        // Without one, what only the denied store knows of would be missed.
        let stand_in =
            is_denied.then(|| Part::Store(Arc::new(RefusedStore::new(resource, &error))));
        Built { stand_in, ..Built::failed(error, retry && !is_denied) }
    };
    let made = match entry::store(resource) {
        Ok(made) => made,
        Err(error) => return refuse(error, false),
    };
    log_defaults(shared, made.is_default_version, made.address.as_deref(), " ");
    let mut entry = made.entry;
    let address = made.address.as_deref();
    let prepared = prepare(shared, &rules.plugins, resource, address, &mut entry.source).await;
    let Prepared { dirs, own, pin } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return refuse(error, true),
    };
    let scope = scope(resource);
    let loaded_for = loaded_for(shared, resource);
    let (own, runtime) = (own.as_ref(), &shared.runtime);
    let site = Site { dirs: &dirs, scope: &scope, own, loaded_for, runtime };
    match assemble::store(&entry, &site).await {
        Ok((store, installed)) => Built {
            part: Ok(Some(Part::Store(store))),
            stand_in: None,
            retry: false,
            plugin: plugin_status(shared, resource, pin.as_ref(), installed.as_deref()),
            pin,
        },
        Err(error) => refuse(error, true),
    }
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
            let broken = ErrorCode::PluginInitFailure.detail(error.to_string());
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

/// Where the program of a resource is, and which digest its source stands for.
struct Prepared {
    dirs: Vec<PathBuf>,
    /// The directory of a namespace that programs may not lead out of.
    own: Option<Confinement>,
    pin: Option<Pin>,
}

/// Looks whether a resource may have what it asks for, and finds out which digest that is.
async fn prepare(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    address: Option<&str>,
    source: &mut Option<PluginSource>,
) -> Result<Prepared> {
    let denied = |denial: Denial| ErrorCode::ConfigInvalid.error().with_source(denial);
    let (dirs, own) = directories(shared, rules, resource, address).map_err(denied)?;
    let mut prepared = Prepared { dirs, own, pin: None };
    let Some(source) = source else { return Ok(prepared) };
    if resource.key.kind.namespaced {
        tenant::check_source(rules, source).await.map_err(denied)?;
        let is_shared = prepared.own.as_ref().is_some_and(|own| !own.is_own());
        if is_shared {
            let why = "a plugin with a source is installed in the directory of its namespace only";
            return Err(denied(Denial::NamespacedAddress { why: why.to_owned() }));
        }
    }
    // By the words of the spec: what is pinned is by digest in any case.
    if let Ok(reference) = Reference::parse_exact(&source.artifact) {
        let candidate = Candidate { source: Some(&reference), ..Candidate::default() };
        rules.check(&candidate).map_err(denied)?;
    }
    if !shared.runtime.environment.dynamic_plugins() {
        return Ok(prepared);
    }
    let pin = pin(shared, resource, source).await?;
    if let Ok(reference) = Reference::parse_exact(&source.artifact) {
        source.artifact = reference.sibling(&pin.digest).to_string();
    }
    prepared.pin = Some(pin);
    Ok(prepared)
}

fn loaded_for(shared: &Shared, resource: &Resource) -> LoadedFor {
    let key = &resource.key;
    LoadedFor {
        kind: key.kind.name().to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        who: shared.identity.clone(),
    }
}

/// A resource of a namespace reads the secrets of that namespace alone.
fn scope(resource: &Resource) -> SecretScope {
    let key = &resource.key;
    if key.kind.namespaced {
        SecretScope::Namespace(key.namespace.clone())
    } else {
        SecretScope::Cluster
    }
}

/// The plugin directories of a resource. A namespace has one of its own, and no other place unless
/// an administrator says so.
fn directories(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    address: Option<&str>,
) -> Result<(Vec<PathBuf>, Option<Confinement>), Denial> {
    let root = shared.runtime.environment.default_plugin_dir();
    let key = &resource.key;
    if !key.kind.namespaced {
        return Ok((vec![address.map_or(root, PathBuf::from)], None));
    }
    let own = match address {
        None => Confinement::of_namespace(&root, &key.namespace)?,
        Some(address) if rules.namespaced_any_address => return Ok((vec![address.into()], None)),
        Some(address) => Confinement::of_address(&root, &key.namespace, address)?,
    };
    own.check_directory()?;
    let directory = own.directory().to_owned();
    let dirs = if address.is_none() { vec![directory, root] } else { vec![directory] };
    Ok((dirs, Some(own)))
}

/// The digest that a source stands for in this generation: as the status says, or else as the
/// registry says now, which is then claimed in the status, so that every replica runs it.
async fn pin(shared: &Shared, resource: &Resource, source: &PluginSource) -> Result<Pin> {
    let failed = |error: Error| {
        ErrorCode::DownloadPluginFailure
            .detail("Failed to download the plugin from the source")
            .with_source(error)
    };
    let reference = Reference::parse_exact(&source.artifact)
        .map_err(|error| failed(ErrorCode::ReferenceInvalid.detail(error.to_string())))?;
    let of = |digest| Pin { uid: resource.uid.clone(), generation: resource.generation, digest };
    // Before the status: whoever may write a status must not choose another digest than the spec.
    if let Some(digest) = reference.digest() {
        return Ok(of(digest.clone()));
    }
    if let Some(pin) = resource.pin() {
        return Ok(pin);
    }
    let client = shared.runtime.plugin_client(source.auth_provider.as_ref(), &scope(resource));
    let client = client.map_err(failed)?;
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
                Ok(Ok(_)) => return Ok(pin),
                Ok(Err(kube::Error::Api(answer))) if answer.code == 409 => None,
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
