//! Entries of stores, verifiers and policies, whether a file or a resource has them. Pure.

use std::cell::Cell;

use ratify_core::{
    ErrorCode, Reference,
    config::{PluginSource, PolicyConfig, StorePluginConfig, VerifierPluginConfig},
    policy::Policy,
};
use ratify_store_oras::auth::{self, Availability, NamedSecrets};
use serde_json::{Map, Value};

use super::{
    finding::{Finding, shown},
    rows, secrets,
};
use crate::{built_in, env::Environment, plugin::notation::is_notation_plugin};

/// The plugins of v1's image.
pub(super) const IMAGE_PLUGINS: [&str; 4] =
    ["sbom", "licensechecker", "schemavalidator", "vulnerabilityreport"];
/// The built-in store.
const ORAS: &str = "oras";
const DOCKER_CONFIG: &str = "dockerConfig";
/// The policy that is not built yet.
const REGO: &str = "regopolicy";
/// What allows `source`.
pub(super) const DYNAMIC_PLUGINS: &str = "RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS";

/// Who an entry belongs to: that says what it may do, and what becomes of one that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// A configuration file, of the command line or of a server without custom resources.
    File,
    /// A resource of the whole cluster.
    Cluster,
    /// A resource of a namespace.
    Namespace(&'a str),
}

impl Owner<'_> {
    /// Where a key of an entry is.
    fn key(self, at: &str, key: &str) -> String {
        match self {
            Self::File => format!("{at}.{key}"),
            _ if key == "source" => format!("{at} spec.source"),
            _ => format!("{at} spec.parameters.{key}"),
        }
    }
}

/// What becomes of a verifier.
pub(super) fn verifier(at: &str, entry: &VerifierPluginConfig, owner: Owner<'_>) -> Vec<Finding> {
    let type_ = entry.binary_name();
    if built_in::is_built_in(entry) {
        return built_in_verifier(at, entry, owner);
    }
    plugin(at, "verifier", type_, entry.source.as_ref(), owner)
}

/// What becomes of a verifier that is built in.
fn built_in_verifier(at: &str, entry: &VerifierPluginConfig, owner: Owner<'_>) -> Vec<Finding> {
    let type_ = entry.binary_name();
    let is_of_namespace = matches!(owner, Owner::Namespace(_));
    let mut findings = match built_in::error(entry, is_of_namespace, &Environment::default()) {
        None => vec![Finding::same(at, format!("the built-in verifier {type_}"))],
        Some(error) if error.root().code() == ErrorCode::OperationForbidden => vec![
            Finding::change(
                at,
                shown(&error.to_string()),
                "a tenant must not have Ratify's files read, or its requests sent, as it likes",
                "name a key management provider, or make it a verifier of the cluster",
            )
            .row(rows::TENANT_FILES),
        ],
        Some(error) => vec![Finding::change(
            at,
            shown(&error.to_string()),
            "v1 refuses it, too",
            "mend the entry",
        )],
    };
    match &entry.source {
        None => {}
        // A plugin of Notation, which v1 downloads as well.
        Some(source) if built_in::takes_source(entry) => {
            findings.extend(plugin(at, "verifier", type_, Some(source), owner));
        }
        Some(_) => {
            let what = format!("verifier {type_}");
            findings.push(source_of_built_in(owner.key(at, "source"), &what));
        }
    }
    findings
}

/// What becomes of a Sigstore that `cosign initialize` chose.
pub(super) fn tuf_root(at: String) -> Finding {
    Finding::change(
        at,
        "what cosign initialize wrote is not read: a verifier cosign that needs it is refused",
        "Sigstore's own repository must not stand for the one that was chosen",
        "write tuf: {url, root} or trustedRoot into the verifier; where Sigstore's own is meant, take this away",
    )
    .row(rows::TUF_ROOT)
}

/// What becomes of the source of something that is built in.
fn source_of_built_in(at: String, what: &str) -> Finding {
    Finding::look(
        at,
        format!("the source of the built-in {what} is not downloaded"),
        "v1 downloads it and never uses it",
        "take it away",
    )
    .row(rows::SOURCE_OF_BUILT_IN)
}

/// What becomes of a store.
pub(super) fn store(at: &str, entry: &StorePluginConfig, owner: Owner<'_>) -> Vec<Finding> {
    if entry.name != ORAS {
        return plugin(at, "store", &entry.name, entry.source.as_ref(), owner);
    }
    let mut findings = vec![Finding::same(at, "the built-in store oras")];
    if entry.source.is_some() {
        findings.push(source_of_built_in(owner.key(at, "source"), "store oras"));
    }
    let key = |name: &str| {
        let mut keys = entry.raw.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        keys.next().map(|(_, value)| value)
    };
    match (key("authProvider"), owner) {
        (Some(Value::Object(provider)), _) => {
            findings.extend(credentials(&owner.key(at, "authProvider"), provider, owner));
        }
        (_, Owner::Namespace(_)) => findings.push(lent(owner.key(at, "authProvider"))),
        _ => {}
    }
    findings
}

/// What becomes of a namespace's use of Ratify's own credentials.
fn lent(at: String) -> Finding {
    Finding::change(
        at,
        "Ratify's own docker configuration is not used for it: registries are asked without credentials",
        "a tenant must not read images with the cluster's credentials",
        "name k8Secrets with a secret of the namespace where a registry asks for credentials, or set namespaces.clusterCredentials in the configuration",
    )
    .row(rows::TENANT_CREDENTIALS)
}

/// What becomes of a namespace's use of the identity that a cloud gives Ratify.
fn identity(at: &str, name: &str) -> Finding {
    Finding::change(
        at,
        format!("the auth provider {name} is refused for it: it has Ratify's own identity"),
        "a tenant must not read images with the cluster's credentials",
        "name k8Secrets with a secret of the namespace, or set namespaces.clusterCredentials in the configuration",
    )
    .row(rows::TENANT_CREDENTIALS)
}

/// What becomes of an entry that is a program.
fn plugin(
    at: &str,
    kind: &str,
    type_: &str,
    source: Option<&PluginSource>,
    owner: Owner<'_>,
) -> Vec<Finding> {
    let type_ = shown(type_);
    let Some(source) = source else { return vec![program(at, kind, &type_)] };
    let at = owner.key(at, "source");
    if matches!(owner, Owner::Namespace(_)) {
        let finding = Finding::change(
            at,
            format!("the source of the {kind} plugin {type_} is refused"),
            "a tenant must not run code in the controller",
            "make it a resource of the whole cluster, or set plugins.namespaces.source in the configuration",
        );
        return vec![finding.row(rows::TENANT_SOURCE)];
    }
    let artifact = shown(&source.artifact);
    let mut findings = vec![match Reference::parse_exact(&source.artifact) {
        Err(error) => Finding::change(
            at.as_str(),
            format!("{artifact:?} names no plugin: {}", shown(&error.to_string())),
            "v1 refuses it too",
            "name registry, repository and a tag or, better, a digest",
        )
        .row(rows::SOURCE_WITHOUT_TAG),
        Ok(reference) if reference.digest().is_some() || owner == Owner::File => Finding::same(
            at.as_str(),
            format!("{artifact} is pulled and proven, where {DYNAMIC_PLUGINS} is 1"),
        ),
        Ok(_) => Finding::look(
            at.as_str(),
            format!("the digest that {artifact} stands for at first use stays in force"),
            "a moved tag must not swap the judge silently; v1 follows it at the next reconcile",
            "name a digest; or set source.refreshInterval where the tag is to be followed",
        )
        .row(rows::PINNED),
    }];
    if let Some(provider) = &source.auth_provider {
        findings.extend(credentials(&format!("{at}.authProvider"), provider, owner));
    }
    findings
}

/// A program that has to be in a plugin directory already.
fn program(at: &str, kind: &str, type_: &str) -> Finding {
    if kind == "verifier" && IMAGE_PLUGINS.contains(&type_) {
        return image_plugin(at, type_);
    }
    if kind == "verifier" && is_notation_plugin(type_) {
        return Finding::look(
            at,
            format!("{type_} is a plugin of Notation, which the verifier notation runs"),
            "it is never run as a verifier; what artifactTypes name would be refused",
            format!("see that the file {type_} is in the plugin directory, or name a source"),
        );
    }
    Finding::look(
        at,
        format!("the {kind} plugin {type_} is run from the plugin directory, as it is"),
        "its file is not part of the image; v1's wire is spoken unchanged",
        format!("see that the file {type_} is there, or name a source"),
    )
}

pub(super) fn image_plugin(at: &str, type_: &str) -> Finding {
    Finding::change(
        at,
        format!("v1's image has the plugin {type_}, and this one has not"),
        "v1's own plugins are not rebuilt yet; v1's programs run unchanged",
        format!("push v1's program with `ratify plugin push` and name it as the source, or put the file {type_} into the plugin directory"),
    )
    .row(rows::IMAGE_PLUGINS)
}

/// What becomes of an `authProvider`.
fn credentials(at: &str, provider: &Map<String, Value>, owner: Owner<'_>) -> Vec<Finding> {
    let name = provider.get("name").and_then(Value::as_str).unwrap_or_default();
    match auth::availability(name) {
        Availability::BuiltIn if NamedSecrets::is_of(name) => {
            secrets::findings(at, provider, owner)
        }
        Availability::BuiltIn if matches!(owner, Owner::Namespace(_)) && name != DOCKER_CONFIG => {
            vec![identity(at, name)]
        }
        Availability::BuiltIn if matches!(owner, Owner::Namespace(_)) => vec![lent(at.to_owned())],
        Availability::BuiltIn => {
            vec![Finding::same(at, format!("the auth provider {name}"))]
        }
        Availability::NotInThisBuild => vec![cloud_provider(at, name)],
        Availability::Unknown => vec![Finding::change(
            at,
            format!("there is no auth provider {:?}", shown(name)),
            "v1 refuses it too; names are matched exactly",
            "name dockerConfig or k8Secrets",
        )],
    }
}

pub(super) fn cloud_provider(at: &str, name: &str) -> Finding {
    Finding::change(
        at,
        format!("the auth provider {name} is not part of this build"),
        "each cloud is a feature of the build, and this one is off",
        "build with it, or use k8Secrets or dockerConfig with a token that is renewed from outside",
    )
}

/// What becomes of a policy. A file it may be in is not looked for: it is where Ratify runs.
pub(super) fn policy(at: &str, section: &PolicyConfig, owner: Owner<'_>) -> Finding {
    let elsewhere = Cell::new(false);
    let read = |path: &str| {
        if path.is_empty() {
            return Err("open : no such file or directory".to_owned());
        }
        elsewhere.set(true);
        Ok("package ratify.policy\nvalid = true".to_owned())
    };
    let error = match Policy::from_config_and_files(section, &read) {
        Ok(policy) if elsewhere.get() => {
            return Finding::look(
                at,
                format!("the policy {}, whose file was not looked at", policy.name()),
                "what is not proven to be judged as by v1 is refused when it is loaded",
                "try it where the file is: ratify verify says so before it asks anyone",
            )
            .row(rows::UNPROVEN_REGO);
        }
        Ok(policy) => return Finding::same(at, format!("the policy {}", policy.name())),
        Err(error) => shown(&error.to_string()),
    };
    let why = match owner {
        Owner::File => "the configuration is refused as a whole",
        Owner::Cluster | Owner::Namespace(_) => {
            "it is accepted, and nothing is admitted by a rule that is not in force"
        }
    };
    if !is_rego(section) {
        return Finding::change(at, error, why, "mend it");
    }
    let todo = "write it with what docs/policies.md lists; the rule need not change";
    Finding::change(at, error, why, todo).row(match owner {
        Owner::File | Owner::Cluster => rows::UNPROVEN_REGO,
        Owner::Namespace(_) => rows::BROKEN_POLICY,
    })
}

/// Whether a policy is v1's other one. Names are matched without case and hyphens.
fn is_rego(section: &PolicyConfig) -> bool {
    let name = section.plugin.as_ref().and_then(|plugin| plugin.get("name")?.as_str());
    name.is_some_and(|name| name.to_lowercase().replace('-', "") == REGO)
}
