//! What a connection that failed says: the HTTP library's error, in one line of ours.

use ratify_core::capped_line;

use crate::{OrasError, addresses::Refusal};

/// The error for an address that is not asked.
pub(crate) fn refused(request: String, refusal: &Refusal) -> OrasError {
    OrasError::Forbidden { request, why: refusal.to_string() }
}

/// The resolver's refusal, wherever in an error it is.
fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|e| e.downcast_ref())
}

/// The error for a connection that failed, with what is behind it and without its URL.
pub(crate) fn unreachable_error(request: String, error: reqwest::Error) -> OrasError {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    if let Some(refusal) = refusal(&error) {
        return refused(request, refusal);
    }
    let mut reason = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        next = cause.source();
    }
    OrasError::Unreachable { request, reason: capped_line(&reason, 300), timed_out }
}
