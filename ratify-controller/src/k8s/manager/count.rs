//! What the manager counts: each try, and how each resource stands.

use super::{Done, Manager};
use crate::k8s::{
    resource::Key,
    resource_counts::{One, State},
};

impl Done {
    /// How it stands, for the counts.
    pub(super) fn one(&self) -> One {
        let state = match (&self.verdict.error, self.verdict.kept) {
            (None, _) => State::InForce,
            (Some(_), true) => State::Kept,
            (Some(_), false) => State::Refused,
        };
        let has_moved = self.verdict.moved_to.is_some();
        One { state, is_pinned: self.tag.is_some() && self.pin.is_some(), has_moved }
    }
}

impl Manager {
    /// What a resource came to.
    pub(super) fn put_done(&mut self, key: Key, done: Done) {
        let one = done.one();
        self.counts.tried(key.kind, one.state);
        self.counts.change(key.kind, None, Some(one));
        self.done.insert(key, done);
    }

    /// What a resource came to, which it is no more.
    pub(super) fn take_done(&mut self, key: &Key) -> Option<Done> {
        let done = self.done.remove(key)?;
        self.counts.change(key.kind, Some(done.one()), None);
        Some(done)
    }
}
