//! Gatekeeper's audit: what was there before a constraint is asked about too, and what is bad is listed
//! in the constraint's status. An audit has no operation and no object of before.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    forms::{pod, workloads},
    gate::Gate,
    lab::{FORBIDDEN, Lab, WHY, assert_done},
};

/// Where everything is that is older than the constraint.
const NAMESPACE: &str = "legacy";
/// Whose images no verifier passes, in the order of their names.
const BAD: [&str; 3] = ["Deployment recalled", "Pod long", "Pod recalled"];
/// How long Gatekeeper keeps an answer for certain: its three minutes, less what it had been asked before.
const KEPT: Duration = Duration::from_secs(170);
/// How many bytes of a reason Gatekeeper lists.
const LISTED: usize = 256;

/// Makes what nobody is asked about, since there is no constraint yet; the image that is recalled.
pub(super) async fn objects_are_there_before(lab: &Lab, gate: &Gate) -> String {
    lab.site.cluster.must(&["create", "namespace", NAMESPACE]).await;
    let [good, pinned] = lab.push_good("legacy/good");
    let [tag, recalled] = lab.push("legacy/recalled", FORBIDDEN);
    let [long, _] = lab.push(&format!("legacy/{}", ["long"; 28].join("/")), FORBIDDEN);
    let slow = pinned.replace(&lab.site.registry.host(), gate.host());
    let pods = [("good", &good), ("recalled", &tag), ("long", &long), ("slow", &slow)];
    let pods = pods.map(|(name, image)| pod(name, &[("containers", image)]));
    let deployment = workloads("recalled", &tag).swap_remove(0);
    assert_eq!(deployment["kind"], "Deployment");
    for mut object in pods.into_iter().chain([deployment]) {
        object["metadata"]["namespace"] = NAMESPACE.into();
        assert_done(&lab.try_apply(&object).await);
    }
    recalled
}

/// What is bad is listed for as long as it is there, and is left alone.
pub(super) async fn what_was_there_is_listed(lab: &Lab, recalled: &str, gate: &Gate) {
    let began = Instant::now();
    // What Ratify has not finished is refused for two reasons, and asked about again.
    let early = [&BAD[..], &["Pod slow", "Pod slow"]].concat();
    lab.until_listed(&early, "deny").await;
    gate.open();
    lab.until_listed(&BAD, "deny").await;
    lab.page(&[]).succeed("status.violations").await;
    let reason = format!("{recalled} is refused: verifier verifier-recall: {WHY} (trace id ");
    for violation in lab.violations().await {
        let message = violation["message"].as_str().unwrap();
        match violation["name"] == "long" {
            true => assert!(message.len() == LISTED && message.ends_with("..."), "{message}"),
            false => assert!(message.starts_with(&reason), "{message}"),
        }
    }

    // An image is asked about once, however many objects have it and however often they are audited;
    // the pod that answers webhooks asks for itself.
    let answers = lab.answers_about(recalled);
    let label = ["label", "pod", "recalled", "a=b", "-n", NAMESPACE];
    assert_done(&lab.site.cluster.kubectl(&label).await);
    lab.until_audited_again().await;
    lab.until_audited_again().await;
    lab.until_listed(&BAD, "deny").await;
    let again = lab.answers_about(recalled) - answers;
    admitted_and_listed(lab, recalled).await;
    let once = lab.answers_about(recalled) - answers;
    // On a machine so slow each pod has forgotten what it was told, and asks again.
    if began.elapsed() < KEPT {
        assert_eq!((again, once), (0, 1));
    }

    let delete = ["delete", "deployment,pod", "--all", "--now", "-n", NAMESPACE];
    lab.site.cluster.must(&delete).await;
    lab.until_listed(&[], "deny").await;
}

/// A constraint that only tells.
async fn admitted_and_listed(lab: &Lab, recalled: &str) {
    let dry = json!({"spec": {"enforcementAction": "dryrun"}});
    lab.patch("ratifyverification", "ratify-constraint", &dry).await;
    let is_admitted = async || lab.run(NAMESPACE, "newer", recalled).await.code == Some(0);
    lab.until("admitted", is_admitted).await;
    let all = [&BAD[..1], &["Pod long", "Pod newer", "Pod recalled"]].concat();
    lab.until_listed(&all, "dryrun").await;
    let as_before = json!({"spec": {"enforcementAction": null}});
    lab.patch("ratifyverification", "ratify-constraint", &as_before).await;
    let is_refused = async || lab.run(NAMESPACE, "newest", recalled).await.stderr.contains(WHY);
    lab.until("refused", is_refused).await;
}

impl Lab {
    async fn status(&self) -> Value {
        let constraint =
            self.site.cluster.get_json("ratifyverification", None, "ratify-constraint");
        constraint.await["status"].clone()
    }

    async fn violations(&self) -> Vec<Value> {
        self.status().await["violations"].as_array().cloned().unwrap_or_default()
    }

    /// Until these, and nothing else of the whole cluster, are in the constraint's list, with what the
    /// constraint does about them.
    async fn until_listed(&self, expected: &[&str], action: &str) {
        let is_listed = async || {
            let violations = self.violations().await;
            let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
            let mut found: Vec<String> = violations
                .iter()
                .filter(|one| one["namespace"] == NAMESPACE && one["enforcementAction"] == action)
                .map(|one| format!("{} {}", text(one, "kind"), text(one, "name")))
                .collect();
            found.sort();
            found == expected && self.status().await["totalViolations"] == expected.len()
        };
        self.until(&format!("listed: {expected:?}"), is_listed).await;
    }

    async fn until_audited_again(&self) {
        let before = self.status().await["auditTimestamp"].clone();
        let is_later = async || self.status().await["auditTimestamp"] != before;
        self.until("audited again", is_later).await;
    }

    /// How often Ratify has said what it thinks of an image.
    fn answers_about(&self, image: &str) -> usize {
        let about = format!("verified subject {image}");
        self.pod.controller.said().lines().filter(|line| line.contains(&about)).count()
    }
}
