//! [`TrustPolicy`]: who has to have signed, and what else is asked of a signature.

use ratify_core::{Error, ErrorCode, Result};
use regex::Regex;

use super::{DEFAULT_REKOR_URL, Environment, fields::Fields, go_regex, read_key_file};
use crate::{
    keys::PublicKey,
    trust::{TrustSource, Wanted},
};

/// The one version of trust policies.
const VERSION: &str = "1.0.0";

/// One entry of `trustPolicies`.
pub(crate) struct TrustPolicy {
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) signer: Signer,
    /// The transparency log; `None` where it is not looked at.
    pub(crate) rekor_url: Option<String>,
    pub(crate) trust: TrustSource,
}

/// Who has to have signed.
pub(crate) enum Signer {
    /// One of these keys.
    Keys(Vec<KeySource>),
    /// Whom a certificate names.
    Keyless(Keyless),
}

/// Where a key is.
pub(crate) enum KeySource {
    /// In a file, which was read.
    File {
        /// The path, as configured.
        path: String,
        /// What was in it.
        key: PublicKey,
    },
    /// In a key management provider: one key, or all of it.
    Provider {
        /// The provider's resource.
        provider: String,
        /// The name of the one key; `None` for all.
        name: Option<String>,
        /// Its version; `None` for any.
        version: Option<String>,
    },
}

/// Whom a certificate has to name.
pub(crate) struct Keyless {
    /// The subject of the certificate; `None` for any, which only v1's older form has.
    pub(crate) subject: Option<Identity>,
    /// Who vouched for the subject; `None` for any.
    pub(crate) issuer: Option<Identity>,
    /// Whether the certificate has to be in a certificate transparency log.
    pub(crate) verify_sct: bool,
}

/// What a name has to be.
pub(crate) enum Identity {
    /// This.
    Exact(String),
    /// What this is found in.
    Pattern(Regex),
}

impl Identity {
    /// Whether a name is it. As in cosign, a pattern may match any part.
    pub(crate) fn is(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => text == name,
            Self::Pattern(pattern) => pattern.is_match(name),
        }
    }
}

impl TrustPolicy {
    /// Reads one policy; `earlier` are those before it.
    ///
    /// # Errors
    /// As v1, in its words; where a key file cannot be read; where a namespace names a file or server.
    pub(super) fn read(
        fields: &Fields<'_>,
        trust: &TrustSource,
        environment: &Environment,
        earlier: &[Self],
    ) -> Result<Self> {
        let name = fields.text_or_empty("name")?.to_owned();
        if earlier.iter().any(|policy| policy.name == name) {
            return Err(invalid(format!(
                "Failed to create trust policies: duplicate policy name {name}"
            ))
            .with_remediation("Ensure that trust policy names are unique."));
        }
        let version = fields.text("version")?.unwrap_or(VERSION);
        if version != VERSION {
            return Err(invalid(format!(
                "Invalid trust policy {name}: unsupported version {version}"
            ))
            .with_remediation(format!("Supported versions are: [{VERSION}]")));
        }
        if name.is_empty() {
            return Err(invalid("name parameter is required in trust policy configuration")
                .with_remediation("Please provide a name for the trust policy."));
        }
        let scopes = fields.texts("scopes")?;
        if scopes.is_empty() {
            return Err(invalid(format!(
                "scopes parameter is required in trust policy configuration {name}"
            ))
            .with_remediation("Please provide at least one scope for the trust policy."));
        }
        let signer = signer(fields, &name, environment)?;
        let rekor_url = fields.text("rekorURL")?.unwrap_or(DEFAULT_REKOR_URL);
        environment.check_url("rekorURL", rekor_url)?;
        let looks_at_log = fields.boolean("tLogVerify")?.unwrap_or(true);
        Ok(Self {
            scopes: scopes.into_iter().map(Into::into).collect(),
            signer,
            rekor_url: looks_at_log.then(|| rekor_url.to_owned()),
            trust: TrustSource::read(fields, Some(trust), environment)?,
            name,
        })
    }

    /// What is needed beside keys.
    pub(crate) const fn wanted(&self) -> Wanted {
        let (authorities, certificate_log) = match &self.signer {
            Signer::Keys(_) => (false, false),
            Signer::Keyless(keyless) => (true, keyless.verify_sct),
        };
        Wanted { log: self.rekor_url.is_some(), authorities, certificate_log }
    }
}

fn signer(fields: &Fields<'_>, policy: &str, environment: &Environment) -> Result<Signer> {
    let keys = fields.objects("keys")?;
    let keyless = match fields.object("keyless")? {
        Some(keyless) => KeylessFields::read(&keyless)?,
        None => None,
    };
    match (keys.is_empty(), keyless) {
        (true, None) => Err(invalid(format!(
            "keys or keyless parameter is required in trust policy configuration {policy}"
        ))),
        (false, Some(_)) => Err(invalid(format!(
            "Only one of keys or keyless parameter is required in trust policy configuration {policy}"
        ))),
        (true, Some(keyless)) => Ok(Signer::Keyless(keyless.checked(policy)?)),
        (false, None) => {
            let keys =
                keys.iter().map(|key| KeyFields::read(key, policy)).collect::<Result<Vec<_>>>()?;
            let open = |key: &KeyFields<'_>| key.open(policy, environment).transpose();
            Ok(Signer::Keys(keys.iter().filter_map(open).collect::<Result<Vec<_>>>()?))
        }
    }
}

struct KeyFields<'a> {
    provider: Option<&'a str>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    file: Option<&'a str>,
}

impl<'a> KeyFields<'a> {
    fn read(fields: &Fields<'a>, policy: &str) -> Result<Self> {
        let key = Self {
            provider: fields.text("provider")?,
            name: fields.text("name")?,
            version: fields.text("version")?,
            file: fields.text("file")?,
        };
        let wrong = match (key.file, key.provider) {
            (None, None) => "key management provider name is required when not using file path",
            (Some(_), Some(_)) => "'name' and 'file' cannot be configured together",
            _ if key.version.is_some() && key.name.is_none() => {
                "key name is required when key version is defined"
            }
            _ => return Ok(key),
        };
        Err(invalid(format!("Invalid trust policy {policy}: {wrong}")))
    }

    /// Reads the key; `None` where the entry is only checked.
    fn open(&self, policy: &str, environment: &Environment) -> Result<Option<KeySource>> {
        let Some(path) = self.file else {
            let owned = |text: Option<&str>| text.map(Into::into);
            return Ok(Some(KeySource::Provider {
                provider: self.provider.unwrap_or_default().to_owned(),
                name: owned(self.name),
                version: owned(self.version),
            }));
        };
        environment.check_file("keys[].file", path)?;
        if environment.is_check {
            return Ok(None);
        }
        let key = read_key_file(path).map_err(|error| {
            invalid(format!(
                "Invalid trust policy [{policy}]: failed to load the key from file {path}"
            ))
            .with_source(error)
            .with_remediation(
                "Ensure that the key file path is correct and public key is correctly saved.",
            )
        })?;
        Ok(Some(KeySource::File { path: path.to_owned(), key }))
    }
}

struct KeylessFields<'a> {
    verify_sct: bool,
    subject: (Option<&'a str>, Option<&'a str>),
    issuer: (Option<&'a str>, Option<&'a str>),
}

impl<'a> KeylessFields<'a> {
    /// What is there; `None` where nothing is, which counts as no keyless at all.
    fn read(fields: &Fields<'a>) -> Result<Option<Self>> {
        let verify_sct = fields.boolean("ctLogVerify")?;
        let subject =
            (fields.text("certificateIdentity")?, fields.text("certificateIdentityRegExp")?);
        let issuer =
            (fields.text("certificateOIDCIssuer")?, fields.text("certificateOIDCIssuerRegExp")?);
        let is_absent = verify_sct.is_none() && subject == (None, None) && issuer == (None, None);
        let keyless = Self { verify_sct: verify_sct.unwrap_or(true), subject, issuer };
        Ok((!is_absent).then_some(keyless))
    }

    fn checked(&self, policy: &str) -> Result<Keyless> {
        let refuse = |what: &str| invalid(format!("Invalid trust policy {policy}: {what}"));
        if self.subject == (None, None) {
            return Err(refuse("certificate identity or identity regex pattern is required"));
        }
        if self.issuer == (None, None) {
            return Err(refuse("certificate OIDC issuer or issuer regex pattern is required"));
        }
        let pattern = |key: &str, text: &str| {
            let malformed = |error| refuse(&format!("{key} is malformed")).with_source(error);
            go_regex::compile(text).map_err(malformed).map(Identity::Pattern)
        };
        let subject = match self.subject {
            (Some(_), Some(_)) => {
                return Err(refuse(
                    "only one of certificate identity or identity regex pattern should be specified",
                ));
            }
            (_, Some(text)) => pattern("certificateIdentityRegExp", text)?,
            (text, None) => Identity::Exact(text.unwrap_or_default().to_owned()),
        };
        let issuer = match self.issuer {
            (Some(_), Some(_)) => {
                return Err(refuse(
                    "only one of certificate OIDC issuer or issuer regex pattern should be specified",
                ));
            }
            (_, Some(text)) => pattern("certificateOIDCIssuerRegExp", text)?,
            (text, None) => Identity::Exact(text.unwrap_or_default().to_owned()),
        };
        Ok(Keyless { subject: Some(subject), issuer: Some(issuer), verify_sct: self.verify_sct })
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    ErrorCode::ConfigInvalid.detail(detail)
}
