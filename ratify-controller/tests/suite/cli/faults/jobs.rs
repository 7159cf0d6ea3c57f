//! What is being done for one resource and what happens to others, or to the same one, meanwhile:
//! a registry that never answers, deletions, other incarnations, changed specs, swaps.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Fate, Lab, Proxy, Replica, is_active, program};

/// Well below the time after which a registry is given up.
const SOON: Duration = Duration::from_secs(10);

/// A lab with a replica, a registry that never answers, and a verifier `judge` that says `v0`.
async fn start() -> Option<(Lab, Replica, Proxy)> {
    let lab = Lab::start().await?;
    let dead = Proxy::plain(&lab.registry.host()).await;
    dead.rule(|_| Fate::Hold);
    let mut replica = lab.replica("pod-1");
    replica.start().await;
    lab.push("v0", &program("v0", 0));
    lab.apply("verifiers", "judge", &lab.judge(&lab.plugin(&lab.registry.host(), "v0"))).await;
    replica.until_says(&lab.image(), "v0").await;
    Some((lab, replica, dead))
}

/// Waits for what has to come soon.
async fn soon<T>(what: &str, replica: &Replica, wanted: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(SOON, wanted).await;
    waited.unwrap_or_else(|_| panic!("{what} takes too long: {}", replica.log()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_never_answers_holds_up_nothing_else_and_its_jobs_can_be_ended() {
    let Some((lab, replica, dead)) = start().await else { return };
    let hanging = lab.plugin(dead.address(), "v0");
    for number in 0..24 {
        lab.apply("verifiers", &format!("dead-{number}"), &lab.judge(&hanging)).await;
    }
    soon("the first request", &replica, dead.held()).await;

    lab.push("v1", &program("v1", 0));
    let good = |tag: &str| lab.judge(&lab.plugin(&lab.registry.host(), tag));
    lab.apply("verifiers", "judge", &good("v1")).await;
    soon("an update", &replica, lab.until("verifiers", "judge", is_active)).await;
    lab.apply(
        "stores",
        "store-oras",
        &json!({"name": "oras", "parameters": {"useHttp": true, "n": 1}}),
    )
    .await;
    soon("a store", &replica, lab.until("stores", "store-oras", is_active)).await;

    // Changed while it is built: what is asked for now is built at once.
    lab.apply("verifiers", "dead-0", &good("v1")).await;
    soon("a mended one", &replica, lab.until("verifiers", "dead-0", is_active)).await;
    // Deleted while it is built, and there again under the same name.
    lab.delete("verifiers", "dead-1").await;
    lab.apply("verifiers", "dead-1", &good("v1")).await;
    soon("a recreated one", &replica, lab.until("verifiers", "dead-1", is_active)).await;
    for number in 0..24 {
        lab.delete("verifiers", &format!("dead-{number}")).await;
    }
    soon("the rest", &replica, replica.until_says(&lab.image(), "v1")).await;
    lab.delete("verifiers", "judge").await;
    let end = Instant::now() + SOON;
    while replica.says(&lab.image()).await.is_ok() {
        assert!(Instant::now() < end, "{}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_while_it_is_built_never_comes_into_force() {
    let Some((lab, replica, _dead)) = start().await else { return };
    lab.delete("verifiers", "judge").await;
    let slow = Proxy::plain(&lab.registry.host()).await;
    lab.push("late", &program("late", 100_000));
    for part in [1, 50_000, 99_000] {
        slow.rule(
            move |asked| {
                if asked.path.contains("/blobs/") { Fate::After(part) } else { Fate::Pass }
            },
        );
        lab.apply("verifiers", "judge", &lab.judge(&lab.plugin(slow.address(), "late"))).await;
        soon("the pull", &replica, slow.held()).await;
        lab.delete("verifiers", "judge").await;
        slow.rule(|_| Fate::Pass);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let said = replica.says(&lab.image()).await;
        assert!(said.is_err(), "{said:?} {}", replica.log());
    }
    let (whole, left) = replica.programs();
    assert_eq!((whole.len(), left.len()), (1, 0), "what was pulled before, and nothing partial");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_updates_drop_no_request() {
    let Some((lab, replica, _dead)) = start().await else { return };
    let answered = AtomicU64::new(0);
    let image = lab.image();
    let asking = async {
        loop {
            let said = replica.says(&image).await;
            assert!(said.is_ok(), "{said:?} {}", replica.log());
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let updating = async {
        for number in 1..=20 {
            let version = format!("v{number}");
            lab.push(&version, &program(&version, 0));
            let artifact = lab.plugin(&lab.registry.host(), &version);
            lab.apply("verifiers", "judge", &lab.judge(&artifact)).await;
            replica.until_says(&lab.image(), &version).await;
        }
    };
    tokio::select! {
        () = updating => {}
        () = asking => unreachable!(),
    }
    let answered = answered.into_inner();
    assert!(answered > 40, "{answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_the_volume_asks_the_registry_for_nothing() {
    let Some((lab, mut replica, _dead)) = start().await else { return };
    let whole = lab.judge(&lab.plugin(&lab.registry.host(), "v0"));
    lab.apply("verifiers", "another", &whole).await;
    lab.until("verifiers", "another", is_active).await;
    lab.settle(&["verifiers", "stores", "policies"]).await;
    let before = lab.list("verifiers").await;
    replica.kill().await;
    lab.registry.forget_requests();
    replica.start().await;
    let end = Instant::now() + SOON;
    while !replica.log().contains("verifier 'judge' added") {
        assert!(Instant::now() < end, "{}", replica.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = lab.registry.requests();
    assert!(asked.is_empty(), "{asked:?}");
    replica.until_says(&lab.image(), "v0").await;
    lab.settle(&["verifiers"]).await;
    assert_eq!(lab.list("verifiers").await, before, "nothing new is to be said");
}
