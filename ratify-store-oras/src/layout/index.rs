//! What the index of a layout says: which name stands for what, and what is attached to what.
//! Pure; the bytes come in as values.

use ratify_core::{Descriptor, Digest, Index, Manifest, Reference, capped_line, media_type};

use crate::{Limits, OrasError, referrers::Listing};

/// The annotation that names an entry (OCI image specification, annotations.md).
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What a layout answers about a reference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scope {
    /// The one repository that all of the layout is of. Only then do bare tags mean anything:
    /// otherwise `v1` would be the `v1` of every repository that anybody asks about.
    pub(super) repository: Option<String>,
}

/// Whether a descriptor names a document that names others.
pub(super) fn is_index(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_LIST)
}

/// Whether a descriptor names a manifest.
pub(super) fn is_manifest(descriptor: &Descriptor) -> bool {
    matches!(
        descriptor.media_type.as_str(),
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST | media_type::OCI_ARTIFACT
    )
}

impl Scope {
    /// Whether the layout is about a reference at all.
    pub(super) fn covers(&self, reference: &Reference) -> bool {
        self.repository.as_deref().is_none_or(|repository| repository == reference.path())
    }

    /// The entry that a tag of the reference's repository stands for.
    ///
    /// # Errors
    /// When two entries with that name are not the same.
    pub(super) fn tagged<'a>(
        &self,
        index: &'a Index,
        reference: &Reference,
        tag: &str,
    ) -> Result<Option<&'a Descriptor>, OrasError> {
        let whole = format!("{}:{tag}", reference.path());
        let is_named = |entry: &&Descriptor| {
            entry
                .annotations
                .get(REF_NAME)
                .is_some_and(|name| *name == whole || (self.repository.is_some() && name == tag))
        };
        one(index.manifests.iter().filter(is_named), &whole)
    }

    /// Whether the index has a bare tag that would count if the layout were of one repository.
    pub(super) fn ignores_bare(&self, index: &Index, tag: &str) -> bool {
        let is_bare =
            |entry: &Descriptor| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag);
        self.repository.is_none() && index.manifests.iter().any(is_bare)
    }
}

/// The one entry among some that have the same name or digest.
///
/// # Errors
/// When they differ.
pub(super) fn one<'a>(
    mut entries: impl Iterator<Item = &'a Descriptor>,
    what: &str,
) -> Result<Option<&'a Descriptor>, OrasError> {
    let Some(first) = entries.next() else { return Ok(None) };
    let is_same = |other: &Descriptor| {
        (&other.media_type, &other.digest, other.size)
            == (&first.media_type, &first.digest, first.size)
    };
    match entries.all(is_same) {
        true => Ok(Some(first)),
        false => Err(OrasError::invalid(what, "the layout has two different entries for it")),
    }
}

/// What a document is attached to, and how it is listed there. Its bytes are proven.
///
/// # Errors
/// When it cannot be read in one way only.
pub(crate) fn attachment(
    descriptor: &Descriptor,
    bytes: &[u8],
) -> Result<Option<(Digest, Descriptor)>, OrasError> {
    let malformed = |error: ratify_core::ManifestError| {
        let why = capped_line(&error.to_string(), 200);
        OrasError::invalid(descriptor.digest.as_str(), why)
    };
    let media_type = descriptor.media_type.as_str();
    let (subject, listed_type, annotations) = if is_index(descriptor) {
        let index = Index::from_bytes(media_type, bytes).map_err(malformed)?;
        (index.subject, index.artifact_type, index.annotations)
    } else {
        let manifest = Manifest::from_bytes(media_type, bytes).map_err(malformed)?;
        let listed_type = manifest.listed_type().to_owned();
        (manifest.subject, listed_type, manifest.annotations)
    };
    let Some(subject) = subject else { return Ok(None) };
    let mut entry = Descriptor::new(media_type, descriptor.digest.clone(), descriptor.size);
    entry.annotations = annotations;
    Ok(Some((subject.digest, entry.with_artifact_type(listed_type))))
}

/// The list of one subject: what names it, and what the index under its tag lists, each once. What is
/// listed there by the type of an empty configuration has the type that `type_of` says, if any.
///
/// # Errors
/// When one artifact is listed in two ways, there are too many, or what one is cannot be told.
pub(super) fn list(
    what: &str,
    limits: Limits,
    named: &[Descriptor],
    by_tag: Option<&[u8]>,
    type_of: impl Fn(&Descriptor) -> Result<String, OrasError>,
) -> Result<Vec<Descriptor>, OrasError> {
    let mut by_tag_alone = Listing::new(what, limits);
    if let Some(bytes) = by_tag {
        by_tag_alone.add_page(bytes)?;
    }
    let mut listing = Listing::new(what, limits);
    for entry in named {
        listing.add(entry.clone())?;
    }
    for mut entry in by_tag_alone.into_entries() {
        if entry.artifact_type == media_type::OCI_EMPTY {
            let known = named.iter().find(|known| known.digest == entry.digest);
            let own = match known {
                Some(known) => known.artifact_type.clone(),
                None => type_of(&entry)?,
            };
            if known.is_some() || !own.is_empty() {
                entry.artifact_type = own;
            }
        }
        listing.add(entry)?;
    }
    Ok(listing.into_entries())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn entry(name: &str, byte: &str) -> Descriptor {
        let digest = format!("sha256:{}", byte.repeat(32)).parse().unwrap();
        let annotations = BTreeMap::from([(REF_NAME.to_owned(), name.to_owned())]);
        Descriptor { annotations, ..Descriptor::new(media_type::OCI_MANIFEST, digest, 2) }
    }

    fn index(entries: &[Descriptor]) -> Index {
        let json = serde_json::json!({"schemaVersion": 2, "manifests": entries});
        Index::from_bytes(media_type::OCI_INDEX, json.to_string().as_bytes()).unwrap()
    }

    fn scope(repository: Option<&str>) -> Scope {
        Scope { repository: repository.map(Into::into) }
    }

    #[test]
    fn a_bare_tag_is_only_that_of_the_repository_that_the_layout_is_of() {
        let index = index(&[entry("v1", "aa"), entry("r.example.com/b:v1", "bb")]);
        let find = |scope: &Scope, repository: &str| {
            let reference = Reference::parse(&format!("{repository}:v1")).unwrap();
            scope
                .tagged(&index, &reference, "v1")
                .unwrap()
                .map(|found| found.digest.hex()[..2].to_owned())
        };
        assert_eq!(find(&scope(None), "r.example.com/a"), None);
        assert_eq!(find(&scope(None), "r.example.com/b").unwrap(), "bb");
        assert_eq!(find(&scope(Some("r.example.com/a")), "r.example.com/a").unwrap(), "aa");
        assert!(scope(None).ignores_bare(&index, "v1"));
        assert!(!scope(Some("r.example.com/a")).ignores_bare(&index, "v1"));
    }

    #[test]
    fn a_name_of_two_things_is_none() {
        let reference = Reference::parse("r.example.com/a:v1").unwrap();
        let both = index(&[entry("v1", "aa"), entry("r.example.com/a:v1", "bb")]);
        let scope = scope(Some("r.example.com/a"));
        assert!(scope.tagged(&both, &reference, "v1").is_err());
        let twice = index(&[entry("v1", "aa"), entry("r.example.com/a:v1", "aa")]);
        assert!(scope.tagged(&twice, &reference, "v1").unwrap().is_some());
    }
}
