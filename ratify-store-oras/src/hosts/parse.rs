//! What a `hosts.toml` says: containerd's format, read into endpoints in their order. Pure.
//!
//! What weakens a check (`skip_verify`) and what is not known is refused: a key that is misspelt
//! would let a mirror decide what it should not.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use ratify_core::capped_line;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;
use url::Url;

/// The endpoints of a registry, in the order in which they are asked; the registry itself is last.
#[derive(Debug, PartialEq)]
pub(crate) struct HostsFile {
    pub(crate) entries: Vec<Entry>,
}

/// One endpoint.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// Where the API is, with its path up to `/v2`; `None` for the registry as it is without a file.
    pub(crate) base: Option<Url>,
    pub(crate) capabilities: Capabilities,
    /// Files of certificates to trust besides all others.
    pub(crate) authorities: Vec<PathBuf>,
    pub(crate) client: Option<ClientFiles>,
    /// What is sent with each request; the values are secrets.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) dial_timeout: Option<Duration>,
}

/// The files of a client's certificate and its key, which may be one.
#[derive(Debug, PartialEq)]
pub(crate) struct ClientFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What an endpoint may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// What a digest names: whoever serves it cannot lie.
    pub(crate) pull: bool,
    /// What a tag stands for: whoever answers decides.
    pub(crate) resolve: bool,
    pub(crate) push: bool,
    /// What is attached: whoever answers decides, too.
    pub(crate) referrers: bool,
}

impl Capabilities {
    /// What containerd takes where a file says nothing.
    pub(crate) const ALL: Self = Self { pull: true, resolve: true, push: true, referrers: true };
}

#[derive(Deserialize)]
struct Document {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<String, Spanned<Table>>,
    #[serde(flatten)]
    own: Table,
}

#[derive(Default, Deserialize)]
struct Table {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    skip_verify: Option<bool>,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
    override_path: Option<bool>,
    dial_timeout: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    One(String),
    Many(Vec<OneOrMany>),
}

impl HostsFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Says what is wrong, and where; never a header's value.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let document: Document = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count());
            format!("line {}: {}", line + 1, capped_line(error.message(), 200))
        })?;
        let mut hosts: Vec<(usize, String, Table)> = document
            .host
            .into_iter()
            .map(|(name, table)| (table.span().start, name, table.into_inner()))
            .collect();
        hosts.sort_by_key(|(start, ..)| *start);
        let mut entries = Vec::new();
        for (_, name, table) in hosts {
            let at = |why: String| format!("host {:?}: {why}", capped_line(&name, 200));
            entries.push(Entry::of(Some(&name), table).map_err(at)?);
        }
        entries.push(Entry::of(document.server.as_deref(), document.own)?);
        Ok(Self { entries })
    }
}

impl Entry {
    fn of(server: Option<&str>, table: Table) -> Result<Self, String> {
        if let Some(key) = table.rest.keys().next() {
            return Err(format!("unknown key {:?}", capped_line(key, 100)));
        }
        if table.skip_verify == Some(true) {
            return Err(
                "skip_verify is not supported: name the certificate's authority in ca".into()
            );
        }
        let overrides = table.override_path.unwrap_or_default();
        let base = server.map(|server| base(server, overrides)).transpose()?;
        if base.is_none() && overrides {
            return Err("override_path needs a server".into());
        }
        Ok(Self {
            base,
            capabilities: capabilities(table.capabilities.as_deref())?,
            authorities: table
                .ca
                .map(OneOrMany::into_vec)
                .unwrap_or_default()
                .into_iter()
                .map(Into::into)
                .collect(),
            client: table.client.map(client_files).transpose()?,
            headers: headers(table.header)?,
            dial_timeout: table.dial_timeout.as_deref().map(duration).transpose()?,
        })
    }
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// The URL of an API: `/v2` is added to its path unless that is to be left as it is.
fn base(server: &str, overrides: bool) -> Result<Url, String> {
    let text = if server.starts_with("http://") || server.starts_with("https://") {
        server.to_owned()
    } else {
        format!("https://{server}")
    };
    let mut url = Url::parse(&text).map_err(|error| format!("it is no URL: {error}"))?;
    let has_more = url.query().is_some() || url.fragment().is_some();
    if has_more || !url.username().is_empty() || url.password().is_some() {
        return Err("a URL of a server has a host and a path, and nothing else".into());
    }
    let path = url.path().trim_end_matches('/');
    let path = match overrides || path.ends_with("/v2") {
        true => path.to_owned(),
        false => format!("{path}/v2"),
    };
    url.set_path(&path);
    Ok(url)
}

/// Without a list everything is allowed, as with containerd.
fn capabilities(words: Option<&[String]>) -> Result<Capabilities, String> {
    let Some(words) = words else { return Ok(Capabilities::ALL) };
    let mut allowed = Capabilities { pull: false, resolve: false, push: false, referrers: false };
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "pull" => allowed.pull = true,
            "resolve" => allowed.resolve = true,
            "push" => allowed.push = true,
            "referrers" => allowed.referrers = true,
            _ => return Err(format!("unknown capability {:?}", capped_line(word, 100))),
        }
    }
    Ok(allowed)
}

fn client_files(client: Client) -> Result<ClientFiles, String> {
    let one = "one client certificate is shown: a file with its key, or a pair of files";
    let pair = |certificate: &str, key: &str| ClientFiles {
        certificate: certificate.into(),
        key: key.into(),
    };
    match client {
        Client::One(both) => Ok(pair(&both, &both)),
        Client::Many(list) => match list.as_slice() {
            [OneOrMany::One(both)] => Ok(pair(both, both)),
            [OneOrMany::Many(files)] => match files.as_slice() {
                [both] => Ok(pair(both, both)),
                [certificate, key] if key.is_empty() => Ok(pair(certificate, certificate)),
                [certificate, key] => Ok(pair(certificate, key)),
                _ => Err(one.into()),
            },
            _ => Err(one.into()),
        },
    }
}

fn headers(table: BTreeMap<String, OneOrMany>) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut headers = Vec::new();
    for (name, values) in table {
        let shown = capped_line(&name, 100);
        let name: HeaderName = name.parse().map_err(|_| format!("{shown:?} is no header"))?;
        for value in values.into_vec() {
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| format!("the value of the header {name} is none"))?;
            value.set_sensitive(true);
            headers.push((name.clone(), value));
        }
    }
    Ok(headers)
}

/// Go's form of a duration, as far as a time to connect needs it: `500ms`, `3s`, `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: Option<u64> = number.parse().ok().filter(|number| *number > 0);
    let millis = match unit {
        "ms" => number,
        "s" => number.and_then(|seconds| seconds.checked_mul(1000)),
        "m" => number.and_then(|minutes| minutes.checked_mul(60_000)),
        _ => None,
    };
    let limit = 600_000;
    millis.filter(|millis| *millis <= limit).map(Duration::from_millis).ok_or_else(|| {
        format!(
            "dial_timeout is {:?}: it must be as 500ms, 3s or 1m, and 10m at most",
            capped_line(text, 40)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(file: &HostsFile) -> Vec<Option<&str>> {
        file.entries.iter().map(|entry| entry.base.as_ref().map(Url::as_str)).collect()
    }

    #[test]
    fn hosts_are_asked_in_the_order_of_the_file_and_the_server_last() {
        let file = HostsFile::parse(
            r#"
            server = "https://registry.example.com"
            ca = "root.pem"
            [host."https://z.example.com"]
              capabilities = ["pull"]
              ca = ["/etc/z.pem", "more.pem"]
              client = [["client.cert", "client.key"]]
              dial_timeout = "3s"
              [host."https://z.example.com".header]
                x-secret = ["s3cret", "other"]
            [host."http://a.example.com:5000/prefix"]
            [host."m.example.com/api/v2/"]
              capabilities = ["pull", "resolve"]
              client = "both.pem"
            [host."https://b.example.com/as/is"]
              override_path = true
              client = ["both.pem"]
            "#,
        )
        .unwrap();
        assert_eq!(
            bases(&file),
            [
                Some("https://z.example.com/v2"),
                Some("http://a.example.com:5000/prefix/v2"),
                Some("https://m.example.com/api/v2"),
                Some("https://b.example.com/as/is"),
                Some("https://registry.example.com/v2"),
            ]
        );
        let [first, second, .., last] = file.entries.as_slice() else { panic!() };
        let none = Capabilities { pull: false, resolve: false, push: false, referrers: false };
        assert_eq!(first.capabilities, Capabilities { pull: true, ..none });
        assert_eq!(second.capabilities, Capabilities::ALL);
        let words = ["pull", "Referrers"].map(str::to_owned);
        let lists = Capabilities { pull: true, referrers: true, ..none };
        assert_eq!(capabilities(Some(&words)), Ok(lists));
        assert_eq!(first.authorities, [PathBuf::from("/etc/z.pem"), "more.pem".into()]);
        let client = first.client.as_ref().unwrap();
        assert_eq!(
            (client.certificate.as_path(), client.key.as_path()),
            ("client.cert".as_ref(), "client.key".as_ref())
        );
        assert_eq!(first.dial_timeout, Some(Duration::from_secs(3)));
        assert_eq!(first.headers.len(), 2);
        assert!(!format!("{first:?}").contains("s3cret"));
        assert_eq!(last.authorities, [PathBuf::from("root.pem")]);
    }

    #[test]
    fn the_documents_example_means_what_the_document_says() {
        let document = include_str!("../../../docs/registries.md");
        let (_, rest) = document.split_once("```toml\n").unwrap();
        let file = HostsFile::parse(rest.split_once("```").unwrap().0).unwrap();
        assert_eq!(
            bases(&file),
            [
                Some("https://mirror.example.com/v2"),
                Some("http://cache.example.com:5000/hub/v2"),
                Some("https://registry.example.com/v2"),
            ]
        );
        let resolves: Vec<bool> = file.entries.iter().map(|e| e.capabilities.resolve).collect();
        assert_eq!(resolves, [false, true, true]);
        let lists: Vec<bool> = file.entries.iter().map(|e| e.capabilities.referrers).collect();
        assert_eq!(lists, [false, true, true]);
    }

    #[test]
    fn without_a_server_the_registry_itself_is_last() {
        let file = HostsFile::parse("[host.\"https://m.example.com\"]\n").unwrap();
        assert_eq!(bases(&file), [Some("https://m.example.com/v2"), None]);
        assert_eq!(bases(&HostsFile::parse("").unwrap()), [None]);
    }

    #[test]
    fn what_weakens_or_is_not_known_is_refused_without_a_secret() {
        let host = |body: &str| format!("[host.\"https://m.example.com\"]\n{body}\n");
        for (text, expected) in [
            (
                host("skip_verify = true"),
                "host \"https://m.example.com\": skip_verify is not supported: name the certificate's authority in ca",
            ),
            (
                host("capabilites = [\"pull\"]"),
                "host \"https://m.example.com\": unknown key \"capabilites\"",
            ),
            (
                host("capabilities = [\"pul\"]"),
                "host \"https://m.example.com\": unknown capability \"pul\"",
            ),
            (
                host("dial_timeout = \"3h\""),
                "host \"https://m.example.com\": dial_timeout is \"3h\": it must be as 500ms, 3s or 1m, and 10m at most",
            ),
            ("serve = \"x\"".into(), "unknown key \"serve\""),
            ("override_path = true".into(), "override_path needs a server"),
            (
                "server = \"https://u:p@x/\"".into(),
                "a URL of a server has a host and a path, and nothing else",
            ),
            ("server = \"https://\"".into(), "it is no URL: empty host"),
            (
                host("client = [\"a\", \"b\"]"),
                "host \"https://m.example.com\": one client certificate is shown: a file with its key, or a pair of files",
            ),
        ] {
            assert_eq!(HostsFile::parse(&text).unwrap_err(), expected);
        }
        for secret in [
            "[header]\nx = \"s3cret\n",
            "[header]\nx = { a = \"s3cret\" }\n",
            "[header]\nx = \"s3cret\\u0000\"\n",
            "[header]\n\"x y\" = \"s3cret\"\n",
            "[header]\nx = \"s3cret\"\nx = \"s3cret\"\n",
        ] {
            let error = HostsFile::parse(secret).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(HostsFile::parse(&host("skip_verify = false")).is_ok());
    }
}
