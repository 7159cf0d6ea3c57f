//! The online status of a certificate (RFC 6960).

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ratify_core::{FetchRequest, UrlSource};
use x509_cert::{
    der::{
        Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _,
        asn1::{AnyRef, Null, ObjectIdentifier, OctetString},
    },
    serial_number::SerialNumber,
    spki::AlgorithmIdentifierOwned,
};
use x509_ocsp::{
    CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request, ResponseData,
    SingleResponse, TbsRequest, Version,
};

use super::{Revocation, Status, Trouble, is_http, list::generalized};
use crate::{
    certificate::{Certificate, SignatureAlgorithm},
    moment::Moment,
};

/// The longest answer, as in v1.
const MOST_BYTES: u64 = 20_480;
/// How long one responder may take, as in v1.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most responders that a certificate may name.
const MOST_SERVERS: usize = 10;
/// A request that is longer in a URL is sent as a body (RFC 6960, appendix A.1).
const MOST_IN_URL: usize = 255;
/// How far the clock of a responder may be ahead of ours, in nanoseconds: five minutes.
pub(super) const MOST_AHEAD: i64 = 300 * 1_000_000_000;

/// The tag of the certificates of an answer.
const CERTIFICATES: u8 = 0xa0;

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const BASIC_RESPONSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");

impl Revocation<'_> {
    /// Asks one responder after another, until one knows.
    pub(super) async fn of_responders(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        signing_time: Option<Moment>,
    ) -> Status {
        let mut last = Trouble::new("it names no responder");
        let mut is_passing = false;
        for server in certificate.ocsp_servers.iter().take(MOST_SERVERS) {
            let answer = self.of_responder(server, certificate, issuer, signing_time).await;
            match answer {
                Ok(status) => return status,
                Err(trouble) => {
                    is_passing |= trouble.is_passing;
                    let server = ratify_core::capped_line(server, 200);
                    last = Trouble::new(format!("OCSP at {server}: {}", trouble.text));
                }
            }
        }
        Status::Unknown(Trouble { is_passing, ..last })
    }

    /// What a responder says. That it does not know the certificate is an answer, too.
    async fn of_responder(
        &self,
        server: &str,
        certificate: &Certificate,
        issuer: &Certificate,
        signing_time: Option<Moment>,
    ) -> Result<Status, Trouble> {
        let wrong = "error checking revocation status via OCSP: ";
        if !is_http(server) {
            return Err(Trouble::new(format!("{wrong}OCSPServer protocol is not supported")));
        }
        let id = certificate_id(certificate, issuer)
            .map_err(|error| Trouble::new(format!("{wrong}{error}")))?;
        let request =
            fetch_request(server, &id).map_err(|error| Trouble::new(format!("{wrong}{error}")))?;
        let answer = self.host.fetch(&request).await;
        let answer = answer.map_err(|error| Trouble::of_host(wrong, &error))?;
        let single = proven(&answer, &id, issuer, self.now)
            .map_err(|error| Trouble { text: format!("{wrong}{}", error.text), ..error })?;
        self.read(&single, signing_time).map_err(|error| Trouble::new(format!("{wrong}{error}")))
    }

    fn read(
        &self,
        single: &SingleResponse,
        signing_time: Option<Moment>,
    ) -> Result<Status, String> {
        let moment = |time: &x509_ocsp::OcspGeneralizedTime| {
            let seconds = time.0.to_unix_duration().as_secs();
            Moment::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX))
        };
        // Without a next update there is always a newer answer, which v1 takes for one that has ended.
        let end = single.next_update.as_ref().map(moment).filter(|end| self.now <= *end);
        let end = end.ok_or("expired OCSP response")?;
        if moment(&single.this_update) > self.now.plus_nanos(MOST_AHEAD) {
            return Err("OCSP response of a time that is not yet".to_owned());
        }
        let extensions = single.single_extensions.as_deref().unwrap_or_default();
        match &single.cert_status {
            CertStatus::Good(_) => Ok(Status::Good(end)),
            CertStatus::Revoked(_) => {
                let invalid_from = extensions
                    .iter()
                    .find(|extension| extension.extn_id == INVALIDITY_DATE)
                    .and_then(|extension| generalized(extension.extn_value.as_bytes()));
                match (signing_time, invalid_from) {
                    (Some(signing), Some(invalid)) if signing < invalid => Ok(Status::Good(end)),
                    _ => Ok(Status::Revoked),
                }
            }
            CertStatus::Unknown(_) => {
                Ok(Status::Unknown(Trouble::new("certificate has unknown status via OCSP")))
            }
        }
    }
}

/// What a certificate is called: by hashes of its issuer's name and key. SHA-1 is what all responders
/// know (RFC 5019, section 2.1.1), and nothing rests on it.
fn certificate_id(
    certificate: &Certificate,
    issuer: &Certificate,
) -> Result<CertId, x509_cert::der::Error> {
    let hash = |bytes: &[u8]| {
        OctetString::new(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
    };
    Ok(CertId {
        hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(Null.into()) },
        issuer_name_hash: hash(&issuer.subject_der)?,
        issuer_key_hash: hash(&issuer.key.bits)?,
        serial_number: SerialNumber::new(&certificate.serial)?,
    })
}

fn fetch_request(server: &str, id: &CertId) -> Result<FetchRequest, x509_cert::der::Error> {
    let request = Request { req_cert: id.clone(), single_request_extensions: None };
    let request = OcspRequest {
        tbs_request: TbsRequest {
            version: Version::V1,
            requestor_name: None,
            request_list: vec![request],
            request_extensions: None,
        },
        optional_signature: None,
    };
    let request = request.to_der()?;
    let in_url = STANDARD.encode(&request);
    let in_url = in_url.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let of = |url: &str| FetchRequest::new(url, UrlSource::Document, MOST_BYTES, TIMEOUT);
    if in_url.len() < MOST_IN_URL {
        let url = format!("{}/{in_url}", server.trim_end_matches('/'));
        return Ok(of(&url));
    }
    Ok(of(server).with_body("application/ocsp-request", request))
}

/// The answer about a certificate, signed by its issuer or by whom it named for that.
fn proven(
    answer: &Bytes,
    id: &CertId,
    issuer: &Certificate,
    now: Moment,
) -> Result<SingleResponse, Trouble> {
    let malformed = |error: x509_cert::der::Error| Trouble::new(format!("malformed: {error}"));
    let answer = OcspResponse::from_der(answer).map_err(malformed)?;
    if answer.response_status != OcspResponseStatus::Successful {
        let passes = matches!(
            answer.response_status,
            OcspResponseStatus::TryLater | OcspResponseStatus::InternalError
        );
        let text = format!("OCSP {:?}", answer.response_status);
        return Err(Trouble { text, is_passing: passes });
    }
    let body = answer.response_bytes.filter(|body| body.response_type == BASIC_RESPONSE);
    let body = body.ok_or_else(|| Trouble::new("it is no basic response"))?;
    let signed = Signed::read(body.response.as_bytes()).map_err(malformed)?;
    signed.prove(issuer, now).map_err(Trouble::new)?;
    let data = ResponseData::from_der(signed.data).map_err(malformed)?;
    let of_id = data.responses.into_iter().find(|single| single.cert_id == *id);
    let single =
        of_id.ok_or_else(|| Trouble::new("no response matching the supplied certificate"))?;
    let extensions = single.single_extensions.as_deref().unwrap_or_default();
    if extensions.iter().any(|one| one.critical && one.extn_id != INVALIDITY_DATE) {
        return Err(Trouble::new("unsupported critical extension"));
    }
    Ok(single)
}

/// A basic response as it lies in the bytes.
struct Signed<'a> {
    data: &'a [u8],
    algorithm: SignatureAlgorithm,
    signature: &'a [u8],
    /// The first of the certificates, if there are any: the responder's.
    certificate: Option<Certificate>,
}

impl<'a> Signed<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, x509_cert::der::Error> {
        AnyRef::from_der(bytes)?.sequence(|reader| {
            let data = reader.tlv_bytes()?;
            let algorithm: AlgorithmIdentifierOwned = reader.decode()?;
            let signature: AnyRef<'_> = reader.decode()?;
            signature.tag().assert_eq(Tag::BitString)?;
            let Some((0, signature)) = signature.value().split_first() else {
                return Err(Tag::BitString.value_error());
            };
            let mut certificate = None;
            if !reader.is_finished() {
                let explicit: AnyRef<'_> = reader.decode()?;
                if u8::from(explicit.tag()) != CERTIFICATES {
                    return Err(explicit.tag().value_error());
                }
                let list = AnyRef::from_der(explicit.value())?;
                let mut list = SliceReader::new(list.value())?;
                let first = list.tlv_bytes()?;
                certificate =
                    Some(Certificate::parse(first).map_err(|_| Tag::Sequence.value_error())?);
            }
            let algorithm = SignatureAlgorithm::of(&algorithm);
            Ok(Self { data, algorithm, signature, certificate })
        })
    }

    /// Whether the issuer signed it, or somebody whom the issuer named to sign answers (RFC 6960,
    /// section 4.2.2.2).
    fn prove(&self, issuer: &Certificate, now: Moment) -> Result<(), String> {
        let bad = |error: String| format!("bad OCSP signature: {error}");
        let signer = match &self.certificate {
            None => issuer,
            Some(own) if own == issuer => issuer,
            Some(named) => {
                named.check_signature_from(issuer).map_err(bad)?;
                let is_for_that =
                    named.extended_usage().is_some_and(|usage| usage.contains(&OCSP_SIGNING));
                if !is_for_that || named.issuer_der != issuer.subject_der {
                    return Err(bad("the responder's certificate is not for that".to_owned()));
                }
                if !named.is_valid_at(now) {
                    return Err(bad("the responder's certificate is not valid now".to_owned()));
                }
                named
            }
        };
        signer.check_signature_of(&self.algorithm, self.data, self.signature).map_err(bad)
    }
}
