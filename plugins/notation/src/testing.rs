//! Certificates, keys and envelopes for unit tests. Real signatures are made by the real
//! programs, in the controller's suite.

use ratify_core::executor::testing::{MemoryHost, openssl::timestamp_reply};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::certificate::Certificate;

pub(crate) use ratify_core::executor::testing::openssl::{has_openssl, openssl};

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

/// Somebody who issues certificates.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    name: String,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

/// What every certificate here is made of.
pub(crate) fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, "US");
    subject.push(DnType::StateOrProvinceName, "WA");
    subject.push(DnType::OrganizationName, "Lab");
    subject.push(DnType::CommonName, name);
    parameters.distinguished_name = subject;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters
}

fn of_authority(name: &str) -> CertificateParams {
    let mut parameters = parameters(name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Issued {
    pub(crate) fn self_signed(name: &str) -> Self {
        let key = key();
        let made = parameters(name).self_signed(&key).unwrap();
        Self { certificate: Certificate::parse(made.der()).unwrap(), key }
    }
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let key = key();
        let parameters = of_authority(name);
        let certificate = Certificate::parse(parameters.self_signed(&key).unwrap().der()).unwrap();
        Self { certificate, name: name.to_owned(), issuer: Issuer::new(parameters, key) }
    }

    pub(crate) fn authority(&self, name: &str) -> Self {
        self.issue_authority(name, |_| ())
    }

    pub(crate) fn issue_authority(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut parameters = of_authority(name);
        change(&mut parameters);
        let key = key();
        let made = parameters.signed_by(&key, &self.issuer).unwrap();
        let certificate = Certificate::parse(made.der()).unwrap();
        Self { certificate, name: name.to_owned(), issuer: Issuer::new(parameters, key) }
    }

    /// A certificate of this authority for the key and name of another one.
    pub(crate) fn cross(
        &self,
        other: &Self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificate {
        let mut parameters = of_authority(&other.name);
        change(&mut parameters);
        let made = parameters.signed_by(other.issuer.key(), &self.issuer).unwrap();
        Certificate::parse(made.der()).unwrap()
    }

    pub(crate) fn leaf(&self, name: &str) -> Issued {
        self.issue(name, |_| ())
    }

    pub(crate) fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.issue_for(name, key(), change)
    }

    pub(crate) fn issue_for(
        &self,
        name: &str,
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let mut parameters = parameters(name);
        change(&mut parameters);
        let made = parameters.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: Certificate::parse(made.der()).unwrap(), key }
    }
}

/// Certificates in PEM.
pub(crate) fn pem_of(certificates: &[&Certificate]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let block = |one: &&Certificate| {
        let encoded = STANDARD.encode(one.der());
        format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n")
    };
    certificates.iter().map(block).collect()
}

/// A list that is the newest throughout May 2024.
pub(crate) fn list() -> CertificateRevocationListParams {
    CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 5, 1),
        next_update: date_time_ymd(2024, 6, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

/// An entry of a list.
pub(crate) fn revoked(certificate: &Certificate) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(&certificate.serial),
        revocation_time: date_time_ymd(2024, 5, 2),
        reason_code: None,
        invalidity_date: None,
    }
}

/// A list that an authority signed.
pub(crate) fn signed_list(list: CertificateRevocationListParams, by: &Authority) -> bytes::Bytes {
    list.signed_by(&by.issuer).unwrap().der().to_vec().into()
}

/// The extension of who says what time it is; the purpose after its last number.
pub(crate) fn purpose(last: u8, is_critical: bool) -> CustomExtension {
    let purposes = vec![0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, last];
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], purposes);
    extension.set_criticality(is_critical);
    extension
}

pub(crate) fn for_timestamps(of: &mut CertificateParams) {
    of.custom_extensions.push(purpose(8, true));
}

/// An authority in a folder, with these certificates in what it answers.
pub(crate) fn timestamp_authority(signer: &Issued, chain: &[&Certificate]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("signer.pem", pem_of(&[&signer.certificate]));
    write("chain.pem", pem_of(chain));
    write("key.pem", signer.key.serialize_pem());
    folder
}

/// A token of `openssl ts` over a message, with these certificates in it.
pub(crate) fn token(signer: &Issued, chain: &[&Certificate], message: &[u8]) -> Vec<u8> {
    let authority = timestamp_authority(signer, chain);
    let folder = authority.path();
    std::fs::write(folder.join("message"), message).unwrap();
    openssl(folder, "ts -query -data message -sha256 -cert -out query");
    let query = std::fs::read(folder.join("query")).unwrap();
    timestamp_reply(folder, folder, "secs:1, millisecs:2, microsecs:3", &query);
    openssl(folder, "ts -reply -in reply -token_out -out token");
    std::fs::read(folder.join("token")).unwrap()
}

/// A host of whose provider `trusted` these are the certificates.
pub(crate) fn host_trusting(certificates: &[&Certificate]) -> MemoryHost {
    MemoryHost::default().with_certificates("trusted", certificates.iter().map(|one| one.der()))
}

/// A time within the validity of all certificates here.
pub(crate) const SIGNED_AT: &str = "2024-05-06T07:08:09Z";
/// The payload of a signature of nothing in particular.
pub(crate) const PAYLOAD: &str = r#"{"targetArtifact":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:abababababababababababababababababababababababababababababababab","size":7}}"#;

/// The headers of a usual JWS envelope.
pub(crate) fn headers() -> serde_json::Value {
    serde_json::json!({
        "alg": "ES256",
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": ["io.cncf.notary.signingScheme"],
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": SIGNED_AT,
    })
}

/// A JWS envelope. Whoever signs has a key of P-256.
pub(crate) fn jws(
    signer: &KeyPair,
    chain: &[&Certificate],
    headers: &serde_json::Value,
    payload: &str,
) -> Vec<u8> {
    jws_of_text(signer, chain, &headers.to_string(), payload)
}

/// The same, with the text of the headers.
pub(crate) fn jws_of_text(
    signer: &KeyPair,
    chain: &[&Certificate],
    headers: &str,
    payload: &str,
) -> Vec<u8> {
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    let protected = URL_SAFE_NO_PAD.encode(headers);
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let signature = sign(signer, format!("{protected}.{payload}").as_bytes());
    let chain: Vec<String> = chain.iter().map(|one| STANDARD.encode(one.der())).collect();
    serde_json::json!({
        "payload": payload,
        "protected": protected,
        "header": {"x5c": chain, "io.cncf.notary.signingAgent": "test"},
        "signature": URL_SAFE_NO_PAD.encode(signature),
    })
    .to_string()
    .into_bytes()
}

/// A COSE envelope with these signed headers and the usual algorithm and content type.
pub(crate) fn cose(
    signer: &KeyPair,
    chain: &[&Certificate],
    critical: &[&str],
    headers: Vec<(&str, coset::cbor::Value)>,
) -> coset::CoseSign1 {
    use coset::{CoseSign1Builder, HeaderBuilder, RegisteredLabelWithPrivate, cbor::Value, iana};
    let mut protected = HeaderBuilder::new()
        .algorithm(iana::Algorithm::ES256)
        .content_type("application/vnd.cncf.notary.payload.v1+json".to_owned());
    for label in critical {
        let label = RegisteredLabelWithPrivate::Text((*label).to_owned());
        protected = protected.add_critical_label(label);
    }
    for (label, value) in headers {
        protected = protected.text_value(label.to_owned(), value);
    }
    let chain = chain.iter().map(|one| Value::Bytes(one.der().to_vec())).collect();
    CoseSign1Builder::new()
        .protected(protected.build())
        .unprotected(HeaderBuilder::new().value(33, Value::Array(chain)).build())
        .payload(PAYLOAD.as_bytes().to_vec())
        .create_signature(&[], |message| sign(signer, message))
        .build()
}

/// A time as COSE has it.
pub(crate) fn epoch(seconds: i64) -> coset::cbor::Value {
    coset::cbor::Value::Tag(1, Box::new(coset::cbor::Value::Integer(seconds.into())))
}

/// A signature of two numbers of fixed length.
pub(crate) fn sign(signer: &KeyPair, message: &[u8]) -> Vec<u8> {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = EcdsaKeyPair::from_pkcs8(algorithm, &signer.serialize_der()).unwrap();
    let random = aws_lc_rs::rand::SystemRandom::new();
    key.sign(&random, message).unwrap().as_ref().to_vec()
}
