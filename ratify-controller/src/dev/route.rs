//! What a request to the embedded registry asks for: method and path turned into one [`Route`].
//!
//! Pure: no state, no body. Repository names contain slashes, so the path is read from its end.

use http::StatusCode;
use ratify_core::Digest;

use super::answer::Refusal;

/// The end points of the OCI distribution specification, "Endpoints".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// end-1, `/v2/`.
    Ping,
    /// end-8, `/v2/<name>/tags/list`.
    Tags { name: String },
    /// end-12, `/v2/<name>/referrers/<digest>`.
    Referrers { name: String, digest: Digest },
    /// end-3, end-7 and end-9, `/v2/<name>/manifests/<reference>`.
    Manifest { name: String, reference: ManifestReference },
    /// end-2 and end-10, `/v2/<name>/blobs/<digest>`.
    Blob { name: String, digest: Digest },
    /// end-4 and end-11, `/v2/<name>/blobs/uploads/`.
    Uploads { name: String },
    /// end-5, end-6, end-13 and end-14, `/v2/<name>/blobs/uploads/<id>`.
    Upload { name: String, id: String },
}

/// How a manifest is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ManifestReference {
    Tag(String),
    Digest(Digest),
}

impl Route {
    /// Reads the path of a request, without its query.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let path = percent_decoded(path).ok_or_else(|| unknown_path(path))?;
        let Some(rest) = path.strip_prefix("/v2") else {
            return Err(unknown_path(&path));
        };
        let rest = match rest {
            "" | "/" => return Ok(Self::Ping),
            other => other.strip_prefix('/').ok_or_else(|| unknown_path(&path))?,
        };
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags { name: checked_name(name)? });
        }
        if let Some((name, id)) = rest.rsplit_once("/blobs/uploads/") {
            let name = checked_name(name)?;
            return Ok(match id {
                "" => Self::Uploads { name },
                id => Self::Upload { name, id: id.to_owned() },
            });
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads") {
            return Ok(Self::Uploads { name: checked_name(name)? });
        }
        let (head, last) = rest.rsplit_once('/').ok_or_else(|| unknown_path(&path))?;
        let (name, kind) = head.rsplit_once('/').ok_or_else(|| unknown_path(&path))?;
        Self::of_kind(kind, name, last).ok_or_else(|| unknown_path(&path))?
    }

    fn of_kind(kind: &str, name: &str, last: &str) -> Option<Result<Self, Refusal>> {
        let with =
            |make: &dyn Fn(String) -> Result<Self, Refusal>| checked_name(name).and_then(make);
        match kind {
            "manifests" => Some(with(&|name| {
                Ok(Self::Manifest { name, reference: ManifestReference::parse(last)? })
            })),
            "blobs" => Some(with(&|name| Ok(Self::Blob { name, digest: checked_digest(last)? }))),
            "referrers" => {
                Some(with(&|name| Ok(Self::Referrers { name, digest: checked_digest(last)? })))
            }
            _ => None,
        }
    }

    /// The repository the route is in.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Ping => None,
            Self::Tags { name }
            | Self::Referrers { name, .. }
            | Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. } => Some(name),
        }
    }

    /// The digest that the path pins, if it pins one.
    pub(super) fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Referrers { digest, .. }
            | Self::Blob { digest, .. }
            | Self::Manifest { reference: ManifestReference::Digest(digest), .. } => Some(digest),
            _ => None,
        }
    }
}

impl ManifestReference {
    /// A text with a colon is a digest, any other a tag.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        if text.contains(':') {
            return Ok(Self::Digest(checked_digest(text)?));
        }
        checked_tag(text).map(Self::Tag)
    }
}

/// Checks a digest of a path or query.
pub(super) fn checked_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", format!("no digest: {error}"))
    })
}

/// Checks a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(super) fn checked_tag(tag: &str) -> Result<String, Refusal> {
    let good = (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if good {
        return Ok(tag.to_owned());
    }
    Err(Refusal::new(StatusCode::BAD_REQUEST, "TAG_INVALID", "a tag is up to 128 of a-zA-Z0-9._-"))
}

/// Checks a repository name (distribution-spec, "Pulling manifests").
pub(super) fn checked_name(name: &str) -> Result<String, Refusal> {
    if name.len() <= 255 && name.split('/').all(is_name_component) {
        return Ok(name.to_owned());
    }
    Err(Refusal::new(
        StatusCode::BAD_REQUEST,
        "NAME_INVALID",
        "a repository name is lower-case letters and digits, separated by one of . _ __ - and /",
    ))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_name_component(component: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let edges = bytes.first().is_some_and(is_word) && bytes.last().is_some_and(is_word);
    edges
        && bytes.split(is_word).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
        })
}

fn percent_decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.extend(hex::decode(digits).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn unknown_path(path: &str) -> Refusal {
    let path = ratify_core::capped_line(path, 120);
    Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", format!("no such end point: {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        format!("sha256:{}", "ab".repeat(32)).parse().unwrap()
    }

    #[test]
    fn reads_every_end_point_with_names_that_have_slashes() {
        let d = digest();
        let name = || "a/b-c/d".to_owned();
        let cases = [
            ("/v2".to_owned(), Route::Ping),
            ("/v2/".to_owned(), Route::Ping),
            ("/v2/a/b-c/d/tags/list".to_owned(), Route::Tags { name: name() }),
            (format!("/v2/a/b-c/d/blobs/{d}"), Route::Blob { name: name(), digest: d.clone() }),
            (
                format!("/v2/a/b-c/d/blobs/{d}").replace(':', "%3A"),
                Route::Blob { name: name(), digest: d.clone() },
            ),
            (
                format!("/v2/a/b-c/d/referrers/{d}"),
                Route::Referrers { name: name(), digest: d.clone() },
            ),
            (
                "/v2/a/b-c/d/manifests/v1".to_owned(),
                Route::Manifest { name: name(), reference: ManifestReference::Tag("v1".into()) },
            ),
            (
                format!("/v2/a/b-c/d/manifests/{d}"),
                Route::Manifest { name: name(), reference: ManifestReference::Digest(d.clone()) },
            ),
            ("/v2/a/b-c/d/blobs/uploads/".to_owned(), Route::Uploads { name: name() }),
            ("/v2/a/b-c/d/blobs/uploads".to_owned(), Route::Uploads { name: name() }),
            (
                "/v2/a/b-c/d/blobs/uploads/7".to_owned(),
                Route::Upload { name: name(), id: "7".into() },
            ),
        ];
        for (path, expected) in cases {
            assert_eq!(Route::parse(&path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn refuses_paths_names_tags_and_digests_that_are_none() {
        let cases = [
            ("/", "UNSUPPORTED"),
            ("/v3/a/tags/list", "UNSUPPORTED"),
            ("/v2x", "UNSUPPORTED"),
            ("/v2/a", "UNSUPPORTED"),
            ("/v2/a/b/c", "UNSUPPORTED"),
            ("/v2/%zz/tags/list", "UNSUPPORTED"),
            ("/v2/A/tags/list", "NAME_INVALID"),
            ("/v2/../tags/list", "NAME_INVALID"),
            ("/v2/a//b/tags/list", "NAME_INVALID"),
            ("/v2/a___b/tags/list", "NAME_INVALID"),
            ("/v2//tags/list", "NAME_INVALID"),
            ("/v2/a/manifests/.hidden", "TAG_INVALID"),
            ("/v2/a/manifests/sha256:baddigest", "DIGEST_INVALID"),
            ("/v2/a/blobs/nodigest", "DIGEST_INVALID"),
        ];
        for (path, code) in cases {
            assert_eq!(Route::parse(path).unwrap_err().code, code, "{path}");
        }
    }

    #[test]
    fn accepts_the_separators_of_the_specification_in_names() {
        for name in ["a", "a.b", "a_b", "a__b", "a--b", "a---b/c0"] {
            assert!(checked_name(name).is_ok(), "{name}");
        }
        for name in ["", "a..b", "-a", "a-", "a._b", "ä", "a/"] {
            assert!(checked_name(name).is_err(), "{name}");
        }
    }
}
