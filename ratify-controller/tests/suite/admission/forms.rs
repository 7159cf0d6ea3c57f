//! Whatever runs an image: pods and what makes them, each list of containers, and tags in them.

use serde_json::{Value, json};

use super::lab::{FORBIDDEN, Lab, WHY, assert_done, assert_refused};

/// A pod of these containers; each is a list's name and an image.
pub(super) fn pod(name: &str, containers: &[(&str, &str)]) -> Value {
    let mut spec = json!({"containers": []});
    for (number, (list, image)) in containers.iter().enumerate() {
        let name = format!("c{number}");
        let container = match *list {
            "volumes" => json!({"name": name, "image": {"reference": image}}),
            _ => json!({"name": name, "image": image}),
        };
        match &mut spec[*list] {
            Value::Array(list) => list.push(container),
            other => *other = json!([container]),
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// What makes pods, of each kind.
pub(super) fn workloads(name: &str, image: &str) -> Vec<Value> {
    let labels = json!({"app": name});
    let template = |restart: &str| {
        json!({"metadata": {"labels": labels}, "spec": {"restartPolicy": restart,
            "containers": [{"name": "c", "image": image}]}})
    };
    let selector = json!({"matchLabels": labels});
    let object = |kind: &str, group: &str, spec: Value| json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let running = json!({"selector": selector, "template": template("Always")});
    let mut stateful = running.clone();
    stateful["serviceName"] = json!(name);
    let once = json!({"template": template("Never")});
    let scheduled = json!({"schedule": "0 0 * * *", "jobTemplate": {"spec": once}});
    vec![
        object("Deployment", "apps/v1", running.clone()),
        object("ReplicaSet", "apps/v1", running.clone()),
        object("DaemonSet", "apps/v1", running),
        object("StatefulSet", "apps/v1", stateful),
        object("Job", "batch/v1", once),
        object("CronJob", "batch/v1", scheduled),
        object(
            "ReplicationController",
            "v1",
            json!({"selector": labels, "template": template("Always")}),
        ),
        json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name},
            "template": template("Always")}),
    ]
}

pub(super) async fn every_form_of_a_container_is_looked_at(lab: &Lab) {
    let [good, _] = lab.push_good("forms/good");
    let [_, recalled] = lab.push("forms/recalled", FORBIDDEN);
    let reason = format!("{recalled} is refused: verifier verifier-recall: {WHY}");
    for object in workloads("recalled", &recalled) {
        assert_refused(&lab.try_apply(&object).await, &reason);
    }
    for object in workloads("good", &good) {
        assert_done(&lab.try_apply(&object).await);
    }
    for list in ["containers", "initContainers", "volumes"] {
        let pod = pod("two", &[("containers", &good), (list, &recalled)]);
        assert_refused(&lab.try_apply(&pod).await, &reason);
    }
    let both = pod("both", &[("containers", &good), ("initContainers", &good)]);
    assert_done(&lab.try_apply(&both).await);

    // What is there already is not asked for again, and what comes to it is.
    let cluster = &lab.site.cluster;
    assert_done(&cluster.kubectl(&["label", "pod", "both", "a=b"]).await);
    let set = format!("c0={recalled}");
    assert_refused(&cluster.kubectl(&["set", "image", "pod/both", &set]).await, &reason);
    let debug = |image: &str| format!("--image={image}");
    assert_refused(&cluster.kubectl(&["debug", "both", &debug(&recalled)]).await, &reason);
    assert_done(&cluster.kubectl(&["debug", "both", &debug(&good)]).await);
    let containers = "jsonpath={.spec.ephemeralContainers[*].image}";
    let shown = cluster.must(&["get", "pod", "both", "-o", containers]).await;
    assert!(shown.contains("forms/good@sha256:"), "a digest, one only: {shown}");
}

/// Each tag of a pod, in every list, by one question.
pub(super) async fn tags_become_digests(lab: &Lab) {
    let [one, one_pinned] = lab.push_good("tags/one");
    let [two, two_pinned] = lab.push_good("tags/two");
    let pod = pod("tags", &[("containers", &one), ("containers", &two), ("initContainers", &two)]);
    assert_done(&lab.try_apply(&pod).await);
    let stored = lab.site.cluster.get_json("pod", None, "tags").await;
    let image = |pointer: &str| stored.pointer(pointer).unwrap().as_str().unwrap();
    assert_eq!(image("/spec/containers/0/image"), one_pinned);
    assert_eq!(image("/spec/containers/1/image"), two_pinned);
    assert_eq!(image("/spec/initContainers/0/image"), two_pinned);

    let unknown = format!("{}/tags/one:unknown", lab.site.registry.host());
    let ran = lab.run("default", "unknown", &unknown).await;
    assert_refused(&ran, "admission webhook \"mutation.gatekeeper.sh\" denied the request");
    assert_refused(&ran, &format!("failed to get subject descriptor for image {unknown}"));
}
