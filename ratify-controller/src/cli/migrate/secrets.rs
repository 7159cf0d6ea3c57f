//! What becomes of the secrets that `k8Secrets` names. v1's role may read all of them, here the chart is
//! told which. Pure.

use std::collections::BTreeSet;

use ratify_store_oras::auth::NamedSecrets;
use serde_json::{Map, Value};

use super::{
    entries::Owner,
    finding::{Finding, shown},
    rows,
};

/// The most that is shown of names.
const MOST: usize = 20;

/// What is found in the configuration of the provider. A file's is not judged by the chart's rights.
pub(super) fn findings(at: &str, provider: &Map<String, Value>, owner: Owner<'_>) -> Vec<Finding> {
    let named = match NamedSecrets::from_config(provider) {
        Ok(named) => named,
        Err(error) => {
            let (what, why) = (shown(&error.to_string()), "v1 refuses it, too");
            return vec![Finding::change(at, what, why, "mend the entry")];
        }
    };
    match owner {
        Owner::File => vec![Finding::same(at, "the auth provider k8Secrets")],
        Owner::Cluster => of_cluster(at, &named),
        Owner::Namespace(own) => of_namespace(at, &named, own),
    }
}

/// Its own namespace is the chart's to let it read, when it is asked to.
fn of_cluster(at: &str, named: &NamedSecrets) -> Vec<Finding> {
    let others = namespaces(named);
    if others.is_empty() {
        let finding = Finding::look(
            at,
            "the secrets of Ratify's own namespace are read with the right to",
            "v1's role may read every Secret of the cluster",
            "set oras.authProviders.k8secretsEnabled, or name that namespace in rbac.readSecretsIn, unless it is so",
        );
        return vec![finding.row(rows::SECRET_RIGHTS)];
    }
    vec![without_right(at, &others, ", and Ratify's own namespace beside it")]
}

/// A namespace reads its own.
fn of_namespace(at: &str, named: &NamedSecrets, own: &str) -> Vec<Finding> {
    let at_secrets = format!("{at}.secrets");
    let mut findings = Vec::new();
    for (namespace, name) in &named.secrets {
        let name = shown(name);
        let finding = match namespace.as_deref() {
            Some(namespace) if namespace == own => continue,
            Some(namespace) => Finding::change(
                &at_secrets,
                format!("the secret {name} of the namespace {} is not read", shown(namespace)),
                "a tenant must not read others' secrets",
                "put the secret into the namespace of the resource",
            )
            .row(rows::TENANT_SECRETS),
            None => elsewhere(&at_secrets, &format!("the secret {name}"), own),
        };
        findings.push(finding);
    }
    if named.secrets.is_empty() {
        let account = format!("the service account {}", shown(named.service_account()));
        findings.push(elsewhere(at, &account, own));
    }
    findings.push(without_right(at, &BTreeSet::from([own]), ""));
    findings
}

/// What v1 looks for in its own namespace.
fn elsewhere(at: &str, what: &str, own: &str) -> Finding {
    Finding::change(
        at,
        format!("{what} is looked for in the namespace {own}, and by v1 in Ratify's own"),
        "a tenant must not read others' secrets",
        "put it into the namespace of the resource",
    )
    .row(rows::TENANT_OWN_SECRETS)
}

fn without_right(at: &str, namespaces: &BTreeSet<&str>, more: &str) -> Finding {
    let names: Vec<String> = namespaces.iter().take(MOST).map(|name| shown(name)).collect();
    let names = names.join(", ");
    Finding::change(
        at,
        format!("the secrets of {names} are not read without the right to"),
        "v1's role may read every Secret of the cluster",
        format!("name in rbac.readSecretsIn of the chart: {names}{more}"),
    )
    .row(rows::SECRET_RIGHTS)
}

/// The namespaces that secrets are said to be in.
fn namespaces(named: &NamedSecrets) -> BTreeSet<&str> {
    named.secrets.iter().filter_map(|(namespace, _)| namespace.as_deref()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(provider: &Value, owner: Owner<'_>) -> String {
        let findings = findings("k", provider.as_object().unwrap(), owner);
        let line = |finding: &Finding| {
            format!("{:?} {}: {} | {}", finding.level, finding.at, finding.what, finding.todo)
        };
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn who_may_not_read_a_secret_is_told_what_to_set() {
        let listed = json!({"Secrets": [{"secretName": "a", "namespace": "one"}, {"secretName": "b"},
            {"SecretName": "c", "Namespace": "two"}, {"secretName": "d", "namespace": "one"}]});
        let none = json!({"serviceAccountName": "sa"});
        insta::assert_snapshot!(lines(&listed, Owner::Cluster), @"Change k: the secrets of one, two are not read without the right to | name in rbac.readSecretsIn of the chart: one, two, and Ratify's own namespace beside it");
        insta::assert_snapshot!(lines(&none, Owner::Cluster), @"Look k: the secrets of Ratify's own namespace are read with the right to | set oras.authProviders.k8secretsEnabled, or name that namespace in rbac.readSecretsIn, unless it is so");
        insta::assert_snapshot!(lines(&listed, Owner::Namespace("one")), @"
        Change k.secrets: the secret b is looked for in the namespace one, and by v1 in Ratify's own | put it into the namespace of the resource
        Change k.secrets: the secret c of the namespace two is not read | put the secret into the namespace of the resource
        Change k: the secrets of one are not read without the right to | name in rbac.readSecretsIn of the chart: one
        ");
        insta::assert_snapshot!(lines(&none, Owner::Namespace("one")), @"
        Change k: the service account sa is looked for in the namespace one, and by v1 in Ratify's own | put it into the namespace of the resource
        Change k: the secrets of one are not read without the right to | name in rbac.readSecretsIn of the chart: one
        ");
        insta::assert_snapshot!(lines(&listed, Owner::File), @"Same k: the auth provider k8Secrets |");
        assert!(lines(&json!({"secrets": 1}), Owner::Cluster).contains("secrets must be an array"));
    }
}
