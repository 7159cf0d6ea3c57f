//! An authority that says what time it is (RFC 3161), by the real openssl.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::executor::testing::openssl::{has_openssl, openssl, timestamp_reply};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

/// A timestamp authority: its own certificate and its root's.
pub(crate) struct Clock {
    folder: tempfile::TempDir,
    certificates: Vec<Vec<u8>>,
}

impl Clock {
    /// `None` where there is no openssl.
    pub(crate) fn new() -> Option<Self> {
        if !has_openssl() {
            return None;
        }
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "clocks");
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "clock");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // The purpose timeStamping alone, which is critical (RFC 3161, section 2.3).
        let purposes = vec![0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];
        let mut purpose = CustomExtension::from_oid_content(&[2, 5, 29, 37], purposes);
        purpose.set_criticality(true);
        params.custom_extensions.push(purpose);
        let signer = params.signed_by(&key, &root).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("signer.pem", &signer.pem());
        write("key.pem", &key.serialize_pem());
        write("chain.pem", &root.pem());
        Some(Self { folder, certificates: vec![signer.der().to_vec(), root.der().to_vec()] })
    }

    /// The entry of a `trusted_root.json`.
    pub(crate) fn trusted(&self) -> Value {
        let certificates = self.certificates.iter();
        let certificates: Vec<Value> =
            certificates.map(|der| json!({"rawBytes": STANDARD.encode(der)})).collect();
        json!([{
            "subject": {"organization": "o", "commonName": "c"}, "uri": "https://tsa.example.com",
            "certChain": {"certificates": certificates},
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        }])
    }

    /// What the authority answers about a signature. Its certificates, which nobody signs there and the
    /// root of trust has, are not in it.
    pub(crate) fn stamp(&self, signature: &[u8]) -> Vec<u8> {
        let folder = self.folder.path();
        fs::write(folder.join("signature"), signature).unwrap();
        openssl(folder, "ts -query -data signature -sha256 -out query");
        let query = fs::read(folder.join("query")).unwrap();
        timestamp_reply(folder, folder, "", &query)
    }
}
