//! What the server needs to be allowed where it makes its own certificates, as the chart's roles have
//! it, and what is missing without it. Pure.

use super::{
    cluster::Read,
    finding::Finding,
    rights::{Right, judge_as},
};
use crate::{
    env::Environment,
    k8s::rotation::{PROVIDERS, RotationOptions},
};

const ROTATION: &str = "cluster.rotation";
const SECRETS: &str = "secrets";
const GATEKEEPER: &str = "externaldata.gatekeeper.sh";

/// Of a server whose environment says that it makes its certificates.
#[derive(Debug)]
pub(super) enum Rotation {
    /// Which, and what it may do for it.
    Made { options: RotationOptions, rights: Vec<(Right, Read<bool>)> },
    /// Its command line does not.
    Nobody,
}

/// Which certificates a server of this environment makes, if any.
pub(super) fn options(
    environment: Option<&Environment>,
    namespace: &str,
) -> Option<RotationOptions> {
    let environment = environment.filter(|environment| environment.cert_rotation())?;
    let service = environment.service_name.as_str();
    // No object has another name, and it becomes part of what is to be typed.
    let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    service.chars().all(is_of_name).then(|| RotationOptions::new(namespace, service))
}

/// All that is needed for them.
pub(super) fn needed(of: &RotationOptions) -> Vec<Right> {
    let of_secret = |verb| Right {
        verb,
        group: "",
        resource: SECRETS.to_owned(),
        subresource: "",
        name: of.secret(),
        namespace: of.namespace.clone(),
        without: "no certificate is made or renewed, and without a valid one Gatekeeper cannot ask",
    };
    let of_providers = |verb, name: &str| Right {
        verb,
        group: GATEKEEPER,
        resource: "providers".to_owned(),
        subresource: "",
        name: name.to_owned(),
        namespace: String::new(),
        without: "Gatekeeper does not trust a certificate of a new authority: each question ends with a TLS error",
    };
    let secret = ["get", "list", "watch", "update"].map(of_secret);
    let all = ["list", "watch"].map(|verb| of_providers(verb, ""));
    let each = PROVIDERS
        .into_iter()
        .flat_map(|name| ["get", "patch"].map(|verb| of_providers(verb, name)));
    secret.into_iter().chain(all).chain(each).collect()
}

impl Rotation {
    /// What is to be said of the Secret, and of the Providers. The account is the server's.
    pub(super) fn judge(&self, account: Option<&str>) -> Vec<Finding> {
        let Self::Made { options, rights } = self else {
            let seen =
                "RATIFY_CERT_ROTATION is set, and `ratify serve` runs without --enable-crd-manager";
            let finding = Finding::warning(ROTATION, "", seen)
                .why("nobody makes or renews its certificates: it does not start without any, and Gatekeeper cannot ask when they have ended")
                .fix("run it with --enable-crd-manager, as the chart does; or bring certificates, and unset RATIFY_CERT_ROTATION");
            return vec![finding];
        };
        let (namespace, secret) = (&options.namespace, options.secret());
        let account = format!("{namespace}:{}", account.unwrap_or("ACCOUNT"));
        let helm = "helm upgrade of Ratify with --reuse-values --set rbac.create=true, or else:";
        let of_secret = format!(
            "{helm} kubectl -n {namespace} create role ratify-rotation --verb=get,list,watch,update --resource=secrets --resource-name={secret}; kubectl -n {namespace} create rolebinding ratify-rotation --role=ratify-rotation --serviceaccount={account}"
        );
        let of_providers = format!(
            "{helm} kubectl create clusterrole ratify-rotation --verb=get,list,watch,patch --resource=providers.{GATEKEEPER}; kubectl create clusterrolebinding ratify-rotation --clusterrole=ratify-rotation --serviceaccount={account}"
        );
        let (secrets, providers): (Vec<_>, Vec<_>) =
            rights.iter().partition(|(right, _)| right.resource == SECRETS);
        let secret = format!("Secret {namespace}/{secret}");
        [
            judge_as(ROTATION, &secret, secrets.into_iter(), &of_secret),
            judge_as(ROTATION, "Providers", providers.into_iter(), &of_providers),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    fn rotation(has: impl Fn(&Right) -> bool) -> Rotation {
        let options = RotationOptions::new("n", "r");
        let rights = needed(&options).into_iter().map(|right| {
            let has = has(&right);
            (right, Read::Seen(has))
        });
        Rotation::Made { rights: rights.collect(), options }
    }

    #[test]
    fn the_secret_and_the_providers_are_judged_each_with_its_own_fix() {
        let states = |has: fn(&Right) -> bool| {
            let findings = rotation(has).judge(None);
            findings.into_iter().map(|finding| finding.state).collect::<Vec<_>>()
        };
        assert_eq!(states(|_| true), [State::Ok, State::Ok]);
        assert_eq!(states(|right| right.verb != "update"), [State::Failure, State::Ok]);
        assert_eq!(states(|right| right.verb != "patch"), [State::Ok, State::Failure]);
        let nobody = Rotation::Nobody.judge(None);
        assert_eq!((nobody.len(), nobody[0].state), (1, State::Warning), "{nobody:?}");
        let findings = rotation(|right| right.verb == "get").judge(Some("a"));
        let text =
            |finding: &Finding| [&finding.on, &finding.seen, &finding.fix].map(String::clone);
        insta::assert_debug_snapshot!(findings.iter().map(text).collect::<Vec<_>>(), @r#"
        [
            [
                "Secret n/r-tls",
                "missing: list secrets r-tls, watch secrets r-tls, update secrets r-tls",
                "helm upgrade of Ratify with --reuse-values --set rbac.create=true, or else: kubectl -n n create role ratify-rotation --verb=get,list,watch,update --resource=secrets --resource-name=r-tls; kubectl -n n create rolebinding ratify-rotation --role=ratify-rotation --serviceaccount=n:a",
            ],
            [
                "Providers",
                "missing: list providers, watch providers, patch providers ratify-mutation-provider, patch providers ratify-provider",
                "helm upgrade of Ratify with --reuse-values --set rbac.create=true, or else: kubectl create clusterrole ratify-rotation --verb=get,list,watch,patch --resource=providers.externaldata.gatekeeper.sh; kubectl create clusterrolebinding ratify-rotation --clusterrole=ratify-rotation --serviceaccount=n:a",
            ],
        ]
        "#);
    }

    #[test]
    fn only_where_the_flag_is_on_there_are_certificates_to_make() {
        let environment = |flag: &str, service: &str| {
            let lookup = |name: &str| match name {
                "RATIFY_CERT_ROTATION" => Some(flag.into()),
                "RATIFY_NAME" => Some(service.into()),
                _ => None,
            };
            Environment::from_lookup(lookup, || None)
        };
        let on = options(Some(&environment("1", "gate")), "n").unwrap();
        assert_eq!((on.secret().as_str(), on.namespace.as_str()), ("gate-tls", "n"));
        assert_eq!(options(Some(&environment("0", "gate")), "n"), None);
        assert_eq!(options(Some(&environment("1", "gate; true")), "n"), None);
        assert_eq!(options(None, "n"), None);
    }
}
