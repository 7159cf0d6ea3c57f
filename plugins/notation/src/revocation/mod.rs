//! Whether a certificate was revoked: asked of OCSP responders first, then looked up in lists, as
//! notation-core-go does. The most important item is [`Revocation`].
//!
//! Addresses come from certificates; the caller says up to which one they are of somebody who is
//! trusted.

mod cache;
mod flights;
mod list;
mod ocsp;

use std::sync::Arc;

use futures_util::future::join_all;
use ratify_core::{Error, Host};

use crate::{
    certificate::{Certificate, Purpose},
    checks::earlier,
    go::quoted,
    moment::Moment,
    refusal::{Refusal, Result},
};

pub use cache::ListCache;
#[cfg(test)]
pub(crate) use list::RevocationList;

/// Who asks, and with what.
pub(crate) struct Revocation<'a> {
    pub(crate) host: &'a Arc<dyn Host>,
    pub(crate) lists: &'a ListCache,
    pub(crate) now: Moment,
}

/// Whose certificates are asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose {
    pub(crate) purpose: Purpose,
    /// The place of the certificate that is trusted; those above it are not asked about.
    pub(crate) anchor: usize,
    /// When it was signed, where an authority says so: what became invalid later does not count.
    pub(crate) signing_time: Option<Moment>,
}

/// What is known of a certificate.
#[derive(Debug)]
enum Status {
    /// It is good until then, as far as that is known.
    Good(Moment),
    /// It names nobody who could revoke it.
    NotRevokable,
    Revoked,
    Unknown(Trouble),
}

/// Why nothing is known.
#[derive(Debug, Clone)]
struct Trouble {
    text: String,
    /// Whether it may be over a moment later.
    is_passing: bool,
}

impl Trouble {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_passing: false }
    }

    /// What to do about it. v1's answer says only that nothing is known.
    fn remediation(&self) -> String {
        let cause = ratify_core::capped_line(&self.text, 512);
        format!("Mend what keeps revocation from being known: {cause}")
    }

    fn of_host(words: &str, error: &Error) -> Self {
        Self { text: format!("{words}{error}"), is_passing: error.is_transient() }
    }
}

impl Revocation<'_> {
    /// Asks about each certificate of a chain but the last one, all at once. What comes of it is when
    /// the first answer ends.
    pub(crate) async fn check(
        &self,
        chain: &[Certificate],
        whose: Whose,
    ) -> Result<Option<Moment>> {
        let last = chain.len().saturating_sub(1);
        let asked = chain.iter().zip(chain.iter().skip(1)).take(last.min(whose.anchor + 1));
        let statuses = asked.enumerate().map(|(at, (certificate, issuer))| async move {
            (certificate, self.status(at, certificate, issuer, whose.signing_time).await)
        });
        let statuses = join_all(statuses).await;
        let of_whom = match whose.purpose {
            Purpose::CodeSigning => "signing",
            Purpose::Timestamping => "timestamping",
        };
        let (mut until, mut unknown, mut revoked) = (None, None, None);
        // The one nearest to the leaf is named.
        for (certificate, status) in statuses.into_iter().rev() {
            match status {
                Status::Good(end) => until = earlier(until, Some(end)),
                Status::NotRevokable => {}
                Status::Revoked => revoked = Some(&certificate.subject),
                Status::Unknown(trouble) => unknown = Some((&certificate.subject, trouble)),
            }
        }
        match (revoked, unknown) {
            (Some(subject), _) => {
                let subject = quoted(subject);
                Err(format!("{of_whom} certificate with subject {subject} is revoked").into())
            }
            (None, Some((subject, trouble))) => {
                let subject = quoted(subject);
                let text = format!(
                    "{of_whom} certificate with subject {subject} revocation status is unknown"
                );
                let refusal = Refusal::from(text).unknown().passing(trouble.is_passing);
                Err(refusal.with_remediation(trouble.remediation()))
            }
            (None, None) => Ok(until),
        }
    }

    async fn status(
        &self,
        at: usize,
        certificate: &Certificate,
        issuer: &Certificate,
        signing_time: Option<Moment>,
    ) -> Status {
        let has_lists = !certificate.crl_points.is_empty();
        if certificate.ocsp_servers.is_empty() {
            if !has_lists {
                tracing::warn!(
                    "Certificate #{} in the chain with subject {} neither has an OCSP nor a CRL revocation method.",
                    at + 1,
                    quoted(&certificate.subject)
                );
                return Status::NotRevokable;
            }
            return self.told(
                at,
                certificate,
                self.in_lists(certificate, issuer, signing_time).await,
            );
        }
        let of_responders = match self.of_responders(certificate, issuer, signing_time).await {
            Status::Unknown(trouble) if has_lists => trouble,
            status => return self.told(at, certificate, status),
        };
        tracing::warn!(
            "OCSP check failed with unknown error and fallback to CRL check for certificate #{} in chain with subject {}",
            at + 1,
            quoted(&certificate.subject)
        );
        let status = match self.in_lists(certificate, issuer, signing_time).await {
            Status::Unknown(of_lists) => {
                let text = format!("{}; {}", of_responders.text, of_lists.text);
                Status::Unknown(Trouble { text, ..of_lists })
            }
            status => status,
        };
        self.told(at, certificate, status)
    }

    fn told(&self, at: usize, certificate: &Certificate, status: Status) -> Status {
        if let Status::Unknown(trouble) = &status {
            let reason = ratify_core::capped_line(&trouble.text, 1024);
            tracing::error!(
                "Certificate #{} in chain with subject {} encountered an error: {reason}",
                at + 1,
                quoted(&certificate.subject)
            );
        }
        status
    }
}

/// Whether an address is of plain HTTP: what is fetched is signed, and asking by TLS would ask about
/// certificates again (RFC 5280, section 4.2.1.13).
fn is_http(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("http"))
}

#[cfg(test)]
mod cause_tests;
#[cfg(test)]
mod flights_tests;
#[cfg(test)]
mod long_tests;
#[cfg(test)]
mod tests;
