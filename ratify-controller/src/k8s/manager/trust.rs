//! What the manager does about plugins that have to be signed: they are asked about again while they run,
//! and at once when keys change. What runs of an older spec, since the newer one cannot be had, is not
//! found out about by building; so it is decided about alone.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;
use ratify_core::{Error, ErrorCode, capped_line};

use super::{Done, Manager, Step, work};
use crate::{
    k8s::{
        build::{Built, scope, who_asks},
        refused,
        resource::{Key, Resource},
    },
    plugin::trusted::{Again, Still},
};

/// Why what ran may not run any more is cut to this where something else is told as well.
const MAX_ENDED: usize = 1200;

impl Done {
    /// Whether what is in force goes on where something else was built, or nothing.
    pub(super) fn lets_run(&self, built: &Built) -> bool {
        let Some((asked, error)) = built.asked.as_ref().zip(built.part.as_ref().err()) else {
            return self.in_force;
        };
        self.in_force
            && asked.lets_run(
                self.admitted.as_ref().map(|runs| &runs.record),
                error,
                Timestamp::now(),
            )
    }

    /// Whether what runs is of an older spec than the one that was tried.
    pub(super) fn runs_older(&self) -> bool {
        self.verdict.kept && self.admitted.is_some() && self.admitted_of != self.generation
    }

    /// What runs is asked about by then.
    pub(super) fn check_by(&mut self, then: Instant) {
        if self.admitted.is_some() {
            self.next_check = Some(self.next_check.map_or(then, |known| known.min(then)));
        }
    }
}

impl Built {
    /// The same where what ran of an older spec was ended before, which is told as well.
    pub(super) fn after(self, resource: &Resource, ended: Option<&str>) -> Self {
        match (self.part, ended) {
            (Err(error), Some(ended)) => {
                let error = ended_before(ended, error.to_string());
                let stand_in = refused::stand_in(resource, &error);
                Self { part: Err(error), stand_in, ..self }
            }
            (part, _) => Self { part, ..self },
        }
    }
}

fn ended_before(ended: &str, why_not_newer: String) -> Error {
    ErrorCode::PluginInitFailure
        .detail(format!("what ran of an older spec was ended: {ended}; and the newer one"))
        .with_source(why_not_newer)
}

impl Manager {
    /// Keys changed that trust policies may use: what was admitted by others is admitted anew.
    pub(super) fn judge_plugins_again(&mut self) {
        let now = Instant::now();
        let is_asked = |done: &Done| done.asked.is_some() || done.runs_older();
        for (key, done) in self.done.iter_mut().filter(|(_, done)| is_asked(done)) {
            done.settled = false;
            done.check_by(now);
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
            let again = asked.again(&shared.runtime, &resource.key, &runs.record).await;
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
                    runs.record.admitted_until = until;
                }
                self.finish(&key, true);
            }
            Again::Denied(error) => {
                done.in_force = false;
                let stand_in = refused::stand_in(&resource, &error);
                drop(self.put_in_force(&resource, Err(error), stand_in, false));
                self.build(key, resource);
            }
            Again::Other(_) | Again::Unknown(_) => self.build(key, resource),
        }
    }

    /// Who signed what runs of an older spec is asked again, where it is time, and the newer one was tried.
    pub(super) fn asks_of_older(&mut self, key: &Key, resource: &Resource) -> bool {
        let now = Instant::now();
        let Some(done) = self.done.get(key).filter(|done| done.runs_older()) else { return false };
        let is_due = done.next_check.is_some_and(|at| at <= now) && self.is_tried(resource);
        let Some(runs) = done.admitted.clone().filter(|_| is_due) else { return false };
        let (shared, resource) = (Arc::clone(&self.shared), resource.clone());
        self.spawn(key.clone(), async move {
            let (scope, who) = (scope(&resource), who_asks(&shared, &resource));
            let still = runs.ask(&shared.runtime, &scope, &who, &resource.key).await;
            Step::AskedOfOlder(resource, now, still)
        });
        true
    }

    /// What may run goes on, as it was admitted now.
    pub(super) fn was_asked_of_older(&mut self, resource: Resource, begun: Instant, still: Still) {
        let (key, now) = (resource.key.clone(), Instant::now());
        let Some(done) = self.done.get_mut(&key) else { return self.finish(&key, true) };
        let (record, soon) = match still {
            Still::Runs(record, soon) => (record, soon),
            Still::Ends(denial) => return self.end_older(resource, &denial),
        };
        if let Some(runs) = &mut done.admitted {
            runs.record = *record;
        }
        // Else rules or keys changed meanwhile: it is asked by those.
        if done.next_check.is_some_and(|next| next <= begun) {
            done.next_check = soon.and_then(|soon| now.checked_add(soon));
        }
        let is_due = done.next_check.is_some_and(|next| next <= now);
        match done.settled && !is_due {
            true => self.finish(&key, true),
            false => self.queue.succeeded(&key, Some(now)),
        }
    }

    /// What ran of an older spec is out of force, and nothing takes its place until the newer one can be
    /// had.
    fn end_older(&mut self, resource: Resource, denial: &Error) {
        let key = resource.key.clone();
        let Some(done) = self.done.get_mut(&key) else { return self.finish(&key, true) };
        let before = done.one();
        let ended = capped_line(&denial.to_string(), MAX_ENDED);
        let why = done.verdict.error.as_ref().map(ToString::to_string).unwrap_or_default();
        let error = ended_before(&ended, why);
        (done.in_force, done.admitted, done.next_check, done.runs) = (false, None, None, None);
        (done.ended, done.told) = (Some(ended), false);
        let stand_in = refused::stand_in(&resource, &error);
        let error = self.put_in_force(&resource, Err(error), stand_in, false).err();
        let Some(done) = self.done.get_mut(&key) else { return self.finish(&key, true) };
        done.verdict = Arc::new(done.verdict.refused(error));
        self.counts.change(key.kind, Some(before), Some(done.one()));
        self.tell(resource);
    }
}
