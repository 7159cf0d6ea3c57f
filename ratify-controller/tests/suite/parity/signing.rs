//! Signatures of the real `notation`: keys with certificates of authorities made here, images that are
//! signed with them, and envelopes that are put under other images.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CrlDistributionPoint, DistinguishedName,
    DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_RSA_SHA256, RsaKeySize,
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    lab::Lab,
    layout::{Attached, Layout},
};

/// The type of a signature of the Notary Project.
pub(super) const SIGNATURE: &str = "application/vnd.cncf.notary.signature";
pub(super) const JWS: &str = "application/jose+json";
pub(super) const COSE: &str = "application/cose";

/// The kinds of key that may sign, and a name for each.
pub(super) const KEYS: [&str; 6] = ["rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"];

/// The real `notation` with a configuration of its own.
pub(super) struct Signer<'a> {
    lab: &'a Lab,
    folder: PathBuf,
}

impl<'a> Signer<'a> {
    /// Makes a key of each kind, one whose certificate names a list of revoked ones that nobody serves,
    /// and one whose certificate signed itself.
    pub(super) fn new(lab: &'a Lab) -> Self {
        let signer = Self { lab, folder: lab.notary() };
        for name in KEYS {
            signer.issue(name, |_| ());
        }
        signer.issue("revocable", |leaf| {
            let uris = vec!["http://127.0.0.1:1/revoked.crl".to_owned()];
            leaf.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        });
        let key = key("p256");
        let alone = parameters("alone").self_signed(&key).unwrap();
        signer.keep("alone", &key, &[alone.pem()], &alone.pem());
        signer.list_keys();
        signer
    }

    /// A key whose certificate is of an authority between it and a root.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let authority = |name: &str| {
            let mut authority = parameters(name);
            authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            authority
        };
        let root = CertifiedIssuer::self_signed(authority("root"), key("p384")).unwrap();
        let between = CertifiedIssuer::signed_by(authority("between"), key("p256"), &root).unwrap();
        let own = key(name);
        let mut leaf = parameters(name);
        change(&mut leaf);
        let leaf = leaf.signed_by(&own, &between).unwrap();
        self.keep(name, &own, &[leaf.pem(), between.pem(), root.pem()], &root.pem());
    }

    fn keep(&self, name: &str, key: &KeyPair, chain: &[String], trusted: &str) {
        let folder = self.folder.join(name);
        fs::create_dir_all(folder.join("trusted")).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(folder.join("chain.pem"), chain.concat()).unwrap();
        fs::write(folder.join("trusted/root.pem"), trusted).unwrap();
    }

    /// What `notation` knows of the keys.
    fn list_keys(&self) {
        let entry = |name: &str| {
            let folder = self.folder.join(name);
            json!({"name": name, "keyPath": folder.join("key.pem"), "certPath": folder.join("chain.pem")})
        };
        let keys: Vec<Value> =
            KEYS.iter().chain(&["revocable", "alone"]).map(|name| entry(name)).collect();
        let folder = self.folder.join("config/notation");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("signingkeys.json"), json!({"keys": keys}).to_string()).unwrap();
    }

    /// Signs an image of the registry with the Referrers API.
    pub(super) async fn sign(&self, image: &str, key: &str, form: &str, more: &[&str]) {
        let mut notation = Command::new(self.lab.machines.tool("notation"));
        notation.env("XDG_CONFIG_HOME", self.folder.join("config"));
        notation.args(["sign", "--insecure-registry", "--force-referrers-tag=false", "--key", key]);
        notation.args(["--signature-format", form]).args(more);
        notation.arg(format!("{}/{image}:v1", self.lab.api.address));
        self.lab.must(&mut notation).await;
    }

    /// The envelope of the one signature of an image.
    pub(super) async fn envelope(&self, image: &Layout) -> Vec<u8> {
        let name = image.folder.file_name().unwrap().to_str().unwrap();
        let place = format!("http://{}/v2/{name}", self.lab.api.address);
        let digest = image.image["digest"].as_str().unwrap();
        let list = json_at(&format!("{place}/referrers/{digest}")).await;
        let signature = list["manifests"][0]["digest"].as_str().unwrap();
        let manifest = json_at(&format!("{place}/manifests/{signature}")).await;
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        bytes_at(&format!("{place}/blobs/{layer}")).await.to_vec()
    }
}

fn key(name: &str) -> KeyPair {
    let size = match name {
        "rsa2048" => RsaKeySize::_2048,
        "rsa3072" => RsaKeySize::_3072,
        "rsa4096" => RsaKeySize::_4096,
        "p384" => return KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        "p521" => return KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap(),
        _ => return KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
    };
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap()
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, "US");
    subject.push(DnType::StateOrProvinceName, "WA");
    subject.push(DnType::LocalityName, "Seattle");
    subject.push(DnType::OrganizationName, "Lab, #1");
    subject.push(DnType::CommonName, name);
    parameters.distinguished_name = subject;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters
}

async fn json_at(url: &str) -> Value {
    serde_json::from_slice(&bytes_at(url).await).unwrap()
}

async fn bytes_at(url: &str) -> Bytes {
    // Another test may have been faster.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).header("accept", "*/*").send().await.unwrap();
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
    answer.bytes().await.unwrap()
}

/// Signs an image with every key in both forms, and puts what is wrong under others.
pub(super) async fn push(lab: &Lab) {
    let signer = Signer::new(lab);
    let folder = lab.folder.join("signed");
    let mut plain: Vec<(Layout, &str, &str)> = Vec::new();
    for key in KEYS {
        for form in ["jws", "cose"] {
            plain.push((Layout::new(&folder, &format!("{key}-{form}")), key, form));
        }
    }
    plain.push((Layout::new(&folder, "revocable"), "revocable", "jws"));
    plain.push((Layout::new(&folder, "alone"), "alone", "cose"));
    plain.push((Layout::new(&folder, "expires"), "p256", "jws"));
    let layouts: Vec<&Layout> = plain.iter().map(|(layout, ..)| layout).collect();
    lab.push(&layouts, &lab.api).await;
    for (layout, key, form) in &plain {
        let name = layout.folder.file_name().unwrap().to_str().unwrap();
        let more: &[&str] = if name == "expires" { &["--expiry", "24h", "-m", "a=b"] } else { &[] };
        signer.sign(name, key, form, more).await;
    }
    let of = |name: &str| plain.iter().find(|(one, ..)| one.folder.ends_with(name)).unwrap();
    let jws = signer.envelope(&of("p256-jws").0).await;
    let cose = signer.envelope(&of("p256-cose").0).await;
    push_wrong(lab, &jws, &cose).await;
}

/// Images with the signatures of another one, and with what is none.
async fn push_wrong(lab: &Lab, jws: &[u8], cose: &[u8]) {
    let folder = lab.folder.join("signed");
    let one = |name: &str, layers: &[(&'static str, &[u8])]| {
        let mut layout = Layout::new(&folder, name);
        let layers = layers.iter().map(|(type_, bytes)| (*type_, bytes.to_vec())).collect();
        layout.attach(&Attached { artifact_type: SIGNATURE, layers, ..Attached::default() });
        layout
    };
    let mut changed = jws.to_vec();
    // Within the signature, which is the last part of the document.
    let at = changed.len() - 40;
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let mut changed_cose = cose.to_vec();
    let last = changed_cose.len() - 1;
    changed_cose[last] ^= 1;
    let layouts = [
        one("of-another-jws", &[(JWS, jws)]),
        one("of-another-cose", &[(COSE, cose)]),
        one("changed-jws", &[(JWS, &changed)]),
        one("changed-cose", &[(COSE, &changed_cose)]),
        one("other-media-type", &[("application/json", jws)]),
        one("two-layers", &[(JWS, jws), (COSE, cose)]),
        one("no-layer", &[]),
        one("empty-object", &[(JWS, b"{}")]),
    ];
    lab.push(&layouts.each_ref(), &lab.api).await;
}
