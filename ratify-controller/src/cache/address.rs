//! [`SharedOptions`]: where replicas share verdicts, and what proves who wrote them.

use std::path::PathBuf;

use ratify_store_oras::TlsRoots;
use url::{Host, Url};

/// Redis' port (IANA).
const PORT: u16 = 6379;

/// A Redis that replicas share, and the files of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedOptions {
    /// Where it is.
    pub address: SharedAddress,
    /// The user of its access control list; the default one where `None`.
    pub username: Option<String>,
    /// The file of the password. It is read again when it changes.
    pub password_file: Option<PathBuf>,
    /// The file of the key that all replicas have, of 32 bytes at least. It is read again when it
    /// changes.
    pub key_file: PathBuf,
    /// The file of the authorities that its certificate may be of; those of `roots` where `None`.
    pub ca_file: Option<PathBuf>,
    /// The roots of this process.
    pub roots: TlsRoots,
}

/// Where a Redis is: `redis://host:port/database`, or `rediss://…` over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedAddress {
    /// The host, as it is connected to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// The number of its database.
    pub database: i64,
}

impl SharedOptions {
    /// A Redis at an address, and the file of the key.
    pub fn new(address: SharedAddress, key_file: PathBuf) -> Self {
        Self {
            address,
            username: None,
            password_file: None,
            key_file,
            ca_file: None,
            roots: TlsRoots::default(),
        }
    }
}

impl SharedAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is none, or has a password in it, which everybody would see.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            Err(format!("--cache-address must be redis://host:port or rediss://host:port: {why}"))
        };
        let Ok(url) = Url::parse(text) else { return wrong("it is no URL") };
        let is_tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return wrong("it has another scheme"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return wrong(
                "user and password are no part of it, but --cache-username and --cache-password-file",
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("there is nothing behind the database");
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return wrong("it has no host"),
        };
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => match number.parse::<u16>() {
                Ok(number) => i64::from(number),
                Err(_) => return wrong("the database is a number"),
            },
        };
        Ok(Self { host, port: url.port().unwrap_or(PORT), is_tls, database })
    }
}

impl std::fmt::Display for SharedAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        match self.host.contains(':') {
            true => write!(formatter, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(formatter, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_without_secrets() {
        let read = |text: &str| SharedAddress::parse(text).map(|address| address.to_string());
        assert_eq!(read("redis://cache.example.com").unwrap(), "redis://cache.example.com:6379");
        assert_eq!(read("rediss://[::1]:7000/3").unwrap(), "rediss://[::1]:7000");
        assert_eq!(SharedAddress::parse("redis://127.0.0.1/3").unwrap().database, 3);
        for text in [
            "",
            "cache.example.com:6379",
            "http://cache.example.com",
            "redis://",
            "redis://user@cache.example.com",
            "redis://:hunter2@cache.example.com",
            "redis://cache.example.com/x",
            "redis://cache.example.com/70000",
            "redis://cache.example.com/?password=hunter2",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("--cache-address") && !error.contains("hunter2"), "{error}");
        }
    }
}
