//! Bytes of files become what rustls serves: a [`pair`], the authorities of clients, a
//! configuration of both.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::x509::Facts;

/// A certificate and a key are no pair. No text holds anything of the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PairError {
    /// There is no certificate, or only the beginning of one.
    #[error("tls: failed to find any PEM data in certificate input")]
    NoCertificate,
    /// There is no key in a form that is read.
    #[error("tls: failed to find any PEM data in key input")]
    NoKey,
    /// A PEM block does not end, or is not what PEM is.
    #[error("tls: the {0} is not whole")]
    Broken(&'static str),
    /// The key belongs to another certificate.
    #[error("tls: private key does not match public key")]
    Mismatch,
    /// Anything else that is wrong with either.
    #[error("tls: {0}")]
    Unusable(rustls::Error),
}

/// The authorities of clients cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorityError {
    #[error("it is not whole")]
    Broken,
    #[error("there is no usable certificate in it")]
    Empty,
    #[error("{0}")]
    Unusable(VerifierBuilderError),
}

/// Puts a certificate chain and its key together, if they belong together.
pub(crate) fn pair(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, PairError> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| PairError::Broken("certificate"))?;
    if chain.is_empty() {
        return Err(PairError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound => PairError::NoKey,
        _ => PairError::Broken("key"),
    })?;
    match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(pair) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(PairError::Mismatch),
        Err(error) => Err(PairError::Unusable(error)),
    }
}

/// The authorities of clients.
pub(super) struct Authorities {
    /// What proves clients by them.
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// How many certificates of the file cannot be used.
    pub(super) unused: usize,
    /// Until when the last of them is good, where they say.
    pub(super) good_until: Option<Timestamp>,
}

/// Reads the authorities in a file.
pub(super) fn authorities(pem: &[u8]) -> Result<Authorities, AuthorityError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| AuthorityError::Broken)?;
    let facts = certificates.iter().filter_map(|certificate| Facts::read(certificate));
    let good_until = facts.map(|facts| facts.not_after).max();
    let mut roots = RootCertStore::empty();
    let (used, unused) = roots.add_parsable_certificates(certificates);
    if used == 0 {
        return Err(AuthorityError::Empty);
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(AuthorityError::Unusable)?;
    Ok(Authorities { verifier, unused, good_until })
}

/// What is served: TLS 1.3 alone, without tickets, so that each connection proves itself anew.
pub(super) fn config(
    pair: Arc<CertifiedKey>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, String> {
    let verifier = clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.send_tls13_tickets = 0;
    // v1 offers nothing, so that its clients speak HTTP/1.1; so does who offers nothing here.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
