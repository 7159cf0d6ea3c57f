//! What we have to know of a certificate ourselves: its names, its dates, and whether it may sign
//! others. Signatures are left to the library that TLS uses. The most important item is [`Facts`].

use jiff::Timestamp;
use x509_cert::{
    Certificate,
    der::{
        Decode as _, Reader as _, Tagged as _,
        asn1::{AnyRef, OctetStringRef},
    },
    ext::pkix::{BasicConstraints, KeyUsage},
    time::Time,
};

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// Its subject, attribute by attribute.
    pub(crate) subject: Vec<Attribute>,
    /// Whether it is an authority that may sign certificates.
    pub(crate) may_sign: bool,
}

/// One attribute of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) oid: Vec<u64>,
    /// The tag of the string that follows.
    pub(crate) tag: u8,
    pub(crate) value: Vec<u8>,
}

impl Facts {
    /// Reads a certificate; `None` where it is none.
    pub(crate) fn read(certificate: &[u8]) -> Option<Self> {
        let body = Certificate::from_der(certificate).ok()?.tbs_certificate;
        let mut subject = Vec::new();
        for attributes in &body.subject.0 {
            // Two attributes side by side are no name that could be written again.
            let [attribute] = attributes.0.as_slice() else { return None };
            subject.push(Attribute {
                oid: attribute.oid.arcs().map(u64::from).collect(),
                tag: attribute.value.tag().into(),
                value: attribute.value.value().to_vec(),
            });
        }
        let is_authority = body.get::<BasicConstraints>().ok()?.is_some_and(|(_, of)| of.ca);
        let signs = body.get::<KeyUsage>().ok()?.is_none_or(|(_, usage)| usage.key_cert_sign());
        Some(Self {
            not_before: timestamp(body.validity.not_before)?,
            not_after: timestamp(body.validity.not_after)?,
            subject,
            may_sign: is_authority && signs,
        })
    }
}

fn timestamp(time: Time) -> Option<Timestamp> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok()?;
    Timestamp::from_second(seconds).ok()
}

/// The key inside of a PKCS#8 envelope, which is PKCS#1 where it is RSA's.
pub(crate) fn inner_key(pkcs8: &[u8]) -> Option<&[u8]> {
    let envelope = AnyRef::from_der(pkcs8).ok()?;
    let key = envelope.sequence(|reader| {
        let _version: AnyRef<'_> = reader.decode()?;
        let _algorithm: AnyRef<'_> = reader.decode()?;
        let key: OctetStringRef<'_> = reader.decode()?;
        reader.read_slice(reader.remaining_len())?;
        Ok(key.as_bytes())
    });
    key.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_make_it_panic() {
        let certificate = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert;
        let bytes = certificate.der().to_vec();
        assert!(!Facts::read(&bytes).unwrap().may_sign);
        for at in 0..bytes.len() {
            let _ = Facts::read(&bytes[..at]);
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut other = bytes.clone();
                other[at] = value;
                let _ = Facts::read(&other);
                let _ = inner_key(&other);
            }
        }
    }
}
