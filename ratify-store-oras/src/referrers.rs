//! [`Client::referrers`]: what is attached to a subject, by the Referrers API, else by the tag
//! schema (OCI distribution specification, "Listing Referrers" and "Referrers Tag Schema").
//!
//! Only "not found" ever means that there is nothing. A refusal, a fault or a bound is an error.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use ratify_core::{Descriptor, Digest, Index, Reference, capped_line, media_type};
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, HeaderName, HeaderValue, LINK},
};
use url::Url;

use crate::{
    Client, Limits, OrasError,
    client::{PULL, Target},
    exchange::Answer,
    patience::within,
    route::Purpose,
    ways::Referrers,
};

/// By which a registry says what it left out of a list.
const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// The entries gathered so far, and how much was read for them.
pub(crate) struct Listing<'a> {
    what: &'a str,
    limits: Limits,
    entries: Vec<Descriptor>,
    by_digest: HashMap<Digest, usize>,
    pages: HashSet<Url>,
    bytes: u64,
}

/// What the Referrers API says.
enum ByApi {
    Listed(Vec<Descriptor>),
    Nothing {
        /// Whether the registry seems to have no such API.
        seems_absent: bool,
    },
}

impl Client {
    /// Lists all that is attached to `subject` in the reference's repository, whatever its type:
    /// no filter is asked for, so none can hide anything.
    ///
    /// # Errors
    /// Whatever is neither a list nor "not found"; also when a bound is reached, or one artifact
    /// is listed in two ways.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        give_up_at: Option<Instant>,
    ) -> Result<Vec<Descriptor>, OrasError> {
        self.referrers_of_type(reference, subject, "", give_up_at).await
    }

    /// The same for a caller that looks at one type of artifact alone: the registry is asked to
    /// leave out the others, and may list them all the same. Empty for every type.
    ///
    /// # Errors
    /// As [`Client::referrers`].
    pub async fn referrers_of_type(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: &str,
        give_up_at: Option<Instant>,
    ) -> Result<Vec<Descriptor>, OrasError> {
        let what = format!("the referrers of {}@{subject}", reference.path());
        let work = async {
            let purpose = Purpose::List;
            let mut targets = self.targets(reference, purpose, PULL, give_up_at).await?;
            loop {
                let target = targets.next(self).await?;
                match self.list_at(&target, subject, artifact_type, &what).await {
                    Ok(Some(listed)) => return Ok(listed),
                    // That there is no list is not for a mirror to say.
                    Ok(None) if target.mirror.is_some() && targets.has_more() => {}
                    Ok(None) => return Ok(Vec::new()),
                    Err(error) => targets.pass(error)?,
                }
            }
        };
        within(give_up_at, &what, Box::pin(work)).await
    }

    /// `None` where there is neither a list nor a tag that stands for one.
    pub(crate) async fn list_at(
        &self,
        target: &Target<'_>,
        subject: &Digest,
        artifact_type: &str,
        what: &str,
    ) -> Result<Option<Vec<Descriptor>>, OrasError> {
        let (registry, place) = (self.registry(&target.base), target.list_place());
        let mut seems_absent = false;
        if !registry.lists_by_tag(&place, Instant::now()) {
            match self.list_by_api(target, subject, artifact_type, what).await? {
                ByApi::Listed(listed) => return Ok(Some(listed)),
                ByApi::Nothing { seems_absent: seems } => seems_absent = seems,
            }
        }
        let listed = self.list_by_tag(target, subject, what).await?;
        // A registry may hide a repository from who has no rights there, by a 404 for all of it. Of
        // one that shows the tag the 404 before was about the API: that is everybody's to know.
        if seems_absent && listed.is_some() {
            registry.learn_referrers(&place, Referrers::TagSchema, Instant::now());
        }
        Ok(listed)
    }

    /// Nothing where the registry has no Referrers API: a 404, or an answer that is no index.
    async fn list_by_api(
        &self,
        target: &Target<'_>,
        subject: &Digest,
        artifact_type: &str,
        what: &str,
    ) -> Result<ByApi, OrasError> {
        let mut listing = Listing::new(what, *self.limits());
        let mut call = self
            .call(Method::GET, target, &format!("referrers/{subject}"))
            .header(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
        if !artifact_type.is_empty() {
            call.url.query_pairs_mut().append_pair("artifactType", artifact_type);
        }
        loop {
            listing.begin_page(&call.url)?;
            let answer = self.ask(target, &call).await?;
            let is_first = listing.pages.len() == 1;
            if is_first && answer.status() == StatusCode::NOT_FOUND {
                // A repository or a subject that is not known says nothing about the API.
                let code = answer.into_code(what).await;
                let seems_absent =
                    code.is_none_or(|code| matches!(code.as_str(), "unsupported" | "not found"));
                return Ok(ByApi::Nothing { seems_absent });
            }
            if answer.status() != StatusCode::OK {
                return Err(later_page_error(answer, what).await);
            }
            let served_as = answer.media_type()?;
            if served_as != media_type::OCI_INDEX {
                if is_first {
                    tracing::debug!("{what}: answered as {served_as:?}, trying the tag schema");
                    return Ok(ByApi::Nothing { seems_absent: false });
                }
                return Err(OrasError::media_type(what, media_type::OCI_INDEX, &served_as));
            }
            let registry = self.registry(&target.base);
            registry.learn_referrers(&target.list_place(), Referrers::Api, Instant::now());
            answer.refuse_encoding()?;
            check_filters(answer.raw(&OCI_FILTERS_APPLIED), !artifact_type.is_empty())
                .map_err(|why| OrasError::invalid(what, why))?;
            let next = next_page(target.base.path(), &answer.url, answer.raw(&LINK))
                .map_err(|why| OrasError::Forbidden { request: answer.request.clone(), why })?;
            let request = answer.request.clone();
            let page = answer.read(what, None, listing.limits.manifest_bytes).await?;
            listing.add_page(&page)?;
            let Some(url) = next else { return Ok(ByApi::Listed(listing.entries)) };
            call.url = target
                .page(&call.url, url)
                .map_err(|why| OrasError::Forbidden { request, why: why.to_owned() })?;
        }
    }

    async fn list_by_tag(
        &self,
        target: &Target<'_>,
        subject: &Digest,
        what: &str,
    ) -> Result<Option<Vec<Descriptor>>, OrasError> {
        let reference = sibling_tag(target.reference, &schema_tag(subject))?;
        let target = Target { reference: &reference, ..target.clone() };
        let mut listing = Listing::new(what, *self.limits());
        match self.index_by_tag(&target, listing.limits.manifest_bytes).await {
            Ok((body, _)) => listing.add_page(&body)?,
            Err(OrasError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(listing.entries))
    }

    /// The signature that cosign keeps under a tag derived from the subject's digest; `None`
    /// where there is no such tag.
    ///
    /// # Errors
    /// As [`Client::resolve`], save "not found".
    pub async fn cosign_signature(
        &self,
        reference: &Reference,
        subject: &Digest,
        give_up_at: Option<Instant>,
    ) -> Result<Option<Descriptor>, OrasError> {
        // Of a SHA-512 the tag would be longer than a tag can be, so there can be none.
        let Ok(tagged) = reference.sibling_tag(&subject.cosign_tag()) else { return Ok(None) };
        match self.resolve(&tagged, give_up_at).await {
            Ok(found) => Ok(Some(found.with_artifact_type(media_type::COSIGN_SIGNATURE))),
            Err(OrasError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<'a> Listing<'a> {
    pub(crate) fn new(what: &'a str, limits: Limits) -> Self {
        Self {
            what,
            limits,
            entries: Vec::new(),
            by_digest: HashMap::new(),
            pages: HashSet::new(),
            bytes: 0,
        }
    }

    /// A page that was read already, or one too many, is an error.
    fn begin_page(&mut self, url: &Url) -> Result<(), OrasError> {
        if self.pages.len() >= usize::try_from(self.limits.referrer_pages).unwrap_or(usize::MAX) {
            return Err(self.too_large(self.limits.referrer_pages.into(), "pages"));
        }
        if !self.pages.insert(url.clone()) {
            return Err(OrasError::invalid(self.what, "the pages link to each other in a circle"));
        }
        Ok(())
    }

    pub(crate) fn add_page(&mut self, page: &[u8]) -> Result<(), OrasError> {
        self.bytes += page.len() as u64;
        if self.bytes > self.limits.referrer_bytes {
            return Err(self.too_large(self.limits.referrer_bytes, "bytes"));
        }
        let index = Index::from_bytes(media_type::OCI_INDEX, page)
            .map_err(|error| OrasError::invalid(self.what, capped_line(&error.to_string(), 200)))?;
        for entry in index.manifests {
            self.add(entry)?;
        }
        Ok(())
    }

    /// The same entry twice is one; one artifact with two descriptions is refused, for who reads
    /// the one would judge something else than who reads the other.
    pub(crate) fn add(&mut self, entry: Descriptor) -> Result<(), OrasError> {
        if let Some(index) = self.by_digest.get(&entry.digest) {
            let known = &self.entries[*index];
            let is_same = known.media_type == entry.media_type
                && known.size == entry.size
                && known.artifact_type == entry.artifact_type;
            if is_same {
                return Ok(());
            }
            return Err(OrasError::invalid(
                self.what,
                format!("{} is listed twice, with different types or sizes", entry.digest),
            ));
        }
        if self.entries.len() >= self.limits.referrers {
            return Err(self.too_large(self.limits.referrers as u64, "referrers"));
        }
        self.by_digest.insert(entry.digest.clone(), self.entries.len());
        self.entries.push(entry);
        Ok(())
    }

    pub(crate) fn into_entries(self) -> Vec<Descriptor> {
        self.entries
    }

    fn too_large(&self, limit: u64, unit: &'static str) -> OrasError {
        OrasError::TooLarge { what: self.what.to_owned(), limit, unit }
    }
}

/// The tag of the tag schema: the digest with a `-` for the `:`, cut to the lengths it allows.
pub(crate) fn schema_tag(subject: &Digest) -> String {
    let hex = &subject.hex()[..subject.hex().len().min(64)];
    format!("{}-{hex}", subject.algorithm().name())
}

fn sibling_tag(reference: &Reference, tag: &str) -> Result<Reference, OrasError> {
    reference.sibling_tag(tag).map_err(|error| OrasError::invalid(tag, error.to_string()))
}

/// A later page that is not found is a broken list, not an empty one.
async fn later_page_error(answer: Answer, what: &str) -> OrasError {
    match answer.into_error(what).await {
        OrasError::NotFound { .. } => OrasError::invalid(what, "a linked page is not there"),
        other => other,
    }
}

/// Part of a list proves nothing, so one from which more was left out than was asked for is refused.
fn check_filters<'a>(
    values: impl Iterator<Item = &'a HeaderValue>,
    is_filtered: bool,
) -> Result<(), String> {
    for value in values {
        let text = value.to_str().map_err(|_| "the header oci-filters-applied cannot be read")?;
        let applied = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let is_meant = |name: &&str| is_filtered && name.eq_ignore_ascii_case("artifactType");
        if let Some(other) = applied.into_iter().find(|name| !is_meant(name)) {
            let other = capped_line(other, 40);
            return Err(format!("the registry left out by {other:?} what was asked for"));
        }
    }
    Ok(())
}

/// The next page's URL from the `Link` headers (RFC 8288), if there is one.
///
/// # Errors
/// When it leads to another host or out of the API, or to two pages at once; also when a value cannot be read, for it may
/// have named a page that would be missing then.
pub(crate) fn next_page<'a>(
    api: &str,
    current: &Url,
    values: impl Iterator<Item = &'a HeaderValue>,
) -> Result<Option<Url>, String> {
    let mut found = None;
    for value in values {
        let links = value.to_str().ok().and_then(links);
        let links = links.ok_or("sent a Link header that cannot be read")?;
        for (target, _) in links.into_iter().filter(|(_, is_next)| *is_next) {
            if found.is_some_and(|first| first != target) {
                return Err("links to two different next pages".into());
            }
            found = Some(target);
        }
    }
    let Some(target) = found else { return Ok(None) };
    let next = current.join(target).map_err(|error| format!("links to no URL: {error}"))?;
    let is_in_api = ["/v2", api].iter().any(|api| {
        next.path()
            .strip_prefix(api.trim_end_matches('/'))
            .is_some_and(|rest| rest.starts_with('/'))
    });
    if next.origin() != current.origin() || !is_in_api {
        let host = capped_line(next.host_str().unwrap_or_default(), 255);
        return Err(format!("the next page is not on the same registry but on {host}"));
    }
    Ok(Some(next))
}

/// The targets of a `Link` value, each with whether its relation is `next`. `None` where the value
/// does not begin with a target, or one has no end.
fn links(value: &str) -> Option<Vec<(&str, bool)>> {
    let mut found = Vec::new();
    let mut rest = value.trim();
    if !rest.is_empty() && !rest.starts_with('<') {
        return None;
    }
    while let Some((_, after)) = rest.split_once('<') {
        let (target, parameters) = after.split_once('>')?;
        let end = parameters.find('<').unwrap_or(parameters.len());
        let is_next = parameters[..end].split([';', ',']).any(|parameter| {
            parameter.trim().split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split(' ')
                        .any(|relation| relation.eq_ignore_ascii_case("next"))
            })
        });
        found.push((target, is_next));
        rest = &parameters[end..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn next(values: &[&str]) -> Result<Option<String>, String> {
        let current = Url::parse("https://r.io:5000/v2/a/referrers/sha256:x?n=1").unwrap();
        let values: Vec<_> =
            values.iter().map(|text| HeaderValue::from_bytes(text.as_bytes()).unwrap()).collect();
        next_page("/v2", &current, values.iter()).map(|url| url.map(Into::into))
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let expected = Ok(Some("https://r.io:5000/v2/a/referrers/sha256:x?last=2".to_owned()));
        for value in [
            r#"</v2/a/referrers/sha256:x?last=2>; rel="next""#,
            "</v2/a/referrers/sha256:x?last=2>;rel=next",
            r#"</v2/first>; rel="first", </v2/a/referrers/sha256:x?last=2>; REL="Next""#,
            "<https://r.io:5000/v2/a/referrers/sha256:x?last=2>; title=x; rel=\"last next\"",
            "<?last=2>; rel=next",
        ] {
            assert_eq!(next(&[value]), expected, "{value}");
        }
        for values in [&[][..], &["</v2/x>; rel=prev"], &[""]] {
            assert_eq!(next(values), Ok(None), "{values:?}");
        }
    }

    #[test]
    fn a_link_that_cannot_be_read_is_no_end_of_the_list() {
        for value in [
            "nonsense",
            "/v2/a/referrers/sha256:x?last=2; rel=next",
            "<unclosed; rel=next",
            "</v2/x>; title=\"a<b\"; rel=next",
            "</v2/a/ä>; rel=next",
        ] {
            assert!(next(&[value]).is_err(), "{value}");
            assert!(next(&["</v2/x>; rel=next", value]).is_err(), "{value}");
        }
    }

    #[test]
    fn two_next_pages_are_none() {
        assert!(next(&["</v2/x>; rel=next, </v2/y>; rel=next"]).is_err());
        assert!(next(&["</v2/x>; rel=next", "</v2/y>; rel=next"]).is_err());
        assert!(next(&["</v2/x>; rel=next", "</v2/x>; rel=next"]).is_ok());
    }

    #[test]
    fn a_next_page_elsewhere_is_refused() {
        for target in [
            "https://other.io/v2/a",
            "http://r.io:5000/v2/a",
            "https://r.io:5001/v2/a",
            "//169.254.169.254/v2/",
            "/admin",
            "/v2/../admin",
            "https://[",
        ] {
            assert!(next(&[&format!("<{target}>; rel=next")]).is_err(), "{target}");
        }
    }

    #[test]
    fn a_place_with_a_path_has_its_next_pages_below_it() {
        let current = Url::parse("https://r.io/prefix/v2/a/referrers/sha256:x").unwrap();
        let next = |link: &str| {
            let link = HeaderValue::from_str(&format!("<{link}>; rel=next")).unwrap();
            next_page("/prefix/v2", &current, [&link].into_iter())
        };
        assert!(next("?last=2").is_ok() && next("/prefix/v2/a/x").is_ok());
        assert!(next("/prefix/v2x/a").is_err() && next("/prefix/x").is_err());
    }

    #[test]
    fn the_tag_is_the_digest_with_a_dash() {
        let sha256: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        assert_eq!(schema_tag(&sha256), format!("sha256-{}", "ab".repeat(32)));
        let sha512: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        assert_eq!(schema_tag(&sha512), format!("sha512-{}", "ab".repeat(32)));
    }

    #[test]
    fn one_digest_listed_in_two_ways_is_refused_and_twice_the_same_is_one() {
        let limits = Limits::default();
        let entry = |artifact_type: &str, size| {
            let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
            Descriptor::new("m", digest, size).with_artifact_type(artifact_type)
        };
        let mut listing = Listing::new("w", limits);
        listing.add(entry("a", 1)).unwrap();
        listing.add(entry("a", 1)).unwrap();
        assert_eq!(listing.entries.len(), 1);
        assert!(listing.add(entry("b", 1)).is_err());
        assert!(listing.add(entry("a", 2)).is_err());
    }

    #[test]
    fn every_bound_is_an_error() {
        let limits =
            Limits { referrer_pages: 2, referrers: 1, referrer_bytes: 10, ..Limits::default() };
        let page = |n: u32| Url::parse(&format!("https://r.io/v2/?p={n}")).unwrap();
        let mut listing = Listing::new("w", limits);
        listing.begin_page(&page(1)).unwrap();
        assert!(matches!(listing.begin_page(&page(1)), Err(OrasError::Invalid { .. })));
        listing.begin_page(&page(2)).unwrap();
        assert!(matches!(listing.begin_page(&page(3)), Err(OrasError::TooLarge { .. })));
        let long = Bytes::from_static(b"{\"manifests\":[]}");
        assert!(matches!(listing.add_page(&long), Err(OrasError::TooLarge { .. })));
    }
}
