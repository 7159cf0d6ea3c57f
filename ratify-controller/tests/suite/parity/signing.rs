//! Signatures of the real `notation`: keys with certificates of authorities made here, images that are
//! signed with them, and envelopes that are put under other images.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CrlDistributionPoint, CustomExtension, DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512,
    PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, SerialNumber, SigningKey as _, date_time_ymd,
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    authority::Authority,
    lab::Lab,
    layout::{Attached, Layout},
    notation_plugins,
};

/// The type of a signature of the Notary Project.
pub(super) const SIGNATURE: &str = "application/vnd.cncf.notary.signature";
pub(super) const JWS: &str = "application/jose+json";
pub(super) const COSE: &str = "application/cose";

/// The kinds of key that may sign, and a name for each.
pub(super) const KEYS: [&str; 6] = ["rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"];

/// Keys whose certificates can be revoked: a name, which says what is answered, then where a responder
/// is, and a list.
pub(super) const REVOCABLE: [(&str, Option<&str>, Option<&str>); 11] = [
    ("responder-good", Some("ocsp/responder-good"), None),
    ("responder-revoked", Some("ocsp/responder-revoked"), None),
    ("responder-unsure", Some("ocsp/responder-unsure"), None),
    ("list-good", None, Some("crl/list-good")),
    ("list-revoked", None, Some("crl/list-revoked")),
    ("list-stands-in", Some("nobody"), Some("crl/list-stands-in")),
    ("list-missing", None, Some("crl/nobody")),
    ("list-long", None, Some("crl/list-long")),
    ("list-too-long", None, Some("crl/list-too-long")),
    ("list-too-long-in-chunks", None, Some("chunks/list-too-long-in-chunks")),
    ("responder-hangs", Some("hang"), None),
];

/// A list is at most as long as this.
const LONGEST_LIST: usize = 32 << 20;

/// The real `notation` with a configuration of its own.
pub(super) struct Signer<'a> {
    lab: &'a Lab,
    folder: PathBuf,
}

impl<'a> Signer<'a> {
    /// Makes a key of each kind, one whose certificate names a list of revoked ones that nobody serves,
    /// and one whose certificate signed itself.
    fn new(lab: &'a Lab, authority: &Authority) -> Self {
        let signer = Self { lab, folder: lab.notary() };
        for name in KEYS {
            signer.issue(name, |_| ());
        }
        signer.issue("revocable", |leaf| {
            let uris = vec!["http://127.0.0.1:1/revoked.crl".to_owned()];
            leaf.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        });
        let at = |path: &str| format!("http://{}/{path}", authority.address);
        for (name, responder, list) in REVOCABLE {
            signer.issue(name, |leaf| {
                leaf.custom_extensions.extend(responder.map(|path| responders_at(&[at(path)])));
                let point = |path: &str| CrlDistributionPoint { uris: vec![at(path)] };
                leaf.crl_distribution_points = list.map(point).into_iter().collect();
            });
        }
        signer.issue("tsa", |leaf| leaf.custom_extensions.push(for_timestamps()));
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
        let serial = SerialNumber::from(0x1234_5678);
        leaf.serial_number = Some(serial.clone());
        let leaf = leaf.signed_by(&own, &between).unwrap();
        self.keep(name, &own, &[leaf.pem(), between.pem(), root.pem()], &root.pem());
        let folder = self.folder.join(name);
        fs::write(folder.join("signer.pem"), leaf.pem()).unwrap();
        fs::write(folder.join("issuer.pem"), between.pem()).unwrap();
        fs::write(folder.join("issuer-key.pem"), between.key().serialize_pem()).unwrap();
        // What `openssl ocsp` reads of whom it knows.
        let index = match name {
            "responder-good" => "V\t491231235959Z\t\t12345678\tunknown\t/CN=x\n",
            "responder-revoked" => "R\t491231235959Z\t240502000000Z\t12345678\tunknown\t/CN=x\n",
            _ => "",
        };
        fs::write(folder.join("index.txt"), index).unwrap();
        let entry = RevokedCertParams {
            serial_number: serial,
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: if name.ends_with("-revoked") { vec![entry] } else { Vec::new() },
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&between).unwrap().der().to_vec();
        let list = match name {
            "list-long" => lengthened(&list, LONGEST_LIST - 1000, between.key()),
            _ if name.contains("-too-long") => lengthened(&list, LONGEST_LIST, between.key()),
            _ => list,
        };
        fs::write(folder.join("list"), list).unwrap();
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
        let revocable = REVOCABLE.iter().map(|(name, ..)| name);
        let keys = KEYS.iter().chain(&["revocable", "alone"]).chain(revocable);
        let keys: Vec<Value> = keys.map(|name| entry(name)).collect();
        let folder = self.folder.join("config/notation");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("signingkeys.json"), json!({"keys": keys}).to_string()).unwrap();
    }

    /// Signs an image of the registry with the Referrers API.
    pub(super) async fn sign(&self, image: &str, key: &str, form: &str, more: &[&str]) {
        self.run(image, form, &[&["--key", key][..], more].concat()).await;
    }

    /// The same by a plugin with a key, which is told what the signature is to say.
    pub(super) async fn sign_by_plugin(&self, image: &str, key: &str, form: &str, told: &[&str]) {
        let plugin = self.folder.join("config/notation/plugins/signer");
        fs::create_dir_all(&plugin).unwrap();
        let program = plugin.join("notation-signer");
        if !program.exists() {
            std::os::unix::fs::symlink(self.lab.machines.tool("notation-plugin"), program).unwrap();
        }
        let key = self.folder.join(key);
        let mut arguments = vec!["--plugin", "signer", "--id", key.to_str().unwrap()];
        arguments.extend(told.iter().flat_map(|told| ["--plugin-config", told]));
        self.run(image, form, &arguments).await;
    }

    async fn run(&self, image: &str, form: &str, arguments: &[&str]) {
        let mut notation = Command::new(self.lab.machines.tool("notation"));
        notation.env("XDG_CONFIG_HOME", self.folder.join("config"));
        notation.args(["sign", "--insecure-registry", "--force-referrers-tag=false"]);
        notation.args(["--signature-format", form]).args(arguments);
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

/// The extension that names responders (RFC 5280, section 4.2.2.1).
pub(crate) fn responders_at(urls: &[String]) -> CustomExtension {
    const OCSP: [u8; 10] = [6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1];
    let access = |url: &String| der(0x30, &[&OCSP[..], &der(0x86, url.as_bytes())].concat());
    let all: Vec<u8> = urls.iter().flat_map(access).collect();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], der(0x30, &all))
}

/// The same list with so many bytes more, in an extension that nobody has to know.
fn lengthened(list: &[u8], more: usize, key: &KeyPair) -> Vec<u8> {
    let whole = values(values(list)[0].1);
    let mut fields = values(whole[0].1);
    let (_, extensions) = fields.pop().unwrap();
    let unknown = [der(6, &[0x2a, 3, 4]), der(4, &vec![0; more])].concat();
    let extensions = [values(extensions)[0].1, &der(0x30, &unknown)].concat();
    let mut fields: Vec<u8> = fields.iter().flat_map(|(tag, value)| der(*tag, value)).collect();
    fields.extend(der(0xa0, &der(0x30, &extensions)));
    let signed = der(0x30, &fields);
    let signature = [&[0][..], &key.sign(&signed).unwrap()].concat();
    der(0x30, &[signed, der(0x30, whole[1].1), der(3, &signature)].concat())
}

/// The values of DER that follow each other, each with its tag.
fn values(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let [tag, length, rest @ ..] = bytes {
        let more = usize::from(length.saturating_sub(0x80));
        let of_more = rest[..more].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let length = if more == 0 { usize::from(*length) } else { of_more };
        found.push((*tag, &rest[more..more + length]));
        bytes = &rest[more + length..];
    }
    found
}

/// A value with its tag and its length.
fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    let length = &length[length.iter().position(|byte| *byte > 0).unwrap_or(3)..];
    let is_short = length.len() == 1 && length[0] < 0x80;
    let more = if is_short { Vec::new() } else { vec![0x80 | u8::try_from(length.len()).unwrap()] };
    [&[tag], &more[..], length, value].concat()
}

/// The extension of who says what time it is, which must be critical (RFC 3161, section 2.3).
pub(crate) fn for_timestamps() -> CustomExtension {
    let purposes = vec![0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], purposes);
    extension.set_criticality(true);
    extension
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
pub(super) async fn push(lab: &Lab, authority: &Authority) {
    let signer = Signer::new(lab, authority);
    notation_plugins::push(lab, &signer).await;
    let exact = format!("http://{}/tsa", authority.address);
    let rough = format!("http://{}/tsa/2", authority.address);
    let root = lab.notary().join("tsa/trusted/root.pem");
    let root = root.to_str().unwrap();
    let stamped = |tsa| ["--timestamp-url", tsa, "--timestamp-root-cert", root];
    let (exact, rough) = (stamped(&exact), stamped(&rough));
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
    plain.push((Layout::new(&folder, "stamped-jws"), "rsa2048", "jws"));
    plain.push((Layout::new(&folder, "stamped-cose"), "p384", "cose"));
    plain.push((Layout::new(&folder, "stamped-roughly"), "p384", "cose"));
    for (key, ..) in REVOCABLE {
        plain.push((Layout::new(&folder, key), key, "jws"));
    }
    let layouts: Vec<&Layout> = plain.iter().map(|(layout, ..)| layout).collect();
    lab.push(&layouts, &lab.api).await;
    for (layout, key, form) in &plain {
        let name = layout.folder.file_name().unwrap().to_str().unwrap();
        let more: &[&str] = match name {
            "expires" => &["--expiry", "24h", "-m", "a=b"],
            "stamped-jws" | "stamped-cose" => &exact,
            "stamped-roughly" => &rough,
            _ => &[],
        };
        signer.sign(name, key, form, more).await;
    }
    let of = |name: &str| plain.iter().find(|(one, ..)| one.folder.ends_with(name)).unwrap();
    let jws = signer.envelope(&of("p256-jws").0).await;
    let cose = signer.envelope(&of("p256-cose").0).await;
    let stamped = signer.envelope(&of("stamped-jws").0).await;
    push_wrong(lab, &jws, &cose).await;
    push_stamp_of_another(lab, &signer, &stamped).await;
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

/// An image whose signature has the timestamp of another one.
async fn push_stamp_of_another(lab: &Lab, signer: &Signer<'_>, stamped: &[u8]) {
    let folder = lab.folder.join("signed");
    let own = Layout::new(&folder, "stamped-not");
    lab.push(&[&own], &lab.api).await;
    signer.sign("stamped-not", "rsa2048", "jws", &[]).await;
    let key = "io.cncf.notary.timestampSignature";
    let mut envelope: Value = serde_json::from_slice(&signer.envelope(&own).await).unwrap();
    let stamped: Value = serde_json::from_slice(stamped).unwrap();
    envelope["header"][key] = stamped["header"][key].clone();
    // The same image again, under another name.
    let mut layout = Layout::of_content(&folder, "stamped-of-another", "stamped-not");
    layout.attach(&Attached::new(SIGNATURE, JWS, envelope.to_string().as_bytes()));
    lab.push(&[&layout], &lab.api).await;
}
