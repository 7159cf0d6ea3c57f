//! [`Scope`]: repositories by registry and path, as rules, docker's files and the kubelet's contract
//! name them; and which of several is the most specific. Pure.

use std::{cmp::Reverse, fmt};

use ratify_core::capped_line;

use super::{HostPattern, RegistryHost};

/// Some repositories of some registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    hosts: HostPattern,
    is_docker_hub: bool,
    repositories: Repositories,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Repositories {
    All,
    /// This one alone.
    One(String),
    /// Those below, and not itself.
    Below(String),
    /// This one and those below.
    From(String),
}

impl Scope {
    /// Reads `host`, `host/repository` or `host/folder/*`, as rules have it.
    ///
    /// # Errors
    /// When it is none of them.
    pub(super) fn of_rule(text: &str) -> Result<Self, String> {
        let (host, path) = text.split_once('/').map_or((text, None), |(host, p)| (host, Some(p)));
        let repositories = match path {
            None | Some("*") => Repositories::All,
            Some(path) => match path.strip_suffix("/*") {
                Some(folder) => Repositories::Below(folder.to_owned()),
                None => Repositories::One(path.to_owned()),
            },
        };
        Self::new(text, host, repositories)
    }

    /// Reads a key of docker's files, or a pattern of the kubelet's contract: a scheme and the
    /// version of the registry's API in front of the path do not count; the path is that of a
    /// repository, or of a folder of them.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn of_key(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let bare = bare.unwrap_or(text).trim_end_matches('/');
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let path = match path.split_once('/').unwrap_or((path, "")) {
            ("v1" | "v2", rest) => rest,
            _ => path,
        };
        let repositories = match path {
            "" => Repositories::All,
            path => Repositories::From(path.to_owned()),
        };
        Self::new(text, host, repositories)
    }

    fn new(text: &str, host: &str, repositories: Repositories) -> Result<Self, String> {
        let hosts = HostPattern::parse(host).map_err(|error| error.to_string())?;
        if !repositories.path().is_none_or(is_path) {
            let text = capped_line(text, 200);
            return Err(format!("{text:?} names no repository: an asterisk may be the last part"));
        }
        let is_docker_hub = RegistryHost::parse(host).is_ok_and(|host| host.is_docker_hub());
        Ok(Self { hosts, is_docker_hub, repositories })
    }

    /// Whether a repository of a host is among these. Docker Hub's names are one.
    pub(super) fn covers(&self, host: &RegistryHost, repository: &str) -> bool {
        self.is_of(host) && self.repositories.cover(repository)
    }

    /// Whether these are repositories of a host.
    pub(super) fn is_of(&self, host: &RegistryHost) -> bool {
        host.matches(&self.hosts) || (self.is_docker_hub && host.is_docker_hub())
    }

    /// The higher, the more specific: a longer path, then fewer asterisks.
    pub(super) fn rank(&self) -> (usize, Reverse<usize>) {
        let parts = self.repositories.path().map_or(0, |path| path.split('/').count());
        (parts, Reverse(self.hosts.wildcards()))
    }
}

/// Of those that cover a repository the most specific; of equals the first.
pub(super) fn most_specific<'a, T>(
    scopes: impl IntoIterator<Item = (&'a Scope, T)>,
    host: &RegistryHost,
    repository: &str,
) -> Option<T> {
    let covering = scopes.into_iter().filter(|(scope, _)| scope.covers(host, repository));
    let best = covering.reduce(|best, next| match next.0.rank() > best.0.rank() {
        true => next,
        false => best,
    });
    best.map(|(_, found)| found)
}

impl Repositories {
    fn path(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::One(path) | Self::Below(path) | Self::From(path) => Some(path),
        }
    }

    fn cover(&self, repository: &str) -> bool {
        let is_below = |folder: &str| {
            repository.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
        };
        match self {
            Self::All => true,
            Self::One(path) => repository == path,
            Self::Below(folder) => is_below(folder),
            Self::From(path) => repository == path || is_below(path),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.hosts)?;
        match &self.repositories {
            Repositories::All => Ok(()),
            Repositories::One(path) | Repositories::From(path) => write!(formatter, "/{path}"),
            Repositories::Below(folder) => write!(formatter, "/{folder}/*"),
        }
    }
}

/// Whether a text can be a repository: parts of lower-case letters, digits, dots, dashes and
/// underscores.
fn is_path(path: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    path.len() <= 255 && path.split('/').all(|part| !part.is_empty() && part.bytes().all(is_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> RegistryHost {
        RegistryHost::parse(text).unwrap()
    }

    #[test]
    fn a_rule_covers_a_registry_a_repository_or_what_is_below_a_folder() {
        let covers = |rule: &str, at: &str, repository: &str| {
            Scope::of_rule(rule).unwrap().covers(&host(at), repository)
        };
        for (rule, at, repository) in [
            ("a.io", "a.io", "team/app"),
            ("a.io/*", "a.io", "app"),
            ("A.io:443", "a.io", "app"),
            ("*.a.io/team/*", "x.a.io", "team/app"),
            ("a.io/team/*", "a.io", "team/deep/app"),
            ("a.io/team/app", "a.io", "team/app"),
            ("docker.io/library/*", "registry-1.docker.io", "library/alpine"),
            ("[::1]:5000", "[0::1]:5000", "app"),
        ] {
            assert!(covers(rule, at, repository), "{rule} {at}/{repository}");
        }
        for (rule, at, repository) in [
            ("a.io", "b.a.io", "app"),
            ("a.io", "a.io:5000", "app"),
            ("a.io/team/*", "a.io", "team"),
            ("a.io/team/*", "a.io", "teams/app"),
            ("a.io/team/app", "a.io", "team/app/x"),
            ("a.io/team/app", "a.io", "team/app2"),
        ] {
            assert!(!covers(rule, at, repository), "{rule} {at}/{repository}");
        }
        for rule in [
            "",
            "/",
            "https://a.io",
            "a.io/",
            "a.io//x",
            "a.io/*/x",
            "a.io/t*",
            "a.io/T",
            "a.io/x:1",
        ] {
            assert!(Scope::of_rule(rule).is_err(), "{rule}");
        }
    }

    #[test]
    fn the_most_specific_wins_and_of_equals_the_first() {
        let rules = ["*.io", "a.io", "a.io/team/*", "*.io/team/app", "a.io", "a.io/team/app"];
        let scopes: Vec<Scope> = rules.iter().map(|rule| Scope::of_rule(rule).unwrap()).collect();
        let best = |at: &str, repository: &str| {
            let numbered = scopes.iter().zip(0..);
            most_specific(numbered, &host(at), repository).map(|found: usize| (found, rules[found]))
        };
        assert_eq!(best("b.io", "x"), Some((0, "*.io")));
        assert_eq!(best("a.io", "x"), Some((1, "a.io")));
        assert_eq!(best("a.io", "team/x"), Some((2, "a.io/team/*")));
        assert_eq!(best("b.io", "team/app"), Some((3, "*.io/team/app")));
        assert_eq!(best("a.io", "team/app"), Some((5, "a.io/team/app")));
        assert_eq!(best("a.test", "x"), None);
    }

    /// The kubelet's rules for `matchImages` and the keys of an answer, restated: labels are compared
    /// one by one, so there are as many; a port counts; a path is a prefix. Here it ends at a slash
    /// and the port 443 need not be written, which the last column says.
    #[test]
    fn patterns_match_as_the_kubelets_do_but_for_paths() {
        let table = [
            (
                "123456789.dkr.ecr.us-east-1.amazonaws.com",
                "123456789.dkr.ecr.us-east-1.amazonaws.com",
                "app",
                true,
            ),
            ("*.azurecr.io", "team.azurecr.io", "app", true),
            ("*.azurecr.io", "azurecr.io", "app", false),
            ("*.azurecr.io", "a.b.azurecr.io", "app", false),
            ("*.*.registry.io", "a.b.registry.io", "app", true),
            ("*.*.registry.io", "a.registry.io", "app", false),
            ("gcr.io", "gcr.io", "project/app", true),
            ("gcr.io", "k8s.gcr.io", "project/app", false),
            ("*.gcr.io", "eu.gcr.io", "project/app", true),
            ("k8s.*.io", "k8s.gcr.io", "app", true),
            ("app*.k8s.io", "app1.k8s.io", "app", true),
            ("app*.k8s.io", "1app.k8s.io", "app", false),
            ("*k8s.io", "myk8s.io", "app", true),
            ("registry.io:8080", "registry.io:8080", "app", true),
            ("registry.io:8080", "registry.io", "app", false),
            ("registry.io", "registry.io:8080", "app", false),
            ("registry.io:8080/path", "registry.io:8080", "path", true),
            ("registry.io/foo", "registry.io", "foo/bar", true),
            ("registry.io/foo", "registry.io", "bar/foo", false),
            ("registry.io/foo/", "registry.io", "foo/bar", true),
            ("https://registry.io/v1/", "registry.io", "app", true),
            ("https://registry.io/v2/foo", "registry.io", "foo/app", true),
            ("http://registry.io", "registry.io", "app", true),
            ("https://index.docker.io/v1/", "docker.io", "library/app", true),
            // Otherwise than the kubelet.
            ("registry.io/foo", "registry.io", "foobar", false),
            ("registry.io:443", "registry.io", "app", true),
            ("Registry.io", "registry.io", "app", true),
        ];
        for (pattern, at, repository, expected) in table {
            let covers = Scope::of_key(pattern).unwrap().covers(&host(at), repository);
            assert_eq!(covers, expected, "{pattern} {at}/{repository}");
        }
        for pattern in ["", "https://", "a.io/x*", "reg[0-9].io", "reg?.io", "user@a.io", "a.io/X"]
        {
            assert!(Scope::of_key(pattern).is_err(), "{pattern}");
        }
    }
}
