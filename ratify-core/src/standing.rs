//! [`Standing`]: how much is known by what was found out, and until when.

use std::time::SystemTime;

use crate::{Error, ErrorCode};

/// Whether what was found out may serve the next who asks, and until when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// How much is known.
    pub certainty: Certainty,
    /// When the first of what it rests on ends: a certificate, a revocation list, a timestamp.
    /// `None` where nothing of it ends, or nothing is known of it.
    pub valid_until: Option<SystemTime>,
}

/// How much is known by what was found out; what rests on several knows as little as the least of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Certainty {
    /// It is a decision about what is there, and may be kept.
    #[default]
    Decided,
    /// Something failed on the way to a decision, and may not fail a moment later. It is answered and
    /// not kept.
    Failed,
    /// What failed is known to pass, such as a registry that was not reached: nothing is said of the
    /// image.
    Passing,
}

impl Standing {
    /// Of an error: that a complete list holds nothing for any verifier is found out.
    pub(crate) fn of_error(error: &Error) -> Self {
        let certainty = match error.root().code() {
            _ if error.is_transient() => Certainty::Passing,
            ErrorCode::NoVerifierReport => Certainty::Decided,
            _ => Certainty::Failed,
        };
        Self { certainty, valid_until: None }
    }

    /// What rests on both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let earlier = match (self.valid_until, other.valid_until) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        Self { certainty: self.certainty.max(other.certainty), valid_until: earlier }
    }
}
