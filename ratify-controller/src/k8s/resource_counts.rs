//! [`ResourceCounts`]: what came of custom resources, for whoever shows it. The manager is the one
//! that counts.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::kind::Kind;

/// Of one manager.
#[derive(Debug, Default)]
pub struct ResourceCounts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    tries: Counts,
    standing: Standing,
}

/// By kind, and by outcome or state.
pub(crate) type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// How resources stand at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) resources: Counts,
    /// Those whose plugin has a tag, and of them those whose tag stands for something else by now.
    pub(crate) pinned: u64,
    pub(crate) moved: u64,
}

/// How one resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct One {
    pub(crate) state: State,
    pub(crate) is_pinned: bool,
    pub(crate) has_moved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    InForce,
    Kept,
    Refused,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::InForce => "in_force",
            Self::Kept => "kept",
            Self::Refused => "refused",
        }
    }
}

impl ResourceCounts {
    /// A try ended so.
    pub(crate) fn tried(&self, kind: Kind, state: State) {
        *self.lock().tries.entry((kind.name(), state.name())).or_default() += 1;
    }

    /// A resource stands so, where it stood otherwise; `None` for one that is not there.
    pub(crate) fn change(&self, kind: Kind, before: Option<One>, after: Option<One>) {
        let standing = &mut self.lock().standing;
        if let Some(one) = before {
            let count = standing.resources.entry((kind.name(), one.state.name())).or_default();
            *count = count.saturating_sub(1);
            standing.pinned = standing.pinned.saturating_sub(u64::from(one.is_pinned));
            standing.moved = standing.moved.saturating_sub(u64::from(one.has_moved));
        }
        if let Some(one) = after {
            *standing.resources.entry((kind.name(), one.state.name())).or_default() += 1;
            standing.pinned += u64::from(one.is_pinned);
            standing.moved += u64::from(one.has_moved);
        }
    }

    pub(crate) fn tries(&self) -> Counts {
        self.lock().tries.clone()
    }

    pub(crate) fn standing(&self) -> Standing {
        self.lock().standing.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::kind::Role;

    #[test]
    fn a_resource_is_counted_where_it_stands_and_nowhere_else() {
        let kind = Kind { role: Role::Verifier, namespaced: false };
        let one = |state, has_moved| Some(One { state, is_pinned: true, has_moved });
        let counts = ResourceCounts::default();
        let told = || {
            let Standing { resources, pinned, moved } = counts.standing();
            let there = resources.into_iter().filter(|(_, count)| *count > 0);
            let states: Vec<_> = there.map(|((_, state), count)| (state, count)).collect();
            (states, pinned, moved)
        };
        counts.change(kind, None, one(State::InForce, false));
        counts.change(kind, None, one(State::Refused, false));
        assert_eq!(told(), (vec![("in_force", 1), ("refused", 1)], 2, 0));
        counts.change(kind, one(State::InForce, false), one(State::Kept, true));
        assert_eq!(told(), (vec![("kept", 1), ("refused", 1)], 2, 1));
        counts.change(kind, one(State::Kept, true), None);
        counts.change(kind, one(State::Refused, false), None);
        assert_eq!(told(), (vec![], 0, 0));
    }
}
