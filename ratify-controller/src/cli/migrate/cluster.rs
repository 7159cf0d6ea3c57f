//! What becomes of what is in a cluster: custom resources, and the Deployment that serves them.
//! Pure: `live` reads.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Container};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    config,
    entries::{self, Owner},
    finding::{Finding, Level, Source, shown},
    rows, values,
};
use crate::{
    env::TUF_ROOT,
    k8s::{
        entry::{self, POLICY_NAME},
        kind::Role,
        resource::Resource,
    },
    keys::{CertificateStore, Provider},
};

/// What was read of a cluster.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) resources: Vec<Resource>,
    /// The kinds that the cluster has no definition of.
    pub(super) undefined: Vec<&'static str>,
    /// The namespace that was looked at for what is not a custom resource.
    pub(super) namespace: String,
    pub(super) deployments: Vec<Deployment>,
    /// The configurations that Deployments mount, by name.
    pub(super) configurations: Vec<(String, String)>,
    /// What could not be read, and why.
    pub(super) unread: Vec<(String, String)>,
}

/// The flags of v1's `serve`, which are this version's.
const FLAGS: [&str; 17] = [
    "http",
    "config",
    "c",
    "cert-dir",
    "ca-cert-file",
    "enable-crd-manager",
    "cache-enabled",
    "cache-type",
    "cache-name",
    "cache-size",
    "cache-ttl",
    "metrics-enabled",
    "metrics-type",
    "metrics-port",
    "health-port",
    "debug",
    "d",
];
/// What the variables of feature flags begin with; the others of Ratify are no flags.
const FLAG_PREFIX: &str = "RATIFY_";
const NO_FLAGS: [&str; 4] =
    ["RATIFY_NAMESPACE", "RATIFY_NAME", "RATIFY_LOG_LEVEL", "RATIFY_CONFIG"];

/// What is found in a cluster.
pub(super) fn sources(seen: &Seen) -> Vec<Source> {
    let mut resources: Vec<Finding> = seen.resources.iter().flat_map(resource).collect();
    if seen.resources.is_empty() {
        resources.push(Finding::same("the cluster", "there is no custom resource"));
    }
    if !seen.undefined.is_empty() {
        resources.push(Finding::look(
            "the definitions",
            format!("the cluster does not define {}", seen.undefined.join(", ")),
            "Ratify is not installed there, or it is older than v1.4.0",
            "`ratify crds apply` defines them; so does the chart",
        ));
    }
    let mut sources = vec![Source { name: "custom resources".to_owned(), findings: resources }];
    sources.extend(seen.deployments.iter().map(|deployment| Source {
        name: format!("Deployment {}/{}", seen.namespace, deployment.name_any()),
        findings: containers(deployment).into_iter().flat_map(container).collect(),
    }));
    for (name, text) in &seen.configurations {
        let findings = config::findings(text.as_bytes()).unwrap_or_else(|error| {
            vec![Finding::change(
                "the configuration",
                format!("it is no JSON: {}", shown(&error.to_string())),
                "v1 refuses it too",
                "mend it",
            )]
        });
        sources.push(Source { name: name.clone(), findings });
    }
    sources.extend(not_seen(seen));
    sources
}

/// What is missing from the picture.
fn not_seen(seen: &Seen) -> Option<Source> {
    let unread = seen.unread.iter().map(|(what, why)| {
        let todo = "run the command with this right, or look yourself";
        Finding::look(what, "it could not be read", why, todo)
    });
    let mut findings: Vec<Finding> = unread.collect();
    if findings.is_empty() && seen.deployments.is_empty() {
        findings.push(Finding::look(
            format!("the namespace {}", shown(&seen.namespace)),
            "no Deployment in it runs Ratify",
            "image, arguments and configuration were not looked at",
            "name the namespace with --namespace",
        ));
    }
    (!findings.is_empty()).then(|| Source { name: "not looked at".to_owned(), findings })
}

/// What becomes of a custom resource.
fn resource(resource: &Resource) -> Vec<Finding> {
    let at = shown(&resource.key.to_string());
    let owner = match resource.key.kind.namespaced {
        true => Owner::Namespace(&resource.key.namespace),
        false => Owner::Cluster,
    };
    let mut findings = match resource.key.kind.role {
        Role::Verifier => match entry::verifier(resource) {
            Ok(made) => {
                let entry = entries::verifier(&at, &made.entry, owner);
                address(&at, made.address.as_deref(), owner).into_iter().chain(entry).collect()
            }
            Err(error) => vec![broken(&at, &error)],
        },
        Role::Store => match entry::store(resource) {
            Ok(made) => {
                let entry = entries::store(&at, &made.entry, owner);
                address(&at, made.address.as_deref(), owner).into_iter().chain(entry).collect()
            }
            Err(error) => vec![broken(&at, &error)],
        },
        Role::Policy => policy(&at, resource, owner),
        Role::Keys | Role::CertificateStore => keys(&at, resource, &owner),
    };
    findings.extend(failing(&at, resource));
    findings
}

/// Whether v1 itself reports that a resource is not in force.
fn failing(at: &str, resource: &Resource) -> Option<Finding> {
    let text = |key: &str| resource.status.get(key).and_then(Value::as_str);
    let is_failing = resource.status.get("issuccess") == Some(&Value::Bool(false));
    is_failing.then(|| {
        let error = text("brieferror").or(text("error")).unwrap_or("it does not say why");
        Finding::look(
            at,
            "its status says that it is not in force today",
            shown(error),
            "mend it first, so that the two can be compared",
        )
    })
}

fn broken(at: &str, error: &ratify_core::Error) -> Finding {
    Finding::change(
        at,
        shown(&error.to_string()),
        "it is accepted, and its status says that it is not in force",
        "mend it",
    )
}

fn address(at: &str, address: Option<&str>, owner: Owner<'_>) -> Option<Finding> {
    let address = shown(address?);
    Some(match owner {
        Owner::Namespace(_) => Finding::change(
            format!("{at} spec.address"),
            format!("the address {address} is refused"),
            "a tenant must not choose or overwrite files",
            "take it away, or set plugins.namespaces.anyAddress in the configuration",
        )
        .row(rows::TENANT_ADDRESS),
        _ => Finding::same(format!("{at} spec.address"), address),
    })
}

fn policy(at: &str, resource: &Resource, owner: Owner<'_>) -> Vec<Finding> {
    if entry::is_misnamed_policy(resource) {
        return vec![Finding::look(
            at,
            "it is not in force",
            format!("only a policy of the name {POLICY_NAME} counts, in v1 too"),
            "delete it, or name it so",
        )];
    }
    let mut findings = match entry::policy(resource) {
        Ok(section) => vec![entries::policy(at, &section, owner)],
        Err(error) => vec![broken(at, &error)],
    };
    let takes_effect = findings.iter().all(|finding| finding.level == Level::Same);
    if takes_effect && resource.key.name != POLICY_NAME {
        let finding = Finding::look(
            at,
            format!("it takes effect, unless there is one of the name {POLICY_NAME}"),
            "what v1's conversion intended; v1 refuses it",
            "delete it, if what v1 does today is what you want",
        );
        findings.push(finding.row(rows::LEGACY_POLICY));
    }
    findings
}

fn keys(at: &str, resource: &Resource, owner: &Owner<'_>) -> Vec<Finding> {
    let parameters = resource.spec.get("parameters");
    let text = |key: &str| resource.spec.get(key).and_then(Value::as_str).unwrap_or_default();
    let (type_, read) = match resource.key.kind.role {
        Role::CertificateStore => {
            let type_ = text("provider").trim().to_ascii_lowercase();
            let read = CertificateStore::new(&type_, parameters).map(drop);
            (type_, read)
        }
        _ => (text("type").to_owned(), Provider::new(text("type"), parameters).map(drop)),
    };
    if let Err(error) = read {
        return vec![broken(at, &error)];
    }
    let mut findings = vec![Finding::same(at, format!("the provider {type_}"))];
    if let (Owner::Namespace(_), "azurekeyvault") = (owner, type_.as_str()) {
        let finding = Finding::change(
            at,
            "the key vault is not asked, unless this is Ratify's own namespace",
            "a tenant would ask it as Ratify, for what Ratify may read",
            "namespaces.clusterCredentials in the configuration allows it, or make it a resource of the cluster",
        );
        findings.push(finding.row(rows::TENANT_VAULT));
    }
    findings
}

/// The containers of a Deployment that run Ratify.
pub(super) fn containers(deployment: &Deployment) -> Vec<&Container> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
    containers.iter().filter(|container| runs_ratify(container)).collect()
}

fn runs_ratify(container: &Container) -> bool {
    let command = container.command.as_deref().unwrap_or_default();
    let image = container.image.as_deref().unwrap_or_default();
    let is_program = |word: &String| word.rsplit('/').next() == Some("ratify");
    command.first().is_some_and(is_program) || values::is_v1_image(image)
}

fn container(container: &Container) -> Vec<Finding> {
    let at = format!("container {}", shown(&container.name));
    let image = container.image.clone().unwrap_or_default();
    let mut findings = vec![if values::is_v1_image(&image) {
        Finding::change(
            format!("{at} image"),
            format!("{} is v1's image", shown(&image)),
            "it is what is replaced",
            "upgrade the release with this version's chart, or put this version's image in its place",
        )
    } else {
        Finding::look(
            format!("{at} image"),
            format!("{} is run", shown(&image)),
            "v1's image may be kept there",
            "see which version it is",
        )
    }];
    findings.extend(arguments(&at, container));
    findings.extend(variables(&at, container));
    findings.extend(sigstore(&at, container));
    findings
}

/// Where a container has what `cosign initialize` wrote.
fn sigstore(at: &str, container: &Container) -> Vec<Finding> {
    let named = container.env.iter().flatten().filter(|variable| variable.name == TUF_ROOT);
    let named = named.map(|variable| variable.name.as_str());
    let mounts = container.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str());
    let mounts = mounts.filter(|path| path.split('/').any(|part| part == ".sigstore"));
    named.chain(mounts).map(|what| entries::tuf_root(format!("{at} {}", shown(what)))).collect()
}

/// The flags of a command line, and their values where they are written with `=`.
fn flags(container: &Container) -> Vec<(&str, Option<&str>)> {
    let words = container.command.iter().chain(&container.args).flatten();
    words
        .filter_map(|word| word.strip_prefix('-'))
        .map(|word| word.trim_start_matches('-'))
        .map(|word| match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        })
        .collect()
}

fn arguments(at: &str, container: &Container) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut same = BTreeSet::new();
    for (name, value) in flags(container) {
        let at = format!("{at} {}", shown(&dashed(name)));
        let is_on = json!(
            value.is_none_or(|value| matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True"))
        );
        let judged = match name {
            "metrics-enabled" => values::metrics(&at, &is_on),
            "cache-type" => values::cache_type(&at, &json!(value.unwrap_or_default())),
            "cache-ttl" => values::cache_ttl(&at, &json!(value.unwrap_or_default())),
            _ if FLAGS.contains(&name) => {
                same.insert(name);
                None
            }
            _ => Some(Finding::change(
                at,
                "there is no such flag",
                "v1 refuses it too",
                "take it away",
            )),
        };
        findings.extend(judged);
    }
    if !same.is_empty() {
        let names = same.into_iter().map(dashed).collect::<Vec<_>>();
        findings.push(Finding::same(format!("{at} arguments"), names.join(" ")));
    }
    findings
}

/// A flag as it is written.
fn dashed(name: &str) -> String {
    if name.len() == 1 { format!("-{name}") } else { format!("--{name}") }
}

fn variables(at: &str, container: &Container) -> Vec<Finding> {
    let variables = container.env.iter().flatten();
    let flags = variables.filter(|variable| {
        variable.name.starts_with(FLAG_PREFIX) && !NO_FLAGS.contains(&variable.name.as_str())
    });
    flags
        .map(|variable| {
            let at = format!("{at} {}", shown(&variable.name));
            values::feature_flag(at, &variable.name, variable.value.as_deref() == Some("1"))
        })
        .collect()
}

/// The ConfigMaps that the configuration of a Deployment may be in.
pub(super) fn config_maps(deployment: &Deployment) -> Vec<String> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let volumes = pod.and_then(|pod| pod.volumes.as_deref()).unwrap_or_default();
    volumes.iter().filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone())).collect()
}

#[cfg(test)]
mod tests;
