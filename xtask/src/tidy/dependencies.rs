//! How many crates there are, in how many versions, and which must not be there at all.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::table;

/// The most crates an author's plugin may build because of the SDK, the SDK included.
pub(crate) const SDK_LIMIT: usize = 20;

/// The crates in what `cargo tree` prints, as `name vVERSION`, sorted, each once.
pub(crate) fn crates(printed: &str) -> Vec<String> {
    let first_two = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        words.join(" ")
    };
    let unique: BTreeSet<String> =
        printed.lines().map(first_two).filter(|name| !name.is_empty()).collect();
    unique.into_iter().collect()
}

/// A package needs no more crates than its limit.
pub(crate) fn count(package: &str, crates: &[String], limit: usize) -> Vec<Finding> {
    if crates.len() <= limit {
        return Vec::new();
    }
    vec![format!(
        "{package}: needs {} crates, more than {limit}; each is a cost to every plugin's author: {}",
        crates.len(),
        crates.join(", ")
    )]
}

/// No crate is linked in several versions, except those that the table names; and the table
/// names no others.
pub(crate) fn duplicates(crates: &[String], excepted: &[(&str, &str)]) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in crates.iter().filter_map(|one| one.split_once(' ')) {
        versions.entry(name).or_default().push(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let is_excepted = |name: &str| excepted.iter().any(|(excepted, _)| *excepted == name);
    let found = versions.iter().filter(|(name, _)| !is_excepted(name)).map(|(name, versions)| {
        format!(
            "{name}: linked as {}; agree on one, or say why not in xtask/src/tidy/table.rs",
            versions.join(" and ")
        )
    });
    let stale =
        excepted.iter().filter(|(name, _)| !versions.contains_key(name)).map(|(name, _)| {
            format!("{name}: is no longer linked twice; remove it from xtask/src/tidy/table.rs")
        });
    found.chain(stale).collect()
}

/// No second TLS stack.
pub(crate) fn refused(crates: &[String]) -> Vec<Finding> {
    let names = crates.iter().filter_map(|one| one.split(' ').next());
    let finding = |name: &str| {
        format!(
            "{name}: is in the tree; TLS is rustls with aws-lc-rs (cargo tree -i {name} shows \
             who brings it)"
        )
    };
    names.filter(|name| table::REFUSED.contains(name)).map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str =
        "a v1.0.0 (/somewhere)\nb v2.0.0\nb v1.9.0\nb v2.0.0\n\nc v1.0.0 (proc-macro)\n";

    #[test]
    fn a_crate_counts_once_however_often_it_is_printed() {
        assert_eq!(crates(PRINTED), ["a v1.0.0", "b v1.9.0", "b v2.0.0", "c v1.0.0"]);
    }

    #[test]
    fn one_crate_more_than_the_limit_is_found() {
        assert!(count("sdk", &crates(PRINTED), 4).is_empty());
        let found = count("sdk", &crates(PRINTED), 3);
        assert!(found[0].starts_with("sdk: needs 4 crates, more than 3"), "{found:?}");
    }

    #[test]
    fn two_versions_are_found_unless_a_reason_is_given() {
        let found = duplicates(&crates(PRINTED), &[]);
        assert!(found[0].starts_with("b: linked as v1.9.0 and v2.0.0"), "{found:?}");
        assert!(duplicates(&crates(PRINTED), &[("b", "a reason")]).is_empty());
    }

    #[test]
    fn a_reason_that_is_no_longer_needed_is_found() {
        let found = duplicates(&crates("a v1.0.0\n"), &[("a", "a reason")]);
        assert!(found[0].starts_with("a: is no longer linked twice"), "{found:?}");
    }

    #[test]
    fn a_second_tls_stack_is_found() {
        assert_eq!(refused(&crates("rustls v0.23.46\nring v0.17.14\n")).len(), 1);
    }
}
