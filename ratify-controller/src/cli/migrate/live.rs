//! Reads a cluster for `cluster`. Bounded in time and in the number of objects. What Ratify decides
//! by has to be read in full; what may not be read beside it is told as such.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;

use super::{
    cluster::{Seen, config_maps, containers},
    finding::shown,
};
use crate::k8s::{kind::Kind, resource::Resource};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many objects are asked for at once.
const PAGE: u32 = 500;
/// How many objects of a kind are looked at; more are an error.
const MOST: usize = 20_000;
/// The key of a ConfigMap that v1's chart keeps the configuration in.
const CONFIG: &str = "config.json";

/// Reads all nine kinds, and what runs in a namespace.
///
/// # Errors
/// When the cluster cannot be reached, or custom resources may not be listed.
pub(super) async fn read(client: Client, namespace: &str) -> anyhow::Result<Seen> {
    let mut seen = Seen { namespace: namespace.to_owned(), ..Seen::default() };
    for kind in Kind::ALL {
        match list(&client, kind).await.with_context(|| format!("cannot list {}", kind.plural()))? {
            None => seen.undefined.push(kind.plural()),
            Some(resources) => seen.resources.extend(resources),
        }
    }
    seen.resources.sort_by(|a, b| a.key.cmp(&b.key));
    match all::<Deployment>(&client, namespace).await {
        Err(error) => {
            seen.unread.push((format!("Deployments of {}", shown(namespace)), text(&error)));
        }
        Ok(deployments) => {
            seen.deployments = deployments;
            seen.deployments.retain(|deployment| !containers(deployment).is_empty());
            configurations(&client, &mut seen).await;
        }
    }
    Ok(seen)
}

/// The resources of a kind; `None` where it is not defined.
async fn list(client: &Client, kind: Kind) -> anyhow::Result<Option<Vec<Resource>>> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.api_resource());
    match pages(&api).await {
        Ok(objects) => {
            Ok(Some(objects.into_iter().map(|object| Resource::read(kind, object)).collect()))
        }
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn all<K>(client: &Client, namespace: &str) -> anyhow::Result<Vec<K>>
where
    K: kube::Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    pages(&Api::namespaced(client.clone(), namespace)).await
}

/// Everything, a page at a time.
async fn pages<K>(api: &Api<K>) -> anyhow::Result<Vec<K>>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = within(api.list(&page)).await?;
        found.extend(list.items);
        if found.len() > MOST {
            bail!("there are more than {MOST}");
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            None => return Ok(found),
            Some(token) => page = page.continue_token(&token),
        }
    }
}

/// The configurations that are mounted, as far as they may be read.
async fn configurations(client: &Client, seen: &mut Seen) {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &seen.namespace);
    for name in seen.deployments.iter().flat_map(config_maps) {
        let shown_name = format!("ConfigMap {}/{}", seen.namespace, shown(&name));
        match within(api.get_opt(&name)).await {
            Ok(found) => {
                let text = found.and_then(|map| map.data?.remove(CONFIG));
                seen.configurations.extend(text.map(|text| (shown_name, text)));
            }
            Err(error) => seen.unread.push((shown_name, text(&error))),
        }
    }
}

async fn within<T>(answer: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let late = || format!("the API server did not answer within {} s", PATIENCE.as_secs());
    Ok(answer.with_context(late)??)
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(answer)) if answer.code == 404)
}

/// Why something was not read, without what the API server adds of its own.
fn text(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(kube::Error::Api(answer)) if answer.code == 403 => {
            "the right to read it is missing".to_owned()
        }
        _ => shown(&format!("{error:#}")),
    }
}
