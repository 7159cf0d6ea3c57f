//! [`Fingerprint`]: what decides in a view, as a number. It is the same in two replicas that decide
//! alike, and another as soon as anything that decides is: a store, a verifier, a policy, the digest
//! of a program, a rule of the administrators, a file that says who is believed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use ratify_core::Basis;

use crate::{plugin::rules::Rules, state::View};

/// How long a fingerprint counts before the files behind it are looked at again: as long as a
/// changed configuration file may go unseen.
const FRESH: Duration = Duration::from_secs(1);
/// Another number whenever what goes into a basis, or how, is changed.
const FORM: &str = "1";

/// What decides in a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(pub(super) [u8; 32]);

/// What the fingerprint of a view was a moment ago.
#[derive(Default)]
pub(crate) struct Memo(Mutex<Option<Seen>>);

struct Seen {
    at: Instant,
    /// Under other rules it counts no more.
    rules: Arc<Rules>,
    fingerprint: Option<Fingerprint>,
}

impl Fingerprint {
    /// The fingerprint of a view, at most a second old. `None` where not all that decides is known:
    /// nothing is kept of such a view.
    pub(crate) fn of(view: &View, rules: &Arc<Rules>) -> Option<Self> {
        let seen = view.fingerprint.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = &*seen
            && seen.at.elapsed() < FRESH
            && Arc::ptr_eq(&seen.rules, rules)
        {
            return seen.fingerprint;
        }
        drop(seen);
        Self::now(view, rules)
    }

    /// The same as it is now.
    pub(crate) fn now(view: &View, rules: &Arc<Rules>) -> Option<Self> {
        let at = Instant::now();
        let mut basis = Basis::default();
        basis.add("form", FORM);
        basis.add("ratify", env!("CARGO_PKG_VERSION"));
        // Plain data, of which the derived text leaves nothing out.
        basis.add("rules", format!("{rules:?}"));
        view.add_basis(&mut basis);
        let fingerprint = basis.bytes().map(Self::digest);
        let seen = Seen { at, rules: Arc::clone(rules), fingerprint };
        *view.fingerprint.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        fingerprint
    }

    fn digest(bytes: &[u8]) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(fingerprint)
    }
}

#[cfg(test)]
mod tests;
