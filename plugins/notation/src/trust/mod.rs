//! [`TrustStores`]: whose signatures are trusted. Certificates are in key management providers, in
//! legacy certificate stores, or in files. They are read at each verification, as in v1, so that a
//! change counts at once; what the bytes say is kept (`known`).

mod configured;
mod files;
mod known;
mod pem;

use std::path::PathBuf;

use ratify_core::{Basis, Error, ErrorCode, Host, RingCertificate};

use crate::{
    certificate::Certificate,
    policy::TrustStoreType,
    refusal::{Refusal, Result},
};

use known::{Anchor, Known};

pub(crate) use configured::{CertificateStores, StoresError};

/// Where v1 keeps trusted certificates, below the home directory. It is looked into whatever else is
/// configured.
const DEFAULT_PATH: &str = ".ratify/ratify-certs/notation/truststore";

/// The trust stores of one verifier.
#[derive(Debug)]
pub(crate) struct TrustStores {
    paths: Vec<PathBuf>,
    stores: CertificateStores,
    known: Known,
}

impl TrustStores {
    /// The key management providers and certificate stores that are named.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &str> {
        self.stores.resources()
    }

    /// Stores as configured. A path that begins with `~/` is below the home directory.
    pub(crate) fn new(paths: &[String], stores: CertificateStores, home: &std::path::Path) -> Self {
        let below_home = |path: &String| match path.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => PathBuf::from(path),
        };
        let mut paths: Vec<PathBuf> = paths.iter().map(below_home).collect();
        paths.push(home.join(DEFAULT_PATH));
        Self { paths, stores, known: Known::default() }
    }

    /// The certificates of a store: authorities, and those that signed themselves.
    pub(crate) fn certificates(
        &self,
        type_: TrustStoreType,
        name: &str,
        host: &dyn Host,
    ) -> Result<Vec<Certificate>> {
        let group = self.stores.group(type_, name);
        if group.is_empty() {
            tracing::warn!("unable to fetch certGroup from namedStore: {name} in type: {type_}");
        }
        let anchors = match group {
            [] => self.of_files()?,
            group => self.of_providers(group, name, host)?,
        };
        let trusted = anchors.into_iter().filter(|anchor| anchor.may_be_trusted);
        let certificates: Vec<_> = trusted.map(|anchor| anchor.certificate).collect();
        if certificates.is_empty() {
            return Err(Refusal::from(
                "valid certificates must be provided, only CA certificates or self-signed signing certificates are supported",
            )
            .unknown());
        }
        Ok(certificates)
    }

    /// The certificates of the files. v1 takes them for every type and name that has no group.
    fn of_files(&self) -> Result<Vec<Anchor>> {
        let mut anchors = Vec::new();
        for path in &self.paths {
            let of_path = files::load(path, &self.known);
            anchors.extend(of_path.map_err(|error| Refusal::from(error).unknown())?);
        }
        Ok(anchors)
    }

    /// Adds the names of the files' places, and what is in the files.
    pub(crate) fn add_basis(&self, basis: &mut Basis) {
        for path in &self.paths {
            basis.add("certificates in", path.as_os_str().as_encoded_bytes());
            match files::load(path, &self.known) {
                Ok(anchors) => {
                    anchors.iter().for_each(|one| basis.add("certificate", one.certificate.der()));
                }
                Err(error) => basis.add("error", error),
            }
        }
    }
}

impl TrustStores {
    fn of_providers(&self, group: &[String], name: &str, host: &dyn Host) -> Result<Vec<Anchor>> {
        let mut anchors = Vec::new();
        for resource in group {
            anchors.extend(self.of_provider(resource, host)?);
        }
        if anchors.is_empty() {
            let text = format!("no certificates fetched in namedStore: {name}");
            return Err(Refusal::from(text).unknown());
        }
        Ok(anchors)
    }

    /// The certificates of a key management provider, or else of the certificate store of that name.
    fn of_provider(&self, resource: &str, host: &dyn Host) -> Result<Vec<Anchor>> {
        let provider = host.certificates(resource);
        let provider_error = match provider {
            Ok(found) if !found.is_empty() => return self.parsed(resource, &found),
            Ok(_) => None,
            Err(error) => {
                tracing::info!(
                    "unable to fetch certificates for Key Management Provider {resource}: {error}"
                );
                Some(error)
            }
        };
        tracing::info!("no certificate fetched for Key Management Provider {resource}");
        match (host.certificate_store(resource), provider_error) {
            (Ok(found), _) if !found.is_empty() => {
                tracing::info!(
                    "Certificate Store has been deprecated since v1.2.0, please migrate to Key Management Provider following: https://ratify.dev/docs/reference/custom%20resources/key-management-providers#migrating-from-certificatestore-to-kmp"
                );
                self.parsed(resource, &found)
            }
            (Err(store_error), Some(provider_error)) => {
                // What went wrong with one that is there says more than that the other is not.
                let cause = match went_wrong(&store_error) && !went_wrong(&provider_error) {
                    true => store_error,
                    false => provider_error,
                };
                let detail = format!(
                    "unable to fetch certificates from Key Management Provider and Certificate Store: {resource}"
                );
                Err(ErrorCode::CertInvalid.detail(detail).with_source(cause).into())
            }
            (store, _) => {
                if let Err(error) = store {
                    tracing::warn!(
                        "unable to fetch certificates for Certificate Store {resource}: {error}"
                    );
                }
                tracing::warn!("no certificate fetched for Certificate Store {resource}");
                Ok(Vec::new())
            }
        }
    }

    fn parsed(&self, resource: &str, found: &[RingCertificate]) -> Result<Vec<Anchor>> {
        let anchors = found.iter().map(|one| self.known.parse(&one.der));
        anchors.collect::<Result<_, _>>().map_err(|error| {
            let detail = format!("a certificate of {resource} cannot be used");
            ErrorCode::CertInvalid.detail(detail).with_source(error).into()
        })
    }
}

/// The certificates of the files below a path.
#[cfg(test)]
pub(crate) fn load_files(path: &std::path::Path) -> std::result::Result<Vec<Certificate>, String> {
    let anchors = files::load(path, &Known::default())?;
    Ok(anchors.into_iter().map(|anchor| anchor.certificate).collect())
}

/// Whether more is wrong than that there is no such thing, or no access to it.
fn went_wrong(error: &Error) -> bool {
    !matches!(error.code(), ErrorCode::ResourceNotFound | ErrorCode::OperationForbidden)
}

#[cfg(test)]
mod tests;
