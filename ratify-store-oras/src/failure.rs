//! What a connection that failed says: the HTTP library's error, in one line of ours.

use std::io::ErrorKind;

use ratify_core::capped_line;

use reqwest::StatusCode;

use crate::{OrasError, addresses::Refusal};

/// The error for an address that is not asked.
pub(crate) fn refused(request: String, refusal: &Refusal) -> OrasError {
    OrasError::Forbidden { request, why: refusal.to_string() }
}

/// The resolver's refusal, wherever in an error it is.
fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|e| e.downcast_ref())
}

/// Whether a connection that had come about was closed before the answer to a request began.
pub(crate) fn is_closed(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    let is_end = |error: &(dyn std::error::Error + 'static)| {
        let is_incomplete =
            error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        is_incomplete || matches!(io, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
    };
    !error.is_connect() && causes.skip(1).any(is_end)
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

/// What a proxy has to do with an error: it is named where a connection did not come about.
pub(crate) fn by_proxy(error: OrasError, proxy: Option<&str>) -> OrasError {
    match (error, proxy) {
        (OrasError::Unreachable { request, reason, timed_out }, Some(proxy)) => {
            let reason = format!(
                "through the proxy {proxy} (NO_PROXY lists hosts that are asked without it): {reason}"
            );
            OrasError::Unreachable { request, reason: capped_line(&reason, 500), timed_out }
        }
        (error, _) => error,
    }
}

/// The error where it is a proxy that wants to know who asks.
pub(crate) fn asked_by_proxy(
    request: &str,
    status: StatusCode,
    proxy: impl FnOnce() -> Option<String>,
) -> Result<(), OrasError> {
    if status != StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Ok(());
    }
    match proxy() {
        Some(proxy) => {
            let reason = format!(
                "the proxy {proxy} wants another user and password: they stand in its URL, as http://user:password@host"
            );
            Err(OrasError::Unreachable { request: request.to_owned(), reason, timed_out: false })
        }
        None => Ok(()),
    }
}
