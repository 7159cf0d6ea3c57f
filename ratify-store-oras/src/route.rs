//! [`route`]: where something is asked for, in order. Pure.

use std::sync::Arc;

use reqwest::header::{HeaderName, HeaderValue};
use url::{Host, Url};

use crate::{
    hosts::{Capabilities, is_registry_itself},
    tls::TlsProfile,
};

/// What is wanted of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What a tag stands for: whoever answers decides.
    Resolve,
    /// What is attached: whoever answers decides.
    List,
    /// What a digest names: whoever answers cannot lie.
    Pull,
    /// Whatever changes something.
    Push,
}

/// One place where a registry's content is, as a `hosts.toml` says.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Where its API is, up to `/v2`; `None` for the registry as it is without a file.
    pub(crate) base: Option<Url>,
    pub(crate) capabilities: Capabilities,
    /// Secrets, for that place alone.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// `None` where nothing differs from any other place.
    pub(crate) tls: Option<Arc<TlsProfile>>,
}

impl Endpoint {
    /// A registry of which no file says anything.
    fn plain() -> Self {
        Self { base: None, capabilities: Capabilities::ALL, headers: Vec::new(), tls: None }
    }

    /// Whether this is another host than the registry: it has credentials of its own then, and is
    /// told for whom it stands.
    pub(crate) fn is_mirror(&self, registry: &str) -> bool {
        self.base.as_ref().is_some_and(|base| !is_registry_itself(base, registry))
    }

    /// Whether a URL's host is an address that the file itself names.
    pub(crate) fn names_address_of(&self, url: &Url) -> bool {
        let is_address = matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
        is_address && self.base.as_ref().is_some_and(|base| base.host() == url.host())
    }

    fn serves(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Resolve => self.capabilities.resolve,
            Purpose::List => self.capabilities.referrers,
            Purpose::Pull => self.capabilities.pull,
            Purpose::Push => self.capabilities.push,
        }
    }
}

/// The places that are asked for something, in order. None is left where nobody may be asked. Where
/// no place has the word for lists, those that may say what a tag stands for list, as containerd has it.
pub(crate) fn route(configured: &[Endpoint], purpose: Purpose) -> Vec<Endpoint> {
    if configured.is_empty() {
        return vec![Endpoint::plain()];
    }
    let serving = |purpose| -> Vec<Endpoint> {
        configured.iter().filter(|endpoint| endpoint.serves(purpose)).cloned().collect()
    };
    match serving(purpose) {
        none if none.is_empty() && purpose == Purpose::List => serving(Purpose::Resolve),
        places => places,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str, words: &str) -> Endpoint {
        let capabilities = Capabilities {
            pull: words.contains("pull"),
            resolve: words.contains("resolve"),
            push: words.contains("push"),
            referrers: words.contains("referrers"),
        };
        Endpoint { base: Some(Url::parse(base).unwrap()), capabilities, ..Endpoint::plain() }
    }

    #[test]
    fn a_mirror_that_may_not_resolve_serves_digests_only() {
        let configured = [
            endpoint("https://p.example.com/v2", "pull"),
            endpoint("https://r.example.com/v2", "pull resolve"),
            endpoint("https://registry.example.com/v2", "pull resolve push"),
        ];
        let asked = |purpose| -> Vec<String> {
            let route = route(&configured, purpose);
            route
                .iter()
                .map(|e| e.base.as_ref().unwrap().host_str().unwrap()[..1].to_owned())
                .collect()
        };
        assert_eq!(asked(Purpose::Pull), ["p", "r", "r"]);
        assert_eq!(asked(Purpose::Resolve), ["r", "r"]);
        assert_eq!(asked(Purpose::Push), ["r"]);
        assert_eq!(asked(Purpose::List), ["r", "r"], "nobody has the word");
        assert!(route(&configured[..1], Purpose::Resolve).is_empty());
        assert!(route(&configured[..1], Purpose::List).is_empty());
        assert_eq!(route(&[], Purpose::Push).len(), 1);
    }

    #[test]
    fn where_a_place_may_list_no_other_does() {
        let configured = [
            endpoint("https://resolves.example.com/v2", "pull resolve"),
            endpoint("https://lists.example.com/v2", "pull referrers"),
        ];
        let route = route(&configured, Purpose::List);
        let hosts: Vec<_> = route.iter().filter_map(|e| e.base.as_ref()?.host_str()).collect();
        assert_eq!(hosts, ["lists.example.com"]);
    }

    #[test]
    fn the_registry_itself_is_no_mirror_under_any_spelling() {
        let is_mirror = |base: &str, registry: &str| endpoint(base, "pull").is_mirror(registry);
        assert!(!is_mirror("https://r.example.com/v2", "R.example.com"));
        assert!(!is_mirror("https://r.example.com:443/other/v2", "r.example.com"));
        assert!(!is_mirror("http://r.example.com:5000/v2", "r.example.com:5000"));
        assert!(!is_mirror("https://registry-1.docker.io/v2", "docker.io"));
        assert!(is_mirror("https://m.example.com/v2", "r.example.com"));
        assert!(is_mirror("https://r.example.com:5000/v2", "r.example.com"));
    }
}
