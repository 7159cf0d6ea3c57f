//! A private Sigstore: an authority that certifies whom it is told to, and a log of certificates.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};
use sigstore_verify::crypto::sha256;
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
};

use super::{Signer, log::Log};

/// Who issued the identity (Fulcio's OID list, 1.3.6.1.4.1.57264.1.8).
const ISSUER: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 8];
/// Signed certificate timestamps (RFC 6962, section 3.3).
const TIMESTAMPS: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

/// An authority and its log.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) certificate_log: Arc<Signer>,
}

/// What a certificate says.
pub(crate) struct Wish {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// The years it begins and ends with.
    pub(crate) years: (i32, i32),
    /// Whether it is for signing code.
    pub(crate) may_sign: bool,
    /// Whether it is in the log.
    pub(crate) is_logged: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            subject: "dev@example.com".into(),
            issuer: "https://id.example.com".into(),
            years: (2020, 2100),
            may_sign: true,
            is_logged: true,
        }
    }
}

/// A certificate and its key.
pub(crate) struct Certified {
    pub(crate) pem: String,
    pub(crate) key: Signer,
}

impl Certified {
    /// One that nobody vouches for but itself.
    pub(crate) fn self_signed(wish: &Wish) -> Self {
        let pair = KeyPair::generate().unwrap();
        Self { pem: leaf(wish).self_signed(&pair).unwrap().pem(), key: signer(&pair) }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(authority("authority", (2000, 2200)), key);
        Self { issuer: issuer.unwrap(), certificate_log: Arc::new(Signer::new("p256")) }
    }

    /// An authority that this one vouches for, with the same log.
    pub(crate) fn intermediate(&self, years: (i32, i32)) -> Self {
        self.intermediate_for(years, vec![ExtendedKeyUsagePurpose::CodeSigning])
    }

    /// The same for these purposes.
    pub(crate) fn intermediate_for(
        &self,
        years: (i32, i32),
        purposes: Vec<ExtendedKeyUsagePurpose>,
    ) -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), authority("between", years));
        params.extended_key_usages = purposes;
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer);
        Self { issuer: issuer.unwrap(), certificate_log: Arc::clone(&self.certificate_log) }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A `trusted_root.json` of this authority and a log.
    pub(crate) fn trusted_root(&self, log: &Log) -> Value {
        let of_log = |key: &Signer| {
            json!({
                "baseUrl": "https://log.example.com", "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": STANDARD.encode(key.spki()), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": {"start": "2020-01-01T00:00:00Z"}},
                "logId": {"keyId": STANDARD.encode(sha256(&key.spki()).as_bytes())},
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [of_log(&log.key)],
            "ctlogs": [of_log(&self.certificate_log)],
            "certificateAuthorities": [{
                "subject": {"organization": "o", "commonName": "c"}, "uri": "https://ca.example.com",
                "certChain": {"certificates": [{"rawBytes": STANDARD.encode(self.issuer.der())}]},
                "validFor": {"start": "2020-01-01T00:00:00Z"},
            }],
        })
    }

    pub(crate) fn certify(&self, wish: &Wish) -> Certified {
        let pair = KeyPair::generate().unwrap();
        let mut params = leaf(wish);
        if wish.is_logged {
            let unlogged = params.signed_by(&pair, &self.issuer).unwrap();
            let timestamps = self.timestamps(unlogged.der());
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(TIMESTAMPS, timestamps));
        }
        let certificate = params.signed_by(&pair, &self.issuer).unwrap();
        Certified { pem: certificate.pem(), key: signer(&pair) }
    }

    /// The log's list of one promise about a certificate (RFC 6962, sections 3.2 and 3.3).
    fn timestamps(&self, unlogged: &[u8]) -> Vec<u8> {
        let tbs = Certificate::from_der(unlogged).unwrap().tbs_certificate.to_der().unwrap();
        let issuer = Certificate::from_der(self.issuer.der()).unwrap();
        let issuer = issuer.tbs_certificate.subject_public_key_info.to_der().unwrap();
        let time = (jiff::Timestamp::now().as_millisecond() - 1000).to_be_bytes();
        let length = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let mut signed = vec![0, 0];
        signed.extend(time);
        signed.extend([0, 1]);
        signed.extend(sha256(&issuer).as_bytes());
        signed.extend(&length[1..]);
        signed.extend(&tbs);
        signed.extend([0, 0]);
        let signature = self.certificate_log.sign(&signed);
        let mut promise = vec![0];
        promise.extend(sha256(&self.certificate_log.spki()).as_bytes());
        promise.extend(time);
        promise.extend([0, 0, 4, 3]);
        promise.extend(of_length(&signature));
        let list = of_length(&of_length(&promise));
        let length = u8::try_from(list.len()).unwrap();
        let head = if length < 0x80 { vec![4, length] } else { vec![4, 0x81, length] };
        [head, list].concat()
    }
}

/// Bytes behind their length, as TLS writes it.
fn of_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

/// What an authority's certificate says.
fn authority(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

/// What a signer's certificate says.
fn leaf(wish: &Wish) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.serial_number = Some(vec![1, 2, 3].into());
    params.not_before = date_time_ymd(wish.years.0, 1, 1);
    params.not_after = date_time_ymd(wish.years.1, 1, 1);
    let subject = wish.subject.clone().try_into().unwrap();
    let is_url = wish.subject.contains("://");
    let subject = if is_url { SanType::URI(subject) } else { SanType::Rfc822Name(subject) };
    params.subject_alt_names = vec![subject];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match wish.may_sign {
        true => ExtendedKeyUsagePurpose::CodeSigning,
        false => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    let issuer = [&[0x0c, u8::try_from(wish.issuer.len()).unwrap()], wish.issuer.as_bytes()];
    params.custom_extensions = vec![CustomExtension::from_oid_content(ISSUER, issuer.concat())];
    params
}

fn signer(pair: &KeyPair) -> Signer {
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pair.serialize_der());
    Signer::Ecdsa(key.unwrap())
}
