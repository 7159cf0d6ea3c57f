//! [`Spot`]: where a span is in its trace, for what outlives it. Nothing where there are no traces.

use tracing::Span;

/// The place of a span in a trace.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spot(#[cfg(feature = "otlp")] Option<super::otlp::Place>);

#[cfg(feature = "otlp")]
impl Spot {
    /// That of the span around.
    pub(crate) fn here() -> Self {
        Self::of(&Span::current())
    }

    pub(crate) fn of(span: &Span) -> Self {
        Self(super::otlp::place_of(span))
    }

    /// Makes a span that has not begun a part of what is here.
    pub(crate) fn adopt(self, span: &Span) {
        if let Some(place) = self.0 {
            super::otlp::adopt(place, span);
        }
    }

    /// Links a span to what is here: it waits for it, or has it from there.
    pub(crate) fn link(self, span: &Span) {
        if let Some(place) = self.0 {
            super::otlp::link(place, span);
        }
    }

    /// Where a `traceparent` of W3C's says that a request comes from.
    pub(crate) fn of_parent(parent: super::parent::Parent) -> Self {
        Self(Some(super::otlp::Place::of_parent(parent)))
    }

    /// The id of the trace, as 32 hexadecimal digits.
    pub(crate) fn trace_id(self) -> Option<String> {
        self.0.map(super::otlp::Place::trace_id)
    }
}

#[cfg(not(feature = "otlp"))]
#[allow(clippy::unused_self, reason = "as it is with traces")]
impl Spot {
    pub(crate) fn here() -> Self {
        Self()
    }

    pub(crate) fn of(_: &Span) -> Self {
        Self()
    }

    pub(crate) fn adopt(self, _: &Span) {}

    pub(crate) fn link(self, _: &Span) {}

    pub(crate) fn of_parent(_: super::parent::Parent) -> Self {
        Self()
    }

    pub(crate) fn trace_id(self) -> Option<String> {
        None
    }
}
