//! What this process says of its work: the log, on stderr, in v1's three formats, and spans for who
//! reads traces. What may be in either: no secrets, no control characters.
//!
//! Each reader has a filter of its own, so that the log is at its level whatever a trace wants to see.
//! Where nobody reads traces a span's call site is off.
//!
//! - `line`: one line of the log; `told`: what a line has of the work it is written for; `together`:
//!   several lines, written at once;
//! - `spans`: the server's spans; `spot`: where one is in its trace; `parent`: what a request says
//!   that it is part of;
//! - `collect`: the spans of one command, kept for it;
//! - `otlp`: spans, on their way to a collector; `sent`: whether they are.

pub(crate) mod collect;
mod line;
#[cfg(feature = "otlp")]
pub mod otlp;
pub(crate) mod parent;
pub(crate) mod sent;
pub(crate) mod spans;
mod spot;
mod together;
mod told;

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use ratify_core::{
    ErrorCode, Result,
    spans::{TRACE, WORK},
};
use tracing::{Event, Level, Metadata, Subscriber, span, subscriber::Interest};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    layer::{Context, Filter, SubscriberExt as _},
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

pub(crate) use together::{together, together_until_it_waits};
use told::Told;

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

    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Json,
            2 => Self::Logstash,
            _ => Self::Text,
        }
    }
}

/// Who reads spans, with a filter of its own.
pub(crate) type SpanReader = Box<dyn Layer<Registry> + Send + Sync>;

/// The running log. Its level and format are known only after the command line and the
/// configuration have been read.
#[derive(Clone)]
pub struct Telemetry {
    format: Arc<AtomicU8>,
    level: reload::Handle<LogFilter, Registry>,
}

impl Telemetry {
    /// Starts the log of this process, at level info, as text. To be called once, by `main`.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// The same, with somebody who reads spans.
    pub(crate) fn start_with(reader: Option<SpanReader>) -> Self {
        let format = Arc::new(AtomicU8::new(Format::default() as u8));
        let (filter, level) = reload::Layer::new(LogFilter(LevelFilter::INFO));
        let log = LogLayer { format: Arc::clone(&format) }.with_filter(filter);
        let readers: Vec<SpanReader> = std::iter::once(log.boxed()).chain(reader).collect();
        // A second start in one process keeps the first log.
        let _ = tracing_subscriber::registry().with(readers).try_init();
        Self { format, level }
    }

    /// Sets the format.
    pub fn set_format(&self, format: Format) {
        self.format.store(format as u8, Ordering::Relaxed);
    }

    /// Leaves out what is no error: what a command says itself is not said twice.
    pub fn quiet(&self) {
        let _ = self.level.reload(LogFilter(LevelFilter::ERROR));
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
        let _ = self.level.reload(LogFilter(filter));
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

/// What the log takes: lines of its level, and of spans those that say what work it is.
struct LogFilter(LevelFilter);

impl LogFilter {
    fn takes(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return metadata.target() == WORK;
        }
        // Libraries speak at debug and below; what they say above is theirs to fix, not v1's text.
        let own = metadata.target().starts_with("ratify");
        *metadata.level() <= self.0 && (own || *metadata.level() <= Level::WARN)
    }
}

impl<S> Filter<S> for LogFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.takes(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.takes(metadata) { Interest::always() } else { Interest::never() }
    }

    /// Spans are at level info, whatever the log's is.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.max(LevelFilter::INFO))
    }
}

/// What readers of traces take: our spans, and nothing else.
pub(crate) struct OurSpans;

impl OurSpans {
    fn takes(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && matches!(metadata.target(), TRACE | WORK)
    }
}

impl<S> Filter<S> for OurSpans {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        Self::takes(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::takes(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

struct LogLayer {
    format: Arc<AtomicU8>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, of: Context<'_, S>) {
        let Some(span) = of.span(id) else { return };
        let mut told = Told::default();
        attributes.record(&mut told);
        span.extensions_mut().insert(told);
    }

    fn on_event(&self, event: &Event<'_>, of: Context<'_, S>) {
        let format = Format::from_number(self.format.load(Ordering::Relaxed));
        let tell = |add: &mut dyn FnMut(&Told)| {
            let mut spans = of.event_scope(event).into_iter().flatten();
            if let Some(span) = spans.next()
                && let Some(told) = span.extensions().get::<Told>()
            {
                add(told);
            }
        };
        line::with_line(event, format, tell, together::write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_format_is_refused_with_v1s_text() {
        let error = Format::parse(Some("xml")).unwrap_err().to_string();
        assert_eq!(error, "CONFIG_INVALID: unsupported logging formatter: xml");
        assert_eq!(Format::parse(Some("logstash")).unwrap(), Format::Logstash);
        for format in [Format::Text, Format::Json, Format::Logstash] {
            assert_eq!(Format::from_number(format as u8), format);
        }
    }

    #[test]
    fn levels_are_v1s_in_any_case() {
        assert_eq!(level_named("WARN"), Some((LevelFilter::WARN, "warning")));
        assert_eq!(level_named("verbose"), None);
    }
}
