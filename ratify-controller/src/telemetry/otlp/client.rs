//! The connections to the collector: those of the HTTP library that registries are asked with, so that
//! there is one. The collector is whatever the operator names, and no rule of ours is about it.

use std::{fs, path::Path};

use ratify_store_oras::TlsRoots;
use reqwest::{Client, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::options::{OtlpError, OtlpOptions};

/// A client for an endpoint.
///
/// # Errors
/// When a file that the environment names cannot be read or used.
pub(super) fn client(options: &OtlpOptions, roots: &TlsRoots) -> Result<Client, OtlpError> {
    let tls = tls(options, roots)?;
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        // Headers may be secrets of one host.
        .redirect(redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("ratify/", env!("CARGO_PKG_VERSION")))
        .timeout(options.timeout);
    let failed = |error: reqwest::Error| OtlpError::Setup(error.without_url().to_string());
    builder.build().map_err(failed)
}

fn tls(options: &OtlpOptions, roots: &TlsRoots) -> Result<ClientConfig, OtlpError> {
    let failed = |error: &dyn std::fmt::Display| OtlpError::Setup(error.to_string());
    let mut store = RootCertStore::empty();
    match &options.certificate {
        // As the specification says: those and no others.
        Some((variable, path)) => {
            for certificate in certificates(variable, path)? {
                store.add(certificate).map_err(|error| OtlpError::file(variable, path, &error))?;
            }
        }
        // Reading the system's takes a while, and nothing is checked by them in clear.
        None if options.endpoint.scheme() == "http" => {}
        None => drop(store.add_parsable_certificates(roots.load())),
    }
    let provider = aws_lc_rs::default_provider().into();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(store);
    let Some((certificate, key)) = &options.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate.0, &certificate.1)?;
    let pem = read(key.0, &key.1)?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| OtlpError::file(key.0, &key.1, &error))?;
    let identified = builder.with_client_auth_cert(chain, private);
    identified.map_err(|error| OtlpError::file(key.0, &key.1, &error))
}

fn certificates(variable: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, OtlpError> {
    let pem = read(variable, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| OtlpError::file(variable, path, &error))?;
    if certificates.is_empty() {
        return Err(OtlpError::file(variable, path, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn read(variable: &str, path: &Path) -> Result<Vec<u8>, OtlpError> {
    fs::read(path).map_err(|error| OtlpError::file(variable, path, &error))
}
