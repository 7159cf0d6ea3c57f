//! The bytes of OTLP: protocol buffers of `opentelemetry/proto/collector/trace/v1`, as far as a span of
//! ours has them. Tests read them by the schema.

use std::{collections::BTreeMap, time::SystemTime};

use super::record::{Place, Record, Value};

/// The name of who made the spans.
const SCOPE: &str = "ratify";
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// `ExportTraceServiceRequest`.
pub(super) fn request(resource: &BTreeMap<String, String>, spans: &[Record]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |to| {
            for (name, value) in resource {
                to.message(1, |to| attribute(name, &Value::Text(value.clone()), to));
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.text(1, SCOPE);
                scope.text(2, env!("CARGO_PKG_VERSION"));
            });
            for record in spans {
                scope_spans.message(2, |to| span(record, to));
            }
        });
    });
    request.0
}

fn span(record: &Record, to: &mut Message) {
    ids(record.place, to);
    if let Some(parent) = record.parent {
        to.bytes(4, &parent.span_id.to_be_bytes());
    }
    to.text(5, &record.name);
    to.number(6, record.kind as u64);
    to.fixed64(7, nanoseconds(record.began));
    to.fixed64(8, nanoseconds(record.ended));
    for (name, value) in &record.attributes {
        to.message(9, |to| attribute(name, value, to));
    }
    for place in &record.links {
        to.message(13, |to| {
            ids(*place, to);
            to.fixed32(6, flags(Some(*place)));
        });
    }
    if let Some(failure) = &record.failure {
        to.message(15, |status| {
            status.text(2, failure);
            status.number(3, ERROR);
        });
    }
    to.fixed32(16, flags(record.parent));
}

/// Trace and span, the first two fields of spans and links.
fn ids(place: Place, to: &mut Message) {
    to.bytes(1, &place.trace_id.to_be_bytes());
    to.bytes(2, &place.span_id.to_be_bytes());
}

/// Sampled, and whether the parent is another process's.
fn flags(of: Option<Place>) -> u32 {
    let remote = if of.is_some_and(|place| place.is_remote) { IS_REMOTE } else { 0 };
    1 | HAS_IS_REMOTE | remote
}

fn attribute(name: &str, value: &Value, to: &mut Message) {
    to.text(1, name);
    to.message(2, |any| match value {
        Value::Text(text) => any.bytes(1, text.as_bytes()),
        Value::Bool(yes) => any.number(2, u64::from(*yes)),
        // Two's complement, as the format wants it.
        Value::Number(number) => any.number(3, number.cast_unsigned()),
    });
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// How many spans an `ExportTraceServiceResponse` says were refused; 0 where it says nothing, or is
/// none.
pub(super) fn refused(answer: &[u8]) -> u64 {
    let partial = field(answer, 1).and_then(Result::ok);
    let count = partial.and_then(|partial| field(partial, 1)).and_then(Result::err);
    count.unwrap_or(0)
}

/// The first field of a number: its bytes, or, as the error, what it counts.
fn field(mut message: &[u8], wanted: u64) -> Option<Result<&[u8], u64>> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let found = match key & 7 {
            0 => Err(varint(&mut message)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                Ok(bytes)
            }
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some(found);
        }
    }
    None
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7f) as u8);
    }

    fn key(&mut self, field: u64, type_: u64) {
        self.varint(field << 3 | type_);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.key(field, 0);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u64, number: u64) {
        self.key(field, 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, number: u32) {
        self.key(field, 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// What is empty is what is absent.
    fn text(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
#[path = "../../../tests/suite/cli/traces/schema.rs"]
mod schema;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::record::Kind, *};

    #[test]
    fn every_field_is_read_by_the_schema_as_it_was_meant() {
        let place = Place { trace_id: 1 << 100, span_id: 2, is_sampled: true, is_remote: true };
        let here = Place { span_id: u64::MAX, is_remote: false, ..place };
        let mut record = Record::begin(here, Some(place), "n\u{e4}me");
        record.ended = record.began + Duration::from_nanos(5);
        record.kind = Kind::Client;
        record.note("a text", Value::Text("x".repeat(300)));
        record.note("empty", Value::Text(String::new()));
        record.note("number", Value::Number(-1));
        record.note("bool", Value::Bool(false));
        record.note("otel.status_description", Value::Text("why".into()));
        record.link(place);
        let resource = BTreeMap::from([("service.name".to_owned(), "gate".to_owned())]);
        let read = schema::request(&request(&resource, &[record.clone(), record]));
        assert_eq!(read.resources, [resource]);
        assert_eq!(read.scopes, [("ratify".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        let [span, same] = &read.spans[..] else { panic!("{read:?}") };
        assert_eq!(span, same);
        let (trace, parent) = (place.trace_id.to_be_bytes(), place.span_id.to_be_bytes());
        assert_eq!((&span.trace_id[..], &span.span_id[..]), (&trace[..], &[255; 8][..]));
        assert_eq!(span.parent_span_id, parent);
        assert_eq!((span.name.as_str(), span.kind, span.flags), ("n\u{e4}me", 3, 0x301));
        assert_eq!(span.end - span.start, 5);
        let attributes: Vec<_> = span.attributes.iter().map(|(k, v)| (&**k, &**v)).collect();
        let long = "x".repeat(300);
        let expected = [("a text", &*long), ("bool", "false"), ("empty", ""), ("number", "-1")];
        assert_eq!(attributes, expected);
        assert_eq!(span.links, [(trace.to_vec(), parent.to_vec())]);
        assert_eq!(span.status, Some((2, "why".to_owned())));
    }

    #[test]
    fn an_answer_says_how_many_spans_were_refused_and_one_that_is_none_says_nothing() {
        let said = |rejected: u64| {
            let mut answer = Message::default();
            answer.message(1, |partial| {
                partial.number(1, rejected);
                partial.text(2, "because");
            });
            refused(&answer.0)
        };
        assert_eq!((said(7), said(0), said(300)), (7, 0, 300));
        assert_eq!(refused(b""), 0);
        for length in 0..20 {
            assert_eq!(refused(&vec![0xff; length]), 0);
        }
        assert_eq!((refused(&[0x0a, 0x7f, 0x08]), refused(&[0x0a, 1, 0x08])), (0, 0));
    }
}
