//! What the fuzz targets of `ratify-controller/fuzz`, and the test that replays their corpora, call of
//! this crate: pure functions of what a registry or an operator wrote. Of no use to anybody else.

use std::time::Instant;

use ratify_core::Descriptor;
use reqwest::header::HeaderValue;
use url::Url;

use crate::{
    Limits, Transport,
    auth::{
        challenge::{self, Challenge},
        tokens::Grant,
    },
    hosts::HostsFile,
    referrers::{self, Listing},
};

/// An endpoint of a `hosts.toml`.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its URL; `None` for the registry as it is without a file.
    pub base: Option<String>,
    /// Whether it may say what a tag stands for.
    pub resolves: bool,
}

/// A bearer challenge, as it would be followed.
#[derive(Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Where a token is asked for, or why nowhere.
    pub realm: Result<String, String>,
    /// What is asked for, to pull.
    pub scope: String,
}

/// What is taken of a token service's answer.
pub struct Token {
    /// The header that is sent.
    pub header: Vec<u8>,
    /// Whether it is marked so that no log shows it.
    pub is_secret: bool,
    /// Whether it is sent at that time.
    pub is_valid_at: Box<dyn Fn(Instant) -> bool>,
}

/// Reads a `hosts.toml`.
///
/// # Errors
/// When it is refused.
pub fn hosts(text: &str) -> Result<Vec<Endpoint>, String> {
    let entries = HostsFile::parse(text)?.entries.into_iter();
    let endpoint = |entry: crate::hosts::Entry| Endpoint {
        base: entry.base.map(Into::into),
        resolves: entry.capabilities.resolve,
    };
    Ok(entries.map(endpoint).collect())
}

/// The next page that `Link` headers name.
///
/// # Errors
/// When they are refused.
pub fn next_page(api: &str, current: &str, values: &[&[u8]]) -> Result<Option<String>, String> {
    let current = Url::parse(current).map_err(|error| error.to_string())?;
    let values: Result<Vec<_>, _> =
        values.iter().map(|value| HeaderValue::from_bytes(value)).collect();
    let values = values.map_err(|error| error.to_string())?;
    let next = referrers::next_page(api, &current, values.iter())?;
    Ok(next.map(Into::into))
}

/// The list that pages come to.
///
/// # Errors
/// When one of them is refused, or there are more than `most` entries.
pub fn referrers(pages: &[&[u8]], most: usize) -> Result<Vec<Descriptor>, String> {
    let limits = Limits { referrers: most, ..Limits::default() };
    let mut listing = Listing::new("a list", limits);
    for page in pages {
        listing.add_page(page).map_err(|error| error.to_string())?;
    }
    Ok(listing.into_entries())
}

/// The bearer challenges of a `WWW-Authenticate` header.
pub fn bearer_challenges(
    header: &str,
    repository: &str,
    registry: &str,
    transport: Transport,
) -> Vec<Bearer> {
    let Ok(registry) = Url::parse(registry) else { return Vec::new() };
    let challenges = challenge::parse([header].into_iter()).into_iter();
    let bearer = |found| match found {
        Challenge::Basic => None,
        Challenge::Bearer { realm, scope, .. } => Some(Bearer {
            realm: challenge::checked_realm(&realm, &registry, transport).map(Into::into),
            scope: challenge::scope(repository, &["pull"], scope.as_deref()),
        }),
    };
    challenges.filter_map(bearer).collect()
}

/// The token of a token service's answer, got now.
pub fn token(answer: &[u8], now: Instant) -> Option<Token> {
    let grant = Grant::bearer(answer, now)?;
    let header = grant.header()?;
    let (header, is_secret) = (header.as_bytes().to_vec(), header.is_sensitive());
    Some(Token { header, is_secret, is_valid_at: Box::new(move |at| grant.is_valid(at)) })
}
