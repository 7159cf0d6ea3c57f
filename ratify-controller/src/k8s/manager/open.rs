//! What the manager says of a server that anybody may ask: in the status of the cluster's policy,
//! which is where one looks for who may do what, and only for as long as it is so.

use std::{sync::Arc, time::Instant};

use super::Manager;
use crate::k8s::{kind::Role, queue::Work, resource::Key};

impl Manager {
    /// Why anybody may ask is another reason now, or none.
    pub(super) fn say_whether_open(&mut self, open: Option<&'static str>) {
        self.open = open;
        let (composition, now) = (self.composition, Instant::now());
        let is_clusters_policy = |key: &Key| key.kind.role == Role::Policy && !key.kind.namespaced;
        for (key, done) in self.done.iter_mut().filter(|(key, _)| is_clusters_policy(key)) {
            let remark = composition.remark(key.kind, open);
            // What is not in force says why instead.
            if done.verdict.error.is_none() && done.verdict.remark != remark {
                done.verdict = Arc::new(done.verdict.with_remark(remark));
                done.told = false;
                self.queue.push(key.clone(), Work::Local, now);
            }
        }
    }
}
