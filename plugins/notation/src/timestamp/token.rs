//! [`Token`]: a timestamp as CMS signed data (RFC 5652), and whose it is.

use cms::{
    cert::CertificateChoices,
    content_info::{CmsVersion, ContentInfo},
    signed_data::{SignedData, SignerIdentifier, SignerInfo},
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
/// The most certificates and signers of a token.
const MOST: usize = 32;

/// A token that was read and not yet proven.
pub(crate) struct Token {
    data: SignedData,
    /// What is signed.
    content: Vec<u8>,
    certificates: Vec<Certificate>,
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, String> {
        let malformed = |error: x509_cert::der::Error| format!("invalid signed data: {error}");
        let info = ContentInfo::from_der(der).map_err(malformed)?;
        if info.content_type != SIGNED_DATA {
            return Err("not signed data".to_owned());
        }
        let data: SignedData = info.content.decode_as().map_err(malformed)?;
        if data.version != CmsVersion::V3 {
            return Err("unsupported signed data version: want 3".to_owned());
        }
        let type_ = data.encap_content_info.econtent_type;
        if type_ != TST_INFO {
            return Err(format!(
                "unexpected content type: {type_}. Expected to be id-ct-TSTInfo ({TST_INFO})"
            ));
        }
        let content = data.encap_content_info.econtent.as_ref();
        let content = content.filter(|content| content.tag() == Tag::OctetString);
        let content = content.ok_or("invalid signed data: it has no content")?.value().to_vec();
        let certificates = match &data.certificates {
            Some(certificates) => {
                certificates.0.iter().map(certificate).collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        };
        if certificates.len() > MOST || data.signer_infos.0.len() > MOST {
            return Err(format!("it has more than {MOST} certificates or signers"));
        }
        Ok(Self { data, content, certificates })
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
        for signer in self.data.signer_infos.0.iter() {
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
        if signer.version != CmsVersion::V1 {
            return Err("invalid signer info version: only version 1 is supported".to_owned());
        }
        let chain = build(certificate, &self.certificates, trusted, time)?;
        self.check_signature(signer, certificate)?;
        self.check_attributes(signer, &chain)?;
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

fn certificate(choice: &CertificateChoices) -> Result<Certificate, String> {
    let refused = |error: String| {
        format!(
            "failed to parse X.509 certificates from signed data. Only X.509 certificates are supported: {error}"
        )
    };
    match choice {
        CertificateChoices::Certificate(certificate) => {
            let der = certificate.to_der().map_err(|error| refused(error.to_string()))?;
            Certificate::parse(&der).map_err(|error| refused(error.to_string()))
        }
        CertificateChoices::Other(_) => Err(refused("another format".to_owned())),
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
