//! The log, on stderr, in v1's three formats. What may be in it: no secrets, no control characters.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io::Write as _,
    sync::{Arc, RwLock},
};

use ratify_core::{ErrorCode, Result, go_json};
use serde_json::{Value, json};
use tracing::{Event, Level, Subscriber, field};
use tracing_subscriber::{
    Layer,
    filter::LevelFilter,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `time=… level=info msg=…`, values unquoted.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// One JSON object a line with Logstash's names.
    Logstash,
}

impl Format {
    /// Reads `logger.formatter`.
    ///
    /// # Errors
    /// When there is no such format.
    pub fn parse(formatter: Option<&str>) -> Result<Self> {
        match formatter {
            None | Some("" | "text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            Some("logstash") => Ok(Self::Logstash),
            Some(other) => {
                let other = ratify_core::capped_line(other, 100);
                Err(ErrorCode::ConfigInvalid
                    .detail(format!("unsupported logging formatter: {other}")))
            }
        }
    }
}

/// The running log. Its level and format are known only after the command line and the
/// configuration have been read.
#[derive(Clone)]
pub struct Telemetry {
    format: Arc<RwLock<Format>>,
    level: reload::Handle<LevelFilter, tracing_subscriber::Registry>,
}

impl Telemetry {
    /// Starts the log of this process, at level info, as text. To be called once, by `main`.
    pub fn start() -> Self {
        let format = Arc::new(RwLock::new(Format::default()));
        let (filter, level) = reload::Layer::new(LevelFilter::INFO);
        let layer = LogLayer { format: Arc::clone(&format) };
        // A second start in one process keeps the first log.
        let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
        Self { format, level }
    }

    /// Sets the format.
    pub fn set_format(&self, format: Format) {
        if let Ok(mut current) = self.format.write() {
            *current = format;
        }
    }

    /// Leaves out what is no error: what a command says itself is not said twice.
    pub fn quiet(&self) {
        let _ = self.level.reload(LevelFilter::ERROR);
    }

    /// Sets the level: `debug` from the command line, or else `RATIFY_LOG_LEVEL`; says so, as v1.
    pub fn set_level(&self, debug: bool, configured: Option<&str>) {
        let configured = configured.filter(|name| !name.is_empty());
        let (filter, name) = match (debug, configured) {
            (true, _) => (LevelFilter::DEBUG, "debug"),
            (false, Some(text)) => level_named(text).unwrap_or_else(|| {
                tracing::info!(
                    "Invalid log level {}, defaulting to info",
                    ratify_core::capped_line(text, 50)
                );
                tracing::info!(
                    "Valid log levels are: [panic fatal error warning info debug trace]"
                );
                (LevelFilter::INFO, "info")
            }),
            (false, None) => (LevelFilter::INFO, "info"),
        };
        tracing::info!("Setting log level to {name}");
        let _ = self.level.reload(filter);
    }
}

/// v1's levels. There is none above error here, so `panic` and `fatal` are `error`.
fn level_named(text: &str) -> Option<(LevelFilter, &'static str)> {
    Some(match text.to_ascii_lowercase().as_str() {
        "panic" => (LevelFilter::ERROR, "panic"),
        "fatal" => (LevelFilter::ERROR, "fatal"),
        "error" => (LevelFilter::ERROR, "error"),
        "warn" | "warning" => (LevelFilter::WARN, "warning"),
        "info" => (LevelFilter::INFO, "info"),
        "debug" => (LevelFilter::DEBUG, "debug"),
        "trace" => (LevelFilter::TRACE, "trace"),
        _ => return None,
    })
}

struct LogLayer {
    format: Arc<RwLock<Format>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Libraries speak at debug and below; what they say above is theirs to fix, not v1's text.
        let own = event.metadata().target().starts_with("ratify");
        if !own && *event.metadata().level() > Level::WARN {
            return;
        }
        let format = self.format.read().map(|format| *format).unwrap_or_default();
        let mut line = Line::default();
        event.record(&mut line);
        let text =
            line.render(format, *event.metadata().level(), &jiff::Timestamp::now().to_string());
        // A log that cannot be written has no other place to say so.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// The message and the fields of one event.
#[derive(Default)]
struct Line {
    message: String,
    fields: BTreeMap<String, String>,
}

impl Line {
    fn record(&mut self, name: &str, value: String) {
        let value = keep_line_breaks(&value);
        match name {
            "message" => self.message = value,
            // v1's names have hyphens, Rust's cannot.
            name => drop(self.fields.insert(name.replace('_', "-"), value)),
        }
    }

    fn render(&self, format: Format, level: Level, time: &str) -> String {
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        if format == Format::Text {
            let mut text = format!("time={time} level={level} msg={}", self.message);
            for (name, value) in &self.fields {
                // Writing to a String cannot fail.
                let _ = write!(text, " {name}={value}");
            }
            text.push('\n');
            return text;
        }
        let mut object = json!(self.fields);
        object["level"] = json!(level);
        match format {
            Format::Logstash => {
                object["@timestamp"] = json!(time);
                object["@version"] = json!("1");
                object["message"] = json!(self.message);
            }
            _ => {
                object["msg"] = json!(self.message);
                object["time"] = json!(time);
            }
        }
        one_line(&object)
    }
}

impl field::Visit for Line {
    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.record(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.record(field.name(), format!("{value:?}"));
    }
}

fn one_line(object: &Value) -> String {
    let mut text = go_json::to_string(object).unwrap_or_default();
    text.push('\n');
    text
}

/// Control characters are replaced; line breaks stay, since v1 logs a response over several lines.
/// Text from outside has lost its line breaks before it comes here.
fn keep_line_breaks(text: &str) -> String {
    let lines: Vec<String> =
        text.split('\n').map(ratify_core::without_control_characters).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let mut line = Line::default();
        line.record("message", "a \"b\" \x1b[31m<c>".into());
        line.record("component_type", "plugin".into());
        line
    }

    #[test]
    fn the_three_formats_are_v1s() {
        let render = |format| line().render(format, Level::WARN, "T");
        insta::assert_snapshot!(render(Format::Text), @r#"time=T level=warning msg=a "b" �[31m<c> component-type=plugin"#);
        insta::assert_snapshot!(render(Format::Json), @r#"{"component-type":"plugin","level":"warning","msg":"a \"b\" �[31m\u003cc\u003e","time":"T"}"#);
        insta::assert_snapshot!(render(Format::Logstash), @r#"{"@timestamp":"T","@version":"1","component-type":"plugin","level":"warning","message":"a \"b\" �[31m\u003cc\u003e"}"#);
    }

    #[test]
    fn an_unknown_format_is_refused_with_v1s_text() {
        let error = Format::parse(Some("xml")).unwrap_err().to_string();
        assert_eq!(error, "CONFIG_INVALID: unsupported logging formatter: xml");
        assert_eq!(Format::parse(Some("logstash")).unwrap(), Format::Logstash);
    }

    #[test]
    fn levels_are_v1s_in_any_case() {
        assert_eq!(level_named("WARN"), Some((LevelFilter::WARN, "warning")));
        assert_eq!(level_named("verbose"), None);
    }
}
