//! What is trusted besides keys: Sigstore's certificate authorities, transparency logs and timestamp
//! authorities. [`TrustSource`] says where they are from, [`Material`] is what they are.
//!
//! They are, in this order: a pinned `trusted_root.json` of the configuration; the files that cosign's
//! environment variables name, each for its part; a TUF repository, Sigstore's own where no other is
//! configured. Where `cosign initialize` chose another one, which is not read, nothing is trusted in its
//! place.

mod parts;
mod tuf;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use ratify_core::{Basis, ErrorCode, Host, Result};
use rustls_pki_types::CertificateDer;
use sigstore_verify::{Verifier, crypto::Keyring, trust_root::TrustedRoot, types::TimeRange};

use crate::config::{Environment, FieldError, Fields, read_file};
use tuf::Repository;

/// Which parts a policy needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Public keys of the transparency log.
    pub(crate) log: bool,
    /// Certificates of the authority that signs for identities.
    pub(crate) authorities: bool,
    /// Public keys of the certificate transparency log.
    pub(crate) certificate_log: bool,
}

impl Wanted {
    pub(crate) const fn nothing(self) -> bool {
        !self.log && !self.authorities && !self.certificate_log
    }
}

/// Where what is trusted is from. Clones share what was fetched.
#[derive(Clone)]
pub(crate) struct TrustSource(Arc<Source>);

struct Source {
    base: Base,
    files: Files,
    kept: Mutex<Option<Kept>>,
}

/// Files that stand for parts of it.
#[derive(Default)]
struct Files {
    authorities: Option<PathBuf>,
    log: Option<PathBuf>,
    certificate_log: Option<PathBuf>,
}

enum Base {
    /// A `trusted_root.json`.
    Pinned(PathBuf),
    Tuf(Repository),
    /// What `cosign initialize` wrote there, which is not read.
    Initialized {
        directory: PathBuf,
        is_of_namespace: bool,
    },
}

/// What was read last, and what came of it.
struct Kept {
    wanted: Wanted,
    read: Vec<Vec<u8>>,
    material: Arc<Material>,
}

/// What is trusted.
pub(crate) struct Material {
    pub(crate) verifier: Verifier,
    pub(crate) log_keys: Keyring,
    authorities: Vec<(CertificateDer<'static>, Option<TimeRange>)>,
    /// Until when the repository vouches for it.
    pub(crate) valid_until: Option<SystemTime>,
}

impl Material {
    fn new(root: &TrustedRoot, valid_until: Option<SystemTime>) -> Result<Self> {
        let unusable = |error: &dyn fmt::Display| {
            ErrorCode::ConfigInvalid
                .detail("the trusted root cannot be used")
                .with_source(error.to_string())
        };
        let authorities = root.certificate_authorities.iter().flat_map(|authority| {
            authority.cert_chain.certificates.iter().map(|certificate| {
                let der = certificate.raw_bytes.as_bytes().to_vec();
                (CertificateDer::from(der), authority.valid_for)
            })
        });
        Ok(Self {
            verifier: Verifier::new(root).map_err(|error| unusable(&error))?,
            log_keys: root.rekor_keys().map_err(|error| unusable(&error))?,
            authorities: authorities.collect(),
            valid_until,
        })
    }

    /// The certificates of all authorities.
    pub(crate) fn authorities(&self) -> Vec<CertificateDer<'static>> {
        self.authorities.iter().map(|(certificate, _)| certificate.clone()).collect()
    }

    /// The certificates of the authorities that may sign at a time.
    pub(crate) fn authorities_at(&self, at: jiff::Timestamp) -> Vec<CertificateDer<'static>> {
        let may_sign = |window: &Option<TimeRange>| window.is_none_or(|window| window.contains(at));
        let all = self.authorities.iter().filter(|(_, window)| may_sign(window));
        all.map(|(certificate, _)| certificate.clone()).collect()
    }
}

impl TrustSource {
    /// Reads the keys `trustedRoot` and `tuf` of an entry or a policy. A policy without either has
    /// those of its entry.
    ///
    /// # Errors
    /// Where both are given, where a file cannot be used, where a namespace names one.
    pub(crate) fn read(
        fields: &Fields<'_>,
        of_entry: Option<&Self>,
        environment: &Environment,
    ) -> Result<Self> {
        let (pinned, tuf) = (fields.text("trustedRoot")?, fields.object("tuf")?);
        let base = match (pinned, tuf, of_entry) {
            (Some(_), Some(_), _) => {
                return Err(FieldError::new("tuf", "left out where trustedRoot is given").into());
            }
            (None, None, Some(of_entry)) => return Ok(of_entry.clone()),
            (Some(path), None, _) => {
                environment.check_file("trustedRoot", path)?;
                Base::Pinned(path.into())
            }
            (None, Some(tuf), _) => Base::Tuf(Repository::read(&tuf, environment)?),
            (None, None, None) => match environment.tuf_root.clone() {
                None => Base::Tuf(Repository::sigstore()),
                Some(directory) => {
                    let is_of_namespace = environment.is_of_namespace;
                    Base::Initialized { directory, is_of_namespace }
                }
            },
        };
        let is_own = matches!(base, Base::Pinned(_)) || fields.object("tuf")?.is_some();
        let files = if is_own { Files::default() } else { Files::of(environment) };
        let source = Source { base, files, kept: Mutex::default() };
        if let Base::Pinned(path) = &source.base
            && !environment.is_check
        {
            Material::new(&read_pinned(path)?.1, None)?;
        }
        Ok(Self(Arc::new(source)))
    }

    /// Whether what is wanted may be asked for.
    ///
    /// # Errors
    /// Where v1 reads it from what `cosign initialize` wrote: Sigstore's own must not stand for that.
    pub(crate) fn check(&self, wanted: Wanted) -> Result<()> {
        match &self.0.base {
            Base::Initialized { directory, is_of_namespace } if !self.0.files.stand_for(wanted) => {
                Err(initialized(directory, *is_of_namespace))
            }
            _ => Ok(()),
        }
    }

    /// What is trusted now. Files are read each time, so that a mounted one may change; a repository
    /// is asked again when what it said is old.
    ///
    /// # Errors
    /// Where a part that is wanted cannot be had.
    pub(crate) async fn material(
        &self,
        wanted: Wanted,
        host: &Arc<dyn Host>,
        now: jiff::Timestamp,
    ) -> Result<Arc<Material>> {
        self.check(wanted)?;
        let (mut root, mut read, mut valid_until) = match &self.0.base {
            Base::Pinned(path) => {
                let (bytes, root) = read_pinned(path)?;
                (root, vec![bytes], None)
            }
            Base::Tuf(repository) if !self.0.files.stand_for(wanted) => {
                let fetched = repository.trusted_root(host, now).await?;
                let root = parts::parse(&fetched.bytes)?;
                (root, vec![fetched.bytes.to_vec()], Some(fetched.valid_until))
            }
            Base::Tuf(_) | Base::Initialized { .. } => (parts::empty()?, Vec::new(), None),
        };
        self.0.files.overlay(&mut root, &mut read)?;
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |kept: &&Kept| {
            kept.read == read && kept.wanted == wanted && kept.material.valid_until == valid_until
        };
        if let Some(kept) = kept.as_ref().filter(is_same) {
            return Ok(Arc::clone(&kept.material));
        }
        let material = Arc::new(Material::new(&root, valid_until.take())?);
        *kept = Some(Kept { wanted, read, material: Arc::clone(&material) });
        Ok(material)
    }

    /// Adds where it is from, and what is in the files.
    pub(crate) fn add_basis(&self, basis: &mut Basis) {
        match &self.0.base {
            Base::Pinned(path) => add_file(basis, "trusted root", path),
            Base::Tuf(repository) => repository.add_basis(basis),
            // Files stand for all that is wanted, or there is no verifier.
            Base::Initialized { .. } => basis.add("trusted root", "none"),
        }
        let Files { authorities, log, certificate_log } = &self.0.files;
        for (name, file) in
            [("authorities", authorities), ("log", log), ("certificate log", certificate_log)]
        {
            if let Some(path) = file {
                add_file(basis, name, path);
            }
        }
    }
}

impl Files {
    fn of(environment: &Environment) -> Self {
        Self {
            authorities: environment.root_file.clone(),
            log: environment.rekor_public_key.clone(),
            certificate_log: environment.ct_log_public_key.clone(),
        }
    }

    /// Whether nothing else is needed for what is wanted.
    fn stand_for(&self, wanted: Wanted) -> bool {
        (!wanted.log || self.log.is_some())
            && (!wanted.authorities || self.authorities.is_some())
            && (!wanted.certificate_log || self.certificate_log.is_some())
    }

    /// Puts what is in the files in the place of what was there.
    fn overlay(&self, root: &mut TrustedRoot, read: &mut Vec<Vec<u8>>) -> Result<()> {
        let mut contents = |path: &Path| -> Result<Vec<u8>> {
            let bytes = read_file(path).map_err(|error| unreadable(path, error))?;
            read.push(bytes.clone());
            Ok(bytes)
        };
        if let Some(path) = &self.authorities {
            parts::put_authorities(root, &contents(path)?)?;
        }
        if let Some(path) = &self.log {
            parts::put_log(root, &contents(path)?)?;
        }
        if let Some(path) = &self.certificate_log {
            parts::put_certificate_log(root, &contents(path)?)?;
        }
        Ok(())
    }
}

fn initialized(directory: &Path, is_of_namespace: bool) -> ratify_core::Error {
    let directory = ratify_core::capped_line(&directory.display().to_string(), 200);
    let remediation = match is_of_namespace {
        true => "Please ask the cluster's administrator for a verifier that names tuf.".to_owned(),
        false => format!(
            r#"Please write "tuf": {{"url": "https://tuf.example.com", "root": "/path/to/root.json"}} into the verifier, or trustedRoot; where Sigstore's own repository is meant, unset TUF_ROOT and remove {directory}."#
        ),
    };
    ErrorCode::ConfigInvalid
        .detail(format!("what is trusted of Sigstore was chosen with cosign initialize in {directory}, which is not read, and Sigstore's own repository must not stand for it"))
        .with_remediation(remediation)
}

fn read_pinned(path: &Path) -> Result<(Vec<u8>, TrustedRoot)> {
    let bytes = read_file(path).map_err(|error| unreadable(path, error))?;
    let root = parts::parse(&bytes)?;
    Ok((bytes, root))
}

fn unreadable(path: &Path, error: std::io::Error) -> ratify_core::Error {
    ErrorCode::ConfigInvalid
        .detail(format!("failed to read what is trusted from file {}", path.display()))
        .with_source(error)
}

/// Adds what is in a file, or that there is none; what cannot be read decides in a way that is not known.
pub(crate) fn add_file(basis: &mut Basis, name: &str, path: &Path) {
    match read_file(path) {
        Ok(contents) => basis.add(name, contents),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => basis.add("no file", name),
        Err(_) => basis.add_unknown(),
    }
}

#[cfg(test)]
mod tests;
