//! [`OrasError`]: what can go wrong with a registry, a variant per thing a caller can act on.
//!
//! No text holds a secret, the body of an answer, or the query of a URL (redirects to blob
//! storage carry signatures there).

use std::{borrow::Borrow, error::Error as StdError, time::Instant};

use ratify_core::{Digest, Error, ErrorCode, capped_line};

/// Why an operation on a registry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrasError {
    /// The registry has no such manifest, blob or repository.
    #[error("{what}: not found")]
    NotFound {
        /// The reference that was asked for.
        what: String,
    },
    /// The registry refuses: 401 or 403, after one attempt with fresh credentials.
    #[error("{request}: response status code {status}: {reason}")]
    Denied {
        /// Method and URL.
        request: String,
        /// 401 or 403.
        status: u16,
        /// The OCI error code where one was sent, else the status's name.
        reason: String,
    },
    /// The registry answered with another status than one that succeeds, after the retries.
    #[error("{request}: response status code {status}: {reason}")]
    Status {
        /// Method and URL.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The OCI error code where one was sent, else the status's name.
        reason: String,
    },
    /// The bytes are not the ones that were asked for. They were not used.
    #[error("mismatched digest of {what}: expected {expected}, got {actual}")]
    Digest {
        /// What was read.
        what: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes, or the one the registry claims.
        actual: String,
    },
    /// The number of bytes is not the one that was asked for.
    #[error("mismatched size of {what}: expected {expected} bytes, got {actual}")]
    Size {
        /// What was read.
        what: String,
        /// The size of the descriptor.
        expected: u64,
        /// The size announced or seen; `more` where reading was ended at the expected size.
        actual: String,
    },
    /// A manifest of another media type than its descriptor says.
    #[error("mismatched media type of {what}: expected {expected:?}, got {actual:?}")]
    MediaType {
        /// What was read.
        what: String,
        /// The media type of the descriptor.
        expected: String,
        /// The media type of the response.
        actual: String,
    },
    /// The answer breaks the distribution specification, or can be read in two ways.
    #[error("{what}: {why}")]
    Invalid {
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// More than the configured bound.
    #[error("{what} is larger than the limit of {limit} {unit}")]
    TooLarge {
        /// What was read.
        what: String,
        /// The bound.
        limit: u64,
        /// Its unit: `bytes`, `pages`, `referrers`, `entries`.
        unit: &'static str,
    },
    /// The time given for the work is over.
    #[error("{what}: gave up, the time for it is over")]
    GaveUp {
        /// What was asked for.
        what: String,
    },
    /// The registry could not be reached, or the connection broke.
    #[error("{request}: {reason}")]
    Unreachable {
        /// Method and URL.
        request: String,
        /// What the connection says, without URLs.
        reason: String,
        /// Whether it took too long rather than failed.
        timed_out: bool,
    },
    /// A body that comes so slowly that it comes to no end.
    #[error(
        "{request}: the server sent {received} bytes in {seconds} seconds, which is less than {least} a second (registries.timeouts.minBytesPerSecond of the configuration)"
    )]
    TooSlow {
        /// Method and URL.
        request: String,
        /// How much came.
        received: u64,
        /// How long it was waited for.
        seconds: u64,
        /// How many bytes have to come in a second.
        least: u32,
    },
    /// A redirect, a token realm, a link or an address that is not followed.
    #[error("{request}: {why}")]
    Forbidden {
        /// Method and URL.
        request: String,
        /// Where it points, and why it is not followed.
        why: String,
    },
    /// The registry of the reference is no host that can be connected to.
    #[error("invalid registry {registry:?}: {why}")]
    Registry {
        /// As written in the reference.
        registry: String,
        /// What is wrong with it.
        why: String,
    },
    /// The auth provider failed where its credentials are required.
    #[error("auth provider failed with err, {source}")]
    Credentials {
        /// The provider's error.
        #[source]
        source: Box<Error>,
    },
    /// A file of a layout cannot be read.
    #[error("cannot read {what}: {source}")]
    Read {
        /// What was being read.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The caller's sink failed.
    #[error("cannot write {what}: {source}")]
    Sink {
        /// What was being written.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS or the HTTP client could not be set up.
    #[error("cannot set up connections: {0}")]
    Setup(String),
}

impl OrasError {
    /// Its kind, for what tells kinds apart by name.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Denied { .. } => "denied",
            Self::Status { .. } => "status",
            Self::Digest { .. } | Self::Size { .. } | Self::MediaType { .. } => "not_proven",
            Self::Invalid { .. } => "invalid",
            Self::TooLarge { .. } => "too_large",
            Self::GaveUp { .. } | Self::Unreachable { timed_out: true, .. } => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::TooSlow { .. } => "too_slow",
            Self::Forbidden { .. } | Self::Registry { .. } => "forbidden",
            Self::Credentials { .. } => "credentials",
            Self::Read { .. } | Self::Sink { .. } | Self::Setup(_) => "local",
        }
    }

    /// Whether the registry says that there is no such object. A mere failure is not that.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the registry sent something else than was asked for, as opposed to nothing.
    pub fn is_proof_failure(&self) -> bool {
        matches!(
            self,
            Self::Digest { .. } | Self::Size { .. } | Self::MediaType { .. } | Self::Invalid { .. }
        )
    }

    /// Whether the same may succeed a moment later: the registry was not reached, was busy or
    /// failed, or this machine did. What it says of an image, and whom it refuses, is not that.
    pub fn is_transient(&self) -> bool {
        use std::io::ErrorKind;
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            Self::GaveUp { .. } | Self::Unreachable { .. } | Self::TooSlow { .. } => true,
            Self::Credentials { source } => source.is_transient(),
            Self::Read { source, .. } => {
                !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
            }
            Self::Sink { .. } | Self::Setup(_) => true,
            _ => false,
        }
    }

    /// What a registry would say that is not asked, for it said so before.
    pub(crate) fn paused(request: String, until: Instant, now: Instant) -> Self {
        // A part of a second is one: who comes early is refused again.
        let seconds = until.saturating_duration_since(now).as_secs_f64().ceil();
        let reason = format!(
            "the registry asks for a pause that is longer than there is time; it may be asked again in {seconds} s"
        );
        Self::Status { request, status: 429, reason }
    }

    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into() }
    }

    pub(crate) fn media_type(what: &str, expected: &str, actual: &str) -> Self {
        Self::MediaType {
            what: what.to_owned(),
            expected: capped_line(expected, 100),
            actual: capped_line(actual, 100),
        }
    }
}

impl From<OrasError> for Error {
    fn from(error: OrasError) -> Self {
        caused(ErrorCode::RepositoryOperationFailure.error(), error)
    }
}

/// An error of the seam with a registry's as its cause, as passing as that is.
pub(crate) fn caused<E>(outer: Error, cause: E) -> Error
where
    E: Borrow<OrasError> + Into<Box<dyn StdError + Send + Sync>>,
{
    let is_transient = cause.borrow().is_transient();
    outer.with_source(cause).passing(is_transient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_gone_a_moment_later_is_said_through_the_seam() {
        let text = String::new;
        let status = |status| OrasError::Status { request: text(), status, reason: text() };
        let read = |kind: std::io::ErrorKind| OrasError::Read { what: text(), source: kind.into() };
        let unreachable =
            OrasError::Unreachable { request: text(), reason: text(), timed_out: false };
        let outer = Error::from(unreachable);
        assert!(outer.is_transient());
        let passing = [
            status(408),
            status(429),
            status(500),
            status(503),
            OrasError::GaveUp { what: text() },
            OrasError::Credentials { source: Box::new(outer) },
            read(std::io::ErrorKind::StorageFull),
        ];
        let lasting = [
            status(400),
            OrasError::NotFound { what: text() },
            OrasError::Denied { request: text(), status: 403, reason: text() },
            OrasError::invalid("", ""),
            OrasError::Forbidden { request: text(), why: text() },
            OrasError::Credentials { source: Box::new(ErrorCode::AuthDenied.error()) },
            read(std::io::ErrorKind::NotFound),
        ];
        for (errors, is_transient) in [(passing, true), (lasting, false)] {
            for error in errors {
                let text = error.to_string();
                let outer = caused(ErrorCode::ListReferrersFailure.error(), error);
                assert_eq!(outer.is_transient(), is_transient, "{text}");
            }
        }
    }
}
