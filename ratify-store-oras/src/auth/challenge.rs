//! What a registry asks for with a 401: the `WWW-Authenticate` header (RFC 9110, section 11.6.1),
//! and the rules for whom credentials may then be shown to. Pure.

use std::collections::BTreeSet;

use url::Url;

use crate::{Transport, transport::check_step};

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password on each request.
    Basic,
    /// A token from the service at `realm`.
    Bearer {
        /// The URL of the token service.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What it should allow; several are separated by spaces.
        scope: Option<String>,
    },
}

impl Challenge {
    /// What the place asks for, whatever the repository.
    pub(crate) fn without_scope(self) -> Self {
        match self {
            Self::Basic => Self::Basic,
            Self::Bearer { realm, service, .. } => Self::Bearer { realm, service, scope: None },
        }
    }

    /// Whether who answers it shows something to another origin than the registry's.
    pub(crate) fn leads_from(&self, registry: &Url) -> bool {
        match self {
            Self::Basic => false,
            Self::Bearer { realm, .. } => {
                Url::parse(realm).map_or(true, |realm| realm.origin() != registry.origin())
            }
        }
    }

    /// How much memory its texts take.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Basic => 0,
            Self::Bearer { realm, service, scope } => {
                let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                realm.len() + length(service) + length(scope)
            }
        }
    }
}

/// Longer values are no challenges: reading one takes time that grows with its square.
const MAX_VALUE_BYTES: usize = 8192;

/// Reads the challenges of all `WWW-Authenticate` values; unknown schemes are left out.
pub(crate) fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    values.filter(|value| value.len() <= MAX_VALUE_BYTES).flat_map(parse_one).collect()
}

/// The realm of a challenge, if it may be asked for a token.
///
/// # Errors
/// Says why not. The rules are those of a redirect: above all no credentials in clear unless the
/// registry itself is spoken to in clear.
pub(crate) fn checked_realm(
    realm: &str,
    registry: &Url,
    transport: Transport,
) -> Result<Url, String> {
    let url = Url::parse(realm).map_err(|error| format!("its token realm is no URL: {error}"))?;
    check_step(registry, &url, transport)
        .map_err(|why| format!("its token realm leads {why}; no credentials are sent there"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its token realm holds a user or a password".into());
    }
    Ok(url)
}

/// The scope to ask for: `actions` on the repository, and what else the challenge names for the
/// same repository, as long as it only reads.
pub(crate) fn scope(repository: &str, actions: &[&str], asked: Option<&str>) -> String {
    let mut all: BTreeSet<&str> = actions.iter().copied().collect();
    for scope in asked.unwrap_or_default().split(' ') {
        let named = scope.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':'));
        if let Some((name, asked)) = named
            && name == repository
        {
            all.extend(asked.split(',').filter(|action| matches!(*action, "metadata_read")));
        }
    }
    let all: Vec<&str> = all.into_iter().collect();
    format!("repository:{repository}:{}", all.join(","))
}

fn parse_one(value: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = value.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '\t']).unwrap_or(rest.len());
        let (scheme, after) = rest.split_at(end);
        let (parameters, after) = parse_parameters(after);
        let get = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            challenges.push(Challenge::Bearer {
                realm,
                service: get("service"),
                scope: get("scope"),
            });
        }
        rest = after;
    }
    challenges
}

/// Reads `key=value` pairs until something is none; returns what is left, the next scheme.
fn parse_parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while let Some((key, after)) = split_key(rest) {
        let (value, after) = parse_value(after);
        parameters.push((key.to_owned(), value));
        rest = after.trim_start_matches([' ', ',', '\t']);
    }
    (parameters, rest)
}

fn split_key(text: &str) -> Option<(&str, &str)> {
    let (key, after) = text.split_once('=')?;
    let key = key.trim_end();
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (!key.is_empty() && key.bytes().all(is_token)).then_some((key, after.trim_start()))
}

fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn reads_the_challenges_registries_send() {
        let cases = [
            (r#"Basic realm="x""#, vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://a/t",service="a",scope="repository:x/y:pull,push""#,
                vec![bearer("https://a/t", Some("a"), Some("repository:x/y:pull,push"))],
            ),
            (
                r#"bearer Realm = "https://a/\"t" , service=a"#,
                vec![bearer("https://a/\"t", Some("a"), None)],
            ),
            (
                r#"Negotiate, Basic realm="x, y", Bearer realm=https://a"#,
                vec![Challenge::Basic, bearer("https://a", None, None)],
            ),
            ("Bearer service=a", vec![]),
            (r#"Bearer realm="https://a"#, vec![bearer("https://a", None, None)]),
            ("", vec![]),
            (",,,=", vec![]),
        ];
        for (header, expected) in cases {
            assert_eq!(parse([header].into_iter()), expected, "{header}");
        }
    }

    #[test]
    fn a_realm_in_clear_is_for_registries_in_clear_only() {
        let https = Url::parse("https://r.example.com/").unwrap();
        let http = Url::parse("http://127.0.0.1:5000/").unwrap();
        let is_allowed =
            |realm, registry, transport| checked_realm(realm, registry, transport).is_ok();
        let remote = "http://auth.example.com/token";
        assert!(is_allowed("https://auth.example.com/token", &https, Transport::Https));
        assert!(!is_allowed(remote, &https, Transport::Https));
        assert!(is_allowed(remote, &http, Transport::PlainHttp));
        assert!(!is_allowed(remote, &http, Transport::HttpsOrLoopbackHttp));
        assert!(is_allowed("http://127.0.0.1:1/t", &http, Transport::HttpsOrLoopbackHttp));
        assert!(!is_allowed("https://127.0.0.1:1/t", &https, Transport::Https));
        for realm in ["ftp://x/", "token", "", "file:///etc/passwd", "https://u:p@x/"] {
            assert!(!is_allowed(realm, &http, Transport::PlainHttp), "{realm}");
        }
    }

    #[test]
    fn a_scope_never_grows_beyond_reading_its_own_repository() {
        let scope = |asked| scope("x/y", &["pull"], asked);
        assert_eq!(scope(None), "repository:x/y:pull");
        assert_eq!(scope(Some("repository:x/y:pull,push,delete,*")), "repository:x/y:pull");
        assert_eq!(
            scope(Some("repository:x/y:metadata_read,pull repository:z:pull registry:catalog:*")),
            "repository:x/y:metadata_read,pull"
        );
    }
}
