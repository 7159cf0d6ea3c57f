//! The real `notation`, with keys of authorities made here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::parity::machines::Machines;

/// The year in which its certificates end.
pub(in crate::cli) const LAST_YEAR: i32 = 2045;

/// Signs, as whoever it is told to be.
pub(crate) struct Notary {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Notary {
    /// A key for each of these names, each of an authority of its own, good until [`LAST_YEAR`].
    pub(crate) fn new(names: &[&str]) -> Self {
        let program = Machines::find().unwrap().tool("notation");
        let notary = Self { folder: tempfile::tempdir().unwrap(), program };
        let keys: Vec<Value> = names.iter().map(|name| notary.issue(name)).collect();
        let folder = notary.folder.path().join("notation");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("signingkeys.json"), json!({"keys": keys}).to_string()).unwrap();
        notary
    }

    fn issue(&self, name: &str) -> Value {
        let parameters = |name: &str, usages: &[KeyUsagePurpose]| {
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
            parameters.key_usages = usages.to_vec();
            parameters
        };
        let mut root = parameters("root", &[KeyUsagePurpose::KeyCertSign]);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut leaf = parameters(name, &[KeyUsagePurpose::DigitalSignature]);
        leaf.not_after = rcgen::date_time_ymd(LAST_YEAR, 1, 1);
        let leaf = leaf.signed_by(&key, &root).unwrap();
        let write = |file: &str, text: String| {
            let path = self.folder.path().join(format!("{name}.{file}"));
            fs::write(&path, text).unwrap();
            path
        };
        write("root.pem", root.pem());
        let key_path = write("key", key.serialize_pem());
        let chain = write("chain", leaf.pem() + &root.pem());
        json!({"name": name, "keyPath": key_path, "certPath": chain})
    }

    /// The certificate of the authority of a key.
    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.root.pem"))
    }

    /// The private key of a name, and its certificates up to the root.
    pub(super) fn files(&self, name: &str) -> [PathBuf; 2] {
        ["key", "chain"].map(|kind| self.folder.path().join(format!("{name}.{kind}")))
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
        let of_key = folder.join(format!("{key}.folder"));
        fs::create_dir_all(&of_key).unwrap();
        for (from, to) in [("key", "key.pem"), ("chain", "chain.pem")] {
            fs::copy(folder.join(format!("{key}.{from}")), of_key.join(to)).unwrap();
        }
        let (id, named) = (of_key.to_str().unwrap(), format!("plugin={plugin}"));
        self.run(&["--plugin", "signer", "--id", id, "--plugin-config", &named, reference]).await;
    }

    async fn run(&self, arguments: &[&str]) {
        let mut notation = Command::new(&self.program);
        notation.env("XDG_CONFIG_HOME", self.folder.path());
        notation.args(["sign", "--insecure-registry"]).args(arguments);
        let ran = notation.output().await.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
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
