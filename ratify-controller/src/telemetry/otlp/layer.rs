//! What makes records of spans. Where a span is in its trace is kept with it, so that another can be
//! made a part of it, or be linked to it.

use std::{fmt, time::SystemTime};

use tracing::{Span, Subscriber, field, span};
use tracing_subscriber::{Layer, Registry, layer::Context, registry::LookupSpan};

use super::{
    options::Sampling,
    queue::Queue,
    record::{Place, Record, Value},
};
use crate::telemetry::{OurSpans, SpanReader};

/// What reads spans for a queue.
pub(super) fn reader(sampling: Sampling, queue: Queue) -> SpanReader {
    Reader { sampling, queue }.with_filter(OurSpans).boxed()
}

/// Where a span is; `None` where nobody sends traces.
pub(in crate::telemetry) fn place_of(span: &Span) -> Option<Place> {
    let mut place = None;
    with_record(span, |record| place = Some(record.place));
    place
}

/// Makes a span a part of what is there. Nothing is within it yet.
pub(in crate::telemetry) fn adopt(place: Place, span: &Span) {
    with_record(span, |record| {
        record.parent = Some(place);
        record.place.trace_id = place.trace_id;
        record.place.is_sampled = record.sampled_under(place);
    });
}

/// Links a span to what is there.
pub(in crate::telemetry) fn link(place: Place, span: &Span) {
    with_record(span, |record| record.link(place));
}

fn with_record(span: &Span, change: impl FnOnce(&mut Open)) {
    span.with_subscriber(|(id, subscriber)| {
        let registry = subscriber.downcast_ref::<Registry>();
        let Some(span) = registry.and_then(|registry| registry.span(id)) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            change(open);
        }
    });
}

/// A span that has not ended.
struct Open {
    record: Record,
    sampling: Sampling,
}

impl std::ops::Deref for Open {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl std::ops::DerefMut for Open {
    fn deref_mut(&mut self) -> &mut Record {
        &mut self.record
    }
}

impl Open {
    /// Whether it is kept, as a part of what another process says it is a part of.
    fn sampled_under(&self, parent: Place) -> bool {
        self.sampling.keeps(parent.trace_id, Some(parent.is_sampled))
    }
}

struct Reader {
    sampling: Sampling,
    queue: Queue,
}

impl Reader {
    fn begin(&self, parent: Option<Place>, name: &str) -> Option<Record> {
        let mut random = [0; 24];
        // Without random numbers there are no ids, and so no traces.
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let (of_trace, of_span) = random.split_at(16);
        let span_id = u64::from_be_bytes(of_span.try_into().ok()?).max(1);
        let place = match parent {
            Some(parent) => Place { span_id, is_remote: false, ..parent },
            None => {
                let trace_id = u128::from_be_bytes(of_trace.try_into().ok()?).max(1);
                let is_sampled = self.sampling.keeps(trace_id, None);
                Place { trace_id, span_id, is_sampled, is_remote: false }
            }
        };
        Some(Record::begin(place, parent, name))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Reader {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, of: Context<'_, S>) {
        let Some(span) = of.span(id) else { return };
        let parent = span.parent();
        let parent = parent.and_then(|span| span.extensions().get::<Open>().map(|o| o.place));
        let Some(mut record) = self.begin(parent, attributes.metadata().name()) else { return };
        attributes.record(&mut Fields(&mut record));
        span.extensions_mut().insert(Open { record, sampling: self.sampling });
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, of: Context<'_, S>) {
        let Some(span) = of.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(&mut Fields(&mut open.record));
        }
    }

    fn on_follows_from(&self, id: &span::Id, follows: &span::Id, of: Context<'_, S>) {
        let (Some(span), Some(other)) = (of.span(id), of.span(follows)) else { return };
        let place = other.extensions().get::<Open>().map(|open| open.place);
        if let (Some(place), Some(open)) = (place, span.extensions_mut().get_mut::<Open>()) {
            open.link(place);
        }
    }

    fn on_close(&self, id: span::Id, of: Context<'_, S>) {
        let Some(span) = of.span(&id) else { return };
        let open = span.extensions_mut().remove::<Open>();
        if let Some(Open { mut record, .. }) = open
            && record.place.is_sampled
        {
            record.ended = SystemTime::now().max(record.began);
            self.queue.put(record);
        }
    }
}

struct Fields<'a>(&'a mut Record);

impl field::Visit for Fields<'_> {
    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.0.note(field.name(), Value::Text(value.to_owned()));
    }

    fn record_u64(&mut self, field: &field::Field, value: u64) {
        self.0.note(field.name(), Value::Number(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_i64(&mut self, field: &field::Field, value: i64) {
        self.0.note(field.name(), Value::Number(value));
    }

    fn record_bool(&mut self, field: &field::Field, value: bool) {
        self.0.note(field.name(), Value::Bool(value));
    }

    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.0.note(field.name(), Value::Text(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use ratify_core::spans::TRACE;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{
        super::{options::Sampling, queue::queue},
        *,
    };

    /// What is sent of what is done.
    fn sent(sampling: Sampling, work: impl FnOnce()) -> Vec<Record> {
        let (queue, mut waiting) = queue(100);
        let readers = vec![reader(sampling, queue)];
        tracing::subscriber::with_default(tracing_subscriber::registry().with(readers), work);
        let mut records = Vec::new();
        waiting.fill(&mut records, 100);
        records
    }

    macro_rules! ours {
        ($name:literal) => {
            tracing::info_span!(target: TRACE, $name, "otel.status_code" = field::Empty, n = 1)
        };
    }

    #[test]
    fn a_span_is_within_the_one_around_it_and_a_librarys_is_none() {
        let records = sent(Sampling::ALL, || {
            let outer = ours!("outer");
            let _entered = outer.enter();
            tracing::info_span!("of a library").in_scope(|| {
                let inner = ours!("inner");
                inner.record("otel.status_code", "ERROR");
                inner.follows_from(&outer);
            });
        });
        let [inner, outer] = &records[..] else { panic!("{records:?}") };
        assert_eq!((inner.name.as_str(), outer.name.as_str()), ("inner", "outer"));
        assert_eq!((inner.parent, outer.parent), (Some(outer.place), None));
        assert_eq!(inner.place.trace_id, outer.place.trace_id);
        assert_eq!((inner.links.as_slice(), outer.links.as_slice()), (&[outer.place][..], &[][..]));
        assert_eq!((inner.failure.as_deref(), outer.failure.as_deref()), (Some(""), None));
        assert_eq!(inner.attributes, [("n", Value::Number(1))]);
    }

    #[test]
    fn a_span_becomes_a_part_of_what_outlives_it_or_of_another_processs() {
        let place = Place { trace_id: 7, span_id: 8, is_sampled: true, is_remote: true };
        let records = sent(Sampling::ALL, || {
            let span = ours!("adopted");
            adopt(place, &span);
            assert_eq!(place_of(&span).unwrap().trace_id, 7);
            span.in_scope(|| drop(ours!("within")));
            link(place, &span);
        });
        assert!(records.iter().all(|record| record.place.trace_id == 7));
        assert_eq!((records[1].parent, records[1].links.as_slice()), (Some(place), &[place][..]));
        let none = sent(Sampling::ALL, || {
            let span = ours!("adopted");
            adopt(Place { is_sampled: false, ..place }, &span);
            span.in_scope(|| drop(ours!("within")));
        });
        assert!(none.is_empty(), "whoever began the trace does not keep it");
        assert_eq!(place_of(&Span::none()), None);
    }
}
