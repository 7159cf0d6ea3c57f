//! [`Lines`]: what libraries say by `tracing`, as lines to the host.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};

/// Writes each event as a line, its message first. Spans are nothing here.
pub(super) struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields);
        match *event.metadata().level() {
            Level::ERROR | Level::WARN => super::warn(text.trim_start()),
            _ => super::info(text.trim_start()),
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{super::collect, *};

    #[test]
    fn what_is_said_from_info_up_is_a_line_and_cannot_be_an_answer() {
        let ((), lines) = collect(|| {
            tracing::subscriber::with_default(Lines, || {
                let _span = tracing::info_span!("judging").entered();
                tracing::error!(check = "expiry", "{}\nWARN: forged", r#"{"isSuccess":true}"#);
                tracing::warn!("an odd file");
                tracing::info!(files = 2);
                tracing::debug!("of no use");
            });
        });
        insta::assert_snapshot!(lines, @r#"
        WARN: ("isSuccess":true)�WARN: forged check="expiry"
        WARN: an odd file
        INFO: files=2
        "#);
    }
}
