//! [`Reference`]: where an image or an artifact is, normalised as Docker and Ratify v1 do.
//!
//! The grammar is that of the distribution project's reference package; it is written out by hand
//! so that the plugin SDK needs no regular expressions.

use std::fmt;

use crate::{Digest, DigestError, Error, ErrorCode};

const DOCKER_HUB: &str = "docker.io";
const LEGACY_DOCKER_HUB: &str = "index.docker.io";
const MAX_REPOSITORY_LENGTH: usize = 255;
const MAX_TAG_LENGTH: usize = 128;
/// Longer input is refused before it is looked at.
const MAX_REFERENCE_LENGTH: usize = 4096;

/// A registry, a repository, and a tag or a digest. Valid by construction.
///
/// `Display` gives the normalised text as asked: for a tag it keeps the tag even after
/// [`Reference::with_digest`], as v1 does in its reports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    path: Box<str>,
    registry_length: usize,
    tag: Option<Box<str>>,
    digest: Option<Digest>,
    original: Box<str>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing was given, or more than a reference can be.
    #[error("a reference has between 1 and {MAX_REFERENCE_LENGTH} bytes")]
    TextLength,
    /// The text does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// 64 hexadecimal digits alone, which Docker takes for an image id.
    #[error("invalid repository name, cannot specify 64-byte hexadecimal strings")]
    ImageId,
    /// Upper-case letters in the repository.
    #[error("invalid reference format: repository name must be lowercase")]
    UpperCase,
    /// A repository of more than 255 bytes.
    #[error("repository name must not be more than {MAX_REPOSITORY_LENGTH} characters")]
    RepositoryLength,
    /// A digest that is none.
    #[error("invalid digest: {0}")]
    Digest(#[from] DigestError),
    /// No registry in a reference that must name one.
    #[error("invalid reference: missing registry or repository")]
    NoRegistry,
    /// Neither a tag nor a digest in a reference that must have one.
    #[error("invalid reference: it needs a tag or a digest")]
    NoTagOrDigest,
}

impl Reference {
    /// Parses a reference as Docker does: `nginx` is `docker.io/library/nginx:latest`, and where
    /// both a tag and a digest are given the tag is dropped.
    ///
    /// # Errors
    /// When the text follows no such grammar.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        check_length(text)?;
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::ImageId);
        }
        let (registry, remainder) = split_docker_registry(text);
        let parts = Parts::split(&remainder)?;
        let tag = if parts.digest.is_none() { Some(parts.tag.unwrap_or("latest")) } else { None };
        Self::build(registry, parts.repository, tag, parts.digest)
    }

    /// Parses a reference that must name its registry and a tag or a digest, as `source.artifact`
    /// of a dynamic plugin does. Nothing is added to it.
    ///
    /// # Errors
    /// When a part is missing or the text follows no such grammar.
    pub fn parse_exact(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::NoRegistry);
        }
        check_length(text)?;
        let (registry, remainder) = text.split_once('/').ok_or(ReferenceError::NoRegistry)?;
        let parts = Parts::split(remainder)?;
        if parts.tag.is_none() && parts.digest.is_none() {
            return Err(ReferenceError::NoTagOrDigest);
        }
        let tag = if parts.digest.is_none() { parts.tag } else { None };
        Self::build(registry, parts.repository, tag, parts.digest)
    }

    /// [`Reference::parse`] for a subject someone asks about, with v1's coded error. v1 does not
    /// say why a text is no reference, and what reads the text compares it, so neither does this.
    ///
    /// # Errors
    /// `REFERENCE_INVALID`.
    pub fn parse_subject(text: &str) -> Result<Self, Error> {
        Self::parse(text)
            .map_err(|_| ErrorCode::ReferenceInvalid.detail("failed to parse subject reference"))
    }

    fn build(
        registry: &str,
        repository: &str,
        tag: Option<&str>,
        digest: Option<Digest>,
    ) -> Result<Self, ReferenceError> {
        if repository.len() > MAX_REPOSITORY_LENGTH {
            return Err(ReferenceError::RepositoryLength);
        }
        if !is_registry(registry) || !repository.split('/').all(is_path_component) {
            return Err(ReferenceError::Format);
        }
        let path = format!("{registry}/{repository}");
        let original = match (&digest, tag) {
            (Some(digest), _) => format!("{path}@{digest}"),
            (None, Some(tag)) => format!("{path}:{tag}"),
            (None, None) => path.clone(),
        };
        Ok(Self {
            registry_length: registry.len(),
            path: path.into(),
            tag: tag.map(Into::into),
            digest,
            original: original.into(),
        })
    }

    /// Registry and repository, `registry/repository`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The registry, with its port where one is given.
    pub fn registry(&self) -> &str {
        &self.path[..self.registry_length]
    }

    /// The repository within the registry.
    pub fn repository(&self) -> &str {
        &self.path[self.registry_length + 1..]
    }

    /// The tag; `None` where the reference was given by digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest: given, or found by resolving the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag or digest that a registry is asked for: the digest where one is known.
    pub fn tag_or_digest(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            // `build` is only called with one of them.
            (None, None) => "latest",
        }
    }

    /// The same reference, resolved: `digest` is what the tag stands for. The text stays as asked.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// Another object of the same repository, by digest.
    #[must_use]
    pub fn sibling(&self, digest: &Digest) -> Self {
        Self {
            path: self.path.clone(),
            registry_length: self.registry_length,
            tag: None,
            original: format!("{}@{digest}", self.path).into(),
            digest: Some(digest.clone()),
        }
    }

    /// Another object of the same repository, by tag.
    ///
    /// # Errors
    /// When `tag` is no tag.
    pub fn sibling_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Format);
        }
        Self::build(self.registry(), self.repository(), Some(tag), None)
    }

    /// The normalised text, as asked.
    pub fn as_str(&self) -> &str {
        &self.original
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.original)
    }
}

/// What stands behind the registry.
struct Parts<'a> {
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<Digest>,
}

impl<'a> Parts<'a> {
    fn split(remainder: &'a str) -> Result<Self, ReferenceError> {
        let (named, digest) = match remainder.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (remainder, None),
        };
        let (repository, tag) = match named.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (named, None),
        };
        if repository.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Format);
        }
        Ok(Self { repository, tag, digest: digest.map(str::parse).transpose()? })
    }
}

fn check_length(text: &str) -> Result<(), ReferenceError> {
    if text.is_empty() || text.len() > MAX_REFERENCE_LENGTH {
        return Err(ReferenceError::TextLength);
    }
    Ok(())
}

/// Tells a registry from a Docker Hub repository: it has a dot or a colon, is `localhost`, or has
/// an upper-case letter.
fn split_docker_registry(text: &str) -> (&str, std::borrow::Cow<'_, str>) {
    let (registry, remainder) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (if first == LEGACY_DOCKER_HUB { DOCKER_HUB } else { first }, rest)
        }
        _ => (DOCKER_HUB, text),
    };
    if registry == DOCKER_HUB && !remainder.contains('/') {
        return (registry, format!("library/{remainder}").into());
    }
    (registry, remainder.into())
}

fn is_registry(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_address =
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    host.split('.').all(is_registry_component) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_registry_component(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Lower-case letters and digits, joined by one of `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if bytes.first().is_none_or(|b| !is_word(*b)) || bytes.last().is_none_or(|b| !is_word(*b)) {
        return false;
    }
    bytes.split(|b| is_word(*b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MAX_TAG_LENGTH).contains(&text.len())
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn normalises_as_docker_does() {
        let digested = format!("a/b:t@sha256:{HEX}");
        let expected = format!("docker.io/a/b@sha256:{HEX}");
        let cases = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1", "docker.io/library/nginx:1"),
            ("a/b", "docker.io/a/b:latest"),
            (digested.as_str(), expected.as_str()),
            ("index.docker.io/library/x", "docker.io/library/x:latest"),
            ("Docker.io/x", "Docker.io/x:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x/y:z", "localhost:5000/x/y:z"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("reg.example.com/a--b/c__d/e.f_g:T-1._", "reg.example.com/a--b/c__d/e.f_g:T-1._"),
        ];
        for (text, normalised) in cases {
            assert_eq!(Reference::parse(text).unwrap().as_str(), normalised, "{text}");
        }
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let long_repository = format!("a.io/{}", "a".repeat(256));
        let long_text = "a".repeat(5000);
        let long_tag = format!("a:{}", "t".repeat(129));
        for text in [
            "",
            HEX,
            "a.io/B",
            "REG/APP::",
            "A/B@bad",
            "a.io/b@sha256:1234",
            "a.io//b",
            "a.io/b/",
            "a.io/-b",
            "a.io/b..c",
            "a.io/b___c",
            "a.io/b:",
            "a.io/b:.t",
            "a.io/b@",
            "-a.io/b",
            "a.io:x/b",
            "[::1/b",
            "a b",
            "a\n",
            "../a",
            "a.io/b@@c",
            &long_repository,
            &long_text,
            &long_tag,
        ] {
            assert!(Reference::parse(text).is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn keeps_the_text_as_asked_when_a_tag_is_resolved() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        let resolved = Reference::parse("reg.io/a:v1").unwrap().with_digest(digest.clone());
        assert_eq!(resolved.to_string(), "reg.io/a:v1");
        assert_eq!(resolved.tag_or_digest(), digest.as_str());
        assert_eq!(resolved.sibling(&digest).to_string(), format!("reg.io/a@{digest}"));
    }

    #[test]
    fn an_exact_reference_gets_nothing_added() {
        assert_eq!(Reference::parse_exact("reg.io/a:v1").unwrap().as_str(), "reg.io/a:v1");
        assert_eq!(Reference::parse_exact(""), Err(ReferenceError::NoRegistry));
        assert_eq!(Reference::parse_exact("nginx:1"), Err(ReferenceError::NoRegistry));
        assert_eq!(Reference::parse_exact("reg.io/a"), Err(ReferenceError::NoTagOrDigest));
    }

    #[test]
    fn gives_its_parts() {
        let reference = Reference::parse("reg.io:5000/a/b:t").unwrap();
        assert_eq!(
            (reference.registry(), reference.repository(), reference.tag(), reference.digest()),
            ("reg.io:5000", "a/b", Some("t"), None)
        );
    }
}
