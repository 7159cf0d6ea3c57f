//! [`Shown`]: what a certificate says of itself, as people are shown it.

use jiff::Timestamp;
use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::finding::shown;
use crate::x509::Facts;

/// More names than these are not shown.
const MOST_NAMES: usize = 8;
const DAY: i64 = 24 * 60 * 60;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// DNS names and addresses.
    pub(super) names: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Shown {
    /// Reads a certificate; `None` where it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let facts = Facts::read(der)?;
        let body = Certificate::from_der(der).ok()?.tbs_certificate;
        let names = body.get::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0);
        let name = |name: &GeneralName| match name {
            GeneralName::DnsName(name) => Some(shown(name.as_str())),
            GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
            _ => None,
        };
        Some(Self {
            subject: shown(&body.subject.to_string()),
            issuer: shown(&body.issuer.to_string()),
            names: names.iter().flatten().filter_map(name).collect(),
            not_before: facts.not_before,
            not_after: facts.not_after,
        })
    }

    /// How many days it is still good.
    pub(super) fn days_left(&self, now: Timestamp) -> i64 {
        (self.not_after.as_second() - now.as_second()).div_euclid(DAY)
    }

    /// The names it is for, in one line.
    pub(super) fn names(&self) -> String {
        match self.names.as_slice() {
            [] => "no name at all".to_owned(),
            names if names.len() > MOST_NAMES => {
                format!("{} and {} more", names[..MOST_NAMES].join(", "), names.len() - MOST_NAMES)
            }
            names => names.join(", "),
        }
    }

    /// Whether it is for a name. Only the first label may be `*`.
    pub(super) fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|own| {
            let of_a_label = own.strip_prefix("*.").zip(name.split_once('.'));
            own.eq_ignore_ascii_case(name)
                || of_a_label.is_some_and(|(own, (_, rest))| own.eq_ignore_ascii_case(rest))
        })
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}

/// A day, without the time.
pub(super) fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

/// The certificates of PEM bytes, in DER.
pub(super) fn in_pem(pem: &[u8]) -> Vec<Vec<u8>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    certificates.map(|certificate| certificate.to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_read_with_its_names_and_dates() {
        let names = ["ratify.gatekeeper-system", "*.example.com", "127.0.0.1"];
        let made = rcgen::generate_simple_self_signed(names.map(str::to_owned)).unwrap().cert;
        let read = Shown::read(made.der()).unwrap();
        assert_eq!(read.names, names);
        assert!(read.is_for("Ratify.gatekeeper-system") && read.is_for("a.example.com"));
        assert!(!read.is_for("a.b.example.com") && !read.is_for("ratify"));
        assert!(read.days_left(read.not_before) > 1000);
        assert_eq!(in_pem(made.pem().as_bytes()), [made.der().to_vec()]);
        assert_eq!(Shown::read(b"none"), None);
    }
}
