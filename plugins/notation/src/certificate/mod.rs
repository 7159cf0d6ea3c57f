//! [`Certificate`]: an X.509 certificate, and what the rules of the Notary Project ask of it.

mod chain;
mod dn;
mod key;
mod name;

use x509_cert::{
    TbsCertificate, Version,
    der::{
        Decode as _, Encode as _, Reader as _, SliceReader, Tagged as _,
        asn1::{AnyRef, ObjectIdentifier},
    },
    ext::{
        Extension,
        pkix::{
            AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage,
            KeyUsage,
            name::{DistributionPointName, GeneralName},
        },
    },
    time::Time,
};

use crate::moment::Moment;

pub(crate) use chain::{Purpose, check_chain};
pub(crate) use dn::DistinguishedName;
pub(crate) use key::{Hash, KeyKind, PublicKey, SignatureAlgorithm};

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const AUTHORITY_INFO_ACCESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1");
const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");

/// A certificate, read once.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    /// What is signed.
    tbs: Vec<u8>,
    signature: Vec<u8>,
    signature_algorithm: SignatureAlgorithm,
    /// As Go prints it.
    pub(crate) subject: String,
    /// As Go prints it.
    pub(crate) issuer: String,
    /// In DER.
    pub(crate) subject_der: Vec<u8>,
    /// In DER.
    pub(crate) issuer_der: Vec<u8>,
    /// The bytes of the integer.
    pub(crate) serial: Vec<u8>,
    pub(crate) not_before: Moment,
    pub(crate) not_after: Moment,
    pub(crate) key: PublicKey,
    is_version_3: bool,
    /// Whether it is an authority, and how many may follow it.
    constraints: Option<BasicConstraints>,
    /// And whether the extension is critical.
    usage: Option<(bool, KeyUsage)>,
    extended_usage: Option<(bool, Vec<ObjectIdentifier>)>,
    has_unknown_critical_extension: bool,
    /// Where its status is asked for.
    pub(crate) ocsp_servers: Vec<String>,
    /// Where lists of revoked certificates are.
    pub(crate) crl_points: Vec<String>,
}

/// A longer one is not read: the time to put the sets in it in order grows with the square of its length.
pub(crate) const MOST_BYTES: usize = 64 << 10;

/// Bytes that are no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// Longer than any, by far.
    #[error("x509: certificate of more than {MOST_BYTES} bytes")]
    Long,
    /// Not DER, or not of the form of a certificate.
    #[error("x509: malformed certificate")]
    Malformed,
    /// Two extensions of one kind.
    #[error("x509: certificate contains duplicate extensions")]
    Duplicate,
    /// Two statements of how it is signed.
    #[error("x509: inner and outer signature algorithm identifiers don't match")]
    Algorithms,
    /// A name with something in it that is no text.
    #[error("x509: invalid RDNSequence: invalid attribute value")]
    Name,
}

impl From<x509_cert::der::Error> for CertificateError {
    /// Where in the bytes it is helps nobody.
    fn from(_: x509_cert::der::Error) -> Self {
        Self::Malformed
    }
}

impl Certificate {
    /// Reads one certificate that is all of the bytes.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MOST_BYTES {
            return Err(CertificateError::Long);
        }
        let (tbs, algorithm, signature) = parts(der)?;
        let body = TbsCertificate::from_der(tbs)?;
        if body.signature.to_der()? != algorithm {
            return Err(CertificateError::Algorithms);
        }
        let extensions = Extensions::of(body.extensions.as_deref().unwrap_or_default())?;
        Ok(Self {
            der: der.to_vec(),
            tbs: tbs.to_vec(),
            signature: signature.to_vec(),
            signature_algorithm: SignatureAlgorithm::of(&body.signature),
            subject: name::go_text(&body.subject).ok_or(CertificateError::Name)?,
            issuer: name::go_text(&body.issuer).ok_or(CertificateError::Name)?,
            subject_der: body.subject.to_der()?,
            issuer_der: body.issuer.to_der()?,
            serial: body.serial_number.as_bytes().to_vec(),
            not_before: moment(body.validity.not_before),
            not_after: moment(body.validity.not_after),
            key: PublicKey::of(&body.subject_public_key_info),
            is_version_3: body.version == Version::V3,
            constraints: extensions.get(BASIC_CONSTRAINTS)?.map(|(_, value)| value),
            usage: extensions.get(KEY_USAGE)?,
            extended_usage: extensions
                .get::<ExtendedKeyUsage>(EXTENDED_KEY_USAGE)?
                .map(|(is_critical, usage)| (is_critical, usage.0)),
            has_unknown_critical_extension: extensions.has_unknown_critical(),
            ocsp_servers: extensions.ocsp_servers()?,
            crl_points: extensions.crl_points()?,
        })
    }

    /// Reads certificates that stand one behind the other.
    pub(crate) fn parse_all(mut der: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let mut all = Vec::new();
        while !der.is_empty() {
            let mut reader = SliceReader::new(der)?;
            let one = reader.tlv_bytes()?;
            all.push(Self::parse(one)?);
            der = &der[one.len()..];
        }
        Ok(all)
    }

    /// The bytes.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it says that it is an authority.
    pub(crate) fn is_authority(&self) -> bool {
        self.constraints.as_ref().is_some_and(|constraints| constraints.ca)
    }

    /// Whether it is of an authority that may sign certificates, or says nothing about that and is
    /// too old to say it (RFC 5280, section 4.2.1.9).
    fn may_sign(&self) -> bool {
        let may = match &self.constraints {
            Some(constraints) => constraints.ca,
            None => !self.is_version_3,
        };
        may && self
            .usage
            .as_ref()
            .is_none_or(|(_, usage)| usage.0.is_empty() || usage.key_cert_sign())
    }

    /// Whether its own key signed it.
    pub(crate) fn check_own_signature(&self) -> Result<(), String> {
        // As in v1, SHA-1 is good enough for what trusts itself.
        self.signature_algorithm.verify(&self.key, &self.tbs, &self.signature, true)
    }

    /// Whether another certificate's key signed it, and may.
    pub(crate) fn check_signature_from(&self, parent: &Self) -> Result<(), String> {
        if !parent.may_sign() {
            return Err(
                "x509: invalid signature: parent certificate cannot sign this kind of certificate"
                    .to_owned(),
            );
        }
        self.signature_algorithm.verify(&parent.key, &self.tbs, &self.signature, false)
    }

    /// Whether something else is signed by it.
    pub(crate) fn check_signature_of(
        &self,
        algorithm: &SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), String> {
        algorithm.verify(&self.key, message, signature, false)
    }

    /// Whether it is valid then.
    pub(crate) fn is_valid_at(&self, time: Moment) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }

    /// Whether it may sign lists of revoked certificates.
    pub(crate) fn may_sign_lists(&self) -> bool {
        self.usage.as_ref().is_none_or(|(_, usage)| usage.0.is_empty() || usage.crl_sign())
    }

    /// Whether so many authorities may stand between it and a leaf.
    pub(crate) fn allows_below(&self, authorities: usize) -> bool {
        let most =
            self.constraints.as_ref().and_then(|constraints| constraints.path_len_constraint);
        most.is_none_or(|most| authorities <= usize::from(most))
    }

    /// Whether something that must be understood is not looked at here.
    pub(crate) fn has_unknown_critical_extension(&self) -> bool {
        self.has_unknown_critical_extension
    }

    /// What its key may be used for, besides: every purpose where the extension is missing.
    pub(crate) fn extended_usage(&self) -> Option<&[ObjectIdentifier]> {
        self.extended_usage.as_ref().map(|(_, usage)| usage.as_slice())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

/// What is signed, how, and the signature.
type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn parts(der: &[u8]) -> Result<Parts<'_>, x509_cert::der::Error> {
    AnyRef::from_der(der)?.sequence(|reader| {
        let tbs = reader.tlv_bytes()?;
        let algorithm = reader.tlv_bytes()?;
        let signature: AnyRef<'_> = reader.decode()?;
        signature.tag().assert_eq(x509_cert::der::Tag::BitString)?;
        // No bits are left out of the last octet.
        match signature.value().split_first() {
            Some((0, signature)) => Ok((tbs, algorithm, signature)),
            _ => Err(x509_cert::der::Tag::BitString.value_error()),
        }
    })
}

fn moment(time: Time) -> Moment {
    // It is at most the year 9999.
    Moment::from_unix(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}

/// The extensions, none of them twice.
struct Extensions<'a>(&'a [Extension]);

impl<'a> Extensions<'a> {
    fn of(all: &'a [Extension]) -> Result<Self, CertificateError> {
        let is_twice = |(at, one): (usize, &Extension)| {
            all[..at].iter().any(|other| other.extn_id == one.extn_id)
        };
        if all.iter().enumerate().any(is_twice) {
            return Err(CertificateError::Duplicate);
        }
        Ok(Self(all))
    }

    fn get<T: x509_cert::der::Decode<'a>>(
        &self,
        id: ObjectIdentifier,
    ) -> Result<Option<(bool, T)>, x509_cert::der::Error> {
        let Some(found) = self.0.iter().find(|extension| extension.extn_id == id) else {
            return Ok(None);
        };
        Ok(Some((found.critical, T::from_der(found.extn_value.as_bytes())?)))
    }

    fn has_unknown_critical(&self) -> bool {
        let is_known = |id: ObjectIdentifier| {
            matches!(
                id,
                BASIC_CONSTRAINTS
                    | KEY_USAGE
                    | EXTENDED_KEY_USAGE
                    | AUTHORITY_INFO_ACCESS
                    | CRL_DISTRIBUTION_POINTS
                    | CERTIFICATE_POLICIES
            )
        };
        self.0.iter().any(|extension| extension.critical && !is_known(extension.extn_id))
    }

    fn ocsp_servers(&self) -> Result<Vec<String>, x509_cert::der::Error> {
        let access = self.get::<AuthorityInfoAccessSyntax>(AUTHORITY_INFO_ACCESS)?;
        let access = access.map(|(_, access)| access.0).unwrap_or_default();
        let of_status = access.iter().filter(|one| one.access_method == OCSP);
        Ok(of_status.filter_map(|one| uri(&one.access_location)).collect())
    }

    fn crl_points(&self) -> Result<Vec<String>, x509_cert::der::Error> {
        let points = self.get::<CrlDistributionPoints>(CRL_DISTRIBUTION_POINTS)?;
        let points = points.map(|(_, points)| points.0).unwrap_or_default();
        let names = points.into_iter().filter_map(|point| match point.distribution_point {
            Some(DistributionPointName::FullName(names)) => Some(names),
            _ => None,
        });
        Ok(names.flatten().filter_map(|name| uri(&name)).collect())
    }
}

fn uri(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, parameters};

    #[test]
    fn reads_what_a_certificate_says_and_its_neighbours() {
        let root = Authority::root("root");
        let leaf = root.leaf("leaf");
        let mut both = leaf.certificate.der().to_vec();
        both.extend_from_slice(root.certificate.der());
        let read = Certificate::parse_all(&both).unwrap();
        assert_eq!(read, [leaf.certificate.clone(), root.certificate.clone()]);
        assert!(read[1].is_authority() && !read[0].is_authority());
        assert_eq!(read[0].check_signature_from(&read[1]), Ok(()));
        assert_eq!(read[1].check_own_signature(), Ok(()));
        assert!(read[0].check_own_signature().is_err());
        assert!(read[1].check_signature_from(&read[0]).unwrap_err().contains("cannot sign"));
        assert_eq!(read[0].issuer, read[1].subject);
    }

    #[test]
    fn what_is_longer_than_any_certificate_is_not_read() {
        let root = Authority::root("root");
        let of = |bytes: usize| {
            let mut leaf = parameters("leaf");
            let unknown = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![4; bytes]);
            leaf.custom_extensions.push(unknown);
            let key = rcgen::KeyPair::generate().unwrap();
            Certificate::parse(leaf.signed_by(&key, &root.issuer).unwrap().der())
        };
        of(MOST_BYTES - 1000).unwrap();
        let refused = of(MOST_BYTES).unwrap_err().to_string();
        assert_eq!(refused, "x509: certificate of more than 65536 bytes");
    }

    #[test]
    fn no_bytes_make_it_panic_and_none_that_are_changed_stay_signed() {
        let root = Authority::root("root");
        let leaf = root.leaf("leaf").certificate;
        for at in 0..leaf.der().len() {
            assert!(Certificate::parse(&leaf.der()[..at]).is_err(), "{at}");
            for bit in [1, 0x20, 0x80] {
                let mut other = leaf.der().to_vec();
                other[at] ^= bit;
                if let Ok(other) = Certificate::parse(&other) {
                    let own = other.check_signature_from(&root.certificate);
                    assert!(own.is_err(), "{at} {bit}");
                }
            }
        }
    }
}
