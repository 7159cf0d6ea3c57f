//! Where every dependency comes from and under which licence it can be had.

use cargo_metadata::Metadata;

use super::Finding;
use super::table;

/// What one package declares.
pub(crate) struct Declared {
    /// Name and version.
    pub(crate) package: String,
    /// Its licence expression.
    pub(crate) licence: Option<String>,
    /// Whether it is a member of this tree or comes from the language's own registry.
    pub(crate) known_source: bool,
}

/// What the packages of the tree declare.
pub(crate) fn declared(metadata: &Metadata) -> Vec<Declared> {
    let one = |package: &cargo_metadata::Package| Declared {
        package: format!("{} {}", package.name, package.version),
        licence: package.license.clone(),
        known_source: package.source.as_ref().is_none_or(cargo_metadata::Source::is_crates_io),
    };
    metadata.packages.iter().map(one).collect()
}

/// Every package comes from a known source and can be had under an allowed licence.
pub(crate) fn check(all: &[Declared]) -> Vec<Finding> {
    let strangers = all.iter().filter(|one| !one.known_source).map(|one| {
        format!("{}: comes from a git repository or another registry; publish it", one.package)
    });
    let refused = all.iter().filter(|one| !one.licence.as_deref().is_some_and(allowed));
    let refused = refused.map(|one| {
        let licence = one.licence.as_deref().unwrap_or("no licence");
        format!("{}: {licence} is not allowed; choose another crate", one.package)
    });
    strangers.chain(refused).collect()
}

/// Whether an SPDX expression (annex D of the specification) leaves a choice that is allowed.
/// AND binds tighter than OR; a slash is the older spelling of OR.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) == Some(true) && rest.is_empty()
}

fn either(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = both(rest)?;
    while take(rest, "OR") {
        allowed |= both(rest)?;
    }
    Some(allowed)
}

fn both(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = one(rest)?;
    while take(rest, "AND") {
        allowed &= one(rest)?;
    }
    Some(allowed)
}

fn one(rest: &mut &[&str]) -> Option<bool> {
    if take(rest, "(") {
        let allowed = either(rest)?;
        return take(rest, ")").then_some(allowed);
    }
    let (first, after) = rest.split_first()?;
    *rest = after;
    let mut name = (*first).to_owned();
    if take(rest, "WITH") {
        let (exception, after) = rest.split_first()?;
        *rest = after;
        name = format!("{name} WITH {exception}");
    }
    Some(table::LICENCES.contains(&name.as_str()))
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    match rest.split_first() {
        Some((first, after)) if *first == word => {
            *rest = after;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(licence: Option<&str>, known_source: bool) -> Declared {
        Declared {
            package: "a 1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
            known_source,
        }
    }

    #[test]
    fn a_choice_that_is_allowed_is_enough_and_a_duty_that_is_not_is_too_much() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR GPL-2.0-only) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "MIT AND (GPL-3.0-only OR MPL-2.0)",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "",
            "MIT AND",
            "(MIT",
            "MIT MIT",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_package_without_a_licence_or_from_elsewhere_is_found() {
        assert_eq!(check(&[package(None, true)]).len(), 1);
        assert_eq!(check(&[package(Some("MIT"), false)]).len(), 1);
        assert!(check(&[package(Some("MIT"), true)]).is_empty());
    }
}
