//! A tag that is followed, and what stands in the way of it: the API server takes no claim of the
//! new digest, or a rule denies it. What was agreed on runs on, and the status says why.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::{Asked, Fate, Lab, Proxy, Pushed, Replica, program, reason};

/// The API server does not take what a request would write.
fn refusal(code: u16, reason: &str) -> Fate {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("a test says {reason}"), "reason": reason, "code": code,
    });
    let (body, type_) = (body.to_string(), "Content-Type: application/json");
    let length = body.len();
    Fate::Answer(format!(
        "HTTP/1.1 {code} {reason}\r\n{type_}\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

/// A verifier that follows the tag `moving` as often as that may be.
pub(super) fn following(lab: &Lab, host: &str) -> Value {
    let mut spec = lab.judge(&lab.plugin(host, "moving"));
    spec["source"]["refreshInterval"] = json!("5s");
    spec
}

/// Runs something while a replica is asked all the time, which accepts and says one of these.
pub(super) async fn says_meanwhile<T>(
    lab: &Lab,
    replica: &Replica,
    versions: &[&str],
    what: impl Future<Output = T>,
) -> T {
    let asking = async {
        loop {
            let said = replica.says(&lab.image()).await;
            let is_known = said.as_ref().is_ok_and(|said| versions.contains(&said.as_str()));
            assert!(is_known, "{said:?} {}", replica.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        done = what => done,
        () = asking => unreachable!(),
    }
}

/// What a status says of its plugin.
fn runs(object: &Value, pushed: &Pushed) -> bool {
    let plugin = &object["status"]["plugin"];
    plugin["digest"] == pushed.root.as_str() && plugin["program"] == pushed.program.as_str()
}

/// Whether a request claims this digest, or says that it runs.
pub(super) fn names(asked: &Asked, pushed: &Pushed) -> bool {
    asked.method == "PATCH" && asked.body.contains(&pushed.root)
}

/// The claim of what the tag stands for is refused for a while, at each try.
async fn a_claim_is_refused(code: u16, answer: &'static str, claims_of_a_try: usize) {
    let Some(lab) = Lab::start().await else { return };
    let (api, pulls) = (lab.api_proxy().await, Proxy::plain(&lab.registry.host()).await);
    let mut replica = lab.replica_by("pod-1", &format!("https://{}", api.address()));
    replica.start().await;
    let old = lab.push("moving", &program("old", 0));
    lab.apply("verifiers", "judge", &following(&lab, pulls.address())).await;
    replica.until_says(&lab.image(), "old").await;
    lab.until("verifiers", "judge", |object| runs(object, &old)).await;
    lab.settle(&["verifiers"]).await;

    let new = lab.push("next", &program("new", 0));
    let (refused, others) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (Arc::clone(&refused), Arc::clone(&others), new.clone());
    api.rule(move |asked| {
        let (refused, others, new) = &counted;
        if names(asked, new) {
            refused.fetch_add(1, Ordering::SeqCst);
            return refusal(code, answer);
        }
        others.fetch_add(usize::from(asked.method == "PATCH"), Ordering::SeqCst);
        Fate::Pass
    });
    assert_eq!(lab.push("moving", &program("new", 0)), new);
    let kept = async {
        let is_kept = |object: &Value| reason(object) == "KeptLastGood";
        let object = lab.until("verifiers", "judge", is_kept).await;
        let error = object["status"]["error"].as_str().unwrap();
        let said = "cannot record the plugin's digest in the status: ";
        assert!(error.contains(said) && replica.log().contains(said), "{error}");
        assert!(runs(&object, &old), "{object}");
        // Looked at again, later.
        while refused.load(Ordering::SeqCst) < 3 * claims_of_a_try {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(lab.get("verifiers", "judge").await, object, "all of it was said");
    };
    says_meanwhile(&lab, &replica, &["old"], kept).await;
    assert_eq!(others.load(Ordering::SeqCst), 1, "said once: {}", replica.log());

    // A new process runs what was agreed on as well, and needs no registry for it.
    replica.kill().await;
    pulls.rule(|_| Fate::Cut);
    replica.start().await;
    replica.until_says(&lab.image(), "old").await;
    pulls.rule(|_| Fate::Pass);

    api.rule(|_| Fate::Pass);
    let followed = async {
        replica.until_says(&lab.image(), "new").await;
        let is_followed = |object: &Value| runs(object, &new) && reason(object) == "Active";
        lab.until("verifiers", "judge", is_followed).await;
    };
    says_meanwhile(&lab, &replica, &["old", "new"], followed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_not_followed_while_its_claim_is_forbidden() {
    a_claim_is_refused(403, "Forbidden", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_not_followed_while_its_claim_conflicts_with_what_others_write() {
    a_claim_is_refused(409, "Conflict", 5).await;
}

/// The digests that are denied from now on.
fn deny(replica: &Replica, digests: &[&str]) {
    replica.home.configure(&json!({"plugins": {"deniedDigests": digests}}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_not_followed_to_what_is_denied_and_what_is_denied_is_not_kept_for_it() {
    let Some(lab) = Lab::start().await else { return };
    let mut replica = lab.replica("pod-1");
    replica.start().await;
    let good = lab.push("moving", &program("good", 0));
    lab.apply("verifiers", "judge", &following(&lab, &lab.registry.host())).await;
    replica.until_says(&lab.image(), "good").await;
    lab.until("verifiers", "judge", |object| runs(object, &good)).await;

    // Denied by its manifest and by its program, before the tag stands for it.
    let denied = ["bad-1", "bad-2"].map(|version| lab.push("other", &program(version, 0)));
    deny(&replica, &[&denied[0].root, &denied[1].program]);
    for (version, digests) in [("bad-1", &denied[0]), ("bad-2", &denied[1])] {
        assert_eq!(&lab.push("moving", &program(version, 0)), digests);
        let named = if version == "bad-1" { &digests.root } else { &digests.program };
        let is_told = |object: &Value| {
            let error = object["status"]["error"].as_str().unwrap_or_default();
            let is_why = error.contains("the tag is not followed: ") && error.contains(named);
            reason(object) == "KeptLastGood" && is_why
        };
        let told = lab.until("verifiers", "judge", is_told);
        let object = says_meanwhile(&lab, &replica, &["good"], told).await;
        assert!(object["status"]["error"].as_str().unwrap().contains("deniedDigests"), "{object}");
        assert!(runs(&object, &good), "{object}");
        let installed = replica.programs().0;
        assert_eq!(installed, std::slice::from_ref(&good.program), "and nothing else");
    }

    // The last good one is denied as well: nothing is kept.
    deny(&replica, &[&denied[0].root, &denied[1].program, &good.root]);
    lab.until("verifiers", "judge", |object| reason(object) == "Refused").await;
    let end = std::time::Instant::now() + Duration::from_secs(8);
    while std::time::Instant::now() < end {
        let said = replica.says(&lab.image()).await;
        assert!(said.is_err_and(|item| item.to_string().contains("deniedDigests")));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The tag stands for what is allowed by now: it is followed away from what is not.
    deny(&replica, &[&good.root]);
    replica.until_says(&lab.image(), "bad-2").await;
    let is_followed = |object: &Value| runs(object, &denied[1]) && reason(object) == "Active";
    lab.until("verifiers", "judge", is_followed).await;
    // Back to what is denied by its program: neither kept nor run.
    deny(&replica, &[&denied[1].program]);
    lab.until("verifiers", "judge", |object| reason(object) == "Refused").await;
    assert!(replica.says(&lab.image()).await.is_err());
    lab.push("moving", &program("good", 0));
    replica.until_says(&lab.image(), "good").await;
}
