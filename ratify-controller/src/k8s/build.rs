//! A resource becomes a part: what its spec means is in `entry`, what it needs is fetched here.

use std::{panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use kube::{
    Api, Client,
    api::{DynamicObject, PatchParams},
};
use ratify_core::{
    Digest, Error, ErrorCode, Result,
    config::{Denial, PluginRules, PluginSource},
    policy::Policy,
};
use ratify_store_oras::auth::SecretScope;
use tracing::Instrument as _;

use super::{
    FIELD_MANAGER, Once, claim,
    crd::PluginStatus,
    entry::{self, DEFAULT_VERSION},
    follow::Tag,
    keys,
    kind::{Kind, Role},
    known::{locked, plugin_status, ran},
    parts::Part,
    pins::Pins,
    refused,
    resource::{Pin, Resource},
    tenant,
};
use crate::{
    assemble::{self, Site},
    built_in,
    plugin::{
        confined::Confinement,
        install::Ran,
        inventory::{InstalledPlugin, LoadedFor},
        rules::{is_denial, is_untrusted},
        trusted::{Asked, Running},
    },
    policy_file,
    runtime::Runtime,
    telemetry::spans,
};

/// How long one request to the API server may take.
const API_PATIENCE: Duration = Duration::from_secs(10);

/// What every job needs.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) runtime: Arc<Runtime>,
    /// Who this is, for the status of what it loads.
    pub(super) identity: String,
    /// What each resource runs, where its status does not say so.
    pub(super) pins: Pins,
    /// Whether it was said that events may not be written.
    pub(super) events_forbidden: Once,
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
    /// The tag that its plugin is named by.
    pub(super) tag: Option<Tag>,
    /// Where its plugin is recorded.
    pub(super) directory: Option<PathBuf>,
    /// What is to be told of keys.
    pub(super) keys: keys::Told,
    /// What trust policies ask of its plugin.
    pub(super) asked: Option<Asked>,
    /// What was installed.
    pub(super) installed: Option<Running>,
}

impl Built {
    pub(super) fn failed(error: Error, retry: bool) -> Self {
        Self { retry, ..Self::of(Err(error)) }
    }

    fn of(part: Result<Option<Part>>) -> Self {
        Self {
            part,
            stand_in: None,
            retry: false,
            pin: None,
            plugin: None,
            tag: None,
            directory: None,
            keys: keys::Told::default(),
            asked: None,
            installed: None,
        }
    }

    /// The same; what went wrong is the cause of an error.
    fn failing_with(self, error: Error) -> Self {
        Self { part: self.part.map_err(|cause| error.with_source(cause)), ..self }
    }

    /// What keys come from.
    pub(super) fn of_keys(part: Part, keys: keys::Told) -> Self {
        Self { keys, ..Self::of(Ok(Some(part))) }
    }
}

/// Follows a tag that moved: what it stands for now is built first, then claimed, so that a digest
/// that cannot be had is nobody's pin.
pub(super) async fn follow(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    digest: Digest,
    old: Pin,
) -> Built {
    let new = Pin { digest, ..old.clone() };
    let built = build_part(shared, rules, resource, Some(new.clone())).await;
    if let Err(error) = built.part {
        // That a rule denies the new one is no reason to end the old one, which is what was agreed.
        let part = if is_denial(&error) {
            Err(ErrorCode::PluginInitFailure.detail(format!("the tag is not followed: {error}")))
        } else {
            Err(error)
        };
        // The next look at the tag is the next try.
        return Built { part, pin: Some(old), retry: false, ..built };
    }
    let artifact = built.tag.as_ref().map(|tag| tag.source.artifact.clone()).unwrap_or_default();
    match claim::claim(shared, resource, new.clone(), &artifact, Some(&old.digest)).await {
        Ok(agreed) if agreed == new => {
            shared.pins.keep(&resource.key, &new);
            built
        }
        Ok(theirs) => build_as(shared, rules, resource, Some(theirs)).await,
        // What was built of the new one counts for nothing, its plugin least of all.
        Err(error) => Built {
            stand_in: refused::stand_in(resource, &error),
            part: Err(error),
            plugin: None,
            pin: Some(old),
            ..built
        },
    }
}

/// Builds a resource by these rules.
pub(super) async fn build(shared: &Shared, rules: &PluginRules, resource: &Resource) -> Built {
    let span = spans::reconcile(&resource.key);
    let built = build_as(shared, rules, resource, None).instrument(span.clone()).await;
    spans::failed(&span, &built.part);
    built
}

/// Builds a resource, its plugin as pinned where that is given. What runs is kept, so that a
/// restart runs the same.
async fn build_as(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    pin: Option<Pin>,
) -> Built {
    let built = build_part(shared, rules, resource, pin).await;
    if let (Ok(_), Some(pin)) = (&built.part, &built.pin) {
        shared.pins.keep(&resource.key, pin);
    }
    built
}

async fn build_part(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    pin: Option<Pin>,
) -> Built {
    let building = Box::pin(async {
        match resource.key.kind.role {
            Role::Verifier => verifier(shared, rules, resource, pin).await.failing_with(
                ErrorCode::PluginInitFailure.detail("Unable to create verifier from verifier CR"),
            ),
            Role::Store => store(shared, rules, resource, pin).await.failing_with(
                ErrorCode::ReferrerStoreFailure.detail("Unable to create store from store CR"),
            ),
            Role::Policy => policy(resource),
            Role::Keys => keys::provider(shared, resource).await,
            Role::CertificateStore => keys::certificate_store(shared, resource).await,
        }
    });
    let built = guarded(building).await;
    let stand_in = built.part.as_ref().err().and_then(|error| refused::stand_in(resource, error));
    Built { stand_in, ..built }
}

/// A bug that panics must not leave a verifier out: what is built then is a failure like any other.
async fn guarded(building: impl Future<Output = Built>) -> Built {
    let ended = AssertUnwindSafe(building).catch_unwind().await;
    ended.unwrap_or_else(|_| {
        let text = "the work on it broke off; this is a bug of Ratify, and its log says more";
        Built::failed(ErrorCode::PluginInitFailure.detail(text), true)
    })
}

async fn verifier(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    pin: Option<Pin>,
) -> Built {
    let made = match entry::verifier(resource) {
        Ok(made) => made,
        Err(error) => return Built::failed(error, false),
    };
    log_defaults(shared, made.is_default_version, made.address.as_deref(), ": ");
    let entry = made.entry;
    let address = made.address.as_deref();
    // What is built in is pulled from nowhere, but for a plugin of it.
    let source = entry.source.as_ref().filter(|_| built_in::takes_source(&entry));
    let asked = source.and_then(|source| asked(shared, rules, resource, source));
    let ready = match prepare(shared, rules, resource, address, source, pin).await {
        Ok(ready) => ready,
        Err(failed) => return Built { asked, ..*failed },
    };
    let made = assemble::verifier(entry, &ready.site(shared)).await;
    let made =
        made.map(|(verifier, installed)| (Part::Verifier(verifier, installed.clone()), installed));
    Built { asked, ..ready.built(shared, resource, made) }
}

async fn store(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    pin: Option<Pin>,
) -> Built {
    let made = match entry::store(resource) {
        Ok(made) => made,
        Err(error) => return Built::failed(error, false),
    };
    log_defaults(shared, made.is_default_version, made.address.as_deref(), " ");
    let entry = made.entry;
    let address = made.address.as_deref();
    let source = entry.source.as_ref();
    let asked = source.and_then(|source| asked(shared, rules, resource, source));
    let ready = match prepare(shared, rules, resource, address, source, pin).await {
        Ok(ready) => ready,
        Err(failed) => return Built { asked, ..*failed },
    };
    let made = assemble::store(&entry, &ready.site(shared)).await;
    let made = made.map(|(store, installed)| (Part::Store(store, installed.clone()), installed));
    Built { asked, ..ready.built(shared, resource, made) }
}

fn policy(resource: &Resource) -> Built {
    let read =
        if resource.key.namespace.is_empty() { policy_file::read } else { policy_file::refuse };
    let made = entry::policy(resource).and_then(|section| {
        Policy::from_config_and_files(&section, &read).map_err(entry::policy_error)
    });
    match made {
        Ok(policy) => {
            tracing::info!("selected policy provider: {}", policy.name());
            Built::of(Ok(Some(Part::Policy(Ok(policy)))))
        }
        Err(error) => Built::failed(error, false),
    }
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

/// What a program is built with: where it is, and which digest its source stands for.
struct Ready {
    dirs: Vec<PathBuf>,
    pin: Option<Pin>,
    tag: Option<Tag>,
    source: Option<PluginSource>,
    scope: SecretScope,
    /// The directory of a namespace that programs may not lead out of.
    own: Option<Confinement>,
    loaded_for: LoadedFor,
    /// What the status says that ran.
    ran: Option<Ran>,
}

impl Ready {
    fn site<'a>(&'a self, shared: &'a Shared) -> Site<'a> {
        let pin = self.pin.as_ref().map(|pin| &pin.digest);
        let (own, loaded_for) = (self.own.as_ref(), self.loaded_for.clone());
        let (dirs, scope, runtime) = (&self.dirs, &self.scope, &shared.runtime);
        Site { dirs, scope, pin, ran: self.ran.as_ref(), own, loaded_for, runtime }
    }

    /// What was installed is what was agreed on.
    fn proven(
        &self,
        made: (Part, Option<Arc<InstalledPlugin>>),
    ) -> Result<(Part, Option<Arc<InstalledPlugin>>)> {
        let agreed = self.pin.as_ref().map(|pin| &pin.digest);
        let runs = made.1.as_ref().map(|installed| &installed.record().root.digest);
        match (agreed, runs) {
            (Some(agreed), Some(runs)) if agreed != runs => Err(ErrorCode::DownloadPluginFailure
                .detail(format!("{runs} was installed, and {agreed} was agreed on"))),
            _ => Ok(made),
        }
    }

    fn explained(&self, error: Error) -> Error {
        match (&self.tag, &self.pin) {
            (Some(tag), Some(pin)) => tag.explain(&pin.digest, error),
            _ => error,
        }
    }

    fn built(
        self,
        shared: &Shared,
        resource: &Resource,
        made: Result<(Part, Option<Arc<InstalledPlugin>>)>,
    ) -> Built {
        let made = made.and_then(|made| self.proven(made)).map_err(|error| self.explained(error));
        // What a rule denies, another try does not mend, but that a signature may come; other rules are
        // tried by themselves.
        let retry = made.as_ref().is_err_and(|error| !is_denial(error) || is_untrusted(error));
        let installed = made.as_ref().ok().and_then(|(_, installed)| installed.as_deref());
        let plugin = plugin_status(shared, resource, self.pin.as_ref(), installed);
        let directory = self.pin.as_ref().and_then(|_| self.dirs.into_iter().next());
        let record = installed.map(|installed| installed.record().clone());
        let installed = self.source.zip(record).map(|(source, record)| Running { source, record });
        let part = made.map(|(part, _)| Some(part));
        let (pin, tag) = (self.pin, self.tag);
        Built { retry, pin, plugin, tag, directory, installed, ..Built::of(part) }
    }
}

async fn prepare(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    address: Option<&str>,
    source: Option<&PluginSource>,
    pin: Option<Pin>,
) -> Result<Ready, Box<Built>> {
    let failed = |error: Error| Box::new(Built::failed(error, false));
    let denied = |denial: Denial| failed(ErrorCode::ConfigInvalid.error().with_source(denial));
    let (dirs, own) = directories(shared, rules, resource, address).map_err(denied)?;
    let (scope, loaded_for) = (scope(resource), loaded_for(shared, resource));
    let ran = ran(resource);
    let mut ready =
        Ready { dirs, pin: None, tag: None, source: source.cloned(), scope, own, loaded_for, ran };
    let Some(source) = source else { return Ok(ready) };
    if resource.key.kind.namespaced {
        tenant::check_source(rules, source, ready.own.as_ref()).await.map_err(denied)?;
    }
    tenant::check_words(rules, source).map_err(denied)?;
    if !shared.runtime.environment.dynamic_plugins() {
        return Ok(ready);
    }
    ready.tag = Tag::of(source).map_err(failed)?;
    // What is locked is agreed on: all replicas have one configuration.
    let locked =
        locked(rules, source, resource).map_err(|error| Box::new(Built::failed(error, true)))?;
    let pin = pin.or(locked);
    let pin = match pin {
        Some(pin) => pin,
        None => claim::pin(shared, resource, source).await.map_err(|error| {
            let error = ErrorCode::DownloadPluginFailure
                .detail("Failed to download the plugin from the source")
                .with_source(error);
            Box::new(Built::failed(error, true))
        })?,
    };
    ready.pin = Some(pin);
    Ok(ready)
}

/// What trust policies ask of a resource's plugin.
fn asked(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    source: &PluginSource,
) -> Option<Asked> {
    let who = who_asks(shared, resource);
    Asked::of(&shared.runtime, rules, &scope(resource), source, &who)
}

/// Tells this pod that asks about a resource's plugin from all others.
pub(super) fn who_asks(shared: &Shared, resource: &Resource) -> String {
    format!("{} {}", shared.identity, resource.uid)
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
pub(super) fn scope(resource: &Resource) -> SecretScope {
    let key = &resource.key;
    if key.kind.namespaced {
        SecretScope::Namespace(key.namespace.clone())
    } else {
        SecretScope::Cluster
    }
}

/// The plugin directories of a resource. A namespace has one of its own, and no other place unless
/// an administrator says so. What the image ships with comes after the default directory.
fn directories(
    shared: &Shared,
    rules: &PluginRules,
    resource: &Resource,
    address: Option<&str>,
) -> Result<(Vec<PathBuf>, Option<Confinement>), Denial> {
    let environment = &shared.runtime.environment;
    let root = environment.default_plugin_dir();
    let key = &resource.key;
    let anywhere = |at: PathBuf| Ok((environment.with_shipped(vec![at]), None));
    let own = match address {
        _ if !key.kind.namespaced => return anywhere(address.map_or(root, PathBuf::from)),
        None => Confinement::of_namespace(&root, &key.namespace)?,
        Some(address) if rules.namespaced_any_address => return anywhere(address.into()),
        Some(address) => Confinement::of_address(&root, &key.namespace, address)?,
    };
    own.check_directory()?;
    let directory = own.directory().to_owned();
    let dirs = if address.is_none() { vec![directory, root] } else { vec![directory] };
    Ok((environment.with_shipped(dirs), Some(own)))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failure_that_is_tried_again() {
        let built = guarded(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            panic!("a bug");
        });
        let built = built.await;
        let error = built.part.err().unwrap().to_string();
        assert!(built.retry && error.contains("this is a bug of Ratify"), "{error}");
    }
}
