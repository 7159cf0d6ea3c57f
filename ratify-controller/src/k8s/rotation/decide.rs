//! What is to be done with the secret that certificates are kept in, by v1's checks; a second
//! replica, ours or v1's, comes to the same answer, so that neither undoes the other's work. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _, verify_server_name},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};

use super::issue::{self, IssueError};
use crate::{gatekeeper::tls::pair, x509::Facts};

/// v1's keys in the secret.
pub(super) const AUTHORITY: &str = "ca.crt";
pub(super) const AUTHORITY_KEY: &str = "ca.key";
pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
/// Until when former authorities stand beside the one in force. v1 keeps it as it finds it.
pub(super) const OVERLAP_ENDS: &str = "config.ratify.deislabs.io/former-ca-until";

/// What is not good for this long is made anew (v1).
const LOOKAHEAD: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How long a former authority is trusted beside the new one: every pod shows the new certificate
/// some minutes after it was made.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
/// How many former authorities are kept at most.
const MOST_FORMER: usize = 2;

/// The data of a secret.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing.
    Keep,
    /// The former authorities are to go.
    EndOverlap,
    /// Another server certificate.
    RefreshServer,
    /// Another authority, and a server certificate of it.
    RefreshAll,
}

/// What is to be written.
pub(super) struct Renewed {
    pub(super) data: Data,
    /// The value of [`OVERLAP_ENDS`]; none for none.
    pub(super) overlap_ends: Option<String>,
}

/// Decides. `overlap_ends` is the annotation as it was found.
pub(super) fn decide(
    data: &Data,
    overlap_ends: Option<&str>,
    host: &str,
    now: Timestamp,
) -> Decision {
    let Some(authority) = valid_authority(data, host, now) else { return Decision::RefreshAll };
    if !is_valid_server(data, authority, host, now) {
        return Decision::RefreshServer;
    }
    match overlap_ends.map(str::parse::<Timestamp>) {
        None => Decision::Keep,
        Some(Ok(until)) if now < until => Decision::Keep,
        // Over, or nothing that could be waited for.
        Some(_) => Decision::EndOverlap,
    }
}

/// When the overlap ends; `None` where there is none.
pub(super) fn overlap_left(overlap_ends: Option<&str>, now: Timestamp) -> Option<Duration> {
    let until: Timestamp = overlap_ends?.parse().ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// Makes what is to be written. It takes a while, since keys are made.
pub(super) fn renew(
    mut data: Data,
    overlap_ends: Option<String>,
    decision: Decision,
    host: &str,
    now: Timestamp,
) -> Result<Renewed, IssueError> {
    if decision == Decision::RefreshServer {
        match refresh_server(&data, host, now) {
            Ok(Some(renewed)) => return Ok(Renewed { data: renewed, overlap_ends }),
            // An authority that cannot be used, or not for what is trusted then, is replaced.
            Ok(None) | Err(IssueError::Authority) => {}
            Err(error) => return Err(error),
        }
    }
    let bundle = certificates(data.get(AUTHORITY).map_or(&[], Vec::as_slice));
    if decision == Decision::EndOverlap {
        let first = bundle.first().map(pem).unwrap_or_default();
        data.insert(AUTHORITY.to_owned(), first.into_bytes());
        return Ok(Renewed { data, overlap_ends: None });
    }
    let authority = issue::authority(host, now)?;
    let first = first_certificate(authority.certificate.as_bytes()).ok_or(IssueError::Authority)?;
    let facts = Facts::read(&first).ok_or(IssueError::Authority)?;
    let server = issue::server(host, now, &facts, authority.key.as_bytes())?;
    let is_in_force = |former: &&CertificateDer<'_>| {
        Facts::read(former).is_some_and(|facts| facts.may_sign && facts.not_after > now)
    };
    let former: Vec<String> =
        bundle.iter().filter(is_in_force).take(MOST_FORMER).map(pem).collect();
    let overlap_ends = (!former.is_empty())
        .then(|| now.checked_add(OVERLAP).ok())
        .flatten()
        .map(|t| t.to_string());
    let bundle = authority.certificate + &former.concat();
    data.insert(AUTHORITY.to_owned(), bundle.into_bytes());
    data.insert(AUTHORITY_KEY.to_owned(), authority.key.into_bytes());
    data.insert(CERTIFICATE.to_owned(), server.certificate.into_bytes());
    data.insert(KEY.to_owned(), server.key.into_bytes());
    Ok(Renewed { data, overlap_ends })
}

/// `None` where what the authority signs is not valid under it.
fn refresh_server(data: &Data, host: &str, now: Timestamp) -> Result<Option<Data>, IssueError> {
    let part = |key: &str| data.get(key).map_or(&[][..], Vec::as_slice);
    let first = first_certificate(part(AUTHORITY)).ok_or(IssueError::Authority)?;
    let facts = Facts::read(&first).ok_or(IssueError::Authority)?;
    let server = issue::server(host, now, &facts, part(AUTHORITY_KEY))?;
    let mut renewed = data.clone();
    renewed.insert(CERTIFICATE.to_owned(), server.certificate.into_bytes());
    renewed.insert(KEY.to_owned(), server.key.into_bytes());
    if let Some(key) = issue::as_v1_reads(part(AUTHORITY_KEY)) {
        renewed.insert(AUTHORITY_KEY.to_owned(), key.into_bytes());
    }
    Ok(is_valid_server(&renewed, first, host, now).then_some(renewed))
}

/// The authority in force, if it is one, is good long enough and for this name, and has its key.
fn valid_authority(data: &Data, host: &str, now: Timestamp) -> Option<CertificateDer<'static>> {
    let bundle = data.get(AUTHORITY)?;
    pair(bundle, data.get(AUTHORITY_KEY)?).ok()?;
    let first = first_certificate(bundle)?;
    let facts = Facts::read(&first)?;
    let at = now.checked_add(LOOKAHEAD).ok()?;
    let name = ServerName::try_from(host).ok()?;
    verify_server_name(&ParsedCertificate::try_from(&first).ok()?, &name).ok()?;
    let is_valid = facts.may_sign && facts.not_before <= at && at <= facts.not_after;
    is_valid.then_some(first)
}

fn is_valid_server(
    data: &Data,
    authority: CertificateDer<'static>,
    host: &str,
    now: Timestamp,
) -> bool {
    let check = || {
        let certificate = data.get(CERTIFICATE)?;
        pair(certificate, data.get(KEY)?).ok()?;
        let mut roots = RootCertStore::empty();
        roots.add(authority).ok()?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
        let at = now.checked_add(LOOKAHEAD).ok()?;
        let at = Duration::from_secs(u64::try_from(at.as_second()).ok()?);
        let (name, at) = (ServerName::try_from(host).ok()?, UnixTime::since_unix_epoch(at));
        let first = first_certificate(certificate)?;
        verifier.verify_server_cert(&first, &[], &name, &[], at).ok()
    };
    check().is_some()
}

fn first_certificate(pem: &[u8]) -> Option<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).next()?.ok()
}

/// All certificates up to where it breaks off.
fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).map_while(Result::ok).collect()
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    issue::pem("CERTIFICATE", certificate)
}

#[cfg(test)]
mod tests;
