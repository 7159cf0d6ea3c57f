//! The OpenTelemetry Collector's own receiver, which wants a certificate of whoever sends to it: what it
//! has read, as it prints it again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::{receiver::Got, schema::Span};
use crate::{
    parity::machines::{Machines, free_address},
    tls::parts::Authority,
};

/// How often it is looked for before a test gives up.
const LOOKS: usize = 600;

/// It ends with the test.
pub(super) struct Collector {
    url: String,
    folder: tempfile::TempDir,
    process: Child,
}

impl Collector {
    /// Starts it; `None`, said aloud, where it was not brought.
    pub(super) async fn start() -> Option<Self> {
        let program = Machines::find()?.tool("otlp-collector");
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let [authority, of_clients] = ["collector", "clients"].map(Authority::new);
        authority.issue_for(vec![ServerAuth]).write(&path("server"));
        of_clients.issue_for(vec![ClientAuth]).write(&path("client"));
        fs::write(path("ca.crt"), authority.pem()).unwrap();
        fs::write(path("clients.crt"), of_clients.pem()).unwrap();
        let address = free_address();
        let mut command = Command::new(program);
        command.args(["-address", &address, "-certificate"]).arg(path("server/tls.crt"));
        command.arg("-key").arg(path("server/tls.key"));
        command.arg("-clients").arg(path("clients.crt"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(File::create(path("read.jsonl")).unwrap());
        command.stderr(File::create(path("log")).unwrap());
        let process = command.spawn().unwrap();
        let mut collector =
            Self { url: format!("https://{}", at_localhost(&address)), folder, process };
        collector.until_it_listens(&address).await;
        Some(collector)
    }

    /// What tells a server of it, with or without what the server shows of itself.
    pub(super) fn variables(&self, shows_itself: bool) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.path(name).display().to_string();
        let mut variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.url.clone()),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", path("ca.crt")),
        ];
        if shows_itself {
            variables.extend([
                ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", path("client/tls.crt")),
                ("OTEL_EXPORTER_OTLP_CLIENT_KEY", path("client/tls.key")),
            ]);
        }
        variables
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// All that it has read.
    pub(super) fn got(&self) -> Got {
        let printed = fs::read_to_string(self.path("read.jsonl")).unwrap();
        let mut got = Got::default();
        for line in printed.lines() {
            let request: Value = serde_json::from_str(line).unwrap();
            for resource in list(&request, "resourceSpans") {
                got.resources.push(attributes(&resource["resource"]));
                for scope in list(resource, "scopeSpans") {
                    let [name, version] = ["name", "version"].map(|key| text(&scope["scope"], key));
                    got.scopes.push((name, version));
                    got.spans.extend(list(scope, "spans").iter().map(span));
                }
            }
        }
        got
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }

    async fn until_it_listens(&mut self, address: &str) {
        for _ in 0..LOOKS {
            if TcpStream::connect(address).await.is_ok() {
                return;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(self.path("log")).unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the collector does not listen");
    }
}

/// Its certificate is for the name.
fn at_localhost(address: &str) -> String {
    address.replace("127.0.0.1", "localhost")
}

fn span(span: &Value) -> Span {
    let id = |of: &Value, key: &str| hex::decode(text(of, key)).unwrap();
    let time = |key: &str| text(span, key).parse().unwrap();
    let status = &span["status"];
    let code = status["code"].as_u64().unwrap_or_default();
    Span {
        trace_id: id(span, "traceId"),
        span_id: id(span, "spanId"),
        parent_span_id: id(span, "parentSpanId"),
        name: text(span, "name"),
        kind: span["kind"].as_u64().unwrap(),
        start: time("startTimeUnixNano"),
        end: time("endTimeUnixNano"),
        attributes: attributes(span),
        links: list(span, "links").iter().map(|of| (id(of, "traceId"), id(of, "spanId"))).collect(),
        status: (code > 0).then(|| (code, text(status, "message"))),
        flags: u32::try_from(span["flags"].as_u64().unwrap()).unwrap(),
    }
}

fn attributes(of: &Value) -> std::collections::BTreeMap<String, String> {
    let all = list(of, "attributes").iter().map(|one| {
        let (_, value) = one["value"].as_object().unwrap().iter().next().unwrap();
        // Numbers of 64 bits are texts.
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (text(one, "key"), value)
    });
    all.collect()
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What is empty is left out.
fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}
