//! A collector of traces on loopback: it keeps the bytes that it is sent, and reads them by the
//! schema of OTLP.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};

use super::schema::{self, Span};

/// It ends with the test.
pub(super) struct Receiver {
    pub(super) url: String,
    got: Arc<Mutex<Got>>,
    serving: tokio::task::JoinHandle<()>,
}

/// All that was sent.
#[derive(Default, Clone)]
pub(super) struct Got {
    pub(super) bodies: Vec<Bytes>,
    pub(super) headers: Vec<HeaderMap>,
    pub(super) resources: Vec<BTreeMap<String, String>>,
    /// Name and version.
    pub(super) scopes: Vec<(String, String)>,
    pub(super) spans: Vec<Span>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let got = Arc::<Mutex<Got>>::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&got));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, got, serving }
    }

    pub(super) fn got(&self) -> Got {
        self.got.lock().unwrap().clone()
    }
}

async fn take(State(got): State<Arc<Mutex<Got>>>, headers: HeaderMap, body: Bytes) {
    let request = schema::request(&body);
    let mut got = got.lock().unwrap();
    got.resources.extend(request.resources);
    got.scopes.extend(request.scopes);
    got.spans.extend(request.spans);
    got.bodies.push(body);
    got.headers.push(headers);
}

impl Got {
    /// The spans of a trace below one, as an indented list. Of siblings that go on at once the order
    /// is by name.
    pub(super) fn tree(&self, trace_id: &[u8], parent: &[u8]) -> String {
        let mut text = String::new();
        self.add(trace_id, parent, 0, &mut text);
        text
    }

    fn add(&self, trace_id: &[u8], parent: &[u8], depth: usize, to: &mut String) {
        let mut children: Vec<_> = self
            .spans
            .iter()
            .filter(|span| span.trace_id == trace_id && span.parent_span_id == parent)
            .collect();
        children.sort_by_key(|span| (span.start, span.name.clone()));
        for span in children {
            let indent = "  ".repeat(depth);
            to.push_str(&format!("{indent}{}\n", shown(span)));
            assert!(span.start > 0 && span.end >= span.start);
            self.add(trace_id, &span.span_id, depth + 1, to);
        }
    }
}

/// Name, kind, status and attributes.
fn shown(span: &Span) -> String {
    let kind = match span.kind {
        1 => "",
        2 => " [server]",
        3 => " [client]",
        _ => " [?]",
    };
    let status = match &span.status {
        None => String::new(),
        Some((2, message)) => format!(" Error({message})"),
        Some((code, _)) => format!(" status {code}"),
    };
    let attributes: Vec<_> =
        span.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let links = if span.links.is_empty() { "" } else { " linked" };
    format!("{}{kind}{status}{links} {{{}}}", span.name, attributes.join(", "))
}
