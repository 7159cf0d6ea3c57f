//! One watch a kind: what happens to its resources, in order, until nobody listens.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Api, Client,
    api::DynamicObject,
    runtime::{
        WatchStreamExt as _,
        utils::Backoff,
        watcher::{self, DefaultBackoff, watcher},
    },
};
use tokio::sync::mpsc;

use super::{
    kind::Kind,
    resource::{Key, Resource},
};

/// The longest wait after a failure. What is denied while nobody listens is denied late.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How soon a failed watch is begun anew: as kube does, but for [`LONGEST_WAIT`].
#[derive(Default)]
pub(super) struct Soon(DefaultBackoff);

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(capped)
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// What is random in a wait stays so: replicas do not all come at once.
fn capped(wait: Duration) -> Duration {
    let half = LONGEST_WAIT / 2;
    let rest = wait.as_millis() % half.as_millis();
    let rest = Duration::from_millis(u64::try_from(rest).unwrap_or_default());
    if wait <= LONGEST_WAIT { wait } else { half + rest }
}

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
    let mut events = pin!(watcher(api, watcher::Config::default()).backoff(Soon::default()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_watch_is_begun_anew_within_some_seconds_however_often_it_failed() {
        let waits: Vec<Duration> = Soon::default().take(50).collect();
        assert_eq!(waits.len(), 50);
        assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT), "{waits:?}");
        let late = &waits[10..];
        assert!(late.iter().all(|wait| *wait >= LONGEST_WAIT / 2), "{waits:?}");
        assert!(late.iter().any(|wait| *wait != late[0]), "{waits:?}");
    }
}
