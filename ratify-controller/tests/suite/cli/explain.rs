//! `ratify verify --explain`: the tree of a decision, for a person and for a program.

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{Home, Ran, STATEMENT, YES, config, put_app, verifier, without_ports};

const NO: &str = r#"cat >/dev/null; echo '{"isSuccess":false,"message":"not on my watch","errorReason":"it was built on a Friday","remediation":"build it again"}'"#;

fn home(plugin: &str) -> Home {
    let home = Home::new();
    home.script_plugin("judge", plugin);
    home.configure(&config(&verifier("judge")));
    home
}

async fn registry() -> RunningRegistry {
    RunningRegistry::start(RegistryOptions::default()).await.unwrap()
}

async fn explained(home: &Home, image: &str) -> Ran {
    home.run(&["verify", "--subject", image, "--explain"]).await
}

/// Without times, ports and digests.
fn settled(text: &str) -> String {
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    assert!(!text.contains('\x1b'), "colour goes to terminals alone");
    let mut settled = String::new();
    for line in without_ports(text).lines() {
        // Who has to wait depends on the machine.
        let line = line.split(", waited ").next().unwrap();
        let words: Vec<_> = line.split(' ').collect();
        let mut kept: Vec<String> = Vec::new();
        for word in words {
            match word.find("sha256:") {
                Some(at) => {
                    let rest = &word[at + 7..];
                    let rest = rest.trim_start_matches(|c: char| c.is_ascii_hexdigit());
                    kept.push(format!("{}sha256:<hex>{rest}", &word[..at]));
                }
                None if word == "ms" => {
                    kept.pop();
                    while kept.last().is_some_and(String::is_empty) {
                        kept.pop();
                    }
                    kept.push("<time>".to_owned());
                }
                None => kept.push(word.to_owned()),
            }
        }
        settled.push_str(kept.join(" ").trim_end());
        settled.push('\n');
    }
    settled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_image_is_explained_and_the_second_time_something_is_from_the_cache() {
    let (registry, home) = (registry().await, home(YES));
    let image = put_app(&registry);
    let ran = explained(&home, &image).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    insta::assert_snapshot!(settled(&ran.stdout), @r#"
    127.0.0.1:<port>/app:v1: allowed
    <time> ├─ resolve in oras: sha256:<hex>
    <time> │  └─ HEAD manifest of 127.0.0.1:<port>: 200
    <time> ├─ list in oras: 1 artifact
    <time> │  └─ GET referrers of 127.0.0.1:<port>: 200, 299 bytes
    <time> ├─ artifact application/vnd.example.statement.v1+json sha256:<hex>
    <time> │  ├─ is it the subject's?
    <time> │  │  └─ GET manifest of 127.0.0.1:<port>: 200, 586 bytes
    <time> │  └─ verify by judge-1: success
               │     │  says: yes
    <time> │     └─ plugin judge-1: exit 0
    <time> └─ policy configpolicy: fulfilled

    why: the policy configpolicy is fulfilled (1 report)
    registries: 3 requests, 0 of them again, 0 token exchanges, 0 answers from the cache, 885 bytes
    took: <time>
    "#);
    let again = explained(&home, &image).await;
    assert!(again.stdout.contains("from the cache"), "{}", again.stdout);
    let plain = home.verify(&image).await;
    assert!(plain.is_success() && !plain.stdout.contains("allowed"), "{}", plain.stdout);
    let silent = home.run(&["verify", "-s", &image, "--explain", "--silent"]).await;
    assert_eq!((silent.code, silent.stdout.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsigned_image_and_one_that_a_plugin_forbids_say_why_and_what_to_do() {
    let (registry, home) = (registry().await, home(NO));
    registry.put_image("bare", "v1", "layer").unwrap();
    let bare = explained(&home, &format!("{}/bare:v1", registry.host())).await;
    // As without: a refusal is no error of the command (v1).
    assert_eq!(bare.code, Some(0), "{}", bare.stderr);
    let forbidden = explained(&home, &put_app(&registry)).await;
    let both = format!("{}\n{}", bare.stdout, forbidden.stdout);
    insta::assert_snapshot!(settled(&both), @r#"
    127.0.0.1:<port>/bare:v1: refused
    <time> ├─ resolve in oras: sha256:<hex>
    <time> │  └─ HEAD manifest of 127.0.0.1:<port>: 200
    <time> ├─ list in oras: 0 artifacts
    <time> │  └─ GET referrers of 127.0.0.1:<port>: 200, 88 bytes
    <time> └─ policy configpolicy: not fulfilled

    why: the policy configpolicy is not fulfilled
    why: failed to verify artifact: 127.0.0.1:<port>/bare:v1: No verification results for the artifact
         127.0.0.1:<port>/bare:v1. Ensure verifiers are properly configured and that artifact metadata is attached
    registries: 2 requests, 0 of them again, 0 token exchanges, 0 answers from the cache, 88 bytes
    took: <time>

    127.0.0.1:<port>/app:v1: refused
    <time> ├─ resolve in oras: sha256:<hex>
    <time> │  └─ HEAD manifest of 127.0.0.1:<port>: 200
    <time> ├─ list in oras: 1 artifact
    <time> │  └─ GET referrers of 127.0.0.1:<port>: 200, 299 bytes
    <time> ├─ artifact application/vnd.example.statement.v1+json sha256:<hex>
    <time> │  ├─ is it the subject's?
    <time> │  │  └─ GET manifest of 127.0.0.1:<port>: 200, 586 bytes
    <time> │  └─ verify by judge-1: no
               │     │  says: not on my watch
               │     │  error: it was built on a Friday
               │     │  do: build it again
    <time> │     └─ plugin judge-1: exit 0
    <time> └─ policy configpolicy: not fulfilled

    why: the policy configpolicy is not fulfilled
    why: judge-1 about sha256:<hex>: not on my watch: it was
         built on a Friday
    do: build it again
    registries: 3 requests, 0 of them again, 0 token exchanges, 0 answers from the cache, 885 bytes
    took: <time>
    "#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_down_is_named() {
    let (registry, home) = (registry().await, home(YES));
    let image = put_app(&registry);
    registry.shutdown().await;
    let ran = explained(&home, &image).await;
    let text = settled(&ran.stdout);
    assert!(text.starts_with("127.0.0.1:<port>/app:v1: refused"), "{text}");
    assert!(text.contains("error: ") && text.contains("no answer"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_attached_to_an_artifact_is_below_it_and_behind_what_was_said_of_it() {
    let registry = registry().await;
    let home = Home::new();
    home.script_plugin("judge", YES);
    let mut judge = verifier("judge");
    judge["nestedReferences"] = json!([STATEMENT]);
    home.configure(&config(&judge));
    let image = registry.put_image("app", "v1", "layer").unwrap();
    let blob =
        |text: &'static str| ("application/json", bytes::Bytes::from_static(text.as_bytes()));
    let outer = registry.put_artifact("app", &image, STATEMENT, &[blob("1")]).unwrap();
    registry.put_artifact("app", &outer, STATEMENT, &[blob("2")]).unwrap();
    let image = format!("{}/app:v1", registry.host());
    let ran = explained(&home, &image).await;
    insta::assert_snapshot!(settled(&ran.stdout), @r#"
    127.0.0.1:<port>/app:v1: refused
    <time> ├─ resolve in oras: sha256:<hex>
    <time> │  └─ HEAD manifest of 127.0.0.1:<port>: 200
    <time> ├─ list in oras: 1 artifact
    <time> │  └─ GET referrers of 127.0.0.1:<port>: 200, 299 bytes
    <time> ├─ artifact application/vnd.example.statement.v1+json sha256:<hex>
    <time> │  ├─ is it the subject's?
    <time> │  │  └─ GET manifest of 127.0.0.1:<port>: 200, 585 bytes
    <time> │  ├─ verify by judge-1: success
               │  │  │  says: yes
    <time> │  │  └─ plugin judge-1: exit 0
    <time> │  └─ subject 127.0.0.1:<port>/app@sha256:<hex>
    <time> │     ├─ resolve in oras: sha256:<hex>
    <time> │     │  └─ HEAD manifest of 127.0.0.1:<port>: 200
    <time> │     ├─ list in oras: 1 artifact
    <time> │     │  └─ GET referrers of 127.0.0.1:<port>: 200, 299 bytes
    <time> │     └─ artifact application/vnd.example.statement.v1+json sha256:<hex>
    <time> │        ├─ is it the subject's?
    <time> │        │  └─ GET manifest of 127.0.0.1:<port>: 200, 585 bytes
    <time> │        ├─ verify by judge-1: success
               │        │  │  says: yes
    <time> │        │  └─ plugin judge-1: exit 0
    <time> │        └─ subject 127.0.0.1:<port>/app@sha256:<hex>…
    <time> │           ├─ resolve in oras: sha256:<hex>
    <time> │           │  └─ HEAD manifest of 127.0.0.1:<port>: 200
    <time> │           └─ list in oras: 0 artifacts
    <time> │              └─ GET referrers of 127.0.0.1:<port>: 200, 88 bytes
    <time> └─ policy configpolicy: not fulfilled

    why: the policy configpolicy is not fulfilled
    why: judge-1 about sha256:<hex>: nested verification failed
    why: judge-1 about sha256:<hex>: nested verification failed
    why: failed to verify artifact:
         127.0.0.1:<port>/app@sha256:<hex>: No verification
         results for the artifact
         127.0.0.1:<port>/app@sha256:<hex>. Ensure verifiers are
         properly configured and that artifact metadata is attached
    registries: 8 requests, 0 of them again, 0 token exchanges, 0 answers from the cache, 1856 bytes
    took: <time>
    "#);
    let ran = home.run(&["verify", "-s", &image, "--explain=json"]).await;
    let artifact = &ran.verdict()["steps"][0]["steps"][2];
    assert_eq!(names(&artifact["steps"]), ["bind", "verify", "subject"]);
    let nested = &artifact["steps"][2]["steps"][2];
    assert_eq!(names(&nested["steps"]), ["bind", "verify", "subject"]);
}

fn names(steps: &Value) -> Vec<&str> {
    steps.as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_json_it_is_the_same_and_has_v1s_result_in_it() {
    let (registry, home) = (registry().await, home(NO));
    let image = put_app(&registry);
    let plain: Value = home.verify(&image).await.verdict();
    let ran = home.run(&["verify", "-s", &image, "--explain=json"]).await;
    let mut document = ran.verdict();
    assert_eq!(document["result"].take(), plain);
    assert_eq!(document["isSuccess"], json!(false));
    assert_eq!(document["remediations"], json!(["build it again"]));
    let requests = &document["registry"];
    let host = registry.host();
    assert_eq!(requests["requests"], requests["requestsByHost"][&host]);
    assert!(requests["answersFromCache"].as_u64() >= Some(1), "{document}");
    assert_eq!(names(&document["steps"]), ["subject", "policy"]);
    let subject = &document["steps"][0];
    assert_eq!(names(&subject["steps"]), ["resolve", "list", "artifact"]);
    let artifact = &subject["steps"][2];
    assert_eq!(names(&artifact["steps"]), ["bind", "verify"]);
    let verify = &artifact["steps"][1];
    assert_eq!(verify["error"], "it was built on a Friday", "{document}");
    assert_eq!(names(&verify["steps"]), ["plugin"]);
    assert_eq!(verify["steps"][0]["exitCode"], 0);
    assert!(document["tookMs"].as_f64() > Some(0.0));
    let wrong = home.run(&["verify", "-s", &image, "--explain=xml"]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(1), ""));
}
