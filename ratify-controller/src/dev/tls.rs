//! A certificate authority made at start, and a server certificate for the loopback names.
//!
//! The authority's key is dropped as soon as it has signed: nothing else will ever carry its name.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

/// The names that the server certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What a TLS server of this module needs.
pub(super) struct Identity {
    /// Takes connections.
    pub(super) acceptor: TlsAcceptor,
    /// The authority a client has to trust.
    pub(super) ca_pem: String,
}

/// No certificate could be made, or rustls does not take it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Making the certificate failed.
    #[error("making a certificate for the registry failed: {0}")]
    Make(#[from] rcgen::Error),
    /// Using it failed.
    #[error("using the registry's certificate failed: {0}")]
    Use(#[from] rustls::Error),
}

/// Makes a fresh authority and a server certificate signed by it, for loopback and `names`.
pub(super) fn identity(names: &[String]) -> Result<Identity, CertificateError> {
    let authority = CertifiedIssuer::self_signed(authority_parameters(), KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = server_parameters(names)?.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem: authority.pem() })
}

fn authority_parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "ratify dev registry CA");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn server_parameters(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let names = NAMES.map(str::to_owned).into_iter().chain(names.iter().cloned());
    let mut parameters = CertificateParams::new(names.collect::<Vec<_>>())?;
    parameters.distinguished_name.push(DnType::CommonName, "ratify dev registry");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}
