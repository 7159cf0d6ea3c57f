//! [`Queue`]: spans that have ended and are not sent yet, bounded in number and in bytes. Who ends one
//! never waits: where there is no room it is dropped, and counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::record::Record;
use crate::telemetry::sent::SpanCounts;

/// More than the largest queue of spans has.
const MAX_BYTES: usize = 8 << 20;

/// What became of spans, and how many bytes of them wait.
#[derive(Debug, Default)]
pub(super) struct Spans {
    sent: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    bytes: AtomicUsize,
}

/// Where spans go when they end.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Sender<Record>,
    spans: Arc<Spans>,
}

/// The other end.
#[derive(Debug)]
pub(super) struct Waiting(Receiver<Record>, Arc<Spans>);

/// A queue of so many spans.
pub(super) fn queue(most: usize) -> (Queue, Waiting) {
    let (sender, receiver) = channel(most.max(1));
    let spans = Arc::<Spans>::default();
    (Queue { sender, spans: Arc::clone(&spans) }, Waiting(receiver, spans))
}

impl Spans {
    /// The counts.
    pub(super) fn counts(&self) -> SpanCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SpanCounts { sent: read(&self.sent), lost: read(&self.lost), dropped: read(&self.dropped) }
    }

    pub(super) fn add_sent(&self, spans: usize) {
        self.sent.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn add_lost(&self, spans: usize) {
        self.lost.fetch_add(spans as u64, Ordering::Relaxed);
    }

    fn take_room(&self, bytes: usize) -> bool {
        let order = Ordering::Relaxed;
        let more = |waiting: usize| Some(waiting + bytes).filter(|sum| *sum <= MAX_BYTES);
        self.bytes.fetch_update(order, order, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Queue {
    pub(super) fn spans(&self) -> Arc<Spans> {
        Arc::clone(&self.spans)
    }
}

impl Queue {
    /// Puts a span in, or drops it.
    pub(super) fn put(&self, span: Record) {
        let bytes = span.bytes();
        if self.spans.take_room(bytes) {
            if self.sender.try_send(span).is_ok() {
                return;
            }
            self.spans.give_back(bytes);
        }
        self.spans.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Waiting {
    /// The next span, once there is one; `None` where there will be none.
    pub(super) async fn next(&mut self) -> Option<Record> {
        let span = self.0.recv().await?;
        self.1.give_back(span.bytes());
        Some(span)
    }

    /// Adds those that are there, so that there are at most so many.
    pub(super) fn fill(&mut self, batch: &mut Vec<Record>, most: usize) {
        while batch.len() < most
            && let Ok(span) = self.0.try_recv()
        {
            self.1.give_back(span.bytes());
            batch.push(span);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::record::{Place, Value},
        *,
    };

    fn span(text: &str) -> Record {
        let place = Place { trace_id: 1, span_id: 2, is_sampled: true, is_remote: false };
        let mut record = Record::begin(place, None, "a");
        record.note("k", Value::Text(text.to_owned()));
        record
    }

    #[tokio::test]
    async fn what_has_no_room_is_dropped_and_counted_and_what_is_taken_gives_its_room_back() {
        let (queue, mut waiting) = queue(3);
        for _ in 0..5 {
            queue.put(span("x"));
        }
        assert_eq!((waiting.len(), queue.spans.counts().dropped), (3, 2));
        let mut batch = vec![waiting.next().await.unwrap()];
        waiting.fill(&mut batch, 2);
        assert_eq!((batch.len(), waiting.len()), (2, 1));
        waiting.fill(&mut batch, 9);
        assert_eq!(queue.spans.bytes.load(Ordering::Relaxed), 0);
        let large = "x".repeat(MAX_BYTES / 2);
        for _ in 0..3 {
            queue.put(span(&large));
        }
        assert_eq!((waiting.len(), queue.spans.counts().dropped), (1, 4));
    }
}
