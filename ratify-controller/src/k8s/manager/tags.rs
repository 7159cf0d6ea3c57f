//! What the manager does about what moves: it looks tags up, follows or reports them, and asks again
//! for keys.

use std::{sync::Arc, time::Instant};

use ratify_core::{Digest, capped_line};

use super::{Manager, Step};
use crate::k8s::{
    build,
    kind::Role,
    log,
    resource::{Key, Resource},
};

impl Manager {
    /// Nothing is to be tried: what was not told yet is, and a tag is looked up where it is time.
    pub(super) fn look_after(&mut self, key: Key, resource: Resource) {
        if self.done.get(&key).is_none_or(|done| !done.told) {
            return self.tell(resource);
        }
        if self.asks_again(&key, &resource) {
            return;
        }
        let Some(done) = self.done.get(&key) else { return self.finish(&key, true) };
        let is_due = done.next_look.is_some_and(|at| at <= Instant::now());
        if is_due && key.kind.role == Role::Keys {
            log::start(&key, self.resources.keys());
            return self.build(key, resource);
        }
        let Some(tag) = done.tag.clone().filter(|_| is_due) else { return self.finish(&key, true) };
        let shared = Arc::clone(&self.shared);
        self.spawn(key, async move {
            let digest = tag.resolve(&shared, &resource).await;
            Step::Looked(resource, digest)
        });
    }

    /// Follows a tag that moved where that is asked for, and otherwise says that it moved.
    pub(super) fn looked(&mut self, resource: Resource, found: ratify_core::Result<Digest>) {
        let key = resource.key.clone();
        let Some(done) = self.done.get_mut(&key) else { return self.finish(&key, true) };
        let Some((tag, pin)) = done.tag.as_ref().zip(done.pin.clone()) else {
            return self.finish(&key, true);
        };
        done.next_look = tag.next_look(Instant::now(), false);
        let found = match found {
            Ok(digest) => digest,
            Err(error) => {
                let error = capped_line(&error.to_string(), 500);
                tracing::warn!("what {} stands for was not found out: {error}", tag.reference);
                return self.finish(&key, true);
            }
        };
        let moved_to = (found != pin.digest).then_some(found);
        match moved_to {
            Some(digest) if tag.interval.is_some() => {
                tracing::info!("{key} follows {} from {} to {digest}", tag.reference, pin.digest);
                let shared = Arc::clone(&self.shared);
                self.spawn(key, async move {
                    let rules = shared.runtime.rules.now();
                    let allowed = &rules.plugins;
                    let built = build::follow(&shared, allowed, &resource, digest, pin).await;
                    Step::Built(Box::new((resource, built, rules)))
                });
            }
            // The tag that could not be followed stands for what runs again.
            _ if done.verdict.error.is_some() => self.build(key, resource),
            moved_to if moved_to == done.verdict.moved_to => self.finish(&key, true),
            moved_to => {
                if let Some(digest) = &moved_to {
                    let (tag, pin) = (&tag.reference, &pin.digest);
                    tracing::warn!("{tag} of {key} stands for {digest} now; {pin} runs");
                }
                let before = done.one();
                done.verdict = Arc::new(done.verdict.with_tag_at(moved_to));
                done.told = false;
                self.counts.change(key.kind, Some(before), Some(done.one()));
                self.tell(resource);
            }
        }
    }
}
