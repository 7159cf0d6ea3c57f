//! What the manager does about plugins that have to be signed: they are asked about again while they run,
//! and at once when keys change.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;

use super::{Done, Manager, Step, work};
use crate::{
    k8s::{
        build::Built,
        refused,
        resource::{Key, Resource},
    },
    plugin::trusted::Again,
};

impl Done {
    /// Whether what is in force goes on where something else was built, or nothing.
    pub(super) fn lets_run(&self, built: &Built) -> bool {
        let Some((asked, error)) = built.asked.as_ref().zip(built.part.as_ref().err()) else {
            return self.in_force;
        };
        self.in_force && asked.lets_run(self.admitted.as_ref(), error, Timestamp::now())
    }
}

impl Manager {
    /// Keys changed that trust policies may use: what was admitted by others is admitted anew.
    pub(super) fn judge_plugins_again(&mut self) {
        let now = Instant::now();
        for (key, done) in self.done.iter_mut().filter(|(_, done)| done.asked.is_some()) {
            done.settled = false;
            if let Some(resource) = self.resources.get(key) {
                self.queue.push(key.clone(), work(resource), now);
            }
        }
    }

    /// Who signed what runs is asked again, where it is time.
    pub(super) fn asks_again(&mut self, key: &Key, resource: &Resource) -> bool {
        let Some(done) = self.done.get(key) else { return false };
        let is_due = done.next_check.is_some_and(|at| at <= Instant::now());
        let asked = done.asked.clone().zip(done.admitted.clone());
        let Some((asked, runs)) = asked.filter(|_| is_due) else { return false };
        let (shared, resource) = (Arc::clone(&self.shared), resource.clone());
        self.spawn(key.clone(), async move {
            let again = asked.again(&shared.runtime, &resource.key, &runs).await;
            Step::Asked(resource, again)
        });
        true
    }

    /// What is denied does not run from now on; the status says why once that was found out anew.
    pub(super) fn was_asked_again(&mut self, resource: Resource, again: Again) {
        let key = resource.key.clone();
        let Some(done) = self.done.get_mut(&key) else { return self.finish(&key, true) };
        match again {
            Again::Same(until) => {
                done.next_check = done.asked.as_ref().and_then(|asked| asked.next(Instant::now()));
                if let Some(runs) = &mut done.admitted {
                    runs.admitted_until = until;
                }
                self.finish(&key, true);
            }
            Again::Denied(error) => {
                done.in_force = false;
                let stand_in = refused::stand_in(&resource, &error);
                drop(self.put_in_force(&resource, Err(error), stand_in, false));
                self.build(key, resource);
            }
            Again::Other => self.build(key, resource),
        }
    }
}
