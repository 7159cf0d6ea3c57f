//! [`RegistryHost`]: the host that credentials are for, compared after parsing; and
//! [`HostPattern`], the hosts a provider or a rule covers. Pure.

use std::fmt;

use ratify_core::capped_line;
use url::Host;

/// Longer names are none (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 253;
/// The port that need not be written.
const DEFAULT_PORT: u16 = 443;
/// The names under which Docker Hub is known: as written, on the wire, and in docker's files.
pub(crate) const DOCKER_HUB: [&str; 3] = ["docker.io", "registry-1.docker.io", "index.docker.io"];

/// A registry's host and port. Two are equal when they name the same place: case does not count,
/// nor does the default port.
#[derive(Clone)]
pub struct RegistryHost {
    written: String,
    name: String,
    port: Option<u16>,
}

/// Hosts by name: each label may hold `*`, which stands for any part of that label and never for a
/// dot. Without a port only the default port is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    labels: Vec<String>,
    port: Option<u16>,
}

/// Why a text is no host or no pattern of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {why}")]
pub struct HostError {
    text: String,
    what: &'static str,
    why: &'static str,
}

impl RegistryHost {
    /// Reads `host` or `host:port`, as in a reference.
    ///
    /// # Errors
    /// When it is none, or can be read as another host than it looks like: a trailing dot, a user,
    /// an address that is written as one number, a port out of range.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let refused = |why| HostError::new(text, "registry host", why);
        let (name, port) = split_port(text).map_err(refused)?;
        let name = name.to_ascii_lowercase();
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-.[]:".contains(&b);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_name) {
            return Err(refused("not a name or an address"));
        }
        let name = match Host::parse(&name) {
            // Each form of an IPv6 address is one; 127.1 and 2130706433 do not look like one.
            Ok(host @ Host::Ipv6(_)) => host.to_string(),
            Ok(host) if host.to_string() == name && split(&name).iter().all(|l| !l.is_empty()) => {
                name
            }
            Ok(_) => return Err(refused("it is read as another host than it looks like")),
            Err(_) => return Err(refused("not a name or an address")),
        };
        Ok(Self { written: text.to_owned(), name, port })
    }

    /// As it was written, for files that are searched for exactly that.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// The name or address, in lower case, without the port.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, unless it is the default one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The labels of the name. An address has none.
    pub fn labels(&self) -> Vec<&str> {
        let is_address = !matches!(Host::parse(&self.name), Ok(Host::Domain(_)));
        if is_address { Vec::new() } else { self.name.split('.').collect() }
    }

    /// Whether this is Docker Hub under one of its names.
    pub fn is_docker_hub(&self) -> bool {
        self.port.is_none() && DOCKER_HUB.contains(&self.name.as_str())
    }

    /// Whether a pattern covers it.
    pub fn matches(&self, pattern: &HostPattern) -> bool {
        let labels = split(&self.name);
        self.port == pattern.port
            && labels.len() == pattern.labels.len()
            && labels.iter().zip(&pattern.labels).all(|(label, glob)| is_match(glob, label))
    }
}

impl PartialEq for RegistryHost {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.port == other.port
    }
}

impl Eq for RegistryHost {}

impl fmt::Display for RegistryHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.name)?;
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl fmt::Debug for RegistryHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RegistryHost({self})")
    }
}

impl HostPattern {
    /// Reads `host`, `host:port`, or either with `*` within its labels: `*.dkr.ecr.*.example.com`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let refused = |why| HostError::new(text, "pattern of hosts", why);
        let (name, port) = split_port(text).map_err(refused)?;
        let name = name.to_ascii_lowercase();
        if !name.contains('*') {
            let host = RegistryHost::parse(text).map_err(|error| refused(error.why))?;
            let labels = split(&host.name).into_iter().map(Into::into).collect();
            return Ok(Self { labels, port });
        }
        let is_label = |label: &&str| {
            let is_inner =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-*".contains(&b);
            !label.is_empty() && label.bytes().all(is_inner)
        };
        let labels = split(&name);
        if name.len() > MAX_NAME_BYTES || !labels.iter().all(is_label) {
            return Err(refused("not labels of letters, digits, dashes and asterisks"));
        }
        Ok(Self { labels: labels.into_iter().map(Into::into).collect(), port })
    }

    /// How many asterisks it has: of two patterns, the one with fewer says more.
    pub fn wildcards(&self) -> usize {
        self.labels.iter().map(|label| label.matches('*').count()).sum()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.labels.join("."))?;
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl HostError {
    fn new(text: &str, what: &'static str, why: &'static str) -> Self {
        Self { text: capped_line(text, 100), what, why }
    }
}

fn split(name: &str) -> Vec<&str> {
    name.split('.').collect()
}

/// The name and the port, which is `None` where it is the default one.
fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let start = text.rfind(']').unwrap_or(0);
    let Some(colon) = text[start..].find(':').map(|at| start + at) else { return Ok((text, None)) };
    let (name, port) = (&text[..colon], &text[colon + 1..]);
    let is_plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    match port.parse::<u16>() {
        Ok(number) if is_plain => Ok((name, Some(number).filter(|port| *port != DEFAULT_PORT))),
        _ => Err("its port is none"),
    }
}

/// Whether a label matches a glob in which `*` stands for anything.
fn is_match(glob: &str, label: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = label.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> RegistryHost {
        RegistryHost::parse(text).unwrap()
    }

    #[test]
    fn case_and_the_default_port_do_not_count_and_other_ports_do() {
        assert_eq!(host("Registry.Example.com:443"), host("registry.example.com"));
        assert_ne!(host("registry.example.com:80"), host("registry.example.com"));
        assert_ne!(host("registry.example.com:8443"), host("registry.example.com:443"));
        assert_eq!(host("[::0001]:5000").to_string(), "[::1]:5000");
        assert_eq!(host("Registry.example.com:443").as_written(), "Registry.example.com:443");
    }

    #[test]
    fn what_could_be_read_as_another_host_is_refused() {
        for text in [
            "",
            ":443",
            "a.io.",
            "a..io",
            "user@a.io",
            "a.io:",
            "a.io:0",
            "a.io:00443",
            "a.io:+443",
            "a.io:65536",
            "a.io:443:443",
            "a.io/x",
            "a.io?x",
            "a.io#x",
            "a.io\\x",
            "a%2eio",
            "a io",
            "a.io\n",
            "2130706433",
            "0x7f.1",
            "127.1",
            "0177.0.0.1",
            "::1",
            "[::1",
            "[::1]x",
            "b\u{fc}cher.example.com",
            "*.example.com",
        ] {
            assert!(RegistryHost::parse(text).is_err(), "{text:?}");
        }
        assert!(RegistryHost::parse(&format!("{}.io", "a".repeat(254))).is_err());
    }

    #[test]
    fn an_asterisk_stays_within_its_label() {
        let covers =
            |pattern: &str, name: &str| host(name).matches(&HostPattern::parse(pattern).unwrap());
        for (pattern, name) in [
            ("registry.example.com", "REGISTRY.example.com:443"),
            ("*.example.com", "a.example.com"),
            ("*.dkr.ecr.*.example.com", "1.dkr.ecr.us-east-1.example.com"),
            ("team-*-x*.example.com:5000", "team-a-xy.example.com:5000"),
            ("[::1]:5000", "[0::1]:5000"),
        ] {
            assert!(covers(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.example.com", "example.com"),
            ("*.example.com", "a.b.example.com"),
            ("*.example.com", "a.example.com:5000"),
            ("*.example.com:5000", "a.example.com"),
            ("*.example.com", "a.example.com.evil.test"),
            ("a*b.example.com", "a.example.com"),
            ("aa*a.example.com", "aa.example.com"),
        ] {
            assert!(!covers(pattern, name), "{pattern} {name}");
        }
        for pattern in ["", "*.", ".*", "*.exa mple.com", "*.a/b", "*.a.io:x", "a..*"] {
            assert!(HostPattern::parse(pattern).is_err(), "{pattern}");
        }
        assert_eq!(HostPattern::parse("*.*.Example.com").unwrap().wildcards(), 2);
        assert_eq!(HostPattern::parse("*.Example.com:5").unwrap().to_string(), "*.example.com:5");
    }

    #[test]
    fn docker_hub_has_several_names() {
        assert!(host("docker.io").is_docker_hub() && host("index.docker.io").is_docker_hub());
        assert!(!host("docker.io:5000").is_docker_hub());
    }
}
