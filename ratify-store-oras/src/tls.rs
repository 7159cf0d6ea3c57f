//! TLS: which roots are trusted, and the one case in which nothing is checked.
//!
//! The crypto provider is passed explicitly, so that no process-wide default is needed.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
        ServerName, UnixTime, pem::PemObject,
    },
};

use crate::{
    OrasError,
    probe::{Recorder, Recording},
};

/// Where Linux distributions keep the bundle of roots; the first that exists is read, as Go does.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Directories of single certificates. An operator may have put one there beside the bundle.
const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// Roots besides the system's: the values of `SSL_CERT_FILE` and `SSL_CERT_DIR`. They add to the
/// system's roots and never replace them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsRoots {
    /// A PEM file (`SSL_CERT_FILE`).
    pub file: Option<PathBuf>,
    /// Directories of PEM files (`SSL_CERT_DIR`, split at colons).
    pub directories: Vec<PathBuf>,
}

impl TlsRoots {
    /// Reads them and the system's; what cannot be read is left out and said.
    pub fn load(&self) -> Vec<CertificateDer<'static>> {
        load(self)
    }
}

/// What differs in how one place is connected to. Two equal ones share their connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TlsProfile {
    authorities: Vec<Vec<u8>>,
    client: Option<Identity>,
    dial_timeout: Option<Duration>,
}

/// A client's certificates and its key, in DER and PKCS #8, SEC 1 or PKCS #1.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    certificates: Vec<Vec<u8>>,
    key: Vec<u8>,
    key_form: u8,
}

impl TlsProfile {
    /// Reads PEM files: authorities, and a client's certificate with its key. `None` where there
    /// is nothing to do differently.
    ///
    /// # Errors
    /// When a file holds none, or the key is not that of the certificate.
    pub(crate) fn new(
        authorities: &[Vec<u8>],
        client: Option<&(Vec<u8>, Vec<u8>)>,
        dial_timeout: Option<Duration>,
    ) -> Result<Option<Self>, String> {
        let mut trusted = Vec::new();
        for pem in authorities {
            let certificates = certificates_in(pem)?;
            trusted.extend(certificates.iter().map(|certificate| certificate.to_vec()));
        }
        let client =
            client.map(|(certificate, key)| Identity::new(certificate, key)).transpose()?;
        if trusted.is_empty() && client.is_none() && dial_timeout.is_none() {
            return Ok(None);
        }
        let profile = Self { authorities: trusted, client, dial_timeout };
        profile.config(Vec::new()).map_err(|error| error.to_string())?;
        Ok(Some(profile))
    }

    /// How long a connection may take to come about, where that is said.
    pub(crate) fn dial_timeout(&self) -> Option<Duration> {
        self.dial_timeout
    }

    /// Whether it is said who is trusted: then that is checked on loopback too.
    pub(crate) fn has_authorities(&self) -> bool {
        !self.authorities.is_empty()
    }

    /// A configuration that checks against these roots and the profile's.
    pub(crate) fn checked(
        &self,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<ClientConfig, OrasError> {
        self.config(roots)
    }

    /// The same without a check, for loopback hosts.
    pub(crate) fn unchecked(&self) -> Result<ClientConfig, OrasError> {
        let verifier = Arc::new(AnyCertificate::new());
        self.identify(builder()?.dangerous().with_custom_certificate_verifier(verifier))
    }

    fn config(&self, roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, OrasError> {
        self.identify(builder()?.with_root_certificates(self.store(roots)?))
    }

    /// The roots and the profile's own authorities.
    fn store(&self, roots: Vec<CertificateDer<'static>>) -> Result<RootCertStore, OrasError> {
        let mut store = store_of(roots);
        for authority in &self.authorities {
            let added = store.add(CertificateDer::from(authority.clone()));
            added.map_err(|error| OrasError::Setup(format!("a certificate of ca: {error}")))?;
        }
        Ok(store)
    }

    fn identify(
        &self,
        builder: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
    ) -> Result<ClientConfig, OrasError> {
        let Some(identity) = &self.client else { return Ok(builder.with_no_client_auth()) };
        let certificates = identity.certificates.iter().cloned().map(CertificateDer::from);
        builder
            .with_client_auth_cert(certificates.collect(), identity.key())
            .map_err(|error| OrasError::Setup(format!("the client's certificate: {error}")))
    }
}

impl Identity {
    fn new(certificate: &[u8], key: &[u8]) -> Result<Self, String> {
        let certificates = certificates_in(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| "the client's key file holds no key".to_owned())?;
        let key_form = match &key {
            PrivateKeyDer::Pkcs8(_) => 8,
            PrivateKeyDer::Pkcs1(_) => 1,
            _ => 2,
        };
        Ok(Self {
            certificates: certificates.iter().map(|certificate| certificate.to_vec()).collect(),
            key: key.secret_der().to_vec(),
            key_form,
        })
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        match self.key_form {
            8 => PrivatePkcs8KeyDer::from(self.key.clone()).into(),
            1 => PrivatePkcs1KeyDer::from(self.key.clone()).into(),
            _ => PrivateSec1KeyDer::from(self.key.clone()).into(),
        }
    }
}

impl fmt::Debug for TlsProfile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsProfile")
            .field("authorities", &self.authorities.len())
            .field("client", &self.client.is_some())
            .field("dial_timeout", &self.dial_timeout)
            .finish()
    }
}

fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("a certificate file holds no certificate".into()),
    }
}

/// A configuration that trusts these roots only. There may be none: then any HTTPS fails, with a
/// reason.
pub(crate) fn trusting(roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, OrasError> {
    Ok(builder()?.with_root_certificates(store_of(roots)).with_no_client_auth())
}

fn store_of(roots: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let (added, ignored) = store.add_parsable_certificates(roots);
    tracing::debug!("trusting {added} root certificates, {ignored} could not be used");
    store
}

/// A configuration that goes on whatever the certificate is, with who remembers what it was. It is
/// judged by these roots and the profile's authorities; by nobody where there are no roots to judge by.
pub(crate) fn recording(
    profile: Option<&TlsProfile>,
    roots: Option<Vec<CertificateDer<'static>>>,
) -> Result<Recording, OrasError> {
    let roots = match (profile, roots) {
        (_, None) => None,
        (None, Some(roots)) => Some(store_of(roots)),
        (Some(profile), Some(roots)) => Some(profile.store(roots)?),
    };
    let recorder = Arc::new(Recorder::new(roots));
    let builder = builder()?.dangerous().with_custom_certificate_verifier(recorder.clone());
    let config = match profile {
        Some(profile) => profile.identify(builder)?,
        None => builder.with_no_client_auth(),
    };
    Ok(Recording { config, recorder })
}

/// A configuration that takes any certificate: for loopback hosts, as v1.
pub(crate) fn unchecked() -> Result<ClientConfig, OrasError> {
    let verifier = Arc::new(AnyCertificate::new());
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, OrasError> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| OrasError::Setup(error.to_string()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Where roots are, or may come to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RootPlaces {
    /// What is read, in order.
    pub(crate) files: Vec<PathBuf>,
    /// What else decides which files are read: directories, and what may come to be a file.
    pub(crate) beside: Vec<PathBuf>,
}

/// Looks up where roots are now.
pub(crate) fn places(roots: &TlsRoots) -> RootPlaces {
    let bundles = BUNDLES.iter().map(PathBuf::from);
    let bundle = bundles.clone().find(|path| path.is_file());
    let mut files: Vec<PathBuf> = bundle.into_iter().chain(roots.file.clone()).collect();
    let directories: Vec<PathBuf> =
        DIRECTORIES.iter().map(PathBuf::from).chain(roots.directories.iter().cloned()).collect();
    let mut beside: Vec<PathBuf> = bundles.chain(directories.iter().cloned()).collect();
    for path in directories.iter().flat_map(|directory| entries_of(directory)) {
        match path.is_file() {
            true if files.contains(&path) => {}
            true => files.push(path),
            // A link to what is not there may lead to a file later.
            false => beside.push(path),
        }
    }
    RootPlaces { files, beside }
}

/// Reads all roots; what cannot be read is left out and said.
pub(crate) fn load(roots: &TlsRoots) -> Vec<CertificateDer<'static>> {
    load_from(&places(roots).files)
}

/// The same of files that were looked up a moment ago.
pub(crate) fn load_from(files: &[PathBuf]) -> Vec<CertificateDer<'static>> {
    let mut certificates: Vec<_> = files.iter().flat_map(|path| read(path)).collect();
    certificates.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    certificates.dedup();
    certificates
}

/// The certificates of a PEM file. Directories also hold what is none; that is no fault.
fn read(path: &Path) -> Vec<CertificateDer<'static>> {
    let certificates = match CertificateDer::pem_file_iter(path) {
        Ok(certificates) => certificates,
        Err(error) => {
            tracing::warn!("cannot read root certificates from {}: {error}", path.display());
            return Vec::new();
        }
    };
    certificates.filter_map(Result::ok).collect()
}

/// What is in a directory, in order, as Go reads it: whatever the names are, but not the links within
/// the directory, by which OpenSSL finds the same files once more.
fn entries_of(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_link_within = |path: &Path| {
        std::fs::read_link(path)
            .is_ok_and(|target| target.parent().is_some_and(|p| p.as_os_str().is_empty()))
    };
    let mut entries: Vec<PathBuf> = paths.filter(|path| !is_link_within(path)).collect();
    entries.sort_unstable();
    entries
}

/// Takes any certificate, but still checks that the server owns its key.
#[derive(Debug)]
pub(crate) struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    pub(crate) fn new() -> Self {
        Self(provider())
    }

    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.0)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_root_at_all_is_no_error() {
        assert!(trusting(Vec::new()).is_ok());
        assert!(unchecked().is_ok());
        let nowhere =
            TlsRoots { file: Some("/nowhere/ca.pem".into()), directories: vec!["/nowhere".into()] };
        assert!(trusting(load(&nowhere)).is_ok());
    }

    #[test]
    fn a_directory_is_read_whatever_its_files_are_called_and_its_own_links_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(elsewhere.path().join("x.pem"), "").unwrap();
        std::fs::write(at("my-ca.crt"), "").unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink("my-ca.crt", at("0123abcd.0")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("x.pem"), at("x.pem")).unwrap();
        let directories = vec![directory.path().to_owned()];
        let found = places(&TlsRoots { file: None, directories });
        let here = |paths: Vec<PathBuf>| -> Vec<PathBuf> {
            paths.into_iter().filter(|path| path.starts_with(directory.path())).collect()
        };
        assert_eq!(here(found.files), [at("my-ca.crt"), at("x.pem")]);
        assert_eq!(here(found.beside), [directory.path().to_owned(), at("directory")]);
    }
}
