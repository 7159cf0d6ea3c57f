//! [`Record`]: a span as a collector is told of it.

use std::time::SystemTime;

use crate::telemetry::parent::Parent;

/// More links than this are left out.
const MAX_LINKS: usize = 32;

/// Where a span is in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::telemetry) struct Place {
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    pub(super) is_sampled: bool,
    /// Whether it is another process's.
    pub(super) is_remote: bool,
}

/// What a span says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Bool(bool),
}

/// What a span is to others (OTLP's numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// A span that has begun, and at last has ended.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) place: Place,
    /// The span that it is within.
    pub(super) parent: Option<Place>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) links: Vec<Place>,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
}

impl Place {
    /// Where another process says that it is.
    pub(in crate::telemetry) fn of_parent(parent: Parent) -> Self {
        let Parent { trace_id, span_id, is_sampled } = parent;
        Self { trace_id, span_id, is_sampled, is_remote: true }
    }

    /// The id of the trace, as 32 hexadecimal digits.
    pub(in crate::telemetry) fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl Record {
    /// One that begins now.
    pub(super) fn begin(place: Place, parent: Option<Place>, name: &str) -> Self {
        let now = SystemTime::now();
        Self {
            place,
            parent,
            name: name.to_owned(),
            kind: Kind::Internal,
            began: now,
            ended: now,
            attributes: Vec::new(),
            links: Vec::new(),
            failure: None,
        }
    }

    /// Takes note of a field. Some say what OpenTelemetry calls the span itself.
    pub(super) fn note(&mut self, field: &'static str, value: Value) {
        match (field, value) {
            ("otel.name", Value::Text(name)) => self.name = name,
            ("otel.kind", Value::Text(kind)) => {
                self.kind = match kind.as_str() {
                    "server" => Kind::Server,
                    "client" => Kind::Client,
                    _ => Kind::Internal,
                }
            }
            ("otel.status_code", _) => {
                self.failure.get_or_insert_default();
            }
            ("otel.status_description", Value::Text(why)) => self.failure = Some(why),
            (field, value) => {
                self.attributes.retain(|(known, _)| *known != field);
                self.attributes.push((field, value));
            }
        }
    }

    /// It waits for another, or has its answer.
    pub(super) fn link(&mut self, other: Place) {
        if self.links.len() < MAX_LINKS && !self.links.contains(&other) {
            self.links.push(other);
        }
    }

    /// About how many bytes it has.
    pub(super) fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| {
            let text = if let Value::Text(text) = value { text.len() } else { 0 };
            size_of::<(&str, Value)>() + name.len() + text
        });
        let failure = self.failure.as_ref().map_or(0, String::len);
        size_of::<Self>()
            + self.name.len()
            + failure
            + attributes.sum::<usize>()
            + self.links.len() * size_of::<Place>()
    }
}
