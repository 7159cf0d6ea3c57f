//! [`OtlpOptions`]: what OpenTelemetry's variables say. What is malformed, or means something that is
//! not there, is an error at the start, so that nobody waits in vain for traces. An empty variable is
//! one that is not set (the specification, "Parsing empty value").

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use ratify_core::capped_line;
use url::Url;

use crate::env::Environment;

/// Where a collector takes traces, below its own address.
const TRACES_PATH: &str = "v1/traces";

/// Where traces go, and how.
#[derive(Clone)]
pub struct OtlpOptions {
    pub(super) endpoint: Url,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    /// Who is trusted in place of the system's authorities: the variable, and the file.
    pub(super) certificate: Option<(&'static str, PathBuf)>,
    /// Certificate and key of this process.
    pub(super) identity: Option<(File, File)>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) sampling: Sampling,
    pub(super) queue_spans: usize,
    pub(super) batch_spans: usize,
    pub(super) delay: Duration,
}

type File = (&'static str, PathBuf);

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampling {
    /// Whether what a request says of its own trace comes first.
    by_parent: bool,
    /// Of those without such a word, this part.
    ratio: f64,
}

/// Why traces cannot be sent as the environment says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// A variable has a value that means nothing here.
    #[error("{variable} is {value:?}: {why}")]
    Variable {
        /// Its name.
        variable: String,
        /// What it is, unless that may be a secret.
        value: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A file that a variable names cannot be used.
    #[error("{variable} names {path}: {why}", path = path.display())]
    File {
        /// The variable.
        variable: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The HTTP client.
    #[error("traces cannot be sent: {0}")]
    Setup(String),
}

impl Sampling {
    #[cfg(test)]
    pub(super) const ALL: Self = Self { by_parent: true, ratio: 1.0 };

    /// Whether a trace is kept: as who began it says, or by its id, so that all who are asked about one
    /// trace say the same.
    pub(super) fn keeps(self, trace_id: u128, by_parent: Option<bool>) -> bool {
        if let (true, Some(is_sampled)) = (self.by_parent, by_parent) {
            return is_sampled;
        }
        // The last eight bytes are random, whatever made the id.
        #[allow(clippy::cast_possible_truncation, reason = "they are what is wanted")]
        let random = (trace_id as u64) >> 1;
        #[allow(clippy::cast_precision_loss, reason = "a part of 2^63, about")]
        let part = random as f64 / (1_u64 << 63) as f64;
        self.ratio >= 1.0 || part < self.ratio
    }
}

impl OtlpError {
    pub(super) fn file(variable: &str, path: &Path, why: &dyn fmt::Display) -> Self {
        let (variable, path) = (variable.to_owned(), path.to_owned());
        Self::File { variable, path, why: capped_line(&why.to_string(), 300) }
    }
}

/// The variables that are read.
struct Variables<'a>(&'a BTreeMap<String, String>);

impl OtlpOptions {
    /// What the environment says; `None` where it names no collector.
    ///
    /// # Errors
    /// When a variable is malformed or asks for what is not there.
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, OtlpError> {
        let variables = Variables(&environment.telemetry);
        if variables.is_off()? {
            return Ok(None);
        }
        let Some(endpoint) = variables.endpoint()? else { return Ok(None) };
        let batch_spans = variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?;
        let queue_spans = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?;
        let delay = variables.number("OTEL_BSP_SCHEDULE_DELAY", 5000)?;
        let [timeout, certificate, client, key] = Names::ALL;
        variables.check_protocol_and_compression()?;
        let timeout = variables.number(timeout.set_in(&variables), 10_000)?;
        let file = |names: Names| {
            let variable = names.set_in(&variables);
            variables.get(variable).map(|path| (variable, PathBuf::from(path)))
        };
        let identity = match (file(client), file(key)) {
            (Some(client), Some(key)) => Some((client, key)),
            (None, None) => None,
            (Some((variable, path)), None) | (None, Some((variable, path))) => {
                return Err(OtlpError::file(
                    variable,
                    &path,
                    &"a certificate and a key are needed, and only one is named",
                ));
            }
        };
        Ok(Some(Self {
            endpoint,
            headers: variables.headers()?,
            timeout: Duration::from_millis(timeout.max(1)),
            certificate: file(certificate),
            identity,
            attributes: variables.attributes(environment)?,
            sampling: variables.sampling()?,
            queue_spans: at_least_one(queue_spans),
            batch_spans: at_least_one(batch_spans.min(queue_spans)),
            delay: Duration::from_millis(delay),
        }))
    }

    /// Who takes traces.
    pub(crate) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// The endpoint for a log: who it names may have a password.
    pub(super) fn shown(&self) -> String {
        let mut shown = self.endpoint.clone();
        let _ = (shown.set_username(""), shown.set_password(None));
        shown.set_query(None);
        capped_line(shown.as_str(), 300)
    }
}

/// A variable of OTLP's for all signals, and the one for traces alone, which comes first.
#[derive(Clone, Copy)]
struct Names(&'static str, &'static str);

impl Names {
    const ALL: [Self; 4] = [
        Self("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"),
        Self("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        Self(
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ),
        Self("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"),
    ];

    /// The one of the two that counts.
    fn set_in(self, variables: &Variables<'_>) -> &'static str {
        if variables.get(self.0).is_some() { self.0 } else { self.1 }
    }
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn wrong(&self, variable: &str, why: impl Into<String>) -> OtlpError {
        let value = capped_line(self.get(variable).unwrap_or_default(), 100);
        OtlpError::Variable { variable: variable.to_owned(), value, why: why.into() }
    }

    fn is_off(&self) -> Result<bool, OtlpError> {
        let disabled = "OTEL_SDK_DISABLED";
        match self.get(disabled).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false") => {}
            Some("true") => return Ok(true),
            Some(_) => return Err(self.wrong(disabled, "it is true or false")),
        }
        let exporter = "OTEL_TRACES_EXPORTER";
        match self.get(exporter) {
            None | Some("otlp") => Ok(false),
            Some("none") => Ok(true),
            Some(_) => Err(self.wrong(exporter, "otlp and none are known")),
        }
    }

    fn endpoint(&self) -> Result<Option<Url>, OtlpError> {
        let own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        let common = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let (variable, text) = match (self.get(own), self.get(common)) {
            (Some(text), _) => (own, text),
            (None, Some(text)) => (common, text),
            (None, None) => return Ok(None),
        };
        let wrong = |why: &str| OtlpError::Variable {
            variable: variable.to_owned(),
            // A user and a password may be in it.
            value: "(not shown)".to_owned(),
            why: why.to_owned(),
        };
        let mut url = Url::parse(text).map_err(|error| wrong(&format!("it is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("it begins with http:// or https://"));
        }
        if variable == common {
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("{path}/{TRACES_PATH}"));
        }
        Ok(Some(url))
    }

    fn check_protocol_and_compression(&self) -> Result<(), OtlpError> {
        for (names, known, why) in [
            (
                Names("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
                "http/protobuf",
                "only http/protobuf is spoken here (port 4318 of most collectors)",
            ),
            (
                Names("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"),
                "none",
                "only none is known here",
            ),
        ] {
            let variable = names.set_in(self);
            if self.get(variable).is_some_and(|value| value != known) {
                return Err(self.wrong(variable, why));
            }
        }
        Ok(())
    }

    fn headers(&self) -> Result<HeaderMap, OtlpError> {
        let variable = Names("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
        let variable = variable.set_in(self);
        let wrong = |why: &str| OtlpError::Variable {
            variable: variable.to_owned(),
            value: "(not shown)".to_owned(),
            why: why.to_owned(),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs(self.get(variable)).map_err(|why| wrong(&why))? {
            let name = HeaderName::from_str(&name).map_err(|_| wrong("a name is no header's"))?;
            let mut value =
                HeaderValue::from_str(&value).map_err(|_| wrong("a value is no header's"))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(headers)
    }

    fn attributes(&self, of: &Environment) -> Result<BTreeMap<String, String>, OtlpError> {
        let mut attributes = BTreeMap::from(
            [
                ("service.name", "ratify"),
                ("service.version", env!("CARGO_PKG_VERSION")),
                ("telemetry.sdk.name", "opentelemetry"),
                ("telemetry.sdk.language", "rust"),
                ("host.name", of.host_name.as_str()),
                ("k8s.namespace.name", of.namespace.as_deref().unwrap_or_default()),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        attributes.retain(|_, value| !value.is_empty());
        let variable = "OTEL_RESOURCE_ATTRIBUTES";
        let given = pairs(self.get(variable)).map_err(|why| self.wrong(variable, why))?;
        attributes.extend(given);
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            attributes.insert("service.name".to_owned(), name.to_owned());
        }
        Ok(attributes)
    }

    fn sampling(&self) -> Result<Sampling, OtlpError> {
        let variable = "OTEL_TRACES_SAMPLER";
        let name = self.get(variable).unwrap_or("parentbased_always_on");
        let (by_parent, rest) = match name.strip_prefix("parentbased_") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let ratio = match rest {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => self.ratio()?,
            _ => {
                return Err(self.wrong(
                    variable,
                    "always_on, always_off and traceidratio are known, each also behind parentbased_",
                ));
            }
        };
        Ok(Sampling { by_parent, ratio })
    }

    fn ratio(&self) -> Result<f64, OtlpError> {
        let variable = "OTEL_TRACES_SAMPLER_ARG";
        let Some(text) = self.get(variable) else { return Ok(1.0) };
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.ok_or_else(|| self.wrong(variable, "it is a number from 0 to 1"))
    }

    fn number(&self, variable: &str, default: u64) -> Result<u64, OtlpError> {
        let Some(text) = self.get(variable) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| *number <= 1_000_000);
        number.ok_or_else(|| self.wrong(variable, "it is a whole number, a million at most"))
    }
}

fn at_least_one(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX).max(1)
}

/// `name=value,name=value`, the values percent-encoded (W3C Baggage without properties).
fn pairs(text: Option<&str>) -> Result<Vec<(String, String)>, String> {
    let entries = text.unwrap_or_default().split(',').map(str::trim);
    let mut pairs = Vec::new();
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let (name, value) =
            entry.split_once('=').ok_or("an entry has no =; it is name=value,name=value")?;
        let name = name.trim();
        if name.is_empty() {
            return Err("an entry has no name".to_owned());
        }
        pairs.push((name.to_owned(), decoded(value.trim())?));
    }
    Ok(pairs)
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let is_hex = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = digits.filter(is_hex).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("a % is not followed by two hexadecimal digits")?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "a value is no UTF-8".to_owned())
}

#[cfg(test)]
mod tests;
