//! Faults as data: when a request is answered with a lie, and with which one. The honest registry
//! stays as it is; [`Liar`] stands in front of it.

mod documents;
mod streams;
mod tell;

use std::{collections::HashMap, sync::Mutex, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use ratify_core::Digest;

use self::tell::Outcome;
use super::{
    answer::{CONTENT_DIGEST, set, with_bytes},
    honest::Registry,
    route::{ManifestReference, Route},
    server::Dropped,
    storage::lock,
};

/// The message in the error of [`Lie::Status`]: a terminal escape and a forged line, which no log,
/// report or error of a careful client repeats.
pub const REMOTE_TEXT: &str = "\u{1b}[31mtext of the registry\r\nlevel=info msg=forged";

/// One lie, and when it is told. Of several faults that match a request the first is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which requests.
    pub when: Matcher,
    /// What is told.
    pub lie: Lie,
}

/// Which requests a fault is for. What is not given matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    /// What the request is for.
    pub kind: Option<RequestKind>,
    /// The method: `GET`.
    pub method: Option<String>,
    /// The repository.
    pub repository: Option<String>,
    /// A part of the path: a tag, half a digest.
    pub path_contains: Option<String>,
    /// The digest that the path pins: of the blob, the manifest, or the subject of a list.
    pub digest: Option<Digest>,
    /// Which of the requests that match the rest.
    pub occurrence: Occurrence,
}

/// Which of the matching requests, counted from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Occurrence {
    /// All.
    #[default]
    Every,
    /// This one.
    Nth(u64),
    /// This one and those before it: what a retry gets over.
    First(u64),
    /// This one and those after it.
    From(u64),
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// What does a name stand for: GET or HEAD of a tag, HEAD of a digest.
    Resolve,
    /// GET of a manifest by digest.
    Manifest,
    /// The Referrers API.
    List,
    /// The tag `<algorithm>-<hex>` of the tag schema.
    FallbackTag,
    /// The tag `<algorithm>-<hex>.sig` of cosign.
    CosignTag,
    /// GET or HEAD of a blob.
    Blob,
    /// The list of tags.
    Tags,
    /// Whatever changes something: uploads, pushed manifests, deletions.
    Write,
    /// `/v2/`.
    Ping,
}

/// What is told instead of the truth. Unless its text says otherwise:
///
/// - a lie about *bytes* keeps the headers honest;
/// - a lie that makes another *document* is whole when it is asked for by tag: the digest header
///   is that of the forged document, and the forged document is served under that digest too. Only
///   a client that refuses the document as such is safe. Asked for by digest, the digest header is
///   the one asked for, and the bytes do not have it;
/// - a lie that has no hold on an honest answer (an index lie on an image) is not told;
///   [`RunningRegistry::lies_told`](super::RunningRegistry::lies_told) counts those that were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    /// Other bytes of the same length; JSON that means the same.
    OtherBytesSameLength,
    /// One byte more.
    OtherBytesOtherLength,
    /// Half of the bytes under the full `Content-Length`, then the connection ends.
    Truncated,
    /// The bytes, then blanks for ever, without a `Content-Length`.
    Endless,
    /// `Docker-Content-Digest` is that of something else.
    WrongDigestHeader,
    /// `Docker-Content-Digest` is missing.
    MissingDigestHeader,
    /// Another document of the same kind, under the digest asked for.
    EchoPinnedDigestWithOtherBody,
    /// Every descriptor in the document says one byte more; for HEAD, `Content-Length` does.
    WrongSizeInDescriptor,
    /// `Content-Type` is that of another kind of manifest.
    WrongContentType,
    /// `Content-Type` ends in `; charset=utf-8`.
    ContentTypeWithCharset,
    /// A document that is a manifest and an index (CVE-2021-41190).
    ManifestThatIsAlsoIndex,
    /// A document with the same key twice.
    DuplicateJsonKeys,
    /// The bytes in gzip's frame with `Content-Encoding: gzip`.
    GzipEncoded,
    /// The list shows what is attached to every other subject of the repository, and nothing else.
    ReferrersOfOtherSubject,
    /// The list claims this artifact type of all entries, whatever was asked for.
    ReferrersOtherArtifactType(String),
    /// The list is not filtered, and says that it is.
    ReferrersIgnoreFilter,
    /// `Link` leads to the same page again.
    ReferrersEndlessPages,
    /// `Link` leads to this URL.
    ReferrersLinkOtherHost(String),
    /// The list is a Docker manifest list, by header and document.
    ReferrersWrongMediaType,
    /// The list has this many entries more, whose manifests do not exist.
    ReferrersHuge(usize),
    /// An index has two entries for one platform.
    IndexTwoEntriesOnePlatform,
    /// An index says other media types of its children than they have.
    IndexChildOtherType,
    /// What was asked for lies this many indexes deep.
    IndexNestedInIndex(usize),
    /// 307 to this URL.
    RedirectBlobTo(String),
    /// The headers, and then nothing; for HEAD and writes nothing at all.
    Stall,
    /// One byte each time this passes.
    SlowDrip(Duration),
    /// An error instead of an answer; its message is [`REMOTE_TEXT`].
    Status {
        /// The status code.
        status: u16,
        /// The code in the error JSON: `NAME_UNKNOWN`, `DENIED`, `TOOMANYREQUESTS`.
        code: String,
        /// `Retry-After`, seconds.
        retry_after: Option<u64>,
    },
    /// 401 with this `WWW-Authenticate`: `Bearer realm="http://elsewhere.example.com/token"`.
    Challenge(String),
    /// 200 with a web page, as a captive portal sends it.
    NotAManifest,
    /// The document with 5 MiB in a member nobody reads.
    HugeManifest,
    /// The document with arrays nested this deep in a member nobody reads.
    DeepJson(usize),
    /// No answer; the connection ends.
    DropConnection,
}

/// The faults of a registry, and the forged documents it has to stand by.
pub(super) struct Liar {
    faults: Mutex<Vec<Armed>>,
    forged: Mutex<HashMap<Digest, Forged>>,
}

struct Armed {
    fault: Fault,
    matched: u64,
    told: u64,
}

#[derive(Clone)]
struct Forged {
    media_type: String,
    bytes: Bytes,
}

impl Fault {
    /// A lie about every request of a kind.
    pub fn on(kind: RequestKind, lie: Lie) -> Self {
        Self { when: Matcher { kind: Some(kind), ..Matcher::default() }, lie }
    }

    /// The same, only for paths that contain this.
    #[must_use]
    pub fn at(mut self, part_of_path: impl Into<String>) -> Self {
        self.when.path_contains = Some(part_of_path.into());
        self
    }

    /// The same, only for some of the matching requests.
    #[must_use]
    pub fn times(mut self, occurrence: Occurrence) -> Self {
        self.when.occurrence = occurrence;
        self
    }
}

impl Matcher {
    /// Whether a request is one of these, its occurrence aside.
    fn matches(&self, kind: RequestKind, route: &Route, request: &Request<Body>) -> bool {
        let path = request.uri().path();
        self.kind.is_none_or(|wanted| wanted == kind)
            && self
                .method
                .as_ref()
                .is_none_or(|m| m.eq_ignore_ascii_case(request.method().as_str()))
            && self.repository.as_deref().is_none_or(|name| Some(name) == route.name())
            && self.path_contains.as_ref().is_none_or(|part| path.contains(part.as_str()))
            && self.digest.as_ref().is_none_or(|digest| Some(digest) == route.digest())
    }
}

impl Occurrence {
    fn includes(self, count: u64) -> bool {
        match self {
            Self::Every => true,
            Self::Nth(n) => count == n,
            Self::First(n) => count <= n,
            Self::From(n) => count >= n,
        }
    }
}

impl RequestKind {
    /// What a request is for.
    fn of(route: &Route, method: &Method) -> Self {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Self::Write;
        }
        match route {
            Route::Ping => Self::Ping,
            Route::Tags { .. } => Self::Tags,
            Route::Referrers { .. } => Self::List,
            Route::Blob { .. } => Self::Blob,
            Route::Uploads { .. } | Route::Upload { .. } => Self::Write,
            Route::Manifest { reference: ManifestReference::Digest(_), .. } => {
                if method == Method::GET { Self::Manifest } else { Self::Resolve }
            }
            Route::Manifest { reference: ManifestReference::Tag(tag), .. } => Self::of_tag(tag),
        }
    }

    fn of_tag(tag: &str) -> Self {
        let is_digest = |text: &str| text.replacen('-', ":", 1).parse::<Digest>().is_ok();
        match tag.strip_suffix(".sig") {
            Some(stem) if is_digest(stem) => Self::CosignTag,
            _ if is_digest(tag) => Self::FallbackTag,
            _ => Self::Resolve,
        }
    }
}

impl Liar {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        let liar = Self { faults: Mutex::default(), forged: Mutex::default() };
        liar.set(faults);
        liar
    }

    pub(super) fn set(&self, faults: Vec<Fault>) {
        let armed = |fault| Armed { fault, matched: 0, told: 0 };
        *lock(&self.faults) = faults.into_iter().map(armed).collect();
        lock(&self.forged).clear();
    }

    pub(super) fn told(&self) -> Vec<u64> {
        lock(&self.faults).iter().map(|armed| armed.told).collect()
    }

    /// Answers a request: with the lie that is due, or honestly.
    pub(super) async fn answer(
        &self,
        registry: &Registry,
        route: Route,
        request: Request<Body>,
    ) -> Result<Response<Body>, Dropped> {
        let kind = RequestKind::of(&route, request.method());
        let Some((index, lie)) = self.due(kind, &route, &request) else {
            return Ok(self.stood_by(registry, route, request).await);
        };
        match self.tell(&lie, index, registry, route, request).await {
            Outcome::Honest(response) => Ok(response),
            Outcome::Lie(response) => {
                self.count(index);
                Ok(response)
            }
            Outcome::Drop => {
                self.count(index);
                Err(Dropped)
            }
        }
    }

    /// The honest answer, and forged documents under their own digests.
    async fn stood_by(
        &self,
        registry: &Registry,
        route: Route,
        request: Request<Body>,
    ) -> Response<Body> {
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Route::Manifest { reference: ManifestReference::Digest(digest), .. } = &route {
            let forged = lock(&self.forged).get(digest).cloned();
            if let Some(forged) = forged.filter(|_| read) {
                let mut response = with_bytes(StatusCode::OK, &forged.media_type, forged.bytes);
                set(response.headers_mut(), CONTENT_DIGEST, digest.as_str());
                return response;
            }
        }
        registry.answer(route, request).await
    }

    fn due(
        &self,
        kind: RequestKind,
        route: &Route,
        request: &Request<Body>,
    ) -> Option<(usize, Lie)> {
        let mut due = None;
        for (index, armed) in lock(&self.faults).iter_mut().enumerate() {
            if armed.fault.when.matches(kind, route, request) {
                armed.matched += 1;
                if due.is_none() && armed.fault.when.occurrence.includes(armed.matched) {
                    due = Some((index, armed.fault.lie.clone()));
                }
            }
        }
        due
    }

    fn count(&self, index: usize) {
        if let Some(armed) = lock(&self.faults).get_mut(index) {
            armed.told += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(method: &Method, path: &str) -> RequestKind {
        RequestKind::of(&Route::parse(path).unwrap(), method)
    }

    #[test]
    fn requests_are_told_apart_by_what_they_are_for() {
        let hex = "ab".repeat(32);
        let cases = [
            (Method::GET, "/v2/".to_owned(), RequestKind::Ping),
            (Method::GET, "/v2/a/tags/list".to_owned(), RequestKind::Tags),
            (Method::GET, "/v2/a/manifests/v1".to_owned(), RequestKind::Resolve),
            (Method::HEAD, "/v2/a/manifests/v1.sig".to_owned(), RequestKind::Resolve),
            (Method::HEAD, format!("/v2/a/manifests/sha256:{hex}"), RequestKind::Resolve),
            (Method::GET, format!("/v2/a/manifests/sha256:{hex}"), RequestKind::Manifest),
            (Method::GET, format!("/v2/a/manifests/sha256-{hex}"), RequestKind::FallbackTag),
            (Method::HEAD, format!("/v2/a/manifests/sha256-{hex}.sig"), RequestKind::CosignTag),
            (Method::GET, format!("/v2/a/referrers/sha256:{hex}"), RequestKind::List),
            (Method::GET, format!("/v2/a/blobs/sha256:{hex}"), RequestKind::Blob),
            (Method::PUT, "/v2/a/manifests/v1".to_owned(), RequestKind::Write),
            (Method::POST, "/v2/a/blobs/uploads/".to_owned(), RequestKind::Write),
        ];
        for (method, path, expected) in cases {
            assert_eq!(kind(&method, &path), expected, "{method} {path}");
        }
    }

    #[test]
    fn an_occurrence_counts_from_one() {
        let told = |occurrence: Occurrence| (1..=4).filter(|n| occurrence.includes(*n)).collect();
        let cases: [(Occurrence, Vec<u64>); 4] = [
            (Occurrence::Every, vec![1, 2, 3, 4]),
            (Occurrence::Nth(2), vec![2]),
            (Occurrence::First(2), vec![1, 2]),
            (Occurrence::From(3), vec![3, 4]),
        ];
        for (occurrence, expected) in cases {
            let actual: Vec<u64> = told(occurrence);
            assert_eq!(actual, expected, "{occurrence:?}");
        }
    }
}
