//! [`Export`]: takes spans from the queue and sends them, a batch at a time. A collector that is away
//! or slow costs the spans and a line of the log once a minute.

use std::{sync::Arc, time::Duration};

use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    encode,
    options::OtlpOptions,
    queue::{Spans, Waiting},
    record::Record,
};

/// How often it is said that a collector takes nothing.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// An answer is a few bytes: how many were refused, and why.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// How often a batch is sent again where the collector asks for it.
const RETRIES: u32 = 3;
/// Between two attempts, at first; then twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// Sends spans.
pub(super) struct Export {
    client: Client,
    options: OtlpOptions,
    headers: HeaderMap,
    spans: Arc<Spans>,
    said: Option<Instant>,
}

/// Why a batch was not taken.
struct Failed {
    why: String,
    /// After this the same may be sent again.
    again: Option<Duration>,
}

impl Export {
    pub(super) fn new(client: Client, options: OtlpOptions, spans: Arc<Spans>) -> Self {
        let mut headers = options.headers.clone();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/x-protobuf"));
        Self { client, options, headers, spans, said: None }
    }

    /// Sends until it is told to end; then what is there still.
    pub(super) async fn run(mut self, mut waiting: Waiting, mut end: oneshot::Receiver<()>) {
        let mut is_over = false;
        while !is_over {
            let first = tokio::select! {
                biased;
                _ = &mut end => break,
                first = waiting.next() => first,
            };
            let Some(first) = first else { break };
            let (mut batch, due) = (vec![first], Instant::now() + self.options.delay);
            while batch.len() < self.options.batch_spans {
                tokio::select! {
                    biased;
                    _ = &mut end => {
                        is_over = true;
                        break;
                    }
                    Some(next) = waiting.next() => batch.push(next),
                    () = sleep_until(due) => break,
                }
            }
            self.send(batch).await;
        }
        loop {
            let mut batch = Vec::new();
            waiting.fill(&mut batch, self.options.batch_spans);
            if batch.is_empty() {
                return;
            }
            self.send(batch).await;
        }
    }

    async fn send(&mut self, batch: Vec<Record>) {
        let count = batch.len();
        let body = encode::request(&self.options.attributes, &batch);
        drop(batch);
        match self.send_body(body.into()).await {
            Ok(refused) => {
                let refused = usize::try_from(refused).unwrap_or(0).min(count);
                self.spans.add_sent(count - refused);
                self.spans.add_lost(refused);
                if refused > 0 {
                    self.say(&format!("it refuses {refused} of {count} spans"));
                }
            }
            Err(why) => {
                self.spans.add_lost(count);
                self.say(&why);
            }
        }
    }

    /// How many spans of it the collector refused.
    async fn send_body(&self, body: bytes::Bytes) -> Result<u64, String> {
        let (end, mut pause) = (Instant::now() + self.options.timeout, PAUSE);
        let mut left = RETRIES;
        loop {
            let failed = match timeout_at(end, self.attempt(body.clone())).await {
                Ok(Ok(refused)) => return Ok(refused),
                Ok(Err(failed)) => failed,
                Err(_) => return Err("it does not answer in time".to_owned()),
            };
            let wait = failed.again.map(|again| again.max(pause));
            let wait = wait.filter(|wait| left > 0 && Instant::now() + *wait < end);
            let Some(wait) = wait else { return Err(failed.why) };
            sleep(wait).await;
            (left, pause) = (left - 1, pause * 2);
        }
    }

    async fn attempt(&self, body: bytes::Bytes) -> Result<u64, Failed> {
        let request = self.client.post(self.options.endpoint.clone());
        let sent = request.headers(self.headers.clone()).body(body).send().await;
        let response = sent.map_err(|error| Failed {
            why: ratify_core::capped_line(&causes(&error.without_url()), 300),
            again: Some(Duration::ZERO),
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(refused(response).await);
        }
        // The OTLP specification, "Retryable Response Codes".
        let passes = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        Err(Failed { why: said(status), again: passes.then(|| retry_after(&response)) })
    }

    /// Once a minute at most.
    fn say(&mut self, why: &str) {
        let now = Instant::now();
        if self.said.is_some_and(|said| now < said + SAY_AGAIN) {
            return;
        }
        self.said = Some(now);
        let (counts, shown) = (self.spans.counts(), self.options.shown());
        tracing::warn!(
            component_type = "server",
            "the collector of traces at {shown} takes no spans: {why} ({} lost so far, {} dropped for lack of room)",
            counts.lost,
            counts.dropped
        );
    }
}

/// How many spans an answer says were refused; one that cannot be read says nothing.
async fn refused(mut response: Response) -> u64 {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return 0;
        }
        body.extend_from_slice(&piece);
    }
    encode::refused(&body)
}

fn said(status: StatusCode) -> String {
    format!("it answers {} {}", status.as_u16(), status.canonical_reason().unwrap_or_default())
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Duration::from_secs(seconds.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0))
}

fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
