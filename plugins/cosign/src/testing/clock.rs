//! An authority that says what time it is (RFC 3161), by the real openssl.

use std::{fs, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
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
        write(
            "ts.cnf",
            "[t]\nserial = serial\nsigner_cert = signer.pem\ncerts = chain.pem\nsigner_key = key.pem\n\
             signer_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = sha256\ness_cert_id_alg = sha256\n",
        );
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
        let file = |name: &str| self.folder.path().join(name);
        let run = |arguments: &[&str]| {
            let mut openssl = Command::new("openssl");
            let output = openssl.current_dir(&self.folder).args(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        fs::write(file("signature"), signature).unwrap();
        run(&["ts", "-query", "-data", "signature", "-sha256", "-out", "query"]);
        run(&[
            "ts",
            "-reply",
            "-config",
            "ts.cnf",
            "-section",
            "t",
            "-queryfile",
            "query",
            "-out",
            "reply",
        ]);
        fs::read(file("reply")).unwrap()
    }
}

fn has_openssl() -> bool {
    let is_there = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join("openssl").is_file())
    });
    assert!(is_there || std::env::var_os("CI").is_none(), "openssl is missing, and this is CI");
    if !is_there {
        eprintln!("SKIPPED: openssl is missing");
    }
    is_there
}
