//! The section `registries`: what administrators allow of registries. An addition to v1; it is read
//! as strictly as `plugins` and `namespaces`, for a key that is misspelt would open or shut the
//! wrong thing.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use super::{ConfigError, Section, plugins::parsed};

/// Nobody waits longer for a sign of life, and nothing can be had in less.
const TIMEOUTS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(600)];

/// The section `registries`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistryRules {
    /// The addresses that registries may have although they are of this machine, of its link, or of
    /// a cloud's metadata.
    pub allowed_addresses: Arc<[AddressRange]>,
    /// A directory of containerd's `hosts.toml` files.
    pub hosts_path: Option<PathBuf>,
    /// The programs that give out credentials by the kubelet's contract.
    pub credential_providers: Option<CredentialProviderFiles>,
    /// How long is waited for registries.
    pub timeouts: RegistryTimeouts,
}

/// How long is waited for registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistryTimeouts {
    /// For a connection, from the look-up of the name to the end of the TLS handshake.
    pub connect: Duration,
    /// For an answer, and for the next bytes of its body.
    pub silence: Duration,
    /// How many bytes of a body come in a second at least, on average and after the time of
    /// `silence`: a body of a size takes no longer than what follows from the two.
    pub min_bytes_per_second: u32,
}

impl Default for RegistryTimeouts {
    /// v1's bound on a TCP connection plus that on the TLS handshake behind it; and of bodies what
    /// the slowest line brings.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(40),
            silence: Duration::from_secs(60),
            min_bytes_per_second: 1024,
        }
    }
}

/// Where the kubelet's `CredentialProviderConfig` and the programs that it names are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialProviderFiles {
    /// The file, YAML or JSON.
    pub config_path: PathBuf,
    /// The directory of the programs.
    pub bin_dir: PathBuf,
}

/// Some addresses: `127.0.0.0/8`, or one alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no [`AddressRange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// Neither an address nor a network.
    #[error("it must be an address or a network, as 127.0.0.1 or 127.0.0.0/8")]
    Form,
    /// Bits that the prefix does not cover: one of the two is a mistake.
    #[error("the address has bits beyond its prefix")]
    Bits,
}

impl AddressRange {
    /// Whether an address is among these. An IPv4 address within an IPv6 one is another address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4()
            && self.network_of(address) == self.network_of(self.first)
    }

    /// Whether it is one address alone.
    pub fn is_single(&self) -> bool {
        self.prefix == width(self.first)
    }

    /// The bits of an address that the prefix covers.
    fn network_of(&self, address: IpAddr) -> u128 {
        let shift = u32::from(width(self.first) - self.prefix);
        let bits = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        bits.checked_shr(shift).unwrap_or(0)
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let first: IpAddr = address.parse().map_err(|_| RangeError::Form)?;
        let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            None => width(first),
            Some(prefix) => Some(prefix)
                .filter(is_number)
                .and_then(|prefix| prefix.parse().ok())
                .filter(|prefix| *prefix <= width(first))
                .ok_or(RangeError::Form)?,
        };
        let range = Self { first, prefix };
        let shift = u32::from(width(first) - prefix);
        let whole = match first {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let kept = range.network_of(first).checked_shl(shift).unwrap_or(0);
        if kept == whole { Ok(range) } else { Err(RangeError::Bits) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.first, self.prefix)
    }
}

impl RegistryRules {
    pub(super) fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        section.refuse_null()?;
        let texts = section.strings("allowedAddresses")?.unwrap_or_default();
        let allowed = parsed(&section, "allowedAddresses", &texts, |text| {
            text.parse::<AddressRange>().map_err(|error| error.to_string())
        })?;
        let hosts_path = section.string("hostsPath")?.map(PathBuf::from);
        if hosts_path.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(ConfigError::Value {
                at: section.key_path("hostsPath"),
                why: "it must be an absolute path".to_owned(),
            });
        }
        let programs = section.section("credentialProviders")?;
        let credential_providers =
            programs.map(CredentialProviderFiles::from_section).transpose()?;
        let timeouts = section.section("timeouts")?.map(RegistryTimeouts::from_section);
        let timeouts = timeouts.transpose()?.unwrap_or_default();
        section.refuse_rest()?;
        Ok(Self { allowed_addresses: allowed.into(), hosts_path, credential_providers, timeouts })
    }
}

impl RegistryTimeouts {
    fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        section.refuse_null()?;
        let usual = Self::default();
        let connect = time(&mut section, "connect")?.unwrap_or(usual.connect);
        let silence = time(&mut section, "silence")?.unwrap_or(usual.silence);
        let rate = section.integer("minBytesPerSecond")?;
        let rate = rate.map(|rate| u32::try_from(rate).ok().filter(|rate| *rate > 0));
        let Some(min_bytes_per_second) = rate.unwrap_or(Some(usual.min_bytes_per_second)) else {
            return Err(ConfigError::Value {
                at: section.key_path("minBytesPerSecond"),
                why: "it must be 1 at least, and less than 4 GiB".to_owned(),
            });
        };
        section.refuse_rest()?;
        Ok(Self { connect, silence, min_bytes_per_second })
    }
}

/// A time to wait.
fn time(section: &mut Section, key: &'static str) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = section.string(key)? else { return Ok(None) };
    let [least, most] = TIMEOUTS;
    let time = crate::duration::parse(&text).and_then(|time| {
        let is_one = least <= time && time <= most;
        is_one.then_some(time).ok_or_else(|| format!("{text:?}: it must be from 100ms to 10m"))
    });
    time.map(Some).map_err(|why| ConfigError::Value { at: section.key_path(key), why })
}

impl CredentialProviderFiles {
    fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        section.refuse_null()?;
        let read = Self {
            config_path: absolute(&mut section, "configPath")?,
            bin_dir: absolute(&mut section, "binDir")?,
        };
        section.refuse_rest()?;
        Ok(read)
    }
}

/// A path that does not depend on where this process was started.
fn absolute(section: &mut Section, key: &'static str) -> Result<PathBuf, ConfigError> {
    let path = section.string(key)?.map(PathBuf::from).filter(|path| path.is_absolute());
    let why = || "it must be an absolute path".to_owned();
    path.ok_or_else(|| ConfigError::Value { at: section.key_path(key), why: why() })
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        let cases = [
            (
                "127.0.0.0/8",
                &["127.0.0.1", "127.255.0.9"][..],
                &["128.0.0.1", "::1", "::ffff:127.0.0.1"][..],
            ),
            ("127.0.0.1", &["127.0.0.1"], &["127.0.0.2"]),
            ("0.0.0.0/0", &["1.2.3.4"], &["::1"]),
            ("::/0", &["::1", "fe80::1"], &["1.2.3.4"]),
            ("fd00:ec2::/32", &["fd00:ec2::254"], &["fd00:ec3::254"]),
        ];
        for (text, inside, outside) in cases {
            for address in inside {
                assert!(range(text).contains(address.parse().unwrap()), "{text} {address}");
            }
            for address in outside {
                assert!(!range(text).contains(address.parse().unwrap()), "{text} {address}");
            }
        }
        assert!(range("::1").is_single() && !range("127.0.0.0/8").is_single());
        assert_eq!(range("::1").to_string(), "::1/128");
    }

    #[test]
    fn a_mistaken_range_or_key_is_said_with_its_place() {
        let read = |text: &str| Config::from_json(text.as_bytes());
        for (given, expected) in [
            (
                r#"{"allowedAddresses":["127.0.0.1/8"]}"#,
                "registries.allowedAddresses[0]: \"127.0.0.1/8\": the address has bits beyond its prefix",
            ),
            (
                r#"{"allowedAddresses":["::1","localhost"]}"#,
                "registries.allowedAddresses[1]: \"localhost\": it must be an address or a network, as 127.0.0.1 or 127.0.0.0/8",
            ),
            (
                r#"{"allowedAddresses":["127.0.0.0/33"]}"#,
                "registries.allowedAddresses[0]: \"127.0.0.0/33\": it must be an address or a network, as 127.0.0.1 or 127.0.0.0/8",
            ),
            (
                r#"{"allowedAddresses":["127.0.0.0/+8"]}"#,
                "registries.allowedAddresses[0]: \"127.0.0.0/+8\": it must be an address or a network, as 127.0.0.1 or 127.0.0.0/8",
            ),
            (
                r#"{"allowedAddresses":null}"#,
                "registries.allowedAddresses: expected a value, or no such key, found null",
            ),
            (r#"{"hostsPath":"certs.d"}"#, "registries.hostsPath: it must be an absolute path"),
            (
                r#"{"allowAddresses":[]}"#,
                "registries: unknown key allowAddresses: a rule that is misspelt would not be kept",
            ),
            (
                r#"{"credentialProviders":{"configPath":"/c.yaml","binDir":"bin"}}"#,
                "credentialProviders.binDir: it must be an absolute path",
            ),
            (
                r#"{"credentialProviders":{"binDir":"/bin"}}"#,
                "credentialProviders.configPath: it must be an absolute path",
            ),
            (
                r#"{"credentialProviders":{"configPath":"/c","binDir":"/b","bindir2":""}}"#,
                "credentialProviders: unknown key bindir2: a rule that is misspelt would not be kept",
            ),
            (
                r#"{"timeouts":{"connect":"1h"}}"#,
                "timeouts.connect: \"1h\": it must be from 100ms to 10m",
            ),
            (
                r#"{"timeouts":{"silence":"60"}}"#,
                "timeouts.silence: \"60\" is no duration; write it as 10s, 1m30s or 250ms",
            ),
            (
                r#"{"timeouts":{"minBytesPerSecond":0}}"#,
                "timeouts.minBytesPerSecond: it must be 1 at least, and less than 4 GiB",
            ),
            (
                r#"{"timeouts":{"body":"5s"}}"#,
                "timeouts: unknown key body: a rule that is misspelt would not be kept",
            ),
        ] {
            let error = read(&format!(r#"{{"registries":{given}}}"#)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let config = read(r#"{"registries":{"allowedAddresses":["::1"]}}"#).unwrap();
        assert_eq!(*config.registries.allowed_addresses, [range("::1")]);
        assert_eq!(read("{}").unwrap().registries, RegistryRules::default());
        let config = read(r#"{"registries":{"timeouts":{"connect":"3s","minBytesPerSecond":9}}}"#);
        let timeouts = config.unwrap().registries.timeouts;
        assert_eq!(
            (timeouts.connect, timeouts.silence),
            (Duration::from_secs(3), Duration::from_secs(60))
        );
        assert_eq!(timeouts.min_bytes_per_second, 9);
    }
}
