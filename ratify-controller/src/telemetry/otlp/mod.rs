//! Traces to a collector, by OTLP over HTTP. The most important items are [`Traces`], which is what
//! the process has of it, and [`OtlpOptions`], which is what the environment says.
//!
//! A span that ends is put into a queue that is bounded in spans and bytes, or is dropped and counted.
//! One task takes them from there and sends them; nobody waits for it but the end of the process, and
//! that not for long.
//!
//! - `options`: the variables; `record`: a span, and where it is in its trace; `layer`: what makes it of
//!   what the code says; `queue`: what waits to be sent; `export`: who sends it; `client`: over which
//!   connections; `encode`: as which bytes.

mod client;
mod encode;
mod export;
mod layer;
mod options;
mod queue;
mod record;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ratify_store_oras::TlsRoots;
use tokio::sync::oneshot;

use super::{SpanReader, sent::SpanCounts};
use export::Export;
use queue::{Spans, Waiting};

pub(super) use layer::{adopt, link, place_of};
pub use options::{OtlpError, OtlpOptions};
pub(super) use record::Place;

/// Traces of this process, on their way to a collector.
#[derive(Clone)]
pub struct Traces(Arc<Inner>);

struct Inner {
    options: OtlpOptions,
    spans: Arc<Spans>,
    state: Mutex<State>,
}

enum State {
    /// Nobody sends yet.
    New(Waiting),
    /// Somebody does, until told; then says that it is done.
    Sending {
        end: oneshot::Sender<()>,
        done: oneshot::Receiver<()>,
    },
    Ended,
}

impl Traces {
    /// What reads spans, and what is to send them.
    pub(crate) fn new(options: OtlpOptions) -> (Self, SpanReader) {
        let (queue, waiting) = queue::queue(options.queue_spans);
        let spans = queue.spans();
        let reader = layer::reader(options.sampling, queue);
        let state = Mutex::new(State::New(waiting));
        (Self(Arc::new(Inner { options, spans, state })), reader)
    }

    /// Begins to send. It must be called within a runtime, and does nothing the second time.
    ///
    /// # Errors
    /// When a file of certificates that the environment names cannot be used.
    pub fn begin(&self, roots: &TlsRoots) -> Result<(), OtlpError> {
        let mut state = self.lock();
        if !matches!(*state, State::New(_)) {
            return Ok(());
        }
        let client = client::client(&self.0.options, roots)?;
        let (end, ending) = oneshot::channel();
        let (say_done, done) = oneshot::channel();
        let before = std::mem::replace(&mut *state, State::Sending { end, done });
        if let State::New(waiting) = before {
            let (options, spans) = (self.0.options.clone(), Arc::clone(&self.0.spans));
            let export = Export::new(client, options, spans);
            tokio::spawn(async move {
                export.run(waiting, ending).await;
                let _ = say_done.send(());
            });
        }
        Ok(())
    }

    /// Sends what waits, and ends. It takes no longer than this, and says so where that is too short.
    pub async fn end(&self, within: Duration) {
        let before = std::mem::replace(&mut *self.lock(), State::Ended);
        if let State::Sending { end, done } = before {
            let _ = end.send(());
            if tokio::time::timeout(within, done).await.is_err() {
                let (shown, seconds) = (self.shown(), within.as_secs());
                tracing::warn!(
                    component_type = "server",
                    "the last spans are lost: {shown} has not taken them within {seconds} s"
                );
            }
        }
    }

    /// What became of spans so far.
    pub(crate) fn counts(&self) -> SpanCounts {
        self.0.spans.counts()
    }

    /// Where they are sent, for the log.
    pub fn shown(&self) -> String {
        self.0.options.shown()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
