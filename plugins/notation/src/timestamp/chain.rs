//! The way from the certificate that signed a timestamp to one that is trusted (RFC 5280, section 6).

use x509_cert::der::asn1::ObjectIdentifier;

use crate::{certificate::Certificate, moment::Moment};

const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
const ANY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
/// The most certificates of a way.
const MOST_LENGTH: usize = 8;
/// The most signatures that are looked at on the way: certificates that sign each other in all ways
/// would otherwise take for ever.
const MOST_CHECKS: usize = 100;

/// Finds a way of certificates that are valid at a time, each signed by the next, to a trusted one.
///
/// # Errors
/// Why there is none, in Go's words.
pub(super) fn build(
    leaf: &Certificate,
    others: &[Certificate],
    trusted: &[Certificate],
    time: Moment,
) -> Result<Vec<Certificate>, String> {
    let mut search = Search { others, trusted, time, checks: 0, found_invalid: false };
    search.usable(leaf)?;
    let mut way = vec![leaf.clone()];
    if trusted.contains(leaf) || search.extend(&mut way) {
        return Ok(way);
    }
    if search.found_invalid {
        return Err("x509: certificate has expired or is not yet valid".to_owned());
    }
    Err("x509: certificate signed by unknown authority".to_owned())
}

struct Search<'a> {
    others: &'a [Certificate],
    trusted: &'a [Certificate],
    time: Moment,
    checks: usize,
    found_invalid: bool,
}

impl Search<'_> {
    /// Adds certificates until the last one is trusted.
    fn extend(&mut self, way: &mut Vec<Certificate>) -> bool {
        let Some(last) = way.last().cloned() else { return false };
        for parent in self.trusted {
            if self.leads(&last, parent, way.len()) {
                way.push(parent.clone());
                return true;
            }
        }
        for parent in self.others {
            if way.len() < MOST_LENGTH
                && !way.contains(parent)
                && self.leads(&last, parent, way.len())
            {
                way.push(parent.clone());
                if self.extend(way) {
                    return true;
                }
                way.pop();
            }
        }
        false
    }

    /// Whether a certificate is another's, with so many below it.
    fn leads(&mut self, certificate: &Certificate, parent: &Certificate, below: usize) -> bool {
        if certificate.issuer_der != parent.subject_der || self.checks >= MOST_CHECKS {
            return false;
        }
        self.checks += 1;
        if certificate.check_signature_from(parent).is_err()
            || !parent.allows_below(below.saturating_sub(1))
        {
            return false;
        }
        match self.usable(parent) {
            Ok(()) => true,
            Err(_) => {
                self.found_invalid = true;
                false
            }
        }
    }

    fn usable(&self, certificate: &Certificate) -> Result<(), String> {
        if !certificate.is_valid_at(self.time) {
            return Err("x509: certificate has expired or is not yet valid".to_owned());
        }
        if certificate.has_unknown_critical_extension() {
            return Err("x509: unhandled critical extension".to_owned());
        }
        let is_for_that = certificate.extended_usage().is_none_or(|usage| {
            usage.iter().any(|purpose| *purpose == TIME_STAMPING || *purpose == ANY)
        });
        if !is_for_that {
            return Err("x509: certificate specifies an incompatible key usage".to_owned());
        }
        Ok(())
    }
}
