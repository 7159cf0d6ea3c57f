//! [`Token`]: a timestamp as CMS signed data (RFC 5652), and whose it is.

use cms::{
    content_info::{CmsVersion, ContentInfo},
    signed_data::{EncapsulatedContentInfo, SignerIdentifier, SignerInfo},
};
use x509_cert::{
    der::{
        Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _,
        asn1::{AnyRef, ObjectIdentifier, OctetStringRef, UtcTime},
    },
    spki::AlgorithmIdentifierRef,
};

use super::{
    chain::build,
    info::{Info, Interval},
    lengths::shortest,
};
use crate::{
    certificate::{Certificate, Hash, SignatureAlgorithm},
    moment::Moment,
};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const SIGNING_CERTIFICATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
/// The tags of what may be left out: certificates, and lists of revoked ones.
const CERTIFICATES: u8 = 0xa0;
const LISTS: u8 = 0xa1;
/// The most certificates and signers of a token.
const MOST: usize = 32;
/// A longer token is not read, as with certificates. One with its chain has some 6,000.
const MOST_BYTES: usize = 64 << 10;

/// A token that was read and not yet proven.
pub(crate) struct Token {
    /// What is signed.
    content: Vec<u8>,
    certificates: Vec<Certificate>,
    signers: Vec<SignerInfo>,
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let malformed = |error: x509_cert::der::Error| {
            format!("cms: syntax error: invalid signed data: {error}")
        };
        if bytes.len() > MOST_BYTES {
            return Err(format!("the timestamp has more than {MOST_BYTES} bytes"));
        }
        let der = shortest(bytes).map_err(|error| {
            format!(
                "cms: syntax error: invalid signed data: failed to convert from BER to DER: {error}"
            )
        })?;
        let info = ContentInfo::from_der(&der).map_err(malformed)?;
        if info.content_type != SIGNED_DATA {
            return Err("not signed data".to_owned());
        }
        let data = info.content.to_der().map_err(malformed)?;
        let parts = Parts::read(&data).map_err(malformed)?;
        if parts.version != [3] {
            return Err("cms: syntax error: unsupported signed data version: want 3".to_owned());
        }
        let type_ = parts.content.econtent_type;
        if type_ != TST_INFO {
            return Err(format!(
                "unexpected content type: {type_}. Expected to be id-ct-TSTInfo ({TST_INFO})"
            ));
        }
        let content = parts.content.econtent.as_ref();
        let content = content.filter(|content| content.tag() == Tag::OctetString);
        let content = content
            .ok_or("cms: syntax error: invalid signed data: it has no content")?
            .value()
            .to_vec();
        let certificates = Certificate::parse_all(parts.certificates).map_err(|error| {
            format!("cms: syntax error: failed to parse X.509 certificates from signed data. Only X.509 certificates are supported: {error}")
        })?;
        if certificates.len() > MOST || parts.signers.len() > MOST {
            return Err(format!("it has more than {MOST} certificates or signers"));
        }
        Ok(Self { content, certificates, signers: parts.signers })
    }

    /// The time that it names, where it is about these bytes.
    ///
    /// # Errors
    /// When it is about others, or names none.
    pub(crate) fn time_of(&self, message: &[u8]) -> Result<Interval, String> {
        let info = Info::read(&self.content)
            .map_err(|error| format!("cannot unmarshal TSTInfo from timestamp token: {error}"))?;
        info.time_of(message)
    }

    /// The certificates of who signed it, from the signer's to one that is trusted and signed itself,
    /// all valid at a time. One signer whom that is true of is enough.
    ///
    /// # Errors
    /// Why it is not true of the last of them.
    pub(crate) fn prove(
        &self,
        trusted: &[Certificate],
        time: Moment,
    ) -> Result<Vec<Certificate>, String> {
        let mut last = "signerInfo not found".to_owned();
        for signer in &self.signers {
            match self.prove_signer(signer, trusted, time) {
                Ok(chain) => return Ok(chain),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn prove_signer(
        &self,
        signer: &SignerInfo,
        trusted: &[Certificate],
        time: Moment,
    ) -> Result<Vec<Certificate>, String> {
        let certificate = self.signing_certificate(signer)?;
        let failure = |error: String| format!("cms verification failure: {error}");
        if signer.version != CmsVersion::V1 {
            return Err(failure(
                "invalid signer info version: only version 1 is supported".to_owned(),
            ));
        }
        let chain = build(certificate, &self.certificates, trusted, time).map_err(failure)?;
        self.check_signature(signer, certificate).map_err(failure)?;
        self.check_attributes(signer, &chain).map_err(failure)?;
        Ok(chain)
    }

    /// The certificate that the signed attributes name, by its hash (RFC 5816).
    fn signing_certificate(&self, signer: &SignerInfo) -> Result<&Certificate, String> {
        let named = attribute(signer, SIGNING_CERTIFICATE).map_err(|error| {
            format!("failed to get SigningCertificateV2 from signed attributes: {error}")
        })?;
        let (hash, digest) = certificate_hash(&named)
            .map_err(|error| format!("malformed SigningCertificateV2: {error}"))?;
        let hash = Hash::of(hash)
            .ok_or("unsupported certificate hash algorithm in SigningCertificateV2 attribute")?;
        let SignerIdentifier::IssuerAndSerialNumber(id) = &signer.sid else {
            return Err("the signer is not named by issuer and serial number".to_owned());
        };
        let issuer = id.issuer.to_der().map_err(|error| error.to_string())?;
        let serial = id.serial_number.as_bytes();
        let found = self
            .certificates
            .iter()
            .find(|one| one.issuer_der == issuer && one.serial == serial)
            .ok_or("signing certificate not found in the timestamp token")?;
        if hash.digest(found.der()).as_deref() != Some(digest.as_slice()) {
            return Err(
                "signing certificate hash does not match CertHash in signed attribute".to_owned()
            );
        }
        Ok(found)
    }

    fn check_signature(
        &self,
        signer: &SignerInfo,
        certificate: &Certificate,
    ) -> Result<(), String> {
        let hash = Hash::of(signer.digest_alg.oid);
        let algorithm = SignatureAlgorithm::of_signer(hash, &signer.signature_algorithm);
        if algorithm == SignatureAlgorithm::Unknown {
            return Err("unknown signature algorithm".to_owned());
        }
        // What is signed are the attributes, which name the digest of the content.
        let attributes = signer.signed_attrs.as_ref().ok_or("missing signed attributes")?;
        let attributes = attributes.to_der().map_err(|error| error.to_string())?;
        certificate.check_signature_of(&algorithm, &attributes, signer.signature.as_bytes())
    }

    fn check_attributes(&self, signer: &SignerInfo, chain: &[Certificate]) -> Result<(), String> {
        let type_ = attribute(signer, CONTENT_TYPE)
            .map_err(|error| format!("invalid content type: {error}"))?;
        if ObjectIdentifier::from_der(&type_) != Ok(TST_INFO) {
            return Err("mismatch content type".to_owned());
        }
        let digest = attribute(signer, MESSAGE_DIGEST)
            .map_err(|error| format!("invalid message digest: {error}"))?;
        let digest = OctetStringRef::from_der(&digest).map_err(|error| error.to_string())?;
        let actual = Hash::of(signer.digest_alg.oid).and_then(|hash| hash.digest(&self.content));
        if actual.ok_or("unsupported digest algorithm")? != digest.as_bytes() {
            return Err("mismatch message digest".to_owned());
        }
        let Ok(time) = attribute(signer, SIGNING_TIME) else { return Ok(()) };
        let time = signing_time(&time).ok_or("invalid signing time")?;
        if chain.iter().all(|certificate| certificate.is_valid_at(time)) {
            return Ok(());
        }
        Err(format!("signing time, {}, is outside certificate's validity period", time.rfc3339()))
    }
}

/// SignedData (RFC 5652, section 5.1). Its sets are lists here: some authorities put a certificate into
/// one twice, or in another order than DER has.
struct Parts<'a> {
    version: &'a [u8],
    content: EncapsulatedContentInfo,
    /// One behind the other.
    certificates: &'a [u8],
    signers: Vec<SignerInfo>,
}

impl<'a> Parts<'a> {
    fn read(der: &'a [u8]) -> Result<Self, x509_cert::der::Error> {
        let body = AnyRef::from_der(der)?;
        body.tag().assert_eq(Tag::Sequence)?;
        let mut reader = SliceReader::new(body.value())?;
        let version: AnyRef<'_> = reader.decode()?;
        version.tag().assert_eq(Tag::Integer)?;
        let _digests: AnyRef<'_> = reader.decode()?;
        let content: EncapsulatedContentInfo = reader.decode()?;
        let mut certificates: &[u8] = &[];
        let mut part: AnyRef<'_> = reader.decode()?;
        if u8::from(part.tag()) == CERTIFICATES {
            certificates = part.value();
            part = reader.decode()?;
        }
        if u8::from(part.tag()) == LISTS {
            part = reader.decode()?;
        }
        part.tag().assert_eq(Tag::Set)?;
        reader.finish(())?;
        let mut set = SliceReader::new(part.value())?;
        let mut signers = Vec::new();
        while !set.is_finished() {
            signers.push(set.decode()?);
        }
        Ok(Self { version: version.value(), content, certificates, signers })
    }
}

/// The one value of a signed attribute, in DER.
fn attribute(signer: &SignerInfo, id: ObjectIdentifier) -> Result<Vec<u8>, String> {
    let mut found =
        signer.signed_attrs.iter().flat_map(|all| all.iter()).filter(|one| one.oid == id);
    let (Some(first), None) = (found.next(), found.next()) else {
        return Err("attribute not found".to_owned());
    };
    match first.values.iter().collect::<Vec<_>>().as_slice() {
        [value] => value.to_der().map_err(|error| error.to_string()),
        _ => Err("the attribute has not one value".to_owned()),
    }
}

/// The hash of the first certificate of SigningCertificateV2 (RFC 5035, section 3): of SHA-256 where
/// nothing is said.
fn certificate_hash(der: &[u8]) -> Result<(ObjectIdentifier, Vec<u8>), x509_cert::der::Error> {
    let list = AnyRef::from_der(der)?;
    let mut list = SliceReader::new(list.value())?;
    let certificates: AnyRef<'_> = list.decode()?;
    let mut certificates = SliceReader::new(certificates.value())?;
    let first: AnyRef<'_> = certificates.decode()?;
    let mut first = SliceReader::new(first.value())?;
    let mut hash = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
    if first.peek_tag()? == Tag::Sequence {
        hash = first.decode::<AlgorithmIdentifierRef<'_>>()?.oid;
    }
    let digest: OctetStringRef<'_> = first.decode()?;
    Ok((hash, digest.as_bytes().to_vec()))
}

fn signing_time(der: &[u8]) -> Option<Moment> {
    let time = AnyRef::from_der(der).ok()?;
    if time.tag() == Tag::GeneralizedTime {
        return Moment::parse_generalized(time.value());
    }
    let seconds = UtcTime::from_der(der).ok()?.to_unix_duration().as_secs();
    Some(Moment::from_unix(i64::try_from(seconds).ok()?))
}
