//! Which secrets the cluster's resources have read, and whether the server may read them. Pure.

use std::collections::BTreeSet;

use ratify_core::config::PluginSource;
use ratify_store_oras::auth::{NamedSecrets, ObjectName};
use serde_json::{Map, Value};

use super::{
    cluster::Read,
    finding::Finding,
    rights::{RIGHTS, Right, judge_as},
};
use crate::k8s::{entry, kind::Role, resource::Resource};

/// The most secrets that are asked about.
const MOST: usize = 200;
const WITHOUT: &str =
    "who reads a registry with these credentials cannot: each image of it is refused";

/// What has to be read for the credentials of all stores and sources. Names that no object has are told
/// by the status of their resource.
pub(super) fn needed<'a>(
    resources: impl Iterator<Item = &'a Resource>,
    namespace: &str,
) -> Vec<Right> {
    let mut objects = BTreeSet::new();
    for resource in resources {
        let home = match resource.key.kind.namespaced {
            true => &resource.key.namespace,
            false => namespace,
        };
        for provider in providers(resource) {
            let Ok(named) = NamedSecrets::from_config(&provider) else { continue };
            objects.insert((
                home.to_owned(),
                "serviceaccounts",
                named.service_account().to_owned(),
            ));
            for (of, name) in named.secrets {
                let of = of.unwrap_or_else(|| home.to_owned());
                // Others' are refused without a request.
                if !resource.key.kind.namespaced || of == *home {
                    objects.insert((of, "secrets", name));
                }
            }
        }
    }
    let is_name =
        |(namespace, _, name): &(String, &str, String)| ObjectName::new(namespace, name).is_ok();
    let right = |(namespace, resource, name): (String, &str, String)| Right {
        verb: "get",
        group: "",
        resource: resource.to_owned(),
        subresource: "",
        name,
        namespace,
        without: WITHOUT,
    };
    objects.into_iter().filter(is_name).take(MOST).map(right).collect()
}

/// The configurations of `k8Secrets` in a resource.
fn providers(resource: &Resource) -> Vec<Map<String, Value>> {
    let of_source = |source: Option<PluginSource>| source.and_then(|source| source.auth_provider);
    let found = match resource.key.kind.role {
        Role::Store => entry::store(resource).map(|made| {
            let raw = made.entry.raw.iter();
            let mut own = raw.filter(|(key, _)| key.eq_ignore_ascii_case("authProvider"));
            let own = own.next().and_then(|(_, value)| value.as_object().cloned());
            [own, of_source(made.entry.source)]
        }),
        Role::Verifier => {
            entry::verifier(resource).map(|made| [None, of_source(made.entry.source)])
        }
        _ => return Vec::new(),
    };
    let found = found.into_iter().flatten().flatten();
    let name = |provider: &Map<String, Value>| {
        provider.get("name").and_then(Value::as_str).is_some_and(NamedSecrets::is_of)
    };
    found.filter(name).collect()
}

/// What is to be said of them, a namespace at a time.
pub(super) fn judge(rights: &[(Right, Read<bool>)]) -> Vec<Finding> {
    let namespaces: BTreeSet<&str> =
        rights.iter().map(|(right, _)| right.namespace.as_str()).collect();
    let all = namespaces.iter().copied().collect::<Vec<_>>().join(",");
    let fix = format!(
        "helm upgrade of Ratify with --reuse-values --set 'rbac.readSecretsIn={{{all}}}', which names all that resources read"
    );
    let of = |namespace: &&str| {
        let rights = rights.iter().filter(|(right, _)| right.namespace == *namespace);
        judge_as(RIGHTS, &format!("secrets of {namespace}"), rights, &fix)
    };
    namespaces.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::k8s::kind::Kind;

    fn of(kind: &str, namespace: &str, spec: Value) -> Resource {
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap();
        let object = json!({"metadata": {"name": "n", "namespace": namespace}, "spec": spec});
        Resource::read(kind, serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_resources_have_read_is_asked_about_by_name_and_namespace() {
        let secrets = json!([{"secretName": "a"}, {"secretName": "b", "namespace": "other"}, {"secretName": "B!"}]);
        let provider = json!({"name": "k8Secrets", "secrets": secrets});
        let store = json!({"name": "oras", "parameters": {"authProvider": provider}});
        let source = json!({"artifact": "r.example.com/p:1", "authProvider": {"name": "k8Secrets", "serviceAccountName": "sa"}});
        let docker =
            json!({"name": "oras", "parameters": {"authProvider": {"name": "dockerConfig"}}});
        let resources = [
            of("Store", "", store.clone()),
            of("Store", "", docker),
            of("NamespacedStore", "team", store),
            of("Verifier", "", json!({"name": "p", "artifactTypes": "a", "source": source})),
        ];
        let needed = needed(resources.iter(), "own");
        let lines: Vec<String> = needed
            .iter()
            .map(|right| format!("{} {} {}", right.namespace, right.resource, right.name))
            .collect();
        assert_eq!(
            lines,
            [
                "other secrets b",
                "own secrets a",
                "own serviceaccounts default",
                "own serviceaccounts sa",
                "team secrets a",
                "team serviceaccounts default",
            ]
        );
        let may = |right: &Right| right.namespace != "team";
        let rights: Vec<_> = needed
            .into_iter()
            .map(|right| {
                let may = may(&right);
                (right, Read::Seen(may))
            })
            .collect();
        let findings = judge(&rights);
        let said: Vec<_> = findings.iter().map(|f| (f.on.as_str(), f.seen.as_str())).collect();
        assert_eq!(
            said,
            [
                ("secrets of other", "all 1 that it needs"),
                ("secrets of own", "all 3 that it needs"),
                ("secrets of team", "missing: get secrets a, get serviceaccounts default"),
            ]
        );
        assert!(findings[2].fix.contains("'rbac.readSecretsIn={other,own,team}'"));
    }
}
