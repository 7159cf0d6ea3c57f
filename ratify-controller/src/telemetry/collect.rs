//! [`Collector`]: keeps the spans of one command, for who wants to know how it came to its result.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use tracing::{Subscriber, field, span};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{OurSpans, SpanReader};

/// An image with a thousand artifacts has some ten thousand; what is more is counted only.
const MAX_SPANS: usize = 20_000;

/// Keeps spans.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Collected>>);

/// What was kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collected {
    /// In the order in which they began.
    pub(crate) spans: Vec<Kept>,
    /// How many more there were.
    pub(crate) left_out: usize,
}

/// One span.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) name: &'static str,
    /// The span that it is within.
    pub(crate) parent: Option<usize>,
    pub(crate) fields: Map<String, Value>,
    /// How long it took; `None` where it has not ended.
    pub(crate) took: Option<Duration>,
    began: Instant,
}

/// Where a span is kept.
struct Index(usize);

impl Collector {
    /// What reads spans for it.
    pub(crate) fn reader(&self) -> SpanReader {
        Reader(self.clone()).with_filter(OurSpans).boxed()
    }

    /// What was kept so far.
    pub(crate) fn collected(&self) -> Collected {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader(Collector);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Reader {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, of: Context<'_, S>) {
        let Some(span) = of.span(id) else { return };
        let parent = span.parent();
        let parent = parent.and_then(|span| span.extensions().get::<Index>().map(|at| at.0));
        let mut collected = self.0.lock();
        if collected.spans.len() >= MAX_SPANS {
            collected.left_out += 1;
            return;
        }
        let mut kept = Kept {
            name: attributes.metadata().name(),
            parent,
            fields: Map::new(),
            took: None,
            began: Instant::now(),
        };
        attributes.record(&mut Fields(&mut kept.fields));
        span.extensions_mut().insert(Index(collected.spans.len()));
        collected.spans.push(kept);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, of: Context<'_, S>) {
        self.change(id, &of, |kept| values.record(&mut Fields(&mut kept.fields)));
    }

    fn on_close(&self, id: span::Id, of: Context<'_, S>) {
        self.change(&id, &of, |kept| kept.took = Some(kept.began.elapsed()));
    }
}

impl Reader {
    fn change<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        id: &span::Id,
        of: &Context<'_, S>,
        change: impl FnOnce(&mut Kept),
    ) {
        let Some(span) = of.span(id) else { return };
        let index = span.extensions().get::<Index>().map(|at| at.0);
        let mut collected = self.0.lock();
        if let Some(kept) = index.and_then(|index| collected.spans.get_mut(index)) {
            change(kept);
        }
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn add(&mut self, field: &field::Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl field::Visit for Fields<'_> {
    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &field::Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &field::Field, value: i64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &field::Field, value: bool) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use ratify_core::spans::TRACE;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn spans_are_kept_with_their_fields_and_where_they_are_and_nothing_of_libraries() {
        let collector = Collector::default();
        let subscriber = tracing_subscriber::registry().with(vec![collector.reader()]);
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::info_span!(target: TRACE, "outer", a = 1, b = field::Empty);
            let _entered = outer.enter();
            tracing::info_span!("of a library").in_scope(|| {
                drop(tracing::info_span!(target: TRACE, "inner", "x.y" = true));
            });
            outer.record("b", "text");
            tracing::info!(target: "ratify::trace", "no span");
        });
        let collected = collector.collected();
        let shown: Vec<_> = collected
            .spans
            .iter()
            .map(|kept| (kept.name, kept.parent, Value::from(kept.fields.clone()).to_string()))
            .collect();
        assert_eq!(
            shown,
            [
                ("outer", None, r#"{"a":1,"b":"text"}"#.to_owned()),
                ("inner", Some(0), r#"{"x.y":true}"#.to_owned()),
            ]
        );
        assert!(collected.spans.iter().all(|kept| kept.took.is_some()));
    }
}
