//! What an operator sees, from the first pod to the last fault.

use super::{
    audit, faults, forms,
    gate::Gate,
    lab::{FORBIDDEN, Lab},
    late, reports, signed, stock,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_admitted_or_refused_as_the_document_tells() {
    let ways = [Gate::reserve().await, Gate::reserve().await, Gate::reserve().await];
    let hosts = ways.iter().map(|(host, _)| host.clone()).collect();
    let Some(mut lab) = Lab::start(hosts).await else { return };
    let gates = ways.map(|way| Gate::new(way, lab.site.registry.address()));
    document(&lab, &gates[2]).await;
    signed::what_is_signed_is_created(&lab).await;
    forms::every_form_of_a_container_is_looked_at(&lab).await;
    forms::tags_become_digests(&lab).await;
    stock::v1s_templates_work(&lab).await;
    late::a_retry_is_created(&lab, &gates[0]).await;
    late::a_tag_that_is_resolved_late_is_asked_for_again(&lab, &gates[1]).await;
    reports::a_constraint_decides_by_the_reports(&lab).await;
    faults::nobody_passes_while_something_is_wrong(&mut lab).await;
}

/// Everything that the document has typed, and what a cluster has before it is typed.
async fn document(lab: &Lab, gate: &Gate) {
    let host = lab.site.registry.host();
    lab.site.push_images();
    lab.push("recalled", FORBIDDEN);
    let names = [("registry.example.com", host.as_str())];
    let page = lab.page(&names);
    page.succeed("kubectl apply -f verifier.yaml").await;
    let recalled = audit::objects_are_there_before(lab, gate).await;
    page.succeed("kubectl apply -f docs/gatekeeper/verification.yaml").await;
    audit::what_was_there_is_listed(lab, &recalled, gate).await;
    for block in ["kubectl run good", "kubectl create deployment", "kubectl get pod good"] {
        page.succeed(block).await;
    }
}
