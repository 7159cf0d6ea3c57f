//! The trust policy (trust store and trust policy specification, OCI flavour 1.0): which statement is
//! for an image, and what it asks. The most important item is [`TrustPolicy`].

mod level;
mod read;
mod rules;
mod scope;

use std::fmt;

pub(crate) use level::{Action, Check, Level};
pub(crate) use rules::X509_SUBJECT;

use crate::go::quoted;

/// Where a person learns how to write one.
const LINK: &str = "https://notaryproject.dev/docs/quickstart/#create-a-trust-policy";

/// A document that is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustPolicy {
    statements: Vec<Statement>,
}

/// What is asked of the signatures of some repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) name: String,
    scopes: Vec<String>,
    pub(crate) level: Level,
    pub(crate) timestamps: TimestampUse,
    /// `type:name`.
    pub(crate) trust_stores: Vec<TrustStoreName>,
    pub(crate) identities: Vec<String>,
}

/// When a timestamp counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampUse {
    /// Wherever a store of timestamp authorities is named.
    Always,
    /// Once a certificate of the signature has ended.
    AfterCertificateExpiry,
}

/// A store of certificates by its type and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustStoreName {
    pub(crate) type_: TrustStoreType,
    pub(crate) name: String,
}

/// What certificates of a store are trusted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrustStoreType {
    /// Who signs images.
    Ca,
    /// Who signs images for others.
    SigningAuthority,
    /// Who says what time it is.
    Tsa,
}

/// No statement is for an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoStatement(String);

impl TrustPolicy {
    /// The statement for a repository, `registry/repository`: the one that names it, or else the one
    /// for all. `reference` is what a message calls the image.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn statement_for(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<&Statement, NoStatement> {
        scope::check(repository).map_err(NoStatement)?;
        let with = |scope: &str| {
            self.statements.iter().find(|statement| statement.scopes.iter().any(|one| one == scope))
        };
        with(repository).or_else(|| with("*")).ok_or_else(|| {
            NoStatement(format!(
                "artifact {} has no applicable trust policy statement. Trust policy applicability for a given artifact is determined by registryScopes. To create a trust policy, see: {LINK}",
                quoted(reference)
            ))
        })
    }
}

impl Statement {
    /// Its stores of a type, each once.
    pub(crate) fn stores_of(&self, type_: TrustStoreType) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for store in self.trust_stores.iter().filter(|store| store.type_ == type_) {
            if !names.contains(&store.name.as_str()) {
                names.push(&store.name);
            }
        }
        names
    }
}

impl TrustStoreType {
    const ALL: [Self; 3] = [Self::Ca, Self::SigningAuthority, Self::Tsa];

    /// The name in a policy and in a configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::Tsa => "tsa",
        }
    }

    /// The type of this name, to the letter.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|type_| type_.name() == name)
    }
}

impl fmt::Display for TrustStoreType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
