//! [`PluginRules::check`]: whether a plugin may be installed or run. Pure: what is known of it goes
//! in, and what forbids it comes out.

use super::{PluginRules, RepositoryPattern};
use crate::{Digest, Reference, capped_line};

/// References and lists are cut to this in texts.
const MAX_SHOWN: usize = 300;

/// What is known of a plugin, early or late: nothing is said about what is not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Candidate<'a> {
    /// Where its source says it comes from; `None` for a program without a source.
    pub source: Option<&'a Reference>,
    /// Its digests, as far as they are known.
    pub digests: &'a [(Part, &'a Digest)],
    /// The bytes of its program.
    pub size: Option<u64>,
}

/// What a digest is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What a reference stands for: an index, or a manifest that is in none.
    Root,
    /// The manifest of a platform.
    Manifest,
    /// The program.
    Program,
}

/// Which rule forbids a plugin. Each text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// From a repository that is not allowed.
    #[error(
        "{artifact} is denied: plugins.allowedRepositories has {allowed}. Name a plugin of an allowed repository, or let an administrator add this one"
    )]
    Repository {
        /// The artifact.
        artifact: String,
        /// The repositories that are.
        allowed: String,
    },
    /// By tag, where a digest is demanded.
    #[error(
        "{artifact} is denied: plugins.requireDigest is set. Name the artifact by digest, as registry/repository@sha256:..."
    )]
    Tag {
        /// The artifact.
        artifact: String,
    },
    /// One of its digests is on the list.
    #[error(
        "the plugin is denied: the digest {digest} of its {} is in plugins.deniedDigests. Name another version, or let an administrator take it from the list",
        part.as_str()
    )]
    Digest {
        /// What the digest is of.
        part: Part,
        /// The digest.
        digest: Digest,
    },
    /// Larger than allowed.
    #[error(
        "the plugin is denied: its program has {size} bytes, and plugins.maxSizeBytes is {most}. Name a smaller one, or let an administrator raise the limit"
    )]
    Size {
        /// Its size.
        size: u64,
        /// The most there may be.
        most: u64,
    },
    /// A namespace brings a program of its own.
    #[error(
        "the source of a namespaced resource is not allowed: its plugin would run inside Ratify; an administrator can set plugins.namespaces.source in the configuration"
    )]
    NamespacedSource,
    /// A namespace names a place that is not its own.
    #[error(
        "the address of a namespaced resource is not allowed: {why}; an administrator can set plugins.namespaces.anyAddress in the configuration"
    )]
    NamespacedAddress {
        /// What is wrong with it.
        why: String,
    },
    /// A namespace makes Ratify connect to its own machine or to a cloud's metadata.
    #[error(
        "the source of a namespaced resource is not allowed: {host} is an address of the node or of the cloud's metadata; an administrator can name it in plugins.allowedRepositories"
    )]
    NamespacedHost {
        /// The registry.
        host: String,
    },
    /// A namespace uses credentials that are Ratify's own.
    #[error(
        "the source of a namespaced resource is not allowed: its authProvider {provider} would use the credentials of Ratify itself. Use k8Secrets with a secret of the namespace, or none"
    )]
    NamespacedCredentials {
        /// The provider.
        provider: String,
    },
    /// Nobody who is trusted signed it.
    #[error(
        "the plugin is denied: no signature of {digest} is trusted: {why}. Sign it, or name a version that is signed; an administrator can change the trust policy ({})",
        if *is_own { "source.trustPolicy" } else { "plugins.trustPolicy" }
    )]
    Untrusted {
        /// What its reference stands for.
        digest: Digest,
        /// What each verifier says.
        why: String,
        /// Whether the policy is its source's own.
        is_own: bool,
    },
    /// A signed version that is older than the one that ran before.
    #[error(
        "the plugin is denied: {artifact} is version {version} now, and {known} was there before: an old one that is signed may have been put in its place. Name it by digest, or set source.allowDowngrade"
    )]
    Downgrade {
        /// The artifact.
        artifact: String,
        /// Its version; empty where it has none.
        version: String,
        /// The version that was there before.
        known: String,
    },
    /// The lock file does not name it.
    #[error(
        "{artifact} is denied: the lock file that plugins.lockFile names does not have it. Add it by ratify plugin lock"
    )]
    NotLocked {
        /// The artifact.
        artifact: String,
    },
    /// The lock file has another digest for it.
    #[error(
        "the plugin is denied: {artifact} is locked to {locked}, and {digest} was agreed on. Change the resource, or write the lock file anew by ratify plugin lock"
    )]
    OtherThanLocked {
        /// The artifact.
        artifact: String,
        /// What was agreed on.
        digest: Digest,
        /// What it is locked to.
        locked: Digest,
    },
    /// It could not be told whether a rule forbids it.
    #[error("the plugin is denied, for it cannot be told whether a rule forbids it: {0}")]
    Doubt(String),
}

impl Part {
    /// As texts have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "index or manifest",
            Self::Manifest => "manifest",
            Self::Program => "program",
        }
    }
}

impl PluginRules {
    /// Whether a plugin may be installed or run, by all that is known of it.
    ///
    /// # Errors
    /// Which rule forbids it.
    pub fn check(&self, candidate: &Candidate<'_>) -> Result<(), Denial> {
        if let Some(source) = candidate.source {
            self.check_repository(source)?;
            if self.require_digest && source.digest().is_none() {
                return Err(Denial::Tag { artifact: shown(source) });
            }
        }
        let denied = candidate.digests.iter().find(|(_, d)| self.denied_digests.contains(*d));
        if let Some(&(part, digest)) = denied {
            return Err(Denial::Digest { part, digest: digest.clone() });
        }
        match (candidate.size, self.max_size) {
            (Some(size), Some(most)) if size > most => Err(Denial::Size { size, most }),
            _ => Ok(()),
        }
    }

    /// Whether plugins may come from where a reference leads.
    ///
    /// # Errors
    /// When there is a list and nothing on it covers the reference.
    pub fn check_repository(&self, source: &Reference) -> Result<(), Denial> {
        let Some(allowed) = &self.allowed_repositories else { return Ok(()) };
        if allowed.iter().any(|pattern| pattern.covers(source)) {
            return Ok(());
        }
        Err(Denial::Repository { artifact: shown(source), allowed: listed(allowed) })
    }

    /// Whether a rule could forbid a program that is there, whatever its source.
    pub fn limit_programs(&self) -> bool {
        self.allowed_repositories.is_some()
            || !self.denied_digests.is_empty()
            || self.max_size.is_some()
    }
}

fn shown(reference: &Reference) -> String {
    capped_line(reference.as_str(), MAX_SHOWN)
}

fn listed(allowed: &[RepositoryPattern]) -> String {
    let texts: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    match texts.is_empty() {
        true => "nothing".to_owned(),
        false => capped_line(&texts.join(", "), MAX_SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn rules(plugins: &str) -> PluginRules {
        Config::from_json(format!(r#"{{"plugins":{plugins}}}"#).as_bytes()).unwrap().plugins
    }

    fn digest(letter: char) -> Digest {
        format!("sha256:{}", letter.to_string().repeat(64)).parse().unwrap()
    }

    fn of(artifact: &str) -> Reference {
        Reference::parse_exact(artifact).unwrap()
    }

    #[test]
    fn without_rules_everything_may_run() {
        let (source, digest) = (of("r.example.com/p:1"), digest('a'));
        let digests = [(Part::Root, &digest), (Part::Program, &digest)];
        let candidate =
            Candidate { source: Some(&source), digests: &digests, size: Some(u64::MAX) };
        assert_eq!(PluginRules::default().check(&candidate), Ok(()));
        assert!(!PluginRules::default().limit_programs());
    }

    #[test]
    fn a_source_must_be_covered_and_by_digest_where_that_is_demanded() {
        let demanding = rules(
            r#"{"allowedRepositories":["r.example.com/team/*","s.example.com/p"],"requireDigest":true}"#,
        );
        let said = |artifact: String| {
            let source = of(&artifact);
            let candidate = Candidate { source: Some(&source), ..Candidate::default() };
            demanding.check(&candidate).map_err(|denial| denial.to_string())
        };
        assert_eq!(said(format!("r.example.com/team/p@{}", digest('a'))), Ok(()));
        insta::assert_snapshot!(said("r.example.com/team/p:1".into()).unwrap_err(), @"r.example.com/team/p:1 is denied: plugins.requireDigest is set. Name the artifact by digest, as registry/repository@sha256:...");
        insta::assert_snapshot!(said("s.example.com/p2:1".into()).unwrap_err(), @"s.example.com/p2:1 is denied: plugins.allowedRepositories has r.example.com/team/*, s.example.com/p. Name a plugin of an allowed repository, or let an administrator add this one");
        let nothing = rules(r#"{"allowedRepositories":[]}"#);
        let denial = nothing.check_repository(&of("r.example.com/p:1")).unwrap_err();
        assert!(denial.to_string().contains("has nothing."), "{denial}");
    }

    #[test]
    fn any_of_its_digests_is_enough_and_the_size_counts() {
        let limits = rules(&format!(r#"{{"deniedDigests":["{}"],"maxSizeBytes":7}}"#, digest('b')));
        assert!(limits.limit_programs());
        let (good, bad) = (digest('a'), digest('b'));
        for part in [Part::Root, Part::Manifest, Part::Program] {
            let digests = [(Part::Root, &good), (part, &bad)];
            let candidate = Candidate { digests: &digests, ..Candidate::default() };
            let expected = Denial::Digest { part, digest: bad.clone() };
            assert_eq!(limits.check(&candidate), Err(expected));
        }
        let sized = |size| limits.check(&Candidate { size: Some(size), ..Candidate::default() });
        assert_eq!(sized(7), Ok(()));
        insta::assert_snapshot!(sized(8).unwrap_err(), @"the plugin is denied: its program has 8 bytes, and plugins.maxSizeBytes is 7. Name a smaller one, or let an administrator raise the limit");
    }
}
