//! [`CheckedResolver`]: looks names up for the HTTP client, gives it no address that the rules do not
//! allow, and lets no tenant take all the places there are for look-ups.

use std::{
    collections::HashSet,
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::{AddressRules, places::Places};

/// How many names are looked up at a time: a look-up occupies a thread until it ends, and a name
/// server that is silent would occupy all of them.
const LOOKUPS: usize = 32;
/// A command asks few registries; what a server notes is not used.
const MAX_WRITTEN: usize = 256;

/// The rules as they are when asked.
pub(crate) type RulesNow = Arc<dyn Fn() -> AddressRules + Send + Sync>;

tokio::task_local! {
    /// For whom a request is sent. The HTTP client asks for a name and says no more; it does so
    /// within the request that is sent first.
    static TENANT: Arc<str>;
}

/// Sends a request, or does anything else, for a tenant: what is looked up meanwhile is its.
pub(crate) async fn asked_by<T>(tenant: &Arc<str>, work: impl Future<Output = T>) -> T {
    TENANT.scope(tenant.clone(), work).await
}

/// Finds the addresses of a name. It blocks.
type LookUp = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Looks names up for the HTTP client, and gives it no address that the rules do not allow.
#[derive(Clone)]
pub(crate) struct CheckedResolver {
    rules: RulesNow,
    look_up: LookUp,
    lookups: Arc<Places>,
    /// The hosts of the proxies: the administrator's own words, wherever they are.
    proxies: Arc<[String]>,
    /// The hosts of references; a redirect adds none.
    written: Arc<Mutex<HashSet<String>>>,
}

impl CheckedResolver {
    pub(crate) fn new(rules: RulesNow, proxies: Vec<String>) -> Self {
        Self {
            rules,
            look_up: |name| Ok((name, 0).to_socket_addrs()?.collect()),
            lookups: Arc::new(Places::new(LOOKUPS)),
            proxies: proxies.into(),
            written: Arc::default(),
        }
    }

    /// Takes a note that a reference names this host.
    pub(crate) fn note_written(&self, url: &Url) {
        let Some(Host::Domain(name)) = url.host() else { return };
        let mut written = self.written();
        if written.len() < MAX_WRITTEN && !written.contains(name) {
            written.insert(name.to_owned());
        }
    }

    fn written(&self) -> MutexGuard<'_, HashSet<String>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        let tenant = TENANT.try_with(Arc::clone).unwrap_or_default();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let is_proxy = resolver.proxies.iter().any(|proxy| name.eq_ignore_ascii_case(proxy));
            if name == "localhost" && !is_proxy {
                return Ok(Box::new((resolver.rules)().here().into_iter()) as Addrs);
            }
            let place = resolver.lookups.enter(&tenant).await;
            let (look_up, asked) = (resolver.look_up, name.clone());
            // A look-up that nobody waits for any more still occupies its thread, and its place.
            let lookup = tokio::task::spawn_blocking(move || {
                let found = look_up(&asked);
                drop(place);
                found
            });
            let found = lookup.await??;
            if !is_proxy {
                let is_written = resolver.written().contains(&name);
                (resolver.rules)().check_found(&name, &found, is_written)?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The variables that name proxies.
pub(crate) const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// The hosts of the proxies that the environment names.
pub(crate) fn proxy_hosts(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let host = |text: String| {
        let with_scheme = if text.contains("://") { text } else { format!("http://{text}") };
        Url::parse(&with_scheme).ok()?.host_str().map(str::to_owned)
    };
    PROXIES.into_iter().filter_map(variable).filter_map(host).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_proxies_of_the_environment_are_known_by_host() {
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://user:password@proxy.example.com:3128".to_owned()),
            "http_proxy" => Some("localhost:8888".to_owned()),
            "ALL_PROXY" => Some(String::new()),
            _ => None,
        };
        assert_eq!(proxy_hosts(variable), ["proxy.example.com", "localhost"]);
    }

    /// A name server that is silent about some names, and answers others at once.
    fn hanging(name: &str) -> io::Result<Vec<SocketAddr>> {
        if name.starts_with("hang") {
            std::thread::sleep(Duration::from_secs(3));
        }
        Ok(vec!["203.0.113.1:0".parse().unwrap()])
    }

    #[tokio::test]
    async fn names_of_one_tenant_that_hang_do_not_hold_up_another() {
        let mut resolver =
            CheckedResolver::new(Arc::new(|| AddressRules::for_anybody(Arc::default())), vec![]);
        resolver.look_up = hanging;
        let look_up = |tenant: &str, name: String| {
            let (resolver, tenant) = (resolver.clone(), Arc::from(tenant));
            async move {
                asked_by(&tenant, async { resolver.resolve(name.parse().unwrap()).await }).await
            }
        };
        for tenant in ["bad", "worse"] {
            for number in 0..100 {
                tokio::spawn(look_up(tenant, format!("hang{number}.example.com")));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let soon = Duration::from_secs(1);
        for number in 0..50 {
            let answered = look_up("good", format!("r{number}.example.com"));
            assert!(tokio::time::timeout(soon, answered).await.unwrap().is_ok());
        }
        // Of its own it waits for those that hang.
        let own = look_up("bad", "r.example.com".into());
        assert!(tokio::time::timeout(soon, own).await.is_err());
    }
}
