//! What is to be said of Gatekeeper in front of Ratify: Providers, webhooks, templates, constraints.
//! Pure: what the API server has goes in.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::{
    certificate::{Shown, day, in_pem},
    chain::InFront,
    cluster::{Cluster, Read},
    finding::{Finding, shown},
    server::Trust,
};
use crate::k8s::waits::Source;

const PROVIDER: &str = "gatekeeper.provider";
const WEBHOOK: &str = "gatekeeper.webhook";
const EXEMPTIONS: &str = "gatekeeper.exemptions";
const TEMPLATE: &str = "gatekeeper.template";
const CONSTRAINT: &str = "gatekeeper.constraint";
const MUTATION: &str = "gatekeeper.mutation";
const CACHE: &str = "gatekeeper.cache";

const VERIFY: &str = "ratify-provider";
const MUTATE: &str = "ratify-mutation-provider";
/// The namespace without which no cluster starts.
const SYSTEM: &str = "kube-system";
/// The flag by which Gatekeeper keeps answers, and what it takes where that is not set.
const TTL_FLAG: &str = "--external-data-provider-response-cache-ttl=";
const DEFAULT_TTL: Duration = Duration::from_secs(180);
const LONG_TTL: Duration = Duration::from_secs(600);
const UPGRADE: &str =
    "helm upgrade gatekeeper gatekeeper/gatekeeper -n gatekeeper-system --reuse-values";

/// All that is to be said of it.
pub(super) fn judge(cluster: &Cluster, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (source, read) in &cluster.waiting {
        if source.webhook.is_empty() {
            findings.extend(provider(source, read, now));
        } else {
            findings.extend(webhook(source, read));
        }
    }
    findings.extend(templates(cluster));
    findings.extend(mutation(cluster));
    findings.extend(cache(&cluster.gatekeeper));
    findings
}

/// Who waits in front of Ratify: for a verification, and for a mutation.
pub(super) fn in_front(cluster: &Cluster) -> [InFront; 2] {
    let mut fronts = [InFront::default(), InFront::default()];
    for (source, read) in &cluster.waiting {
        let front = &mut fronts[usize::from(source.is_mutation)];
        let waiter = read.seen().and_then(|seen| source.waiters(seen).into_iter().next());
        match source.webhook.is_empty() {
            true => front.provider = waiter,
            false => front.webhook = waiter,
        }
    }
    fronts
}

/// What Gatekeeper trusts of each Provider.
pub(super) fn trusts(cluster: &Cluster) -> Vec<Trust> {
    let providers = cluster.waiting.iter().filter(|(source, _)| source.webhook.is_empty());
    let trust = |source: &Source, seen: &Value| {
        let url = Url::parse(seen["spec"]["url"].as_str()?).ok()?;
        let bundle = STANDARD.decode(seen["spec"]["caBundle"].as_str()?).ok()?;
        let (provider, host) = (source.name.to_owned(), url.host_str()?.to_owned());
        Some(Trust { provider, host, bundle })
    };
    providers.filter_map(|(source, read)| trust(source, read.seen()?)).collect()
}

fn provider(source: &Source, read: &Read<Value>, now: Timestamp) -> Option<Finding> {
    let on = source.name;
    let seen = match read {
        Read::Unread(why) => return Some(why.finding(PROVIDER, on)),
        // Whether tags become digests is a finding of its own.
        Read::Absent if on == MUTATE => return None,
        Read::Absent => {
            return Some(
                Finding::failure(PROVIDER, on, "there is no such Provider")
                    .why("Gatekeeper does not know whom to ask: no image is verified")
                    .fix("helm upgrade of Ratify makes it; and Gatekeeper has to be there, with external data enabled"),
            );
        }
        Read::Seen(seen) => seen,
    };
    let again = "helm upgrade of Ratify makes it anew";
    let url = seen["spec"]["url"].as_str().unwrap_or_default();
    let is_https = Url::parse(url).is_ok_and(|url| url.scheme() == "https");
    if !is_https {
        return Some(
            Finding::failure(PROVIDER, on, format!("its url is {:?}", shown(url)))
                .why("Gatekeeper asks over HTTPS alone")
                .fix(again),
        );
    }
    let bundle = STANDARD.decode(seen["spec"]["caBundle"].as_str().unwrap_or_default());
    let authorities: Vec<Shown> =
        in_pem(&bundle.unwrap_or_default()).iter().filter_map(|one| Shown::read(one)).collect();
    let refused = "each question ends with a TLS error, and each image with it";
    if authorities.is_empty() {
        return Some(
            Finding::failure(PROVIDER, on, "its caBundle holds no certificate").why(refused).fix(
                format!(
                    "{again}, with featureFlags.RATIFY_CERT_ROTATION=true, or provider.tls.cabundle"
                ),
            ),
        );
    }
    let last = authorities.iter().map(|one| one.not_after).max().unwrap_or(now);
    if last < now {
        return Some(
            Finding::failure(PROVIDER, on, format!("its caBundle ended on {}", day(last)))
                .why(refused)
                .fix("give it the present authority: the chart's provider.tls, or featureFlags.RATIFY_CERT_ROTATION=true"),
        );
    }
    Some(Finding::ok(PROVIDER, on, format!("asks {}", shown(url))))
}

fn webhook(source: &Source, read: &Read<Value>) -> Vec<Finding> {
    let on = source.webhook;
    let seen = match read {
        Read::Unread(why) => return vec![why.finding(WEBHOOK, on)],
        Read::Absent if source.is_mutation => {
            return vec![Finding::not_checked(
                WEBHOOK,
                on,
                "there is no mutating webhook of Gatekeeper",
            )];
        }
        Read::Absent => {
            let finding = Finding::failure(WEBHOOK, on, format!("there is no {}", source.name))
                .why("Gatekeeper is not installed, or under another name: nobody asks Ratify")
                .fix("install it as docs/GATEKEEPER.md tells: helm install gatekeeper gatekeeper/gatekeeper …");
            return vec![finding];
        }
        Read::Seen(seen) => seen,
    };
    let webhooks = seen["webhooks"].as_array().into_iter().flatten();
    let Some(webhook) = webhooks.into_iter().find(|one| one["name"] == source.webhook) else {
        let finding = Finding::failure(WEBHOOK, on, format!("{} has no such webhook", source.name))
            .why("nobody asks Ratify")
            .fix(format!("{UPGRADE} makes it anew"));
        return vec![finding];
    };
    let exempt = exempt_namespaces(webhook);
    let is_system_exempt = exempt.iter().any(|name| name == SYSTEM);
    let ignores = webhook["failurePolicy"] == "Ignore";
    let mut findings = vec![failure_policy(source, ignores, is_system_exempt)];
    if !source.is_mutation {
        findings.push(exemptions(on, &exempt, ignores, is_system_exempt));
    }
    findings
}

/// Who makes it refuse exempts first what the cluster cannot start without.
fn failure_policy(source: &Source, ignores: bool, is_system_exempt: bool) -> Finding {
    let on = source.webhook;
    if !ignores {
        return Finding::ok(WEBHOOK, on, "failurePolicy is Fail");
    }
    let (policy, exempt, then) = match source.is_mutation {
        false => (
            "validatingWebhookFailurePolicy",
            "validatingWebhookExemptNamespacesLabels",
            "admitted without being verified",
        ),
        true => (
            "mutatingWebhookFailurePolicy",
            "mutatingWebhookExemptNamespacesLabels",
            "admitted with its tag as it is",
        ),
    };
    let exempting = match is_system_exempt {
        true => String::new(),
        false => {
            format!(r#" --set-json '{exempt}={{"kubernetes.io/metadata.name":["{SYSTEM}"]}}'"#)
        }
    };
    Finding::warning(WEBHOOK, on, "failurePolicy is Ignore")
        .why(format!("while Gatekeeper is down, or its answer comes late, every image is {then}"))
        .fix(format!("{UPGRADE} --set {policy}=Fail{exempting}\nwith several replicas of Gatekeeper and of Ratify; {SYSTEM} stays exempt, so that the cluster can start by itself"))
}

fn exemptions(on: &str, exempt: &[String], ignores: bool, is_system_exempt: bool) -> Finding {
    let list = match exempt {
        [] => "no namespace by name".to_owned(),
        exempt => shown(&exempt.join(", ")),
    };
    let seen = format!("exempt: {list}, and those with the label admission.gatekeeper.sh/ignore");
    if ignores || is_system_exempt {
        return Finding::ok(EXEMPTIONS, on, seen);
    }
    Finding::note(EXEMPTIONS, on, seen)
        .why(format!("failurePolicy is Fail, and {SYSTEM} is not exempt: while Gatekeeper is down nothing starts there either, such as DNS and the network"))
        .fix(format!(
            r#"{UPGRADE} --set-json 'validatingWebhookExemptNamespacesLabels={{"kubernetes.io/metadata.name":["{SYSTEM}"]}}'"#
        ))
}

/// The namespaces that a webhook's selector leaves out by name.
fn exempt_namespaces(webhook: &Value) -> Vec<String> {
    let expressions = webhook["namespaceSelector"]["matchExpressions"].as_array();
    let by_name = expressions
        .into_iter()
        .flatten()
        .filter(|one| one["key"] == "kubernetes.io/metadata.name" && one["operator"] == "NotIn");
    let names = by_name.filter_map(|one| one["values"].as_array()).flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// The kinds of constraints whose templates ask Ratify.
pub(super) fn kinds_that_ask(templates: &[Value]) -> Vec<String> {
    let kind = |template: &Value| {
        let kind = template["spec"]["crd"]["spec"]["names"]["kind"].as_str()?;
        Some(kind.to_owned())
    };
    templates.iter().filter(|template| asks(template)).filter_map(kind).collect()
}

/// Whether the Rego of a template, wherever it stands, calls our Provider.
fn asks(template: &Value) -> bool {
    let targets = template["spec"]["targets"].as_array().into_iter().flatten();
    targets.into_iter().any(|target| {
        let text = target.to_string();
        text.contains("external_data") && text.contains(VERIFY)
    })
}

fn templates(cluster: &Cluster) -> Vec<Finding> {
    let templates = match &cluster.templates {
        Read::Seen(templates) => templates,
        Read::Absent => {
            let finding = Finding::failure(TEMPLATE, "", "constraint templates are not defined")
                .why("Gatekeeper is not installed: nobody asks Ratify")
                .fix("install it as docs/GATEKEEPER.md tells");
            return vec![finding];
        }
        // Which constraints there are to look at is told by the templates.
        Read::Unread(why) => return [TEMPLATE, CONSTRAINT].map(|id| why.finding(id, "")).into(),
    };
    let asking: Vec<&Value> = templates.iter().filter(|template| asks(template)).collect();
    if asking.is_empty() {
        let finding = Finding::warning(TEMPLATE, "", "no constraint template asks Ratify")
            .why("images are admitted without being verified")
            .fix("kubectl apply -f docs/gatekeeper/verification.yaml, and a constraint as docs/GATEKEEPER.md has it");
        return vec![finding];
    }
    let mut findings: Vec<Finding> = asking.into_iter().map(template).collect();
    for (kind, read) in &cluster.constraints {
        findings.extend(constraints(kind, read));
    }
    findings
}

fn template(template: &Value) -> Finding {
    let on = template["metadata"]["name"].as_str().unwrap_or_default();
    let by_pod = template["status"]["byPod"].as_array().into_iter().flatten();
    let errors = by_pod.filter_map(|pod| pod["errors"].as_array()).flatten();
    let error = errors.into_iter().find_map(|error| error["message"].as_str());
    match (error, template["status"]["created"].as_bool()) {
        (Some(error), _) => Finding::failure(TEMPLATE, on, shown(error))
            .why("Gatekeeper does not take the template: no image is verified by it")
            .fix("kubectl apply -f docs/gatekeeper/verification.yaml"),
        (None, Some(true)) => Finding::ok(TEMPLATE, on, "it asks Ratify"),
        (None, _) => Finding::warning(TEMPLATE, on, "Gatekeeper has not taken it yet")
            .why("its constraints have no effect until then")
            .fix("kubectl -n gatekeeper-system logs deployment/gatekeeper-controller-manager"),
    }
}

fn constraints(kind: &str, read: &Read<Vec<Value>>) -> Vec<Finding> {
    let on = kind;
    match read {
        Read::Unread(why) => vec![why.finding(CONSTRAINT, on)],
        Read::Seen(all) if !all.is_empty() => all.iter().map(|one| constraint(kind, one)).collect(),
        _ => {
            let finding = Finding::warning(CONSTRAINT, on, "there is no constraint of this kind")
                .why("a template alone refuses nothing")
                .fix("kubectl apply a constraint, as docs/GATEKEEPER.md has it");
            vec![finding]
        }
    }
}

fn constraint(kind: &str, constraint: &Value) -> Finding {
    let name = constraint["metadata"]["name"].as_str().unwrap_or_default();
    let on = format!("{kind} {name}");
    let action = constraint["spec"]["enforcementAction"].as_str().unwrap_or("deny");
    let patch = format!(
        "kubectl patch {} {} --type=merge -p '{{\"spec\":{{\"enforcementAction\":\"deny\"}}}}'",
        shown(&kind.to_lowercase()),
        shown(name)
    );
    match action {
        "deny" => Finding::ok(CONSTRAINT, &on, "it denies"),
        "scoped" => Finding::ok(CONSTRAINT, &on, "its actions are of scopedEnforcementActions"),
        other => {
            Finding::warning(CONSTRAINT, &on, format!("enforcementAction is {}", shown(other)))
                .why("what is not proven is told, and admitted all the same")
                .fix(patch)
        }
    }
}

fn mutation(cluster: &Cluster) -> Option<Finding> {
    let is_there =
        cluster.waiting.iter().any(|(source, read)| source.name == MUTATE && read.seen().is_some());
    let assigns = match &cluster.assigns {
        Read::Unread(why) => return Some(why.finding(MUTATION, "")),
        Read::Absent => 0,
        Read::Seen(assigns) => {
            let asks = |assign: &&Value| {
                assign["spec"]["parameters"]["assign"]["externalData"]["provider"] == MUTATE
            };
            assigns.iter().filter(asks).count()
        }
    };
    Some(match (is_there, assigns) {
        (true, 1..) => Finding::ok(MUTATION, "", format!("tags become digests, by {assigns} Assigns")),
        (false, 1..) => Finding::failure(MUTATION, "", format!("{assigns} Assigns ask {MUTATE}, which is not there"))
            .why("Gatekeeper refuses what it cannot mutate")
            .fix("helm upgrade of Ratify with --reuse-values --set provider.enableMutation=true"),
        _ => Finding::note(MUTATION, "", "tags stay as they are")
            .why("a tag may stand for something else when the image is pulled than when it was verified")
            .fix("helm upgrade of Ratify with --reuse-values --set provider.enableMutation=true, or write digests"),
    })
}

fn cache(gatekeeper: &Read<Value>) -> Option<Finding> {
    let deployment = match gatekeeper {
        Read::Absent => return None,
        Read::Unread(why) => return Some(why.finding(CACHE, "")),
        Read::Seen(deployment) => deployment,
    };
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
    let words = containers.into_iter().flatten().filter_map(|one| one["args"].as_array()).flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    if words.contains(&"--enable-external-data=false") {
        return Some(
            Finding::failure(CACHE, "", "external data is disabled in Gatekeeper")
                .why("it asks no Provider: no image is verified")
                .fix(format!("{UPGRADE} --set enableExternalData=true")),
        );
    }
    let given = words.iter().find_map(|word| word.strip_prefix(TTL_FLAG));
    let kept = match given.map(ratify_core::duration::parse) {
        Some(Ok(kept)) => kept,
        Some(Err(_)) | None => DEFAULT_TTL,
    };
    let seen = format!("an answer is kept for {} s", kept.as_secs());
    Some(match kept {
        kept if kept > LONG_TTL => Finding::note(CACHE, "", seen)
            .why("a signature that was missing, or a verifier that was changed, counts only after that; so does an image that is no longer good")
            .fix(format!("{UPGRADE} --set externaldataProviderResponseCacheTTL=3m")),
        _ => Finding::ok(CACHE, "", seen),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::finding::State, *};
    use crate::k8s::waits::SOURCES;

    fn webhook_of(policy: &str, exempt: &[&str]) -> Value {
        let expression =
            json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": exempt});
        json!({"webhooks": [{"name": "validation.gatekeeper.sh", "failurePolicy": policy,
            "namespaceSelector": {"matchExpressions": [expression]}}]})
    }

    #[test]
    fn no_fix_of_a_failure_policy_leaves_kube_system_behind() {
        let table = [
            (webhook_of("Fail", &["gatekeeper-system", SYSTEM]), [State::Ok, State::Ok]),
            (webhook_of("Fail", &["gatekeeper-system"]), [State::Ok, State::Note]),
            (webhook_of("Ignore", &["gatekeeper-system"]), [State::Warning, State::Ok]),
            (webhook_of("Ignore", &[SYSTEM]), [State::Warning, State::Ok]),
        ];
        for (seen, expected) in table {
            let findings = webhook(&SOURCES[0], &Read::Seen(seen.clone()));
            assert_eq!([findings[0].state, findings[1].state], expected, "{seen}");
            for finding in findings.iter().filter(|finding| finding.fix.contains("=Fail")) {
                let keeps = finding.fix.contains(&format!(r#"["{SYSTEM}"]"#))
                    || seen.to_string().contains(SYSTEM);
                assert!(keeps, "{finding:?}");
            }
        }
    }

    #[test]
    fn templates_are_known_by_whom_they_ask() {
        let template = |rego: &str| {
            json!({"metadata": {"name": "t"}, "spec": {"crd": {"spec": {"names": {"kind": "T"}}},
                "targets": [{"code": [{"engine": "Rego", "source": {"rego": rego}}]}]}})
        };
        let ours = template("external_data({\"provider\": \"ratify-provider\", \"keys\": images})");
        let others = template("external_data({\"provider\": \"other\", \"keys\": images})");
        assert_eq!(kinds_that_ask(&[ours, others]), ["T"]);
    }

    #[test]
    fn a_constraint_that_only_warns_is_found() {
        let of = |action: Option<&str>| {
            let mut object = json!({"metadata": {"name": "c"}, "spec": {}});
            if let Some(action) = action {
                object["spec"]["enforcementAction"] = json!(action);
            }
            constraint("RatifyVerification", &object)
        };
        assert_eq!(of(None).state, State::Ok);
        assert_eq!(of(Some("deny")).state, State::Ok);
        let warned = of(Some("warn"));
        assert_eq!(warned.state, State::Warning);
        assert!(warned.fix.starts_with("kubectl patch ratifyverification c "), "{warned:?}");
    }

    #[test]
    fn how_long_gatekeeper_keeps_answers_is_read_from_its_flags() {
        let of = |words: &[&str]| {
            let containers = json!([{"args": words}]);
            let deployment = json!({"spec": {"template": {"spec": {"containers": containers}}}});
            cache(&Read::Seen(deployment)).unwrap()
        };
        assert_eq!(of(&[]).seen, "an answer is kept for 180 s");
        assert_eq!(of(&["--external-data-provider-response-cache-ttl=1h"]).state, State::Note);
        assert_eq!(of(&["--enable-external-data=false"]).state, State::Failure);
    }
}
