//! A private authority, a certificate of it for loopback, and a key for tokens, made by openssl:
//! v1.4.0 pulls over HTTPS only, and trusts what `SSL_CERT_FILE` says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

const EXTENSIONS: &str = "\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
extendedKeyUsage = serverAuth, clientAuth
";

/// The files in one folder.
pub(super) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Errors
    /// When openssl does not.
    pub(super) fn make(openssl: &Path, folder: &Path) -> Result<Self> {
        fs::write(folder.join("openssl.cnf"), EXTENSIONS)?;
        let new = "req -x509 -config openssl.cnf -days 2 -noenc -newkey ec \
                   -pkeyopt ec_paramgen_curve:P-256";
        for line in [
            &format!("{new} -extensions authority -subj /CN=bench -keyout ca.key -out ca.pem"),
            &format!(
                "{new} -extensions server -subj /CN=localhost -CA ca.pem -CAkey ca.key \
                 -keyout key.pem -out cert.pem"
            ),
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out accounts.key",
            "pkey -in accounts.key -pubout -out accounts.pub",
        ] {
            let mut command = Command::new(openssl);
            command.args(line.split_whitespace()).current_dir(folder).stdin(Stdio::null());
            let output = command.output()?;
            if !output.status.success() {
                bail!("openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The authority's certificate.
    pub(super) fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The servers' certificate.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// Its key.
    pub(super) fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// The key that tokens of service accounts are signed with, and its public half.
    pub(super) fn accounts(&self) -> [PathBuf; 2] {
        ["accounts.key", "accounts.pub"].map(|name| self.folder.join(name))
    }
}
