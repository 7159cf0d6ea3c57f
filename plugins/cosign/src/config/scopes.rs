//! Scopes: which images a trust policy is for. A scope is a reference as it is asked for, or what
//! one begins with and `*`; `*` alone is for all that nothing else is for.

use ratify_core::{ErrorCode, Reference, Result};

use super::TrustPolicy;

/// The scope of all images.
const ALL: &str = "*";

/// The policy for an image as it was asked for.
///
/// # Errors
/// Where there is none.
pub(crate) fn policy_for<'a>(
    policies: &'a [TrustPolicy],
    subject: &Reference,
) -> Result<&'a TrustPolicy> {
    let asked = subject.as_str();
    let covers = |scope: &String| match scope.strip_suffix('*') {
        Some("") => false,
        Some(start) => asked.starts_with(start),
        None => asked == scope,
    };
    let scoped = policies.iter().find(|policy| policy.scopes.iter().any(covers));
    let global = || policies.iter().find(|policy| policy.scopes.iter().any(|scope| scope == ALL));
    scoped.or_else(global).ok_or_else(|| {
        ErrorCode::ConfigInvalid.detail(format!("No policy found for the artifact {asked}"))
    })
}

/// Checks the scopes of all policies together: each image has one policy at most.
///
/// # Errors
/// As v1, in its words.
pub(super) fn check_scopes(policies: &[TrustPolicy]) -> Result<()> {
    let mut known: Vec<&str> = Vec::new();
    let mut has_global = false;
    for policy in policies {
        let name = &policy.name;
        let refuse = |what: String| {
            Err(ErrorCode::ConfigInvalid.detail(format!("Failed to create trust policies: {what}")))
        };
        if policy.scopes.iter().any(|scope| scope == ALL) {
            if policy.scopes.len() > 1 {
                return refuse(format!(
                    "global wildcard character * cannot be used with other scopes within the same trust policy {name}"
                ));
            }
            if has_global {
                return refuse("global wildcard character * can only be used once".to_owned());
            }
            has_global = true;
            continue;
        }
        for scope in &policy.scopes {
            if scope.is_empty() {
                return refuse(format!("scope value cannot be empty in trust policy {name}"));
            }
            if !is_valid(scope) {
                return refuse(format!("invalid scope {scope} for trust policy {name}"));
            }
            if known.contains(&scope.as_str()) {
                return refuse(format!("duplicate scope {scope} for trust policy {name}"));
            }
            if let Some(other) = known.iter().find(|other| overlap(scope, other)) {
                return refuse(format!(
                    "overlapping scopes {scope} and {other} for trust policy {name}"
                ));
            }
            known.push(scope);
        }
    }
    Ok(())
}

/// v1's grammar, with the underscore that repositories may have and v1 forgot.
fn is_valid(scope: &str) -> bool {
    let start = scope.strip_suffix('*').unwrap_or(scope);
    start.bytes().all(
        |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b':' | b'@' | b'/'),
    )
}

/// Whether there is an image that both scopes are for.
fn overlap(one: &str, another: &str) -> bool {
    match (one.strip_suffix('*'), another.strip_suffix('*')) {
        (Some(one), Some(another)) => one.starts_with(another) || another.starts_with(one),
        (Some(start), None) => another.starts_with(start),
        (None, Some(start)) => one.starts_with(start),
        (None, None) => one == another,
    }
}
