//! [`Refusal`]: why a signature does not count. The texts stand in reports; they are v1's where v1
//! has one.

use ratify_core::capped_line;

use crate::{claims::ClaimError, identity::IdentityError, keys::SignatureError};

/// The most of a reason that a report holds.
const MOST_TEXT: usize = 1000;

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is not by the key.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is of something else.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// It is by somebody else.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Certificate, time, log or bundle.
    #[error(transparent)]
    Sigstore(#[from] Box<sigstore_verify::Error>),
    /// What was read is malformed, or says something else.
    #[error("{0}")]
    Other(String),
    /// The transparency log was asked in vain.
    #[error("{context}: {error}")]
    Asked {
        /// What it was asked for.
        context: &'static str,
        /// Why in vain.
        error: ratify_core::Error,
    },
}

impl Refusal {
    /// A reason in words.
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// The same, with v1's words in front.
    pub(crate) fn within(self, context: &str) -> Self {
        match self {
            Self::Asked { .. } => self,
            other => Self::Other(format!("{context}: {other}")),
        }
    }

    /// Whether it may be gone a moment later: nothing was found out about the signature.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Asked { error, .. } if error.is_transient())
    }

    /// As it stands in a report.
    pub(crate) fn text(&self) -> String {
        capped_line(&self.to_string(), MOST_TEXT)
    }
}

impl From<sigstore_verify::Error> for Refusal {
    fn from(error: sigstore_verify::Error) -> Self {
        Self::Sigstore(Box::new(error))
    }
}
