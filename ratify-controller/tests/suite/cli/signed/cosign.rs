//! The real `cosign`, with keys of its own and no transparency log.

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::KeyPair;
use serde_json::json;
use tokio::process::Command;

use crate::parity::machines::Machines;

/// What its private keys are encrypted with.
pub(super) const PASSWORD: &str = "pass word";

/// Signs with keys that it makes.
pub(in crate::cli) struct Cosign {
    folder: tempfile::TempDir,
    machines: Machines,
}

impl Cosign {
    pub(in crate::cli) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), machines: Machines::find().unwrap() }
    }

    /// The public key of this name, which is made where it is not there.
    pub(in crate::cli) async fn public(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.pub"));
        if !path.exists() {
            let prefix = self.folder.path().join(name).display().to_string();
            self.run("cosign", &["generate-key-pair", "--output-key-prefix", &prefix]).await;
        }
        path
    }

    /// A key of this name that is not encrypted, in PEM, and its public one.
    pub(super) fn add_key(&self, name: &str) -> PathBuf {
        let key = KeyPair::generate().unwrap();
        let path = self.folder.path().join(format!("{name}.pem"));
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::write(self.folder.path().join(format!("{name}.pub")), key.public_key_pem()).unwrap();
        path
    }

    /// Has a password for a registry from now on.
    pub(super) fn log_in(&self, registry: &str, user: &str, password: &str) {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let folder = self.folder.path().join(".docker");
        fs::create_dir_all(&folder).unwrap();
        let auths = json!({"auths": {registry: {"auth": auth}}});
        fs::write(folder.join("config.json"), auths.to_string()).unwrap();
    }

    /// Signs what a digest names, under cosign's tag.
    pub(in crate::cli) async fn sign(&self, program: &str, reference: &str, key: &str) {
        self.public(key).await;
        let key = self.folder.path().join(format!("{key}.key")).display().to_string();
        let words =
            ["sign", "--yes", "--key", &key, "--tlog-upload=false", "--allow-http-registry"];
        self.run(program, &[&words[..], &[reference]].concat()).await;
    }

    /// Whether a program of cosign finds a signature of this key.
    pub(super) async fn verifies(&self, program: &str, reference: &str, key: &str) -> bool {
        let key = self.public(key).await.display().to_string();
        let words = ["verify", "--key", &key, "--insecure-ignore-tlog", "--allow-http-registry"];
        self.output(program, &[&words[..], &[reference]].concat()).await.status.success()
    }

    /// The private key of this name.
    pub(super) async fn private(&self, name: &str) -> PathBuf {
        self.public(name).await.with_extension("key")
    }

    async fn run(&self, program: &str, arguments: &[&str]) {
        let ran = self.output(program, arguments).await;
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    async fn output(&self, program: &str, arguments: &[&str]) -> std::process::Output {
        let mut cosign = Command::new(self.machines.tool(program));
        cosign.env("COSIGN_PASSWORD", PASSWORD).env("HOME", self.folder.path());
        cosign.args(arguments).output().await.unwrap()
    }
}
