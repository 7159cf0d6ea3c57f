//! [`Endpoints`]: the hosts that are Azure's registries. Entra's token goes to no other host: who
//! holds it may read whatever the identity may.

use ratify_core::capped_line;

/// Where none are configured: the registries of the public cloud and of the sovereign ones.
const DEFAULTS: [&str; 3] = ["*.azurecr.io", "*.azurecr.us", "*.azurecr.cn"];
/// More than any configuration has.
const MAX_ENDPOINTS: usize = 256;

/// Hosts, each written out with its port where it has one, or `*.` for one label in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoints(Vec<String>);

impl Endpoints {
    /// Reads what `endpoints` lists; the defaults where it lists none.
    ///
    /// # Errors
    /// With v1's texts, where an entry has a wildcard elsewhere than in front. And where it is
    /// empty, over which v1 falls.
    pub(super) fn parse(listed: &[String]) -> Result<Self, String> {
        if listed.is_empty() {
            return Ok(Self::default());
        }
        if listed.len() > MAX_ENDPOINTS {
            let number = listed.len();
            return Err(format!("{number} endpoints, and {MAX_ENDPOINTS} are the most"));
        }
        listed.iter().map(|endpoint| checked(endpoint)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a host, in lower case and with its port where it has one, is one of them.
    pub(super) fn covers(&self, host: &str) -> bool {
        let is_it = |endpoint: &String| match endpoint.strip_prefix("*.") {
            None => endpoint == host,
            Some(zone) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == zone)
            }
        };
        self.0.iter().any(is_it)
    }

    /// The first entry that is none of Azure's own hosts.
    pub(super) fn first_foreign(&self) -> Option<&str> {
        let azure = Self::default();
        let is_azures = |endpoint: &str| azure.0.iter().any(|own| own == endpoint);
        let mut all = self.0.iter().map(String::as_str);
        all.find(|endpoint| !is_azures(endpoint) && !azure.covers(endpoint))
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        Self(DEFAULTS.map(str::to_owned).into())
    }
}

fn checked(endpoint: &str) -> Result<String, String> {
    let invalid = |why: &str| {
        Err(format!("invalid wildcard domain name: {}, it must {why}", capped_line(endpoint, 255)))
    };
    match endpoint.matches('*').count() {
        0 if endpoint.is_empty() => Err("an endpoint is empty".into()),
        0 => Ok(without_default_port(endpoint)),
        1 if !endpoint.starts_with("*.") => invalid("start with '*.'"),
        1 if endpoint.len() < 3 => invalid("have at least one character after '*.'"),
        1 => Ok(without_default_port(endpoint)),
        _ => invalid("have at most one wildcard character"),
    }
}

/// As hosts are written that are compared with it.
fn without_default_port(endpoint: &str) -> String {
    endpoint.strip_suffix(":443").unwrap_or(endpoint).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(listed: &[&str]) -> Result<Endpoints, String> {
        Endpoints::parse(&listed.iter().map(|&one| one.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn without_any_the_hosts_are_azures() {
        let endpoints = parse(&[]).unwrap();
        for host in ["a.azurecr.io", "a-b.azurecr.us", "a.azurecr.cn"] {
            assert!(endpoints.covers(host), "{host}");
        }
        for host in [
            "azurecr.io",
            ".azurecr.io",
            "a.b.azurecr.io",
            "a.azurecr.io.",
            "a.azurecr.io:8443",
            "a.azurecr.io.example.com",
            "aazurecr.io",
            "a.azurecr.de",
            "localhost",
            "",
        ] {
            assert!(!endpoints.covers(host), "{host}");
        }
    }

    #[test]
    fn an_endpoint_is_a_host_or_one_label_in_front_of_it() {
        let endpoints = parse(&["Registry.Example.com:5000", "*.example.org:443"]).unwrap();
        for host in ["registry.example.com:5000", "a.example.org"] {
            assert!(endpoints.covers(host), "{host}");
        }
        for host in
            ["registry.example.com", "a.azurecr.io", "example.org", "a.b.example.org", "*.a.org"]
        {
            assert!(!endpoints.covers(host), "{host}");
        }
    }

    #[test]
    fn v1s_texts_say_what_is_wrong_with_a_wildcard() {
        for (endpoint, why) in [
            ("*", "it must start with '*.'"),
            ("a.*", "it must start with '*.'"),
            ("*example.com", "it must start with '*.'"),
            ("*.", "it must have at least one character after '*.'"),
            ("*.*.example.com", "it must have at most one wildcard character"),
        ] {
            let expected = format!("invalid wildcard domain name: {endpoint}, {why}");
            assert_eq!(parse(&["a.azurecr.io", endpoint]).unwrap_err(), expected);
        }
        assert_eq!(parse(&[""]).unwrap_err(), "an endpoint is empty");
        assert!(parse(&["a"; 257]).is_err());
    }

    #[test]
    fn what_is_not_azures_is_found() {
        assert_eq!(parse(&["a.azurecr.io", "*.azurecr.cn"]).unwrap().first_foreign(), None);
        for foreign in ["*.example.com", "azurecr.io", "*.io", "a.azurecr.io:444", "*.a.azurecr.io"]
        {
            let endpoints = parse(&["a.azurecr.io", foreign]).unwrap();
            assert_eq!(endpoints.first_foreign(), Some(foreign));
        }
    }
}
