//! Lists of revoked certificates (RFC 5280, section 5). One may be nearly 32 MiB long, so it is walked
//! through where it lies rather than made into objects.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use ratify_core::{ErrorCode, FetchRequest, Host, UrlSource};
use x509_cert::{
    der::{
        Decode as _, Encode as _, Reader, SliceReader, Tag, Tagged as _,
        asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
    },
    ext::pkix::{
        IssuingDistributionPoint,
        name::{DistributionPointName, GeneralName},
    },
    spki::AlgorithmIdentifierOwned,
    time::Time,
};

use super::{Revocation, Status, Trouble, is_http};
use crate::{
    certificate::{Certificate, SignatureAlgorithm},
    checks::earlier,
    moment::Moment,
};

/// The longest list: v1 refuses one that reaches 32 MiB.
const MOST_BYTES: u64 = (32 << 20) - 1;
/// What a list says of the part that it is has no more bytes: it becomes objects.
const MOST_OF_PART: usize = 64 << 10;
/// How long one list may take; v1 waits for ever.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most places that a certificate may name.
const MOST_POINTS: usize = 10;

const FRESHEST_CRL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.46");
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");

impl Revocation<'_> {
    /// Looks a certificate up in all lists that it names, since each may be a part of the whole.
    pub(super) async fn in_lists(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        signing_time: Option<Moment>,
    ) -> Status {
        let mut until = None;
        if certificate.crl_points.len() > MOST_POINTS {
            let text = format!("it names more than {MOST_POINTS} lists");
            return Status::Unknown(Trouble::new(text));
        }
        for url in &certificate.crl_points {
            let list = match self.list(url, certificate, issuer).await {
                Ok(list) => list,
                Err(trouble) => return Status::Unknown(trouble),
            };
            match list.revokes(certificate, signing_time) {
                Ok(true) => return Status::Revoked,
                Ok(false) => until = earlier(until, list.next_update),
                Err(text) => return Status::Unknown(of_list(url, &text)),
            }
        }
        // Each list that is proven has an end.
        until.map_or_else(|| Status::Unknown(Trouble::new("it names no list")), Status::Good)
    }

    /// The proven list of an address. One that does not stand for the certificate is not kept: it came in
    /// clear, and would deny until its own end.
    async fn list(
        &self,
        url: &str,
        certificate: &Certificate,
        issuer: &Certificate,
    ) -> Result<Arc<RevocationList>, Trouble> {
        let prove = |list: &RevocationList| list.prove(certificate, issuer, self.now);
        let kept = self.lists.get(url, self.now);
        if let Some(kept) = kept.filter(|kept| prove(kept).is_ok()) {
            return Ok(kept);
        }
        let fetch = || {
            let (host, url) = (Arc::clone(self.host), url.to_owned());
            async move { fetch(host.as_ref(), &url).await.map(Arc::new) }.boxed()
        };
        let list = self.lists.flights.join(self.host.as_ref(), url, fetch).await?;
        prove(&list).map_err(|text| of_list(url, &text))?;
        self.lists.put(url, &list, self.now);
        Ok(list)
    }
}

async fn fetch(host: &dyn Host, url: &str) -> Result<RevocationList, Trouble> {
    let shown = ratify_core::capped_line(url, 200);
    if !is_http(url) {
        let text = format!(
            "failed to download CRL from {shown}: unsupported scheme. Only supports CRL URL in HTTP protocol"
        );
        return Err(Trouble::new(text));
    }
    let request = FetchRequest::new(url, UrlSource::Document, MOST_BYTES, TIMEOUT);
    let words = format!("failed to download CRL from {shown}: failed to retrieve CRL: ");
    let bytes = host.fetch(&request).await;
    let bytes = bytes.map_err(|error| Trouble::of_host(&words, &error))?;
    RevocationList::parse(bytes)
        .map_err(|error| Trouble::new(format!("{words}{}", ErrorCode::CertInvalid.detail(error))))
}

fn of_list(url: &str, text: &str) -> Trouble {
    Trouble::new(format!("the CRL from {}: {text}", ratify_core::capped_line(url, 200)))
}

/// A list, of which the head is read.
pub(crate) struct RevocationList {
    bytes: Bytes,
    /// Places in the bytes.
    tbs: std::ops::Range<usize>,
    entries: std::ops::Range<usize>,
    extensions: std::ops::Range<usize>,
    signature: Vec<u8>,
    algorithm: SignatureAlgorithm,
    issuer: Vec<u8>,
    this_update: Moment,
    /// Until when it is the newest.
    pub(crate) next_update: Option<Moment>,
}

impl RevocationList {
    /// Reads the head of a list.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, String> {
        read(&bytes).map_err(|error| format!("x509: malformed crl: {error}"))
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the issuer of a certificate signed it, it is the newest, and it is about the
    /// certificate.
    fn prove(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        now: Moment,
    ) -> Result<(), String> {
        let not_signed =
            |error: String| format!("CRL is not signed by CA {}: {error}", issuer.subject);
        if !issuer.is_authority() || !issuer.may_sign_lists() {
            return Err(not_signed("the certificate may not sign lists".to_owned()));
        }
        if self.issuer != certificate.issuer_der {
            return Err(not_signed("it is another issuer's".to_owned()));
        }
        issuer
            .check_signature_of(&self.algorithm, &self.bytes[self.tbs.clone()], &self.signature)
            .map_err(not_signed)?;
        let next = self.next_update.ok_or("CRL NextUpdate is not set")?;
        if now > next {
            return Err(format!(
                "expired CRL. Current time {} is after CRL NextUpdate {}",
                now.rfc3339(),
                next.rfc3339()
            ));
        }
        if self.this_update > now.plus_nanos(super::ocsp::MOST_AHEAD) {
            return Err("the CRL is of a time that is not yet".to_owned());
        }
        let mut extensions = Extensions::new(&self.bytes[self.extensions.clone()])?;
        while let Some(extension) = extensions.next()? {
            match extension.id {
                FRESHEST_CRL => return Err("delta CRL is not supported".to_owned()),
                ISSUING_DISTRIBUTION_POINT => covers(extension.value, certificate)?,
                _ => extension.need_not_be_known()?,
            }
        }
        Ok(())
    }

    /// Whether it has an entry for a certificate, which counts at the time of signing.
    fn revokes(
        &self,
        certificate: &Certificate,
        signing_time: Option<Moment>,
    ) -> Result<bool, String> {
        let malformed = |error: x509_cert::der::Error| format!("malformed entry: {error}");
        let entries = &self.bytes[self.entries.clone()];
        if entries.is_empty() {
            return Ok(false);
        }
        let mut reader = SliceReader::new(entries).map_err(malformed)?;
        while !reader.is_finished() {
            let entry: AnyRef<'_> = reader.decode().map_err(malformed)?;
            let mut fields = SliceReader::new(entry.value()).map_err(malformed)?;
            let serial: AnyRef<'_> = fields.decode().map_err(malformed)?;
            if serial.tag() != Tag::Integer || serial.value() != certificate.serial {
                continue;
            }
            let _date: Time = fields.decode().map_err(malformed)?;
            let extensions = match fields.is_finished() {
                true => &[],
                false => fields.decode::<AnyRef<'_>>().and_then(values_of).map_err(malformed)?,
            };
            fields.finish(()).map_err(malformed)?;
            // One that does not count yet says nothing of those behind it.
            if counts(Extensions::new(extensions)?, signing_time)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether an entry counts for what was signed then.
fn counts(mut extensions: Extensions<'_>, signing_time: Option<Moment>) -> Result<bool, String> {
    let mut invalid_from = None;
    while let Some(extension) = extensions.next()? {
        if extension.id == INVALIDITY_DATE {
            let date = generalized(extension.value).ok_or("failed to parse invalidity date")?;
            invalid_from = Some(date);
        } else {
            extension.need_not_be_known()?;
        }
    }
    Ok(match (signing_time, invalid_from) {
        (Some(signing_time), Some(invalid_from)) => signing_time >= invalid_from,
        _ => true,
    })
}

/// Extensions, read one after another: a list may have millions of them.
struct Extensions<'a>(SliceReader<'a>);

struct Extension<'a> {
    id: ObjectIdentifier,
    is_critical: bool,
    value: &'a [u8],
}

impl<'a> Extensions<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, String> {
        SliceReader::new(bytes).map(Self).map_err(|error| error.to_string())
    }

    fn next(&mut self) -> Result<Option<Extension<'a>>, String> {
        if self.0.is_finished() {
            return Ok(None);
        }
        let read = self.0.decode().and_then(Extension::read);
        read.map(Some).map_err(|error| format!("malformed extension: {error}"))
    }
}

impl<'a> Extension<'a> {
    fn read(whole: AnyRef<'a>) -> Result<Self, x509_cert::der::Error> {
        whole.sequence(|reader| {
            let id = reader.decode()?;
            let is_critical = reader.peek_tag()? == Tag::Boolean && reader.decode()?;
            let value: OctetStringRef<'a> = reader.decode()?;
            Ok(Self { id, is_critical, value: value.as_bytes() })
        })
    }

    fn need_not_be_known(&self) -> Result<(), String> {
        match self.is_critical {
            true => Err(format!("unsupported critical extension found in CRL: {}", self.id)),
            false => Ok(()),
        }
    }
}

/// What is in a sequence.
fn values_of(sequence: AnyRef<'_>) -> Result<&[u8], x509_cert::der::Error> {
    sequence.tag().assert_eq(Tag::Sequence)?;
    Ok(sequence.value())
}

/// A GeneralizedTime in DER.
pub(super) fn generalized(der: &[u8]) -> Option<Moment> {
    let time = AnyRef::from_der(der).ok().filter(|time| time.tag() == Tag::GeneralizedTime)?;
    Moment::parse_generalized(time.value())
}

/// Whether a list that is a part of the whole is about a certificate (RFC 5280, section 6.3.3, b).
fn covers(extension: &[u8], certificate: &Certificate) -> Result<(), String> {
    if extension.len() > MOST_OF_PART {
        return Err(format!("an issuing distribution point of more than {MOST_OF_PART} bytes"));
    }
    let part = IssuingDistributionPoint::from_der(extension)
        .map_err(|error| format!("malformed issuing distribution point: {error}"))?;
    let is_other_kind = match certificate.is_authority() {
        true => part.only_contains_user_certs,
        false => part.only_contains_ca_certs,
    };
    if part.indirect_crl || part.only_contains_attribute_certs || is_other_kind {
        return Err("the CRL is not about certificates of this kind".to_owned());
    }
    if let Some(DistributionPointName::FullName(names)) = &part.distribution_point {
        let is_named = |name: &GeneralName| match name {
            GeneralName::UniformResourceIdentifier(uri) => {
                certificate.crl_points.iter().any(|point| point == uri.as_str())
            }
            _ => false,
        };
        if !names.iter().any(is_named) {
            return Err(
                "the CRL is of a distribution point that the certificate does not name".to_owned()
            );
        }
    }
    Ok(())
}

fn read(bytes: &Bytes) -> Result<RevocationList, x509_cert::der::Error> {
    let at = |part: &[u8]| {
        // Each part is a slice of the bytes.
        let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + part.len()
    };
    let (tbs, outer, signature) = AnyRef::from_der(bytes)?.sequence(|reader| {
        let parts = (reader.tlv_bytes()?, reader.tlv_bytes()?, reader.decode::<AnyRef<'_>>()?);
        Ok(parts)
    })?;
    signature.tag().assert_eq(Tag::BitString)?;
    let signature = match signature.value().split_first() {
        Some((0, signature)) => signature.to_vec(),
        _ => return Err(Tag::BitString.value_error()),
    };
    let body = AnyRef::from_der(tbs)?;
    let mut reader = SliceReader::new(body.value())?;
    if reader.peek_tag()? == Tag::Integer {
        let _version: AnyRef<'_> = reader.decode()?;
    }
    let algorithm: AlgorithmIdentifierOwned = reader.decode()?;
    if algorithm.to_der()? != outer {
        return Err(Tag::Sequence.value_error());
    }
    let issuer = reader.tlv_bytes()?.to_vec();
    let this_update: Time = reader.decode()?;
    let has_time = |reader: &SliceReader<'_>| {
        !reader.is_finished()
            && matches!(reader.peek_tag(), Ok(Tag::UtcTime | Tag::GeneralizedTime))
    };
    let next_update: Option<Time> = if has_time(&reader) { Some(reader.decode()?) } else { None };
    let has_entries = !reader.is_finished() && reader.peek_tag()? == Tag::Sequence;
    let entries: &[u8] = if has_entries { reader.decode::<AnyRef<'_>>()?.value() } else { &[] };
    let extensions: &[u8] = if reader.is_finished() {
        &[]
    } else {
        let explicit: AnyRef<'_> = reader.decode()?;
        values_of(AnyRef::from_der(explicit.value())?)?
    };
    reader.finish(())?;
    Ok(RevocationList {
        tbs: at(tbs),
        entries: if entries.is_empty() { 0..0 } else { at(entries) },
        extensions: if extensions.is_empty() { 0..0 } else { at(extensions) },
        signature,
        algorithm: SignatureAlgorithm::of(&algorithm),
        issuer,
        this_update: moment(this_update),
        next_update: next_update.map(moment),
        bytes: bytes.clone(),
    })
}

fn moment(time: Time) -> Moment {
    Moment::from_unix(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An extension of one byte; critical where it says so.
    const UNKNOWN: [u8; 10] = [0x30, 8, 6, 3, 0x2a, 3, 4, 4, 1, 0];
    const CRITICAL: [u8; 13] = [0x30, 11, 6, 3, 0x2a, 3, 4, 1, 1, 0xff, 4, 1, 0];

    fn walk(bytes: &[u8]) -> Result<usize, String> {
        let (mut extensions, mut count) = (Extensions::new(bytes)?, 0);
        while let Some(extension) = extensions.next()? {
            extension.need_not_be_known()?;
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn each_extension_is_read_where_it_lies_and_a_critical_one_has_to_be_known() {
        let mut many = UNKNOWN.repeat(100_000);
        let mut extensions = Extensions::new(&many).unwrap();
        let first = extensions.next().unwrap().unwrap();
        assert_eq!(first.value.as_ptr(), many[9..].as_ptr());
        assert_eq!((walk(&[]), walk(&many)), (Ok(0), Ok(100_000)));
        many.extend(CRITICAL);
        let critical = "unsupported critical extension found in CRL: 1.2.3.4";
        assert_eq!(walk(&many).unwrap_err(), critical);
        for cut in 1..CRITICAL.len() {
            let refusal = walk(&CRITICAL[..cut]).unwrap_err();
            assert!(refusal.starts_with("malformed extension: "), "{refusal}");
        }
    }
}
