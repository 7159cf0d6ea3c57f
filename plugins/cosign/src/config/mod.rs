//! [`Config`]: what an entry of the configuration says, checked as v1 checks it. Pure, but for the
//! key files of trust policies, which are read here, as in v1.

mod fields;
mod go_regex;
mod policy;
mod scopes;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use ratify_core::{ComponentType, Error, ErrorCode, Result, config::VerifierPluginConfig};

pub(crate) use fields::{FieldError, Fields};
pub(crate) use policy::{Identity, KeySource, Keyless, Signer, TrustPolicy};
use scopes::check_scopes;
pub(crate) use scopes::policy_for;

use crate::{
    keys::PublicKey,
    trust::{TrustSource, Wanted},
};

/// What v1 asks where no other log is configured.
pub(crate) const DEFAULT_REKOR_URL: &str = "https://rekor.sigstore.dev";
/// In front of every error about a configuration.
const NOT_CREATED: &str = "Failed to create the Cosign Verifier";
/// A file of keys or certificates is small.
pub(crate) const MOST_FILE: u64 = 4 << 20;

/// What an entry is read with besides itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Environment {
    /// The home directory, which `~/` stands for.
    pub home: PathBuf,
    /// Whether the entry is a namespace's: it may name no files and no servers then.
    pub is_of_namespace: bool,
    /// `SIGSTORE_ROOT_FILE`: certificates of Fulcio, in place of those of the TUF repository.
    pub root_file: Option<PathBuf>,
    /// `SIGSTORE_REKOR_PUBLIC_KEY`: the public key of Rekor, in place of those of the repository.
    pub rekor_public_key: Option<PathBuf>,
    /// `SIGSTORE_CT_LOG_PUBLIC_KEY_FILE`: the public key of the certificate transparency log, in
    /// place of those of the repository.
    pub ct_log_public_key: Option<PathBuf>,
    /// `TUF_ROOT`, or where `cosign initialize` wrote ([`initialized`]): what is trusted was chosen there.
    pub tuf_root: Option<PathBuf>,
    /// Whether the entry is only checked: no file is read, and nothing is verified by what comes of it.
    pub(crate) is_check: bool,
}

impl Environment {
    /// Reads the variables that cosign reads, by a function.
    #[must_use]
    pub fn with_variables(mut self, variable: impl Fn(&str) -> Option<PathBuf>) -> Self {
        self.root_file = variable("SIGSTORE_ROOT_FILE");
        self.rekor_public_key = variable("SIGSTORE_REKOR_PUBLIC_KEY");
        self.ct_log_public_key = variable("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE");
        self.tuf_root = variable("TUF_ROOT");
        self
    }
}

/// The directory of a home that `cosign initialize` wrote where `TUF_ROOT` named none, if it did. What
/// cannot be looked at counts as written.
#[must_use]
pub fn initialized(home: &Path) -> Option<PathBuf> {
    let directory = home.join(".sigstore/root");
    match directory.join("remote.json").symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => None,
        _ => Some(directory),
    }
}

/// A configured verifier.
pub(crate) struct Config {
    /// Whether what is attached to a signature must pass as well.
    pub(crate) nested: bool,
    pub(crate) mode: Mode,
}

/// The two forms of v1's configuration.
pub(crate) enum Mode {
    /// `trustPolicies`.
    Policies(Vec<TrustPolicy>),
    /// `key` and `rekorURL`, or neither.
    Legacy(Legacy),
}

/// v1's older form. It knows no identities.
pub(crate) struct Legacy {
    /// The file of the one key; keyless without it.
    pub(crate) key: Option<PathBuf>,
    /// The log; without it neither log nor certificate timestamps are looked at.
    pub(crate) rekor_url: Option<String>,
    pub(crate) trust: TrustSource,
}

impl Legacy {
    /// What is needed beside the key.
    pub(crate) const fn wanted(&self) -> Wanted {
        let (log, is_keyless) = (self.rekor_url.is_some(), self.key.is_none());
        Wanted { log, authorities: is_keyless, certificate_log: is_keyless && log }
    }
}

impl Config {
    /// Reads an entry.
    ///
    /// # Errors
    /// Where v1 refuses it, in v1's words; where a namespace names a file or a server.
    pub(crate) fn read(entry: &VerifierPluginConfig, environment: &Environment) -> Result<Self> {
        let of_verifier =
            |error: Error| error.from_component(ComponentType::Verifier, entry.name.clone());
        Self::from_fields(&Fields::new(&entry.raw), environment).map_err(of_verifier)
    }

    fn from_fields(fields: &Fields<'_>, environment: &Environment) -> Result<Self> {
        let not_created =
            |error: Error| ErrorCode::ConfigInvalid.detail(NOT_CREATED).with_source(error);
        let text = |key: &str| fields.text(key).map_err(|error| not_created(error.into()));
        let (key, rekor_url) = (text("key")?, text("rekorURL")?);
        if text("artifactTypes")?.is_none() {
            let missing =
                ErrorCode::ConfigInvalid.detail("missing artifactTypes in verifier config");
            return Err(not_created(missing));
        }
        let read = |error: FieldError| not_created(error.into());
        let policies = fields.objects("trustPolicies").map_err(read)?;
        let nested = !fields.texts("nestedArtifactTypes").map_err(read)?.is_empty();
        let has_legacy_keys = key.is_some() || rekor_url.is_some();
        if has_legacy_keys && !policies.is_empty() {
            return Err(ErrorCode::ConfigInvalid.detail("'key' and 'rekorURL' are part of Cosign legacy configuration and cannot be used with `trustPolicies` parameter"));
        }
        let trust = TrustSource::read(fields, None, environment).map_err(init_failure)?;
        let mode = if policies.is_empty() {
            let legacy = legacy(key, rekor_url, trust, environment).map_err(init_failure)?;
            legacy.trust.check(legacy.wanted()).map_err(init_failure)?;
            Mode::Legacy(legacy)
        } else {
            let policies = read_policies(&policies, &trust, environment).map_err(init_failure)?;
            Mode::Policies(policies)
        };
        Ok(Self { nested, mode })
    }

    /// Whether anyone's signature counts who has a certificate of a trusted authority.
    pub(crate) fn accepts_anyone(&self) -> bool {
        matches!(&self.mode, Mode::Legacy(legacy) if legacy.key.is_none())
    }
}

fn init_failure(error: Error) -> Error {
    ErrorCode::PluginInitFailure.detail(NOT_CREATED).with_source(error)
}

fn legacy(
    key: Option<&str>,
    rekor_url: Option<&str>,
    trust: TrustSource,
    environment: &Environment,
) -> Result<Legacy> {
    if let Some(key) = key {
        environment.check_file("key", key)?;
    }
    if let Some(url) = rekor_url {
        environment.check_url("rekorURL", url)?;
    }
    let key = key.map(|key| environment.without_tilde(key));
    Ok(Legacy { key, rekor_url: rekor_url.map(Into::into), trust })
}

fn read_policies(
    policies: &[Fields<'_>],
    trust: &TrustSource,
    environment: &Environment,
) -> Result<Vec<TrustPolicy>> {
    let mut read: Vec<TrustPolicy> = Vec::with_capacity(policies.len());
    for fields in policies {
        let policy = TrustPolicy::read(fields, trust, environment, &read)?;
        policy.trust.check(policy.wanted())?;
        read.push(policy);
    }
    check_scopes(&read)?;
    Ok(read)
}

impl Environment {
    /// A path as v1's legacy key is read: `~/` is the home directory.
    fn without_tilde(&self, path: &str) -> PathBuf {
        match path.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => PathBuf::from(path),
        }
    }

    /// The file is Ratify's own, and a namespace must not have it read.
    pub(crate) fn check_file(&self, key: &str, path: &str) -> Result<()> {
        self.refuse_of_namespace(key, path, "a file of Ratify's")
    }

    /// Ratify sends there what a namespace says, from inside the cluster.
    pub(crate) fn check_url(&self, key: &str, url: &str) -> Result<()> {
        match url.trim_end_matches('/') {
            DEFAULT_REKOR_URL => Ok(()),
            _ => self.refuse_of_namespace(key, url, "a server"),
        }
    }

    fn refuse_of_namespace(&self, key: &str, value: &str, what: &str) -> Result<()> {
        if !self.is_of_namespace {
            return Ok(());
        }
        let shown = ratify_core::capped_line(value, 200);
        Err(ErrorCode::OperationForbidden
            .detail(format!("{key} [{shown}] names {what}, which a namespace may not choose"))
            .with_remediation("Please use a key management provider, or ask the cluster's administrator for a verifier."))
    }
}

/// Reads a small file, whole.
pub(crate) fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_FILE {
        return Err(std::io::Error::other(format!("the file is longer than {MOST_FILE} bytes")));
    }
    Ok(bytes)
}

/// Why a file cannot be read, as Go says it.
pub(crate) fn io_text(path: &Path, error: &std::io::Error) -> String {
    let path = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
        std::io::ErrorKind::PermissionDenied => format!("open {path}: permission denied"),
        std::io::ErrorKind::IsADirectory => format!("read {path}: is a directory"),
        _ => format!("open {path}: {error}"),
    }
}

/// Reads the key file of a trust policy.
fn read_key_file(path: &str) -> Result<PublicKey, Box<dyn std::error::Error + Send + Sync>> {
    let contents = read_file(path.as_ref()).map_err(|error| io_text(path.as_ref(), &error))?;
    if contents.is_empty() {
        return Err(format!("key file {path} is empty").into());
    }
    Ok(PublicKey::from_pem(&contents)?)
}

#[cfg(test)]
mod tests;
