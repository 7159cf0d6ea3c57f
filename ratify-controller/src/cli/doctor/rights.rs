//! What the server needs to be allowed, as the chart's role has it, and what is missing without it. Pure.

use super::{cluster::Read, finding::Finding};
use crate::k8s::{crd::GROUP, kind::Kind};

pub(super) const RIGHTS: &str = "cluster.rights";
const FIX: &str = "helm upgrade of Ratify with --reuse-values --set rbac.create=true, or give its account what the chart's ClusterRole ratify-manager-cluster-role has";

/// One thing to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) group: &'static str,
    pub(super) resource: String,
    pub(super) subresource: &'static str,
    pub(super) name: String,
    pub(super) namespace: String,
    /// What happens without it.
    pub(super) without: &'static str,
}

/// All of them, but for those about secrets, which depend on what resources name.
pub(super) fn needed(namespace: &str) -> Vec<Right> {
    let right = |verb, group, resource: &str, without| Right {
        verb,
        group,
        resource: resource.to_owned(),
        subresource: "",
        name: String::new(),
        namespace: String::new(),
        without,
    };
    let mut rights = Vec::new();
    for kind in Kind::ALL {
        let without = "these resources have no effect";
        rights.push(right("watch", GROUP, kind.plural(), without));
        let status = right("patch", GROUP, kind.plural(), "nobody learns what came of a resource");
        rights.push(Right { subresource: "status", ..status });
    }
    let event = right("create", "events.k8s.io", "events", "there are no Events");
    rights.push(Right { namespace: namespace.to_owned(), ..event });
    let late = "how long Gatekeeper waits is not known, and answers may come too late";
    for (group, resource, name) in [
        ("externaldata.gatekeeper.sh", "providers", "ratify-provider"),
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            "gatekeeper-validating-webhook-configuration",
        ),
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            "gatekeeper-mutating-webhook-configuration",
        ),
    ] {
        rights.push(Right { name: name.to_owned(), ..right("get", group, resource, late) });
    }
    rights
}

/// What is to be said of them.
pub(super) fn judge(rights: &[(Right, Read<bool>)]) -> Option<Finding> {
    judge_as(RIGHTS, "", rights.iter(), FIX)
}

/// What one check says of some rights; nothing where there are none.
pub(super) fn judge_as<'a>(
    id: &'static str,
    on: &str,
    rights: impl Iterator<Item = &'a (Right, Read<bool>)>,
    fix: &str,
) -> Option<Finding> {
    let rights: Vec<_> = rights.collect();
    if rights.is_empty() {
        return None;
    }
    if let Some(why) = rights.iter().find_map(|(_, read)| match read {
        Read::Unread(why) => Some(why),
        _ => None,
    }) {
        return Some(why.finding(id, on));
    }
    let missing: Vec<&Right> = rights
        .iter()
        .filter(|(_, read)| *read != Read::Seen(true))
        .map(|(right, _)| right)
        .collect();
    if missing.is_empty() {
        return Some(Finding::ok(id, on, format!("all {} that it needs", rights.len())));
    }
    let mut names: Vec<String> = missing.iter().map(|right| right.text()).collect();
    names.truncate(12);
    let mut effects: Vec<&str> = missing.iter().map(|right| right.without).collect();
    effects.sort_unstable();
    effects.dedup();
    Some(
        Finding::failure(id, on, format!("missing: {}", names.join(", ")))
            .why(effects.join("; "))
            .fix(fix),
    )
}

impl Right {
    fn text(&self) -> String {
        let subresource = match self.subresource {
            "" => String::new(),
            subresource => format!("/{subresource}"),
        };
        let name = if self.name.is_empty() { "" } else { " " };
        format!("{} {}{subresource}{name}{}", self.verb, self.resource, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_what_it_leads_to() {
        let all = || needed("gatekeeper-system").into_iter();
        let seen: Vec<_> = all().map(|right| (right, Read::Seen(true))).collect();
        assert!(judge(&seen).unwrap().fix.is_empty());
        let one = |right: &Right| right.resource == "verifiers" && right.verb == "watch";
        let seen: Vec<_> = all()
            .map(|right| {
                let has = !one(&right);
                (right, Read::Seen(has))
            })
            .collect();
        let finding = judge(&seen).unwrap();
        assert_eq!(finding.seen, "missing: watch verifiers");
        assert_eq!(finding.why, "these resources have no effect");
        assert_eq!(judge(&[]), None);
    }
}
