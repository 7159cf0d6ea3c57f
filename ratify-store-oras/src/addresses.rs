//! [`AddressRules`]: which addresses may be connected to; `resolver` asks them after each look-up. A
//! reference is anybody's words: without these rules it could make Ratify ask this machine, its
//! link, or the service that hands out the cloud's credentials.
//!
//! Every connection passes here, whatever led to it: a reference, a redirect, a token realm, a link
//! or an upload's location. Private networks stay allowed, since registries in a cluster are there.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ratify_core::{capped_line, config::AddressRange};
use url::{Host, Url};

use crate::transport::is_loopback;

/// What clouds serve credentials on: those of the link, of Alibaba, Oracle and Azure, and those that
/// Amazon and Google have in IPv6.
const METADATA: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];
/// Names of the same, which a proxy would look up for us.
const METADATA_NAMES: [&str; 2] = ["metadata.google.internal", "metadata.goog"];
const HERE: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// What an address that no registry should have is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressKind {
    /// `0.0.0.0/8` or `::`, which reach this machine.
    Unspecified,
    /// This machine.
    Loopback,
    /// Whatever is on the same wire.
    LinkLocal,
    /// What clouds serve credentials on.
    Metadata,
    /// No single machine.
    Group,
}

/// Which addresses may be connected to. The default is for references that the person in front of
/// this machine wrote: a registry may be on loopback, if the reference names it.
#[derive(Debug, Clone)]
pub struct AddressRules {
    loopback: bool,
    allowed: Arc<[AddressRange]>,
}

/// Why an address is not connected to, and what to do where it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the host {host} is at {address}, {}, where no registry is asked: an administrator can list it in registries.allowedAddresses of the configuration",
    kind.words()
)]
pub(crate) struct Refusal {
    host: String,
    address: IpAddr,
    kind: AddressKind,
}

impl AddressKind {
    /// What an address is, where it is special. An IPv4 address within an IPv6 one counts as what
    /// it leads to.
    pub fn of(address: IpAddr) -> Option<Self> {
        let address = effective(address);
        if METADATA.contains(&address) {
            return Some(Self::Metadata);
        }
        let is_group = address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST);
        let (is_unspecified, is_link_local) = match address {
            IpAddr::V4(v4) => (v4.octets()[0] == 0, v4.is_link_local()),
            IpAddr::V6(v6) => (v6.is_unspecified(), v6.segments()[0] & 0xffc0 == 0xfe80),
        };
        [
            (is_unspecified, Self::Unspecified),
            (address.is_loopback(), Self::Loopback),
            (is_link_local, Self::LinkLocal),
            (is_group, Self::Group),
        ]
        .into_iter()
        .find_map(|(is, kind)| is.then_some(kind))
    }

    /// What a name is, where it means this machine or the metadata without being looked up.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            return Some(Self::Loopback);
        }
        METADATA_NAMES.contains(&name.as_str()).then_some(Self::Metadata)
    }

    /// What it is, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata",
            Self::Group => "the address of a group",
        }
    }
}

impl Default for AddressRules {
    fn default() -> Self {
        Self { loopback: true, allowed: Arc::default() }
    }
}

impl AddressRules {
    /// Rules for references that may be anybody's: no special address, unless it is listed.
    pub fn for_anybody(allowed: Arc<[AddressRange]>) -> Self {
        Self { loopback: false, allowed }
    }

    /// Rules for references that an operator wrote: loopback hosts besides.
    pub fn for_operator(allowed: Arc<[AddressRange]>) -> Self {
        Self { loopback: true, allowed }
    }

    /// The same for what may be anybody's words.
    pub(crate) fn as_anybodys(&self) -> Self {
        Self { loopback: false, allowed: Arc::clone(&self.allowed) }
    }

    /// Whether a URL may be asked, as far as can be told before its name is looked up.
    pub(crate) fn check_url(&self, url: &Url) -> Result<(), Refusal> {
        if self.loopback && is_loopback(url) {
            return Ok(());
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(url.host_str(), address.into()),
            Some(Host::Ipv6(address)) => self.check(url.host_str(), address.into()),
            Some(Host::Domain(name)) => match AddressKind::of_name(name) {
                None => Ok(()),
                Some(AddressKind::Metadata) => self.check(Some(name), METADATA[0]),
                Some(_) => {
                    let either = HERE.map(|address| self.check(Some(name), address));
                    let [first, second] = either;
                    first.or(second)
                }
            },
            None => Ok(()),
        }
    }

    fn check(&self, host: Option<&str>, address: IpAddr) -> Result<(), Refusal> {
        match AddressKind::of(address) {
            Some(kind) if !self.lists(address, kind) => {
                let host = capped_line(host.unwrap_or_default(), 255);
                Err(Refusal { host, address, kind })
            }
            _ => Ok(()),
        }
    }

    /// Whether a special address is listed. That of the metadata has to be listed itself: a network
    /// around it was meant for something else.
    pub(crate) fn lists(&self, address: IpAddr, kind: AddressKind) -> bool {
        let address = effective(address);
        let fits = |range: &&AddressRange| kind != AddressKind::Metadata || range.is_single();
        self.allowed.iter().filter(fits).any(|range| range.contains(address))
    }

    /// The addresses of a name, if all may be connected to: of a good and a bad one the bad one
    /// might be taken. A name that an operator wrote may be this machine's.
    pub(crate) fn check_found(
        &self,
        name: &str,
        found: &[SocketAddr],
        is_written: bool,
    ) -> Result<(), Refusal> {
        let is_meant = |address: IpAddr| {
            self.loopback && is_written && AddressKind::of(address) == Some(AddressKind::Loopback)
        };
        let mut unmeant = found.iter().map(SocketAddr::ip).filter(|address| !is_meant(*address));
        unmeant.try_for_each(|address| self.check(Some(name), address))
    }

    /// Why a host that a reference names is not connected to, at these addresses; `None` where it is.
    pub(crate) fn refuses(&self, url: &Url, found: &[IpAddr]) -> Option<String> {
        let name = match url.host() {
            Some(Host::Domain(name)) if name != "localhost" => name,
            _ => return self.check_url(url).err().map(|refusal| refusal.to_string()),
        };
        let found: Vec<_> = found.iter().map(|address| SocketAddr::new(*address, 0)).collect();
        let checked = self.check_url(url).and_then(|()| self.check_found(name, &found, true));
        checked.err().map(|refusal| refusal.to_string())
    }

    /// Where `localhost` is: nobody is asked. Whether it may be asked at all was decided by its
    /// name, as with an address; of its two addresses the one that is listed is taken.
    pub(crate) fn here(&self) -> Vec<SocketAddr> {
        let allowed = |address: &IpAddr| self.check(None, *address).is_ok();
        let is_any = HERE.iter().any(allowed);
        let here = HERE.into_iter().filter(|address| !is_any || allowed(address));
        here.map(|address| SocketAddr::new(address, 0)).collect()
    }
}

/// Where an address leads: the IPv4 address within an IPv6 one, whichever way it is written there
/// (mapped, compatible, translated, 6to4, NAT64), else itself.
fn effective(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, ..] = v6.segments();
    let octets = v6.octets();
    let at = |start: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|offset| octets[start + offset]);
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match [a, b, c, d, e, f] {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0] if v6.to_bits() > 1 => at(12),
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] => at(12),
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, ..] => at(12),
        [0x2002, ..] => at(2),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Arc<[AddressRange]> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn url(host: &str) -> Url {
        Url::parse(&format!("https://{host}/")).unwrap()
    }

    /// Every spelling of an address that a reference may hold, and what it is.
    #[test]
    fn no_spelling_of_a_special_address_gets_past() {
        use AddressKind::{Group, LinkLocal, Loopback, Metadata, Unspecified};
        let anybody = AddressRules::for_anybody(Arc::default());
        for (host, kind) in [
            ("127.0.0.1:5000", Loopback),
            ("127.9.8.7", Loopback),
            ("127.1", Loopback),
            ("2130706433", Loopback),
            ("0x7f000001", Loopback),
            ("0177.0.0.1", Loopback),
            ("localhost", Loopback),
            ("LOCALHOST:5000", Loopback),
            ("localhost.", Loopback),
            ("registry.localhost", Loopback),
            ("[::1]:5000", Loopback),
            ("[::ffff:127.0.0.1]", Loopback),
            ("[::127.0.0.1]", Loopback),
            ("[::ffff:0:127.0.0.1]", Loopback),
            ("[64:ff9b::7f00:1]", Loopback),
            ("[64:ff9b:1::7f00:1]", Loopback),
            ("[2002:7f00:1::]", Loopback),
            ("0.0.0.0", Unspecified),
            ("0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("[::]", Unspecified),
            ("[::ffff:0.0.0.0]", Unspecified),
            ("169.254.0.1", LinkLocal),
            ("[fe80::1]", LinkLocal),
            ("[febf::1]", LinkLocal),
            ("169.254.169.254", Metadata),
            ("2852039166", Metadata),
            ("0xa9fea9fe", Metadata),
            ("0251.0376.0251.0376", Metadata),
            ("169.254.43518", Metadata),
            ("[::ffff:169.254.169.254]", Metadata),
            ("[::a9fe:a9fe]", Metadata),
            ("[64:ff9b::a9fe:a9fe]", Metadata),
            ("169.254.170.2", Metadata),
            ("169.254.170.23", Metadata),
            ("100.100.100.200", Metadata),
            ("192.0.0.192", Metadata),
            ("168.63.129.16", Metadata),
            ("[fd00:ec2::254]", Metadata),
            ("[fd00:ec2::23]", Metadata),
            ("[fd20:ce::254]", Metadata),
            ("metadata.google.internal", Metadata),
            ("METADATA.google.internal.", Metadata),
            ("224.0.0.1", Group),
            ("255.255.255.255", Group),
            ("[ff02::1]", Group),
        ] {
            let refused = anybody.check_url(&url(host)).map_err(|refusal| refusal.kind);
            assert_eq!(refused, Err(kind), "{host}");
        }
        for host in [
            "registry.example.com",
            "notlocalhost",
            "localhost.example.com",
            "10.0.0.7:5000",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "203.0.113.1",
            "[2001:db8::1]",
            "[fd00::1]",
            "[64:ff9b::a00:1]",
        ] {
            assert_eq!(anybody.check_url(&url(host)), Ok(()), "{host}");
        }
    }

    #[test]
    fn an_operator_may_name_a_loopback_host_and_nothing_else() {
        let operator = AddressRules::default();
        for host in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
            assert_eq!(operator.check_url(&url(host)), Ok(()), "{host}");
        }
        for host in ["localhost.", "a.localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.1.1"] {
            assert!(operator.check_url(&url(host)).is_err(), "{host}");
        }
        // A name that is found at a loopback address may be meant only where it was written.
        let found = ["127.0.0.1:0".parse().unwrap()];
        let name = "registry.example.com";
        assert!(operator.check_found(name, &found, false).is_err());
        assert_eq!(operator.check_found(name, &found, true), Ok(()));
        let anybody = AddressRules::for_anybody(Arc::default());
        assert!(anybody.check_found(name, &found, true).is_err());
        let metadata = ["169.254.169.254:0".parse().unwrap()];
        assert!(operator.check_found(name, &metadata, true).is_err());
    }

    #[test]
    fn a_listed_address_is_allowed_in_every_spelling_and_metadata_only_by_itself() {
        let rules = AddressRules::for_anybody(ranges(&["127.0.0.0/8", "169.254.0.0/16"]));
        for host in
            ["127.0.0.1:5000", "localhost", "localhost.", "[::ffff:127.0.0.1]", "169.254.1.1"]
        {
            assert_eq!(rules.check_url(&url(host)), Ok(()), "{host}");
        }
        for host in ["[::1]", "169.254.169.254", "metadata.google.internal", "0.0.0.0"] {
            assert!(rules.check_url(&url(host)).is_err(), "{host}");
        }
        assert_eq!(rules.here(), ["127.0.0.1:0".parse().unwrap()]);
        let all = AddressRules::for_anybody(ranges(&["0.0.0.0/0", "::/0"]));
        assert!(all.check_url(&url("169.254.169.254")).is_err());
        let itself = AddressRules::for_anybody(ranges(&["169.254.169.254"]));
        assert_eq!(itself.check_url(&url("169.254.169.254")), Ok(()));
    }

    #[test]
    fn one_bad_address_of_a_name_is_enough() {
        let rules = AddressRules::default();
        let good = "203.0.113.1:0".parse().unwrap();
        let bad = "169.254.169.254:0".parse().unwrap();
        assert_eq!(rules.check_found("r.example.com", &[good], true), Ok(()));
        let refusal = rules.check_found("r.example.com", &[good, bad], true).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the host r.example.com is at 169.254.169.254, the address of a cloud's metadata, where no \
             registry is asked: an administrator can list it in registries.allowedAddresses of the configuration"
        );
    }
}
