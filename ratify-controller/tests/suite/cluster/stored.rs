//! What is stored under one side's definitions, read and written under the other's, on a real API
//! server: an upgrade and a way back lose nothing but the fields that only ours have.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    schemas::{definitions, filled, our_folder, pruned, schema, v1_folders, versions},
    server::{Cluster, ClusterOptions},
};
use crate::parity::machines::Machines;

/// How often a state is looked for before a test gives up.
const LOOKS: usize = 100;
const GROUP: &str = "config.ratify.deislabs.io";
/// The version that is stored.
const STORED: &str = "v1beta1";

/// An object with every field that a definition has, in each version that is served; and bare
/// ones, which v1 accepts: no spec at all, and nothing in it where nothing is required.
fn objects(definitions: &[Value], prefix: &str) -> Vec<Value> {
    let mut objects = Vec::new();
    for definition in definitions {
        for (version, of_version) in versions(definition) {
            let properties = &schema(of_version)["properties"];
            let object = |suffix: &str, spec: Option<Value>| {
                let mut object = json!({
                    "apiVersion": format!("{GROUP}/{version}"),
                    "kind": definition["spec"]["names"]["kind"],
                    "metadata": {"name": format!("{prefix}-{version}-{suffix}")},
                });
                if definition["spec"]["scope"] == "Namespaced" {
                    object["metadata"]["namespace"] = "default".into();
                }
                if let Some(spec) = spec {
                    object["spec"] = spec;
                }
                object
            };
            let mut full = object("full", Some(filled(&properties["spec"])));
            full["status"] = filled(&properties["status"]);
            objects.push(full);
            objects.push(object("none", None));
            if properties["spec"]["required"].is_null() {
                objects.push(object("empty", Some(json!({}))));
            }
        }
    }
    objects
}

fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn with_status(objects: &[Value]) -> Vec<Value> {
    let stored = |object: &&Value| object["apiVersion"].as_str().unwrap().ends_with(STORED);
    objects.iter().filter(stored).filter(|object| !object["status"].is_null()).cloned().collect()
}

/// Stores objects with their status.
async fn store(cluster: &Cluster, objects: &[Value]) {
    cluster.feed(&["create", "-f", "-"], &list(objects)).await;
    let status = ["replace", "--subresource=status", "-f", "-"];
    cluster.feed(&status, &list(&with_status(objects))).await;
}

/// Applies a folder of definitions as v1's upgrade hook does, and waits until each is in force:
/// until the API server keeps of a status what this definition keeps.
async fn define(cluster: &Cluster, folder: &Path) {
    cluster.must(&["apply", "-f", folder.to_str().unwrap()]).await;
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
    let probes = objects(&definitions(&our_folder()), "probe");
    let probes: Vec<Value> = with_status(&probes);
    let definitions = definitions(folder);
    let mut last = None;
    for _ in 0..LOOKS {
        // A field that these definitions do not have is no mistake of this test.
        let stored = ["apply", "--validate=ignore", "-f", "-"];
        let stored = cluster.kubectl_with(&stored, &list(&probes)).await;
        let kept = ["replace", "--validate=ignore", "--subresource=status", "-o", "json"];
        let kept = cluster.kubectl_with(&[&kept[..], &["-f", "-"]].concat(), &list(&probes)).await;
        if stored.code == Some(0) && kept.code == Some(0) {
            let each = serde_json::Deserializer::from_str(&kept.stdout).into_iter();
            let each: Vec<Value> = each.map(Result::unwrap).collect();
            assert_eq!(each.len(), probes.len());
            if each.iter().zip(&probes).all(|(kept, probe)| keeps(&definitions, kept, probe)) {
                cluster.feed(&["delete", "-f", "-"], &list(&probes)).await;
                return;
            }
        }
        last = Some((stored, kept));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the definitions of {} are not in force: {last:?}", folder.display());
}

fn keeps(definitions: &[Value], kept: &Value, probe: &Value) -> bool {
    part_of(definitions, probe, STORED, "status") == kept["status"]
}

/// What a version of the object's kind keeps of its spec or status.
fn part_of(definitions: &[Value], object: &Value, version: &str, part: &str) -> Value {
    let of_kind = |one: &&Value| one["spec"]["names"]["kind"] == object["kind"];
    let definition = definitions.iter().find(of_kind).unwrap();
    let mut versions = versions(definition).into_iter();
    let (_, of_version) = versions.find(|(name, _)| *name == version).unwrap();
    pruned(&schema(of_version)["properties"][part], &object[part])
}

/// Every object of every kind, read in this version.
async fn read(cluster: &Cluster, definitions: &[Value], version: &str) -> Vec<Value> {
    let served = |one: &&Value| versions(one).iter().any(|(name, _)| *name == version);
    let plural = |one: &Value| one["spec"]["names"]["plural"].as_str().unwrap().to_owned();
    let kinds = definitions.iter().filter(served).map(plural);
    let kinds: Vec<String> = kinds.map(|kind| format!("{kind}.{version}.{GROUP}")).collect();
    let mut all = Vec::new();
    for kind in kinds {
        let listed = cluster.must(&["get", &kind, "-A", "-o", "json"]).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        all.extend(listed["items"].as_array().unwrap().iter().cloned());
    }
    assert!(!all.is_empty());
    all
}

/// Deletes every object.
async fn empty(cluster: &Cluster, definitions: &[Value]) {
    for definition in definitions {
        let plural = definition["spec"]["names"]["plural"].as_str().unwrap();
        cluster.must(&["delete", &format!("{plural}.{GROUP}"), "-A", "--all"]).await;
    }
}

/// Where an object is not as it was, as far as these definitions say.
fn changes(definitions: &[Value], before: &[Value], after: &[Value], version: &str) -> Vec<String> {
    assert_eq!(before.len(), after.len());
    let mut changes = Vec::new();
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
        for part in ["spec", "status"] {
            let (kept, found) = (
                part_of(definitions, before, version, part),
                part_of(definitions, after, version, part),
            );
            if kept != found {
                let name = &before["metadata"]["name"];
                changes.push(format!("{} {name} {part}: {kept}, then {found}", before["kind"]));
            }
        }
    }
    changes
}

/// Each object is taken back as it was read, spec and status. Those of v1alpha1 may lack what
/// v1beta1 requires, in v1 as well, and are written as what they are.
async fn write_back(cluster: &Cluster, objects: &[Value]) {
    let is_whole = |object: &&Value| {
        let name = object["metadata"]["name"].as_str().unwrap();
        name.contains("v1beta1") || object["apiVersion"] == format!("{GROUP}/v1alpha1")
    };
    let objects: Vec<Value> = objects.iter().filter(is_whole).cloned().collect();
    cluster.feed(&["replace", "-f", "-"], &list(&objects)).await;
    let mut stated = with_status(&objects);
    if stated.is_empty() {
        return;
    }
    stated.iter_mut().for_each(|object| {
        object["metadata"].as_object_mut().unwrap().remove("resourceVersion").unwrap();
    });
    cluster.feed(&["replace", "--subresource=status", "-f", "-"], &list(&stated)).await;
}

#[tokio::test]
async fn what_is_stored_survives_the_way_to_our_definitions_and_back() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let machines = Machines::find().unwrap();
    let ours = definitions(&our_folder());
    for (index, folder) in v1_folders(&machines).iter().enumerate() {
        let theirs = definitions(folder);
        define(&cluster, folder).await;
        store(&cluster, &objects(&theirs, &format!("theirs-{index}"))).await;
        let mut before = Vec::new();
        // v1alpha1 comes last: what is written through v1's loses its status.
        for version in [STORED, "v1alpha1"] {
            before.push((version, read(&cluster, &theirs, version).await));
        }

        define(&cluster, &our_folder()).await;
        for (version, before) in &before {
            let after = read(&cluster, &theirs, version).await;
            assert_eq!(changes(&theirs, before, &after, version), [""; 0], "{folder:?}");
            write_back(&cluster, &after).await;
            let again = read(&cluster, &theirs, version).await;
            assert_eq!(changes(&ours, &after, &again, version), [""; 0], "{folder:?}");
        }

        empty(&cluster, &ours).await;

        // And back: what goes is what v1 has no field for.
        store(&cluster, &objects(&ours, &format!("ours-{index}"))).await;
        let full = read(&cluster, &ours, STORED).await;
        define(&cluster, folder).await;
        let back = read(&cluster, &ours, STORED).await;
        assert_eq!(changes(&theirs, &full, &back, STORED), [""; 0], "{folder:?}");
        assert_ne!(changes(&ours, &full, &back, STORED), [""; 0], "nothing is pruned");
        for object in &back {
            for part in ["spec", "status"] {
                assert_eq!(part_of(&theirs, object, STORED, part), object[part], "{object}");
            }
        }
        write_back(&cluster, &back).await;
        empty(&cluster, &ours).await;
    }
}

/// A resource of each kind that v1alpha1 has, with this text in its spec.
fn legacy(text: &str) -> String {
    let object = |kind: &str, spec: Value| {
        json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": kind,
               "metadata": {"name": "legacy", "namespace": "default"}, "spec": spec})
    };
    let parameters = json!({"text": text});
    list(&[
        object("Verifier", json!({"name": "v", "artifactTypes": "*", "parameters": parameters})),
        object("Store", json!({"name": "s", "parameters": parameters})),
        object("Policy", json!({"parameters": parameters})),
        object("CertificateStore", json!({"provider": "p", "parameters": parameters})),
    ])
}

#[tokio::test]
async fn a_change_through_v1alpha1_leaves_the_status_alone_where_v1s_definitions_wipe_it() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let machines = Machines::find().unwrap();
    let status = json!({"issuccess": true, "conditions": [{
        "type": "Ready", "status": "True", "reason": "Active", "message": "m",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
    }], "observedGeneration": 1});
    let kinds = ["verifiers", "stores", "policies", "certificatestores"];
    for (folder, is_kept) in [(our_folder(), true), (v1_folders(&machines)[0].clone(), false)] {
        define(&cluster, &folder).await;
        cluster.feed(&["apply", "-f", "-"], &legacy("one")).await;
        let patch = json!({"status": status}).to_string();
        for kind in kinds {
            let kind = format!("{kind}.v1beta1.{GROUP}");
            let target = ["patch", &kind, "legacy", "--subresource=status", "--type=merge"];
            cluster.must(&[&target[..], &["-p", &patch]].concat()).await;
        }
        cluster.feed(&["apply", "-f", "-"], &legacy("two")).await;
        for kind in kinds {
            let kind = format!("{kind}.v1beta1.{GROUP}");
            let now = cluster.get_json(&kind, None, "legacy").await;
            assert_eq!(now["spec"]["parameters"]["text"], "two", "{now}");
            assert_eq!(now["status"] == status, is_kept, "{now}");
        }
        cluster.feed(&["delete", "-f", "-"], &legacy("two")).await;
    }
}
