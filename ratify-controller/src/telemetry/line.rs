//! [`Line`]: one line of the log, in v1's three formats. Its buffers are used again and again, so
//! that a line costs no allocation: how fast a cached verdict is answered is for the most part how
//! fast it is logged.

use std::{cell::RefCell, fmt, fmt::Write as _, ops::Range};

use jiff::Timestamp;
use ratify_core::go_json;
use tracing::{Event, Level, Metadata, callsite::Identifier, field};

use super::{Format, told::Told};
use crate::timestamp;

/// A larger buffer is not kept for the next line.
const MAX_KEPT: usize = 64 << 10;

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
}

/// The message and the fields of one event, and what is written of them.
#[derive(Default)]
struct Line {
    /// Who logged last, and whether its fields come in order.
    last: Option<(Identifier, bool)>,
    /// All texts, one after the other.
    texts: String,
    message: Range<usize>,
    /// In the order in which they were given; of two with one name the later one counts.
    fields: Vec<(&'static str, Range<usize>)>,
    written: String,
}

/// Hands an event, as a line, to whoever writes it.
pub(super) fn with_line(
    event: &Event<'_>,
    format: Format,
    told: impl FnOnce(&mut dyn FnMut(&Told)),
    write: impl FnOnce(&[u8]),
) {
    let make = |line: &mut Line| {
        line.clear();
        let (level, now) = (*event.metadata().level(), Timestamp::now());
        if format == Format::Text && line.comes_in_order(event.metadata()) {
            push_head(level, now, &mut line.written);
            let start = line.written.len();
            event.record(&mut InOrder(&mut line.written));
            clean(&mut line.written, start);
            line.written.push('\n');
        } else {
            event.record(line);
            if !line.has("trace_id") {
                told(&mut |told| line.tell(told));
            }
            line.render(format, level, now);
        }
        write(line.written.as_bytes());
        line.shrink();
    };
    LINE.with(|line| match line.try_borrow_mut() {
        Ok(mut line) => make(&mut line),
        // A value that logs while it is written.
        Err(_) => make(&mut Line::default()),
    });
}

impl Line {
    fn clear(&mut self) {
        self.texts.clear();
        self.message = 0..0;
        self.fields.clear();
        self.written.clear();
    }

    fn shrink(&mut self) {
        self.texts.shrink_to(MAX_KEPT);
        self.written.shrink_to(MAX_KEPT);
    }

    /// Whether the fields of an event can be written as they come: the message first, then the others
    /// by name, each once, and all that the work around it would add.
    fn comes_in_order(&mut self, of: &'static Metadata<'static>) -> bool {
        let callsite = of.callsite();
        if let Some((last, comes)) = &self.last
            && *last == callsite
        {
            return *comes;
        }
        let names: Vec<&str> = of.fields().iter().map(|field| field.name()).collect();
        let comes = names.split_first().is_some_and(|(first, others)| {
            let is_by_name = others.windows(2).all(|pair| is_before(pair[0], pair[1]));
            *first == "message" && is_by_name && others.contains(&"trace_id")
        });
        self.last = Some((callsite, comes));
        comes
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| *known == name)
    }

    /// What the work says that a line was written for.
    fn tell(&mut self, told: &Told) {
        self.add("trace_id", |texts| texts.push_str(&told.trace_id));
        if !self.has("namespace") {
            self.add("namespace", |texts| texts.push_str(&told.namespace));
        }
    }

    fn add(&mut self, name: &'static str, write: impl FnOnce(&mut String)) {
        let start = self.texts.len();
        write(&mut self.texts);
        clean(&mut self.texts, start);
        let text = start..self.texts.len();
        if name == "message" {
            self.message = text;
        } else {
            self.fields.push((name, text));
        }
    }

    fn render(&mut self, format: Format, level: Level, at: Timestamp) {
        if format == Format::Text {
            self.sort();
            let (texts, to) = (&self.texts, &mut self.written);
            push_head(level, at, to);
            to.push_str(&texts[self.message.clone()]);
            for (name, text) in &self.fields {
                push_field(name, to);
                to.push_str(&texts[text.clone()]);
            }
            to.push('\n');
            return;
        }
        let (message, time) = match format {
            Format::Logstash => ("message", "@timestamp"),
            _ => ("msg", "time"),
        };
        let text = self.message.clone();
        self.fields.push((message, text));
        self.add("level", |texts| texts.push_str(named(level)));
        self.add(time, |texts| timestamp::push(at, texts));
        if format == Format::Logstash {
            self.add("@version", |texts| texts.push('1'));
        }
        self.sort();
        self.push_object();
    }

    fn push_object(&mut self) {
        let (texts, to) = (&self.texts, &mut self.written);
        to.push('{');
        for (index, (name, text)) in self.fields.iter().enumerate() {
            to.push_str(if index == 0 { "\"" } else { ",\"" });
            push_name(to, name);
            to.push_str("\":");
            // A text can be written.
            let _ = go_json::push_string(&texts[text.clone()], to);
        }
        to.push_str("}\n");
    }

    /// By name, each once. Most are written in that order.
    fn sort(&mut self) {
        let is_in_order = |pair: &[(&'static str, Range<usize>)]| is_before(pair[0].0, pair[1].0);
        if self.fields.windows(2).all(is_in_order) {
            return;
        }
        let key = |name: &'static str| name.bytes().map(hyphened);
        self.fields.sort_by(|(a, _), (b, _)| key(a).cmp(key(b)));
        self.fields.dedup_by(|later, first| {
            let is_same = key(later.0).eq(key(first.0));
            if is_same {
                first.1 = later.1.clone();
            }
            is_same
        });
    }
}

impl field::Visit for Line {
    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.add(field.name(), |texts| texts.push_str(value));
    }

    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        self.add(field.name(), |texts| {
            let _ = write!(texts, "{value:?}");
        });
    }
}

/// Writes fields as text, as they come. Who has it write cleans them, all at once.
struct InOrder<'a>(&'a mut String);

impl InOrder<'_> {
    fn name(&mut self, field: &field::Field) {
        if field.name() != "message" {
            push_field(field.name(), self.0);
        }
    }
}

impl field::Visit for InOrder<'_> {
    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.name(field);
        self.0.push_str(value);
    }

    fn record_bool(&mut self, field: &field::Field, value: bool) {
        self.name(field);
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.name(field);
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value:?}");
    }
}

/// What a line of text begins with, up to the message.
fn push_head(level: Level, at: Timestamp, to: &mut String) {
    to.push_str("time=");
    timestamp::push(at, to);
    to.push_str(" level=");
    to.push_str(named(level));
    to.push_str(" msg=");
}

fn push_field(name: &str, to: &mut String) {
    match name {
        // On every line.
        "component_type" => to.push_str(" component-type="),
        "trace_id" => to.push_str(" trace-id="),
        name => {
            to.push(' ');
            push_name(to, name);
            to.push('=');
        }
    }
}

fn named(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// v1's names have hyphens, Rust's cannot.
fn hyphened(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte }
}

fn is_before(one: &str, other: &str) -> bool {
    one.bytes().map(hyphened).lt(other.bytes().map(hyphened))
}

fn push_name(to: &mut String, name: &str) {
    if !name.as_bytes().contains(&b'_') {
        return to.push_str(name);
    }
    for (index, part) in name.split('_').enumerate() {
        if index > 0 {
            to.push('-');
        }
        to.push_str(part);
    }
}

/// Control characters are replaced; line breaks stay, since v1 logs a response over several lines.
/// Text from outside has lost its line breaks before it comes here.
fn clean(texts: &mut String, from: usize) {
    if ratify_core::is_printable_ascii(&texts[from..]) {
        return;
    }
    let added = texts.split_off(from);
    for (index, line) in added.split('\n').enumerate() {
        if index > 0 {
            texts.push('\n');
        }
        texts.push_str(&ratify_core::without_control_characters(line));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{LazyLock, Mutex};

    use tracing::Subscriber;
    use tracing_subscriber::{
        Layer,
        layer::{Context, SubscriberExt as _},
    };

    use super::*;

    fn rendered(format: Format, fill: impl FnOnce(&mut Line)) -> String {
        let mut line = Line::default();
        fill(&mut line);
        line.render(format, Level::WARN, "2026-11-24T14:56:58.5Z".parse().unwrap());
        line.written
    }

    fn fill(line: &mut Line) {
        line.add("message", |to| to.push_str("a \"b\" \x1b[31m<c>"));
        line.add("component_type", |to| to.push_str("plugin"));
        line.add("artifact", |to| to.push_str("x\ny\u{202e}z"));
        line.add("component_type", |to| to.push_str("server"));
    }

    #[test]
    fn the_three_formats_are_v1s() {
        let render = |format| rendered(format, fill);
        insta::assert_snapshot!(render(Format::Text), @"
        time=2026-11-24T14:56:58.5Z level=warning msg=a \"b\" �[31m<c> artifact=x
        y�z component-type=server
        ");
        insta::assert_snapshot!(render(Format::Json), @r#"{"artifact":"x\ny�z","component-type":"server","level":"warning","msg":"a \"b\" �[31m\u003cc\u003e","time":"2026-11-24T14:56:58.5Z"}"#);
        insta::assert_snapshot!(render(Format::Logstash), @r#"{"@timestamp":"2026-11-24T14:56:58.5Z","@version":"1","artifact":"x\ny�z","component-type":"server","level":"warning","message":"a \"b\" �[31m\u003cc\u003e"}"#);
    }

    /// Keeps the lines of its thread, behind their times, and whether they were written as they came.
    #[derive(Default)]
    struct Lines(Mutex<Vec<(String, bool)>>);

    impl<S: Subscriber> Layer<S> for &'static Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut kept = String::new();
            let keep = |line: &[u8]| kept = String::from_utf8(line.to_vec()).unwrap();
            with_line(event, Format::Text, |_| {}, keep);
            let (_, behind) = kept.split_once(' ').unwrap();
            let came = LINE.with_borrow(|line| line.last.as_ref().is_some_and(|last| last.1));
            self.0.lock().unwrap().push((behind.to_owned(), came));
        }
    }

    #[test]
    fn fields_that_come_in_order_are_written_as_they_come_and_others_as_if_they_did() {
        static LINES: LazyLock<Lines> = LazyLock::new(Lines::default);
        let (bad, number) = ("a\u{202e}\x1bb", 7);
        let both = || {
            tracing::info!(component_type = "c", namespace = bad, took = %number, trace_id = "t", "m {bad}");
            tracing::info!(trace_id = "t", took = %number, namespace = bad, component_type = "c", "m {bad}");
        };
        let subscriber = tracing_subscriber::registry().with(&*LINES);
        tracing::subscriber::with_default(subscriber, || (0..2).for_each(|_| both()));
        let lines = LINES.0.lock().unwrap();
        let expected = "level=info msg=m a\u{fffd}\u{fffd}b component-type=c namespace=a\u{fffd}\u{fffd}b took=7 trace-id=t\n";
        let [as_they_came, sorted] = [true, false].map(|came| (expected.to_owned(), came));
        assert_eq!(*lines, [&as_they_came, &sorted, &as_they_came, &sorted].map(Clone::clone));
    }

    #[test]
    fn a_line_within_work_bears_its_trace_id_and_its_namespace_even_an_empty_one() {
        let told = Told { trace_id: "t1".into(), namespace: "".into() };
        let text = rendered(Format::Text, |line| {
            line.add("message", |to| to.push('m'));
            line.tell(&told);
        });
        assert!(text.ends_with(" msg=m namespace= trace-id=t1\n"), "{text}");
    }

    #[test]
    fn no_buffer_stays_large() {
        let mut line = Line::default();
        line.add("message", |to| to.push_str(&"x".repeat(1 << 20)));
        line.render(Format::Json, Level::INFO, Timestamp::UNIX_EPOCH);
        line.clear();
        line.shrink();
        assert!(line.texts.capacity() + line.written.capacity() <= 2 * MAX_KEPT);
    }
}
