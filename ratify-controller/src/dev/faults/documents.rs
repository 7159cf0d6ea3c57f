//! Lies that put another document in the place of a manifest, an index or a list.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use ratify_core::{Algorithm, Descriptor, media_type};

use super::{
    super::{
        answer::{CONTENT_DIGEST, set},
        forgery,
        honest::Registry,
        referrers,
        storage::{digest_of, lock},
    },
    Forged, Liar, Lie, RequestKind,
    tell::{Asked, Page},
};

/// More than any registry has to take for a manifest (4 MiB).
const HUGE: usize = 5 << 20;
/// How many forged documents are kept under their own digests; then the oldest lies are forgotten.
const MAXIMUM_FORGED: usize = 256;

impl Liar {
    /// A lie about a document. By tag it is whole: see [`Lie`].
    pub(super) fn about_document(
        &self,
        lie: &Lie,
        page: &Page,
        asked: &Asked,
        registry: &Registry,
    ) -> Option<Response<Body>> {
        if *lie == Lie::ReferrersOfOtherSubject && asked.is_list() {
            return self.of_other_subjects(page, asked, registry);
        }
        if !page.status.is_success() {
            return None;
        }
        let manifest = matches!(asked.kind, RequestKind::Resolve | RequestKind::Manifest);
        let media_type = page.media_type();
        let (forged, media_type) = match lie {
            Lie::IndexNestedInIndex(levels) if manifest => {
                (self.nested(page, *levels)?, media_type::OCI_INDEX)
            }
            Lie::ReferrersWrongMediaType if asked.is_list() => (
                forgery::with_media_type(&page.bytes, media_type::DOCKER_LIST)?,
                media_type::DOCKER_LIST,
            ),
            lie if asked.is_list() => {
                (of_list(lie, &page.bytes).or_else(|| of_any(lie, &page.bytes))?, media_type)
            }
            lie if manifest || asked.kind == RequestKind::CosignTag => {
                (of_any(lie, &page.bytes)?, media_type)
            }
            _ => return None,
        };
        Some(self.shown(page, asked, media_type, forged.into()))
    }

    /// The answer with the forged document; by tag it is remembered under its digest.
    fn shown(&self, page: &Page, asked: &Asked, media_type: &str, bytes: Bytes) -> Response<Body> {
        let mut response = page.with(bytes.clone());
        set(response.headers_mut(), header::CONTENT_TYPE, media_type);
        if asked.by_tag {
            let digest = self.remember(media_type, bytes).digest;
            set(response.headers_mut(), CONTENT_DIGEST, digest.as_str());
        }
        response
    }

    fn remember(&self, media_type: &str, bytes: Bytes) -> Descriptor {
        let digest = digest_of(Algorithm::Sha256, &bytes);
        let descriptor = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
        let mut forged = lock(&self.forged);
        if forged.len() >= MAXIMUM_FORGED {
            forged.clear();
        }
        forged.insert(digest, Forged { media_type: media_type.to_owned(), bytes });
        descriptor
    }

    /// Indexes around what was asked for; all but the outermost are remembered here.
    fn nested(&self, page: &Page, levels: usize) -> Option<Vec<u8>> {
        let mut inner = self.remember(page.media_type(), page.bytes.clone());
        let mut outer = None;
        for _ in 0..levels {
            let bytes = forgery::index_of(&inner);
            inner = self.remember(media_type::OCI_INDEX, bytes.clone().into());
            outer = Some(bytes);
        }
        outer
    }

    /// A list of what is attached to all other subjects, also where there is no honest list.
    fn of_other_subjects(
        &self,
        page: &Page,
        asked: &Asked,
        registry: &Registry,
    ) -> Option<Response<Body>> {
        let subject = asked.subject()?;
        let others: Vec<_> = registry
            .storage
            .with_subject(asked.route.name()?)
            .iter()
            .filter(|manifest| manifest.facts.subject.as_ref() != Some(&subject))
            .map(|manifest| manifest.descriptor())
            .collect();
        let no_list =
            asked.kind == RequestKind::FallbackTag && page.status == StatusCode::NOT_FOUND;
        if others.is_empty() || !(page.status.is_success() || no_list) {
            return None;
        }
        let headers = if no_list { HeaderMap::new() } else { page.headers.clone() };
        let page = Page { status: StatusCode::OK, headers, bytes: Bytes::new() };
        let bytes = referrers::index(&others).into();
        Some(self.shown(&page, asked, media_type::OCI_INDEX, bytes))
    }
}

/// Forgeries of a list only.
fn of_list(lie: &Lie, bytes: &[u8]) -> Option<Vec<u8>> {
    match lie {
        Lie::ReferrersOtherArtifactType(artifact_type) => forgery::listed_as(bytes, artifact_type),
        Lie::ReferrersHuge(count) => forgery::many_entries(bytes, *count),
        _ => None,
    }
}

/// Forgeries of manifests, indexes and lists.
fn of_any(lie: &Lie, bytes: &[u8]) -> Option<Vec<u8>> {
    match lie {
        Lie::WrongSizeInDescriptor => forgery::wrong_sizes(bytes),
        Lie::ManifestThatIsAlsoIndex => forgery::also_an_index(bytes),
        Lie::DuplicateJsonKeys => forgery::duplicate_keys(bytes),
        Lie::IndexTwoEntriesOnePlatform => forgery::two_entries_one_platform(bytes),
        Lie::IndexChildOtherType => forgery::children_of_other_type(bytes),
        Lie::HugeManifest => forgery::huge(bytes, HUGE),
        Lie::DeepJson(levels) => forgery::deep(bytes, *levels),
        _ => None,
    }
}
