//! [`Answer`]: what a server sent, read within bounds of size and time, and never in two ways.

use bytes::{Bytes, BytesMut};
use oci_client::errors::OciEnvelope;
use ratify_core::{capped_line, config::RegistryTimeouts};
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use url::Url;

use crate::{OrasError, failure::unreachable_error, patience::Flow, trace::Body};

/// An error's body is read to find its code, and this much of it at most.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// The next piece of a body, as the HTTP library gives it.
type Read = reqwest::Result<Option<Bytes>>;

/// What came back: a head, and a body that is still to be read.
pub(crate) struct Answer {
    /// Method and URL without query, for errors.
    pub(crate) request: String,
    /// Whether it came from another host than was asked: its challenges are not answered then.
    pub(crate) is_from_elsewhere: bool,
    pub(crate) url: Url,
    response: Response,
    timeouts: RegistryTimeouts,
    flow: Flow,
    /// What a trace is told of the body; nothing before it is known whose it is.
    traced: Option<Body>,
}

impl Answer {
    pub(crate) fn new(
        request: String,
        url: Url,
        response: Response,
        timeouts: RegistryTimeouts,
    ) -> Self {
        let (flow, traced) = (Flow::default(), None);
        Self { request, is_from_elsewhere: false, url, response, timeouts, flow, traced }
    }

    /// The same, of which a trace is told how much is read.
    pub(crate) fn traced(mut self, body: Body) -> Self {
        self.traced = Some(body);
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// How long the body is, where that was announced.
    pub(crate) fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The same as what goes on where another one was cut: it has the time that is left of that.
    pub(crate) fn after(mut self, other: &Self) -> Self {
        self.flow = other.flow;
        self
    }

    /// The values of a header that are text.
    pub(crate) fn all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a str> {
        self.response.headers().get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// The values of a header as they were sent.
    pub(crate) fn raw(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.response.headers().get_all(name).iter()
    }

    /// The one value of a header. Two different ones, or one that is no text, are refused: who
    /// reads the first and who reads the last would see different things.
    pub(crate) fn single(&self, name: &HeaderName) -> Result<Option<&str>, OrasError> {
        let mut values = self.response.headers().get_all(name).iter();
        let Some(first) = values.next() else { return Ok(None) };
        let text = first.to_str().ok().filter(|_| values.all(|other| other == first));
        let invalid =
            || OrasError::invalid(&self.request, format!("the header {name} is ambiguous"));
        text.map(Some).ok_or_else(invalid)
    }

    /// The media type without its parameters; empty where none was sent.
    pub(crate) fn media_type(&self) -> Result<String, OrasError> {
        let value = self.single(&CONTENT_TYPE)?.unwrap_or_default();
        Ok(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// Refuses a compressed transfer: what was proven would not be what was sent.
    pub(crate) fn refuse_encoding(&self) -> Result<(), OrasError> {
        match self.single(&CONTENT_ENCODING)? {
            None => Ok(()),
            Some(encoding) if encoding.trim().eq_ignore_ascii_case("identity") => Ok(()),
            Some(encoding) => Err(OrasError::invalid(
                &self.request,
                format!("the body is encoded as {:?}", capped_line(encoding, 40)),
            )),
        }
    }

    /// Reads the body: exactly `size` bytes where given, else at most `limit`.
    pub(crate) async fn read(
        mut self,
        what: &str,
        size: Option<u64>,
        limit: u64,
    ) -> Result<Bytes, OrasError> {
        self.check_length(what, size, limit)?;
        let bound = size.unwrap_or(limit);
        let mut body = reserved(self.length(), bound);
        while let Some(chunk) = self.chunk().await? {
            if body.len() as u64 + chunk.len() as u64 > bound {
                return Err(too_much(what, size, limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Checks the announced length before anything is read.
    pub(crate) fn check_length(
        &self,
        what: &str,
        size: Option<u64>,
        limit: u64,
    ) -> Result<(), OrasError> {
        match (self.length(), size) {
            (Some(announced), Some(size)) if announced != size => Err(OrasError::Size {
                what: what.to_owned(),
                expected: size,
                actual: announced.to_string(),
            }),
            (Some(announced), None) if announced > limit => Err(too_much(what, None, limit)),
            _ => Ok(()),
        }
    }

    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, OrasError> {
        let (request, length) = (&self.request, |read: &Read| match read {
            Ok(Some(piece)) => piece.len(),
            _ => 0,
        });
        let piece = self.response.chunk();
        let read: Read = self.flow.wait(request, &self.timeouts, piece, length).await?;
        if let Some(body) = &mut self.traced {
            body.read(length(&read));
        }
        read.map_err(|error| unreachable_error(request.clone(), error))
    }

    /// The error this answer stands for. `what` is the reference that was asked for.
    pub(crate) async fn into_error(self, what: &str) -> OrasError {
        let (request, status) = (self.request.clone(), self.status());
        if status == StatusCode::NOT_FOUND {
            return OrasError::NotFound { what: what.to_owned() };
        }
        let again = self.retry_after().filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
        let body = self.read(what, None, MAX_ERROR_BYTES).await.unwrap_or_default();
        let mut reason = oci_code(&body)
            .or_else(|| status.canonical_reason().map(Into::into))
            .unwrap_or_else(|| "unknown status".into());
        if let Some(seconds) = again {
            reason = format!("{reason}; it may be asked again in {seconds} s");
        }
        match status.as_u16() {
            status @ (401 | 403) => OrasError::Denied { request, status, reason },
            status => OrasError::Status { request, status, reason },
        }
    }

    /// The code of an error's body, in oras's words; `None` where it is no OCI error.
    pub(crate) async fn into_code(self, what: &str) -> Option<String> {
        oci_code(&self.read(what, None, MAX_ERROR_BYTES).await.ok()?)
    }

    pub(crate) fn is_redirect(&self) -> bool {
        matches!(self.status().as_u16(), 301 | 302 | 303 | 307 | 308)
    }

    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.all(&RETRY_AFTER).next().and_then(|value| value.trim().parse().ok())
    }
}

/// The first code of an OCI error body, in the words oras uses: `name unknown`. Only codes, never
/// the message: an answer's text does not belong in an error of ours.
fn oci_code(body: &[u8]) -> Option<String> {
    let envelope: OciEnvelope = serde_json::from_slice(body).ok()?;
    let code = serde_json::to_value(&envelope.errors.first()?.code).ok()?;
    let code = code.as_str()?;
    let is_code = (1..=40).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    is_code.then(|| code.to_ascii_lowercase().replace('_', " "))
}

/// Room for a body: the announced length is only believed as far as memory is reserved for it.
pub(crate) fn reserved(announced: Option<u64>, bound: u64) -> BytesMut {
    let expected = announced.unwrap_or(0).min(bound).min(1 << 20);
    BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0))
}

pub(crate) fn too_much(what: &str, size: Option<u64>, limit: u64) -> OrasError {
    let what = what.to_owned();
    match size {
        Some(expected) => OrasError::Size { what, expected, actual: "more".into() },
        None => OrasError::TooLarge { what, limit, unit: "bytes" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_an_error_body_is_taken() {
        let body = br#"{"errors":[{"code":"NAME_UNKNOWN","message":"secret","detail":{}}]}"#;
        assert_eq!(oci_code(body).unwrap(), "name unknown");
        assert_eq!(oci_code(br#"{"errors":[{"code":"QUOTA_2"}]}"#).unwrap(), "quota 2");
        for body in [
            &br#"{"errors":[{"code":"\u001b[31m"}]}"#[..],
            br#"{"errors":[{"code":"allow everything"}]}"#,
            br#"{"errors":[]}"#,
            b"<html>",
        ] {
            assert_eq!(oci_code(body), None);
        }
    }
}
