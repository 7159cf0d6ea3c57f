//! What is to be said of Ratify in a cluster: definitions, custom resources, replicas. Pure: what the
//! API server has goes in.

use serde_json::Value;

use super::{
    cluster::{Cluster, Read},
    finding::{Finding, shown},
};
use crate::{
    env::Environment,
    k8s::{crd, kind::Kind, resource::Resource},
};

const API: &str = "cluster.api";
const DEFINITIONS: &str = "cluster.definitions";
const RESOURCE: &str = "cluster.resource";
const REPLICAS: &str = "cluster.replicas";
/// The version that is read.
const VERSION: &str = "v1beta1";

/// Everything but Gatekeeper.
pub(super) fn judge(cluster: &Cluster) -> Vec<Finding> {
    let mut findings = vec![match &cluster.version {
        Ok(version) => Finding::ok(API, "", format!("it answers: {version}")),
        Err(why) => {
            let finding = unreachable(why);
            return vec![finding];
        }
    }];
    findings.push(definitions(cluster));
    for (kind, read) in &cluster.resources {
        match read {
            Read::Seen(resources) => findings.extend(resources.iter().map(resource)),
            // Of the definitions.
            Read::Absent => {}
            Read::Unread(why) => findings.push(why.finding(RESOURCE, kind.plural())),
        }
    }
    findings.extend(replicas(cluster));
    findings.extend(super::rights::judge(&cluster.rights));
    findings.extend(super::secrets::judge(&cluster.secret_rights));
    let account = cluster.deployments.seen().and_then(|all| account(all));
    let rotation = cluster.rotation.iter();
    findings.extend(rotation.flat_map(|rotation| rotation.judge(account.as_deref())));
    findings
}

/// There is no cluster, or none that answers.
pub(super) fn unreachable(why: &str) -> Finding {
    Finding::failure(API, "", shown(why))
        .why("nothing of the cluster could be looked at")
        .fix("kubectl version, with the same KUBECONFIG and context; in the pod look at its ServiceAccount and the network policies")
}

fn definitions(cluster: &Cluster) -> Finding {
    let apply = "ratify crds apply, or kubectl apply --server-side -f charts/ratify/crds";
    let absent: Vec<&str> = cluster
        .resources
        .iter()
        .filter(|(_, read)| *read == Read::Absent)
        .map(|(kind, _)| kind.plural())
        .collect();
    if !absent.is_empty() {
        return Finding::failure(DEFINITIONS, "", format!("not defined: {}", absent.join(", ")))
            .why("the controller does not become ready, and such resources cannot be made")
            .fix(apply);
    }
    let ours = crd::definitions().unwrap_or_default();
    let schema_of = |definition: &Value| {
        let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
        let mut ours = versions.filter(|version| version["name"] == VERSION);
        ours.next().map(|version| version["schema"].clone())
    };
    let (mut others, mut unread) = (Vec::new(), None);
    for (kind, read) in &cluster.definitions {
        match read {
            Read::Unread(why) => unread = Some(why),
            Read::Absent => {}
            Read::Seen(seen) => {
                let own = ours.iter().find(|own| own["spec"]["names"]["plural"] == kind.plural());
                if own.and_then(schema_of) != schema_of(seen) {
                    others.push(kind.plural());
                }
            }
        }
    }
    match (others.is_empty(), unread) {
        (false, _) => Finding::warning(DEFINITIONS, "", format!("of another version: {}", others.join(", ")))
            .why("what these do not name is not kept: the pins of plugins, conditions, new keys of a spec")
            .fix(apply),
        (true, Some(why)) => why.finding_of(DEFINITIONS, "", "which version they are of: "),
        (true, None) => Finding::ok(DEFINITIONS, "", format!("all {} are this version's", Kind::ALL.len())),
    }
}

fn resource(resource: &Resource) -> Finding {
    let on = resource.key.to_string();
    let get = || {
        let namespace = match resource.key.namespace.as_str() {
            "" => String::new(),
            namespace => format!("-n {} ", shown(namespace)),
        };
        let (kind, name) = (resource.key.kind.name().to_lowercase(), shown(&resource.key.name));
        format!("kubectl {namespace}get {kind} {name} -o jsonpath='{{.status}}'")
    };
    let status = &resource.status;
    let Some(is_success) = status.get("issuccess").and_then(Value::as_bool) else {
        return Finding::warning(RESOURCE, &on, "its status says nothing")
            .why("no controller has looked at it, or none may write it")
            .fix("kubectl logs of Ratify; it needs --enable-crd-manager and the right to patch the status");
    };
    let observed = status.get("observedGeneration").and_then(Value::as_i64);
    if observed.is_some_and(|observed| observed < resource.generation) {
        let seen = format!(
            "its status is about generation {}, and it is at {}",
            observed.unwrap_or(0),
            resource.generation
        );
        return Finding::warning(RESOURCE, &on, seen)
            .why("the last change of its spec is not in force yet")
            .fix(format!("look again in a while; then kubectl logs of Ratify, and {}", get()));
    }
    if !is_success {
        let error = ["brieferror", "error"].iter().find_map(|key| status.get(*key)?.as_str());
        return Finding::failure(RESOURCE, &on, shown(error.unwrap_or("it is not in force")))
            .why("what it would judge is refused, or what was in force before still is")
            .fix(format!("{} has the whole error", get()));
    }
    let moved = condition(resource, "PluginCurrent").filter(|one| one["status"] == "False");
    if let Some(moved) = moved {
        let message = moved["message"].as_str().unwrap_or("its tag stands for something else now");
        return Finding::note(RESOURCE, &on, shown(message))
            .why("what runs is what the tag stood for at first; a new version does not come by itself")
            .fix("set source.refreshInterval to follow the tag, or name the new digest in source.artifact");
    }
    Finding::ok(RESOURCE, &on, "in force")
}

fn condition<'a>(resource: &'a Resource, type_: &str) -> Option<&'a Value> {
    let conditions = resource.status.get("conditions")?.as_array()?;
    conditions.iter().find(|one| one["type"] == type_)
}

fn replicas(cluster: &Cluster) -> Vec<Finding> {
    let deployments = match &cluster.deployments {
        Read::Seen(deployments) => deployments,
        Read::Absent => return Vec::new(),
        Read::Unread(why) => return vec![why.finding(REPLICAS, "")],
    };
    if deployments.is_empty() {
        let seen = format!("no Deployment of Ratify is in {}", shown(&cluster.namespace));
        let finding = Finding::note(REPLICAS, "", seen)
            .why("either it runs elsewhere, or nobody answers Gatekeeper")
            .fix("name its namespace: ratify doctor --cluster -n NAMESPACE");
        return vec![finding];
    }
    deployments.iter().map(replicas_of).collect()
}

fn replicas_of(deployment: &Value) -> Finding {
    let on = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let count = |key: &str| deployment["status"][key].as_i64().unwrap_or(0);
    let (ready, updated) = (count("readyReplicas"), count("updatedReplicas"));
    if ready < 1 {
        return Finding::failure(REPLICAS, on, format!("none of {wanted} is ready"))
            .why("nobody answers Gatekeeper")
            .fix(format!("kubectl rollout status deployment/{on}; kubectl logs deployment/{on}"));
    }
    if updated < wanted || ready < wanted {
        return Finding::warning(REPLICAS, on, format!("{ready} of {wanted} are ready, {updated} are of the present version"))
            .why("replicas of two versions, or of two configurations, may answer the same question differently")
            .fix(format!("kubectl rollout status deployment/{on}; kubectl describe deployment {on}"));
    }
    match wanted {
        1 => Finding::note(REPLICAS, on, "one, which is ready")
            .why("while it is moved or restarted nobody answers Gatekeeper, and pods are refused, or admitted unseen")
            .fix("helm upgrade of Ratify with --reuse-values --set replicaCount=2"),
        _ => Finding::ok(REPLICAS, on, format!("{ready}, all ready")),
    }
}

/// Those of all Deployments that run `ratify serve`.
pub(super) fn of_ratify(deployments: Vec<Value>) -> Vec<Value> {
    let serves = |deployment: &Value| serve_line(deployment).is_some();
    deployments.into_iter().filter(serves).collect()
}

/// The command line of the container that runs `ratify serve`.
pub(super) fn serve_line(deployment: &Value) -> Option<Vec<String>> {
    serving(deployment).map(|(_, line)| line)
}

/// Whether that container's server makes what custom resources say, and its own certificates.
pub(super) fn has_manager(deployment: &Value) -> bool {
    let line = serve_line(deployment).unwrap_or_default();
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    crate::cli::serve_of(&line).is_some_and(|serve| serve.enable_crd_manager)
}

/// The environment of that container, as far as its Deployment says it itself.
pub(super) fn environment(deployment: &Value) -> Option<Environment> {
    let (container, _) = serving(deployment)?;
    let lookup = |name: &str| {
        let mut variables = container["env"].as_array()?.iter();
        let variable = variables.find(|variable| variable["name"] == name)?;
        Some(variable["value"].as_str()?.into())
    };
    Some(Environment::from_lookup(lookup, || None))
}

fn serving(deployment: &Value) -> Option<(&Value, Vec<String>)> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array()?;
    containers.iter().find_map(|container| {
        let words = |key: &str| {
            let words = container[key].as_array().into_iter().flatten();
            words.filter_map(|word| word.as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        let (command, arguments) = (words("command"), words("args"));
        let is_ratify = command.first().is_none_or(|program| program.ends_with("ratify"));
        let image = container["image"].as_str().unwrap_or_default();
        let is_serving = command.iter().chain(&arguments).any(|word| word == "serve");
        let is_ours = !command.is_empty() || image.contains("ratify");
        let program = command.first().cloned().unwrap_or_else(|| "ratify".to_owned());
        let rest = command.into_iter().skip(1).chain(arguments);
        let line = || std::iter::once(program).chain(rest).collect();
        (is_ratify && is_serving && is_ours).then(|| (container, line()))
    })
}

/// The account that it runs by.
pub(super) fn account(deployments: &[Value]) -> Option<String> {
    let pod = &deployments.first()?["spec"]["template"]["spec"];
    Some(pod["serviceAccountName"].as_str().unwrap_or("default").to_owned())
}

/// The ConfigMap that it mounts its configuration from.
pub(super) fn config_map(deployments: &[Value]) -> Option<String> {
    let volumes = deployments.first()?["spec"]["template"]["spec"]["volumes"].as_array()?;
    let mut maps = volumes.iter().filter(|volume| volume["name"] == "config");
    maps.next()?["configMap"]["name"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::finding::State, *};

    fn read(status: Value) -> Finding {
        let kind = Kind { role: crate::k8s::kind::Role::Verifier, namespaced: false };
        let object = json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "Verifier",
            "metadata": {"name": "v", "generation": 3}, "spec": {}, "status": status,
        });
        resource(&Resource::read(kind, serde_json::from_value(object).unwrap()))
    }

    #[test]
    fn a_resource_is_judged_by_its_status() {
        let moved =
            json!([{"type": "PluginCurrent", "status": "False", "message": "the tag moved"}]);
        let table = [
            (json!({"issuccess": true, "observedGeneration": 3}), State::Ok, "in force"),
            (json!({"issuccess": true}), State::Ok, "in force"),
            (json!({}), State::Warning, "its status says nothing"),
            (
                json!({"issuccess": true, "observedGeneration": 2}),
                State::Warning,
                "its status is about generation 2, and it is at 3",
            ),
            (
                json!({"issuccess": false, "brieferror": "no such plugin", "error": "E"}),
                State::Failure,
                "no such plugin",
            ),
            (json!({"issuccess": true, "conditions": moved}), State::Note, "the tag moved"),
        ];
        for (status, state, seen) in table {
            let finding = read(status);
            assert_eq!((finding.state, finding.seen.as_str()), (state, seen));
            assert_eq!(finding.fix.is_empty(), state == State::Ok);
        }
        assert_eq!(read(json!({"issuccess": false})).on, "Verifier v");
    }

    #[test]
    fn replicas_that_are_not_all_ready_are_found() {
        let of = |wanted: i64, ready: i64, updated: i64| {
            replicas_of(&json!({"metadata": {"name": "ratify"}, "spec": {"replicas": wanted},
                "status": {"readyReplicas": ready, "updatedReplicas": updated}}))
            .state
        };
        assert_eq!(of(2, 2, 2), State::Ok);
        assert_eq!(of(1, 1, 1), State::Note);
        assert_eq!(of(2, 1, 2), State::Warning);
        assert_eq!(of(2, 2, 1), State::Warning);
        assert_eq!(of(2, 0, 2), State::Failure);
    }

    #[test]
    fn a_deployment_of_ratify_is_known_by_what_it_runs() {
        let deployment = |command: Value, arguments: Value, image: &str| {
            json!({"spec": {"template": {"spec": {
                "serviceAccountName": "ratify-admin",
                "volumes": [{"name": "config", "configMap": {"name": "ratify-configuration"}}],
                "containers": [{"image": image, "command": command, "args": arguments}]}}}})
        };
        let ours = deployment(json!(["/app/ratify"]), json!(["serve", "--http", ":6001"]), "x");
        let others = deployment(json!(["/manager"]), json!(["serve"]), "gatekeeper");
        let bare = deployment(json!(null), json!(["serve"]), "registry.example.com/ratify:1");
        let found = of_ratify(vec![others, ours, bare]);
        assert_eq!(found.len(), 2);
        assert_eq!(serve_line(&found[0]).unwrap()[..2], ["/app/ratify", "serve"]);
        assert_eq!(account(&found).unwrap(), "ratify-admin");
        assert_eq!(config_map(&found).unwrap(), "ratify-configuration");
        let line = |flag: &str| json!(["serve", "--http", ":6001", flag]);
        let has = |flag| has_manager(&deployment(json!(["/app/ratify"]), line(flag), "x"));
        assert!(has("--enable-crd-manager") && has("--enable-crd-manager=true"));
        assert!(!has("--enable-crd-manager=false") && !has("--health-port=0"));
    }
}
