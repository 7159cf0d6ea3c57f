//! Whether a plugin is older than the one that ran before it, which a signature does not tell: a signed
//! one stays signed, and whoever can write to a registry can put it under its tag again (T25).

use ratify_core::{Reference, capped_line, config::Denial};
use semver::Version;

use super::Ran;

/// Versions are cut to this in texts.
const MAX_VERSION: usize = 100;

/// Whether a version may take the place of what ran before from the same repository. Versions are
/// compared by Semantic Versioning 2.0.0, section 11; others are not compared.
///
/// # Errors
/// Where it is older, or has no version any more.
pub(super) fn check(artifact: &str, version: Option<&str>, ran: &Ran) -> Result<(), Denial> {
    if repository_of(artifact).is_none() || repository_of(artifact) != repository_of(&ran.artifact)
    {
        return Ok(());
    }
    let Some(known) = parse(&ran.version) else { return Ok(()) };
    let is_older = match version.map(parse) {
        Some(Some(version)) => version < known,
        // A version that cannot be compared is the author's affair; that it is gone is not.
        Some(None) => false,
        None => true,
    };
    if !is_older {
        return Ok(());
    }
    Err(Denial::Downgrade {
        artifact: capped_line(artifact, 300),
        version: capped_line(version.unwrap_or("none"), MAX_VERSION),
        known: capped_line(&ran.version, MAX_VERSION),
    })
}

/// The repository of a reference by tag; what is named by digest is what was asked for.
fn repository_of(artifact: &str) -> Option<String> {
    let reference = Reference::parse_exact(artifact).ok()?;
    reference.digest().is_none().then(|| reference.path().to_owned())
}

fn parse(version: &str) -> Option<Version> {
    Version::parse(version.strip_prefix('v').unwrap_or(version)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(artifact: &str, version: Option<&str>, ran: &str) -> bool {
        let ran = Ran { artifact: "r.example.com/p:stable".into(), version: ran.into() };
        check(artifact, version, &ran).is_err()
    }

    #[test]
    fn an_older_version_of_the_same_repository_is_refused() {
        let by_tag = "r.example.com/p:1";
        for (version, ran) in [
            (Some("1.9.9"), "2.0.0"),
            (Some("2.0.0-rc.1"), "2.0.0"),
            (Some("2.0.0-rc.2"), "2.0.0-rc.10"),
            (Some("v1.2.3"), "v1.2.4"),
            (None, "1.0.0"),
        ] {
            assert!(is_refused(by_tag, version, ran), "{version:?} {ran}");
        }
        for (version, ran) in [
            (Some("2.0.0"), "2.0.0"),
            (Some("10.0.0"), "9.0.0"),
            (Some("2.0.0"), "2.0.0-rc.1"),
            (Some("nightly"), "1.0.0"),
            (Some("1.0.0"), "nightly"),
            (None, "nightly"),
            (None, ""),
        ] {
            assert!(!is_refused(by_tag, version, ran), "{version:?} {ran}");
        }
        let digest = format!("r.example.com/p@sha256:{}", "0".repeat(64));
        for other in ["r.example.com/q:1", "s.example.com/p:1", &digest, "p"] {
            assert!(!is_refused(other, Some("1.0.0"), "2.0.0"), "{other}");
        }
    }
}
