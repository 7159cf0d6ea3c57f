//! The sections `plugins` and `namespaces`: what administrators allow of plugins, and of those who
//! write resources in a namespace. Additions to v1; without them everything is as in v1, but that
//! a namespace may not bring programs ([`PluginRules::namespaced_source`]).
//!
//! They are read more strictly than the rest: a key that is misspelt, or `null`, would open what
//! was meant to be shut, so both are errors.

mod check;

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use crate::{Digest, Reference, ReferenceError};

use super::{ConfigError, Section, TrustPolicy};

pub use check::{Candidate, Denial, Part};

/// The names under which Docker Hub is known.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_ALIASES: [&str; 3] =
    ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// The section `plugins`.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PluginRules {
    /// The repositories plugins may be pulled from; `None` for any, an empty list for none.
    pub allowed_repositories: Option<Vec<RepositoryPattern>>,
    /// What must not run: the digest of an index, a manifest or a program.
    pub denied_digests: BTreeSet<Digest>,
    /// Whether `source.artifact` must be a digest.
    pub require_digest: bool,
    /// The most bytes a program may have; `None` for the installer's default.
    pub max_size: Option<u64>,
    /// Whether a namespaced resource may have a `source`, which is to run a program of its own.
    pub namespaced_source: bool,
    /// Whether the `address` of a namespaced resource may be anywhere.
    pub namespaced_any_address: bool,
    /// A file that says which digest each `source.artifact` stands for; nothing else is installed.
    pub lock_file: Option<String>,
    /// What every plugin with a source has to prove, where its source does not say.
    pub trust_policy: Option<TrustPolicy>,
}

/// The section `namespaces`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceRules {
    /// Whether what a namespace has of its own is only added to the cluster's (in v1 it replaces
    /// it).
    pub tighten_only: bool,
    /// Whether the stores of a namespace may use Ratify's own credentials for registries.
    pub cluster_credentials: bool,
}

/// `registry/repository`, or `registry/…/*` for every repository below. The registry is compared
/// whole, with its port; there is no wildcard in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPattern {
    registry: String,
    /// The repository, or what stands in front of `/*`; empty for a whole registry.
    repository: String,
    below: bool,
}

/// Why a text is no [`RepositoryPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// A `*` elsewhere than as the last component.
    #[error("a * may only be the whole last part, as in registry.example.com/team/*")]
    Wildcard,
    /// A tag, a digest, or no reference at all.
    #[error("it must be registry/repository or registry/folder/*: {0}")]
    Reference(ReferenceError),
    /// A tag or a digest, which a repository has none of.
    #[error("it must be registry/repository or registry/folder/*, without tag and digest")]
    TagOrDigest,
}

impl RepositoryPattern {
    /// Reads a pattern. Nothing is added to it: what is in front of the first `/` is the registry.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (path, below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.contains('*') {
            return Err(PatternError::Wildcard);
        }
        // A whole registry has no repository to check: one stands in for it.
        let whole_registry = below && !path.contains('/');
        let example = if whole_registry { format!("{path}/x") } else { path.to_owned() };
        let repository_alone =
            example.split_once('/').is_none_or(|(_, rest)| !rest.contains([':', '@']));
        if !repository_alone {
            return Err(PatternError::TagOrDigest);
        }
        let reference =
            Reference::parse_exact(&format!("{example}:x")).map_err(PatternError::Reference)?;
        let (registry, mut repository) = (canonical(reference.registry()), String::new());
        if !whole_registry {
            reference.repository().clone_into(&mut repository);
        }
        if !below {
            repository = in_library(&registry, &repository);
        }
        Ok(Self { registry, repository, below })
    }

    /// Whether a reference is in what the pattern names.
    pub fn covers(&self, reference: &Reference) -> bool {
        let registry = canonical(reference.registry());
        if registry != self.registry {
            return false;
        }
        let asked = in_library(&registry, reference.repository());
        match (self.below, self.repository.as_str()) {
            (true, "") => true,
            (true, folder) => {
                asked.strip_prefix(folder).is_some_and(|below| below.starts_with('/'))
            }
            (false, repository) => asked == repository,
        }
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.repository.is_empty() { "" } else { "/" };
        let below = if self.below { "/*" } else { "" };
        write!(formatter, "{}{separator}{}{below}", self.registry, self.repository)
    }
}

/// Host names are compared in lower case, Docker Hub's under one of its names.
fn canonical(registry: &str) -> String {
    let lower = registry.to_ascii_lowercase();
    if DOCKER_HUB_ALIASES.contains(&lower.as_str()) { DOCKER_HUB.to_owned() } else { lower }
}

/// Docker Hub keeps a repository without a folder in `library`.
fn in_library(registry: &str, repository: &str) -> String {
    if registry == DOCKER_HUB && !repository.contains('/') {
        return format!("library/{repository}");
    }
    repository.to_owned()
}

impl PluginRules {
    pub(super) fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        section.refuse_null()?;
        let patterns = section.strings("allowedRepositories")?;
        let allowed = patterns.map(|texts| {
            parsed(&section, "allowedRepositories", &texts, |text| {
                RepositoryPattern::parse(text).map_err(|error| error.to_string())
            })
        });
        let denied = section.strings("deniedDigests")?.unwrap_or_default();
        let denied = parsed(&section, "deniedDigests", &denied, |text| {
            text.parse::<Digest>().map_err(|error| error.to_string())
        })?;
        let mut rules = Self {
            allowed_repositories: allowed.transpose()?,
            denied_digests: denied.into_iter().collect(),
            require_digest: section.boolean("requireDigest")?.unwrap_or_default(),
            max_size: max_size(&mut section)?,
            lock_file: section.string("lockFile")?.filter(|path| !path.is_empty()),
            ..Self::default()
        };
        if let Some(value) = section.take("trustPolicy")? {
            rules.trust_policy =
                Some(TrustPolicy::from_value(section.key_path("trustPolicy"), value)?);
        }
        if let Some(value) = section.take("namespaces")? {
            let mut namespaces = Section::from_value(section.key_path("namespaces"), value)?;
            namespaces.refuse_null()?;
            rules.namespaced_source = namespaces.boolean("source")?.unwrap_or_default();
            rules.namespaced_any_address = namespaces.boolean("anyAddress")?.unwrap_or_default();
            namespaces.refuse_rest()?;
        }
        section.refuse_rest()?;
        Ok(rules)
    }
}

impl NamespaceRules {
    pub(super) fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        section.refuse_null()?;
        let tighten_only = section.boolean("tightenOnly")?.unwrap_or_default();
        let cluster_credentials = section.boolean("clusterCredentials")?.unwrap_or_default();
        section.refuse_rest()?;
        Ok(Self { tighten_only, cluster_credentials })
    }
}

fn max_size(section: &mut Section) -> Result<Option<u64>, ConfigError> {
    let Some(number) = section.integer("maxSizeBytes")? else { return Ok(None) };
    match u64::try_from(number) {
        Ok(bytes) if bytes > 0 => Ok(Some(bytes)),
        _ => Err(ConfigError::Value {
            at: section.key_path("maxSizeBytes"),
            why: "a program has at least 1 byte".to_owned(),
        }),
    }
}

pub(super) fn parsed<T>(
    section: &Section,
    key: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ConfigError> {
    let each = texts.iter().enumerate().map(|(index, text)| {
        parse(text).map_err(|why| ConfigError::Value {
            at: format!("{}[{index}]", section.key_path(key)),
            why: format!("{:?}: {why}", crate::capped_line(text, 100)),
        })
    });
    each.collect()
}

impl Section {
    /// `null` would count as absent.
    pub(super) fn refuse_null(&self) -> Result<(), ConfigError> {
        match self.values.iter().find(|(_, value)| value.is_null()) {
            Some((key, _)) => self.wrong(key, "a value, or no such key", &Value::Null),
            None => Ok(()),
        }
    }

    /// What is left is known to nobody.
    pub(super) fn refuse_rest(&self) -> Result<(), ConfigError> {
        match self.values.keys().next() {
            Some(key) => Err(ConfigError::UnknownKey {
                at: self.at.clone(),
                key: crate::capped_line(key, 100),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
