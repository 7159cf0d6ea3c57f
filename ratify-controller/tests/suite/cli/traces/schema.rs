//! OTLP's schema, as far as a span of ours is described by it: the numbers and types are those of
//! `opentelemetry/proto/{collector/trace,trace,common,resource}/v1`. A field that is not known here, or
//! has another type, fails the test.

#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::collections::BTreeMap;

/// `ExportTraceServiceRequest`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Request {
    pub(crate) resources: Vec<BTreeMap<String, String>>,
    /// Name and version.
    pub(crate) scopes: Vec<(String, String)>,
    pub(crate) spans: Vec<Span>,
}

/// `Span`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) trace_id: Vec<u8>,
    pub(crate) span_id: Vec<u8>,
    pub(crate) parent_span_id: Vec<u8>,
    pub(crate) name: String,
    pub(crate) kind: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Trace and span.
    pub(crate) links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Code and message.
    pub(crate) status: Option<(u64, String)>,
    pub(crate) flags: u32,
}

enum Wire<'a> {
    Number(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Reads a request to its last byte.
pub(crate) fn request(bytes: &[u8]) -> Request {
    let mut request = Request::default();
    for (field, wire) in fields(bytes) {
        assert_eq!(field, 1);
        for (field, wire) in fields(wire.bytes()) {
            match field {
                1 => request.resources.push(attributes(wire.bytes())),
                2 => scope_spans(wire.bytes(), &mut request),
                other => panic!("field {other} of ResourceSpans"),
            }
        }
    }
    request
}

fn scope_spans(bytes: &[u8], to: &mut Request) {
    for (field, wire) in fields(bytes) {
        match field {
            1 => {
                let mut scope = [String::new(), String::new()];
                for (field, wire) in fields(wire.bytes()) {
                    scope[usize::try_from(field).unwrap() - 1] = wire.text();
                }
                to.scopes.push(scope.into());
            }
            2 => to.spans.push(span(wire.bytes())),
            other => panic!("field {other} of ScopeSpans"),
        }
    }
}

fn span(bytes: &[u8]) -> Span {
    let mut span = Span::default();
    for (field, wire) in fields(bytes) {
        match (field, wire) {
            (1, Wire::Bytes(id)) => span.trace_id = id.to_vec(),
            (2, Wire::Bytes(id)) => span.span_id = id.to_vec(),
            (4, Wire::Bytes(id)) => span.parent_span_id = id.to_vec(),
            (5, wire) => span.name = wire.text(),
            (6, Wire::Number(kind)) => span.kind = kind,
            (7, Wire::Fixed64(time)) => span.start = time,
            (8, Wire::Fixed64(time)) => span.end = time,
            (9, Wire::Bytes(one)) => span.attributes.extend([attribute(one)]),
            (13, Wire::Bytes(one)) => span.links.push(link(one)),
            (15, Wire::Bytes(one)) => span.status = Some(status(one)),
            (16, Wire::Fixed32(flags)) => span.flags = flags,
            (other, _) => panic!("field {other} of Span"),
        }
    }
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    assert!(matches!(span.parent_span_id.len(), 0 | 8));
    span
}

fn link(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut link = (Vec::new(), Vec::new());
    for (field, wire) in fields(bytes) {
        match (field, wire) {
            (1, Wire::Bytes(id)) => link.0 = id.to_vec(),
            (2, Wire::Bytes(id)) => link.1 = id.to_vec(),
            (6, Wire::Fixed32(_)) => {}
            (other, _) => panic!("field {other} of Link"),
        }
    }
    link
}

fn status(bytes: &[u8]) -> (u64, String) {
    let mut status = (0, String::new());
    for (field, wire) in fields(bytes) {
        match (field, wire) {
            (2, wire) => status.1 = wire.text(),
            (3, Wire::Number(code)) => status.0 = code,
            (other, _) => panic!("field {other} of Status"),
        }
    }
    status
}

fn attributes(bytes: &[u8]) -> BTreeMap<String, String> {
    let all = fields(bytes).into_iter().map(|(field, wire)| {
        assert_eq!(field, 1);
        attribute(wire.bytes())
    });
    all.collect()
}

/// `KeyValue`.
fn attribute(bytes: &[u8]) -> (String, String) {
    let mut read = (String::new(), String::new());
    for (field, wire) in fields(bytes) {
        match field {
            1 => read.0 = wire.text(),
            2 => {
                for (field, wire) in fields(wire.bytes()) {
                    read.1 = match (field, wire) {
                        (1, wire) => wire.text(),
                        (2, Wire::Number(yes)) => (yes == 1).to_string(),
                        (3, Wire::Number(number)) => number.cast_signed().to_string(),
                        (other, _) => panic!("field {other} of AnyValue"),
                    };
                }
            }
            other => panic!("field {other} of KeyValue"),
        }
    }
    read
}

impl<'a> Wire<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => panic!("a message is bytes"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }
}

/// The fields of a message, in their order.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Wire<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let wire = match key & 7 {
            0 => Wire::Number(varint(&mut bytes)),
            1 => Wire::Fixed64(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut bytes);
                Wire::Bytes(take(&mut bytes, usize::try_from(length).unwrap()))
            }
            5 => Wire::Fixed32(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, wire));
    }
    fields
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = from.split_at(length);
    *from = rest;
    taken
}

fn varint(from: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(from, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
    }
    panic!("a number has ten bytes at most")
}
