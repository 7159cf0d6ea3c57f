//! The body of a request, through the endpoints, as a verification and as a mutation. Each key has its
//! item, echoed as it was sent, or the answer says why there is none; and nothing but the one good
//! image is ever allowed, whatever stands around its name.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use ratify_controller::{
    gatekeeper::{Endpoints, Service, ServiceConfig},
    state::{Active, Snapshot},
};
use ratify_core::{Reference, executor::testing::digest};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{
    engine::{self, SIGNED},
    json::get,
};

const VERIFY: &str = "/ratify/gatekeeper/v1/verify";
const MUTATE: &str = "/ratify/gatekeeper/v1/mutate";

pub(super) fn check(input: &[u8]) {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime =
        RUNTIME.get_or_init(|| Builder::new_current_thread().enable_time().build().unwrap());
    let (verified, mutated) = runtime.block_on(async {
        let endpoints = endpoints();
        (ask(&endpoints, VERIFY, input).await, ask(&endpoints, MUTATE, input).await)
    });
    assert_eq!(verified.0, mutated.0, "one body, two opinions");
    for (answer, judge) in [(verified, verification as fn(&Value)), (mutated, mutation)] {
        let (status, document) = answer;
        let response = document["response"].as_object().unwrap();
        let items = response.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let error = response.get("systemError").and_then(Value::as_str);
        match status {
            StatusCode::OK => {
                assert_eq!(error, None);
                let echoed: Vec<_> = items.iter().map(|item| text(item, "key")).collect();
                if let Some(keys) = keys(input) {
                    assert_eq!(echoed, keys, "each key has its item");
                }
                items.iter().for_each(judge);
            }
            StatusCode::BAD_REQUEST => {
                assert!(items.is_empty());
                let said =
                    error.is_some_and(|why| why.contains("unable to unmarshal request body"));
                assert!(said, "{document}");
            }
            other => panic!("{other}: {document}"),
        }
    }
}

fn endpoints() -> Endpoints {
    let policy = engine::policy(json!({"name": "configpolicy"})).unwrap();
    let active = Active::new(Snapshot::new(engine::executor(Some(policy))));
    let mut config = ServiceConfig::default();
    (config.verify_within, config.mutate_within) =
        (Duration::from_secs(60), Duration::from_secs(60));
    Endpoints::new(Arc::new(Service::new(Arc::new(active), config)))
}

async fn ask(endpoints: &Endpoints, path: &str, body: &[u8]) -> (StatusCode, Value) {
    let request = Request::post(path).body(Body::from(body.to_vec())).unwrap();
    let answer = endpoints.answer(request).await;
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(bytes.last(), Some(&b'\n'));
    (status, serde_json::from_slice(&bytes).unwrap())
}

/// The keys as they are to be echoed, read in another way; nothing where that reader takes less.
fn keys(body: &[u8]) -> Option<Vec<String>> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let request = document.as_object().and_then(|document| get(document, "request"));
    let keys = request.and_then(Value::as_object).and_then(|request| get(request, "keys"));
    let keys = keys.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let key = |key: &Value| key.as_str().unwrap_or_default().replace(['\n', '\r'], "");
    Some(keys.iter().map(key).collect())
}

/// What a key is about, taken apart in another way.
fn subject(key: &str) -> &str {
    match key.find(']') {
        Some(end) if key.starts_with('[') => &key[end + 1..],
        _ => key,
    }
}

fn text(item: &Value, key: &str) -> String {
    item.get(key).map(|value| value.as_str().unwrap().to_owned()).unwrap_or_default()
}

fn verification(item: &Value) {
    let key = text(item, "key");
    match item.get("value") {
        Some(verdict) => {
            assert!(item.get("error").is_none(), "{item}");
            assert_eq!(verdict["version"], "0.2.0");
            let allows = verdict["isSuccess"].as_bool().unwrap();
            let asked = Reference::parse(subject(&key)).unwrap();
            let is_good = asked.as_str() == SIGNED
                || asked.digest().is_some_and(|asked| [2, 21, 22].map(digest).contains(asked));
            assert!(!allows || is_good, "{item}");
            assert!(allows || verdict["verifierReports"].is_array(), "no reason: {item}");
        }
        None => assert!(!text(item, "error").is_empty(), "no reason: {item}"),
    }
}

fn mutation(item: &Value) {
    let (key, value) = (text(item, "key"), text(item, "value"));
    if text(item, "error").is_empty() {
        // By digest it stays as it is, the namespace before it too.
        let is_kept = value == key;
        let value = if is_kept { subject(&value) } else { &value };
        assert!(Reference::parse(value).unwrap().digest().is_some(), "{item}");
    } else {
        assert_eq!(value, key, "{item}");
    }
}
