//! The rules of a trust policy, in notation-go's order and words.

use std::collections::{BTreeMap, BTreeSet};

use super::{Level, Statement, TimestampUse, TrustPolicy, TrustStoreName, TrustStoreType, scope};
use crate::{certificate::DistinguishedName, go::quoted};

/// What stands for everybody.
const WILDCARD: &str = "*";
/// The kind of identity that is checked here: others are for plugins of Notation.
pub(crate) const X509_SUBJECT: &str = "x509.subject";

/// A statement as written.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) level: String,
    pub(super) overrides: Vec<(String, String)>,
    pub(super) timestamps: Result<TimestampUse, String>,
    pub(super) scopes: Vec<String>,
    pub(super) trust_stores: Vec<String>,
    pub(super) identities: Vec<String>,
}

/// A rule that is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RuleError(String);

pub(super) fn check(version: &str, drafts: Vec<Draft>) -> Result<TrustPolicy, RuleError> {
    if version.is_empty() {
        return Err(RuleError(
            "trust policy document has empty version, version must be specified".to_owned(),
        ));
    }
    if version != "1.0" {
        return Err(RuleError(format!(
            "trust policy document uses unsupported version {}",
            quoted(version)
        )));
    }
    if drafts.is_empty() {
        return Err(RuleError(
            "trust policy document can not have zero trust policy statements".to_owned(),
        ));
    }
    let mut names = BTreeSet::new();
    let mut statements = Vec::new();
    for draft in drafts {
        if !names.insert(draft.name.clone()) {
            return Err(RuleError(format!(
                "multiple trust policy statements use the same name {}, statement names must be unique",
                quoted(&draft.name)
            )));
        }
        let statement =
            statement(draft).map_err(|error| RuleError(format!("trust policy: {error}")))?;
        statements.push(statement);
    }
    scopes(&statements).map_err(RuleError)?;
    Ok(TrustPolicy { statements })
}

fn statement(draft: Draft) -> Result<Statement, String> {
    if draft.name.is_empty() {
        return Err("a trust policy statement is missing a name, every statement requires a name"
            .to_owned());
    }
    let name = quoted(&draft.name);
    let of_verification = |error: String| {
        format!("trust policy statement {name} has invalid signatureVerification: {error}")
    };
    let level = Level::new(&draft.level, &draft.overrides).map_err(of_verification)?;
    let timestamps = draft.timestamps.map_err(|other| {
        of_verification(format!(
            "verifyTimestamp must be \"always\" or \"afterCertExpiry\", but got {}",
            quoted(&other)
        ))
    })?;
    if level.is_skip() {
        if !draft.trust_stores.is_empty() || !draft.identities.is_empty() {
            return Err(format!(
                "trust policy statement {name} is set to skip signature verification but configured with trust stores and/or trusted identities, remove them if signature verification needs to be skipped"
            ));
        }
    } else if draft.trust_stores.is_empty() || draft.identities.is_empty() {
        return Err(format!(
            "trust policy statement {name} is either missing trust stores or trusted identities, both must be specified"
        ));
    }
    let stores = draft.trust_stores.iter().map(|store| trust_store(&name, store));
    let trust_stores = stores.collect::<Result<_, _>>()?;
    identities(&name, &draft.identities)?;
    Ok(Statement {
        name: draft.name,
        scopes: draft.scopes,
        level,
        timestamps,
        trust_stores,
        identities: draft.identities,
    })
}

fn trust_store(policy: &str, value: &str) -> Result<TrustStoreName, String> {
    let shown = quoted(value);
    let Some((type_name, name)) = value.split_once(':') else {
        return Err(format!(
            "trust policy statement {policy} has malformed trust store value {shown}. The required format is <TrustStoreType>:<TrustStoreName>"
        ));
    };
    let Some(type_) = TrustStoreType::of(type_name) else {
        return Err(format!(
            "trust policy statement {policy} uses an unsupported trust store type {} in trust store value {shown}",
            quoted(type_name)
        ));
    };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || !name.bytes().all(is_allowed) {
        return Err(format!(
            "trust policy statement {policy} uses an unsupported trust store name {} in trust store value {shown}. Named store name needs to follow [a-zA-Z0-9_.-]+ format",
            quoted(name)
        ));
    }
    Ok(TrustStoreName { type_, name: name.to_owned() })
}

fn identities(policy: &str, identities: &[String]) -> Result<(), String> {
    if identities.len() > 1 && identities.iter().any(|one| one == WILDCARD) {
        return Err(format!(
            "trust policy statement {policy} uses a wildcard trusted identity '*', a wildcard identity cannot be used in conjunction with other values"
        ));
    }
    let mut names: Vec<(&str, DistinguishedName)> = Vec::new();
    for identity in identities {
        if identity.is_empty() {
            return Err(format!("trust policy statement {policy} has an empty trusted identity"));
        }
        if identity == WILDCARD {
            continue;
        }
        let shown = quoted(identity);
        let Some((prefix, value)) = identity.split_once(':') else {
            return Err(format!(
                "trust policy statement {policy} has trusted identity {shown} missing separator"
            ));
        };
        if prefix != X509_SUBJECT {
            continue;
        }
        if value.is_empty() {
            return Err(format!(
                "trust policy statement {policy} has trusted identity {shown} without an identity value"
            ));
        }
        let name = DistinguishedName::parse(value).map_err(|error| format!("trust policy statement {policy} has trusted identity {shown} with invalid identity value: {error}"))?;
        names.push((identity, name));
    }
    for (at, (one, name)) in names.iter().enumerate() {
        let others = names.iter().enumerate().filter(|(other, _)| *other != at);
        if let Some((_, (other, _))) =
            others.into_iter().find(|(_, (_, other))| name.is_part_of(other))
        {
            return Err(format!(
                "trust policy statement {policy} has overlapping x509 trustedIdentities, {} overlaps with {}",
                quoted(one),
                quoted(other)
            ));
        }
    }
    Ok(())
}

fn scopes(statements: &[Statement]) -> Result<(), String> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for statement in statements {
        let name = quoted(&statement.name);
        if statement.scopes.is_empty() {
            return Err(format!(
                "trust policy statement {name} has zero registry scopes, it must specify registry scopes with at least one value"
            ));
        }
        if statement.scopes.len() > 1 && statement.scopes.iter().any(|one| one == WILDCARD) {
            return Err(format!(
                "trust policy statement {name} uses wildcard registry scope '*', a wildcard scope cannot be used in conjunction with other scope values"
            ));
        }
        for scope in &statement.scopes {
            if scope != WILDCARD {
                scope::check(scope)?;
            }
            *count.entry(scope).or_default() += 1;
        }
    }
    match count.into_iter().find(|(_, count)| *count > 1) {
        Some((scope, _)) => Err(format!(
            "registry scope {} is present in multiple trust policy statements, one registry scope value can only be associated with one statement",
            quoted(scope)
        )),
        None => Ok(()),
    }
}
