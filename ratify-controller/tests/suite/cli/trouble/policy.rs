//! T18, through the server: a policy that computes without end is ended by its timer. It allows
//! nothing, keeps nobody waiting who does not ask it, and another one in its place decides at once.

use futures_util::future::join_all;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};

use super::*;

/// Eight loops in each other over twenty numbers.
const ENDLESS: &str = "ns := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]\nvalid { not busy }\nbusy { ns[a]; ns[b]; ns[c]; ns[d]; ns[e]; ns[f]; ns[g]; ns[h]; a + b + c + d + e + f + g + h == -1 }";
const SANE: &str =
    "default valid = false\nvalid { input.verifierReports[_].verifierReports[_].isSuccess }";

fn configuration(rules: &str) -> Value {
    let mut file = config(&verifier("judge"));
    let text = format!("package ratify.policy\n{rules}");
    file["policy"]["plugin"] = json!({"name": "regopolicy", "policy": text});
    file["executor"] =
        json!({"verificationRequestTimeout": 15_000, "mutationRequestTimeout": 15_000});
    file
}

/// A configuration whose policy never comes to an end by itself.
pub(super) fn endless() -> Value {
    configuration(ENDLESS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_without_an_end_allows_nothing_and_holds_nobody_up() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let images: Vec<_> = (0..4).map(|image| put(&registry, &format!("app{image}"))).collect();
    let home = home();
    home.configure(&configuration(ENDLESS));
    let server = Server::start(&home).await;
    let judged = join_all(images.iter().map(|image| server.ask(image)));
    let mutate = server.url().replace("/verify", "/mutate");
    let resolved = async {
        let client = reqwest::Client::new();
        for _ in 0..20 {
            let body = json!({"request": {"keys": [images[0]]}}).to_string();
            let answer = client.post(&mutate).body(body).send().await.unwrap();
            let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let value = answer["response"]["items"][0]["value"].as_str().unwrap();
            assert!(value.contains("@sha256:"), "{answer}");
        }
    };
    let (judged, ()) = tokio::join!(judged, resolved);
    for said in judged {
        assert!(!allows(&said), "{said}");
        let why = said["error"].as_str().unwrap();
        assert!(why.contains("failed to evaluate policy: "), "{why}");
    }
    home.configure(&configuration(SANE));
    for image in &images {
        until(&server, image, true).await;
    }
}
