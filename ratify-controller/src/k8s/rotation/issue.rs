//! Authorities and server certificates as v1 makes them: the same names, usages, dates and forms,
//! so that either replica accepts what the other has made. Only the serial numbers are random.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
    string::{Ia5String, PrintableString},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};

use crate::x509::{Attribute, Facts, inner_key};

/// v1's organisation of an authority.
const ORGANISATION: &str = "Ratify";
/// A certificate is good for v1's ten years, and from an hour ago on, since clocks differ.
const VALID_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const VALID_SINCE: Duration = Duration::from_secs(60 * 60);

/// A certificate and its key, both as PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Something could not be made. No text holds anything of a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum IssueError {
    #[error("making a certificate failed: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the CA's certificate or key cannot be used to sign")]
    Authority,
    #[error("a key was made in an unexpected form")]
    Key,
    #[error("the clock shows {0}, which no certificate can")]
    Clock(Timestamp),
}

/// Makes an authority of this name.
pub(super) fn authority(host: &str, now: Timestamp) -> Result<Issued, IssueError> {
    let mut parameters = parameters(host, now)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::OrganizationName, text(ORGANISATION));
    parameters.distinguished_name.push(DnType::CommonName, text(host));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let key = new_key()?;
    let certificate = parameters.self_signed(&key)?;
    Ok(Issued { certificate: certificate.pem(), key: pkcs1(&key)? })
}

/// Makes a server certificate, signed by an authority whose certificate and key are given as they
/// were found.
pub(super) fn server(
    host: &str,
    now: Timestamp,
    authority: &Facts,
    authority_key: &[u8],
) -> Result<Issued, IssueError> {
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name =
        distinguished_name(&authority.subject).ok_or(IssueError::Authority)?;
    let authority_key =
        PrivateKeyDer::from_pem_slice(authority_key).map_err(|_| IssueError::Authority)?;
    let authority_key = KeyPair::try_from(&authority_key).map_err(|_| IssueError::Authority)?;
    let mut parameters = parameters(host, now)?;
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = new_key()?;
    let certificate = parameters.signed_by(&key, &Issuer::new(issuer, authority_key))?;
    Ok(Issued { certificate: certificate.pem(), key: pkcs1(&key)? })
}

/// The authority's key as v1 can read it, where it is an RSA key.
pub(super) fn as_v1_reads(key: &[u8]) -> Option<String> {
    let Ok(PrivateKeyDer::Pkcs8(envelope)) = PrivateKeyDer::from_pem_slice(key) else {
        return None;
    };
    let key = KeyPair::try_from(&envelope).ok()?;
    if key.algorithm() != &PKCS_RSA_SHA256 {
        return None;
    }
    Some(pem_of_pkcs1(inner_key(envelope.secret_pkcs8_der())?))
}

/// What both kinds have in common.
fn parameters(host: &str, now: Timestamp) -> Result<CertificateParams, IssueError> {
    let mut parameters = CertificateParams::new([host.to_owned()])?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, text(host));
    parameters.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    let seconds = u64::try_from(now.as_second()).map_err(|_| IssueError::Clock(now))?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    parameters.not_before = now - VALID_SINCE;
    parameters.not_after = now + VALID_FOR;
    Ok(parameters)
}

fn new_key() -> Result<KeyPair, IssueError> {
    Ok(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?)
}

fn pkcs1(key: &KeyPair) -> Result<String, IssueError> {
    inner_key(&key.serialize_der()).map(pem_of_pkcs1).ok_or(IssueError::Key)
}

fn pem_of_pkcs1(key: &[u8]) -> String {
    pem("RSA PRIVATE KEY", key)
}

/// One block of PEM.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem + &format!("-----END {label}-----\n")
}

/// Go writes what can be printed as such, and everything else as UTF-8.
fn text(value: &str) -> DnValue {
    match PrintableString::try_from(value) {
        Ok(printable) => DnValue::PrintableString(printable),
        Err(_) => DnValue::Utf8String(value.to_owned()),
    }
}

/// A name that comes out byte for byte as it was read; `None` where that is not possible.
fn distinguished_name(attributes: &[Attribute]) -> Option<DistinguishedName> {
    let mut name = DistinguishedName::new();
    for Attribute { oid, tag, value } in attributes {
        let value = String::from_utf8(value.clone()).ok()?;
        let value = match tag {
            0x0c => DnValue::Utf8String(value),
            0x13 => DnValue::PrintableString(PrintableString::try_from(value).ok()?),
            0x16 => DnValue::Ia5String(Ia5String::try_from(value).ok()?),
            _ => return None,
        };
        let kind = DnType::from_oid(oid);
        // One of a kind: the other one would take its place.
        if name.get(&kind).is_some() {
            return None;
        }
        name.push(kind, value);
    }
    Some(name)
}
