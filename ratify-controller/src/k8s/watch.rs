//! One watch a kind: what happens to its resources, in order, until nobody listens.

use std::{collections::BTreeSet, pin::pin};

use futures_util::StreamExt as _;
use kube::{
    Api, Client,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::mpsc;

use super::{
    kind::Kind,
    resource::{Key, Resource},
};

/// What a watch saw.
pub(super) enum Seen {
    Applied(Resource),
    Deleted(Key),
    /// Everything of a kind was listed.
    Listed(Kind, BTreeSet<Key>),
}

/// Sees all that happens to the resources of a kind. A failed watch is begun anew by itself.
pub(super) async fn watch(client: Client, kind: Kind, sender: mpsc::Sender<Seen>) {
    let api: Api<DynamicObject> = Api::all_with(client, &kind.api_resource());
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    let (mut listed, mut is_failing) = (BTreeSet::new(), false);
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                let resource = Resource::read(kind, object);
                listed.insert(resource.key.clone());
                Seen::Applied(resource)
            }
            Ok(watcher::Event::Apply(object)) => Seen::Applied(Resource::read(kind, object)),
            Ok(watcher::Event::Delete(object)) => Seen::Deleted(Resource::read(kind, object).key),
            Ok(watcher::Event::InitDone) => Seen::Listed(kind, std::mem::take(&mut listed)),
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    let error = ratify_core::capped_line(&error.to_string(), 500);
                    tracing::warn!("cannot watch {}: {error}; trying again", kind.plural());
                }
                continue;
            }
        };
        is_failing = false;
        if sender.send(seen).await.is_err() {
            return;
        }
    }
}
