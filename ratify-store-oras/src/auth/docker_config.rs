//! [`DockerConfig`]: credentials from docker's `config.json`, as v1 reads it: the key of `auths`
//! must be the host exactly, `credsStore` and `credHelpers` are not asked.

use std::{collections::BTreeMap, path::PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result};
use serde::Deserialize;

use super::{Asked, AuthProvider, Credential, Environment, Granted, Secret};

/// More than any such file has, and little enough to read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Reads docker's `config.json` each time it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    path: Option<PathBuf>,
    /// A file that was named must exist; the default one may be missing.
    must_exist: bool,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
}

/// The credentials of docker's configuration, by host.
pub(super) struct Auths(BTreeMap<String, Entry>);

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
        Self { path, must_exist }
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
        // A small local file: reading it takes less than handing it to another thread.
        let result = self.read().and_then(|bytes| match bytes {
            Some(bytes) => credential_of(&bytes, asked.host.as_written()),
            None => Ok(Credential::Anonymous),
        });
        let granted = result.map(|credential| Granted { credential, good_until: None });
        Box::pin(std::future::ready(granted))
    }
}

/// Finds a host's credentials in the bytes of a `config.json`.
fn credential_of(bytes: &[u8], host: &str) -> Result<Credential> {
    let auths = Auths::of_file(bytes)?;
    let found = auths.credential(host)?;
    if found.is_none() {
        tracing::debug!("no credentials found for registry hostname: {host}");
        tracing::debug!("list of registry host names in config : [{}]", auths.hosts());
    }
    Ok(found.unwrap_or(Credential::Anonymous))
}

impl Auths {
    /// The credentials in the bytes of a `config.json`.
    ///
    /// # Errors
    /// Where the bytes are none. The text holds none of them.
    pub(super) fn of_file(bytes: &[u8]) -> Result<Self> {
        let file: File = serde_json::from_slice(bytes).map_err(malformed)?;
        Ok(Self(file.auths.unwrap_or_default()))
    }

    /// The credentials in the bytes of a `.dockercfg`, which is the map alone.
    ///
    /// # Errors
    /// As [`Auths::of_file`].
    pub(super) fn of_bare_map(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map(Self).map_err(malformed)
    }

    /// What is known of a host; `None` where it is not there.
    ///
    /// # Errors
    /// Where its entry is malformed.
    pub(super) fn credential(&self, host: &str) -> Result<Option<Credential>> {
        self.0.get(host).map(Entry::credential).transpose()
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
    fn a_host_matches_exactly_or_not_at_all() {
        let file =
            br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"a.io":{"auth":"dTpw"}}}"#;
        for host in ["docker.io", "A.io", "a.io:443", "x.a.io", "a.io.example.com"] {
            assert_eq!(credential_of(file, host).unwrap(), Credential::Anonymous, "{host}");
        }
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
