//! `ratify serve` as a process, and a client that asks as Gatekeeper does.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
};

use super::Home;

/// A server on a port of its own; it ends with the test.
pub(super) struct Server {
    url: String,
    log: Arc<Mutex<String>>,
    client: reqwest::Client,
    pub(super) process: Child,
}

impl Server {
    /// Starts with the default configuration of a home, and waits until it listens.
    pub(super) async fn start(home: &Home) -> Self {
        Self::run(home.command(&["serve", "--http", "127.0.0.1:0"])).await
    }

    /// Starts a command that serves, and waits until it listens.
    pub(super) async fn run(mut command: tokio::process::Command) -> Self {
        let mut process = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        let (say, address) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut say = Some(say);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, address)) = line.split_once("starting server at ")
                    && let Some(say) = say.take()
                {
                    say.send(address.to_owned()).unwrap();
                }
                kept.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let address = tokio::time::timeout(Duration::from_secs(30), address).await;
        let address = address.unwrap_or_else(|_| panic!("the server hangs"));
        let address = address.unwrap_or_else(|_| panic!("{}", log.lock().unwrap()));
        let url =
            format!("http://{}/ratify/gatekeeper/v1/verify", address.trim().trim_end_matches('"'));
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { url, log, client, process }
    }

    /// The answer's one item for a key; where it has none, why not, as an error.
    pub(super) async fn ask(&self, key: &str) -> Value {
        let body = json!({
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest",
            "request": {"keys": [key]},
        });
        let answer = self.client.post(&self.url).body(body.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        if status == 500 && answer["response"].get("items").is_none() {
            return json!({"key": key, "error": answer["response"]["systemError"]});
        }
        assert_eq!(status, 200, "{answer}");
        let items = answer["response"]["items"].as_array().cloned().unwrap_or_default();
        assert_eq!((items.len(), items[0]["key"].as_str()), (1, Some(key)), "{answer}");
        items[0].clone()
    }

    /// Where it is asked.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}
