//! Every form in which `openssl` writes a key is read.

use std::{fs, process::Command};

use super::parts::{Authority, Identity, Site};
use crate::parity::machines::Machines;

/// How a key is made, and how its PEM begins.
const FORMS: [(&str, &[&str], &str); 6] = [
    ("PKCS#1", &["genrsa", "-traditional", "2048"], "-----BEGIN RSA PRIVATE KEY-----"),
    ("PKCS#8 of RSA", &["genpkey", "-algorithm", "RSA"], "-----BEGIN PRIVATE KEY-----"),
    (
        "SEC1 behind its parameters",
        &["ecparam", "-genkey", "-name", "prime256v1"],
        "-----BEGIN EC PARAMETERS-----",
    ),
    (
        "SEC1",
        &["ecparam", "-genkey", "-noout", "-name", "secp384r1"],
        "-----BEGIN EC PRIVATE KEY-----",
    ),
    (
        "PKCS#8 of EC",
        &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
        "-----BEGIN PRIVATE KEY-----",
    ),
    ("PKCS#8 of Ed25519", &["genpkey", "-algorithm", "ED25519"], "-----BEGIN PRIVATE KEY-----"),
];

#[tokio::test]
async fn a_key_of_any_form_serves() {
    let Some(machines) = Machines::find() else { return };
    let servers = Authority::new("servers");
    let Some(site) = Site::start(&servers.issue(), |_| {}).await else { return };
    for (at, (form, arguments, beginning)) in FORMS.into_iter().enumerate() {
        let key = Command::new(machines.tool("openssl")).args(arguments).output().unwrap();
        let key = String::from_utf8(key.stdout).unwrap();
        assert!(key.starts_with(beginning), "{form}: {}", key.lines().next().unwrap_or_default());
        fs::write(site.path("form.key"), &key).unwrap();
        let made = Command::new(machines.tool("openssl"))
            .args(["req", "-x509", "-subj", "/CN=anybody", "-addext"])
            .args(["subjectAltName=DNS:localhost", "-key"])
            .arg(site.path("form.key"))
            .output()
            .unwrap();
        let certificate = String::from_utf8(made.stdout).unwrap();
        let identity = Identity { certificate: certificate.clone(), key };
        identity.write(&site.path("tls"));
        // Not the old certificate any more.
        site.until_answers(&servers, None, false).await;
        fs::write(site.path("form.crt"), certificate).unwrap();
        let told = Command::new(machines.tool("openssl"))
            .args(["s_client", "-connect", &site.address, "-verify_return_error", "-CAfile"])
            .arg(site.path("form.crt"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("Verify return code: 0 (ok)"), "{form}: {told} {}", site.said());
        let errors = site.said().matches("level=error").count();
        assert!(errors <= at + 1, "{form}: {}", site.said());
        servers.issue().write(&site.path("tls"));
        site.until_answers(&servers, None, true).await;
    }
}
