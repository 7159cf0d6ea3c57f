//! [`Active`]: the configuration in force. A request takes one [`Snapshot`] and sees nothing else
//! until it is answered; a new configuration is swapped in whole.

use std::sync::{Arc, PoisonError, RwLock};

use ratify_core::executor::Executor;

/// All that one configuration comes to. It never changes.
#[non_exhaustive]
pub struct Snapshot {
    /// Stores, verifiers and policy.
    pub executor: Executor,
}

/// The snapshot in force, shared by who swaps it and who reads it.
pub struct Active(RwLock<Arc<Snapshot>>);

impl Snapshot {
    /// A snapshot of one configuration.
    pub fn new(executor: Executor) -> Self {
        Self { executor }
    }
}

impl Active {
    /// Starts with a snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(RwLock::new(Arc::new(snapshot)))
    }

    /// The snapshot in force. Whoever holds it keeps it alive, and with it the files of its
    /// plugins.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // The lock guards one pointer, which is whole even after a panic.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the next snapshot in force.
    pub fn swap(&self, next: Snapshot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_snapshot_keeps_it_while_others_see_the_next() {
        let active = Active::new(Snapshot::new(Executor::new(vec![], vec![], None)));
        let held = active.snapshot();
        let mut next = Executor::new(vec![], vec![], None);
        next.limits.nesting = 1;
        active.swap(Snapshot::new(next));
        assert_eq!(active.snapshot().executor.limits.nesting, 1);
        assert_ne!(held.executor.limits.nesting, 1);
    }
}
