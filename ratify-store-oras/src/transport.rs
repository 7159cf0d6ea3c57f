//! [`Transport`]: by which scheme a registry is spoken to, decided from its parsed host; and
//! [`Connections`], the shared pools.

use std::{
    collections::HashMap,
    error::Error as StdError,
    net::Ipv6Addr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::client::proxy::matcher::Matcher;
use ratify_core::{Basis, config::RegistryTimeouts};
use reqwest::redirect;
use url::{Host, Url};

use crate::{
    AddressRules, Counters, OrasError, TlsRoots,
    addresses::Refusal,
    hosts::Hosts,
    places::Places,
    probe::Recording,
    registries::Registries,
    resolver::{CheckedResolver, PROXIES, proxy_hosts},
    roots::SeenRoots,
    route::Endpoint,
    tls::{self, TlsProfile},
};

/// When there are more pools than this, all are connected anew.
const MAX_POOLS: usize = 64;
/// How many long answers are read at once for all tenants; one tenant has at most half.
const LONG_ANSWERS: usize = 4;
/// What is offered where each request has a connection of its own.
const HTTP_11: &[u8] = b"http/1.1";
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// How registries are spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// HTTPS. The certificate of a loopback host is not checked, as v1; v1 looks for the address
    /// anywhere in the reference, this compares the parsed host.
    #[default]
    Https,
    /// Plain HTTP for every host (`useHttp`).
    PlainHttp,
    /// HTTPS; a loopback host that turns out to speak plain HTTP is spoken to in plain HTTP. For
    /// dynamic plugins, which are never pulled in clear from elsewhere.
    HttpsOrLoopbackHttp,
}

/// What an administrator says of all connections.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConnectionRules {
    /// Where they may lead.
    pub addresses: AddressRules,
    /// A directory of containerd's `hosts.toml` files.
    pub hosts_path: Option<PathBuf>,
    /// How long is waited.
    pub timeouts: RegistryTimeouts,
}

impl ConnectionRules {
    /// Rules about addresses alone.
    pub fn new(addresses: AddressRules) -> Self {
        Self { addresses, ..Self::default() }
    }
}

/// The rules as they are when asked.
type RulesNow = Arc<dyn Fn() -> ConnectionRules + Send + Sync>;

/// The connection pools of a process, one per kind of TLS, opened when first needed. Cloning
/// shares them. Nothing is read and nothing connected before.
#[derive(Clone)]
pub struct Connections(Arc<Pools>);

struct Pools {
    roots: TlsRoots,
    seen_roots: SeenRoots,
    rules: RulesNow,
    hosts: Hosts,
    resolver: CheckedResolver,
    proxies: Matcher,
    open: Mutex<HashMap<PoolKey, reqwest::Client>>,
    registries: Registries,
    counters: Counters,
    long_answers: Arc<Places>,
}

/// Which pool: of which hosts, with which profile, whether each request has a connection of its own,
/// and how long a connection may take.
type PoolKey = (Kind, Option<Arc<TlsProfile>>, Sharing, Duration);

/// What is checked of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Plain HTTP: nothing.
    Plain,
    /// Its certificate.
    Checked,
    /// Nothing, for it is this machine.
    Here,
}

/// What a connection carries at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sharing {
    /// Many requests, where the server knows HTTP/2.
    Many,
    /// One: HTTP/1.1.
    One,
}

impl Default for Connections {
    fn default() -> Self {
        Self::new(TlsRoots::default())
    }
}

impl Connections {
    /// Pools that trust these roots besides the system's. Where they may lead to are the
    /// [`AddressRules`] for an operator.
    pub fn new(roots: TlsRoots) -> Self {
        Self::with_rules(roots, ConnectionRules::default)
    }

    /// The same with other rules, which are asked for before each connection.
    pub fn with_rules(
        roots: TlsRoots,
        rules: impl Fn() -> ConnectionRules + Send + Sync + 'static,
    ) -> Self {
        let rules: RulesNow = Arc::new(rules);
        let now = Arc::clone(&rules);
        let proxies = proxy_hosts(|name| std::env::var(name).ok());
        Self(Arc::new(Pools {
            roots,
            seen_roots: SeenRoots::default(),
            resolver: CheckedResolver::new(Arc::new(move || now().addresses), proxies),
            rules,
            hosts: Hosts::default(),
            proxies: Matcher::from_env(),
            open: Mutex::default(),
            registries: Registries::default(),
            counters: Counters::default(),
            long_answers: Arc::new(Places::new(LONG_ANSWERS)),
        }))
    }

    /// The places of long answers that are read from outside of registries.
    pub(crate) fn long_answers(&self) -> &Arc<Places> {
        &self.0.long_answers
    }

    /// Whether a URL may be asked, as far as its name tells; its addresses are looked at when they
    /// are found.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Refusal> {
        (self.0.rules)().addresses.check_url(url)
    }

    /// The same of a URL that may be anybody's, also where an operator's may be this machine's.
    pub(crate) fn check_as_anybodys(&self, url: &Url) -> Result<(), Refusal> {
        (self.0.rules)().addresses.as_anybodys().check_url(url)
    }

    /// Takes a note that a reference names the host of a URL.
    pub(crate) fn note_written(&self, url: &Url) {
        self.0.resolver.note_written(url);
    }

    /// What the files say of a registry, in order; nothing where there is no file for it.
    pub(crate) async fn endpoints(
        &self,
        transport: Transport,
        registry: &str,
    ) -> Result<Arc<[Endpoint]>, OrasError> {
        let scheme = if transport == Transport::PlainHttp { "http" } else { "https" };
        match (self.0.rules)().hosts_path {
            Some(directory) => self.0.hosts.of(directory, scheme, registry).await,
            None => Ok(Arc::default()),
        }
    }

    /// The proxy by which a URL is asked, without the user and the password of its own.
    pub(crate) fn proxy_of(&self, url: &Url) -> Option<String> {
        let uri = url.as_str().parse().ok().filter(|_| !is_loopback(url))?;
        let proxy = self.0.proxies.intercept(&uri)?;
        let (scheme, host) = (proxy.uri().scheme_str()?, proxy.uri().host()?);
        let port = proxy.uri().port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{scheme}://{host}{port}"))
    }

    /// What an administrator says of connections, now.
    pub(crate) fn rules(&self) -> ConnectionRules {
        (self.0.rules)()
    }

    /// How to shake hands with the host of a URL and be told what its certificate is, judged as that of
    /// any other connection to it.
    pub(crate) fn recording(
        &self,
        profile: Option<&Arc<TlsProfile>>,
        url: &Url,
    ) -> Result<Recording, OrasError> {
        let profile = profile.map(AsRef::as_ref);
        let is_checked = !is_loopback(url) || profile.is_some_and(TlsProfile::has_authorities);
        tls::recording(profile, is_checked.then(|| self.0.seen_roots.load(&self.0.roots)))
    }

    /// How long is waited for registries.
    pub(crate) fn timeouts(&self) -> RegistryTimeouts {
        (self.0.rules)().timeouts
    }

    /// How long a connection may take, to a place with a profile where it has one.
    pub(crate) fn connect_timeout(&self, profile: Option<&Arc<TlsProfile>>) -> Duration {
        let dial = profile.and_then(|profile| profile.dial_timeout());
        dial.unwrap_or_else(|| self.timeouts().connect)
    }

    /// Adds what decides who answers for a registry: roots, `hosts.toml` files and proxies. The
    /// rules about addresses are the caller's.
    pub(crate) fn add_basis(&self, basis: &mut Basis) {
        self.0.seen_roots.add_basis(&self.0.roots, basis);
        match (self.0.rules)().hosts_path {
            Some(directory) => self.0.hosts.add_basis(&directory, basis),
            None => basis.add("no hosts", ""),
        }
        for name in PROXIES.into_iter().chain(["NO_PROXY", "no_proxy"]) {
            let value = std::env::var_os(name).unwrap_or_default();
            basis.add(name, value.as_encoded_bytes());
        }
    }

    /// What is known of the registries that are asked over these connections.
    pub(crate) fn registries(&self) -> &Registries {
        &self.0.registries
    }

    /// What was asked over these connections so far.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// The pool for a URL, of a place with a profile where it has one. The certificate of a loopback
    /// host is checked only where the profile says against what.
    pub(crate) fn pool(
        &self,
        profile: Option<&Arc<TlsProfile>>,
        url: &Url,
    ) -> Result<reqwest::Client, OrasError> {
        self.pool_of(Kind::of(url, profile), profile, Sharing::Many)
    }

    /// The same for bodies that are long and read slowly: each has a connection of its own. All
    /// bodies of an HTTP/2 connection share what may be under way, and a few whose disk is slow
    /// would stop the others.
    pub(crate) fn pool_of_long_bodies(
        &self,
        profile: Option<&Arc<TlsProfile>>,
        url: &Url,
    ) -> Result<reqwest::Client, OrasError> {
        self.pool_of(Kind::of(url, profile), profile, Sharing::One)
    }

    /// The pool that asks no proxy, for plain HTTP to addresses that are this machine's own.
    #[cfg(any(feature = "aws", feature = "azure", feature = "alibaba"))]
    pub(crate) fn unproxied(&self) -> Result<reqwest::Client, OrasError> {
        self.pool_of(Kind::Here, None, Sharing::Many)
    }

    fn pool_of(
        &self,
        kind: Kind,
        profile: Option<&Arc<TlsProfile>>,
        sharing: Sharing,
    ) -> Result<reqwest::Client, OrasError> {
        let connect = self.connect_timeout(profile);
        let key = (kind, profile.cloned(), sharing, connect);
        let lock = || self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = lock().get(&key) {
            return Ok(pool.clone());
        }
        let pool = self.build(kind, profile.map(AsRef::as_ref), sharing, connect)?;
        let mut open = lock();
        // Those of certificates that were renewed are used no more.
        if open.len() >= MAX_POOLS {
            open.clear();
        }
        Ok(open.entry(key).or_insert(pool).clone())
    }

    fn build(
        &self,
        kind: Kind,
        profile: Option<&TlsProfile>,
        sharing: Sharing,
        connect: Duration,
    ) -> Result<reqwest::Client, OrasError> {
        let roots = &self.0.roots;
        let tls = match (kind, profile) {
            (Kind::Here, None) => tls::unchecked()?,
            (Kind::Here, Some(profile)) if !profile.has_authorities() => profile.unchecked()?,
            (_, Some(profile)) => profile.checked(self.0.seen_roots.load(roots))?,
            (Kind::Checked, None) => tls::trusting(self.0.seen_roots.load(roots))?,
            // Reading the roots takes longer than many a request, and needs them to be there.
            (Kind::Plain, None) => tls::trusting(Vec::new())?,
        };
        let builder = reqwest::Client::builder();
        let (tls, builder) = match sharing {
            #[cfg(feature = "http2")]
            Sharing::Many => crate::http2::offered(tls, builder),
            #[cfg(not(feature = "http2"))]
            Sharing::Many => (tls, builder),
            Sharing::One => {
                let mut tls = tls;
                tls.alpn_protocols = vec![HTTP_11.to_vec()];
                (tls, builder.http1_only())
            }
        };
        let mut builder = builder
            .tls_backend_preconfigured(tls)
            .dns_resolver(self.0.resolver.clone())
            // Followed by hand: credentials must not cross hosts, nor may a request fall to HTTP.
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(connect)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(100);
        if kind == Kind::Here {
            // A name could resolve elsewhere; nothing is unchecked that leaves this machine. The
            // resolver knows where `localhost` is without asking anybody.
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| OrasError::Setup(error.without_url().to_string()))
    }
}

impl Kind {
    /// Of the host of a URL, in a place with a profile where it has one.
    fn of(url: &Url, profile: Option<&Arc<TlsProfile>>) -> Self {
        match url.scheme() {
            _ if is_loopback(url) => Self::Here,
            "http" if profile.is_none() => Self::Plain,
            _ => Self::Checked,
        }
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// The host to connect to for a registry as written: Docker Hub's differs.
pub(crate) fn wire_host(registry: &str) -> &str {
    if registry == "docker.io" { "registry-1.docker.io" } else { registry }
}

/// The base of a registry, `scheme://host/`.
pub(crate) fn base_url(scheme: &str, registry: &str) -> Result<Url, OrasError> {
    Url::parse(&format!("{scheme}://{}/", wire_host(registry))).map_err(|error| {
        OrasError::Registry { registry: registry.to_owned(), why: error.to_string() }
    })
}

/// Whether a URL points to this very machine: `localhost`, 127.0.0.0/8 or ::1, and nothing else.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// Whether a registry may send us on to another URL, by a redirect or a token realm.
///
/// # Errors
/// Says where it leads: to another scheme, out of TLS, in clear to another machine where that is
/// not configured, or from another machine to this one.
pub(crate) fn check_step(from: &Url, to: &Url, transport: Transport) -> Result<(), String> {
    let Some(host) = to.host_str().filter(|_| matches!(to.scheme(), "http" | "https")) else {
        return Err("to something that is no HTTP host".into());
    };
    let host = ratify_core::capped_line(host, 255);
    if is_loopback(to) && !is_loopback(from) {
        return Err(format!("from another host to {host}"));
    }
    if to.scheme() == "https" {
        return Ok(());
    }
    if from.scheme() != "http" {
        return Err(format!("from HTTPS to HTTP, to {host}"));
    }
    if transport != Transport::PlainHttp && !is_loopback(to) && to.origin() != from.origin() {
        return Err(format!("in plain HTTP to {host}"));
    }
    Ok(())
}

/// Whether a handshake failed since HTTP/1.1 is nothing that the server knows (RFC 7301, section 3.2).
pub(crate) fn knows_http2_alone(error: &(dyn StdError + 'static)) -> bool {
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
    if error.downcast_ref() == Some(&alert) {
        return true;
    }
    // The source of an I/O error is that of the error within it, so that one is looked at too.
    let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    io.is_some_and(|inner| knows_http2_alone(inner))
        || error.source().is_some_and(knows_http2_alone)
}

/// Whether a failed TLS handshake looks as if the server spoke plain HTTP: it sent something that
/// is no TLS record, or hung up.
pub(crate) fn looks_like_plain_http(error: &(dyn StdError + 'static)) -> bool {
    if matches!(error.downcast_ref(), Some(rustls::Error::InvalidMessage(_))) {
        return true;
    }
    // The source of an I/O error is that of the error within it, so that one is looked at too.
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        let within = io.get_ref().is_some_and(|inner| looks_like_plain_http(inner));
        return within || io.kind() == std::io::ErrorKind::UnexpectedEof;
    }
    error.source().is_some_and(looks_like_plain_http)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_loopback_hosts_are_loopback() {
        let loopback = ["localhost", "LOCALHOST:5000", "127.0.0.1:1", "127.9.8.7", "[::1]:5000"];
        for registry in loopback {
            assert!(is_loopback(&base_url("https", registry).unwrap()), "{registry}");
        }
        let others = [
            "registry.example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "notlocalhost:5000",
            "128.0.0.1",
            "[::2]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "[::]",
        ];
        for registry in others {
            assert!(!is_loopback(&base_url("https", registry).unwrap()), "{registry}");
        }
    }

    #[test]
    fn a_path_that_holds_a_loopback_address_is_not_loopback() {
        let url = Url::parse("https://registry.example.com/v2/x/127.0.0.1/app").unwrap();
        assert!(!is_loopback(&url));
    }

    #[test]
    fn docker_hub_has_another_host_on_the_wire() {
        assert_eq!(
            base_url("https", "docker.io").unwrap().as_str(),
            "https://registry-1.docker.io/"
        );
    }

    #[test]
    fn a_port_out_of_range_is_an_error_not_a_panic() {
        assert!(matches!(base_url("https", "a.io:99999"), Err(OrasError::Registry { .. })));
    }
}
