//! Reads a cluster: what Ratify and Gatekeeper are there, as far as the rights allow. Reads only, each
//! request within its time; what may not be read is told as such.

use std::{path::Path, time::Duration};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authorization::v1::{
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
        SubjectAccessReview, SubjectAccessReviewSpec,
    },
    core::v1::ConfigMap,
};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
};
use ratify_core::capped_line;
use serde_json::Value;

use super::{
    finding::{Finding, shown},
    rights::Right,
    rotation::{self, Rotation},
};
use crate::{
    env::Environment,
    k8s::{kind::Kind, resource::Resource, waits},
};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many objects of a kind are looked at.
const MOST: u32 = 500;
/// How many requests are under way at once.
const AT_ONCE: usize = 8;
const CONFIG: &str = "config.json";
const DEFINITIONS: Group =
    Group("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
const TEMPLATES: Group =
    Group("templates.gatekeeper.sh", "v1", "ConstraintTemplate", "constrainttemplates");
const ASSIGNS: Group = Group("mutations.gatekeeper.sh", "v1", "Assign", "assign");

/// What there is of something.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Read<T> {
    Seen(T),
    /// There is none, or no such kind.
    Absent,
    Unread(Unread),
}

/// Why something was not read, and how it can be; the latter empty where that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    why: String,
    fix: String,
}

/// Asks the API server, each question within its time.
struct Asker {
    client: Client,
    /// What helps where a right is missing.
    rights: String,
}

/// A kind of Kubernetes: group, version, kind, plural.
struct Group(&'static str, &'static str, &'static str, &'static str);

/// Which cluster, and where Ratify runs in it.
#[derive(Debug)]
pub(super) struct Where<'a> {
    pub(super) kubeconfig: Option<&'a Path>,
    pub(super) context: Option<&'a str>,
    pub(super) namespace: &'a str,
    /// The server's environment and its rights are this process's: it runs in its pod.
    pub(super) inside: Option<Inside<'a>>,
}

/// Of the server in whose pod this runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inside<'a> {
    pub(super) environment: &'a Environment,
    pub(super) has_manager: bool,
}

/// All that was read.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) namespace: String,
    pub(super) version: Result<String, String>,
    /// Those whose definitions are there, with their resources.
    pub(super) resources: Vec<(Kind, Read<Vec<Resource>>)>,
    pub(super) definitions: Vec<(Kind, Read<Value>)>,
    /// In the order of `waits`: the validating webhook, the Provider, the mutating ones.
    pub(super) waiting: Vec<(&'static waits::Source, Read<Value>)>,
    pub(super) templates: Read<Vec<Value>>,
    /// The constraints of the templates that ask Ratify, by their kind.
    pub(super) constraints: Vec<(String, Read<Vec<Value>>)>,
    pub(super) assigns: Read<Vec<Value>>,
    /// Ratify's Deployments of the namespace.
    pub(super) deployments: Read<Vec<Value>>,
    /// The Deployment of Gatekeeper's webhook.
    pub(super) gatekeeper: Read<Value>,
    /// `config.json` of a ConfigMap that a Deployment mounts, and where it is.
    pub(super) configuration: Option<(String, String)>,
    pub(super) rights: Vec<(Right, Read<bool>)>,
    /// To the secrets that resources name.
    pub(super) secret_rights: Vec<(Right, Read<bool>)>,
    /// Where the server is told to make its certificates.
    pub(super) rotation: Option<Rotation>,
}

impl<T> Read<T> {
    /// It was not read for this reason.
    pub(super) fn unread(why: String) -> Self {
        Self::Unread(Unread { why, fix: String::new() })
    }

    pub(super) fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(found) => Some(found),
            _ => None,
        }
    }

    fn map<U>(self, of: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Self::Seen(found) => Read::Seen(of(found)),
            Self::Absent => Read::Absent,
            Self::Unread(why) => Read::Unread(why),
        }
    }
}

impl Where<'_> {
    /// What helps where a right is missing.
    fn of_rights(&self) -> String {
        let namespace = self.namespace;
        let elsewhere = format!("as an administrator: ratify doctor --cluster -n {namespace}");
        match self.inside {
            None => elsewhere,
            Some(_) => format!(
                "helm upgrade of Ratify with --reuse-values --set rbac.create=true,rbac.doctor=true; or from a desk, {elsewhere}"
            ),
        }
    }
}

impl Unread {
    /// The finding of a check that could not be made.
    pub(super) fn finding(&self, id: &'static str, on: &str) -> Finding {
        self.finding_of(id, on, "")
    }

    /// The same, about a part of what is checked.
    pub(super) fn finding_of(&self, id: &'static str, on: &str, part: &str) -> Finding {
        Finding::not_checked(id, on, format!("{part}{}", shown(&self.why))).fix(self.fix.clone())
    }
}

impl Group {
    fn api(&self, asker: &Asker) -> Api<DynamicObject> {
        let Self(group, version, kind, plural) = self;
        let kind = GroupVersionKind::gvk(group, version, kind);
        Api::all_with(asker.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
    }
}

/// Connects, and reads everything.
///
/// # Errors
/// When there is no cluster to be asked.
pub(super) async fn read(place: &Where<'_>) -> anyhow::Result<Cluster> {
    let asker = Asker { client: client(place).await?, rights: place.of_rights() };
    let (client, namespace) = (&asker.client, place.namespace);
    let version = match tokio::time::timeout(PATIENCE, client.apiserver_version()).await {
        Ok(Ok(version)) => Ok(capped_line(&version.git_version, 60)),
        Ok(Err(error)) => Err(why(&error)),
        Err(_) => Err(late()),
    };
    let mut cluster = Cluster {
        namespace: namespace.to_owned(),
        version,
        resources: Vec::new(),
        definitions: Vec::new(),
        waiting: Vec::new(),
        templates: Read::Absent,
        constraints: Vec::new(),
        assigns: Read::Absent,
        deployments: Read::Absent,
        gatekeeper: Read::Absent,
        configuration: None,
        rights: Vec::new(),
        secret_rights: Vec::new(),
        rotation: None,
    };
    if cluster.version.is_err() {
        return Ok(cluster);
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    (
        cluster.resources,
        cluster.definitions,
        cluster.waiting,
        cluster.templates,
        cluster.assigns,
        cluster.deployments,
        cluster.gatekeeper,
    ) = tokio::join!(
        resources(&asker),
        definitions(&asker),
        waiting(&asker),
        asker.list(TEMPLATES.api(&asker)),
        asker.list(ASSIGNS.api(&asker)),
        asker.list(deployments.clone()),
        asker.get(deployments, "gatekeeper-controller-manager"),
    );
    cluster.deployments = cluster.deployments.map(super::resources::of_ratify);
    let asked = cluster.templates.seen().map(|all| super::gatekeeper::kinds_that_ask(all));
    cluster.constraints = constraints(&asker, asked.unwrap_or_default()).await;
    cluster.configuration = configuration(&asker, &cluster).await;
    let deployments = cluster.deployments.seen();
    let account = deployments.and_then(|all| super::resources::account(all));
    if place.inside.is_none() && account.is_none() {
        return Ok(cluster);
    }
    let of_deployment = deployments.and_then(|all| super::resources::environment(all.first()?));
    let inside = place.inside.map(|inside| inside.environment);
    let options = rotation::options(inside.or(of_deployment.as_ref()), namespace);
    let user = account.filter(|_| place.inside.is_none());
    let user = user.map(|name| format!("system:serviceaccount:{namespace}:{name}"));
    cluster.rights = reviewed(&asker, super::rights::needed(namespace), user.as_deref()).await;
    let named = cluster.resources.iter().filter_map(|(_, read)| read.seen()).flatten();
    let named = super::secrets::needed(named, namespace);
    cluster.secret_rights = reviewed(&asker, named, user.as_deref()).await;
    let has_manager = match place.inside {
        Some(inside) => inside.has_manager,
        None => deployments.and_then(|all| all.first()).is_some_and(super::resources::has_manager),
    };
    cluster.rotation = match options {
        Some(_) if !has_manager => Some(Rotation::Nobody),
        Some(options) => {
            let rights = reviewed(&asker, rotation::needed(&options), user.as_deref()).await;
            Some(Rotation::Made { options, rights })
        }
        None => None,
    };
    Ok(cluster)
}

async fn client(place: &Where<'_>) -> anyhow::Result<Client> {
    let options =
        KubeConfigOptions { context: place.context.map(str::to_owned), ..Default::default() };
    let mut config = match (place.kubeconfig, place.context) {
        (Some(path), _) => {
            Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await?,
        (None, None) => Config::infer().await?,
    };
    config.connect_timeout = Some(PATIENCE);
    config.read_timeout = Some(PATIENCE);
    Ok(Client::try_from(config)?)
}

async fn resources(asker: &Asker) -> Vec<(Kind, Read<Vec<Resource>>)> {
    let reading = Kind::ALL.into_iter().map(|kind| async move {
        let api: Api<DynamicObject> = Api::all_with(asker.client.clone(), &kind.api_resource());
        let found = asker.within(api.list(&ListParams::default().limit(MOST))).await;
        let read = |found: kube::core::ObjectList<DynamicObject>| {
            found.items.into_iter().map(|object| Resource::read(kind, object)).collect()
        };
        (kind, found.map(read))
    });
    stream::iter(reading).buffered(AT_ONCE).collect().await
}

async fn definitions(asker: &Asker) -> Vec<(Kind, Read<Value>)> {
    let api = DEFINITIONS.api(asker);
    let reading = Kind::ALL.into_iter().map(|kind| {
        let api = api.clone();
        async move {
            let name = format!("{}.{}", kind.plural(), crate::k8s::crd::GROUP);
            (kind, asker.get(api, &name).await)
        }
    });
    stream::iter(reading).buffered(AT_ONCE).collect().await
}

async fn waiting(asker: &Asker) -> Vec<(&'static waits::Source, Read<Value>)> {
    let reading = waits::SOURCES.iter().map(|source| async move {
        (source, asker.get(source.api(asker.client.clone()), source.name).await)
    });
    stream::iter(reading).buffered(AT_ONCE).collect().await
}

async fn constraints(asker: &Asker, kinds: Vec<String>) -> Vec<(String, Read<Vec<Value>>)> {
    let reading = kinds.into_iter().map(|kind| async move {
        let of = GroupVersionKind::gvk("constraints.gatekeeper.sh", "v1beta1", &kind);
        let resource = ApiResource::from_gvk_with_plural(&of, &kind.to_lowercase());
        let api: Api<DynamicObject> = Api::all_with(asker.client.clone(), &resource);
        (kind, asker.list(api).await)
    });
    stream::iter(reading).buffered(AT_ONCE).collect().await
}

/// The configuration that a Deployment of Ratify mounts.
async fn configuration(asker: &Asker, cluster: &Cluster) -> Option<(String, String)> {
    let name = super::resources::config_map(cluster.deployments.seen()?)?;
    let api: Api<ConfigMap> = Api::namespaced(asker.client.clone(), &cluster.namespace);
    let found = asker.within(api.get_opt(&name)).await;
    let text = found.seen().cloned().flatten()?.data?.remove(CONFIG)?;
    Some((format!("ConfigMap {}/{}", cluster.namespace, capped_line(&name, 100)), text))
}

/// Whether the server may do what it needs: this process in its pod, or else its account.
async fn reviewed(
    asker: &Asker,
    needed: Vec<Right>,
    user: Option<&str>,
) -> Vec<(Right, Read<bool>)> {
    let asking = needed.into_iter().map(|right| {
        let user = user.map(str::to_owned);
        async move {
            let allowed = ask(asker, attributes(&right), user).await;
            (right, allowed)
        }
    });
    stream::iter(asking).buffered(AT_ONCE).collect().await
}

/// A review is asked and stored nowhere.
async fn ask(asker: &Asker, of: ResourceAttributes, user: Option<String>) -> Read<bool> {
    let (client, post) = (asker.client.clone(), PostParams::default());
    match user {
        None => {
            let spec =
                SelfSubjectAccessReviewSpec { resource_attributes: Some(of), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            let api: Api<SelfSubjectAccessReview> = Api::all(client);
            let asked = asker.within(api.create(&post, &review)).await;
            asked.map(|answer| answer.status.is_some_and(|status| status.allowed))
        }
        Some(user) => {
            let spec = SubjectAccessReviewSpec {
                resource_attributes: Some(of),
                user: Some(user),
                ..Default::default()
            };
            let review = SubjectAccessReview { spec, ..Default::default() };
            let api: Api<SubjectAccessReview> = Api::all(client);
            let asked = asker.within(api.create(&post, &review)).await;
            asked.map(|answer| answer.status.is_some_and(|status| status.allowed))
        }
    }
}

fn attributes(right: &Right) -> ResourceAttributes {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    ResourceAttributes {
        group: some(right.group),
        resource: some(&right.resource),
        subresource: some(right.subresource),
        name: some(&right.name),
        namespace: some(&right.namespace),
        verb: some(right.verb),
        ..ResourceAttributes::default()
    }
}

impl Asker {
    async fn get<K>(&self, api: Api<K>, name: &str) -> Read<Value>
    where
        K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
    {
        match self.within(api.get_opt(name)).await {
            Read::Seen(Some(found)) => value(&found),
            Read::Seen(None) | Read::Absent => Read::Absent,
            Read::Unread(why) => Read::Unread(why),
        }
    }

    async fn list<K>(&self, api: Api<K>) -> Read<Vec<Value>>
    where
        K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
    {
        let found = self.within(api.list(&ListParams::default().limit(MOST))).await;
        found.map(|list| {
            let values = list.items.iter().map(value);
            values.filter_map(|read| read.seen().cloned()).collect()
        })
    }

    async fn within<T>(&self, asked: impl Future<Output = kube::Result<T>>) -> Read<T> {
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(found)) => Read::Seen(found),
            Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => Read::Absent,
            Ok(Err(kube::Error::Api(answer))) if answer.is_forbidden() => Read::Unread(Unread {
                why: "the right to read it is missing".to_owned(),
                fix: self.rights.clone(),
            }),
            Ok(Err(error)) => Read::unread(why(&error)),
            Err(_) => Read::unread(late()),
        }
    }
}

fn value(found: &impl serde::Serialize) -> Read<Value> {
    serde_json::to_value(found).map_or_else(|error| Read::unread(error.to_string()), Read::Seen)
}

fn late() -> String {
    format!("the API server did not answer within {} s", PATIENCE.as_secs())
}

fn why(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    capped_line(&text, 300)
}
