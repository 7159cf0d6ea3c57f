//! The real `notation`, with keys of authorities made here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::parity::machines::Machines;

/// The year in which its certificates end.
pub(in crate::cli) const LAST_YEAR: i32 = 2045;

/// Signs, as whoever it is told to be. Each of its keys has a folder of its own, where also lies what an
/// [`Authority`](crate::parity::authority::Authority) answers by.
pub(crate) struct Notary {
    folder: tempfile::TempDir,
    program: PathBuf,
    /// What `notation` knows of the keys.
    keys: Vec<Value>,
}

impl Notary {
    /// A key for each of these names, each of an authority of its own, good until [`LAST_YEAR`].
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut notary = Self::without_keys();
        for name in names {
            notary.issue(name, |_| ());
        }
        notary
    }

    pub(in crate::cli) fn without_keys() -> Self {
        let program = Machines::find().unwrap().tool("notation");
        Self { folder: tempfile::tempdir().unwrap(), program, keys: Vec::new() }
    }

    /// Where the folders of keys are.
    pub(in crate::cli) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One more key, whose certificate is changed before it is signed.
    pub(in crate::cli) fn issue(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut root = parameters("root", usages);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut leaf = parameters(name, vec![KeyUsagePurpose::DigitalSignature]);
        leaf.not_after = date_time_ymd(LAST_YEAR, 1, 1);
        leaf.serial_number = Some(SerialNumber::from(0x1234_5678));
        change(&mut leaf);
        let leaf = leaf.signed_by(&key, &root).unwrap();
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(LAST_YEAR, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let write = |file: &str, bytes: &[u8]| fs::write(folder.join(file), bytes).unwrap();
        write("issuer.pem", root.pem().as_bytes());
        write("issuer-key.pem", root.key().serialize_pem().as_bytes());
        write("signer.pem", leaf.pem().as_bytes());
        write("key.pem", key.serialize_pem().as_bytes());
        write("chain.pem", (leaf.pem() + &root.pem()).as_bytes());
        write("index.txt", b"V\t491231235959Z\t\t12345678\tunknown\t/CN=x\n");
        write("list", list.signed_by(&root).unwrap().der());
        let [key, chain] = self.files(name);
        self.keys.push(json!({"name": name, "keyPath": key, "certPath": chain}));
        let folder = self.folder.path().join("notation");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("signingkeys.json"), json!({"keys": self.keys}).to_string()).unwrap();
    }

    /// The list of who was revoked of a name's authority, by the real `openssl`, which counts for so many
    /// seconds; whether the name itself was.
    pub(in crate::cli) fn list_by_openssl(&self, name: &str, is_revoked: bool, seconds: u32) {
        let folder = self.folder.path().join(name);
        let entry = if is_revoked {
            "R\t491231235959Z\t240102030405Z\t12345678\tunknown\t/CN=x\n"
        } else {
            "V\t491231235959Z\t\t12345678\tunknown\t/CN=x\n"
        };
        fs::write(folder.join("index.txt"), entry).unwrap();
        let config = "[ca]\ndefault_ca = a\n[a]\ndatabase = index.txt\ndefault_md = sha256\ncrlnumber = number\ncrl_extensions = e\n[e]\nauthorityKeyIdentifier = keyid\n";
        fs::write(folder.join("ca.cnf"), config).unwrap();
        fs::write(folder.join("number"), "02\n").unwrap();
        let openssl = |arguments: &str| {
            let mut openssl = std::process::Command::new("openssl");
            let ran = openssl.current_dir(&folder).args(arguments.split(' ')).output().unwrap();
            assert!(ran.status.success(), "{ran:?}");
        };
        openssl(&format!(
            "ca -gencrl -config ca.cnf -keyfile issuer-key.pem -cert issuer.pem -crlsec {seconds} -out list.pem"
        ));
        openssl("crl -in list.pem -outform DER -out list.new");
        fs::rename(folder.join("list.new"), folder.join("list")).unwrap();
    }

    /// The certificate of the authority of a key.
    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("issuer.pem")
    }

    /// The private key of a name, and its certificates up to the root.
    pub(super) fn files(&self, name: &str) -> [PathBuf; 2] {
        ["key.pem", "chain.pem"].map(|file| self.folder.path().join(name).join(file))
    }

    /// Trusts the authority of a key, and nobody else.
    pub(super) fn trust(&self, name: &str) {
        let folder = self.folder.path().join("notation");
        let store = folder.join("truststore/x509/ca/certs");
        let _ = fs::remove_dir_all(&store);
        fs::create_dir_all(&store).unwrap();
        fs::copy(self.root(name), store.join("root.pem")).unwrap();
        let policy = json!({"version": "1.0", "trustPolicies": [statement()]});
        fs::write(folder.join("trustpolicy.json"), policy.to_string()).unwrap();
    }

    /// Whether notation finds a signature that its policy trusts.
    pub(super) async fn verifies(&self, reference: &str) -> Result<(), String> {
        let mut notation = Command::new(&self.program);
        notation.env("XDG_CONFIG_HOME", self.folder.path());
        let ran =
            notation.args(["verify", "--insecure-registry", reference]).output().await.unwrap();
        ran.status.success().then_some(()).ok_or(String::from_utf8(ran.stderr).unwrap())
    }

    pub(in crate::cli) async fn sign(&self, reference: &str, key: &str, by_tag: bool) {
        let by_tag = format!("--force-referrers-tag={by_tag}");
        self.run(&[&by_tag, "--key", key, reference]).await;
    }

    /// Signs in a registry that has a password and a certificate of this authority.
    pub(crate) async fn sign_by_password(
        &self,
        reference: &str,
        key: &str,
        authority: &Path,
        [user, password]: [&str; 2],
    ) {
        let mut notation = Command::new(&self.program);
        notation.env("XDG_CONFIG_HOME", self.folder.path()).env("SSL_CERT_FILE", authority);
        notation.args(["sign", "--username", user, "--password", password, "--key", key]);
        let ran = notation.arg(reference).output().await.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// Signs so that the signature names a plugin of Notation.
    pub(in crate::cli) async fn sign_naming(&self, reference: &str, key: &str, plugin: &str) {
        let folder = self.folder.path();
        let signer = folder.join("notation/plugins/signer");
        if !signer.exists() {
            fs::create_dir_all(&signer).unwrap();
            let program = Machines::find().unwrap().tool("notation-plugin");
            std::os::unix::fs::symlink(program, signer.join("notation-signer")).unwrap();
        }
        let (id, named) = (folder.join(key), format!("plugin={plugin}"));
        let id = id.to_str().unwrap();
        self.run(&["--plugin", "signer", "--id", id, "--plugin-config", &named, reference]).await;
    }

    /// Signs with the time of an authority, whose certificate is that of a name.
    pub(in crate::cli) async fn sign_stamped(&self, reference: &str, key: &str, tsa: [&str; 2]) {
        let [url, name] = tsa;
        let root = self.root(name);
        let stamp = ["--timestamp-url", url, "--timestamp-root-cert", root.to_str().unwrap()];
        self.run(&[&["--key", key][..], &stamp, &[reference]].concat()).await;
    }

    async fn run(&self, arguments: &[&str]) {
        let mut notation = Command::new(&self.program);
        notation.env("XDG_CONFIG_HOME", self.folder.path());
        notation.args(["sign", "--insecure-registry"]).args(arguments);
        let ran = notation.output().await.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

/// What is said of who has a certificate.
fn parameters(name: &str, usages: Vec<KeyUsagePurpose>) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let subject = &mut parameters.distinguished_name;
    for (type_, value) in [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "WA"),
        (DnType::OrganizationName, "Plugins"),
        (DnType::CommonName, name),
    ] {
        subject.push(type_, value);
    }
    parameters.key_usages = usages;
    parameters
}

fn statement() -> Value {
    json!({
        "name": "plugins", "registryScopes": ["*"], "trustStores": ["ca:certs"],
        "trustedIdentities": ["*"], "signatureVerification": {"level": "strict"},
    })
}

/// A policy that trusts who has a certificate of these stores.
pub(in crate::cli) fn policy(mode: &str, stores: Value) -> Value {
    let mut verifier = json!({
        "name": "notation",
        "trustPolicyDoc": {"version": "1.0", "trustPolicies": [statement()]},
    });
    for (key, value) in stores.as_object().unwrap() {
        verifier[key] = value.clone();
    }
    json!({"mode": mode, "verifiers": [verifier]})
}
