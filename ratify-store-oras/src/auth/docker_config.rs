//! [`DockerConfig`]: credentials from docker's `config.json`. The longest path counts; of keys
//! without one that which is the host exactly counts first, as in v1, which knows nothing else.
//! Then what a helper of the host has, the most specific of the other keys, and what the default
//! helper has.

use std::{cmp::Reverse, collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result};
use serde::Deserialize;

use super::{
    Asked, AuthProvider, Credential, Environment, Granted, RegistryHost, Secret, SecretScope,
    helper::Helpers, scope::Scope,
};

/// More than any such file has, and little enough to read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Reads docker's `config.json` each time it is asked.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: Option<PathBuf>,
    /// A file that was named must exist; the default one may be missing.
    must_exist: bool,
    helpers: Arc<Helpers>,
}

/// The whole file: an administrator's. Of a secret only its `auths` count, since what else stands
/// there would choose programs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct AuthsAlone {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
}

/// The credentials of docker's configuration, by host.
pub(super) struct Auths(BTreeMap<String, Entry>);

/// What a map of credentials has for a repository.
pub(super) struct Found {
    credential: Credential,
    at: Rank,
}

/// The higher, the more a key says: the parts of its path, whether it is the host as it was written,
/// which is all that v1 finds, and how few asterisks it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    parts: usize,
    is_exact: bool,
    wildcards: Reverse<usize>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl DockerConfig {
    /// A provider over `path`, else over `DOCKER_CONFIG/config.json`, else over
    /// `HOME/.docker/config.json`.
    pub fn new(path: Option<PathBuf>, environment: &Environment) -> Self {
        let must_exist = path.is_some();
        let set = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let directory = set(&environment.docker_config)
            .or_else(|| set(&environment.home).map(|home| home.join(".docker")));
        let path = path.or_else(|| directory.map(|directory| directory.join("config.json")));
        // A file that a namespace names is not the administrator's: nothing is run by it.
        let is_administrators = !must_exist || environment.scope == SecretScope::Cluster;
        let programs = environment.programs.clone().filter(|_| is_administrators);
        let helpers = Arc::new(Helpers::new(programs));
        Self { path, must_exist, helpers }
    }

    async fn find(&self, asked: &Asked<'_>) -> Result<Credential> {
        // A small local file: reading it takes less than handing it to another thread.
        let Some(bytes) = self.read()? else { return Ok(Credential::Anonymous) };
        let file: File = serde_json::from_slice(&bytes).map_err(malformed)?;
        let auths = Auths(file.auths.unwrap_or_default());
        let found = auths.find(asked.host, asked.repository)?;
        let mut found = found.filter(|found| found.credential != Credential::Anonymous);
        let helpers = file.cred_helpers.unwrap_or_default();
        let own = most_specific(&helpers, asked.host, asked.repository);
        let is_first = |found: &mut Found| {
            found.is_of_its_own() && own.is_none_or(|(_, at)| at.parts <= found.at.parts)
        };
        if let Some(found) = found.take_if(is_first) {
            return Ok(found.credential);
        }
        let own = own.map(|(helper, _)| helper.as_str());
        if let Some(helper) = named(own)
            && let Some(credential) = self.helpers.get(helper, asked).await?
        {
            return Ok(credential);
        }
        if let Some(other) = found {
            return Ok(other.credential);
        }
        if let (None, Some(helper)) = (&own, named(file.creds_store.as_deref()))
            && let Some(credential) = self.helpers.get(helper, asked).await?
        {
            return Ok(credential);
        }
        let (host, hosts) = (asked.host.as_written(), auths.hosts());
        tracing::debug!("no credentials found for registry hostname: {host}");
        tracing::debug!("list of registry host names in config : [{hosts}]");
        Ok(Credential::Anonymous)
    }

    fn read(&self) -> Result<Option<Vec<u8>>> {
        let Some(path) = &self.path else { return Ok(None) };
        let failed =
            |error: std::io::Error| invalid().with_source(format!("{}: {error}", path.display()));
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.must_exist => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        // A pipe or a device would block or never end.
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Err(invalid().with_source(format!(
                "{}: not a file of at most {MAX_FILE_BYTES} bytes",
                path.display()
            )));
        }
        std::fs::read(path).map(Some).map_err(failed)
    }
}

impl AuthProvider for DockerConfig {
    fn name(&self) -> &str {
        super::DEFAULT_PROVIDER
    }

    fn credential<'a>(&'a self, asked: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(async { Ok(Granted { credential: self.find(asked).await?, good_until: None }) })
    }

    /// The file is read each time; what helpers said is kept.
    fn forget(&self, host: &RegistryHost, before: Instant) -> bool {
        self.helpers.forget(host, before);
        true
    }
}

/// The value of the most specific key that covers a repository, and how much that key says.
fn most_specific<'a, T>(
    map: impl IntoIterator<Item = (&'a String, &'a T)>,
    host: &RegistryHost,
    repository: &str,
) -> Option<(&'a T, Rank)> {
    let covering = map.into_iter().filter_map(|(key, value)| {
        // A key that is no host covers nothing, as any key that is not asked for.
        let scope = Scope::of_key(key).ok().filter(|scope| scope.covers(host, repository))?;
        let (parts, wildcards) = scope.rank();
        let is_exact = key == host.as_written();
        Some((value, Rank { parts, is_exact, wildcards }))
    });
    covering.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

fn named(helper: Option<&str>) -> Option<&str> {
    helper.filter(|helper| !helper.is_empty())
}

impl Found {
    pub(super) fn credential(self) -> Credential {
        self.credential
    }

    /// Whether it is under the host as it was written, or under a path: nothing that is for the
    /// whole host, or for several, says more.
    pub(super) fn is_of_its_own(&self) -> bool {
        self.at.is_exact || self.at.parts > 0
    }
}

impl Auths {
    /// The credentials in the bytes of a secret's `config.json`.
    ///
    /// # Errors
    /// Where the bytes are none. The text holds none of them.
    pub(super) fn of_file(bytes: &[u8]) -> Result<Self> {
        let file: AuthsAlone = serde_json::from_slice(bytes).map_err(malformed)?;
        Ok(Self(file.auths.unwrap_or_default()))
    }

    /// The credentials in the bytes of a `.dockercfg`, which is the map alone.
    ///
    /// # Errors
    /// As [`Auths::of_file`].
    pub(super) fn of_bare_map(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map(Self).map_err(malformed)
    }

    /// What is known of a repository, by the most specific key; `None` where its host is not there. A
    /// key that is empty gives way to others.
    ///
    /// # Errors
    /// Where its entry is malformed.
    pub(super) fn find(&self, host: &RegistryHost, repository: &str) -> Result<Option<Found>> {
        let filled = self.0.iter().filter(|(_, entry)| !entry.is_empty());
        if let Some((entry, at)) = most_specific(filled, host, repository) {
            return Ok(Some(Found { credential: entry.credential()?, at }));
        }
        let is_there = self.0.contains_key(host.as_written());
        let at = Rank { parts: 0, is_exact: true, wildcards: Reverse(0) };
        Ok(is_there.then_some(Found { credential: Credential::Anonymous, at }))
    }

    /// Whether a key is of a host, whatever the repository.
    pub(super) fn knows(&self, host: &RegistryHost) -> bool {
        let is_of_host = |key: &str| Scope::of_key(key).is_ok_and(|scope| scope.is_of(host));
        self.0.keys().any(|key| key == host.as_written() || is_of_host(key))
    }

    /// The hosts, for v1's log lines.
    pub(super) fn hosts(&self) -> String {
        let hosts: Vec<&str> = self.0.keys().map(String::as_str).collect();
        hosts.join(" ")
    }
}

/// serde_json quotes values of the wrong type; the position is enough to find it.
fn malformed(error: serde_json::Error) -> Error {
    invalid().with_source(format!(
        "docker's configuration is malformed at line {} column {}",
        error.line(),
        error.column()
    ))
}

impl Entry {
    fn is_empty(&self) -> bool {
        [&self.auth, &self.username, &self.password, &self.identitytoken]
            .into_iter()
            .all(|text| text.as_deref().is_none_or(str::is_empty))
    }

    fn credential(&self) -> Result<Credential> {
        if let Some(token) = self.identitytoken.as_deref().filter(|token| !token.is_empty()) {
            return Ok(Credential::RefreshToken(Secret::new(token)));
        }
        let (username, password) = match self.auth.as_deref().filter(|auth| !auth.is_empty()) {
            Some(auth) => decode(auth)?,
            None => (
                self.username.clone().unwrap_or_default(),
                self.password.clone().unwrap_or_default(),
            ),
        };
        if username.is_empty() && password.is_empty() {
            return Ok(Credential::Anonymous);
        }
        Ok(Credential::Basic { username, password: Secret::new(password) })
    }
}

/// Decodes `auth`: base64 of `user:password`. Docker cuts NULs off the end.
fn decode(auth: &str) -> Result<(String, String)> {
    let malformed = || invalid().with_source("an auth entry is not the base64 of user:password");
    let bytes = BASE64_STANDARD.decode(auth.trim()).map_err(|_| malformed())?;
    let text = String::from_utf8(bytes).map_err(|_| malformed())?;
    let (username, password) = text.split_once(':').ok_or_else(malformed)?;
    if username.is_empty() {
        return Err(malformed());
    }
    Ok((username.to_owned(), password.trim_matches('\0').to_owned()))
}

fn invalid() -> Error {
    ErrorCode::ConfigInvalid
        .error()
        .from_component(ComponentType::AuthProvider, super::DEFAULT_PROVIDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auths_find(file: &[u8], host: &str, repository: &str) -> Result<Credential> {
        let host = RegistryHost::parse(host).unwrap();
        let found = Auths::of_file(file)?.find(&host, repository)?;
        Ok(found.map_or(Credential::Anonymous, |found| found.credential))
    }

    fn credential_of(file: &[u8], host: &str) -> Result<Credential> {
        auths_find(file, host, "app")
    }

    fn basic(username: &str, password: &str) -> Credential {
        Credential::Basic { username: username.into(), password: Secret::new(password) }
    }

    #[test]
    fn auth_username_and_password_and_identitytoken_are_read() {
        let file = br#"{"auths":{
            "a.io":{"auth":"dXNlcjpwYTpzcw=="},
            "b.io:5000":{"username":"u","password":"p"},
            "c.io":{"auth":"dXNlcjpwYXNz","identitytoken":"t"},
            "d.io":{}},
            "credsStore":"desktop"}"#;
        let find = |host| credential_of(file, host).unwrap();
        assert_eq!(find("a.io"), basic("user", "pa:ss"));
        assert_eq!(find("b.io:5000"), basic("u", "p"));
        assert_eq!(find("c.io"), Credential::RefreshToken(Secret::new("t")));
        assert_eq!(find("d.io"), Credential::Anonymous);
    }

    #[test]
    fn the_longest_path_is_found_first_and_then_what_v1_finds() {
        let file = br#"{"auths":{
            "a.io":{"username":"exact","password":"p"},
            "a.io/team":{"username":"team of a","password":"p"},
            "https://a.io/empty":{},
            "https://a.io":{"username":"never","password":"p"},
            "https://b.io/v2/":{"username":"whole","password":"p"},
            "b.io/team":{"username":"team","password":"p"},
            "b.io/team/app":{"username":"app","password":"p"},
            "*.io":{"username":"glob","password":"p"},
            "*.c.io:5000":{"username":"port","password":"p"},
            "empty.io":{},
            "https://index.docker.io/v1/":{"username":"hub","password":"p"},
            "not a host":{"username":"x","password":"p"}}}"#;
        for (host, repository, user) in [
            ("a.io", "app", "exact"),
            ("a.io", "team", "team of a"),
            ("a.io", "team/app", "team of a"),
            ("a.io", "teams/app", "exact"),
            ("a.io", "empty/app", "exact"),
            ("A.io:443", "app", "exact"),
            ("A.io:443", "team/app", "team of a"),
            ("b.io", "app", "whole"),
            ("b.io", "teams/app", "whole"),
            ("b.io", "team/x", "team"),
            ("b.io", "team/app/y", "app"),
            ("x.io", "app", "glob"),
            ("empty.io", "app", "glob"),
            ("x.c.io:5000", "app", "port"),
            ("docker.io", "library/x", "hub"),
            ("registry-1.docker.io", "library/x", "hub"),
        ] {
            let found = auths_find(file, host, repository).unwrap();
            assert_eq!(found, basic(user, "p"), "{host}/{repository}");
        }
        for host in ["x.a.io", "a.io.example.com", "c.io:5000", "docker.io:5000", "a.io:80"] {
            assert_eq!(credential_of(file, host).unwrap(), Credential::Anonymous, "{host}");
        }
    }

    #[test]
    fn of_a_secret_nothing_counts_that_chooses_a_program() {
        let file = br#"{"auths":{"a.io":{"auth":"dTpw"}},"credsStore":["x"],"credHelpers":1}"#;
        assert_eq!(credential_of(file, "a.io").unwrap(), basic("u", "p"));
    }

    #[test]
    fn a_malformed_file_is_an_error_without_its_content() {
        for file in [
            &br#"{"auths":{"a.io":{"auth":"hunter2!"}}}"#[..],
            br#"{"auths":{"a.io":{"auth":"aHVudGVyMg=="}}}"#,
            br#"{"auths":{"a.io":"hunter2"}}"#,
            br#"{"auths":"hunter2"}"#,
            b"hunter2",
        ] {
            let error = credential_of(file, "a.io").unwrap_err().to_string();
            assert!(error.starts_with("CONFIG_INVALID: "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_file_is_looked_for_where_docker_looks() {
        let environment = Environment {
            home: Some("/x".into()),
            docker_config: Some("/d".into()),
            ..Environment::default()
        };
        let at = |path, environment: &Environment| DockerConfig::new(path, environment).path;
        assert_eq!(at(Some("/p".into()), &environment), Some("/p".into()));
        assert_eq!(at(None, &environment), Some("/d/config.json".into()));
        let environment = Environment { docker_config: None, ..environment };
        assert_eq!(at(None, &environment), Some("/x/.docker/config.json".into()));
        assert_eq!(at(None, &Environment::default()), None);
    }

    #[test]
    fn a_missing_file_matters_only_where_it_was_named() {
        let nowhere = Environment { home: Some("/nowhere".into()), ..Environment::default() };
        assert_eq!(DockerConfig::new(None, &nowhere).read().unwrap(), None);
        let named = DockerConfig::new(Some("/nowhere/c.json".into()), &nowhere);
        let error = named.read().unwrap_err().to_string();
        assert_eq!(
            error,
            "CONFIG_INVALID: /nowhere/c.json: No such file or directory (os error 2)"
        );
    }
}
