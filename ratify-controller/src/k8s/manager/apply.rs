//! What the manager makes of what was built.

use std::{sync::Arc, time::Instant};

use super::{Done, Manager};
use crate::{
    k8s::{
        build::Built,
        resource::{Key, Pin, Resource},
        volume,
        write::Verdict,
    },
    plugin::rules::{self, Rules},
};

impl Manager {
    /// Puts what was built in force, and then says so in the status.
    pub(super) fn apply(&mut self, resource: Resource, built: Built, rules: Arc<Rules>) {
        let key = resource.key.clone();
        let before = self.take_done(&key).filter(|done| done.uid == resource.uid);
        // What is denied is not kept as the last good one.
        let is_denied = built.part.as_ref().is_err_and(rules::is_denial);
        let kept = before.as_ref().is_some_and(|done| done.lets_run(&built)) && !is_denied;
        let ended = before.as_ref().and_then(|done| done.ended.clone());
        let built = built.after(&resource, ended.as_deref());
        let Built { part, stand_in, retry, pin, plugin, tag, directory, keys, asked, installed } =
            built;
        let now = Instant::now();
        let error = self.put_in_force(&resource, part, stand_in, kept).err();
        let in_force = error.is_none() || kept;
        // A pin that this process did not make may be old.
        let is_old_pin = before.is_none() && resource.pin().is_some() && resource.pin() == pin;
        let (ran_before, kept_directory, admitted_before) = before
            .as_ref()
            .map(|done| (done.runs.clone(), done.directory.clone(), done.admitted.clone()))
            .unwrap_or_default();
        if error.is_none() && kept_directory != directory {
            kept_directory.iter().for_each(|left| volume::forget(&key, left.clone()));
        }
        let runs = if error.is_none() { plugin.clone() } else { ran_before.clone() };
        let runs = runs.filter(|_| !is_denied);
        let older = before.as_ref().filter(|_| kept && error.is_some());
        let admitted = if error.is_none() { installed } else { admitted_before.filter(|_| kept) };
        let next_check = asked.as_ref().filter(|_| admitted.is_some()).and_then(|a| a.next(now));
        let (next_check, admitted_of) = checks(older, resource.generation, next_check);
        let ended = ended.filter(|_| error.is_some());
        let directory = if error.is_none() { directory } else { directory.or(kept_directory) };
        let kept = kept && error.is_some();
        let is_by_tag = tag.is_some();
        let remark = self.composition.remark(key.kind, self.open);
        let properties = keys.properties;
        let refreshed = keys.refresh.and_then(|interval| now.checked_add(interval));
        let verdict = Verdict {
            kept,
            error,
            plugin,
            is_by_tag,
            remark,
            moved_to: None,
            ran_before,
            properties,
        };
        let told = before.is_some_and(|before| before.said(&verdict, resource.generation, &pin));
        let done = Done {
            uid: resource.uid.clone(),
            generation: resource.generation,
            in_force,
            settled: !retry,
            rules,
            pin,
            verdict: Arc::new(verdict),
            told,
            runs,
            next_look: match &tag {
                Some(tag) => tag.next_look(now, is_old_pin),
                None => refreshed,
            },
            tag,
            directory,
            next_check,
            asked,
            admitted,
            admitted_of,
            ended,
        };
        self.put_done(key.clone(), done);
        // The latest status counts: the claim changed it meanwhile.
        let (seen, resource) =
            (resource.pin(), self.resources.get(&key).cloned().unwrap_or(resource));
        let agreed = resource.pin().filter(|agreed| is_by_tag && Some(agreed) != seen.as_ref());
        if agreed.is_some_and(|agreed| !self.is_done_as(&key, &agreed)) {
            // Others agreed on another digest while this was built: it is built instead.
            return self.queue.succeeded(&key, Some(Instant::now()));
        }
        self.tell(resource);
    }

    fn is_done_as(&self, key: &Key, agreed: &Pin) -> bool {
        self.done.get(key).is_some_and(|done| done.pin.as_ref() == Some(agreed))
    }
}

impl Done {
    /// Whether this was told of the same. A failure is said once: what v1 makes of the status is not
    /// answered at each try.
    fn said(&self, verdict: &Verdict, generation: i64, pin: &Option<Pin>) -> bool {
        let is_same = self.generation == generation && self.pin == *pin;
        verdict.error.is_some() && self.told && is_same && self.verdict.is_same(verdict)
    }
}

/// When it is asked again who signed what is in force, and the generation that this was built of. What
/// runs of an older spec is asked about when it would have been anyway.
fn checks(older: Option<&Done>, now: i64, next: Option<Instant>) -> (Option<Instant>, i64) {
    match older {
        Some(older) if older.admitted_of != now => (older.next_check, older.admitted_of),
        _ => (next, now),
    }
}
